// SPDX-License-Identifier: GPL-2.0

//! The commands that accept a token, with one that grants and with one that does not.

use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use guest::bpf;
use guest::bpf::AttachType;
use guest::bpf::MapType;
use guest::bpf::Prog;
use guest::bpf::ProgType;
use guest::container::Delegation;
use guest::container::Instance;
use guest::insn;
use guest::log::Log;
use rustix::io::Errno;

use super::By;
use super::Injector;
use super::Makes;
use super::Operation;

/// Grants neither BTF nor hash maps nor XDP programs.
const LITTLE: Delegation<'static> =
    Delegation::of("map_create:prog_load", "array", "kprobe", "any");

const NOT_DELEGATED: &str = "the token does not delegate";

pub const XDP: Prog<'static> = Prog {
    prog_type: ProgType::Xdp,
    attach_type: AttachType::Xdp,
    attach_btf_id: 0,
    insns: &insn::RETURN_0,
};

pub fn operations() -> Vec<Operation> {
    let mut operations = granted_commands();
    operations.extend(refused_commands());
    operations
}

/// What is done while a token is at hand, made before.
fn with_token(
    delegation: Delegation<'static>,
    part: impl Fn(RawFd, &mut Injector) + 'static,
) -> By {
    By::container(delegation, move |instance, injector| {
        let token = instance.token();
        part(token.as_raw_fd(), injector);
    })
}

fn granted(
    name: &'static str,
    call: impl Fn(RawFd) -> Result<OwnedFd, Errno> + 'static,
) -> Operation {
    let part = move |token, injector: &mut Injector| {
        let _ = injector.inject(|| call(token));
    };
    Operation::new(name, Makes::File, with_token(Delegation::ANY, part))
}

fn granted_commands() -> Vec<Operation> {
    let (btf, btf_to_find) = (bpf::btf_of_int(), bpf::btf_of_int());
    vec![
        granted("BPF_MAP_CREATE hash", |token| {
            bpf::map_create(MapType::Hash, Some(token))
        }),
        granted("BPF_MAP_CREATE array", |token| {
            bpf::map_create(MapType::Array, Some(token))
        }),
        granted("BPF_PROG_LOAD", |token| bpf::prog_load(&XDP, Some(token))),
        granted("BPF_BTF_LOAD", move |token| {
            bpf::btf_load(&btf, Some(token))
        }),
        Operation::new(
            "BPF_BTF_GET_FD_BY_ID",
            Makes::File,
            with_token(Delegation::ANY, move |token, injector| {
                let loaded = bpf::btf_load(&btf_to_find, Some(token)).expect("granted");
                let id = bpf::btf_id(&loaded);
                let _ = injector.inject(|| bpf::btf_get_fd_by_id(id, Some(token)));
            }),
        ),
    ]
}

type Logged = fn(RawFd, &Log<'_>, &[u8]) -> Result<OwnedFd, Errno>;

/// A command with a token that does not delegate it, which the log says.
fn refused(name: &'static str, call: Logged) -> Operation {
    let btf = bpf::btf_of_int();
    let part = move |token, injector: &mut Injector| {
        super::inject_logged(injector, NOT_DELEGATED, |log| call(token, log, &btf));
    };
    Operation::refused(name, Errno::PERM, with_token(LITTLE, part))
}

/// A command with a descriptor that is no token, which the log says.
fn no_token(name: &'static str, call: Logged) -> Operation {
    let btf = bpf::btf_of_int();
    let part = move |instance: &Instance, injector: &mut Injector| {
        let root = instance.root.as_raw_fd();
        super::inject_logged(injector, "is not a BPF token", |log| call(root, log, &btf));
    };
    Operation::refused(name, Errno::INVAL, By::container(LITTLE, part))
}

fn refused_commands() -> Vec<Operation> {
    let map: Logged = |token, log, _| bpf::map_create_logged(MapType::Hash, Some(token), log);
    let prog: Logged = |token, log, _| bpf::prog_load_logged(&XDP, Some(token), log);
    vec![
        refused("BPF_MAP_CREATE refused, log", map),
        no_token("BPF_MAP_CREATE without a token, log", map),
        refused("BPF_PROG_LOAD refused, log", prog),
        no_token("BPF_PROG_LOAD without a token, log", prog),
        refused("BPF_PROG_LOAD refused, common log", |token, log, _| {
            bpf::prog_load_commonly_logged(&XDP, Some(token), log)
        }),
        refused("BPF_BTF_LOAD refused, log", |token, log, btf| {
            bpf::btf_load_logged(btf, Some(token), log)
        }),
        refused("BPF_BTF_LOAD refused, common log", |token, log, btf| {
            bpf::btf_load_commonly_logged(btf, Some(token), log)
        }),
        Operation::refused(
            "BPF_BTF_GET_FD_BY_ID refused",
            Errno::PERM,
            with_token(LITTLE, |token, injector| {
                let _ = injector.inject(|| bpf::btf_get_fd_by_id(1, Some(token)));
            }),
        ),
    ]
}
