// SPDX-License-Identifier: GPL-2.0
//! One capability, asked for by a token or without, and the attachment of programs.

use crate::{
    admission::admit_later,
    capability::Capability,
    decision::{Decision, Denied, Given, Purpose, Refusal, Unused},
    delegation::Delegation,
    kind::{AttachType, Kind, ProgType},
    oracle,
    standin::token::Token,
    world::{subsets, World, CAPS},
};

/// All worlds that one capability depends on.
fn worlds() -> impl Iterator<Item = World> {
    subsets().flat_map(|init_caps| {
        subsets().flat_map(move |own_caps| {
            [false, true].map(|cap_agreed| World {
                init_caps,
                own_caps,
                cap_agreed,
                ..World::NOTHING
            })
        })
    })
}

/// Who denied a capability, by what upstream says.
fn denied(answer: &oracle::Answer) -> Denied {
    match (answer.used, answer.by_module) {
        (true, true) => Denied::BySecurityModule,
        (true, false) => Denied::InTokenNamespace,
        (false, _) => Denied::InInitialNamespace,
    }
}

#[test]
fn each_capability_is_given_as_upstream_gives_it() {
    let token = Token::new(Delegation::NOTHING);
    // One that no command asks for, too: a BPF LSM program may.
    // SAFETY: 0 is CAP_CHOWN.
    let chown = unsafe { Capability::from_raw(0) };
    for world in worlds() {
        world.enter();
        for by_token in [None, Some(&token)] {
            for cap in CAPS.into_iter().chain([chown]) {
                let (capable, answer) = oracle::capable(&world, by_token.is_some(), cap);
                let ours = Token::check_capable(by_token, cap);
                assert_eq!(ours.is_ok(), capable, "{cap:?} {answer:?}");
                if let Err(who) = ours {
                    assert_eq!(who, denied(&answer), "{cap:?} {answer:?}");
                    assert_eq!(Token::who_denied(by_token, cap), who, "{cap:?}");
                }
            }
        }
    }
}

#[test]
fn later_checks_are_refused_with_their_reason() {
    let token = Token::new(Delegation::NOTHING);
    for world in worlds() {
        world.enter();
        for by_token in [None, Some(&token)] {
            let mut decision = Decision::new();
            let (cap, purpose) = (Capability::BPF, Purpose::MapFields);
            let ours = admit_later(by_token, cap, purpose, &mut decision);
            let (capable, answer) = oracle::capable(&world, by_token.is_some(), cap);
            assert_eq!(ours.is_ok(), capable);
            if capable {
                assert_eq!(decision.refusal, Refusal::None);
                continue;
            }
            let denied = denied(&answer);
            assert_eq!(
                decision.refusal,
                Refusal::Privilege {
                    cap,
                    purpose,
                    denied
                }
            );
            let unused = matches!(
                decision.given,
                Given::Token {
                    unused: Unused::None,
                    userns: 2,
                    cookie: 7,
                    ..
                }
            );
            assert_eq!(unused, by_token.is_some());
        }
    }
}

/// Upstream's function looks at the capability for `cgroup_skb` only, as the patched one asks ours there.
#[test]
fn only_cgroup_skb_needs_a_capability_to_be_attached() {
    let token = Token::new(Delegation::NOTHING);
    let mut asked = 0;
    for world in worlds() {
        world.enter();
        for prog in 0..=ProgType::NAMES.len() {
            for attach in 0..=AttachType::NAMES.len() {
                for by_token in [None, Some(&token)] {
                    let (err, answer) = oracle::attach(&world, by_token.is_some(), prog, attach);
                    let mut decision = Decision::new();
                    let cap = Capability::NET_ADMIN;
                    let ours = admit_later(by_token, cap, Purpose::Attach, &mut decision);
                    if prog != crate::bindings::bpf_prog_type_BPF_PROG_TYPE_CGROUP_SKB {
                        assert_eq!(answer.missing, -1);
                        assert_ne!(err, -1);
                        continue;
                    }
                    asked += 1;
                    assert_eq!(ours.is_err(), err == -1, "{err} {answer:?}");
                    if let Refusal::Privilege { denied: who, .. } = decision.refusal {
                        assert_eq!((answer.missing, denied(&answer)), (cap.as_raw(), who));
                    }
                }
            }
        }
    }
    assert!(asked > 0);
}
