// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a kernel that gives no reason refused a command: found out from the request, what the token
//! delegates, and the capabilities of the caller, in the words of the kernels that do.
//!
//! The order of the checks is that of `kernel/bpf/syscall.c`.

use std::fmt;

use rustix::thread::CapabilitySet;

use crate::info::TokenInfo;
use crate::kernel::Kernel;
use crate::kind::Enumerator;
use crate::kind::Kind;
use crate::mask;
use crate::names::AttachType;
use crate::names::Cmd;
use crate::names::MapType;
use crate::names::ProgType;
use crate::reason::Reason;
use crate::token::Token;

/// A command that takes a token, as far as it decides on privileges.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request {
    Map(MapType),
    Program {
        prog_type: ProgType,
        attach_type: AttachType,
        insn_cnt: usize,
    },
    LoadBtf,
    BtfById,
}

/// The greatest number of instructions without CAP_BPF.
const BPF_MAXINSNS: usize = 4096;

impl Request {
    /// What a token must grant for it.
    pub(crate) fn needs_granted(self) -> TokenInfo {
        let mut types = self.types();
        types.push((Cmd::KIND, self.cmd().value()));
        TokenInfo::from_bits(Kind::ALL.map(|kind| {
            let of_kind = types.iter().filter(|(it, _)| *it == kind);
            of_kind.fold(0, |bits, &(_, value)| bits | mask::bit(value))
        }))
    }

    fn cmd(self) -> Cmd {
        match self {
            Self::Map(_) => Cmd::MAP_CREATE,
            Self::Program { .. } => Cmd::PROG_LOAD,
            Self::LoadBtf => Cmd::BTF_LOAD,
            Self::BtfById => Cmd::BTF_GET_FD_BY_ID,
        }
    }

    /// What the token must delegate besides the command, in the order of the checks.
    fn types(self) -> Vec<(&'static Kind, u32)> {
        match self {
            Self::Map(map_type) => vec![(MapType::KIND, map_type.value())],
            Self::Program {
                prog_type,
                attach_type,
                ..
            } => vec![
                (ProgType::KIND, prog_type.value()),
                (AttachType::KIND, loaded_for(prog_type, attach_type).value()),
            ],
            Self::LoadBtf | Self::BtfById => Vec::new(),
        }
    }

    /// What the command needs, in the order of the checks: a capability, and what for.
    fn needs(self, unprivileged_disabled: bool) -> Vec<(Cap, String)> {
        let cmd = self.cmd();
        let mut needs = Vec::new();
        if unprivileged_disabled && matches!(self, Self::Map(_) | Self::Program { .. }) {
            let what = format!("with kernel.unprivileged_bpf_disabled, the command {cmd}");
            needs.push((Cap::BPF, what));
        }
        match self {
            Self::Map(map_type) => {
                let cap = map_privilege(map_type);
                needs.extend(cap.map(|cap| (cap, format!("map type {map_type}"))));
            }
            Self::Program {
                prog_type,
                insn_cnt,
                ..
            } => {
                if insn_cnt > BPF_MAXINSNS {
                    needs.push((Cap::BPF, format!("a program of {insn_cnt} instructions")));
                }
                let caps = prog_privileges(prog_type);
                needs.extend(caps.map(|cap| (cap, format!("program type {prog_type}"))));
            }
            Self::LoadBtf => needs.push((Cap::BPF, format!("the command {cmd}"))),
            Self::BtfById => needs.push((Cap::SYS_ADMIN, format!("the command {cmd}"))),
        }
        needs
    }
}

/// The attach type that the kernel puts in place of 0, where a program type had none at first.
fn loaded_for(prog_type: ProgType, attach_type: AttachType) -> AttachType {
    match prog_type {
        _ if attach_type.value() != 0 => attach_type,
        ProgType::CGROUP_SOCK => AttachType::CGROUP_INET_SOCK_CREATE,
        ProgType::SK_REUSEPORT => AttachType::SK_REUSEPORT_SELECT,
        _ => attach_type,
    }
}

/// A capability and its name.
#[derive(Clone, Copy)]
struct Cap(CapabilitySet, &'static str);

impl Cap {
    const BPF: Self = Self(CapabilitySet::BPF, "CAP_BPF");
    const NET_ADMIN: Self = Self(CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN");
    const PERFMON: Self = Self(CapabilitySet::PERFMON, "CAP_PERFMON");
    const SYS_ADMIN: Self = Self(CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN");
}

impl fmt::Display for Cap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.1)
    }
}

/// What map_create() asks for: hash and array maps and their like are for everybody.
fn map_privilege(map_type: MapType) -> Option<Cap> {
    match map_type {
        MapType::ARRAY
        | MapType::PERCPU_ARRAY
        | MapType::PROG_ARRAY
        | MapType::PERF_EVENT_ARRAY
        | MapType::CGROUP_ARRAY
        | MapType::ARRAY_OF_MAPS
        | MapType::HASH
        | MapType::RHASH
        | MapType::PERCPU_HASH
        | MapType::HASH_OF_MAPS
        | MapType::RINGBUF
        | MapType::USER_RINGBUF
        | MapType::CGROUP_STORAGE_DEPRECATED
        | MapType::PERCPU_CGROUP_STORAGE_DEPRECATED => None,
        MapType::SOCKMAP
        | MapType::SOCKHASH
        | MapType::DEVMAP
        | MapType::DEVMAP_HASH
        | MapType::XSKMAP => Some(Cap::NET_ADMIN),
        _ => Some(Cap::BPF),
    }
}

/// What bpf_prog_load() asks for by type.
fn prog_privileges(prog_type: ProgType) -> impl Iterator<Item = Cap> {
    let bpf = !matches!(prog_type, ProgType::SOCKET_FILTER | ProgType::CGROUP_SKB);
    let net_admin = matches!(
        prog_type,
        ProgType::SCHED_CLS
            | ProgType::SCHED_ACT
            | ProgType::XDP
            | ProgType::LWT_IN
            | ProgType::LWT_OUT
            | ProgType::LWT_XMIT
            | ProgType::LWT_SEG6LOCAL
            | ProgType::SK_SKB
            | ProgType::SK_MSG
            | ProgType::FLOW_DISSECTOR
            | ProgType::CGROUP_DEVICE
            | ProgType::CGROUP_SOCK
            | ProgType::CGROUP_SOCK_ADDR
            | ProgType::CGROUP_SOCKOPT
            | ProgType::CGROUP_SYSCTL
            | ProgType::SOCK_OPS
            | ProgType::EXT
            | ProgType::NETFILTER
    );
    let perfmon = matches!(
        prog_type,
        ProgType::KPROBE
            | ProgType::TRACEPOINT
            | ProgType::PERF_EVENT
            | ProgType::RAW_TRACEPOINT
            | ProgType::RAW_TRACEPOINT_WRITABLE
            | ProgType::TRACING
            | ProgType::LSM
            | ProgType::STRUCT_OPS
            | ProgType::EXT
    );
    [
        (bpf, Cap::BPF),
        (net_admin, Cap::NET_ADMIN),
        (perfmon, Cap::PERFMON),
    ]
    .into_iter()
    .filter_map(|(needed, cap)| needed.then_some(cap))
}

/// What the kernel knows of the caller.
#[derive(Clone, Copy, Debug)]
struct Caller {
    capabilities: CapabilitySet,
    in_initial_namespace: bool,
    unprivileged_disabled: bool,
}

impl Caller {
    fn own() -> Self {
        let sets = rustix::thread::capabilities(None);
        let disabled = std::fs::read_to_string("/proc/sys/kernel/unprivileged_bpf_disabled");
        Self {
            capabilities: sets.map_or(CapabilitySet::empty(), |sets| sets.effective),
            in_initial_namespace: in_initial_namespace(),
            // A kernel without the file has no such choice.
            unprivileged_disabled: disabled.is_ok_and(|text| text.trim() != "0"),
        }
    }

    /// As bpf_token_capable(): CAP_SYS_ADMIN has all others in it.
    fn has(self, cap: Cap) -> bool {
        self.capabilities
            .intersects(cap.0 | CapabilitySet::SYS_ADMIN)
    }
}

/// Whether the caller may delegate BPF: that takes CAP_SYS_ADMIN in the initial user namespace.
///
/// To be uid 0 is not enough: root of a container is that, too.
pub fn may_delegate() -> bool {
    let caller = Caller::own();
    caller.in_initial_namespace && caller.has(Cap::SYS_ADMIN)
}

/// Whether this is the initial user namespace, whose number never changes.
fn in_initial_namespace() -> bool {
    std::fs::read_link("/proc/self/ns/user")
        .is_ok_and(|link| link.as_os_str() == "user:[4026531837]")
}

/// Why the kernel refused the request, made with this token or without one; none if by all that can
/// be told it should not have.
pub(crate) fn refusal(request: Request, token: Option<&Token>) -> Option<Reason> {
    let info = match token {
        Some(token) => Some(token.info().ok()?),
        None => None,
    };
    explain(request, info.as_ref(), Caller::own(), Kernel::running()).map(Reason::found)
}

/// Why the kernel will refuse the request, made with this token; none if nothing speaks against it.
pub(crate) fn foreseen(request: Request, token: &Token) -> Option<Reason> {
    let info = token.info().ok()?;
    let (caller, kernel) = (Caller::own(), Kernel::running());
    let mut asked = request.types();
    asked.push((Cmd::KIND, request.cmd().value()));
    let granted = !asked
        .iter()
        .any(|&(kind, value)| lacks(&info, kind, value, kernel));
    let needs = request.needs(caller.unprivileged_disabled);
    if granted && needs.iter().all(|(cap, _)| caller.has(*cap)) {
        return None;
    }
    explain(request, Some(&info), caller, kernel).map(Reason::found)
}

fn explain(
    request: Request,
    token: Option<&TokenInfo>,
    caller: Caller,
    kernel: &Kernel,
) -> Option<String> {
    let needs = request.needs(caller.unprivileged_disabled);
    let unused = match token {
        None => Some("no token was given".to_owned()),
        Some(info) => {
            let asked = [(Cmd::KIND, request.cmd().value())];
            let mut asked = asked.into_iter().chain(request.types());
            let lacking = asked.find(|&(kind, value)| lacks(info, kind, value, kernel));
            lacking.map(|(kind, value)| not_delegated(info, kind, value, kernel))
        }
    };
    match unused {
        // The caller stands on its own capabilities in the initial user namespace.
        Some(unused) => {
            let missing =
                |&(cap, _): &(Cap, String)| !caller.in_initial_namespace || !caller.has(cap);
            let (cap, purpose) = needs.into_iter().find(missing)?;
            Some(format!(
                "{purpose} needs {cap} in the initial user namespace, because {unused}"
            ))
        }
        None => {
            let missing = needs.iter().find(|(cap, _)| !caller.has(*cap));
            if let Some((cap, purpose)) = missing {
                return Some(format!(
                    "{purpose} needs {cap} in the user namespace that owns the token"
                ));
            }
            let (cap, purpose) = needs.first()?;
            Some(format!(
                "{purpose} needs {cap} in the user namespace that owns the token, which is not this \
                 one; or a security module refused it to the token"
            ))
        }
    }
}

/// Whether the kernel has a command or type, as far as it tells.
fn exists(kernel: &Kernel, kind: &Kind, value: u32) -> bool {
    let has = |known: u64| 1_u64.checked_shl(value).is_some_and(|bit| known & bit != 0);
    kernel.known(kind).is_none_or(has)
}

/// Whether a token does not stand for a command or type. One that the kernel does not have, no token stands for.
fn lacks(info: &TokenInfo, kind: &Kind, value: u32, kernel: &Kernel) -> bool {
    let mask = info.masks().into_iter().find(|mask| mask.kind == kind);
    let is_in = mask.is_none_or(|mask| mask.values().any(|other| other == value));
    !is_in || !exists(kernel, kind, value)
}

fn not_delegated(info: &TokenInfo, kind: &Kind, value: u32, kernel: &Kernel) -> String {
    if !exists(kernel, kind, value) {
        return format!("this kernel has no {} {}", kind.noun, kind.label(value));
    }
    let mask = info.masks().into_iter().find(|mask| mask.kind == kind);
    let shown = mask.map(|mask| kernel.show(mask)).unwrap_or_default();
    // An empty set, as the kernel writes it.
    let shown = if shown.is_empty() { "0x0" } else { &shown };
    format!(
        "the token does not delegate {} {} ({}={shown})",
        kind.noun,
        kind.label(value),
        kind.option
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(options: &str, request: Request, capabilities: CapabilitySet) -> String {
        let delegation: crate::Delegation = options.parse().unwrap();
        let info = TokenInfo::from_bits([
            delegation.cmds.mask().bits(),
            delegation.maps.mask().bits(),
            delegation.progs.mask().bits(),
            delegation.attachs.mask().bits(),
        ]);
        let caller = Caller {
            capabilities,
            in_initial_namespace: false,
            unprivileged_disabled: true,
        };
        let token = (!options.is_empty()).then_some(&info);
        explain(request, token, caller, &Kernel::default()).unwrap_or_default()
    }

    const XDP: Request = Request::Program {
        prog_type: ProgType::XDP,
        attach_type: AttachType::XDP,
        insn_cnt: 2,
    };

    #[test]
    fn what_is_missing_is_named() {
        let all = CapabilitySet::all();
        let array = Request::Map(MapType::ARRAY);
        assert_eq!(
            why("", array, all),
            "with kernel.unprivileged_bpf_disabled, the command map_create needs CAP_BPF in the \
             initial user namespace, because no token was given"
        );
        assert_eq!(
            why(
                "delegate_cmds=map_create,delegate_maps=hash:lpm_trie",
                array,
                all
            ),
            "with kernel.unprivileged_bpf_disabled, the command map_create needs CAP_BPF in the \
             initial user namespace, because the token does not delegate map type array \
             (delegate_maps=hash:lpm_trie)"
        );
        assert_eq!(
            why(
                "delegate_cmds=map_create,delegate_maps=array",
                array,
                CapabilitySet::empty()
            ),
            "with kernel.unprivileged_bpf_disabled, the command map_create needs CAP_BPF in the \
             user namespace that owns the token"
        );
        let no_attach = "delegate_cmds=prog_load,delegate_progs=xdp";
        assert!(
            why(no_attach, XDP, all).ends_with("delegate attach type xdp (delegate_attachs=0x0)")
        );
        let xdp = "delegate_cmds=prog_load,delegate_progs=xdp,delegate_attachs=xdp";
        assert_eq!(
            why(xdp, XDP, CapabilitySet::BPF),
            "program type xdp needs CAP_NET_ADMIN in the user namespace that owns the token"
        );
        assert!(why(xdp, XDP, all).contains("a security module refused"));
        assert!(why(xdp, Request::BtfById, all)
            .starts_with("the command btf_get_fd_by_id needs CAP_SYS_ADMIN"));
    }

    #[test]
    fn what_the_kernel_does_not_have_is_not_a_matter_of_the_token() {
        let info = TokenInfo::from_bits([u64::MAX; 4]);
        let caller = Caller {
            capabilities: CapabilitySet::all(),
            in_initial_namespace: false,
            unprivileged_disabled: true,
        };
        let why = |request| explain(request, Some(&info), caller, &Kernel::old());
        assert_eq!(
            why(Request::Map(MapType::RINGBUF)).as_deref(),
            Some(
                "with kernel.unprivileged_bpf_disabled, the command map_create needs CAP_BPF in the \
                 initial user namespace, because this kernel has no map type ringbuf"
            )
        );
    }

    #[test]
    fn attach_types_are_those_that_the_kernel_takes_for_0() {
        let request = Request::Program {
            prog_type: ProgType::CGROUP_SOCK,
            attach_type: AttachType::default(),
            insn_cnt: 2,
        };
        let options = "delegate_cmds=prog_load,delegate_progs=cgroup_sock,delegate_attachs=0x1";
        assert!(why(options, request, CapabilitySet::all())
            .contains("attach type cgroup_inet_sock_create"));
    }
}
