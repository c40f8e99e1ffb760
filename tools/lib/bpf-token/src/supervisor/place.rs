// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files as a caller finds them, opened with the rights of the supervisor, which are no more.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::AtFlags;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::ResolveFlags;
use rustix::fs::StatxFlags;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::io::Result;

use super::caller::Caller;
use crate::tracefs::path_of;

/// Opens a regular file for reading.
pub(super) fn open(caller: &Caller, path: &[u8]) -> Result<OwnedFd> {
    if path.is_empty() {
        return Err(Errno::INVAL);
    }
    let path = own_link(caller, Path::new(OsStr::from_bytes(path)));
    let root = caller.directory(c"root")?;
    let start = if path.is_absolute() {
        None
    } else {
        Some(caller.directory(c"cwd")?)
    };
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let found = if is_our_root(&root)? {
        let start = start.as_ref().map_or(CWD, AsFd::as_fd);
        rustix::fs::openat(start, &path, flags, Mode::empty())?
    } else {
        // Nothing leads out of its root; what it reaches from its directory alone is below that.
        let (start, bound) = match &start {
            None => (&root, ResolveFlags::IN_ROOT),
            Some(start) => (start, ResolveFlags::BENEATH),
        };
        let resolve = bound | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(start, &path, flags, Mode::empty(), resolve)?
    };
    // Nothing else is opened: that might do something, or wait for somebody.
    let stat = rustix::fs::fstat(&found)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::INVAL);
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path_of(&found), flags, Mode::empty())
}

/// What the caller means by a link to itself is not what the supervisor would.
fn own_link(caller: &Caller, path: &Path) -> PathBuf {
    match path.strip_prefix("/proc/self") {
        Ok(rest) => {
            let process = caller.process().unwrap_or(caller.tid);
            Path::new("/proc").join(process.to_string()).join(rest)
        }
        Err(_) => path.to_owned(),
    }
}

/// Whether this is our root directory, in our mount namespace.
fn is_our_root(root: &OwnedFd) -> Result<bool> {
    let place = |root: &OwnedFd| -> Result<_> {
        let wanted = StatxFlags::MNT_ID | StatxFlags::INO;
        let found = rustix::fs::statx(root, c"", AtFlags::EMPTY_PATH, wanted)?;
        Ok((found.stx_mnt_id, found.stx_ino))
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let ours = rustix::fs::openat(CWD, c"/", flags, Mode::empty())?;
    Ok(place(root)? == place(&ours)?)
}
