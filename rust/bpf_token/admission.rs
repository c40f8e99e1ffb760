// SPDX-License-Identifier: GPL-2.0

//! The step that a `bpf()` command takes with its `token_fd`.
//!
//! A descriptor that is no token is refused. A token that does not delegate what is asked for is
//! put aside, and the caller stands on its own capabilities. What follows are the privileges that
//! the command needs, from the token's user namespace or from the initial one.

#![forbid(unsafe_code)]

use crate::{
    mask::{
        Kind,
        MapType, //
    },
    reason::{
        Lack,
        Purpose,
        Reason,
        Unused, //
    },
    refusal::{
        refuse,
        Asked, //
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
        log::Log,
        prog_type, //
    },
    capability::Capability,
    prelude::*,
    sync::aref::ARef, //
};

/// What a command asks for.
#[derive(Clone, Copy)]
pub(crate) enum Request {
    MapCreate { map_type: u32 },
    ProgLoad { prog_type: u32, attach_type: u32 },
    BtfLoad,
    BtfGetFdById,
}

impl Request {
    /// The command.
    pub(crate) fn cmd(self) -> u32 {
        match self {
            Self::MapCreate { .. } => bindings::bpf_cmd_BPF_MAP_CREATE,
            Self::ProgLoad { .. } => bindings::bpf_cmd_BPF_PROG_LOAD,
            Self::BtfLoad => bindings::bpf_cmd_BPF_BTF_LOAD,
            Self::BtfGetFdById => bindings::bpf_cmd_BPF_BTF_GET_FD_BY_ID,
        }
    }

    /// The request as it is traced.
    pub(crate) fn asked(self) -> Asked {
        let (object_type, attach_type) = match self {
            Self::MapCreate { map_type } => (map_type, 0),
            Self::ProgLoad {
                prog_type,
                attach_type,
            } => (prog_type, attach_type),
            Self::BtfLoad | Self::BtfGetFdById => (0, 0),
        };
        Asked {
            cmd: self.cmd(),
            object_type,
            attach_type,
        }
    }

    /// Why `token` cannot be used for this, if it cannot.
    #[inline(always)]
    fn not_allowed_by(self, token: &Token) -> Option<Unfit> {
        let (allowed, cmd) = (token.allowed(), self.cmd());
        if !allowed.cmd(cmd) {
            return Some(Unfit::Cmd);
        }
        if !token.may_delegate_cmd(cmd) {
            return Some(Unfit::SecurityModule);
        }
        match self {
            Self::MapCreate { map_type } if !allowed.maps.contains(map_type) => {
                Some(Unfit::MapType)
            }
            Self::ProgLoad { prog_type, .. } if !allowed.progs.contains(prog_type) => {
                Some(Unfit::ProgType)
            }
            Self::ProgLoad { attach_type, .. } if !allowed.attachs.contains(attach_type) => {
                Some(Unfit::AttachType)
            }
            _ => None,
        }
    }
}

/// Why a token that was given is not used.
#[derive(Clone, Copy)]
enum Unfit {
    Cmd,
    SecurityModule,
    MapType,
    ProgType,
    AttachType,
}

/// A capability that a command needs and the caller does not have.
pub(crate) struct Missing {
    cap: Capability,
    purpose: Purpose,
    denial: Denial,
}

impl Missing {
    /// The errno, which is that of the C implementation.
    #[inline(always)]
    fn error(&self) -> Error {
        match self.purpose {
            Purpose::Instructions(_) | Purpose::InstructionCount(_) => E2BIG,
            _ => EPERM,
        }
    }
}

/// What a command stands on: a token, or the caller's own capabilities.
pub(crate) struct Admission {
    /// The token that was given, if one was.
    given: Option<ARef<Token>>,
    /// Why it is not used, if it is not.
    unfit: Option<Unfit>,
}

impl Admission {
    /// Looks at the token that came with `request`, if one did.
    ///
    /// Fails with `EBADF` or `EINVAL` when the descriptor is that of no token.
    #[inline(always)]
    fn new(request: Request, token_fd: Option<u32>) -> Result<Self> {
        let given = match token_fd {
            Some(fd) => Some(Token::get_from_fd(fd)?),
            None => None,
        };
        let unfit = given
            .as_deref()
            .and_then(|token| request.not_allowed_by(token));
        Ok(Self { given, unfit })
    }

    /// Hands the token on to what keeps it, if it is used.
    #[inline(always)]
    fn into_token(self) -> Option<ARef<Token>> {
        match self.unfit {
            None => self.given,
            Some(_) => None,
        }
    }

    /// The token, if it is used.
    #[inline(always)]
    fn token(&self) -> Option<&Token> {
        match self.unfit {
            None => self.given.as_deref(),
            Some(_) => None,
        }
    }

    /// Fails if the caller does not have `cap` where this stands.
    #[inline(always)]
    fn require(&self, cap: Capability, purpose: Purpose) -> Result<(), Missing> {
        Token::check_capable(self.token(), cap).map_err(|denial| Missing {
            cap,
            purpose,
            denial,
        })
    }

    /// Why no token is used.
    fn unused(&self, request: Request) -> Unused {
        let (Some(token), Some(unfit)) = (&self.given, self.unfit) else {
            return Unused::NotGiven;
        };
        let allowed = token.allowed();
        let Asked {
            cmd,
            object_type,
            attach_type,
        } = request.asked();
        match unfit {
            Unfit::Cmd => Unused::Cmd(cmd, allowed.cmds),
            Unfit::SecurityModule => Unused::CmdSecurityModule(cmd),
            Unfit::MapType => Unused::MapType(object_type, allowed.maps),
            Unfit::ProgType => Unused::ProgType(object_type, allowed.progs),
            Unfit::AttachType => Unused::AttachType(attach_type, allowed.attachs),
        }
    }

    /// Why `missing` is missing.
    #[cold]
    fn reason(&self, request: Request, missing: Missing) -> Reason {
        let lack = match (self.token(), missing.denial) {
            (None, _) => Lack::WithoutToken(self.unused(request)),
            (Some(_), Denial::Capability) => Lack::InTokenNamespace,
            (Some(_), Denial::SecurityModule) => Lack::SecurityModule,
        };
        let Missing { cap, purpose, .. } = missing;
        if let Purpose::InstructionCount(count) = purpose {
            return Reason::InstructionCount(count);
        }
        Reason::Unprivileged { cap, purpose, lack }
    }

    /// The privileges that `BPF_MAP_CREATE` needs.
    #[inline]
    pub(crate) fn may_create_map(&self, map_type: u32) -> Result<(), Missing> {
        if bpf::unprivileged_disabled() {
            let cmd = bindings::bpf_cmd_BPF_MAP_CREATE;
            self.require(Capability::BPF, Purpose::UnprivilegedBpfDisabled(cmd))?;
        }
        match Privilege::of_map_type(map_type) {
            Privilege::None => Ok(()),
            Privilege::Bpf => self.require(Capability::BPF, Purpose::MapType(map_type)),
            Privilege::NetAdmin => self.require(Capability::NET_ADMIN, Purpose::MapType(map_type)),
        }
    }

    /// The privileges that `BPF_PROG_LOAD` needs before the verifier runs.
    #[inline]
    pub(crate) fn may_load_prog(&self, load: &ProgLoad) -> Result<(), Missing> {
        let bpf = Token::check_capable(self.token(), Capability::BPF);
        let require_bpf = |purpose| {
            bpf.map_err(|denial| Missing {
                cap: Capability::BPF,
                purpose,
                denial,
            })
        };
        let prog_type = load.prog_type;

        if load.any_alignment && !cfg!(CONFIG_HAVE_EFFICIENT_UNALIGNED_ACCESS) {
            require_bpf(Purpose::AnyAlignment)?;
        }
        if bpf::unprivileged_disabled() {
            let cmd = bindings::bpf_cmd_BPF_PROG_LOAD;
            require_bpf(Purpose::UnprivilegedBpfDisabled(cmd))?;
        }
        if load.insn_cnt == 0 || load.insn_cnt > bindings::BPF_COMPLEXITY_LIMIT_INSNS {
            return Err(Missing {
                cap: Capability::BPF,
                purpose: Purpose::InstructionCount(load.insn_cnt),
                denial: Denial::Capability,
            });
        }
        if load.insn_cnt > bindings::BPF_MAXINSNS {
            require_bpf(Purpose::Instructions(load.insn_cnt))?;
        }
        if prog_type != bindings::bpf_prog_type_BPF_PROG_TYPE_SOCKET_FILTER
            && prog_type != bindings::bpf_prog_type_BPF_PROG_TYPE_CGROUP_SKB
        {
            require_bpf(Purpose::ProgType(prog_type))?;
        }
        if prog_type::needs_net_admin(prog_type) {
            self.require(Capability::NET_ADMIN, Purpose::ProgType(prog_type))?;
        }
        if prog_type::needs_perfmon(prog_type) {
            self.require(Capability::PERFMON, Purpose::ProgType(prog_type))?;
        }
        Ok(())
    }

    /// The privilege that `BPF_BTF_LOAD` needs.
    #[inline]
    pub(crate) fn may_load_btf(&self) -> Result<(), Missing> {
        self.require(Capability::BPF, Purpose::Command(Request::BtfLoad.cmd()))
    }

    /// The privilege that `BPF_BTF_GET_FD_BY_ID` needs.
    #[inline]
    pub(crate) fn may_get_btf_by_id(&self) -> Result<(), Missing> {
        self.require(
            Capability::SYS_ADMIN,
            Purpose::Command(Request::BtfGetFdById.cmd()),
        )
    }
}

/// What of a `BPF_PROG_LOAD` decides which privileges it needs.
pub(crate) struct ProgLoad {
    pub(crate) prog_type: u32,
    pub(crate) insn_cnt: u32,
    pub(crate) any_alignment: bool,
}

/// Takes the token step of `request`, then checks the privileges; a refusal is told to `log`.
#[inline(always)]
pub(crate) fn admit(
    request: Request,
    token_fd: Option<u32>,
    log: Log<'_>,
    check: impl FnOnce(&Admission) -> Result<(), Missing>,
) -> Result<Option<ARef<Token>>> {
    let admission = match Admission::new(request, token_fd) {
        Ok(admission) => admission,
        Err(err) => {
            let fd = token_fd.unwrap_or_default();
            let reason = || Reason::of_descriptor(fd, err);
            return Err(refuse(|| request.asked(), None, log, err, reason));
        }
    };
    match check(&admission) {
        Ok(()) => Ok(admission.into_token()),
        Err(missing) => {
            let err = missing.error();
            let reason = || admission.reason(request, missing);
            Err(refuse(
                || request.asked(),
                admission.given.as_deref(),
                log,
                err,
                reason,
            ))
        }
    }
}

/// Refuses what C code found a capability missing for, and returns `EPERM`.
#[cold]
pub(crate) fn refuse_unprivileged(
    asked: Asked,
    token: Option<&Token>,
    log: Log<'_>,
    cap: Capability,
    purpose: Purpose,
) -> Error {
    let lack = match token {
        Some(_) => Lack::InTokenNamespace,
        None => Lack::WithoutToken(Unused::NotGiven),
    };
    let reason = || Reason::Unprivileged { cap, purpose, lack };
    refuse(|| asked, token, log, EPERM, reason)
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
    "admission.rs does not know which privilege a new map type needs (kernel/bpf/syscall.c does)"
);
