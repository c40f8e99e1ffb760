// SPDX-License-Identifier: GPL-2.0

//! Attributes of `bpf()` made by chance: a command as it should be, with a few things changed from its token on.

use fastrand::Rng;

use crate::case::Call;
use crate::case::Caller;
use crate::case::Case;
use crate::case::Command;
use crate::case::Common;
use crate::case::Reopen;
use crate::command;
use crate::layout::field;
use crate::layout::memory;
use crate::layout::Descriptor;
use crate::layout::ATTR_SIZE;
use crate::layout::BPF_F_TOKEN_FD;
use crate::layout::DELEGATED;
use crate::layout::DESCRIPTORS;
use crate::layout::FIRST_FD;
use crate::layout::PAGE;

/// A length of BTF of one type, `int`: see [`crate::memory`].
pub const BTF_LENGTH: u32 = 24 + 16 + 5;

pub fn case(rng: &mut Rng) -> Case {
    if rng.u32(..40) == 0 {
        Case::Reopen(reopen(rng))
    } else {
        Case::Call(call(rng))
    }
}

fn reopen(rng: &mut Rng) -> Reopen {
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
    const FLAGS: [i32; 11] = [
        libc::O_PATH,
        libc::O_DIRECTORY,
        libc::O_NOFOLLOW,
        libc::O_TRUNC,
        libc::O_APPEND,
        libc::O_CREAT,
        libc::O_EXCL | libc::O_CREAT,
        libc::O_NONBLOCK,
        libc::O_DIRECT,
        libc::O_NOATIME,
        libc::O_SYNC,
    ];
    let mut flags = rng.u32(..3);
    while rng.bool() {
        flags |= FLAGS[rng.usize(..FLAGS.len())] as u32;
    }
    Reopen {
        caller: caller(rng),
        fd: FDS[rng.usize(..FDS.len())].number(),
        flags,
    }
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

fn call(rng: &mut Rng) -> Call {
    let command = match rng.u32(..16) {
        0..4 => Command::MapCreate,
        4..8 => Command::ProgLoad,
        8..10 => Command::BtfLoad,
        10..12 => Command::BtfGetFdById,
        12..14 => Command::TokenCreate,
        _ => Command::ObjGetInfoByFd,
    };
    let mut attr = template(rng, command);
    set(&mut attr, command.token_field(), descriptor(rng, command));
    if let Some(field) = command.flags_field() {
        set(&mut attr, field, flags(rng, command));
    }
    let mut size = command.end() as u32;
    for _ in 0..rng.u32(..3) {
        mutate(rng, command, &mut attr, &mut size);
    }
    repair(command, &mut attr);
    Call {
        command,
        caller: caller(rng),
        attr,
        size,
        common: (rng.u32(..5) < 2).then(|| common(rng)),
        fill: if rng.bool() { 0 } else { 0xff },
    }
}

fn set(attr: &mut [u8], offset: usize, value: u32) {
    attr[offset..][..4].copy_from_slice(&value.to_le_bytes());
}

fn set_address(attr: &mut [u8], offset: usize, address: u64) {
    attr[offset..][..8].copy_from_slice(&address.to_le_bytes());
}

/// A command that does what it is meant to.
fn template(rng: &mut Rng, command: Command) -> Vec<u8> {
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
            set(&mut attr, field::BTF_SIZE, length);
            let log = log(rng);
            set(&mut attr, field::BTF_LOG_LEVEL, log.0);
            set(&mut attr, field::BTF_LOG_SIZE, log.1);
            set_address(&mut attr, field::BTF_LOG_BUF, log.2);
        }
        // The kernel's own, none, and none that could be.
        Command::BtfGetFdById => set(&mut attr, 0, [1, 1, 0, u32::MAX][rng.usize(..4)]),
        Command::ObjGetInfoByFd => {
            let length = match rng.u32(..6) {
                0 => rng.u32(..=64),
                1 => rng.u32(..=PAGE as u32 + 1),
                2 => rng.u32(..),
                _ => 32,
            };
            set(&mut attr, field::INFO_LEN, length);
            let address = match rng.u32(..10) {
                0 => 0,
                1 => 16,
                2 => 0xffff_8880_0000_0000,
                3 => memory::INFO + 1,
                4 => memory::END - 16,
                _ => memory::INFO,
            };
            set_address(&mut attr, field::INFO_ADDRESS, address as u64);
        }
        Command::TokenCreate => (),
    }
    attr
}

fn map(rng: &mut Rng, attr: &mut [u8]) {
    // Type, and the sizes of key and value, and the number of entries.
    const MAPS: [[u32; 4]; 8] = [
        [command::HASH, 4, 4, 1],
        [command::HASH, 4, 4, 1],
        [command::ARRAY, 4, 4, 1],
        [command::ARRAY, 4, 4, 1],
        [command::STACK, 0, 4, 1],
        [command::DEVMAP, 4, 4, 1],
        [command::RINGBUF, 0, 0, 4096],
        [200, 4, 4, 1],
    ];
    let map = MAPS[rng.usize(..MAPS.len())];
    for (index, value) in map.into_iter().enumerate() {
        set(attr, 4 * index, value);
    }
}

fn prog(rng: &mut Rng, attr: &mut [u8]) {
    const TYPES: [u32; 9] = [
        command::SOCKET_FILTER,
        command::SOCKET_FILTER,
        command::KPROBE,
        command::SCHED_CLS,
        command::XDP,
        command::CGROUP_SKB,
        command::EXT,
        command::LSM,
        200,
    ];
    const ATTACH_TYPES: [u32; 8] = [0, 0, 0, 37, 27, 63, 64, u32::MAX];
    let count = match rng.u32(..12) {
        0 => [0, 5000, 1_000_001, u32::MAX][rng.usize(..4)],
        _ => 2,
    };
    set(attr, field::PROG_TYPE, TYPES[rng.usize(..TYPES.len())]);
    set(attr, field::PROG_INSN_CNT, count);
    set_address(attr, 8, memory::INSNS as u64);
    set_address(attr, 16, memory::LICENSE as u64);
    let attach_type = ATTACH_TYPES[rng.usize(..ATTACH_TYPES.len())];
    set(attr, field::PROG_ATTACH_TYPE, attach_type);
    let log = log(rng);
    set(attr, field::PROG_LOG_LEVEL, log.0);
    set(attr, field::PROG_LOG_SIZE, log.1);
    set_address(attr, field::PROG_LOG_BUF, log.2);
}

/// Level, size and address of a log.
fn log(rng: &mut Rng) -> (u32, u32, u64) {
    let level = [1, 1, 1, 2, 3, 8, 9, 0, 1 << 20][rng.usize(..9)];
    let size = match rng.u32(..6) {
        0 => rng.u32(..80),
        1 => rng.u32(..512),
        2 => [0, 1, 2, 3, 22, 23, 24, 25, 1 << 30, u32::MAX][rng.usize(..10)],
        _ => 4096,
    };
    // The buffer is no larger.
    let size = if size > 4096 && size < 1 << 30 {
        4096
    } else {
        size
    };
    match rng.u32(..8) {
        0..3 => (0, 0, 0),
        3 => (level, size, 16),
        4 => (level, size, 0),
        _ => (level, size, memory::LOG as u64),
    }
}

fn common(rng: &mut Rng) -> Common {
    let mut attr = vec![0; field::COMMON_SIZE];
    let log = log(rng);
    set_address(&mut attr, field::COMMON_LOG_BUF, log.2);
    set(&mut attr, field::COMMON_LOG_SIZE, log.1);
    set(&mut attr, field::COMMON_LOG_LEVEL, log.0);
    if rng.u32(..8) == 0 {
        set(&mut attr, field::COMMON_TRUE_SIZE, rng.u32(..));
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

fn descriptor(rng: &mut Rng, command: Command) -> u32 {
    const TOKENS: u32 = DELEGATED.len() as u32;
    let token = FIRST_FD + rng.u32(..TOKENS);
    let any = FIRST_FD + rng.u32(..DESCRIPTORS.len() as u32);
    match rng.u32(..10) {
        0 => [u32::MAX, 90, 0x7fff_ffff, 0x8000_0000 | token, 0][rng.usize(..5)],
        1..4 => any,
        _ if command == Command::TokenCreate => {
            let roots = [
                Descriptor::Root,
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
        Command::TokenCreate => 0,
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
fn mutate(rng: &mut Rng, command: Command, attr: &mut Vec<u8>, size: &mut u32) {
    let token = command.token_field();
    match rng.u32(..10) {
        0..3 => {
            let at = rng.usize(token..attr.len());
            attr[at] = rng.u8(..);
        }
        3 => {
            let at = rng.usize(token..token + 4);
            attr[at] ^= 1 << rng.u32(..8);
        }
        4 => {
            let at = token + 4 * rng.usize(..(command.end() - token).div_ceil(4));
            let value = [1, 2, 63, 64, 4096, u32::MAX, 1 << 31][rng.usize(..7)];
            if at + 4 <= attr.len() {
                set(attr, at, value);
            }
        }
        5 => *size = rng.u32(..=ATTR_SIZE as u32 + 8),
        6 => *size = token as u32 + rng.u32(..5),
        7 => {
            let sizes = [0, 168, 169, 176, 4095, 4096, 4097, 8192, u32::MAX];
            *size = sizes[rng.usize(..sizes.len())];
        }
        8 => {
            *size = rng.u32(ATTR_SIZE as u32..=PAGE as u32 + 8);
            attr.resize(attr.len().max(*size as usize), 0);
            let at = rng.usize(ATTR_SIZE - 8..attr.len());
            attr[at] = rng.u8(..);
        }
        _ => *size = ATTR_SIZE as u32,
    }
}

/// Takes back what would come out by chance: descriptors that are this program's own, and addresses of its memory.
pub fn repair(command: Command, attr: &mut Vec<u8>) {
    const ADDRESSES: u64 = 1 << 47;
    let used = attr
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |at| at + 1);
    attr.truncate(used.max(command.end()));
    let field = command.token_field();
    let fd = u32::from_le_bytes(attr[field..][..4].try_into().expect("four bytes"));
    if (3..FIRST_FD).contains(&fd) {
        set(attr, field, fd | FIRST_FD);
    }
    for offset in command.addresses() {
        let field = &mut attr[*offset..][..8];
        let address = u64::from_le_bytes(field.try_into().expect("eight bytes"));
        let ours = memory::START as u64..memory::END as u64;
        let is_written = command == Command::ObjGetInfoByFd;
        let info = memory::INFO as u64..(memory::INFO + PAGE) as u64;
        let edge = memory::END as u64 - 16;
        let is_known = if is_written {
            info.contains(&address) || address == edge
        } else {
            ours.contains(&address)
        };
        if !is_known && (PAGE as u64..ADDRESSES).contains(&address) {
            field[7] |= 0x80;
        }
    }
}
