// SPDX-License-Identifier: GPL-2.0
//! Feature detection: what bpf(2) would let the caller do, with a token or without, found out by
//! trying.
//!
//! What takes a token is done for real, and undone by closing its descriptor. Other commands are
//! tried with arguments that name no object, which tells whether the caller may use them at all.
//! Nothing is left behind.
//!
//! ```no_run
//! use bpf_token::{probe, Maps, Mask, Token};
//! let discovery = Token::discover(None)?;
//! for (map_type, outcome) in probe::map_types(discovery.token()) {
//!     let name = Mask::<Maps>::label(map_type);
//!     println!("{name}: {} {}", outcome.is_allowed(), outcome.detail());
//! }
//! # Ok::<(), bpf_token::Error>(())
//! ```

use std::os::fd::AsFd;
use std::os::fd::OwnedFd;

use rustix::io::Errno;

use crate::command::btf_by_id;
use crate::command::load_btf;
use crate::command::Insn;
use crate::command::MapAttr;
use crate::command::ProgAttr;
use crate::error::describe;
use crate::error::Error;
use crate::error::Result;
use crate::mask::Cmds;
use crate::mask::Maps;
use crate::mask::Mask;
use crate::mask::Progs;
use crate::sys;
use crate::token::Token;

/// What came of trying something.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(tag = "outcome", rename_all = "lowercase")
)]
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
        let errno = error.errno().unwrap_or(Errno::IO);
        let mut detail = describe(errno);
        if !error.reason().is_empty() {
            detail = format!("{detail}: {}", error.reason().replace('\n', "; "));
        }
        match errno {
            Errno::PERM | Errno::ACCESS => Self::Refused { detail },
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

/// Tries every map type that Linux 7.3 names; the result pairs values of `enum bpf_map_type` with
/// outcomes.
pub fn map_types(token: Option<&Token>) -> Vec<(u32, Outcome)> {
    let inner = array().create(token).ok();
    let btf = load_btf(&INT_BTF, token).ok();
    let unsupported = |detail| Outcome::Unsupported { detail };
    let permitted = |detail| Outcome::Permitted { detail };
    Mask::<Maps>::KNOWN
        .iter()
        // The first is BPF_MAP_TYPE_UNSPEC, which is no type.
        .skip(1)
        .map(|map_type| {
            let mut attr = map_attr(map_type);
            attr.inner_map = inner.as_ref().map(AsFd::as_fd);
            attr.btf = btf.as_ref().map(AsFd::as_fd);
            if !matches!(map_type, ARRAY_OF_MAPS | HASH_OF_MAPS) {
                attr.inner_map = None;
            }
            if attr.btf_value_type_id == 0 {
                attr.btf = None;
            }
            let result = attr.create(token);
            let outcome = match map_type {
                // These need more than a token: another map, BTF, a type of the kernel.
                ARRAY_OF_MAPS | HASH_OF_MAPS if inner.is_none() => Outcome::of(result, permitted),
                STRUCT_OPS => Outcome::of(result, permitted),
                _ if attr.btf_value_type_id != 0 && btf.is_none() => Outcome::of(result, permitted),
                _ => Outcome::of(result, unsupported),
            };
            (map_type, outcome)
        })
        .collect()
}

/// Tries every program type that Linux 7.3 names, with each attach type that it may be loaded for
/// until one is allowed; the result pairs values of `enum bpf_prog_type` with outcomes.
pub fn prog_types(token: Option<&Token>) -> Vec<(u32, Outcome)> {
    Mask::<Progs>::KNOWN
        .iter()
        // The first is BPF_PROG_TYPE_UNSPEC, which is no type.
        .skip(1)
        .map(|prog_type| {
            let mut outcomes = attach_types(prog_type)
                .iter()
                .map(|&attach_type| try_program(prog_type, attach_type, token));
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

/// Tries every command that Linux 7.3 names, given what [`map_types`] and [`prog_types`] found; the
/// result pairs values of `enum bpf_cmd` with outcomes.
pub fn commands(
    token: Option<&Token>,
    maps: &[(u32, Outcome)],
    progs: &[(u32, Outcome)],
) -> Vec<(u32, Outcome)> {
    let best = |tried: &[(u32, Outcome)]| {
        let outcomes = || tried.iter().map(|(_, outcome)| outcome);
        let best = outcomes()
            .find(|outcome| **outcome == Outcome::Works)
            .or_else(|| outcomes().find(|outcome| outcome.is_allowed()))
            .or_else(|| outcomes().find(|outcome| matches!(outcome, Outcome::Refused { .. })));
        best.or_else(|| outcomes().next())
            .cloned()
            .unwrap_or(Outcome::Works)
    };
    let permitted = |detail| Outcome::Permitted { detail };
    Mask::<Cmds>::KNOWN
        .iter()
        .map(|cmd| {
            let outcome = match Mask::<Cmds>::name(cmd).unwrap_or_default() {
                "map_create" => best(maps),
                "prog_load" => best(progs),
                "btf_load" => Outcome::of(load_btf(&INT_BTF, token), permitted),
                // The kernel's own BTF has the first id.
                "btf_get_fd_by_id" => Outcome::of(btf_by_id(1, token), permitted),
                name => match sys::harmless(cmd, no_object(name)) {
                    Ok(()) => Outcome::Works,
                    // The list was gone through; there is nothing in it.
                    Err(Errno::NOENT) if name.ends_with("_next_id") => Outcome::Works,
                    Err(errno) => Outcome::of(Err(Error::sys(name, errno)), permitted),
                },
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
    MapAttr {
        map_type: ARRAY,
        key_size: 4,
        value_size: 4,
        max_entries: 1,
        ..MapAttr::default()
    }
}

const ARRAY: u32 = 2;
const ARRAY_OF_MAPS: u32 = 12;
const HASH_OF_MAPS: u32 = 13;
const STRUCT_OPS: u32 = 26;

/// The smallest map of each type that the checks of its `map_alloc_check` and `map_alloc` let pass.
fn map_attr(map_type: u32) -> MapAttr<'static> {
    const NO_PREALLOC: u32 = 1 << 0;
    const MMAPABLE: u32 = 1 << 10;
    let base = MapAttr {
        map_type,
        ..array()
    };
    let page = u32::try_from(rustix::param::page_size()).unwrap_or(4096);
    match Mask::<Maps>::name(map_type).unwrap_or_default() {
        "stack_trace" => MapAttr {
            value_size: 8,
            ..base
        },
        "lpm_trie" => MapAttr {
            key_size: 8,
            flags: NO_PREALLOC,
            ..base
        },
        "rhash" => MapAttr {
            flags: NO_PREALLOC,
            ..base
        },
        "cgroup_storage_deprecated" | "percpu_cgroup_storage_deprecated" => MapAttr {
            key_size: 8,
            max_entries: 0,
            ..base
        },
        "queue" | "stack" | "bloom_filter" => MapAttr {
            key_size: 0,
            ..base
        },
        "sk_storage" | "inode_storage" | "task_storage" | "cgrp_storage" => MapAttr {
            max_entries: 0,
            flags: NO_PREALLOC,
            btf_key_type_id: 1,
            btf_value_type_id: 1,
            ..base
        },
        "ringbuf" | "user_ringbuf" => MapAttr {
            key_size: 0,
            value_size: 0,
            max_entries: page,
            ..base
        },
        "struct_ops" => MapAttr {
            btf_vmlinux_value_type_id: 1,
            ..base
        },
        "arena" => MapAttr {
            key_size: 0,
            value_size: 0,
            flags: MMAPABLE,
            ..base
        },
        "insn_array" => MapAttr {
            value_size: 16,
            ..base
        },
        _ => base,
    }
}

fn try_program(prog_type: u32, attach_type: u32, token: Option<&Token>) -> Outcome {
    let target = match (Mask::<Progs>::name(prog_type), attach_type) {
        (Some("tracing"), 23) => Some(c"sched_process_exec"),
        (Some("tracing"), 24 | 25) => Some(c"bpf_prog_get_type_path"),
        (Some("tracing"), 28) => Some(c"task"),
        (Some("lsm"), _) => Some(c"file_open"),
        _ => None,
    };
    let insns = [Insn::mov64_imm(0, 0), Insn::exit()];
    let program = ProgAttr {
        expected_attach_type: attach_type,
        attach_btf_id: target.map_or(0, |name| sys::vmlinux_btf_id(name, attach_type)),
        ..ProgAttr::new(prog_type, &insns)
    };
    // Past the permission checks, what fails is the rest: a type that is not built in, or a target
    // that a probe lacks.
    Outcome::of(program.load(token), |detail| Outcome::Permitted { detail })
}

/// The attach types that `bpf_prog_load_check_attach()` lets pass for a type, or that libbpf loads
/// it for.
fn attach_types(prog_type: u32) -> &'static [u32] {
    match Mask::<Progs>::name(prog_type).unwrap_or_default() {
        "kprobe" => &[0, 42, 48, 56, 57],
        "sched_cls" => &[0, 46, 47, 54, 55],
        "xdp" => &[37, 0, 33, 35],
        "cgroup_skb" => &[0, 1],
        "cgroup_sock" => &[2, 34, 12, 13],
        "sock_ops" => &[3, 0],
        "sk_skb" => &[38, 4, 5, 0],
        "cgroup_device" => &[6, 0],
        "sk_msg" => &[7, 0],
        "cgroup_sock_addr" => &[
            8, 9, 10, 11, 14, 15, 19, 20, 29, 30, 31, 32, 49, 50, 51, 52, 53,
        ],
        "lirc_mode2" => &[16, 0],
        "sk_reuseport" => &[39, 40],
        "flow_dissector" => &[17, 0],
        "cgroup_sysctl" => &[18, 0],
        "cgroup_sockopt" => &[21, 22],
        "tracing" => &[23, 24, 25, 28],
        "struct_ops" => &[44, 0],
        "lsm" => &[27, 43],
        "sk_lookup" => &[36],
        "netfilter" => &[45],
        _ => &[0],
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
