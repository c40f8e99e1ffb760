// SPDX-License-Identifier: GPL-2.0
//! The manager: privileged, starts the container and delegates BPF to it.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use bpf_token::Container;
use bpf_token::Delegation;
use bpf_token::IdMap;
use bpf_token::Process;
use bpf_token::Received;
use bpf_token::Target;
use bpf_token::DEFAULT_BPFFS;

use crate::loader;
use crate::neighbours;
use crate::story;
use crate::CONTAINER;
use crate::STDIN;

/// The host's user that is root in the container.
const HOST_ID: u32 = 1000;

/// What both programs need. libbpf loads a socket filter first, to see whether BPF works at all.
const ENOUGH: &str = "delegate_cmds=map_create:prog_load:btf_load,\
    delegate_maps=array:ringbuf,\
    delegate_progs=socket_filter:xdp:tracing,\
    delegate_attachs=cgroup_inet_ingress:trace_raw_tp:xdp";

/// The same without the types of the two programs.
const TOO_LITTLE: &str = "delegate_cmds=map_create:prog_load:btf_load,\
    delegate_maps=array:ringbuf,\
    delegate_progs=socket_filter,\
    delegate_attachs=cgroup_inet_ingress:trace_raw_tp:xdp";

/// What stays when tracing is taken back.
const WITHOUT_TRACING: &str = "delegate_cmds=map_create:prog_load:btf_load,\
    delegate_maps=array:ringbuf,\
    delegate_progs=socket_filter:xdp,\
    delegate_attachs=cgroup_inet_ingress:trace_raw_tp:xdp";

pub fn run() -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "the manager delegates BPF, which takes root: run the demo as root"
    );
    let kernel = rustix::system::uname();
    println!(
        "BPF in a container through a BPF token, on Linux {}",
        kernel.release().to_string_lossy()
    );

    let (ours, theirs) = UnixStream::pair()?;
    let exe = fs::File::open("/proc/self/exe").context("open the demo itself")?;
    let mut container = Container::new("demo")
        .file(exe.into())
        .args([CONTAINER])
        .ids([IdMap::root(HOST_ID)], [IdMap::root(HOST_ID)])
        .network(true)
        .pid(true)
        .pass_fd(OwnedFd::from(theirs), STDIN)
        .spawn()?;
    let pid = container.pid();
    story::act("manager", &format!("is pid {}, uid 0", std::process::id()));
    story::act(
        "container",
        &format!(
            "is pid {pid}, uid {} outside, in its own user, mount, network and pid namespaces",
            host_uid(pid)?
        ),
    );
    rustix::io::write(&ours, b"s").context("start the container")?;

    serve(&ours, ENOUGH)?;
    held_token(&ours, pid)?;
    serve(&ours, TOO_LITTLE)?;
    serve(&ours, ENOUGH)?;
    take_back(&ours, pid)?;

    let status = container.wait()?;
    ensure!(status.success(), "the container ended with {status}");

    story::chapter("6. A policy knows two containers apart");
    neighbours::start()?;

    story::chapter("7. bpftrace, as Debian has it, in a container of an unprivileged user");
    loader::start()?;
    story::chapter("Every step came out as it should.");
    Ok(())
}

/// Answers one request of the container for a BPF FS.
fn serve(socket: &UnixStream, options: &str) -> Result<()> {
    let request = Received::receive(socket)?;
    let delegation: Delegation = options.parse()?;
    story::act("manager", "received the fs context; sets on it:");
    for option in delegation.to_string().split(',') {
        story::evidence(option);
    }
    request.grant(&delegation)?;
    Ok(())
}

/// Looks from the outside at the token that the container holds.
fn held_token(socket: &UnixStream, pid: i32) -> Result<()> {
    let mut ready = [0];
    rustix::io::read(socket, &mut ready).context("wait for the container's token")?;
    let tokens = bpf_token::held_tokens(&Process::open(pid)?)?;
    let enough = ENOUGH.parse::<Delegation>()?;
    let granted = tokens.first().map(|token| Delegation::from(token.info));
    for token in &tokens {
        story::act(
            "manager",
            &format!("reads /proc/{pid}/fdinfo/{}:", token.fd),
        );
        let text = fs::read_to_string(format!("/proc/{pid}/fdinfo/{}", token.fd))?;
        for line in text.lines().filter(|line| line.starts_with("allowed_")) {
            story::evidence(&line.replace('\t', " "));
        }
    }
    story::outcome(
        granted == Some(enough),
        "the container holds a token that grants just this",
    );
    rustix::io::write(socket, b"g").context("let the container go on")?;
    Ok(())
}

/// Takes tracing back while the container's program runs.
fn take_back(socket: &UnixStream, pid: i32) -> Result<()> {
    let mut ready = [0];
    rustix::io::read(socket, &mut ready).context("wait for the container's program")?;
    let process = Process::open(pid)?;
    let instance = Target::new(&process, DEFAULT_BPFFS).instance()?;
    let change = instance.narrow(&WITHOUT_TRACING.parse()?)?;
    story::act("manager", "takes tracing back; the BPF FS delegates now:");
    for option in change.after.to_string().split(',') {
        story::evidence(option);
    }
    rustix::io::write(socket, b"g").context("let the container go on")?;
    Ok(())
}

/// The uid that the host sees.
fn host_uid(pid: i32) -> Result<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let uid = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .and_then(|line| line.split_whitespace().next())
        .context("no Uid in /proc/PID/status")?;
    let uid = uid.parse()?;
    ensure!(uid == HOST_ID, "the container has uid {uid} on the host");
    Ok(uid)
}
