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
use rustix::fs::StatxFlags;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::FsMountFlags;
use rustix::mount::FsOpenFlags;
use rustix::mount::MountAttrFlags;
use rustix::mount::MountPropagationFlags;
use rustix::mount::MoveMountFlags;
use rustix::mount::UnmountFlags;

use super::at;
use super::wait_for;
use super::Result;
use super::ROOT;
use crate::handshake;
use crate::instance::is_mount_root;
use crate::instance::BPF_FS_MAGIC;
use crate::step::Step;
use crate::sys;

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
    attach(mount.as_fd(), dir.as_fd(), target)
}

/// Mounts on the directory what is mounted nowhere yet, and sees it there.
pub(super) fn attach(mount: BorrowedFd<'_>, dir: BorrowedFd<'_>, target: &CStr) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, c"", dir, c"", flags).map_err(at(Step::Attach))?;
    let found = open_target(target)?;
    if mount_id(mount).map_err(at(Step::Attach))?
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

/// The longest path.
const PATH_MAX: usize = 4096;

/// Sends the manager the root of the BPF FS on the directory that belongs to this container.
pub(super) fn reach(
    setup: BorrowedFd<'_>,
    target: &CStr,
    device: Option<(u32, u32)>,
) -> Result<()> {
    let root = uncover(target, device)?;
    handshake::send_fd(setup, ROOT, root.as_fd()).map_err(at(Step::Send))
}

/// Opens the root of the BPF FS on the directory that belongs to this container, whatever the
/// container has mounted over it or over a directory above: in a copy of its mount namespace, which
/// it can't change any more, that is unmounted until the BPF FS is there. `EPERM` if the one of this
/// device belongs to another user namespace.
pub(super) fn uncover(target: &CStr, device: Option<(u32, u32)>) -> Result<OwnedFd> {
    sys::copy_mounts()
        .and_then(|()| {
            // Nothing that is unmounted in the copy may go away elsewhere.
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            rustix::mount::mount_change(c"/", private)
        })
        .map_err(at(Step::Copy))?;
    let mut path = [0; PATH_MAX];
    let bytes = target.to_bytes();
    if bytes.len() >= PATH_MAX {
        return Err((Step::Target, Errno::NAMETOOLONG));
    }
    path[..bytes.len()].copy_from_slice(bytes);
    let mut length = bytes.len();
    let first = open_target(target);
    // The directory, then those above it, but for the root.
    while length > 1 {
        path[length] = 0;
        loop {
            if let Ok(dir) = open_target(target) {
                match owner(dir.as_fd(), device) {
                    Owner::This => return Ok(dir),
                    Owner::Other if device.is_some() => {
                        return Err((Step::NotThere, Errno::PERM));
                    }
                    _ => {}
                }
            }
            match CStr::from_bytes_with_nul(&path[..=length]).map(open_target) {
                Ok(Ok(dir)) if is_mount_root(dir.as_fd()) && detach(dir.as_fd()).is_ok() => {}
                _ => break,
            }
        }
        let slash = path[..length].iter().rposition(|byte| *byte == b'/');
        length = slash.unwrap_or_default();
    }
    // What is wrong with the path says more.
    first.and(Err((Step::NotThere, Errno::INVAL)))
}

/// Opens the directory itself: whoever names a link does not mean what the container makes of it.
pub(super) fn open_target(target: &CStr) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    handshake::retry(|| {
        rustix::fs::openat2(CWD, target, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)
    })
    .map_err(at(Step::Target))
}

/// Whether this is the root of a BPF FS that gives tokens to this container: others, such as the
/// host's, may well be mounted over.
fn delegates(dir: BorrowedFd<'_>) -> bool {
    matches!(try_token(dir), Some(Ok(_)))
}

/// Whose a BPF FS is.
enum Owner {
    /// This container's, also if it delegates nothing now: that is the last that the kernel looks at.
    This,
    Other,
    /// It is none, or of another device.
    None,
}

fn owner(dir: BorrowedFd<'_>, device: Option<(u32, u32)>) -> Owner {
    if device.is_some_and(|wanted| device_of(dir) != Ok(wanted)) {
        return Owner::None;
    }
    match try_token(dir) {
        Some(Ok(_) | Err(Errno::NOENT)) => Owner::This,
        Some(Err(_)) => Owner::Other,
        None => Owner::None,
    }
}

fn device_of(dir: BorrowedFd<'_>) -> rustix::io::Result<(u32, u32)> {
    rustix::fs::statx(dir, c"", AtFlags::EMPTY_PATH, StatxFlags::empty())
        .map(|found| (found.stx_dev_major, found.stx_dev_minor))
}

/// What comes of making a token here; nothing if this is no root of a BPF FS.
fn try_token(dir: BorrowedFd<'_>) -> Option<rustix::io::Result<OwnedFd>> {
    let is_bpffs =
        rustix::fs::fstatfs(dir).is_ok_and(|found| u64::try_from(found.f_type) == Ok(BPF_FS_MAGIC));
    if !is_bpffs || !is_mount_root(dir) {
        return None;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(dir, c".", flags, Mode::empty()).ok()?;
    Some(sys::token_create(root.as_fd(), None))
}

/// Unmounts what has its root here.
pub(super) fn detach(root: BorrowedFd<'_>) -> Result<()> {
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
