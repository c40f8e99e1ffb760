// SPDX-License-Identifier: GPL-2.0
//! The two processes of the benchmark: the manager, root of the initial user namespace, and this
//! program once more in a container of its own.

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::path::Path;

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
use crate::mounts;
use crate::supervised;
use crate::tokens;

/// The number of the container's end of the socket.
const SOCKET: i32 = 3;

/// What the file systems of the container delegate, in the order in which it asks for them.
const DELEGATIONS: [&str; 4] = [
    "delegate_cmds=map_create:prog_load:btf_load:btf_get_fd_by_id,delegate_maps=hash:array:lru_hash:ringbuf,\
     delegate_progs=socket_filter:kprobe:xdp:cgroup_skb,\
     delegate_attachs=cgroup_inet_ingress:cgroup_device:xdp:sk_lookup",
    "delegate_cmds=map_create,delegate_maps=hash",
    "delegate_cmds=map_create:prog_load,delegate_maps=hash:array",
    "delegate_cmds=prog_bind_map",
];
/// Which of them is reconfigured, when the container asks for the next one and has mounted it.
const RECONFIGURED: usize = 2;

/// The number of the file that has the use of each token traced, if the kernel can.
const USES: i32 = 4;

/// Starts the container, gives it its file systems, and waits until it is done.
pub fn start() -> Result<()> {
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let program = OwnedFd::from(File::open("/proc/self/exe")?);
    let mut container = Container::new("bench")
        .file(program)
        .args(["inside"])
        .ids([IdMap::root(0)], [IdMap::root(0)])
        .pass_fd(theirs, SOCKET);
    if let Some(uses) = event_of_uses()? {
        container = container.pass_fd(uses.into(), USES);
    }
    let mut running = container.spawn()?;
    let mut contexts = Vec::new();
    for delegation in DELEGATIONS {
        let delegation: Delegation = delegation.parse()?;
        let received = Received::receive(&ours)?;
        if contexts.len() == RECONFIGURED + 1 {
            mounts::take_back(&contexts[RECONFIGURED])?;
        }
        contexts.push(received.grant(&delegation)?);
    }
    let status = running.wait()?;
    ensure!(status.success(), "the container's part ended with {status}");
    Ok(())
}

/// The file that turns the trace event of a token's use on and off.
fn event_of_uses() -> Result<Option<File>> {
    const TRACEFS: &str = "/sys/kernel/tracing";
    let path = Path::new(TRACEFS).join("events/bpf_token/bpf_token_use/enable");
    if !Path::new(TRACEFS).join("events").exists() {
        let none: Option<&CStr> = None;
        rustix::mount::mount("tracefs", TRACEFS, "tracefs", MountFlags::empty(), none)
            .context("mount tracefs")?;
    }
    if !path.exists() {
        return Ok(None);
    }
    let file = File::options().write(true).open(&path);
    Ok(Some(file.with_context(|| path.display().to_string())?))
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
    let [granting, hash_only, remounted, other] =
        [0, 1, 2, 3].map(|n: usize| bpf::fd(Command::token_create(roots[n].as_fd()).run()));
    tokens::permitted(&bench, "with token", Some(granting.as_fd()))?;
    tokens::refused(&bench, other.as_fd())?;
    tokens::refused_map(&bench, &hash_only)?;
    tokens::wrong_descriptor(&bench, roots[0].as_fd())?;
    tokens::after_remount(&bench, remounted.as_fd())?;
    // Found by trying: C knows no flag.
    let root = roots[0].as_fd();
    if Command::token_restrict(root, [1; 4]).run() >= 0 {
        // SAFETY: The manager of a kernel that has the event passed it as this number, and nothing else owns it.
        let uses = unsafe { File::from_raw_fd(USES) };
        tokens::beyond_c(&bench, root, granting.as_fd(), &uses)?;
    }
    supervised::start(Path::new("/tmp/0"))?;
    memory::tokens(roots[0].as_fd())
}
