// SPDX-License-Identifier: GPL-2.0

//! What a `bpf()` command asks for, and the privileges that it needs.

#![forbid(unsafe_code)]

use crate::{
    delegation::Delegation,
    mask::{
        Kind,
        MapType, //
    },
    reason::{
        Lack,
        Purpose,
        Reason, //
    },
    token::{
        Denial,
        Token, //
    },
};
use kernel::{
    bindings,
    bpf::{
        self,
        prog_type, //
    },
    capability::Capability,
    prelude::*, //
};

/// A command that takes a token.
pub(crate) trait Request: Copy {
    /// The command.
    const CMD: bindings::bpf_cmd;

    /// The type of the map or program, where the command makes one.
    fn object_type(self) -> u32 {
        0
    }

    /// The type of the attachment that a program is made for.
    fn attach_type(self) -> u32 {
        0
    }

    /// What of this, besides the command, is not among what is `allowed`.
    #[inline(always)]
    fn not_delegated(self, _allowed: &Delegation) -> Option<Unfit> {
        None
    }

    /// How many instructions a program has.
    fn insn_cnt(self) -> u32 {
        0
    }

    /// Checks the privileges that the command needs: where `token` gives them, or without one the
    /// caller's own.
    fn require(self, token: Option<&Token>) -> Result<(), Missing>;
}

/// Why a token that was given is not used.
#[derive(Clone, Copy)]
pub(crate) enum Unfit {
    Cmd,
    SecurityModule,
    MapType,
    ProgType,
    AttachType,
}

/// A capability that a command needs and the caller does not have.
#[derive(Clone, Copy)]
pub(crate) struct Missing {
    pub(crate) cap: Capability,
    pub(crate) need: Need,
    pub(crate) denial: Denial,
}

/// What of a request needs a capability.
// As wide as a register: smaller, it would be packed into one with the rest of a `Missing`, and be
// unpacked again on ways that have no use for it.
#[derive(Clone, Copy)]
#[repr(u64)]
pub(crate) enum Need {
    Command,
    UnprivilegedBpfDisabled,
    MapType,
    ProgType,
    AnyAlignment,
    /// More instructions than an unprivileged program may have.
    Instructions,
    /// No instruction, or more than any program may have: no privilege helps.
    InstructionCount,
}

impl Need {
    /// The errno without the capability, which is that of the C implementation.
    #[inline(always)]
    pub(crate) fn error(self) -> Error {
        match self {
            Need::Instructions | Need::InstructionCount => E2BIG,
            _ => EPERM,
        }
    }

    /// Why `request` is refused, for want of `cap` where `lack` tells.
    pub(crate) fn reason<R: Request>(self, cap: Capability, request: R, lack: Lack) -> Reason {
        let (cmd, object_type) = (R::CMD, request.object_type());
        let purpose = match self {
            Need::Command => Purpose::Command(cmd),
            Need::UnprivilegedBpfDisabled => Purpose::UnprivilegedBpfDisabled(cmd),
            Need::MapType => Purpose::MapType(object_type),
            Need::ProgType => Purpose::ProgType(object_type),
            Need::AnyAlignment => Purpose::AnyAlignment,
            Need::Instructions => Purpose::Instructions(request.insn_cnt()),
            Need::InstructionCount => return Reason::InstructionCount(request.insn_cnt()),
        };
        Reason::Unprivileged { cap, purpose, lack }
    }
}

/// Fails if the caller does not have `cap` where `token` gives it.
#[inline(always)]
fn require(token: Option<&Token>, cap: Capability, need: Need) -> Result<(), Missing> {
    Token::check_capable(token, cap).map_err(|denial| Missing { cap, need, denial })
}

/// `BPF_MAP_CREATE`.
#[derive(Clone, Copy)]
pub(crate) struct MapCreate<'a>(pub(crate) &'a bindings::bpf_attr__bindgen_ty_1);

impl Request for MapCreate<'_> {
    const CMD: bindings::bpf_cmd = bindings::bpf_cmd_BPF_MAP_CREATE;

    fn object_type(self) -> u32 {
        self.0.map_type
    }

    #[inline(always)]
    fn not_delegated(self, allowed: &Delegation) -> Option<Unfit> {
        (!allowed.map_type(self.0.map_type)).then_some(Unfit::MapType)
    }

    #[inline(always)]
    fn require(self, token: Option<&Token>) -> Result<(), Missing> {
        if bpf::unprivileged_disabled() {
            require(token, Capability::BPF, Need::UnprivilegedBpfDisabled)?;
        }
        let cap = match Privilege::of_map_type(self.0.map_type) {
            Privilege::None => return Ok(()),
            Privilege::Bpf => Capability::BPF,
            Privilege::NetAdmin => Capability::NET_ADMIN,
        };
        require(token, cap, Need::MapType)
    }
}

/// `BPF_PROG_LOAD`, before the verifier runs.
#[derive(Clone, Copy)]
pub(crate) struct ProgLoad<'a>(pub(crate) &'a bindings::bpf_attr__bindgen_ty_4);

impl Request for ProgLoad<'_> {
    const CMD: bindings::bpf_cmd = bindings::bpf_cmd_BPF_PROG_LOAD;

    fn object_type(self) -> u32 {
        self.0.prog_type
    }

    fn attach_type(self) -> u32 {
        self.0.expected_attach_type
    }

    #[inline(always)]
    fn not_delegated(self, allowed: &Delegation) -> Option<Unfit> {
        if !allowed.progs.contains(self.0.prog_type) {
            Some(Unfit::ProgType)
        } else if !allowed.attachs.contains(self.0.expected_attach_type) {
            Some(Unfit::AttachType)
        } else {
            None
        }
    }

    fn insn_cnt(self) -> u32 {
        self.0.insn_cnt
    }

    #[inline(always)]
    fn require(self, token: Option<&Token>) -> Result<(), Missing> {
        let bpf = Token::check_capable(token, Capability::BPF);
        let require_bpf = |need| {
            bpf.map_err(|denial| Missing {
                cap: Capability::BPF,
                need,
                denial,
            })
        };
        let (prog_type, insn_cnt) = (self.0.prog_type, self.0.insn_cnt);

        if self.0.prog_flags & bindings::BPF_F_ANY_ALIGNMENT != 0
            && !cfg!(CONFIG_HAVE_EFFICIENT_UNALIGNED_ACCESS)
        {
            require_bpf(Need::AnyAlignment)?;
        }
        if bpf::unprivileged_disabled() {
            require_bpf(Need::UnprivilegedBpfDisabled)?;
        }
        if insn_cnt == 0 || insn_cnt > bindings::BPF_COMPLEXITY_LIMIT_INSNS {
            return Err(Missing {
                cap: Capability::BPF,
                need: Need::InstructionCount,
                denial: Denial::Capability,
            });
        }
        if insn_cnt > bindings::BPF_MAXINSNS {
            require_bpf(Need::Instructions)?;
        }
        if prog_type != bindings::bpf_prog_type_BPF_PROG_TYPE_SOCKET_FILTER
            && prog_type != bindings::bpf_prog_type_BPF_PROG_TYPE_CGROUP_SKB
        {
            require_bpf(Need::ProgType)?;
        }
        if prog_type::needs_net_admin(prog_type) {
            require(token, Capability::NET_ADMIN, Need::ProgType)?;
        }
        if prog_type::needs_perfmon(prog_type) {
            require(token, Capability::PERFMON, Need::ProgType)?;
        }
        Ok(())
    }
}

/// `BPF_BTF_LOAD`.
#[derive(Clone, Copy)]
pub(crate) struct BtfLoad;

impl Request for BtfLoad {
    const CMD: bindings::bpf_cmd = bindings::bpf_cmd_BPF_BTF_LOAD;

    #[inline(always)]
    fn require(self, token: Option<&Token>) -> Result<(), Missing> {
        require(token, Capability::BPF, Need::Command)
    }
}

/// `BPF_BTF_GET_FD_BY_ID`.
#[derive(Clone, Copy)]
pub(crate) struct BtfGetFdById;

impl Request for BtfGetFdById {
    const CMD: bindings::bpf_cmd = bindings::bpf_cmd_BPF_BTF_GET_FD_BY_ID;

    #[inline(always)]
    fn require(self, token: Option<&Token>) -> Result<(), Missing> {
        require(token, Capability::SYS_ADMIN, Need::Command)
    }
}

/// What maps of a type need.
#[derive(Clone, Copy)]
enum Privilege {
    None,
    Bpf,
    NetAdmin,
}

impl Privilege {
    const fn of_map_type(map_type: u32) -> Self {
        use bindings::*;
        #[allow(non_upper_case_globals)]
        match map_type {
            bpf_map_type_BPF_MAP_TYPE_ARRAY
            | bpf_map_type_BPF_MAP_TYPE_PERCPU_ARRAY
            | bpf_map_type_BPF_MAP_TYPE_PROG_ARRAY
            | bpf_map_type_BPF_MAP_TYPE_PERF_EVENT_ARRAY
            | bpf_map_type_BPF_MAP_TYPE_CGROUP_ARRAY
            | bpf_map_type_BPF_MAP_TYPE_ARRAY_OF_MAPS
            | bpf_map_type_BPF_MAP_TYPE_HASH
            | bpf_map_type_BPF_MAP_TYPE_RHASH
            | bpf_map_type_BPF_MAP_TYPE_PERCPU_HASH
            | bpf_map_type_BPF_MAP_TYPE_HASH_OF_MAPS
            | bpf_map_type_BPF_MAP_TYPE_RINGBUF
            | bpf_map_type_BPF_MAP_TYPE_USER_RINGBUF
            | bpf_map_type_BPF_MAP_TYPE_CGROUP_STORAGE_DEPRECATED
            | bpf_map_type_BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE_DEPRECATED => Self::None,
            bpf_map_type_BPF_MAP_TYPE_SOCKMAP
            | bpf_map_type_BPF_MAP_TYPE_SOCKHASH
            | bpf_map_type_BPF_MAP_TYPE_DEVMAP
            | bpf_map_type_BPF_MAP_TYPE_DEVMAP_HASH
            | bpf_map_type_BPF_MAP_TYPE_XSKMAP => Self::NetAdmin,
            _ => Self::Bpf,
        }
    }
}

// A new map type must be looked at before it falls under the catch-all of `of_map_type`.
const _: () = assert!(
    MapType::NAMES.len() == bindings::bpf_map_type_BPF_MAP_TYPE_RHASH + 1,
    "request.rs does not know which privilege a new map type needs (kernel/bpf/syscall.c does)"
);
