// SPDX-License-Identifier: GPL-2.0

//! Which calls are refused for their token's sake, or for want of one: rules 3, 5 and 6 of the design, as far as the
//! attributes that are made here go.

use guest::attr;
use guest::attr::map_create;
use guest::attr::prog_load;
use guest::attr::BPF_F_TOKEN_FD;
use guest::rules;
use guest::rules::Asked;
use guest::rules::Cap;
use guest::rules::BPF;
use guest::rules::PERFMON;
use guest::rules::SYS_ADMIN;
use guest::sys::Command;
use rustix::io::Errno;

use crate::attributes::Attr;
use crate::attributes::Attributes;
use crate::layout::PAGE;
use crate::names::Names;
use crate::names::ATTACHS;
use crate::names::CMDS;
use crate::names::KINDS;
use crate::names::MAPS;
use crate::names::PROGS;
use crate::privilege::Caller;
use crate::privilege::ARRAY;
use crate::privilege::DEVMAP;
use crate::privilege::HASH;
use crate::privilege::RINGBUF;
use crate::privilege::STACK;

/// A refusal that Rust gives a reason for.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    pub errno: Errno,
    pub reason: String,
    /// Whether C has a line of its own for it.
    pub has_line: bool,
}

/// Whether the attributes of any command, and the common ones, are taken at all.
pub fn well_formed(call: &Attributes) -> bool {
    let is_taken = |attr: &Attr, known| attr.size as usize <= PAGE && attr.is_zero_from(known);
    let common = call.common.as_ref();
    is_taken(&call.attr, attr::SIZE)
        && common.is_none_or(|common| is_taken(common, attr::common::END))
        && call.attr.is_zero_from(call.command.end())
}

/// What is said of a call that is refused for the sake of its token, if it is: of one that takes a token, of those that
/// [`crate::template`] makes.
pub fn refusal(names: &Names, caller: Caller, call: &Attributes, found: Found) -> Option<Refusal> {
    let request = Request::of(call)?;
    let is_valid = match call.command {
        Command::MapCreate => map_is_valid(call, caller),
        _ => request.flags & !request.valid_flags() & !BPF_F_TOKEN_FD == 0,
    };
    let is_asked = well_formed(call) && is_valid;
    is_asked.then(|| admission(names, caller, &request, found, call.fd()))?
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
    /// That of a call, if it is of one of the commands that take a token.
    pub fn of(call: &Attributes) -> Option<Self> {
        if !takes_token(call.command) {
            return None;
        }
        let is_prog = call.command == Command::ProgLoad;
        let of_prog = |field| if is_prog { call.u32(field) } else { 0 };
        Some(Self {
            command: call.command,
            flags: call.flags(),
            object_type: call.u32(map_create::map_type),
            attach_type: of_prog(prog_load::expected_attach_type),
            insn_cnt: of_prog(prog_load::insn_cnt),
        })
    }

    fn valid_flags(&self) -> u32 {
        match self.command {
            // BPF_F_STRICT_ALIGNMENT to BPF_F_TEST_REG_INVARIANTS.
            Command::ProgLoad => 0xff,
            _ => 0,
        }
    }

    /// Which capabilities it needs, and what for.
    fn needs(&self, names: &Names, disabled: bool) -> Vec<(Cap, String)> {
        let kind = match self.command {
            Command::ProgLoad => PROGS,
            _ => MAPS,
        };
        let asked = Asked {
            command: self.command,
            command_name: &names[CMDS].name_of(self.command as u32),
            object_type: self.object_type,
            type_name: &names[kind].name_of(self.object_type),
        };
        rules::needs(asked, disabled)
    }

    fn instructions(&self) -> Instructions {
        const MOST: u32 = 1_000_000;
        const MOST_OF_THE_UNPRIVILEGED: u32 = 4096;
        match self.insn_cnt {
            _ if self.command != Command::ProgLoad => Instructions::Few,
            1..=MOST_OF_THE_UNPRIVILEGED => Instructions::Few,
            n if n > MOST_OF_THE_UNPRIVILEGED && n <= MOST => Instructions::Many,
            _ => Instructions::Impossible,
        }
    }

    /// What of it a token does not delegate.
    fn lacks(&self, names: &Names, masks: [u64; 4]) -> Option<String> {
        let lacks = |kind: usize, value: u32| {
            let bit = 1_u64.checked_shl(value).unwrap_or(0) & names[kind].known;
            let noun = KINDS[kind].noun;
            if bit == 0 {
                return Some(format!("this kernel has no {noun} {value}"));
            }
            (masks[kind] & bit == 0).then(|| {
                let (name, words) = (names[kind].name_of(value), names[kind].words(masks[kind]));
                let option = KINDS[kind].option;
                format!("the token does not delegate {noun} {name} ({option}={words})")
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

pub fn takes_token(command: Command) -> bool {
    use Command::*;
    matches!(command, MapCreate | ProgLoad | BtfLoad | BtfGetFdById)
}

/// What is said of a program that the verifier rejects, if it looked at it as at one of somebody without capabilities.
pub fn verified_without(
    names: &Names,
    caller: Caller,
    call: &Attributes,
    found: Found,
) -> Option<String> {
    let request = Request::of(call)?;
    let mut unused = Some("no token was given".to_owned());
    if request.flags & BPF_F_TOKEN_FD != 0 {
        if let Found::Token(masks) = found {
            unused = request.lacks(names, masks);
        }
    }
    let lacks = |cap: &Cap| !caller.capable_by(unused.is_none(), *cap);
    let missing: Vec<_> = [BPF, PERFMON].into_iter().filter(lacks).collect();
    let names: Vec<_> = missing.iter().map(|cap| cap.name).collect();
    let place = match &unused {
        None => "the user namespace that owns the token".to_owned(),
        Some(unused) => format!("the initial user namespace, because {unused}"),
    };
    let names = names.join(" and ");
    (!missing.is_empty()).then(|| format!("the program was verified without {names} in {place}"))
}

/// What is said of a request with the descriptor `fd` of what was `found` there, if the rules refuse it.
pub fn admission(
    names: &Names,
    caller: Caller,
    request: &Request,
    found: Found,
    fd: u32,
) -> Option<Refusal> {
    let mut unused = Some("no token was given".to_owned());
    if request.flags & BPF_F_TOKEN_FD != 0 {
        match found {
            Found::Token(masks) => unused = request.lacks(names, masks),
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

    let by_token = unused.is_none();
    let place = match &unused {
        None => "the user namespace that owns the token".to_owned(),
        Some(unused) => format!("the initial user namespace, because {unused}"),
    };
    let refuse = |errno, reason| Refusal {
        errno,
        reason,
        has_line: false,
    };
    let lacks = |(cap, purpose): &(Cap, String), errno| {
        let reason = format!("{purpose} needs {} in {place}", cap.name);
        (!caller.capable_by(by_token, *cap)).then(|| refuse(errno, reason))
    };
    let needs = request.needs(names, caller.disabled);
    let of_command = usize::from(caller.disabled && rules::makes_objects(request.command));
    let (of_command, of_type) = needs.split_at(of_command);
    let mut refusals = of_command.iter().map(|need| lacks(need, Errno::PERM));
    refusals.find_map(|refusal| refusal).or_else(|| {
        let refusal = match request.instructions() {
            Instructions::Few => None,
            Instructions::Many => {
                let purpose = format!("a program of {} instructions", request.insn_cnt);
                lacks(&(BPF, purpose), Errno::TOOBIG)
            }
            Instructions::Impossible => {
                let reason = format!("a program cannot have {} instructions", request.insn_cnt);
                Some(refuse(Errno::TOOBIG, reason))
            }
        };
        refusal.or_else(|| of_type.iter().find_map(|need| lacks(need, Errno::PERM)))
    })
}

/// How many instructions a program has.
enum Instructions {
    Few,
    /// As many as only the privileged may have.
    Many,
    Impossible,
}

/// What is behind a descriptor, as a command with a token asks.
#[derive(Clone, Copy, PartialEq)]
pub enum Found {
    NotOpen,
    Other,
    /// A token that permits this.
    Token([u64; 4]),
}

/// The checks of `map_create()` that come before its token, for the map types in use here.
fn map_is_valid(attr: &Attributes, caller: Caller) -> bool {
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

    let flags = attr.u32(map_create::map_flags) & !BPF_F_TOKEN_FD;
    let access_is_valid = flags & (RDONLY_PROG | WRONLY_PROG) != RDONLY_PROG | WRONLY_PROG;
    let only = |valid: u32| flags & !(valid | NUMA_NODE) == 0;
    let map_type = attr.u32(map_create::map_type);
    let key_size = if map_type == STACK { 0 } else { 4 };
    // Attributes that are cut short have zeros.
    let has_size = attr.u32(map_create::key_size) == key_size
        && attr.u32(map_create::value_size) != 0
        && attr.u32(map_create::max_entries) != 0;
    match map_type {
        HASH => {
            (flags & ZERO_SEED == 0 || caller.capable_by(false, SYS_ADMIN))
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
