// SPDX-License-Identifier: GPL-2.0

//! Steps and sequences made by chance.
//!
//! Slots have customary uses, so that steps that were made without each other fit together: see [`slots`].

use fastrand::Rng;
use guest::sys::Command;

use crate::commands::command;
use crate::names::KINDS;
use crate::step::Act;
use crate::step::Actor;
use crate::step::Caps;
use crate::step::OpenFlags;
use crate::step::Step;

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
fn value(rng: &mut Rng, kind: usize) -> &'static str {
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
    pick(rng, VALUES[kind])
}

fn set(rng: &mut Rng, context: u32) -> Act {
    let kind = rng.usize(..KINDS.len());
    let (key, value) = match rng.u32(..16) {
        0 => ("mode", "0700"),
        1 => ("uid", "0"),
        2 => ("nonsense", "1"),
        _ => (KINDS[kind].option, value(rng, kind)),
    };
    Act::Set {
        context,
        key: key.into(),
        value: value.into(),
    }
}

/// A delegated BPF FS and a token of it, as a manager sets it up.
fn delegated(rng: &mut Rng) -> Vec<Step> {
    use Actor::Container;
    use Actor::Manager;
    let (context, mount, root, to) = (slots::CONTEXT, slots::MOUNT, slots::ROOT, slots::TOKEN);
    let all = rng.bool();
    let mut steps = vec![
        Container.does(Act::Open { to: context }),
        Container.does(pass(context, Manager)),
    ];
    for (kind, of_kind) in KINDS.iter().enumerate() {
        let value = if all { "any" } else { value(rng, kind) };
        steps.push(Manager.does(Act::Set {
            context,
            key: of_kind.option.into(),
            value: value.into(),
        }));
    }
    let creator = pick(rng, &[Manager, Manager, Manager, Container]);
    let attributes = command(rng, Command::TokenCreate);
    steps.extend([
        creator.does(Act::Create { context }),
        Container.does(Act::Mount { context, to: mount }),
        Container.does(Act::Root { mount, to: root }),
        Container.does(Act::Bpf { to, attributes }),
    ]);
    steps
}

fn pass(slot: u32, actor: Actor) -> Act {
    Act::Pass { slot, actor }
}

fn hold(rng: &mut Rng) -> Act {
    let caps = Caps::from_bits_retain(rng.u8(..16));
    Act::Hold { caps }
}

/// A remount that may take back.
fn remount(rng: &mut Rng) -> Vec<Step> {
    let (root, context) = (slots::ROOT, slots::PICKED);
    let picker = pick(rng, &[Actor::Manager, Actor::Manager, Actor::Container]);
    let mut steps = Vec::new();
    if picker == Actor::Manager {
        steps.push(Actor::Container.does(pass(root, Actor::Manager)));
    }
    steps.push(picker.does(Act::Pick { root, to: context }));
    for _ in 0..=rng.u32(..2) {
        steps.push(picker.does(set(rng, context)));
    }
    // Who sets need not be who applies, nor hold what they held.
    let applier = match rng.u32(..4) {
        0 => Actor::Container,
        1 => {
            steps.push(picker.does(hold(rng)));
            picker
        }
        _ => picker,
    };
    if applier != picker {
        steps.push(picker.does(pass(context, applier)));
    }
    steps.push(applier.does(Act::Reconfigure { context }));
    steps
}

/// Steps that belong together.
pub fn some(rng: &mut Rng) -> Vec<Step> {
    match rng.u32(..24) {
        0 | 1 => remount(rng),
        3..6 => {
            let actor = actor(rng);
            [hold(rng), bpf(rng)].map(|act| actor.does(act)).to_vec()
        }
        2 => {
            let slot = around(rng, slots::TOKEN);
            let other = pick(rng, &[Actor::Worker, Actor::Manager, Actor::Nested]);
            vec![
                Actor::Container.does(pass(slot, other)),
                other.does(bpf(rng)),
            ]
        }
        _ => vec![one(rng)],
    }
}

fn bpf(rng: &mut Rng) -> Act {
    const USUAL: [(Command, u32); 11] = [
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
    ];
    let (command_of, usual) = pick(rng, &USUAL);
    Act::Bpf {
        to: around(rng, usual),
        attributes: command(rng, command_of),
    }
}

fn one(rng: &mut Rng) -> Step {
    use slots::*;
    const PLACES: u32 = 4;
    let act = match rng.u32(..40) {
        0 => {
            let to = pick(rng, &[CONTEXT, OTHER_CONTEXT]);
            Act::Open { to }
        }
        1..4 => {
            let context = pick(rng, &[CONTEXT, OTHER_CONTEXT, PICKED]);
            set(rng, context)
        }
        4 => {
            let context = pick(rng, &[CONTEXT, OTHER_CONTEXT]);
            Act::Create { context }
        }
        5 => {
            let (context, to) = pick(rng, &[(CONTEXT, MOUNT), (OTHER_CONTEXT, OTHER_MOUNT)]);
            Act::Mount { context, to }
        }
        6 => {
            const USUAL: [(u32, u32); 3] =
                [(MOUNT, ROOT), (OTHER_MOUNT, OTHER_ROOT), (ROOT, OTHER_ROOT)];
            let (mount, to) = pick(rng, &USUAL);
            Act::Root { mount, to }
        }
        7 => {
            let root = around(rng, ROOT);
            Act::Pick { root, to: PICKED }
        }
        8 => {
            let context = pick(rng, &[PICKED, CONTEXT]);
            Act::Reconfigure { context }
        }
        9 => {
            let mount = pick(rng, &[MOUNT, OTHER_MOUNT]);
            let place = rng.u32(..PLACES);
            Act::Attach { mount, place }
        }
        10 => {
            let place = rng.u32(..PLACES);
            Act::Detach { place }
        }
        11..13 => pass(rng.u32(..COUNT), actor(rng)),
        13 => {
            let slot = rng.u32(..12);
            Act::Close { slot }
        }
        14..17 => match rng.u32(..4) {
            0 => Act::Hold { caps: Caps::all() },
            1 => {
                let caps = Caps::empty();
                Act::Hold { caps }
            }
            _ => hold(rng),
        },
        17 => Act::Fork {},
        18..20 => {
            let slot = pick(rng, &[TOKEN, OTHER_TOKEN, ROOT]);
            Act::Tell { slot }
        }
        20 => {
            let root = pick(rng, &[ROOT, OTHER_ROOT, TOKEN]);
            Act::Show { root }
        }
        21 => {
            let slot = pick(rng, &[TOKEN, ROOT, OTHER_TOKEN]);
            let flags = OpenFlags::RDONLY;
            Act::Reopen { slot, flags }
        }
        22 => {
            let prog = around(rng, PROG);
            Act::Filter { prog }
        }
        23 => {
            let disabled = rng.bool();
            return Actor::Manager.does(Act::Disable { disabled });
        }
        _ => bpf(rng),
    };
    actor(rng).does(act)
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
    for _ in 0..=rng.u32(..6) {
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
    let has_arguments =
        |act: &Act| matches!(act, Act::Bpf { .. } | Act::Set { .. } | Act::Hold { .. });
    let acts = steps.iter_mut().map(|step| &mut step.act);
    let mut acts: Vec<_> = acts.filter(|act| has_arguments(act)).collect();
    if acts.is_empty() {
        return;
    }
    let act = acts.swap_remove(rng.usize(..acts.len()));
    match act {
        Act::Bpf { attributes, .. } => crate::commands::change(rng, attributes),
        Act::Set { context, .. } => *act = set(rng, *context),
        _ => *act = hold(rng),
    }
}
