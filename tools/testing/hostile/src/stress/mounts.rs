// SPDX-License-Identifier: GPL-2.0

//! Instances of BPF FS: what is delegated, and how a worker comes by them.

use std::os::fd::AsFd;
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
    Delegation::of("map_create", "any", "", ""),
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
    let (answer, answering) = sockets::pair()?;
    let request = [context.as_fd(), answering.as_fd()];
    sockets::send(worker.manager, &request, SendFlags::empty())?;
    drop(answering);
    let (received, _) = rustix::net::recv(&answer, &mut [0; 1], RecvFlags::empty())?;
    if received == 0 {
        return Err(Errno::PIPE);
    }

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
