// SPDX-License-Identifier: GPL-2.0

//! A file system that is being configured: `fsopen(2)` and what follows it.

use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::mount;
use rustix::mount::FsMountFlags;
use rustix::mount::FsOpenFlags;
use rustix::mount::MountAttrFlags;
use rustix::path::Arg;

pub struct Context(OwnedFd);

impl Context {
    pub fn of(fs: &str) -> Self {
        Self(mount::fsopen(fs, FsOpenFlags::FSOPEN_CLOEXEC).expect("fsopen"))
    }

    pub fn of_bpffs() -> Self {
        Self::of("bpf")
    }

    pub fn set(&self, option: &str, value: impl Arg) -> Result<(), Errno> {
        mount::fsconfig_set_string(&self.0, option, value)
    }

    /// Sets an option without a value.
    pub fn set_flag(&self, option: &str) -> Result<(), Errno> {
        mount::fsconfig_set_flag(&self.0, option)
    }

    /// `FSCONFIG_CMD_RECONFIGURE`.
    pub fn reconfigure(&self) -> Result<(), Errno> {
        mount::fsconfig_reconfigure(&self.0)
    }

    /// Makes the super block.
    pub fn create(&self) {
        mount::fsconfig_create(&self.0).expect("FSCONFIG_CMD_CREATE");
    }

    /// Sets options, all of which must be accepted, and makes the super block.
    pub fn configure<'a>(&self, options: impl IntoIterator<Item = (&'a str, &'a str)>) {
        for (option, value) in options {
            self.set(option, value)
                .unwrap_or_else(|errno| panic!("{option}={value}: {errno}"));
        }
        self.create();
    }

    pub fn mount(&self) -> OwnedFd {
        let flags = FsMountFlags::FSMOUNT_CLOEXEC;
        mount::fsmount(&self.0, flags, MountAttrFlags::empty()).expect("fsmount")
    }

    /// Takes the oldest message out of the context's log.
    pub fn message(&self) -> Option<String> {
        let mut message = [0; 4096];
        match rustix::io::read(&self.0, &mut message) {
            Ok(len) => Some(String::from_utf8(message[..len].to_vec()).expect("printable text")),
            Err(Errno::NODATA) => None,
            Err(errno) => panic!("read of the fsopen descriptor: {errno}"),
        }
    }
}

impl From<OwnedFd> for Context {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl AsFd for Context {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
