// SPDX-License-Identifier: GPL-2.0

//! Decisions as text.
//!
//! What a reason tells is what the caller could find out by itself: about its own token, its own
//! user namespace, and its own request.

#![forbid(unsafe_code)]

use crate::{
    decision::{
        Decision,
        Denied,
        Given,
        Purpose,
        Refusal,
        Unused, //
    },
    kind::{
        Cmd,
        Kind,
        MapType,
        ProgType, //
    },
    mask::Mask,
    request::Request, //
};
use core::{
    fmt,
    marker::PhantomData, //
};
use kernel::{
    bindings,
    capability::Capability,
    macros::kunit_tests, //
};

/// Why a request is refused.
pub(crate) struct Reason<'a> {
    pub(crate) request: &'a Request,
    pub(crate) decision: &'a Decision,
}

/// The capabilities that a program was verified without.
pub(crate) struct VerifiedWithout<'a> {
    /// Each capability that was missing, and who denied it.
    pub(crate) missing: &'a [(Capability, Denied)],
    pub(crate) request: &'a Request,
    pub(crate) decision: &'a Decision,
}

/// Why the initial user namespace was asked, and not that of a token.
struct WhyInitial<'a>(&'a Request, &'a Decision);

/// The name of an enumerator, or its number if it has none.
struct Named<K>(u32, PhantomData<K>);

fn named<K: Kind>(value: u32) -> Named<K> {
    Named(value, PhantomData)
}

impl<K: Kind> fmt::Display for Named<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match K::NAMES.name_of(self.0) {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

/// A capability as `capabilities(7)` calls it.
struct CapName(Capability);

impl fmt::Display for CapName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Capability::BPF => f.write_str("CAP_BPF"),
            Capability::PERFMON => f.write_str("CAP_PERFMON"),
            Capability::NET_ADMIN => f.write_str("CAP_NET_ADMIN"),
            Capability::SYS_ADMIN => f.write_str("CAP_SYS_ADMIN"),
            cap => write!(f, "capability {}", cap.as_raw()),
        }
    }
}

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let &Self { request, decision } = self;
        match decision.refusal {
            Refusal::None => f.write_str("not refused"),
            Refusal::NotOpen(fd) => write!(f, "descriptor {} is not open", fd as i32),
            Refusal::NotAToken(fd) => write!(f, "descriptor {} is not a BPF token", fd as i32),
            Refusal::Privilege {
                cap,
                purpose,
                denied,
            } => {
                write_purpose(f, purpose, request)?;
                write!(f, " needs {}", CapName(cap))?;
                write_denied(f, denied, request, decision)
            }
            Refusal::InstructionCount => {
                write!(f, "a program cannot have {} instructions", request.insn_cnt)
            }
            Refusal::SecurityModule => write!(
                f,
                "a security module refused the {}",
                if request.cmd == bindings::bpf_cmd_BPF_MAP_CREATE {
                    "map"
                } else {
                    "program"
                }
            ),
        }
    }
}

fn write_purpose(f: &mut fmt::Formatter<'_>, purpose: Purpose, request: &Request) -> fmt::Result {
    let cmd = named::<Cmd>(request.cmd);
    match purpose {
        Purpose::Command => write!(f, "the command {cmd}"),
        Purpose::UnprivilegedBpfDisabled => write!(
            f,
            "with kernel.unprivileged_bpf_disabled, the command {cmd}"
        ),
        Purpose::MapType => write!(f, "map type {}", named::<MapType>(request.object_type)),
        Purpose::MapFields => f.write_str("a map value with fields of the kernel"),
        Purpose::ProgType => write!(f, "program type {}", named::<ProgType>(request.object_type)),
        Purpose::Attach => write!(
            f,
            "to attach program type {}",
            named::<ProgType>(request.object_type)
        ),
        Purpose::AnyAlignment => f.write_str("BPF_F_ANY_ALIGNMENT"),
        Purpose::Instructions => write!(f, "a program of {} instructions", request.insn_cnt),
    }
}

/// Says where a capability that was just named is missing.
fn write_denied(
    f: &mut fmt::Formatter<'_>,
    denied: Denied,
    request: &Request,
    decision: &Decision,
) -> fmt::Result {
    match denied {
        Denied::InTokenNamespace => f.write_str(" in the user namespace that owns the token"),
        Denied::BySecurityModule => f.write_str(", which a security module refused to the token"),
        Denied::InInitialNamespace => write!(
            f,
            " in the initial user namespace, because {}",
            WhyInitial(request, decision)
        ),
    }
}

impl fmt::Display for WhyInitial<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What the token itself has, its instance must have taken away.
        fn missing<K: Kind>(
            f: &mut fmt::Formatter<'_>,
            value: u32,
            left: Mask<K>,
            own: Mask<K>,
        ) -> fmt::Result {
            let (noun, name, option) = (K::NOUN, named::<K>(value), K::OPTION);
            if K::NAMES.name_of(value).is_none() {
                write!(f, "this kernel has no {noun} {name}")
            } else if own.contains(value) {
                write!(
                    f,
                    "the BPF file system does not delegate {noun} {name} any more \
                     (left to the token: {option}={left})"
                )
            } else {
                write!(
                    f,
                    "the token does not delegate {noun} {name} ({option}={left})"
                )
            }
        }
        let &Self(request, decision) = self;
        let Given::Token {
            unused, allowed, ..
        } = &decision.given
        else {
            return f.write_str("no token was given");
        };
        match unused {
            Unused::None => f.write_str("the token is used"),
            Unused::Cmd(left) => missing(f, request.cmd, *left, allowed.cmds),
            Unused::MapType(left) => missing(f, request.object_type, *left, allowed.maps),
            Unused::ProgType(left) => missing(f, request.object_type, *left, allowed.progs),
            Unused::AttachType(left) => missing(f, request.attach_type, *left, allowed.attachs),
            Unused::SecurityModule => write!(
                f,
                "a security module refused the command {} to the token",
                named::<Cmd>(request.cmd)
            ),
        }
    }
}

impl fmt::Display for VerifiedWithout<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the program was verified without ")?;
        // Capabilities that are missing for one cause are named together.
        for (i, &(cap, denied)) in self.missing.iter().enumerate() {
            write!(f, "{}", CapName(cap))?;
            match self.missing.get(i + 1) {
                Some(&(_, next)) if next == denied => f.write_str(" and ")?,
                next => {
                    write_denied(f, denied, self.request, self.decision)?;
                    if next.is_some() {
                        f.write_str(", and without ")?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[kunit_tests(bpf_token_reason)]
mod tests {
    use super::*;
    use crate::{
        delegation::Delegation,
        line::Line, //
    };

    const HASH: u32 = bindings::bpf_map_type_BPF_MAP_TYPE_HASH;

    fn map() -> Request {
        Request {
            object_type: HASH,
            ..Request::of(bindings::bpf_cmd_BPF_MAP_CREATE)
        }
    }

    fn privilege(purpose: Purpose, denied: Denied) -> Decision {
        let refusal = Refusal::Privilege {
            cap: Capability::BPF,
            purpose,
            denied,
        };
        Decision {
            refusal,
            ..Decision::new()
        }
    }

    /// Whether `decision` about `request` reads like this.
    fn reads(request: Request, decision: Decision, text: &str) -> bool {
        let reason = Reason {
            request: &request,
            decision: &decision,
        };
        Line::new(&reason).as_str() == text
    }

    #[test]
    fn where_a_capability_is_missing() {
        let mut decision = privilege(Purpose::MapType, Denied::InTokenNamespace);
        assert!(reads(
            map(),
            decision,
            "map type hash needs CAP_BPF in the user namespace that owns the token"
        ));
        decision = privilege(Purpose::MapType, Denied::BySecurityModule);
        assert!(reads(
            map(),
            decision,
            "map type hash needs CAP_BPF, which a security module refused to the token"
        ));
        decision = privilege(Purpose::MapType, Denied::InInitialNamespace);
        assert!(reads(
            map(),
            decision,
            "map type hash needs CAP_BPF in the initial user namespace, because no token was given"
        ));
    }

    #[test]
    fn why_a_token_was_put_aside() {
        let mut decision = privilege(Purpose::MapFields, Denied::InInitialNamespace);
        let given = |unused| Given::Token {
            unused,
            userns: 1,
            cookie: 0,
            allowed: Delegation {
                maps: Mask::from_bits(1 << 2),
                ..Delegation::NOTHING
            },
        };
        decision.given = given(Unused::MapType(Mask::from_bits(1 << 2)));
        assert!(reads(
            map(),
            decision,
            "a map value with fields of the kernel needs CAP_BPF in the initial user namespace, \
             because the token does not delegate map type hash (delegate_maps=array)"
        ));
        let array = Request {
            object_type: 2,
            ..map()
        };
        decision.given = given(Unused::MapType(Mask::EMPTY));
        assert!(reads(
            array,
            decision,
            "a map value with fields of the kernel needs CAP_BPF in the initial user namespace, \
             because the BPF file system does not delegate map type array any more (left to the \
             token: delegate_maps=0x0)"
        ));
        decision.given = given(Unused::SecurityModule);
        assert!(reads(
            map(),
            decision,
            "a map value with fields of the kernel needs CAP_BPF in the initial user namespace, \
             because a security module refused the command map_create to the token"
        ));
    }

    #[test]
    fn what_the_verifier_did_without() {
        let (request, decision) = (map(), Decision::new());
        let reads = |missing: &[(Capability, Denied)], text| {
            let without = VerifiedWithout {
                missing,
                request: &request,
                decision: &decision,
            };
            Line::new(&without).as_str() == text
        };
        let (bpf, perfmon) = (Capability::BPF, Capability::PERFMON);
        assert!(reads(
            &[
                (bpf, Denied::InTokenNamespace),
                (perfmon, Denied::InTokenNamespace)
            ],
            "the program was verified without CAP_BPF and CAP_PERFMON in the user namespace that \
             owns the token"
        ));
        assert!(reads(
            &[
                (bpf, Denied::InTokenNamespace),
                (perfmon, Denied::BySecurityModule)
            ],
            "the program was verified without CAP_BPF in the user namespace that owns the token, \
             and without CAP_PERFMON, which a security module refused to the token"
        ));
    }

    #[test]
    fn numbers_without_a_name_are_shown() {
        let decision = privilege(Purpose::MapType, Denied::InTokenNamespace);
        let request = Request {
            object_type: u32::MAX,
            ..map()
        };
        assert!(reads(
            request,
            decision,
            "map type 4294967295 needs CAP_BPF in the user namespace that owns the token"
        ));
        let mut decision = privilege(Purpose::MapType, Denied::InInitialNamespace);
        decision.given = Given::Token {
            unused: Unused::MapType(Mask::ALL),
            userns: 1,
            cookie: 0,
            allowed: Delegation::NOTHING,
        };
        assert!(reads(
            request,
            decision,
            "map type 4294967295 needs CAP_BPF in the initial user namespace, because this kernel \
             has no map type 4294967295"
        ));
    }
}
