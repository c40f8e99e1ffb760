// SPDX-License-Identifier: GPL-2.0

//! Instances of BPF FS: what is delegated, and how a worker comes by them.

use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering::Relaxed;

use fastrand::Rng;
use guest::bpf::Masks;
use guest::container::Delegation;
use rustix::fs::AtFlags;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount;
use rustix::mount::FsMountFlags;
use rustix::mount::FsOpenFlags;
use rustix::mount::MountAttrFlags;
use rustix::mount::MoveMountFlags;
use rustix::mount::UnmountFlags;
use rustix::net::RecvFlags;
use rustix::net::SendFlags;

use super::operations::take_any;
use super::sockets;
use super::worker::Instance;
use super::worker::Worker;

/// What is delegated, at random.
pub const DELEGATIONS: [Delegation<'static>; 3] = [
    Delegation::ANY,
    Delegation::of("map_create", "any", "", "").with_cookie("7"),
    Delegation::of("prog_load:btf_load", "", "socket_filter", "0x1"),
];

/// The masks of these.
pub const MASKS: [Masks; 3] = [
    Masks {
        cmds: u64::MAX,
        maps: u64::MAX,
        progs: u64::MAX,
        attachs: u64::MAX,
    },
    Masks {
        cmds: 1,
        maps: u64::MAX,
        progs: 0,
        attachs: 0,
    },
    Masks {
        cmds: (1 << 5) | (1 << 18),
        maps: 0,
        progs: 1 << 1,
        attachs: 1,
    },
];

/// The most that a worker holds.
const MOST: usize = 6;

pub fn mount(worker: &Worker<'_>, rng: &mut Rng) -> Result<bool, Errno> {
    if worker.held().instances.len() >= MOST {
        return Ok(false);
    }
    let context = mount::fsopen("bpf", FsOpenFlags::FSOPEN_CLOEXEC)?;
    ask(worker, context.as_fd())?;

    let flags = FsMountFlags::FSMOUNT_CLOEXEC;
    let mount = mount::fsmount(&context, flags, MountAttrFlags::empty())?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(&mount, ".", flags, Mode::empty())?;
    let path = rng.bool().then(|| directory(worker));
    if let Some(path) = &path {
        rustix::fs::mkdirat(CWD, path, Mode::RWXU)?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        mount::move_mount(&mount, "", CWD, path.as_str(), flags)?;
    }
    worker.held().instances.push(Instance { root, mount, path });
    Ok(true)
}

/// Has the manager delegate by a context, or by the mount of an instance delegate something else.
fn ask(worker: &Worker<'_>, fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let (answer, answering) = sockets::pair()?;
    sockets::send(worker.manager, &[fd, answering.as_fd()], SendFlags::empty())?;
    drop(answering);
    let (received, _) = rustix::net::recv(&answer, &mut [0; 1], RecvFlags::empty())?;
    if received == 0 {
        return Err(Errno::PIPE);
    }
    Ok(())
}

/// Has the delegation of an instance changed, of which others have tokens that they use.
pub fn remount(worker: &Worker<'_>, rng: &mut Rng) -> Result<bool, Errno> {
    let mount = match rng.choice(&worker.held().instances) {
        Some(instance) => rustix::io::fcntl_dupfd_cloexec(&instance.mount, 0)?,
        None => return Ok(false),
    };
    ask(worker, mount.as_fd())?;
    Ok(true)
}

/// Whether a token may permit this: of each mask, what several of [`MASKS`] have in common, since it is restricted to one of
/// them as its instance is.
pub fn is_known(masks: &Masks) -> bool {
    let sets = 0..1_u32 << MASKS.len();
    let common = |set: u32, mask: fn(&Masks) -> u64| {
        let chosen = MASKS.iter().enumerate();
        let chosen = chosen.filter(|(index, _)| set & (1 << index) != 0);
        chosen.fold(u64::MAX, |common, (_, masks)| common & mask(masks))
    };
    let one: [fn(&Masks) -> u64; 4] = [|it| it.cmds, |it| it.maps, |it| it.progs, |it| it.attachs];
    one.into_iter()
        .all(|mask| sets.clone().any(|set| common(set, mask) == mask(masks)))
}

/// A path that no other process of the container uses: the tmpfs there is the container's own.
fn directory(worker: &Worker<'_>) -> String {
    let pid = rustix::process::getpid().as_raw_nonzero();
    let number = worker.directories.fetch_add(1, Relaxed);
    format!("/tmp/{pid}-{number}")
}

/// Gives an instance up, and has it unmounted at once even if others use it.
pub fn unmount(worker: &Worker<'_>, rng: &mut Rng) -> Result<bool, Errno> {
    let instance = take_any(&mut worker.held().instances, rng);
    let Some(Instance { root, mount, path }) = instance else {
        return Ok(false);
    };
    if let Some(path) = path {
        mount::unmount(path.as_str(), UnmountFlags::DETACH)?;
        rustix::fs::unlinkat(CWD, &path, AtFlags::REMOVEDIR)?;
    }
    drop((root, mount));
    Ok(true)
}
