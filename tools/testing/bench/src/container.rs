// SPDX-License-Identifier: GPL-2.0
//! The two processes of the benchmark: the manager, root of the initial user namespace, and this
//! program once more in a container of its own.

use std::os::fd::AsFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use bpf_token::Container;
use bpf_token::Delegation;
use bpf_token::IdMap;
use bpf_token::Received;
use bpf_token::Request;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::mount::MountFlags;
use rustix::net::AddressFamily;
use rustix::net::SocketFlags;
use rustix::net::SocketType;

use crate::bpf;
use crate::bpf::Command;
use crate::measure::Bench;
use crate::memory;
use crate::tokens;

/// The number of the container's end of the socket.
const SOCKET: i32 = 3;

/// What the file systems of the container delegate, in the order in which it asks for them.
const DELEGATIONS: [&str; 3] = [
    "delegate_cmds=map_create:prog_load:btf_load:btf_get_fd_by_id,delegate_maps=hash:array:lru_hash:ringbuf,\
     delegate_progs=socket_filter:kprobe:xdp:cgroup_skb,\
     delegate_attachs=cgroup_inet_ingress:cgroup_device:xdp:sk_lookup",
    "delegate_cmds=map_create,delegate_maps=hash",
    "delegate_cmds=prog_bind_map",
];

/// Starts the container, gives it its file systems, and waits until it is done.
pub fn start() -> Result<()> {
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let program = OwnedFd::from(std::fs::File::open("/proc/self/exe")?);
    let mut running = Container::new("bench")
        .file(program)
        .args(["inside"])
        .ids([IdMap::root(0)], [IdMap::root(0)])
        .pass_fd(theirs, SOCKET)
        .spawn()?;
    for delegation in DELEGATIONS {
        let delegation: Delegation = delegation.parse()?;
        Received::receive(&ours)?.grant(&delegation)?;
    }
    let status = running.wait()?;
    ensure!(status.success(), "the container's part ended with {status}");
    Ok(())
}

/// The container's part.
pub fn inside() -> Result<()> {
    // SAFETY: The manager passed the socket as this number, and nothing else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(SOCKET) };
    rustix::mount::mount(
        "tmpfs",
        "/tmp",
        "tmpfs",
        MountFlags::empty(),
        None::<&std::ffi::CStr>,
    )
    .context("mount /tmp")?;
    let mut roots = Vec::new();
    for number in 0..DELEGATIONS.len() {
        let path = format!("/tmp/{number}");
        std::fs::create_dir(&path)?;
        Request::send(&socket)?.wait()?.mount(&path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        roots.push(rustix::fs::open(&path, flags, Mode::empty())?);
    }
    let bench = Bench::new();
    tokens::objects(&bench, roots[0].as_fd())?;
    let [granting, hash_only, other] =
        [0, 1, 2].map(|n: usize| bpf::fd(Command::token_create(roots[n].as_fd()).run()));
    tokens::permitted(&bench, "with token", Some(granting.as_fd()))?;
    tokens::refused(&bench, other.as_fd())?;
    tokens::refused_map(&bench, &hash_only)?;
    tokens::wrong_descriptor(&bench, roots[0].as_fd())?;
    memory::tokens(roots[0].as_fd())
}
