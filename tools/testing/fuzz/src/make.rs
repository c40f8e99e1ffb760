// SPDX-License-Identifier: GPL-2.0

//! Steps and sequences made by chance.
//!
//! Slots have customary uses, so that steps that were made without each other fit together: see [`slots`].

use fastrand::Rng;

use crate::commands::command;
use crate::flags::OpenFlags;
use crate::names::KINDS;
use crate::step::Act;
use crate::step::Actor;
use crate::step::Caps;
use crate::step::Step;
use crate::step::Value;
use crate::step::PLACES;

/// What is usually in a slot.
pub mod slots {
    /// How many are used.
    pub const COUNT: u32 = 16;
    pub const CONTEXT: u32 = 0;
    pub const MOUNT: u32 = 1;
    pub const ROOT: u32 = 2;
    pub const TOKEN: u32 = 3;
    /// The one that a program of the arena reads.
    pub const MAP: u32 = 4;
    pub const PROG: u32 = 5;
    pub const BTF: u32 = 6;
    pub const OTHER_TOKEN: u32 = 7;
    pub const OTHER_CONTEXT: u32 = 8;
    pub const OTHER_MOUNT: u32 = 9;
    pub const OTHER_ROOT: u32 = 10;
    pub const PICKED: u32 = 11;
}

/// More steps than this are cut off.
const LONGEST: usize = 40;

/// Whose the next step is: mostly the container's.
pub fn actor(rng: &mut Rng) -> Actor {
    match rng.u32(..16) {
        0..10 => Actor::Container,
        10..12 => Actor::Worker,
        12..15 => Actor::Manager,
        _ => Actor::Nested,
    }
}

pub fn pick<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.usize(..of.len())]
}

/// The usual slot, but for one time in ten.
pub fn around(rng: &mut Rng, usual: u32) -> u32 {
    match rng.u32(..10) {
        0 => rng.u32(..slots::COUNT),
        _ => usual,
    }
}

/// What the value of an option may be.
fn value(rng: &mut Rng, kind: usize) -> String {
    const VALUES: [&[&str]; 4] = [
        &[
            "any",
            "map_create",
            "prog_load",
            "btf_load:btf_get_fd_by_id",
            "map_create:prog_load:btf_load",
            "obj_pin",
            "MAP_CREATE:0x20",
            "0x1",
            "0",
            "0xffffffffffffffff",
            "common_attrs",
            "nonsense",
        ],
        &[
            "any",
            "array",
            "hash",
            "array:hash",
            "stack:queue",
            "0x4",
            "0",
            "devmap",
            "map_create",
            "64",
        ],
        &[
            "any",
            "socket_filter",
            "kprobe:xdp",
            "xdp",
            "0x2",
            "0",
            "tracing:lsm:ext",
            "0x8000000000000000",
        ],
        &[
            "any",
            "cgroup_inet_ingress",
            "xdp",
            "0x1",
            "0",
            "trace_fentry:trace_raw_tp",
            "0x8000000000000001",
        ],
    ];
    pick(rng, VALUES[kind]).to_owned()
}

fn set(rng: &mut Rng, context: u32) -> Act {
    let kind = rng.usize(..KINDS.len());
    let (key, value) = match rng.u32(..16) {
        0 => ("mode", "0700".to_owned()),
        1 => ("uid", "0".to_owned()),
        2 => ("nonsense", "1".to_owned()),
        _ => (KINDS[kind].option, value(rng, kind)),
    };
    Act::Set {
        context,
        key: key.into(),
        value: Value::Text(value.as_str().into()),
    }
}

/// A delegated BPF FS and a token of it, as a manager sets it up.
fn delegated(rng: &mut Rng) -> Vec<Step> {
    use Actor::Container;
    use Actor::Manager;
    let mut steps = Vec::new();
    let mut step = |actor, act| steps.push(Step { actor, act });
    let (context, mount, root) = (slots::CONTEXT, slots::MOUNT, slots::ROOT);
    let all = rng.bool();
    step(Container, Act::Open { to: context });
    step(
        Container,
        Act::Pass {
            slot: context,
            actor: Manager,
        },
    );
    for (kind, of_kind) in KINDS.iter().enumerate() {
        let value = if all {
            "any".to_owned()
        } else {
            value(rng, kind)
        };
        let key = of_kind.option.into();
        let value = Value::Text(value.as_str().into());
        step(
            Manager,
            Act::Set {
                context,
                key,
                value,
            },
        );
    }
    step(
        pick(rng, &[Manager, Manager, Manager, Container]),
        Act::Create { context },
    );
    step(Container, Act::Mount { context, to: mount });
    step(Container, Act::Root { mount, to: root });
    let attributes = command(rng, guest::sys::Command::TokenCreate);
    step(
        Container,
        Act::Bpf {
            to: slots::TOKEN,
            attributes,
        },
    );
    steps
}

/// A remount that may take back.
fn remount(rng: &mut Rng) -> Vec<Step> {
    let picker = pick(rng, &[Actor::Manager, Actor::Manager, Actor::Container]);
    let mut steps = Vec::new();
    let mut step = |actor, act| steps.push(Step { actor, act });
    if picker == Actor::Manager {
        let slot = slots::ROOT;
        step(
            Actor::Container,
            Act::Pass {
                slot,
                actor: Actor::Manager,
            },
        );
    }
    let context = slots::PICKED;
    step(
        picker,
        Act::Pick {
            root: slots::ROOT,
            to: context,
        },
    );
    for _ in 0..=rng.u32(..2) {
        step(picker, set(rng, context));
    }
    // Who sets need not be who applies, nor hold what they held.
    let applier = match rng.u32(..4) {
        0 => Actor::Container,
        1 => {
            step(picker, Act::Caps(Caps(rng.u8(..16))));
            picker
        }
        _ => picker,
    };
    if applier != picker {
        let slot = context;
        step(
            picker,
            Act::Pass {
                slot,
                actor: applier,
            },
        );
    }
    step(applier, Act::Reconfigure { context });
    steps
}

/// Steps that belong together.
pub fn some(rng: &mut Rng) -> Vec<Step> {
    match rng.u32(..24) {
        0 | 1 => remount(rng),
        3..6 => {
            let actor = actor(rng);
            let caps = Act::Caps(Caps(rng.u8(..16)));
            let acts = [caps, bpf(rng)];
            acts.map(|act| Step { actor, act }).to_vec()
        }
        2 => {
            let slot = around(rng, slots::TOKEN);
            let other = pick(rng, &[Actor::Worker, Actor::Manager, Actor::Nested]);
            vec![
                Step {
                    actor: Actor::Container,
                    act: Act::Pass { slot, actor: other },
                },
                Step {
                    actor: other,
                    act: bpf(rng),
                },
            ]
        }
        _ => vec![one(rng)],
    }
}

fn bpf(rng: &mut Rng) -> Act {
    use guest::sys::Command;
    let (command_of, usual) = pick(
        rng,
        &[
            (Command::MapCreate, slots::MAP),
            (Command::MapCreate, slots::MAP),
            (Command::ProgLoad, slots::PROG),
            (Command::ProgLoad, slots::PROG),
            (Command::BtfLoad, slots::BTF),
            (Command::BtfGetFdById, slots::BTF),
            (Command::TokenCreate, slots::TOKEN),
            (Command::TokenCreate, slots::OTHER_TOKEN),
            (Command::ObjGetInfoByFd, 0),
            (Command::ProgAttach, 0),
            (Command::LinkCreate, 15),
        ],
    );
    Act::Bpf {
        to: around(rng, usual),
        attributes: command(rng, command_of),
    }
}

fn one(rng: &mut Rng) -> Step {
    let act = match rng.u32(..40) {
        0 => Act::Open {
            to: pick(rng, &[slots::CONTEXT, slots::OTHER_CONTEXT]),
        },
        1..4 => {
            let context = pick(rng, &[slots::CONTEXT, slots::OTHER_CONTEXT, slots::PICKED]);
            set(rng, context)
        }
        4 => Act::Create {
            context: pick(rng, &[slots::CONTEXT, slots::OTHER_CONTEXT]),
        },
        5 => pick_mount(rng),
        6 => {
            let (mount, to) = pick(
                rng,
                &[
                    (slots::MOUNT, slots::ROOT),
                    (slots::OTHER_MOUNT, slots::OTHER_ROOT),
                    (slots::ROOT, slots::OTHER_ROOT),
                ],
            );
            Act::Root { mount, to }
        }
        7 => Act::Pick {
            root: around(rng, slots::ROOT),
            to: slots::PICKED,
        },
        8 => Act::Reconfigure {
            context: pick(rng, &[slots::PICKED, slots::CONTEXT]),
        },
        9 => Act::Attach {
            mount: pick(rng, &[slots::MOUNT, slots::OTHER_MOUNT]),
            place: rng.u32(..PLACES),
        },
        10 => Act::Detach {
            place: rng.u32(..PLACES),
        },
        11..13 => Act::Pass {
            slot: rng.u32(..slots::COUNT),
            actor: actor(rng),
        },
        13 => Act::Close {
            slot: rng.u32(..12),
        },
        14..17 => Act::Caps(Caps(match rng.u32(..4) {
            0 => 0xf,
            1 => 0,
            _ => rng.u8(..16),
        })),
        17 => Act::Fork,
        18..20 => Act::Tell {
            slot: pick(rng, &[slots::TOKEN, slots::OTHER_TOKEN, slots::ROOT]),
        },
        20 => Act::Show {
            root: pick(rng, &[slots::ROOT, slots::OTHER_ROOT, slots::TOKEN]),
        },
        21 => Act::Reopen {
            slot: pick(rng, &[slots::TOKEN, slots::ROOT, slots::OTHER_TOKEN]),
            flags: OpenFlags::default(),
        },
        22 => Act::Filter {
            prog: around(rng, slots::PROG),
        },
        23 => {
            return Step {
                actor: Actor::Manager,
                act: Act::Disabled(rng.bool()),
            }
        }
        _ => bpf(rng),
    };
    Step {
        actor: actor(rng),
        act,
    }
}

fn pick_mount(rng: &mut Rng) -> Act {
    let (context, to) = pick(
        rng,
        &[
            (slots::CONTEXT, slots::MOUNT),
            (slots::OTHER_CONTEXT, slots::OTHER_MOUNT),
        ],
    );
    Act::Mount { context, to }
}

/// A sequence made from nothing.
pub fn sequence(rng: &mut Rng) -> Vec<Step> {
    let mut steps = if rng.u32(..8) == 0 {
        Vec::new()
    } else {
        delegated(rng)
    };
    for _ in 0..rng.u32(2..12) {
        steps.extend(some(rng));
    }
    steps.truncate(LONGEST);
    steps
}

/// A sequence made of others.
pub fn mutated(rng: &mut Rng, corpus: &[Vec<Step>]) -> Vec<Step> {
    let mut steps = corpus[rng.usize(..corpus.len())].clone();
    for _ in 0..=rng.u32(..3) {
        mutate(rng, &mut steps, corpus);
    }
    steps.truncate(LONGEST);
    steps
}

fn mutate(rng: &mut Rng, steps: &mut Vec<Step>, corpus: &[Vec<Step>]) {
    if steps.is_empty() {
        *steps = sequence(rng);
        return;
    }
    let at = rng.usize(..steps.len());
    match rng.u32(..12) {
        0..4 => {
            let at = rng.usize(..=steps.len());
            steps.splice(at..at, some(rng));
        }
        4 => {
            steps.remove(at);
        }
        5 => {
            let step = steps[at].clone();
            steps.insert(rng.usize(at..=steps.len()), step);
        }
        6 => steps[at].actor = actor(rng),
        7 => {
            let other = &corpus[rng.usize(..corpus.len())];
            let from = rng.usize(..=other.len());
            steps.truncate(at);
            steps.extend_from_slice(&other[from..]);
        }
        _ => change(rng, steps),
    }
}

/// Changes an argument of a step.
fn change(rng: &mut Rng, steps: &mut [Step]) {
    let with_arguments: Vec<_> = steps
        .iter_mut()
        .filter(|step| matches!(step.act, Act::Bpf { .. } | Act::Set { .. } | Act::Caps(_)))
        .collect();
    if with_arguments.is_empty() {
        return;
    }
    let index = rng.usize(..with_arguments.len());
    for (_, step) in with_arguments
        .into_iter()
        .enumerate()
        .filter(|(at, _)| *at == index)
    {
        match &mut step.act {
            Act::Bpf { attributes, .. } => crate::commands::change(rng, attributes),
            Act::Set { context, .. } => step.act = set(rng, *context),
            _ => step.act = Act::Caps(Caps(rng.u8(..16))),
        }
    }
}
