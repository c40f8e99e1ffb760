// SPDX-License-Identifier: GPL-2.0

//! Attributes of `bpf()` for commands that do what they are meant to, and logs.

use fastrand::Rng;
use guest::attr::btf_load;
use guest::attr::common;
use guest::attr::info;
use guest::attr::prog_load;
use guest::attr::token_create;
use guest::attr::COMMON_SIZE;

use crate::case::Attr;
use crate::case::Command;
use crate::case::Common;
use crate::layout::memory;
use crate::layout::ATTR_SIZE;
use crate::layout::PAGE;
use crate::privilege;

/// A length of BTF of one type, `int`: see [`crate::memory`].
pub const BTF_LENGTH: u32 = 24 + 16 + 5;

/// A command that does what it is meant to.
pub fn template(rng: &mut Rng, command: Command) -> Vec<u8> {
    let mut attr = vec![0; ATTR_SIZE];
    match command {
        Command::MapCreate => map(rng, &mut attr),
        Command::ProgLoad => prog(rng, &mut attr),
        Command::BtfLoad => {
            set_address(&mut attr, 0, memory::BTF as u64);
            let length = if rng.u32(..10) == 0 {
                rng.u32(..64)
            } else {
                BTF_LENGTH
            };
            set(&mut attr, btf_load::btf_size.at, length);
            set_log(&mut attr, BTF_LOG, log(rng));
        }
        // The kernel's own, none, and none that could be.
        Command::BtfGetFdById => set(&mut attr, 0, [1, 1, 0, u32::MAX][rng.usize(..4)]),
        Command::ObjGetInfoByFd => {
            let length = match rng.u32(..7) {
                0 => rng.u32(..=64),
                3 => [33, 36, 39, 40, 41, 48][rng.usize(..6)],
                1 => rng.u32(..=PAGE as u32 + 1),
                2 => rng.u32(..),
                _ => 32,
            };
            set(&mut attr, info::info_len.at, length);
            let address = match rng.u32(..10) {
                0 => 0,
                1 => 16,
                2 => 0xffff_8880_0000_0000,
                3 => memory::INFO + 1,
                4 => memory::END - 16,
                _ => memory::INFO,
            };
            set_address(&mut attr, info::info.at, address as u64);
        }
        Command::TokenCreate => {
            for field in attr[token_create::allowed_cmds.at..command.end()].chunks_mut(8) {
                field.copy_from_slice(&allowed(rng).to_le_bytes());
            }
            if rng.u32(..2) == 0 {
                attr.fill(0);
            }
        }
    }
    attr
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

fn map(rng: &mut Rng, attr: &mut [u8]) {
    // Type, and the sizes of key and value, and the number of entries.
    const MAPS: [[u32; 4]; 8] = [
        [privilege::HASH, 4, 4, 1],
        [privilege::HASH, 4, 4, 1],
        [privilege::ARRAY, 4, 4, 1],
        [privilege::ARRAY, 4, 4, 1],
        [privilege::STACK, 0, 4, 1],
        [privilege::DEVMAP, 4, 4, 1],
        [privilege::RINGBUF, 0, 0, 4096],
        [200, 4, 4, 1],
    ];
    let map = MAPS[rng.usize(..MAPS.len())];
    for (index, value) in map.into_iter().enumerate() {
        set(attr, 4 * index, value);
    }
}

fn prog(rng: &mut Rng, attr: &mut [u8]) {
    const TYPES: [u32; 9] = [
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
    let count = match rng.u32(..12) {
        0 => [0, 5000, 1_000_001, u32::MAX][rng.usize(..4)],
        _ => 2,
    };
    set(
        attr,
        prog_load::prog_type.at,
        TYPES[rng.usize(..TYPES.len())],
    );
    set(attr, prog_load::insn_cnt.at, count);
    set_address(attr, 8, memory::INSNS as u64);
    set_address(attr, 16, memory::LICENSE as u64);
    let attach_type = ATTACH_TYPES[rng.usize(..ATTACH_TYPES.len())];
    set(attr, prog_load::expected_attach_type.at, attach_type);
    set_log(attr, PROG_LOG, log(rng));
}

/// A log as arguments have it.
#[derive(Clone, Copy, PartialEq)]
pub struct Log {
    level: u32,
    size: u32,
    address: u64,
}

/// Where level, size and address of a log are.
type LogFields = [usize; 3];

const PROG_LOG: LogFields = [
    prog_load::log_level.at,
    prog_load::log_size.at,
    prog_load::log_buf.at,
];
const BTF_LOG: LogFields = [
    btf_load::btf_log_level.at,
    btf_load::btf_log_size.at,
    btf_load::btf_log_buf.at,
];
const COMMON_LOG: LogFields = [
    common::log_level.at,
    common::log_size.at,
    common::log_buf.at,
];

fn set_log(attr: &mut [u8], [level, size, address]: LogFields, log: Log) {
    set(attr, level, log.level);
    set(attr, size, log.size);
    set_address(attr, address, log.address);
}

const NO_LOG: Log = Log {
    level: 0,
    size: 0,
    address: 0,
};

/// The log that a command has in its own attributes.
pub fn own_log(command: Command, attr: &[u8]) -> Log {
    let [level, size, address] = match command {
        Command::ProgLoad => PROG_LOG,
        Command::BtfLoad => BTF_LOG,
        _ => return NO_LOG,
    };
    let attr = Attr::of(attr, u32::MAX);
    Log {
        level: attr.u32(level),
        size: attr.u32(size),
        address: attr.u64(address),
    }
}

/// A log by chance, most of them valid.
fn log(rng: &mut Rng) -> Log {
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
        NO_LOG
    } else {
        Log {
            level,
            size,
            address,
        }
    }
}

/// Common attributes of a command that has a log `own`.
pub fn common(rng: &mut Rng, own: Log) -> Common {
    let mut attr = vec![0; COMMON_SIZE];
    // Two logs that differ are refused.
    let log = if own == NO_LOG || rng.u32(..8) == 0 {
        log(rng)
    } else {
        [NO_LOG, own][rng.usize(..2)]
    };
    set_log(&mut attr, COMMON_LOG, log);
    if rng.u32(..8) == 0 {
        set(&mut attr, common::log_true_size.at, rng.u32(..));
    }
    let size = match rng.u32(..10) {
        0 => rng.u32(..32),
        1 => [20, 23, 4096, 4097, u32::MAX][rng.usize(..5)],
        _ => 24,
    };
    if rng.u32(..16) == 0 {
        attr.resize(size.clamp(24, 4096) as usize, 0);
        let at = rng.usize(20..attr.len());
        attr[at] = rng.u8(1..);
    }
    Common { attr, size }
}

/// Sets a word.
pub fn set(attr: &mut [u8], offset: usize, value: u32) {
    attr[offset..][..4].copy_from_slice(&value.to_le_bytes());
}

pub fn set_address(attr: &mut [u8], offset: usize, address: u64) {
    attr[offset..][..8].copy_from_slice(&address.to_le_bytes());
}
