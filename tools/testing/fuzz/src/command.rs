// SPDX-License-Identifier: GPL-2.0

//! Which calls are refused for their token's sake, or for want of one: rules 3, 5 and 6 of the design, as far as the
//! attributes that are made here go.

use rustix::io::Errno;

use crate::case::Attr;
use crate::case::Call;
use crate::case::Caller;
use crate::case::Command;
use crate::creation::not_created;
use crate::layout::field;
use crate::layout::Descriptor;
use crate::layout::ATTR_SIZE;
use crate::layout::BPF_F_TOKEN_FD;
use crate::layout::PAGE;
use crate::names::Names;
use crate::names::ATTACHS;
use crate::names::CMDS;
use crate::names::MAPS;
use crate::names::PROGS;
use crate::options;
use crate::privilege::needs;
use crate::privilege::Cap;
use crate::privilege::Need;
use crate::privilege::ARRAY;
use crate::privilege::BPF;
use crate::privilege::DEVMAP;
use crate::privilege::HASH;
use crate::privilege::PERFMON;
use crate::privilege::RINGBUF;
use crate::privilege::STACK;
use crate::privilege::SYS_ADMIN;
use crate::rules::Rules;

/// A refusal that Rust gives a reason for.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    pub errno: Errno,
    pub reason: String,
    /// Whether C has a line of its own for it.
    pub has_line: bool,
}

/// Whether the attributes of any command, and the common ones, are taken at all.
pub fn well_formed(call: &Call) -> bool {
    let is_taken = |bytes: &[u8], size: u32, known: usize| {
        size as usize <= PAGE && Attr::of(bytes, size).is_zero_from(known)
    };
    let common = call.common.as_ref();
    is_taken(&call.attr, call.size, ATTR_SIZE)
        && common.is_none_or(|common| is_taken(&common.attr, common.size, field::COMMON_END))
        && Attr::of(&call.attr, call.size).is_zero_from(call.command.end())
}

/// What is said of a call that is refused for the sake of its token, if it is; of one that uses nothing that C has not.
pub fn refusal(names: &Names, call: &Call) -> Option<Refusal> {
    if !well_formed(call) {
        return None;
    }
    let attr = Attr::of(&call.attr, call.size);
    let request = Request::of(call.command, &attr);
    match call.command {
        Command::ObjGetInfoByFd => return None,
        Command::TokenCreate => return not_created(call.caller, attr.u32(field::CREATE_FD), false),
        Command::MapCreate if !map_is_valid(&attr, call.caller) => return None,
        Command::ProgLoad | Command::BtfLoad | Command::BtfGetFdById
            if request.flags & !request.valid_flags() & !BPF_F_TOKEN_FD != 0 =>
        {
            return None
        }
        _ => (),
    }
    admission(
        names,
        call.caller,
        &request,
        attr.u32(call.command.token_field()),
    )
}

/// What a command asks for.
pub struct Request {
    pub command: Command,
    pub flags: u32,
    pub object_type: u32,
    pub attach_type: u32,
    pub insn_cnt: u32,
}

impl Request {
    fn of(command: Command, attr: &Attr<'_>) -> Self {
        let is_prog = command == Command::ProgLoad;
        let of_prog = |offset| if is_prog { attr.u32(offset) } else { 0 };
        Self {
            command,
            flags: command.flags_field().map_or(0, |flags| attr.u32(flags)),
            object_type: attr.u32(field::MAP_TYPE),
            attach_type: of_prog(field::PROG_ATTACH_TYPE),
            insn_cnt: of_prog(field::PROG_INSN_CNT),
        }
    }

    fn valid_flags(&self) -> u32 {
        match self.command {
            // BPF_F_STRICT_ALIGNMENT to BPF_F_TEST_REG_INVARIANTS.
            Command::ProgLoad => 0xff,
            _ => 0,
        }
    }

    /// What of it a token does not delegate.
    fn lacks(&self, names: &Names, delegated: [&str; 4]) -> Option<String> {
        let masks = masks_of(names, delegated);
        let lacks = |kind: usize, value: u32| {
            let known = masks[kind] & names[kind].known;
            let delegates = value < 64 && known & (1 << value) != 0;
            (!delegates).then(|| {
                format!(
                    "the token does not delegate {} {} ({})",
                    crate::names::KINDS[kind].noun,
                    names[kind].name_of(value),
                    names[kind].describe(kind, masks[kind])
                )
            })
        };
        let command = lacks(CMDS, self.command as u32);
        command.or_else(|| match self.command {
            Command::MapCreate => lacks(MAPS, self.object_type),
            Command::ProgLoad => {
                lacks(PROGS, self.object_type).or_else(|| lacks(ATTACHS, self.attach_type))
            }
            _ => None,
        })
    }
}

/// What the values of the four options are as masks.
pub fn masks_of(names: &Names, delegated: [&str; 4]) -> [u64; 4] {
    [CMDS, MAPS, PROGS, ATTACHS].map(|kind| mask(names, kind, delegated[kind]))
}

/// What the value of an option is as a mask.
fn mask(names: &Names, kind: usize, value: &str) -> u64 {
    let rules = Rules::all_but(&[]);
    options::parse(&names[kind], kind, value.as_bytes(), rules).unwrap_or_default()
}

/// What is said of a program that the verifier rejects, if it looked at it as at one of somebody without capabilities.
pub fn verified_without(names: &Names, call: &Call) -> Option<String> {
    let attr = Attr::of(&call.attr, call.size);
    let request = Request::of(call.command, &attr);
    let mut unused = Some("no token was given".to_owned());
    if request.flags & BPF_F_TOKEN_FD != 0 {
        if let Found::Token(delegated) = what_is(attr.u32(call.command.token_field())) {
            unused = request.lacks(names, delegated);
        }
    }
    let lacks = |cap: &Cap| !call.caller.capable_by(unused.is_none(), *cap);
    let missing: Vec<_> = [BPF, PERFMON].into_iter().filter(lacks).collect();
    let names: Vec<_> = missing.iter().map(|cap| cap.1).collect();
    let place = match &unused {
        None => "the user namespace that owns the token".to_owned(),
        Some(unused) => format!("the initial user namespace, because {unused}"),
    };
    let names = names.join(" and ");
    (!missing.is_empty()).then(|| format!("the program was verified without {names} in {place}"))
}

fn admission(names: &Names, caller: Caller, request: &Request, fd: u32) -> Option<Refusal> {
    let mut unused = Some("no token was given".to_owned());
    if request.flags & BPF_F_TOKEN_FD != 0 {
        match what_is(fd) {
            Found::Token(delegated) => unused = request.lacks(names, delegated),
            found => {
                let open = found != Found::NotOpen;
                let what = if open { "a BPF token" } else { "open" };
                return Some(Refusal {
                    errno: if open { Errno::INVAL } else { Errno::BADF },
                    reason: format!("descriptor {} is not {what}", fd as i32),
                    has_line: request.command == Command::MapCreate,
                });
            }
        }
    }

    const MOST_INSNS: u32 = 1_000_000;
    const MOST_UNPRIVILEGED_INSNS: u32 = 4096;
    for need in needs(names, request, caller.disabled) {
        let count = request.insn_cnt;
        let (cap, purpose, errno) = match need {
            Need::Cap(cap, purpose) => (cap, purpose, Errno::PERM),
            Need::Instructions if count == 0 || count > MOST_INSNS => {
                let reason = format!("a program cannot have {count} instructions");
                return Some(Refusal {
                    errno: Errno::TOOBIG,
                    reason,
                    has_line: false,
                });
            }
            Need::FewInstructions if count > MOST_UNPRIVILEGED_INSNS => (
                BPF,
                format!("a program of {count} instructions"),
                Errno::TOOBIG,
            ),
            _ => continue,
        };
        if caller.capable_by(unused.is_none(), cap) {
            continue;
        }
        let place = match &unused {
            None => "the user namespace that owns the token".to_owned(),
            Some(unused) => format!("the initial user namespace, because {unused}"),
        };
        return Some(Refusal {
            errno,
            reason: format!("{purpose} needs {} in {place}", cap.1),
            has_line: false,
        });
    }
    None
}

/// What is behind a descriptor, as a command with a token asks.
#[derive(PartialEq)]
pub enum Found {
    NotOpen,
    Other,
    Token([&'static str; 4]),
}

pub fn what_is(fd: u32) -> Found {
    const STANDARD: u32 = 3;
    match Descriptor::of(fd) {
        None if fd < STANDARD => Found::Other,
        // As if it were not open.
        None | Some(Descriptor::RootPath | Descriptor::TokenPath) => Found::NotOpen,
        Some(descriptor) => descriptor.delegated().map_or(Found::Other, Found::Token),
    }
}

/// The checks of `map_create()` that come before its token, for the map types in use here.
fn map_is_valid(attr: &Attr<'_>, caller: Caller) -> bool {
    const NO_PREALLOC: u32 = 1 << 0;
    const NUMA_NODE: u32 = 1 << 2;
    const RDONLY: u32 = 1 << 3;
    const WRONLY: u32 = 1 << 4;
    const ZERO_SEED: u32 = 1 << 6;
    const RDONLY_PROG: u32 = 1 << 7;
    const WRONLY_PROG: u32 = 1 << 8;
    const MMAPABLE: u32 = 1 << 10;
    const INNER_MAP: u32 = 1 << 12;
    const ACCESS: u32 = RDONLY | WRONLY | RDONLY_PROG | WRONLY_PROG;

    let flags = attr.u32(field::MAP_FLAGS) & !BPF_F_TOKEN_FD;
    let access_is_valid = flags & (RDONLY_PROG | WRONLY_PROG) != RDONLY_PROG | WRONLY_PROG;
    let only = |valid: u32| flags & !(valid | NUMA_NODE) == 0;
    let map_type = attr.u32(field::MAP_TYPE);
    let key_size = if map_type == STACK { 0 } else { 4 };
    // Attributes that are cut short have zeros.
    let has_size = attr.u32(field::MAP_KEY_SIZE) == key_size
        && attr.u32(field::MAP_VALUE_SIZE) != 0
        && attr.u32(field::MAP_MAX_ENTRIES) != 0;
    match map_type {
        HASH => {
            (flags & ZERO_SEED == 0 || caller.capable(SYS_ADMIN))
                && only(NO_PREALLOC | ZERO_SEED | ACCESS)
                && access_is_valid
                && has_size
        }
        ARRAY => only(MMAPABLE | INNER_MAP | ACCESS) && access_is_valid && has_size,
        STACK => only(ACCESS) && access_is_valid && has_size,
        DEVMAP => only(RDONLY | WRONLY) && has_size,
        // It looks at its flags when it allocates.
        RINGBUF => true,
        _ => false,
    }
}
