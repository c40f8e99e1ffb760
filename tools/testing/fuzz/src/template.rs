// SPDX-License-Identifier: GPL-2.0

//! Attributes of `bpf()` for commands that do what they are meant to, and logs. Of these the models know all that is to be
//! seen.

use fastrand::Rng;
use guest::attr::btf_load;
use guest::attr::by_id;
use guest::attr::common;
use guest::attr::info;
use guest::attr::map_create;
use guest::attr::prog_load;
use guest::attr::token_create;
use guest::attr::Field;
use guest::attr::COMMON_SIZE;
use guest::sys::Command;

use crate::arena;
use crate::attributes::Attr;
use crate::attributes::Attributes;
use crate::layout::memory;
use crate::layout::PAGE;
use crate::log::Arguments;
use crate::log::BTF_LOG;
use crate::log::COMMON_LOG;
use crate::log::PROG_LOG;
use crate::privilege;

/// A length of BTF of one type, `int`: see [`crate::memory`].
pub const BTF_LENGTH: u32 = 24 + 16 + 5;

// Type, and the sizes of key and value, and the number of entries.
const MAPS: [[u32; 4]; 6] = [
    [privilege::HASH, 4, 4, 1],
    [privilege::ARRAY, 4, 4, 1],
    [privilege::STACK, 0, 4, 1],
    [privilege::DEVMAP, 4, 4, 1],
    [privilege::RINGBUF, 0, 0, 4096],
    [200, 4, 4, 1],
];
const MAP_FIELDS: [Field; 4] = [
    map_create::map_type,
    map_create::key_size,
    map_create::value_size,
    map_create::max_entries,
];
const PROG_TYPES: [u32; 9] = [
    privilege::SOCKET_FILTER,
    privilege::SOCKET_FILTER,
    privilege::KPROBE,
    privilege::SCHED_CLS,
    privilege::XDP,
    privilege::CGROUP_SKB,
    privilege::EXT,
    privilege::LSM,
    200,
];
const ATTACH_TYPES: [u32; 8] = [0, 0, 0, 37, 27, 63, 64, u32::MAX];
const WRONG_LENGTHS: [u32; 4] = [0, 5000, 1_000_001, u32::MAX];

/// A command that does what it is meant to.
pub fn template(rng: &mut Rng, command: Command) -> Attributes {
    let mut call = Attributes::new(command);
    match command {
        Command::MapCreate => {
            let map = MAPS[[0, 0, 1, 1, 2, 3, 4, 5][rng.usize(..8)]];
            for (field, value) in MAP_FIELDS.into_iter().zip(map) {
                call.set(field, value.into());
            }
        }
        Command::ProgLoad => prog(rng, &mut call),
        Command::BtfLoad => {
            call.set(btf_load::btf, memory::BTF as u64);
            let length = if rng.u32(..10) == 0 {
                rng.u32(..64)
            } else {
                BTF_LENGTH
            };
            call.set(btf_load::btf_size, length.into());
            log(rng).set(&mut call.attr, BTF_LOG);
        }
        // The kernel's own, none, and none that could be.
        Command::BtfGetFdById => {
            let id = [1, 1, 0, u32::MAX][rng.usize(..4)];
            call.set(by_id::id, id.into());
        }
        Command::ObjGetInfoByFd => {
            let length = match rng.u32(..7) {
                0 => rng.u32(..=64),
                3 => [33, 36, 39, 40, 41, 48][rng.usize(..6)],
                1 => rng.u32(..=PAGE as u32 + 1),
                2 => rng.u32(..),
                _ => 32,
            };
            call.set(info::info_len, length.into());
            let address = match rng.u32(..10) {
                0 => 0,
                1 => 16,
                2 => 0xffff_8880_0000_0000,
                3 => memory::INFO + 1,
                4 => memory::END - 16,
                _ => memory::INFO,
            };
            call.set(info::info, address as u64);
        }
        Command::TokenCreate if rng.bool() => {
            for field in &token_create::FIELDS[2..] {
                call.set(*field, allowed(rng));
            }
        }
        _ => (),
    }
    call
}

/// A mask of a restriction.
fn allowed(rng: &mut Rng) -> u64 {
    match rng.u32(..6) {
        0 => 0,
        1 => u64::MAX,
        2 => 1 << rng.u32(..64),
        3 => rng.u64(..64),
        _ => rng.u64(..),
    }
}

fn prog(rng: &mut Rng, call: &mut Attributes) {
    let count = match rng.u32(..12) {
        0 => WRONG_LENGTHS[rng.usize(..WRONG_LENGTHS.len())],
        _ => 2,
    };
    let prog_type = PROG_TYPES[rng.usize(..PROG_TYPES.len())];
    let attach_type = ATTACH_TYPES[rng.usize(..ATTACH_TYPES.len())];
    call.set(prog_load::prog_type, prog_type.into());
    call.set(prog_load::insn_cnt, count.into());
    call.set(prog_load::insns, memory::INSNS as u64);
    call.set(prog_load::license, memory::LICENSE as u64);
    call.set(prog_load::expected_attach_type, attach_type.into());
    log(rng).set(&mut call.attr, PROG_LOG);
}

/// Whether a call has nothing in it before its token that a template has not.
pub fn is_of_it(call: &Attributes) -> bool {
    let token = call.command.token_field();
    let token = token.map_or(0, |field| field.at);
    let only = |known: &[Field]| {
        let flags = call.command.flags_field();
        let fields = call.command.fields().iter();
        let others = fields
            .filter(|field| field.at < token && Some(**field) != flags && !known.contains(field));
        others.into_iter().all(|field| {
            let end = (field.at + field.size).min(call.attr.bytes.len());
            call.attr.bytes[field.at.min(end)..end]
                .iter()
                .all(|byte| *byte == 0)
        })
    };
    let u32 = |field| call.u32(field);
    match call.command {
        Command::MapCreate => only(&MAP_FIELDS) && MAPS.contains(&MAP_FIELDS.map(u32)),
        Command::ProgLoad => {
            let known = [
                prog_load::prog_type,
                prog_load::insn_cnt,
                prog_load::insns,
                prog_load::license,
                prog_load::expected_attach_type,
            ];
            let count = u32(prog_load::insn_cnt);
            only(&[&known[..], &PROG_LOG[..]].concat())
                && PROG_TYPES.contains(&u32(prog_load::prog_type))
                && ATTACH_TYPES.contains(&u32(prog_load::expected_attach_type))
                && (count == 2 || WRONG_LENGTHS.contains(&count))
                && call.get(prog_load::insns) == memory::INSNS as u64
                && call.get(prog_load::license) == memory::LICENSE as u64
        }
        Command::BtfLoad => {
            let known = [
                btf_load::btf,
                btf_load::btf_size,
                btf_load::btf_log_true_size,
            ];
            only(&[&known[..], &BTF_LOG[..]].concat())
                && call.get(btf_load::btf) == memory::BTF as u64
                && u32(btf_load::btf_size) < 64
        }
        Command::BtfGetFdById => u32(by_id::next_id) == 0,
        Command::TokenCreate | Command::ObjGetInfoByFd => true,
        _ => false,
    }
}

/// The slot of the map that a program of the arena reads.
pub const MAP_OF_PROGRAMS: u32 = 4;

pub fn reads_map(call: &Attributes) -> bool {
    call.command == Command::ProgLoad && call.get(prog_load::insns) == arena::program(3)
}

/// A log by chance, most of them valid.
fn log(rng: &mut Rng) -> Arguments {
    const LARGEST: u32 = 4096;
    let wild = rng.u32(..5) == 0;
    let level = if wild {
        [0, 1, 16, 1 << 20][rng.usize(..4)]
    } else {
        // Not BPF_LOG_STATS: how long the verifier took is chance.
        [1, 1, 1, 2, 3, 8, 9][rng.usize(..7)]
    };
    let size = match rng.u32(..6) {
        0 => rng.u32(1..80),
        1 => rng.u32(1..512),
        2 if wild => [0, 1 << 30, u32::MAX][rng.usize(..3)],
        2 => [1, 2, 3, 22, 23, 24, 25, 26][rng.usize(..8)],
        _ => LARGEST,
    };
    let address = match rng.u32(..8) {
        0 => 16,
        1 if wild => 0,
        _ => memory::LOG as u64,
    };
    if rng.u32(..3) == 0 {
        Arguments::NONE
    } else {
        Arguments {
            level,
            size,
            address,
        }
    }
}

/// Common attributes with a large log.
pub fn common_log() -> Attr {
    let mut attr = Attr::new(COMMON_SIZE);
    Arguments::LARGE.set(&mut attr, COMMON_LOG);
    attr
}

/// Common attributes of a command that may have a log of its own.
pub fn common(rng: &mut Rng, call: &Attributes) -> Attr {
    let own = Arguments::of(call);
    let mut attr = Attr::new(COMMON_SIZE);
    // Two logs that differ are refused.
    let log = if own == Arguments::NONE || rng.u32(..8) == 0 {
        log(rng)
    } else {
        [Arguments::NONE, own][rng.usize(..2)]
    };
    log.set(&mut attr, COMMON_LOG);
    if rng.u32(..8) == 0 {
        attr.set(common::log_true_size, rng.u32(..).into());
    }
    attr.size = match rng.u32(..10) {
        0 => rng.u32(..32),
        1 => [20, 23, 4096, 4097, u32::MAX][rng.usize(..5)],
        _ => 24,
    };
    if rng.u32(..16) == 0 {
        attr.bytes.resize(attr.size.clamp(24, 4096) as usize, 0);
        let at = rng.usize(20..attr.bytes.len());
        attr.bytes[at] = rng.u8(1..);
    }
    attr
}
