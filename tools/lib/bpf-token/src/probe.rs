// SPDX-License-Identifier: MIT OR Apache-2.0
//! Feature detection: what bpf(2) would let the caller do, with a token or without, found out by
//! trying.
//!
//! What takes a token is done for real, and undone by closing its descriptor. Other commands are
//! tried with arguments that name no object, which tells whether the caller may use them at all.
//! Nothing is left behind.
//!
//! ```no_run
//! use bpf_token::{probe, Token};
//! let discovery = Token::discover(None)?;
//! for (map_type, outcome) in probe::map_types(discovery.token()) {
//!     println!("{map_type}: {} {}", outcome.is_allowed(), outcome.detail());
//! }
//! # Ok::<(), bpf_token::Error>(())
//! ```

use std::os::fd::AsFd;
use std::os::fd::OwnedFd;

use crate::btf;
use crate::btf::Btf;
use crate::command::btf_by_id;
use crate::command::load_btf;
use crate::command::AttachTarget;
use crate::command::MapAttr;
use crate::command::ProgAttr;
use crate::errno::Errno;
use crate::errno::IntoErrno;
use crate::error::Error;
use crate::error::Result;
use crate::insn::Insn;
use crate::kind::Enumerator;
use crate::mask::Mask;
use crate::names::AttachType;
use crate::names::Cmd;
use crate::names::MapType;
use crate::names::ProgType;
use crate::sys;
use crate::token::Token;

/// What came of trying something.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(tag = "outcome", rename_all = "lowercase")
)]
#[non_exhaustive]
pub enum Outcome {
    /// It was done.
    Works,
    /// It may be done; that it was not has this other cause.
    Permitted {
        /// The cause.
        detail: String,
    },
    /// It may not be done.
    Refused {
        /// The errno, and the kernel's reason if it gave one.
        detail: String,
    },
    /// The kernel has no such thing.
    Unsupported {
        /// The errno.
        detail: String,
    },
}

impl Outcome {
    fn of(result: Result<OwnedFd>, other: impl FnOnce(String) -> Self) -> Self {
        let error = match result {
            Ok(_) => return Self::Works,
            Err(error) => error,
        };
        let errno = error.errno().unwrap_or(Errno::EIO);
        let detail = format!("{errno}{}", error.reason());
        match errno {
            Errno::EPERM | Errno::EACCES => Self::Refused { detail },
            _ => other(detail),
        }
    }

    /// Whether it may be done.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Works | Self::Permitted { .. })
    }

    /// Errno and reason, or what else there is to say; empty for what works.
    pub fn detail(&self) -> &str {
        match self {
            Self::Works => "",
            Self::Permitted { detail }
            | Self::Refused { detail }
            | Self::Unsupported { detail } => detail,
        }
    }
}

/// Tries every map type that Linux 7.3 names.
pub fn map_types(token: Option<&Token>) -> Vec<(MapType, Outcome)> {
    let inner = array().create(token).ok();
    let btf = load_btf(&INT_BTF, token).ok();
    let unsupported = |detail| Outcome::Unsupported { detail };
    let permitted = |detail| Outcome::Permitted { detail };
    Mask::<MapType>::KNOWN
        .iter()
        // The first is BPF_MAP_TYPE_UNSPEC, which is no type.
        .skip(1)
        .map(|map_type| {
            let mut attr = map_attr(map_type);
            attr.inner_map = inner.as_ref().map(AsFd::as_fd);
            attr.btf = btf.as_ref().map(AsFd::as_fd);
            if !matches!(map_type, MapType::ARRAY_OF_MAPS | MapType::HASH_OF_MAPS) {
                attr.inner_map = None;
            }
            if attr.btf_value_type_id == 0 {
                attr.btf = None;
            }
            let result = attr.create(token);
            let outcome = match map_type {
                // These need more than a token: another map, BTF, a type of the kernel.
                MapType::ARRAY_OF_MAPS | MapType::HASH_OF_MAPS if inner.is_none() => {
                    Outcome::of(result, permitted)
                }
                MapType::STRUCT_OPS => Outcome::of(result, permitted),
                _ if attr.btf_value_type_id != 0 && btf.is_none() => Outcome::of(result, permitted),
                _ => Outcome::of(result, unsupported),
            };
            (map_type, outcome)
        })
        .collect()
}

/// Tries every program type that Linux 7.3 names, with each attach type that it may be loaded for
/// until one is allowed.
pub fn prog_types(token: Option<&Token>) -> Vec<(ProgType, Outcome)> {
    let btf = Btf::of_kernel();
    Mask::<ProgType>::KNOWN
        .iter()
        // The first is BPF_PROG_TYPE_UNSPEC, which is no type.
        .skip(1)
        .map(|prog_type| {
            let mut outcomes = attach_types(prog_type)
                .iter()
                .map(|&attach_type| try_program(prog_type, attach_type, btf.as_ref(), token));
            let first = outcomes.next().unwrap_or(Outcome::Works);
            let outcome = if first.is_allowed() {
                first
            } else {
                outcomes.find(Outcome::is_allowed).unwrap_or(first)
            };
            (prog_type, outcome)
        })
        .collect()
}

/// Tries every command that Linux 7.3 names, given what [`map_types`] and [`prog_types`] found.
pub fn commands(
    token: Option<&Token>,
    maps: &[(MapType, Outcome)],
    progs: &[(ProgType, Outcome)],
) -> Vec<(Cmd, Outcome)> {
    fn best<E>(tried: &[(E, Outcome)]) -> Outcome {
        let outcomes = || tried.iter().map(|(_, outcome)| outcome);
        let best = outcomes()
            .find(|outcome| **outcome == Outcome::Works)
            .or_else(|| outcomes().find(|outcome| outcome.is_allowed()))
            .or_else(|| outcomes().find(|outcome| matches!(outcome, Outcome::Refused { .. })));
        best.or_else(|| outcomes().next())
            .cloned()
            .unwrap_or(Outcome::Works)
    }
    let permitted = |detail| Outcome::Permitted { detail };
    Mask::<Cmd>::KNOWN
        .iter()
        .map(|cmd| {
            let outcome = match cmd {
                Cmd::MAP_CREATE => best(maps),
                Cmd::PROG_LOAD => best(progs),
                Cmd::BTF_LOAD => Outcome::of(load_btf(&INT_BTF, token), permitted),
                // The kernel's own BTF has the first id.
                Cmd::BTF_GET_FD_BY_ID => Outcome::of(btf_by_id(1, token), permitted),
                _ => {
                    let name = cmd.name().unwrap_or_default();
                    match sys::harmless(cmd, no_object(name)).map_err(IntoErrno::into_errno) {
                        Ok(()) => Outcome::Works,
                        // The list was gone through; there is nothing in it.
                        Err(Errno::ENOENT) if name.ends_with("_next_id") => Outcome::Works,
                        Err(errno) => Outcome::of(Err(Error::sys(name, errno)), permitted),
                    }
                }
            };
            (cmd, outcome)
        })
        .collect()
}

/// Arguments, as 32-bit words of `union bpf_attr`, with which a command finds no object to work on.
fn no_object(cmd: &str) -> &'static [i32] {
    const NO_FD: i32 = -1;
    match cmd {
        "obj_pin" | "raw_tracepoint_open" => &[0, 0, NO_FD],
        "prog_attach" | "prog_detach" | "prog_bind_map" | "prog_assoc_struct_ops" => {
            &[NO_FD, NO_FD]
        }
        "token_create" => &[0, NO_FD],
        "prog_stream_read_by_fd" => &[0, 0, 0, 1, NO_FD],
        batch if batch.ends_with("_batch") => &[0, 0, 0, 0, 0, 0, 0, 0, 0, NO_FD],
        // These take an id, of which 0 is none, or something else than a descriptor.
        "obj_get" | "prog_query" | "task_fd_query" | "enable_stats" => &[0],
        id if id.ends_with("_id") => &[0],
        _ => &[NO_FD],
    }
}

fn array() -> MapAttr<'static> {
    MapAttr::new(MapType::ARRAY, 4, 4, 1)
}

/// The smallest map of each type that the checks of its `map_alloc_check` and `map_alloc` let pass.
fn map_attr(map_type: MapType) -> MapAttr<'static> {
    const NO_PREALLOC: u32 = 1 << 0;
    const MMAPABLE: u32 = 1 << 10;
    let page = u32::try_from(rustix::param::page_size()).unwrap_or(4096);
    let (key_size, value_size, max_entries, flags) = match map_type {
        MapType::STACK_TRACE => (4, 8, 1, 0),
        MapType::LPM_TRIE => (8, 4, 1, NO_PREALLOC),
        MapType::RHASH => (4, 4, 1, NO_PREALLOC),
        MapType::CGROUP_STORAGE_DEPRECATED | MapType::PERCPU_CGROUP_STORAGE_DEPRECATED => {
            (8, 4, 0, 0)
        }
        MapType::QUEUE | MapType::STACK | MapType::BLOOM_FILTER => (0, 4, 1, 0),
        MapType::SK_STORAGE
        | MapType::INODE_STORAGE
        | MapType::TASK_STORAGE
        | MapType::CGRP_STORAGE => (4, 4, 0, NO_PREALLOC),
        MapType::RINGBUF | MapType::USER_RINGBUF => (0, 0, page, 0),
        MapType::ARENA => (0, 0, 1, MMAPABLE),
        MapType::INSN_ARRAY => (4, 16, 1, 0),
        _ => (4, 4, 1, 0),
    };
    let mut attr = MapAttr::new(map_type, key_size, value_size, max_entries);
    attr.flags = flags;
    match map_type {
        MapType::SK_STORAGE
        | MapType::INODE_STORAGE
        | MapType::TASK_STORAGE
        | MapType::CGRP_STORAGE => {
            attr.btf_key_type_id = 1;
            attr.btf_value_type_id = 1;
        }
        MapType::STRUCT_OPS => attr.btf_vmlinux_value_type_id = 1,
        _ => {}
    }
    attr
}

fn try_program(
    prog_type: ProgType,
    attach_type: AttachType,
    kernel: Option<&Btf>,
    token: Option<&Token>,
) -> Outcome {
    let target = match (prog_type, attach_type) {
        (ProgType::TRACING, AttachType::TRACE_RAW_TP) => {
            Some((btf::TYPEDEF, "btf_trace_sched_process_exec"))
        }
        (ProgType::TRACING, AttachType::TRACE_FENTRY | AttachType::TRACE_FEXIT) => {
            Some((btf::FUNC, "bpf_prog_get_type_path"))
        }
        (ProgType::TRACING, AttachType::TRACE_ITER) => Some((btf::FUNC, "bpf_iter_task")),
        (ProgType::LSM, _) => Some((btf::FUNC, "bpf_lsm_file_open")),
        _ => None,
    };
    let insns = [Insn::mov64_imm(0, 0), Insn::exit()];
    let mut program = ProgAttr::new(prog_type, &insns).loaded_for(attach_type);
    if let (Some(btf), Some((kind, name))) = (kernel, target) {
        program.attach = btf
            .id(kind, name)
            .map_or(AttachTarget::None, AttachTarget::Kernel);
    }
    // Past the permission checks, what fails is the rest: a type that is not built in, or a target
    // that a probe lacks.
    Outcome::of(program.load(token), |detail| Outcome::Permitted { detail })
}

/// The attach types that `bpf_prog_load_check_attach()` lets pass for a type, or that libbpf loads
/// it for.
fn attach_types(prog_type: ProgType) -> &'static [AttachType] {
    use AttachType as A;
    match prog_type {
        ProgType::KPROBE => &[
            A::CGROUP_INET_INGRESS,
            A::TRACE_KPROBE_MULTI,
            A::TRACE_UPROBE_MULTI,
            A::TRACE_KPROBE_SESSION,
            A::TRACE_UPROBE_SESSION,
        ],
        ProgType::SCHED_CLS => &[
            A::CGROUP_INET_INGRESS,
            A::TCX_INGRESS,
            A::TCX_EGRESS,
            A::NETKIT_PRIMARY,
            A::NETKIT_PEER,
        ],
        ProgType::XDP => &[A::XDP, A::CGROUP_INET_INGRESS, A::XDP_DEVMAP, A::XDP_CPUMAP],
        ProgType::CGROUP_SKB => &[A::CGROUP_INET_INGRESS, A::CGROUP_INET_EGRESS],
        ProgType::CGROUP_SOCK => &[
            A::CGROUP_INET_SOCK_CREATE,
            A::CGROUP_INET_SOCK_RELEASE,
            A::CGROUP_INET4_POST_BIND,
            A::CGROUP_INET6_POST_BIND,
        ],
        ProgType::SOCK_OPS => &[A::CGROUP_SOCK_OPS, A::CGROUP_INET_INGRESS],
        ProgType::SK_SKB => &[
            A::SK_SKB_VERDICT,
            A::SK_SKB_STREAM_PARSER,
            A::SK_SKB_STREAM_VERDICT,
            A::CGROUP_INET_INGRESS,
        ],
        ProgType::CGROUP_DEVICE => &[A::CGROUP_DEVICE, A::CGROUP_INET_INGRESS],
        ProgType::SK_MSG => &[A::SK_MSG_VERDICT, A::CGROUP_INET_INGRESS],
        ProgType::CGROUP_SOCK_ADDR => &[
            A::CGROUP_INET4_BIND,
            A::CGROUP_INET6_BIND,
            A::CGROUP_INET4_CONNECT,
            A::CGROUP_INET6_CONNECT,
            A::CGROUP_UDP4_SENDMSG,
            A::CGROUP_UDP6_SENDMSG,
            A::CGROUP_UDP4_RECVMSG,
            A::CGROUP_UDP6_RECVMSG,
            A::CGROUP_INET4_GETPEERNAME,
            A::CGROUP_INET6_GETPEERNAME,
            A::CGROUP_INET4_GETSOCKNAME,
            A::CGROUP_INET6_GETSOCKNAME,
            A::CGROUP_UNIX_CONNECT,
            A::CGROUP_UNIX_SENDMSG,
            A::CGROUP_UNIX_RECVMSG,
            A::CGROUP_UNIX_GETPEERNAME,
            A::CGROUP_UNIX_GETSOCKNAME,
        ],
        ProgType::LIRC_MODE2 => &[A::LIRC_MODE2, A::CGROUP_INET_INGRESS],
        ProgType::SK_REUSEPORT => &[A::SK_REUSEPORT_SELECT, A::SK_REUSEPORT_SELECT_OR_MIGRATE],
        ProgType::FLOW_DISSECTOR => &[A::FLOW_DISSECTOR, A::CGROUP_INET_INGRESS],
        ProgType::CGROUP_SYSCTL => &[A::CGROUP_SYSCTL, A::CGROUP_INET_INGRESS],
        ProgType::CGROUP_SOCKOPT => &[A::CGROUP_GETSOCKOPT, A::CGROUP_SETSOCKOPT],
        ProgType::TRACING => &[
            A::TRACE_RAW_TP,
            A::TRACE_FENTRY,
            A::TRACE_FEXIT,
            A::TRACE_ITER,
        ],
        ProgType::STRUCT_OPS => &[A::STRUCT_OPS, A::CGROUP_INET_INGRESS],
        ProgType::LSM => &[A::LSM_MAC, A::LSM_CGROUP],
        ProgType::SK_LOOKUP => &[A::SK_LOOKUP],
        ProgType::NETFILTER => &[A::NETFILTER],
        _ => &[A::CGROUP_INET_INGRESS],
    }
}

/// BTF of one type, `int`: a header, the type, and the strings.
#[rustfmt::skip]
const INT_BTF: [u8; 45] = [
    // magic 0xeb9f, version 1, flags 0, header length 24
    0x9f, 0xeb, 1, 0, 24, 0, 0, 0,
    // types: offset 0, length 16; strings: offset 16, length 5
    0, 0, 0, 0, 16, 0, 0, 0, 16, 0, 0, 0, 5, 0, 0, 0,
    // name 1, BTF_KIND_INT, 4 bytes, signed, 32 bits
    1, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0, 32, 0, 0, 1,
    0, b'i', b'n', b't', 0,
];
