// SPDX-License-Identifier: GPL-2.0

//! Calls of `bpf()` made by chance: a command as it should be, with a few things changed from its token on, by processes in a
//! container and outside of it, with the descriptors of [`crate::descriptors`].

use bitflags::Flags;
use fastrand::Rng;
use guest::attr::BPF_F_TOKEN_FD;
use guest::attr::SIZE;
use guest::sys::Command;

use crate::attributes::Attributes;
use crate::descriptors;
use crate::descriptors::Descriptor;
use crate::descriptors::DELEGATED;
use crate::descriptors::DESCRIPTORS;
use crate::layout::PAGE;
use crate::privilege::Caller;
use crate::step::Act;
use crate::step::Actor;
use crate::step::Caps;
use crate::step::OpenFlags;
use crate::step::Step;
use crate::step::FIRST;
use crate::template::common;
use crate::template::template;

/// What calls make is put here.
const MADE: u32 = 31;

/// A sequence of so many calls: with the sysctl and without it, first from within the container.
pub fn sequence(rng: &mut Rng, count: usize) -> Vec<Step> {
    let mut calls: Vec<_> = (0..count).map(|_| (caller(rng), act(rng))).collect();
    calls.sort_by_key(|(caller, _)| (!caller.disabled, caller.outside));
    let mut steps = descriptors::make();
    let mut disabled = true;
    let mut held = [Caps::all(); 2];
    for (caller, act) in calls {
        if disabled != caller.disabled {
            disabled = caller.disabled;
            steps.push(Actor::Manager.does(Act::Disable { disabled }));
        }
        let actor = match caller.outside {
            true => Actor::Manager,
            false => Actor::Container,
        };
        let caps = Caps::from_bits_retain(caller.caps);
        if std::mem::replace(&mut held[usize::from(caller.outside)], caps) != caps {
            steps.push(actor.does(Act::Hold { caps }));
        }
        steps.push(actor.does(act));
    }
    steps
}

fn act(rng: &mut Rng) -> Act {
    if rng.u32(..40) == 0 {
        return reopen(rng);
    }
    Act::Bpf {
        to: MADE,
        attributes: call(rng),
    }
}

fn reopen(rng: &mut Rng) -> Act {
    // Not what could block, and not what is no file of a file system.
    const FDS: [Descriptor; 9] = [
        Descriptor::TokenOfAll,
        Descriptor::TokenOfLittle,
        Descriptor::TokenOfTypes,
        Descriptor::TokenPath,
        Descriptor::Root,
        Descriptor::RootPath,
        Descriptor::Directory,
        Descriptor::File,
        Descriptor::Map,
    ];
    Act::Reopen {
        slot: FDS[rng.usize(..FDS.len())] as u32,
        flags: open_flags(rng),
    }
}

/// By chance: an access mode, and more and more seldom other flags.
fn open_flags(rng: &mut Rng) -> OpenFlags {
    let (modes, others) = OpenFlags::FLAGS.split_at(3);
    let mut flags = *modes[rng.usize(..3)].value();
    while rng.bool() {
        flags |= *others[rng.usize(..others.len())].value();
    }
    // Without O_CREAT, O_EXCL means nothing that is promised.
    if flags.contains(OpenFlags::EXCL) {
        flags |= OpenFlags::CREAT;
    }
    flags
}

fn caller(rng: &mut Rng) -> Caller {
    const ALL: u8 = 0xf;
    Caller {
        outside: rng.u32(..6) == 0,
        disabled: rng.u32(..4) != 0,
        caps: match rng.u32(..3) {
            0 => ALL,
            1 => 0,
            _ => rng.u8(..) & ALL,
        },
    }
}

fn call(rng: &mut Rng) -> Attributes {
    let command = match rng.u32(..16) {
        0..4 => Command::MapCreate,
        4..8 => Command::ProgLoad,
        8..10 => Command::BtfLoad,
        10..12 => Command::BtfGetFdById,
        12..14 => Command::TokenCreate,
        _ => Command::ObjGetInfoByFd,
    };
    let mut call = template(rng, command);
    let token = command.token_field().expect("each of these has one");
    call.set(token, descriptor(rng, command).into());
    if let Some(field) = command.flags_field() {
        call.set(field, flags(rng, command).into());
    }
    if command == Command::TokenCreate && rng.u32(..3) == 0 {
        call.attr.size = [8, 8, 8, rng.u32(..48)][rng.usize(..4)];
    }
    for _ in 0..[0, 0, 0, 1, 1, 2][rng.usize(..6)] {
        mutate(rng, &mut call, token.at);
    }
    if rng.u32(..5) < 2 {
        call.common = Some(common(rng, &call));
    }
    call.fill = if rng.bool() { 0 } else { 0xff };
    call.repair();
    call
}

fn descriptor(rng: &mut Rng, command: Command) -> u32 {
    const TOKENS: u32 = DELEGATED.len() as u32;
    let token = FIRST + rng.u32(..TOKENS);
    let any = FIRST + rng.u32(..DESCRIPTORS.len() as u32);
    match rng.u32(..10) {
        0 => [u32::MAX, 90, 0x7fff_ffff, 0x8000_0000 | token, 0][rng.usize(..5)],
        1..4 => any,
        _ if command == Command::TokenCreate => {
            let roots = [
                Descriptor::Root,
                Descriptor::Root,
                Descriptor::TokenOfAll,
                Descriptor::TokenOfLittle,
                Descriptor::UndelegatedRoot,
                Descriptor::InitialRoot,
                Descriptor::OtherRoot,
            ];
            roots[rng.usize(..roots.len())].number()
        }
        4..7 => Descriptor::TokenOfAll.number(),
        _ => token,
    }
}

fn flags(rng: &mut Rng, command: Command) -> u32 {
    let token = match command {
        // BPF_F_TOKEN_RESTRICT
        Command::TokenCreate => rng.u32(..2),
        _ if rng.u32(..6) == 0 => 0,
        _ => BPF_F_TOKEN_FD,
    };
    match rng.u32(..8) {
        0 => token | (1 << rng.u32(..32)),
        1 => token ^ rng.u32(..0x1000),
        _ => token,
    }
}

/// Changes something from the token on.
fn mutate(rng: &mut Rng, call: &mut Attributes, token: usize) {
    let end = call.command.end();
    let size = &mut call.attr.size;
    let bytes = &mut call.attr.bytes;
    bytes.resize(bytes.len().max(SIZE), 0);
    match rng.u32(..10) {
        0..3 => {
            let end = if rng.bool() { end } else { bytes.len() };
            bytes[rng.usize(token..end)] = rng.u8(..);
        }
        3 => bytes[rng.usize(token..token + 4)] ^= 1 << rng.u32(..8),
        4 => {
            let at = token + 4 * rng.usize(..(end - token).div_ceil(4));
            let value = [1, 2, 63, 64, 4096, u32::MAX, 1 << 31][rng.usize(..7)];
            if let Some(word) = bytes.get_mut(at..at + 4) {
                word.copy_from_slice(&value.to_le_bytes());
            }
        }
        5 => *size = rng.u32(..=SIZE as u32 + 8),
        6 => *size = token as u32 + rng.u32(..5),
        7 => {
            let sizes = [0, 168, 169, 176, 4095, 4096, 4097, 8192, u32::MAX];
            *size = sizes[rng.usize(..sizes.len())];
        }
        8 => {
            *size = rng.u32(SIZE as u32..=PAGE as u32 + 8);
            bytes.resize(bytes.len().max(*size as usize), 0);
            let at = rng.usize(SIZE - 8..bytes.len());
            bytes[at] = rng.u8(..);
        }
        _ => *size = SIZE as u32,
    }
}
