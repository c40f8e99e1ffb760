// SPDX-License-Identifier: GPL-2.0
//! Every command that takes a token, in every world: the answer is upstream's, and so is the capability that it lacked.

use super::{decide, in_parallel, BTF_GET_FD_BY_ID, BTF_LOAD, MAP_CREATE, PROG_LOAD};
use crate::{
    bindings,
    decision::{Decision, Denied, Given, Refusal, Unused},
    delegation::Delegation,
    kind::{AttachType, Kind, MapType, ProgType},
    mask::Mask,
    oracle::{self, Answer},
    request::Request,
    world::{subsets, Descriptor, World},
};
use std::sync::atomic::{AtomicU64, Ordering};

/// Where something changes: nothing, the limits of the unprivileged and of all, and their neighbours.
const INSN_COUNTS: [u32; 11] = [
    0,
    1,
    2,
    4095,
    4096,
    4097,
    999_999,
    1_000_000,
    1_000_001,
    i32::MAX as u32 + 1,
    u32::MAX,
];

/// All values of an enum, those behind it, and those that wrap to one of them when they are shifted by.
fn values<K: Kind>() -> Vec<u32> {
    (0..=K::NAMES.len() + 1)
        .chain([63, 64, 65, 1 << 31, u32::MAX])
        .collect()
}

/// The masks that tell whether `value` is in them: that alone, and all but that.
fn mask<K>(value: u32, delegated: bool) -> Mask<K> {
    let bit = 1u64.checked_shl(value).unwrap_or(0);
    Mask::from_bits(if delegated { bit } else { !bit })
}

/// The delegations that have each item of a request, or not: bit by bit of `items`.
fn delegation(request: &Request, items: u32) -> Delegation {
    let has = |item: u32| items >> item & 1 == 1;
    Delegation {
        cmds: mask(request.cmd, has(0)),
        maps: mask(request.object_type, has(1)),
        progs: mask(request.object_type, has(1)),
        attachs: mask(request.attach_type, has(2)),
    }
}

/// Whether the token is left aside for a reason that holds, or used.
fn unused_for_a_reason(world: &World, request: &Request, unused: Unused) -> bool {
    let left = world.allowed & world.present;
    match unused {
        Unused::None => true,
        Unused::Cmd(told) => told == left.cmds && !told.contains(request.cmd),
        Unused::SecurityModule => left.cmds.contains(request.cmd) && !world.cmd_agreed,
        Unused::MapType(told) => told == left.maps && !told.contains(request.object_type),
        Unused::ProgType(told) => told == left.progs && !told.contains(request.object_type),
        Unused::AttachType(told) => told == left.attachs && !told.contains(request.attach_type),
    }
}

/// Whether upstream's answer is the one that the decision tells.
fn same(world: &World, request: &Request, given: bool, c: &Answer) -> (bool, Decision, i32) {
    let (err, used, decision) = decide(world, request, given);
    let looked_at = given && world.descriptor == Descriptor::Token;
    let told = match decision.given {
        // A token that is used is told of only when the command is refused.
        Given::Nothing => !looked_at || (err == 0 && used),
        Given::Token { unused, .. } => {
            looked_at
                && (unused == Unused::None) == c.used
                && unused_for_a_reason(world, request, unused)
        }
    };
    let refused = match decision.refusal {
        Refusal::None => err == 0 && used == c.used,
        Refusal::NotOpen(3) => given && world.descriptor == Descriptor::Closed,
        Refusal::NotAToken(3) => given && world.descriptor == Descriptor::Other,
        Refusal::Privilege { cap, denied, .. } => {
            cap.as_raw() == c.missing
                && denied
                    == match (c.used, c.by_module) {
                        (true, true) => Denied::BySecurityModule,
                        (true, false) => Denied::InTokenNamespace,
                        (false, _) => Denied::InInitialNamespace,
                    }
        }
        Refusal::InstructionCount => request.insn_cnt == 0 || request.insn_cnt > 1_000_000,
        _ => false,
    };
    let missing = decision.refusal.capability().map_or(-1, |cap| cap.as_raw());
    let is_missing = matches!(decision.refusal, Refusal::Privilege { .. });
    let named = missing == if is_missing { c.missing } else { -1 };
    (err == c.err && told && refused && named, decision, err)
}

fn compare(world: &World, request: &Request, given: bool) {
    let c = oracle::answer(world, request, given);
    let (same, decision, err) = same(world, request, given, &c);
    if !same {
        let Request {
            cmd,
            object_type,
            attach_type,
            insn_cnt,
            prog_flags,
        } = request;
        panic!(
            "command {cmd}, type {object_type}, attach type {attach_type}, {insn_cnt} instructions, flags \
             {prog_flags:#x}, token given: {given}, {:?}, capabilities {:#x} and {:#x}, disabled {}, modules agree: \
             {} and {}, delegated {:#x?}:\n  C says {c:?}, Rust {err} for {:?}",
            world.descriptor,
            world.init_caps,
            world.own_caps,
            world.disabled,
            world.cmd_agreed,
            world.cap_agreed,
            (world.allowed & world.present).cmds.bits(),
            decision.refusal,
        );
    }
}

/// Compares a request in every world whose delegations are of `states`: pairs of what the token and its instance have.
/// Returns how many there were.
fn in_all_worlds(request: &Request, states: &[(u32, u32)]) -> u64 {
    let mut count = 0;
    let mut world = World::NOTHING;
    for init_caps in subsets() {
        for own_caps in subsets() {
            for (agreed, disabled) in (0..4).flat_map(|a| [(a, 0), (a, 1)]) {
                world.init_caps = init_caps;
                world.own_caps = own_caps;
                world.disabled = disabled;
                world.cmd_agreed = agreed & 1 == 1;
                world.cap_agreed = agreed & 2 == 2;
                world.descriptor = Descriptor::Token;
                for &(allowed, present) in states {
                    world.allowed = delegation(request, allowed);
                    world.present = delegation(request, present);
                    compare(&world, request, true);
                }
                compare(&world, request, false);
                for descriptor in [Descriptor::Other, Descriptor::Closed] {
                    world.descriptor = descriptor;
                    compare(&world, request, true);
                }
                count += states.len() as u64 + 3;
            }
        }
    }
    count
}

/// Each of the first `items` items is delegated or not; the instance has them all.
fn delegated_or_not(items: u32) -> Vec<(u32, u32)> {
    (0..1 << items).map(|allowed| (allowed, !0)).collect()
}

/// Each of the first `items` items is delegated by the token or not, and by its instance now or not.
fn taken_back_or_not(items: u32) -> Vec<(u32, u32)> {
    let all = 1 << items;
    (0..all)
        .flat_map(|allowed| (0..all).map(move |present| (allowed, present)))
        .collect()
}

/// Compares all requests in all worlds, and tells how many there were.
fn compare_all(requests: &[Request], states: &[(u32, u32)]) {
    let count = AtomicU64::new(0);
    in_parallel(requests, |request| {
        count.fetch_add(in_all_worlds(request, states), Ordering::Relaxed);
    });
    eprintln!("{} cases", count.into_inner());
}

fn prog(object_type: u32, attach_type: u32, insn_cnt: u32) -> Request {
    Request {
        object_type,
        attach_type,
        insn_cnt,
        ..Request::of(PROG_LOAD)
    }
}

#[test]
fn btf_commands() {
    let requests = [BTF_LOAD, BTF_GET_FD_BY_ID].map(Request::of);
    compare_all(&requests, &taken_back_or_not(1));
}

#[test]
fn maps_of_all_types() {
    let map = |object_type| Request {
        object_type,
        ..Request::of(MAP_CREATE)
    };
    // What upstream has no maps of is refused before the token step.
    let (known, unknown): (Vec<u32>, Vec<u32>) = values::<MapType>()
        .iter()
        .partition(|&&value| oracle::has_map_type(value));
    assert_eq!(known, (1..MapType::NAMES.len()).collect::<Vec<_>>());
    assert!(unknown.contains(&0));
    let requests: Vec<Request> = known.into_iter().map(map).collect();
    compare_all(&requests, &taken_back_or_not(2));
}

#[test]
fn programs_of_all_types_and_attach_types() {
    let requests: Vec<Request> = values::<ProgType>()
        .into_iter()
        .flat_map(|object| {
            values::<AttachType>()
                .into_iter()
                .map(move |attach| prog(object, attach, 1))
        })
        .collect();
    compare_all(&requests, &delegated_or_not(3));
}

#[test]
fn programs_of_all_lengths() {
    let counts = |object| INSN_COUNTS.map(move |count| prog(object, object % 7, count));
    let requests: Vec<Request> = values::<ProgType>()
        .into_iter()
        .flat_map(counts)
        .flat_map(|request| {
            [
                0,
                bindings::BPF_F_ANY_ALIGNMENT,
                !bindings::BPF_F_ANY_ALIGNMENT & 0x7f,
            ]
            .map(|prog_flags| Request {
                prog_flags,
                ..request
            })
        })
        .collect();
    compare_all(&requests, &delegated_or_not(3));
}

#[test]
fn programs_whose_token_was_narrowed() {
    let requests: Vec<Request> = values::<ProgType>()
        .into_iter()
        .map(|object| prog(object, object % 7, 1))
        .collect();
    compare_all(&requests, &taken_back_or_not(3));
}

/// The whole product of what the others take apart.
#[test]
#[ignore = "takes most of a minute; WHOLE=1 make check has it"]
fn programs_of_all_types_attach_types_and_lengths() {
    let requests: Vec<Request> = values::<ProgType>()
        .into_iter()
        .flat_map(|object| {
            values::<AttachType>()
                .into_iter()
                .map(move |attach| (object, attach))
        })
        .flat_map(|(object, attach)| INSN_COUNTS.map(|count| prog(object, attach, count)))
        .collect();
    compare_all(&requests, &delegated_or_not(3));
}
