// SPDX-License-Identifier: GPL-2.0

//! Attributes of `bpf()` made by chance: a command as it should be, with a few things changed from its token on.

use fastrand::Rng;

use crate::case::Call;
use crate::case::Caller;
use crate::case::Case;
use crate::case::Command;
use crate::case::Reopen;
use crate::layout::memory;
use crate::layout::Descriptor;
use crate::layout::ATTR_SIZE;
use crate::layout::BPF_F_TOKEN_FD;
use crate::layout::DELEGATED;
use crate::layout::DESCRIPTORS;
use crate::layout::FIRST_FD;
use crate::layout::PAGE;
use crate::template::common;
use crate::template::own_log;
use crate::template::set;
use crate::template::template;

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
    if command == Command::TokenCreate && rng.u32(..3) == 0 {
        size = [8, 8, 8, rng.u32(..48)][rng.usize(..4)];
    }
    for _ in 0..[0, 0, 0, 1, 1, 2][rng.usize(..6)] {
        mutate(rng, command, &mut attr, &mut size);
    }
    repair(command, &mut attr);
    let common = (rng.u32(..5) < 2).then(|| common(rng, own_log(command, &attr)));
    Call {
        command,
        caller: caller(rng),
        attr,
        size,
        common,
        fill: if rng.bool() { 0 } else { 0xff },
    }
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
fn mutate(rng: &mut Rng, command: Command, attr: &mut Vec<u8>, size: &mut u32) {
    let token = command.token_field();
    match rng.u32(..10) {
        0..3 => {
            let end = if rng.bool() {
                command.end()
            } else {
                attr.len()
            };
            let at = rng.usize(token..end);
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
        let field = &mut attr[offset..][..8];
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
