// SPDX-License-Identifier: GPL-2.0

//! What a thread of a worker does, over and over.

use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use fastrand::Rng;
use guest::bpf;
use guest::bpf::AttachType;
use guest::bpf::MapType;
use guest::bpf::Prog;
use guest::bpf::ProgType;
use guest::insn;
use guest::restrict;
use guest::sys;
use rustix::io::Errno;
use rustix::net::RecvFlags;
use rustix::net::SendFlags;
use rustix::process::Signal;

use super::mounts;
use super::sockets;
use super::worker::Worker;

/// The most tokens, and the most objects made with them, that a worker holds.
const MOST: usize = 64;

pub struct Operation {
    pub name: &'static str,
    /// How often it comes.
    pub weight: u32,
    /// Gives whether there was something to do it on.
    pub run: fn(&Worker<'_>, &mut Rng) -> Result<bool, Errno>,
    /// How it may fail.
    pub refusals: &'static [Errno],
}

/// A token of another user namespace, or one that delegates something else; a descriptor that another thread has closed;
/// one that has become something else since.
const USE: &[Errno] = &[Errno::PERM, Errno::BADF, Errno::INVAL];

/// The same, and nothing is left.
const RESTRICT: &[Errno] = &[Errno::PERM, Errno::BADF, Errno::INVAL, Errno::NOENT];

const fn operation(
    name: &'static str,
    weight: u32,
    run: fn(&Worker<'_>, &mut Rng) -> Result<bool, Errno>,
    refusals: &'static [Errno],
) -> Operation {
    Operation {
        name,
        weight,
        run,
        refusals,
    }
}

pub const OPERATIONS: [Operation; 18] = [
    operation("delegated mount", 20, mounts::mount, &[]),
    operation("unmount", 16, mounts::unmount, &[]),
    operation("token created", 120, create, &[Errno::BADF, Errno::INVAL]),
    operation("token restricted", 60, restricted, RESTRICT),
    operation("token made of a token", 60, derive, RESTRICT),
    operation("delegation changed", 16, mounts::remount, &[]),
    operation("token duplicated", 60, duplicate, &[]),
    operation("token sent", 60, send, &[Errno::AGAIN, Errno::TOOMANYREFS]),
    operation("token received", 60, receive, &[Errno::AGAIN]),
    operation("token left in a socket", 10, strand, &[Errno::TOOMANYREFS]),
    operation("map created", 40, map_create, USE),
    operation("program loaded", 40, prog_load, USE),
    operation("BTF loaded", 40, btf_load, USE),
    operation("token's info read", 40, info, &[]),
    operation("token's fdinfo read", 40, fdinfo, &[]),
    operation("token closed", 150, close, &[]),
    operation("object closed", 110, close_object, &[]),
    operation("process killed", 4, kill, &[Errno::SRCH, Errno::PERM]),
];

pub fn take_any<T>(all: &mut Vec<T>, rng: &mut Rng) -> Option<T> {
    (!all.is_empty()).then(|| all.swap_remove(rng.usize(..all.len())))
}

/// The number of a token's descriptor, which another thread may close at any time.
fn any_token(worker: &Worker<'_>, rng: &mut Rng) -> Option<RawFd> {
    rng.choice(&worker.held().tokens).map(AsRawFd::as_raw_fd)
}

fn keep_token(worker: &Worker<'_>, token: OwnedFd) {
    let mut held = worker.held();
    if held.tokens.len() < MOST {
        held.tokens.push(token);
    }
}

fn create(worker: &Worker<'_>, rng: &mut Rng) -> Result<bool, Errno> {
    let root = rng
        .choice(&worker.held().instances)
        .map(|instance| instance.root.as_raw_fd());
    let Some(root) = root else {
        return Ok(false);
    };
    let token = sys::token_create(&bpf::token_create_attr(0, root))?;
    keep_token(worker, token);
    Ok(true)
}

fn restricted(worker: &Worker<'_>, rng: &mut Rng) -> Result<bool, Errno> {
    let root = rng
        .choice(&worker.held().instances)
        .map(|instance| instance.root.as_raw_fd());
    restrict(worker, rng, root)
}

fn derive(worker: &Worker<'_>, rng: &mut Rng) -> Result<bool, Errno> {
    let token = any_token(worker, rng);
    restrict(worker, rng, token)
}

fn restrict(worker: &Worker<'_>, rng: &mut Rng, source: Option<RawFd>) -> Result<bool, Errno> {
    let Some(source) = source else {
        return Ok(false);
    };
    let masks = rng.choice(&mounts::MASKS).expect("there are some");
    let token = restrict::token(&source, masks)?;
    keep_token(worker, token);
    Ok(true)
}

fn duplicate(worker: &Worker<'_>, rng: &mut Rng) -> Result<bool, Errno> {
    let copy = match rng.choice(&worker.held().tokens) {
        Some(token) => rustix::io::fcntl_dupfd_cloexec(token, 0)?,
        None => return Ok(false),
    };
    keep_token(worker, copy);
    Ok(true)
}

/// One of the sockets of all, from its one or its other end.
fn any_socket<'a>(worker: &Worker<'a>, rng: &mut Rng) -> &'a OwnedFd {
    let (one, other) = rng.choice(worker.sockets).expect("there are sockets");
    if rng.bool() {
        one
    } else {
        other
    }
}

fn send(worker: &Worker<'_>, rng: &mut Rng) -> Result<bool, Errno> {
    let socket = any_socket(worker, rng);
    match rng.choice(&worker.held().tokens) {
        Some(token) => sockets::send(socket, &[token.as_fd()], SendFlags::DONTWAIT)?,
        None => return Ok(false),
    }
    Ok(true)
}

fn receive(worker: &Worker<'_>, rng: &mut Rng) -> Result<bool, Errno> {
    for token in sockets::receive(any_socket(worker, rng), RecvFlags::DONTWAIT)? {
        keep_token(worker, token);
    }
    Ok(true)
}

/// Leaves a token in a socket that only itself refers to any more: the kernel's collector must find it.
fn strand(worker: &Worker<'_>, rng: &mut Rng) -> Result<bool, Errno> {
    let (one, other) = sockets::pair()?;
    match rng.choice(&worker.held().tokens) {
        Some(token) => sockets::send(&one, &[token.as_fd(), other.as_fd()], SendFlags::empty())?,
        None => return Ok(false),
    }
    Ok(true)
}

/// Makes an object with a token, and keeps it.
fn make(
    worker: &Worker<'_>,
    rng: &mut Rng,
    make: impl FnOnce(RawFd) -> Result<OwnedFd, Errno>,
) -> Result<bool, Errno> {
    let Some(token) = any_token(worker, rng) else {
        return Ok(false);
    };
    let object = make(token)?;
    let mut held = worker.held();
    if held.objects.len() < MOST {
        held.objects.push(object);
    }
    Ok(true)
}

fn map_create(worker: &Worker<'_>, rng: &mut Rng) -> Result<bool, Errno> {
    make(worker, rng, |token| {
        bpf::map_create(MapType::Hash, Some(token))
    })
}

fn prog_load(worker: &Worker<'_>, rng: &mut Rng) -> Result<bool, Errno> {
    let prog = Prog {
        prog_type: ProgType::SocketFilter,
        attach_type: AttachType::CgroupInetIngress,
        attach_btf_id: 0,
        insns: &insn::RETURN_0,
    };
    make(worker, rng, |token| bpf::prog_load(&prog, Some(token)))
}

fn btf_load(worker: &Worker<'_>, rng: &mut Rng) -> Result<bool, Errno> {
    make(worker, rng, |token| {
        bpf::btf_load(&bpf::btf_of_int(), Some(token))
    })
}

/// Reads what a token allows, which must come of what was delegated.
fn info(worker: &Worker<'_>, rng: &mut Rng) -> Result<bool, Errno> {
    let held = worker.held();
    let Some(token) = rng.choice(&held.tokens) else {
        return Ok(false);
    };
    let masks = bpf::masks(token);
    let known = mounts::is_known(&masks);
    assert!(known, "a token that nobody has delegated: {masks:?}");
    Ok(true)
}

fn fdinfo(worker: &Worker<'_>, rng: &mut Rng) -> Result<bool, Errno> {
    let held = worker.held();
    let Some(token) = rng.choice(&held.tokens) else {
        return Ok(false);
    };
    let path = format!("/proc/self/fdinfo/{}", token.as_raw_fd());
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let known = ["any", "0x1", "0x40020", "0x0"]
        .iter()
        .any(|mask| text.contains(&format!("allowed_cmds:\t{mask}\n")));
    assert!(known, "a token that nobody has delegated: {text}");
    Ok(true)
}

fn close(worker: &Worker<'_>, rng: &mut Rng) -> Result<bool, Errno> {
    let token = take_any(&mut worker.held().tokens, rng);
    Ok(token.is_some())
}

fn close_object(worker: &Worker<'_>, rng: &mut Rng) -> Result<bool, Errno> {
    let object = take_any(&mut worker.held().objects, rng);
    Ok(object.is_some())
}

fn kill(worker: &Worker<'_>, rng: &mut Rng) -> Result<bool, Errno> {
    let Some(target) = worker.board.target(rng.usize(..)) else {
        return Ok(false);
    };
    rustix::process::kill_process(target, Signal::KILL)?;
    Ok(true)
}
