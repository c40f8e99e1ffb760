// SPDX-License-Identifier: MIT OR Apache-2.0
//! tracefs, and file systems that are mounted nowhere.

use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::mount::FsMountFlags;
use rustix::mount::FsOpenFlags;
use rustix::mount::MountAttrFlags;

use crate::error::Error;
use crate::error::Result;

/// Where programs look for it.
pub(crate) const TRACEFS: &str = "/sys/kernel/tracing";

/// tracefs, mounted nowhere: nobody else sees it, and it is gone with this.
#[derive(Debug)]
pub struct Tracefs(OwnedFd);

impl Tracefs {
    /// Makes the mount.
    ///
    /// # Errors
    ///
    /// `EPERM` unless the caller is root in the initial user namespace; `ENODEV` without tracefs.
    pub fn open() -> Result<Self> {
        let action = "mount tracefs, which takes root in the initial user namespace";
        detached(c"tracefs", MountAttrFlags::empty())
            .map(Self)
            .map_err(|errno| Error::sys(action, errno))
    }

    /// Its root, for this process only.
    pub fn path(&self) -> PathBuf {
        path_of(&self.0)
    }
}

/// A new mount of a file system.
pub(crate) fn detached(
    kind: &std::ffi::CStr,
    attributes: MountAttrFlags,
) -> rustix::io::Result<OwnedFd> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_create(&context)?;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// The path of what is open, for this process only.
pub(crate) fn path_of(fd: &OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}", fd.as_raw_fd()).into()
}
