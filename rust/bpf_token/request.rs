// SPDX-License-Identifier: GPL-2.0

//! The request of a `bpf()` command, and the privileges that it needs.

#![forbid(unsafe_code)]

use crate::{
    decision::{
        Denied,
        Purpose,
        Refusal,
        Unused, //
    },
    delegation::Permits,
    kind::{
        Kind,
        MapType,
        ProgType, //
    }, //
};
use kernel::{
    bindings,
    capability::Capability,
    macros::kunit_tests, //
};

/// The attributes of a command that takes a token.
pub(crate) trait Command: Copy {
    /// The request of the command.
    fn request(self) -> Request;
}

/// `BPF_MAP_CREATE`.
#[derive(Clone, Copy)]
pub(crate) struct MapCreate<'a>(pub(crate) &'a bindings::bpf_attr__bindgen_ty_1);

impl Command for MapCreate<'_> {
    #[inline]
    fn request(self) -> Request {
        Request {
            object_type: self.0.map_type,
            ..Request::of(bindings::bpf_cmd_BPF_MAP_CREATE)
        }
    }
}

/// `BPF_PROG_LOAD`.
#[derive(Clone, Copy)]
pub(crate) struct ProgLoad<'a>(pub(crate) &'a bindings::bpf_attr__bindgen_ty_4);

impl Command for ProgLoad<'_> {
    #[inline]
    fn request(self) -> Request {
        Request {
            cmd: bindings::bpf_cmd_BPF_PROG_LOAD,
            object_type: self.0.prog_type,
            attach_type: self.0.expected_attach_type,
            insn_cnt: self.0.insn_cnt,
            prog_flags: self.0.prog_flags,
        }
    }
}

/// `BPF_BTF_LOAD`.
#[derive(Clone, Copy)]
pub(crate) struct BtfLoad;

impl Command for BtfLoad {
    #[inline]
    fn request(self) -> Request {
        Request::of(bindings::bpf_cmd_BPF_BTF_LOAD)
    }
}

/// `BPF_BTF_GET_FD_BY_ID`.
#[derive(Clone, Copy)]
pub(crate) struct BtfGetFdById;

impl Command for BtfGetFdById {
    #[inline]
    fn request(self) -> Request {
        Request::of(bindings::bpf_cmd_BPF_BTF_GET_FD_BY_ID)
    }
}

/// A `bpf()` command, with those of its attributes that a token or a privilege is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) cmd: u32,
    /// The type of the map or program, or 0.
    pub(crate) object_type: u32,
    /// The type of the attachment that a program is made for, or attached by.
    pub(crate) attach_type: u32,
    /// How many instructions a program has.
    pub(crate) insn_cnt: u32,
    /// `BPF_F_*` of a program.
    pub(crate) prog_flags: u32,
}

impl Request {
    /// A command without types.
    pub(crate) const fn of(cmd: u32) -> Self {
        Self {
            cmd,
            object_type: 0,
            attach_type: 0,
            insn_cnt: 0,
            prog_flags: 0,
        }
    }

    /// Why a token that permits what `permitted` says is not used for this. `modules_agree` asks
    /// the security modules whether the token may delegate the command.
    #[inline]
    pub(crate) fn unused(
        &self,
        permitted: &impl Permits,
        modules_agree: impl FnOnce() -> bool,
    ) -> Unused {
        let cmds = permitted.cmds();
        if !cmds.contains(self.cmd) {
            return Unused::Cmd(cmds);
        }
        if !modules_agree() {
            return Unused::SecurityModule;
        }
        match self.cmd {
            bindings::bpf_cmd_BPF_MAP_CREATE => {
                let maps = permitted.maps();
                if !maps.contains(self.object_type) {
                    return Unused::MapType(maps);
                }
            }
            bindings::bpf_cmd_BPF_PROG_LOAD => {
                let progs = permitted.progs();
                if !progs.contains(self.object_type) {
                    return Unused::ProgType(progs);
                }
                let attachs = permitted.attachs();
                if !attachs.contains(self.attach_type) {
                    return Unused::AttachType(attachs);
                }
            }
            _ => (),
        }
        Unused::None
    }

    /// Checks the privileges that the command needs, in the order of the C implementation.
    ///
    /// `capable` answers for one capability; `disabled` is `kernel.unprivileged_bpf_disabled`.
    #[inline]
    pub(crate) fn require(
        &self,
        disabled: bool,
        capable: impl Fn(Capability) -> Result<(), Denied>,
    ) -> Result<(), Refusal> {
        let require = |cap, purpose| {
            capable(cap).map_err(|denied| Refusal::Privilege {
                cap,
                purpose,
                denied,
            })
        };
        match self.cmd {
            bindings::bpf_cmd_BPF_MAP_CREATE => {
                if disabled {
                    require(Capability::BPF, Purpose::UnprivilegedBpfDisabled)?;
                }
                match map_type_capability(self.object_type) {
                    Some(cap) => require(cap, Purpose::MapType),
                    None => Ok(()),
                }
            }
            bindings::bpf_cmd_BPF_PROG_LOAD => self.require_for_prog(disabled, capable),
            bindings::bpf_cmd_BPF_BTF_GET_FD_BY_ID => {
                require(Capability::SYS_ADMIN, Purpose::Command)
            }
            _ => require(Capability::BPF, Purpose::Command),
        }
    }

    #[inline]
    fn require_for_prog(
        &self,
        disabled: bool,
        capable: impl Fn(Capability) -> Result<(), Denied>,
    ) -> Result<(), Refusal> {
        let bpf = capable(Capability::BPF);
        let require_bpf = |purpose| {
            bpf.map_err(|denied| Refusal::Privilege {
                cap: Capability::BPF,
                purpose,
                denied,
            })
        };
        let require = |cap| {
            capable(cap).map_err(|denied| Refusal::Privilege {
                cap,
                purpose: Purpose::ProgType,
                denied,
            })
        };

        if self.prog_flags & bindings::BPF_F_ANY_ALIGNMENT != 0
            && !cfg!(CONFIG_HAVE_EFFICIENT_UNALIGNED_ACCESS)
        {
            require_bpf(Purpose::AnyAlignment)?;
        }
        if disabled {
            require_bpf(Purpose::UnprivilegedBpfDisabled)?;
        }
        if self.insn_cnt == 0 || self.insn_cnt > bindings::BPF_COMPLEXITY_LIMIT_INSNS {
            return Err(Refusal::InstructionCount);
        }
        if self.insn_cnt > bindings::BPF_MAXINSNS {
            require_bpf(Purpose::Instructions)?;
        }
        if !is_unprivileged_prog_type(self.object_type) {
            require_bpf(Purpose::ProgType)?;
        }
        if needs_net_admin(self.object_type) {
            require(Capability::NET_ADMIN)?;
        }
        if needs_perfmon(self.object_type) {
            require(Capability::PERFMON)?;
        }
        Ok(())
    }
}

/// The capability that maps of a type need.
#[allow(non_upper_case_globals)]
const fn map_type_capability(map_type: u32) -> Option<Capability> {
    use bindings::*;
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
        | bpf_map_type_BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE_DEPRECATED => None,
        bpf_map_type_BPF_MAP_TYPE_SOCKMAP
        | bpf_map_type_BPF_MAP_TYPE_SOCKHASH
        | bpf_map_type_BPF_MAP_TYPE_DEVMAP
        | bpf_map_type_BPF_MAP_TYPE_DEVMAP_HASH
        | bpf_map_type_BPF_MAP_TYPE_XSKMAP => Some(Capability::NET_ADMIN),
        _ => Some(Capability::BPF),
    }
}

/// Whether anybody may load programs of a type.
const fn is_unprivileged_prog_type(prog_type: u32) -> bool {
    prog_type == bindings::bpf_prog_type_BPF_PROG_TYPE_SOCKET_FILTER
        || prog_type == bindings::bpf_prog_type_BPF_PROG_TYPE_CGROUP_SKB
}

/// Whether programs of a type need `CAP_NET_ADMIN`, as C's `is_net_admin_prog_type()` says.
#[allow(non_upper_case_globals)]
const fn needs_net_admin(prog_type: u32) -> bool {
    use bindings::*;
    matches!(
        prog_type,
        bpf_prog_type_BPF_PROG_TYPE_SCHED_CLS
            | bpf_prog_type_BPF_PROG_TYPE_SCHED_ACT
            | bpf_prog_type_BPF_PROG_TYPE_XDP
            | bpf_prog_type_BPF_PROG_TYPE_LWT_IN
            | bpf_prog_type_BPF_PROG_TYPE_LWT_OUT
            | bpf_prog_type_BPF_PROG_TYPE_LWT_XMIT
            | bpf_prog_type_BPF_PROG_TYPE_LWT_SEG6LOCAL
            | bpf_prog_type_BPF_PROG_TYPE_SK_SKB
            | bpf_prog_type_BPF_PROG_TYPE_SK_MSG
            | bpf_prog_type_BPF_PROG_TYPE_FLOW_DISSECTOR
            | bpf_prog_type_BPF_PROG_TYPE_CGROUP_DEVICE
            | bpf_prog_type_BPF_PROG_TYPE_CGROUP_SOCK
            | bpf_prog_type_BPF_PROG_TYPE_CGROUP_SOCK_ADDR
            | bpf_prog_type_BPF_PROG_TYPE_CGROUP_SOCKOPT
            | bpf_prog_type_BPF_PROG_TYPE_CGROUP_SYSCTL
            | bpf_prog_type_BPF_PROG_TYPE_SOCK_OPS
            | bpf_prog_type_BPF_PROG_TYPE_EXT
            | bpf_prog_type_BPF_PROG_TYPE_NETFILTER
    )
}

/// Whether programs of a type need `CAP_PERFMON`, as C's `is_perfmon_prog_type()` says.
#[allow(non_upper_case_globals)]
const fn needs_perfmon(prog_type: u32) -> bool {
    use bindings::*;
    matches!(
        prog_type,
        bpf_prog_type_BPF_PROG_TYPE_KPROBE
            | bpf_prog_type_BPF_PROG_TYPE_TRACEPOINT
            | bpf_prog_type_BPF_PROG_TYPE_PERF_EVENT
            | bpf_prog_type_BPF_PROG_TYPE_RAW_TRACEPOINT
            | bpf_prog_type_BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE
            | bpf_prog_type_BPF_PROG_TYPE_TRACING
            | bpf_prog_type_BPF_PROG_TYPE_LSM
            | bpf_prog_type_BPF_PROG_TYPE_STRUCT_OPS
            | bpf_prog_type_BPF_PROG_TYPE_EXT
    )
}

// A new type must be looked at before it falls under a catch-all here.
const _: () = assert!(
    MapType::NAMES.len() == bindings::bpf_map_type_BPF_MAP_TYPE_RHASH + 1
        && ProgType::NAMES.len() == bindings::bpf_prog_type_BPF_PROG_TYPE_NETFILTER + 1,
    "request.rs does not know which privilege a new type needs (kernel/bpf/syscall.c does)"
);

#[kunit_tests(bpf_token_request)]
mod tests {
    use super::*;

    const HASH: u32 = bindings::bpf_map_type_BPF_MAP_TYPE_HASH;
    const XSKMAP: u32 = bindings::bpf_map_type_BPF_MAP_TYPE_XSKMAP;
    const LRU_HASH: u32 = bindings::bpf_map_type_BPF_MAP_TYPE_LRU_HASH;
    const SOCKET_FILTER: u32 = bindings::bpf_prog_type_BPF_PROG_TYPE_SOCKET_FILTER;
    const XDP: u32 = bindings::bpf_prog_type_BPF_PROG_TYPE_XDP;
    const EXT: u32 = bindings::bpf_prog_type_BPF_PROG_TYPE_EXT;

    fn map(map_type: u32) -> Request {
        Request {
            object_type: map_type,
            ..Request::of(bindings::bpf_cmd_BPF_MAP_CREATE)
        }
    }

    fn prog(prog_type: u32, insn_cnt: u32) -> Request {
        Request {
            object_type: prog_type,
            insn_cnt,
            ..Request::of(bindings::bpf_cmd_BPF_PROG_LOAD)
        }
    }

    /// Returns why `request` is refused to a caller with `caps`.
    fn refused(request: Request, disabled: bool, caps: &[Capability]) -> Option<Refusal> {
        let capable = |cap: Capability| {
            if caps.contains(&cap) {
                Ok(())
            } else {
                Err(Denied::InTokenNamespace)
            }
        };
        request.require(disabled, capable).err()
    }

    fn lacks(cap: Capability, purpose: Purpose) -> Option<Refusal> {
        Some(Refusal::Privilege {
            cap,
            purpose,
            denied: Denied::InTokenNamespace,
        })
    }

    #[test]
    fn maps_need_what_their_type_needs() {
        assert!(refused(map(HASH), false, &[]).is_none());
        assert!(
            refused(map(HASH), true, &[])
                == lacks(Capability::BPF, Purpose::UnprivilegedBpfDisabled)
        );
        assert!(refused(map(HASH), true, &[Capability::BPF]).is_none());
        assert!(refused(map(LRU_HASH), false, &[]) == lacks(Capability::BPF, Purpose::MapType));
        assert!(
            refused(map(XSKMAP), true, &[Capability::BPF])
                == lacks(Capability::NET_ADMIN, Purpose::MapType)
        );
        assert!(refused(map(XSKMAP), false, &[Capability::NET_ADMIN]).is_none());
    }

    #[test]
    fn programs_need_what_their_type_needs() {
        let bpf = &[Capability::BPF][..];
        assert!(refused(prog(SOCKET_FILTER, 2), false, &[]).is_none());
        assert!(refused(prog(XDP, 2), false, &[]) == lacks(Capability::BPF, Purpose::ProgType));
        assert!(
            refused(prog(XDP, 2), true, bpf) == lacks(Capability::NET_ADMIN, Purpose::ProgType)
        );
        let net = &[Capability::BPF, Capability::NET_ADMIN][..];
        assert!(refused(prog(XDP, 2), true, net).is_none());
        assert!(refused(prog(EXT, 2), true, net) == lacks(Capability::PERFMON, Purpose::ProgType));
    }

    #[test]
    fn instructions_are_counted() {
        let bpf = &[Capability::BPF][..];
        let filter = |count| prog(SOCKET_FILTER, count);
        assert!(refused(filter(0), false, bpf) == Some(Refusal::InstructionCount));
        assert!(refused(filter(4096), false, &[]).is_none());
        assert!(refused(filter(4097), false, &[]) == lacks(Capability::BPF, Purpose::Instructions));
        assert!(refused(filter(4097), false, bpf).is_none());
        assert!(refused(filter(1_000_000), false, bpf).is_none());
        assert!(refused(filter(1_000_001), false, bpf) == Some(Refusal::InstructionCount));
    }

    #[test]
    fn each_item_must_be_delegated() {
        use crate::{
            delegation::Delegation,
            mask::Mask, //
        };
        let mut allowed = Delegation::NOTHING;
        let request = Request {
            attach_type: bindings::bpf_attach_type_BPF_XDP,
            ..prog(XDP, 2)
        };
        assert!(request.unused(&allowed, || true) == Unused::Cmd(allowed.cmds));
        allowed.cmds = Mask::from_bits(1 << request.cmd);
        assert!(request.unused(&allowed, || true) == Unused::ProgType(allowed.progs));
        allowed.progs = Mask::from_bits(1 << XDP);
        assert!(request.unused(&allowed, || true) == Unused::AttachType(allowed.attachs));
        allowed.attachs = Mask::from_bits(1 << request.attach_type);
        assert!(request.unused(&allowed, || true) == Unused::None);
        assert!(map(HASH).unused(&allowed, || true) == Unused::Cmd(allowed.cmds));
        allowed.cmds = Mask::ALL;
        assert!(map(HASH).unused(&allowed, || true) == Unused::MapType(allowed.maps));
        assert!(map(HASH).unused(&allowed, || false) == Unused::SecurityModule);
        assert!(
            Request::of(bindings::bpf_cmd_BPF_BTF_LOAD).unused(&allowed, || true) == Unused::None
        );
    }
}
