// SPDX-License-Identifier: MIT OR Apache-2.0
//! What stands in for tracefs in a running container, with the broker's socket in it.

use std::ffi::CStr;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;

use rustix::fs::AtFlags;
use rustix::fs::FileType;
use rustix::io::Errno;

use super::bpffs::attach;
use super::bpffs::detach;
use super::bpffs::open_target;
use super::Result;
use crate::broker::SOCKET;
use crate::instance::is_mount_root;
use crate::step::Step;

/// Mounts the file system on the directory.
pub(super) fn place(target: &CStr, tree: BorrowedFd<'_>, replace: bool) -> Result<()> {
    let mut dir = open_target(target)?;
    if has_socket(dir.as_fd()) {
        if !replace {
            return Err((Step::Served, Errno::BUSY));
        }
        detach(dir.as_fd())?;
        dir = open_target(target)?;
    }
    attach(tree, dir.as_fd(), target)
}

/// Whether this is the root of a file system that was mounted for a broker.
fn has_socket(dir: BorrowedFd<'_>) -> bool {
    let found = rustix::fs::statat(dir, SOCKET, AtFlags::SYMLINK_NOFOLLOW);
    is_mount_root(dir)
        && found.is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Socket)
}
