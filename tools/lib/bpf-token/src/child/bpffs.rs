// SPDX-License-Identifier: MIT OR Apache-2.0
//! The container's side of the hand-shake, step by step, and the directory that the BPF FS is
//! mounted on.
//!
//! Root of a running container may change that directory and all above it at any time. It is opened
//! once, and what is found out about it and done to it goes through that descriptor.

use std::ffi::CStr;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use rustix::fs::AtFlags;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::ResolveFlags;
use rustix::fs::StatxAttributes;
use rustix::fs::StatxFlags;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::FsMountFlags;
use rustix::mount::FsOpenFlags;
use rustix::mount::MountAttrFlags;
use rustix::mount::MoveMountFlags;
use rustix::mount::UnmountFlags;

use super::at;
use super::wait_for;
use super::Result;
use crate::handshake;
use crate::step::Step;
use crate::sys;

const BPF_FS_MAGIC: u32 = 0xcafe_4a11;

/// Mounts a BPF FS. In a running container, `replace` says what happens to one that delegates
/// already.
pub(super) fn mount(setup: BorrowedFd<'_>, target: &CStr, replace: Option<bool>) -> Result<()> {
    let mut dir = open_target(target)?;
    let taken = replace.is_some() && delegates(dir.as_fd());
    if taken && replace == Some(false) {
        return Err((Step::Taken, Errno::BUSY));
    }
    let context = rustix::mount::fsopen(c"bpf", FsOpenFlags::FSOPEN_CLOEXEC);
    let context = context.map_err(at(Step::Open))?;
    handshake::send_context(setup, context.as_fd()).map_err(at(Step::Send))?;
    wait_for(setup, handshake::GRANTED).map_err(at(Step::Manager))?;
    let mount = rustix::mount::fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )
    .map_err(at(Step::Mount))?;
    if taken {
        // Only now that there is another one.
        detach(dir.as_fd())?;
        dir = open_target(target)?;
    }
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(&mount, c"", &dir, c"", flags).map_err(at(Step::Attach))?;
    let found = open_target(target)?;
    if mount_id(mount.as_fd()).map_err(at(Step::Attach))?
        != mount_id(found.as_fd()).map_err(at(Step::Attach))?
    {
        return Err((Step::Hidden, Errno::BUSY));
    }
    Ok(())
}

/// Unmounts the BPF FS that delegates, if one is mounted there. Tokens made from it go on to work.
pub(super) fn unmount(target: &CStr) -> Result<()> {
    let dir = open_target(target)?;
    if !delegates(dir.as_fd()) {
        return Err((Step::NotThere, Errno::INVAL));
    }
    detach(dir.as_fd())
}

/// Opens the directory itself: whoever names a link does not mean what the container makes of it.
fn open_target(target: &CStr) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    handshake::retry(|| {
        rustix::fs::openat2(CWD, target, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)
    })
    .map_err(at(Step::Target))
}

/// Whether this is the root of a BPF FS that gives tokens to this container: others, such as the
/// host's, may well be mounted over.
fn delegates(dir: BorrowedFd<'_>) -> bool {
    let is_bpffs = rustix::fs::fstatfs(dir).is_ok_and(|found| found.f_type as u32 == BPF_FS_MAGIC);
    let is_root = rustix::fs::statx(dir, c"", AtFlags::EMPTY_PATH, StatxFlags::empty())
        .is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT));
    if !is_bpffs || !is_root {
        return false;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(dir, c".", flags, Mode::empty())
        .and_then(|root| sys::token_create(root.as_fd(), None))
        .is_ok()
}

/// Unmounts what has its root here.
fn detach(root: BorrowedFd<'_>) -> Result<()> {
    // umount(2) takes a path only.
    rustix::process::fchdir(root)
        .and_then(|()| rustix::mount::unmount(c".", UnmountFlags::DETACH | UnmountFlags::NOFOLLOW))
        .and_then(|()| rustix::process::chdir(c"/"))
        .map_err(at(Step::Unmount))
}

fn mount_id(dir: BorrowedFd<'_>) -> rustix::io::Result<u64> {
    rustix::fs::statx(dir, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)
        .map(|found| found.stx_mnt_id)
}
