// SPDX-License-Identifier: GPL-2.0

//! Commands of `bpf()` for sequences: of every type, and with any of their fields changed.

use fastrand::Rng;
use guest::attr;
use guest::attr::btf_load;
use guest::attr::by_id;
use guest::attr::info;
use guest::attr::link_create;
use guest::attr::prog_attach;
use guest::attr::prog_load;
use guest::attr::token_create;
use guest::attr::Kind;
use guest::bpf;
use guest::sys::Command;

use crate::arena;
use crate::attributes::Attributes;
use crate::command::takes_token;
use crate::layout::memory;
use crate::make::around;
use crate::make::pick;
use crate::make::slots;
use crate::step::FIRST;
use crate::template::common_log;
use crate::template::BTF_LENGTH;

/// One more than the last type there is of each, and so the first that there is not.
const MAP_TYPES: u32 = 36;
const PROG_TYPES: u32 = 33;
const ATTACH_TYPES: u32 = 61;

fn fd(slot: u32) -> u64 {
    u64::from(FIRST + slot)
}

/// A command that often does what it is meant to.
pub fn command(rng: &mut Rng, command: Command) -> Attributes {
    let mut attributes = Attributes::new(command);
    match command {
        Command::MapCreate => map(rng, &mut attributes),
        Command::ProgLoad => prog(rng, &mut attributes),
        Command::BtfLoad => {
            attributes.set(btf_load::btf, memory::BTF as u64);
            attributes.set(btf_load::btf_size, BTF_LENGTH.into());
        }
        Command::BtfGetFdById => attributes.set(by_id::id, pick(rng, &[1, 1, 1, 0, 0xffff_ffff])),
        Command::TokenCreate => {
            let source = pick(
                rng,
                &[
                    slots::ROOT,
                    slots::ROOT,
                    slots::ROOT,
                    slots::TOKEN,
                    slots::OTHER_ROOT,
                ],
            );
            attributes.set(token_create::bpffs_fd, fd(around(rng, source)));
            if rng.u32(..3) == 0 {
                restrict(rng, &mut attributes);
            }
        }
        Command::ObjGetInfoByFd => {
            let about = pick(
                rng,
                &[slots::TOKEN, slots::OTHER_TOKEN, slots::MAP, slots::PROG],
            );
            attributes.set(info::bpf_fd, fd(about));
            // Longer than C's info of a token is another matter: see crate::info.
            attributes.set(info::info_len, pick(rng, &[32, 32, 0, 8, 31]));
            attributes.set(info::info, memory::INFO as u64);
        }
        Command::ProgAttach => {
            attributes.set(prog_attach::target_fd, fd(rng.u32(..slots::COUNT)));
            attributes.set(prog_attach::attach_bpf_fd, fd(around(rng, slots::PROG)));
            attributes.set(prog_attach::attach_type, rng.u32(..ATTACH_TYPES).into());
        }
        Command::LinkCreate => {
            attributes.set(link_create::prog_fd, fd(around(rng, slots::PROG)));
            attributes.set(link_create::target_fd, fd(rng.u32(..slots::COUNT)));
            attributes.set(link_create::attach_type, rng.u32(..ATTACH_TYPES).into());
        }
        other => panic!("{other:?} is no command of sequences"),
    }
    if takes_token(command) && rng.u32(..5) != 0 {
        let (flags, field) = (command.flags_field(), command.token_field());
        let (Some(flags), Some(field)) = (flags, field) else {
            panic!("{command:?} takes a token");
        };
        let token = pick(rng, &[slots::TOKEN, slots::TOKEN, slots::OTHER_TOKEN]);
        let before = attributes.get(flags);
        attributes.set(flags, before | u64::from(attr::BPF_F_TOKEN_FD));
        attributes.set(field, fd(around(rng, token)));
    }
    attributes.common = (rng.u32(..8) == 0).then(common_log);
    if rng.u32(..6) == 0 {
        change(rng, &mut attributes);
    }
    attributes.repair();
    attributes
}

fn map(rng: &mut Rng, attributes: &mut Attributes) {
    const USUAL: [u32; 6] = [1, 2, 2, 14, 23, 27];
    let map_type = match rng.bool() {
        true => pick(rng, &USUAL),
        false => rng.u32(..=MAP_TYPES),
    };
    let usual = bpf::map_attr_of(map_type);
    for field in Command::MapCreate.fields() {
        if field.kind == Kind::Number {
            attributes.set(*field, usual.get(*field));
        }
    }
}

fn prog(rng: &mut Rng, attributes: &mut Attributes) {
    const USUAL: [u32; 7] = [1, 1, 2, 3, 6, 8, 29];
    let prog_type = match rng.bool() {
        true => pick(rng, &USUAL),
        false => rng.u32(..=PROG_TYPES),
    };
    let attach_type = match prog_type {
        6 => 37,
        29 => 27,
        _ => match rng.u32(..3) {
            0 => rng.u32(..=ATTACH_TYPES),
            _ => 0,
        },
    };
    let index = rng.u64(..arena::programs());
    attributes.set(prog_load::prog_type, prog_type.into());
    attributes.set(prog_load::expected_attach_type, attach_type.into());
    attributes.set(prog_load::insns, arena::program(index));
    attributes.set(prog_load::insn_cnt, arena::length(index));
    let license = pick(
        rng,
        &[memory::LICENSE, memory::LICENSE, memory::OTHER_LICENSE],
    );
    attributes.set(prog_load::license, license as u64);
    if rng.u32(..4) == 0 {
        attributes.set(prog_load::log_buf, memory::LOG as u64);
        attributes.set(prog_load::log_size, memory::LOG_SIZE as u64);
        attributes.set(prog_load::log_level, 1);
    }
}

fn restrict(rng: &mut Rng, attributes: &mut Attributes) {
    attributes.set(token_create::flags, u64::from(attr::BPF_F_TOKEN_RESTRICT));
    for field in &token_create::FIELDS[2..] {
        let mask = match rng.u32(..4) {
            0 => 1 << rng.u32(..64),
            1 => rng.u64(..),
            2 => 0x27,
            _ => u64::MAX,
        };
        attributes.set(*field, mask);
    }
}

/// Makes a command ask for another type, and be as it should be otherwise, its token apart.
fn retype(rng: &mut Rng, attributes: &mut Attributes) {
    let Some(flags) = attributes.command.flags_field() else {
        return;
    };
    let kept = attributes.get(flags) & u64::from(attr::BPF_F_TOKEN_FD);
    match attributes.command {
        Command::MapCreate => map(rng, attributes),
        Command::ProgLoad => prog(rng, attributes),
        _ => return,
    }
    let before = attributes.get(flags);
    attributes.set(flags, before | kept);
}

/// Changes a field, what is beyond the fields, or the size.
pub fn change(rng: &mut Rng, attributes: &mut Attributes) {
    let end = attributes.command.end() as u32;
    match rng.u32(..12) {
        0 => {
            let size = attr::SIZE as u32;
            let sizes = [
                0,
                1,
                4,
                8,
                end - 1,
                end + 1,
                size,
                size + 1,
                4096,
                4097,
                u32::MAX,
            ];
            attributes.attr.size = pick(rng, &sizes);
        }
        1 => attributes.attr.size = rng.u32(..=end + 8),
        2 => {
            let last = pick(rng, &[end + 4, attr::SIZE as u32 + 8, 4096]);
            let at = rng.u32(end..=last.max(end + 1));
            let attr = &mut attributes.attr;
            attr.bytes.resize(attr.bytes.len().max(at as usize + 1), 0);
            attr.bytes[at as usize] = rng.u8(..);
            attr.size = attr.bytes.len() as u32;
        }
        3 => {
            if let Some(field) = attributes.command.token_field() {
                let odd = [0, 2, 63, 0x7fff_ffff, 0x8000_0040, 0xffff_ffff];
                attributes.set(field, pick(rng, &odd));
            }
        }
        4..7 => retype(rng, attributes),
        7 => {
            if let Some(field) = attributes.command.flags_field() {
                let flag = 1 << rng.u32(..20);
                let before = attributes.get(field);
                attributes.set(field, before ^ flag);
            }
        }
        _ => {
            let field = pick(rng, attributes.command.fields());
            let most = u64::MAX >> (64 - 8 * field.size.min(8));
            let value = match field.kind {
                Kind::Descriptor => fd(rng.u32(..slots::COUNT)),
                Kind::Address => pick(rng, &[0, 16, memory::LOG as u64, memory::INSNS as u64]),
                _ => {
                    let numbers = [
                        0,
                        1,
                        2,
                        4,
                        63,
                        64,
                        4096,
                        4097,
                        1_000_001,
                        most,
                        most / 2 + 1,
                    ];
                    match rng.bool() {
                        true => pick(rng, &numbers),
                        false => rng.u64(..40),
                    }
                }
            };
            attributes.set(field, value & most);
        }
    }
    attributes.repair();
}
