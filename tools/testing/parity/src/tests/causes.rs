// SPDX-License-Identifier: GPL-2.0
//! The cause that a reason names is the true one: when all else is as the command needs it, upstream refuses for as long
//! as that cause is there, and accepts when it is gone.

use super::{decide, in_parallel, BTF_GET_FD_BY_ID, BTF_LOAD, MAP_CREATE, PROG_LOAD};
use crate::{
    bindings,
    capability::Capability,
    decision::{Decision, Denied, Given, Purpose, Refusal, Unused},
    delegation::Delegation,
    kind::{AttachType, Kind, MapType, ProgType},
    line::Line,
    mask::Mask,
    oracle,
    reason::Reason,
    request::Request,
    world::{bit, subsets, Descriptor, World, ALL_CAPS},
};
use std::{collections::BTreeSet, sync::Mutex};

/// A world in which every command succeeds by the token, though not without.
fn all_by_token() -> World {
    let all = Delegation {
        cmds: Mask::ALL,
        maps: Mask::ALL,
        progs: Mask::ALL,
        attachs: Mask::ALL,
    };
    World {
        own_caps: ALL_CAPS,
        allowed: all,
        present: all,
        ..World::NOTHING
    }
}

/// What of `mask` is left when the item of a request is not.
fn without<K: Kind>(mask: Mask<K>, value: u32) -> Mask<K> {
    Mask::from_bits(mask.bits() & !1u64.checked_shl(value).unwrap_or(0))
}

/// Takes what `unused` says is not there out of a delegation.
fn take(from: &mut Delegation, request: &Request, unused: Unused) {
    match unused {
        Unused::Cmd(_) => from.cmds = without(from.cmds, request.cmd),
        Unused::MapType(_) => from.maps = without(from.maps, request.object_type),
        Unused::ProgType(_) => from.progs = without(from.progs, request.object_type),
        Unused::AttachType(_) => from.attachs = without(from.attachs, request.attach_type),
        Unused::None | Unused::SecurityModule => (),
    }
}

/// `world` with a capability taken from the caller where a decision says that it is missing.
///
/// `CAP_SYS_ADMIN` stands in for each, so it goes, too.
fn lacking(mut world: World, cap: Capability, denied: Denied) -> World {
    let gone = bit(cap) | bit(Capability::SYS_ADMIN);
    match denied {
        Denied::InTokenNamespace => world.own_caps &= !gone,
        Denied::InInitialNamespace => world.init_caps &= !gone,
        Denied::BySecurityModule => world.cap_agreed = false,
    }
    world
}

/// The request with all that needs a privilege made harmless, but for `purpose`.
fn harmless_but_for(purpose: Purpose, request: &Request) -> (Request, u32) {
    let mut request = *request;
    let harmless = match request.cmd {
        MAP_CREATE => bindings::bpf_map_type_BPF_MAP_TYPE_ARRAY,
        _ => bindings::bpf_prog_type_BPF_PROG_TYPE_SOCKET_FILTER,
    };
    if !matches!(purpose, Purpose::MapType | Purpose::ProgType) && request.cmd != BTF_LOAD {
        request.object_type = harmless;
    }
    if purpose != Purpose::Instructions {
        request.insn_cnt = 1;
    }
    if purpose != Purpose::AnyAlignment {
        request.prog_flags = 0;
    }
    (
        request,
        (purpose == Purpose::UnprivilegedBpfDisabled).into(),
    )
}

fn accepts(world: &World, request: &Request) -> bool {
    oracle::answer(world, request, true).err == 0
}

/// Whether upstream agrees that a decision names the cause.
fn is_the_cause(request: &Request, decision: &Decision, err: i32) -> bool {
    let mut world = all_by_token();
    let refuses =
        |world: &World, request: &Request| oracle::answer(world, request, true).err == err;
    let (cap, purpose, denied) = match decision.refusal {
        Refusal::NotOpen(_) | Refusal::NotAToken(_) => {
            let harmless = Request {
                insn_cnt: 1,
                ..*request
            };
            world.init_caps = ALL_CAPS;
            world.descriptor = match decision.refusal {
                Refusal::NotOpen(_) => Descriptor::Closed,
                _ => Descriptor::Other,
            };
            let token = World {
                descriptor: Descriptor::Token,
                ..world
            };
            return refuses(&world, &harmless) && accepts(&token, &harmless);
        }
        Refusal::InstructionCount => {
            let one = Request {
                insn_cnt: 1,
                ..*request
            };
            return refuses(&world, request) && accepts(&world, &one);
        }
        Refusal::Privilege {
            cap,
            purpose,
            denied,
        } => (cap, purpose, denied),
        Refusal::None | Refusal::SecurityModule => return false,
    };
    let (harmless, disabled) = harmless_but_for(purpose, request);
    world.disabled = disabled;
    if denied != Denied::InInitialNamespace {
        // The token is used: all depends on the capability.
        return accepts(&world, &harmless) && refuses(&lacking(world, cap, denied), &harmless);
    }
    // The capability in the initial user namespace is enough; and so is what the token lacked, in its place.
    let Given::Token { unused, .. } = decision.given else {
        let by_caps = |caps| {
            oracle::answer(
                &World {
                    init_caps: caps,
                    ..world
                },
                &harmless,
                false,
            )
            .err
        };
        return by_caps(ALL_CAPS) == 0
            && by_caps(ALL_CAPS & !bit(cap) & !bit(Capability::SYS_ADMIN)) == err;
    };
    let mut aside = world;
    take(&mut aside.present, &harmless, unused);
    aside.cmd_agreed = unused != Unused::SecurityModule;
    aside.init_caps = ALL_CAPS;
    let lacking = lacking(aside, cap, denied);
    accepts(&aside, &harmless) && refuses(&lacking, &harmless) && {
        accepts(
            &World {
                init_caps: 0,
                ..world
            },
            &harmless,
        )
    }
}

/// All commands, with what decides about them; the delegation of each item stays apart.
fn requests() -> Vec<Request> {
    let mut requests = vec![Request::of(BTF_LOAD), Request::of(BTF_GET_FD_BY_ID)];
    requests.extend((1..MapType::NAMES.len()).map(|object_type| Request {
        object_type,
        ..Request::of(MAP_CREATE)
    }));
    for object_type in 0..ProgType::NAMES.len() {
        for insn_cnt in [0, 1, 4096, 4097, 1_000_000, 1_000_001] {
            for prog_flags in [0, bindings::BPF_F_ANY_ALIGNMENT] {
                requests.push(Request {
                    object_type,
                    attach_type: 5,
                    insn_cnt,
                    prog_flags,
                    ..Request::of(PROG_LOAD)
                });
            }
        }
    }
    requests
}

/// The worlds in which a request is decided.
fn worlds(request: &Request) -> Vec<World> {
    let all = all_by_token();
    let mut delegated = vec![all];
    for unused in [
        Unused::Cmd(Mask::EMPTY),
        Unused::MapType(Mask::EMPTY),
        Unused::ProgType(Mask::EMPTY),
        Unused::AttachType(Mask::EMPTY),
    ] {
        let mut world = all;
        take(&mut world.allowed, request, unused);
        delegated.push(world);
        let mut world = all;
        take(&mut world.present, request, unused);
        delegated.push(world);
    }
    delegated.push(World {
        cmd_agreed: false,
        ..all
    });
    let mut worlds = Vec::new();
    for world in delegated {
        for descriptor in [Descriptor::Token, Descriptor::Other, Descriptor::Closed] {
            for (init_caps, own_caps) in subsets().flat_map(|i| subsets().map(move |o| (i, o))) {
                for (disabled, cap_agreed) in [(0, false), (0, true), (1, false), (1, true)] {
                    worlds.push(World {
                        init_caps,
                        own_caps,
                        descriptor,
                        disabled,
                        cap_agreed,
                        ..world
                    });
                }
            }
        }
    }
    worlds
}

/// What a reason must name, and what it must not: each item once.
fn tells(text: &str, request: &Request, decision: &Decision) -> bool {
    let taken_back = text.contains(" any more ");
    match decision.refusal {
        Refusal::Privilege { cap, denied, .. } => {
            let name = match cap {
                Capability::BPF => "CAP_BPF",
                Capability::PERFMON => "CAP_PERFMON",
                Capability::NET_ADMIN => "CAP_NET_ADMIN",
                _ => "CAP_SYS_ADMIN",
            };
            let at = match denied {
                Denied::InTokenNamespace => "in the user namespace that owns the token",
                Denied::BySecurityModule => "which a security module refused to the token",
                Denied::InInitialNamespace => "in the initial user namespace, because ",
            };
            let has = |text: &str, words: &str| text.matches(words).count() == 1;
            let named = has(text, &format!("needs {name}")) && has(text, at);
            let Given::Token {
                unused, allowed, ..
            } = decision.given
            else {
                return named
                    && !taken_back
                    && (denied != Denied::InInitialNamespace
                        || text.ends_with("no token was given"));
            };
            let aside = |option: &str, own: bool, exists: bool| {
                taken_back == own
                    && has(text, "does not delegate ") == exists
                    && has(text, &format!("{option}=")) == exists
                    && has(text, "because this kernel has no ") != exists
            };
            let (object, attach) = (request.object_type, request.attach_type);
            named
                && match unused {
                    Unused::None => !taken_back && denied != Denied::InInitialNamespace,
                    Unused::Cmd(_) => {
                        aside("delegate_cmds", allowed.cmds.contains(request.cmd), true)
                    }
                    Unused::MapType(_) => aside(
                        "delegate_maps",
                        allowed.maps.contains(object),
                        object < MapType::NAMES.len(),
                    ),
                    Unused::ProgType(_) => aside(
                        "delegate_progs",
                        allowed.progs.contains(object),
                        object < ProgType::NAMES.len(),
                    ),
                    Unused::AttachType(_) => aside(
                        "delegate_attachs",
                        allowed.attachs.contains(attach),
                        attach < AttachType::NAMES.len(),
                    ),
                    Unused::SecurityModule => {
                        has(text, "because a security module refused the command")
                    }
                }
        }
        Refusal::NotOpen(3) => text == "descriptor 3 is not open",
        Refusal::NotAToken(3) => text == "descriptor 3 is not a BPF token",
        Refusal::InstructionCount => {
            text == format!("a program cannot have {} instructions", request.insn_cnt)
        }
        _ => false,
    }
}

#[test]
fn every_reason_names_the_cause() {
    let reasons = Mutex::new(BTreeSet::new());
    in_parallel(&requests(), |request| {
        let mut own = BTreeSet::new();
        let mut seen = Vec::new();
        for world in worlds(request) {
            for given in [true, false] {
                let (err, _, decision) = decide(&world, request, given);
                if err == 0 {
                    continue;
                }
                let given = match decision.given {
                    Given::Nothing => None,
                    Given::Token {
                        unused, allowed, ..
                    } => Some((unused, allowed)),
                };
                // What is true once is true whenever it is told.
                let told = (decision.refusal, given);
                if seen.contains(&told) {
                    continue;
                }
                seen.push(told);
                let line = Line::new(&Reason {
                    request,
                    decision: &decision,
                });
                assert!(is_the_cause(request, &decision, err), "{}", line.as_str());
                assert!(
                    tells(line.as_str(), request, &decision),
                    "{}",
                    line.as_str()
                );
                own.insert(line.as_str().to_owned());
            }
        }
        reasons.lock().expect("nobody failed").extend(own);
    });
    let reasons = reasons.into_inner().expect("nobody failed");
    eprintln!("{} reasons", reasons.len());
    assert!(reasons.len() > 500);
}
