// SPDX-License-Identifier: GPL-2.0

//! D4 for commands: where a reason must stand in a log, and what else in memory changes with it.

use guest::attr::btf_load;
use guest::attr::common;
use guest::attr::prog_load;
use guest::attr::Field;
use guest::sys::Command;

use crate::attributes::Attr;
use crate::attributes::Attributes;
use crate::command::Refusal;
use crate::layout::memory;
use crate::outcome::Outcome;

/// The line that C writes when the descriptor that comes with a map is no token's.
const MAP_LINE: &str = "Invalid map_token_fd.\n";

/// No reason is longer.
const LONGEST: usize = 399;

/// The log that a command writes to.
#[derive(Debug, PartialEq)]
struct Log {
    address: u64,
    size: u32,
    /// Which attributes the length goes to, and where in them.
    length: Option<(Where, Field)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Where {
    Attr,
    Common,
}

/// Level, size and address of a log.
type LogFields = [Field; 3];

pub const PROG_LOG: LogFields = [
    prog_load::log_level,
    prog_load::log_size,
    prog_load::log_buf,
];
pub const BTF_LOG: LogFields = [
    btf_load::btf_log_level,
    btf_load::btf_log_size,
    btf_load::btf_log_buf,
];
pub const COMMON_LOG: LogFields = [common::log_level, common::log_size, common::log_buf];

/// A log as the caller gives it.
#[derive(Clone, Copy, PartialEq)]
pub struct Arguments {
    pub level: u32,
    pub size: u32,
    pub address: u64,
}

impl Arguments {
    pub const NONE: Self = Self {
        level: 0,
        size: 0,
        address: 0,
    };
    /// At level 1, of all the room there is.
    pub const LARGE: Self = Self {
        level: 1,
        size: memory::LOG_SIZE as u32,
        address: memory::LOG as u64,
    };

    pub fn set(self, attr: &mut Attr, [level, size, address]: LogFields) {
        attr.set(level, self.level.into());
        attr.set(size, self.size.into());
        attr.set(address, self.address);
    }

    fn get(attr: &Attr, [level, size, address]: LogFields) -> Self {
        Self {
            level: attr.u32(level),
            size: attr.u32(size),
            address: attr.get(address),
        }
    }

    /// Those that a command has in its own attributes.
    pub fn of(call: &Attributes) -> Self {
        match call.command {
            Command::ProgLoad => Self::get(&call.attr, PROG_LOG),
            Command::BtfLoad => Self::get(&call.attr, BTF_LOG),
            _ => Self::NONE,
        }
    }

    /// `bpf_verifier_log_attr_valid()`.
    fn are_valid(&self) -> bool {
        const LEVELS: u32 = 0xf;
        const MOST: u32 = u32::MAX >> 2;
        (self.address == 0) == (self.size == 0)
            && (self.address == 0 || self.level != 0)
            && self.level & !LEVELS == 0
            && self.size <= MOST
    }
}

/// What the log arguments come to.
enum Given {
    Invalid,
    Nothing,
    Log(Log),
}

impl Given {
    fn of(call: &Attributes) -> Self {
        let length = |place, attr: &Attr, field: Field| {
            (attr.size as usize >= field.at + 4).then_some((place, field))
        };
        let (common, common_length) = match &call.common {
            None => (Arguments::NONE, None),
            Some(attr) => (
                Arguments::get(attr, COMMON_LOG),
                length(Where::Common, attr, common::log_true_size),
            ),
        };
        let true_size = match call.command {
            Command::MapCreate | Command::TokenCreate => None,
            Command::ProgLoad => Some(prog_load::log_true_size),
            Command::BtfLoad => Some(btf_load::btf_log_true_size),
            _ => return Self::Nothing,
        };
        let own = Arguments::of(call);
        let own_length = true_size.and_then(|field| length(Where::Attr, &call.attr, field));
        if !own.are_valid() || !common.are_valid() {
            return Self::Invalid;
        }
        let log = |of: Arguments, length| {
            Self::Log(Log {
                address: of.address,
                size: of.size,
                length,
            })
        };
        match (own.address, common.address) {
            (0, 0) => Self::Nothing,
            (0, _) => log(common, common_length),
            (_, 0) => log(own, own_length),
            _ if own == common => log(own, own_length),
            _ => Self::Invalid,
        }
    }
}

/// How much of the buffer a call may write to.
pub fn room(call: &Attributes) -> usize {
    match Given::of(call) {
        Given::Log(log) if log.address == memory::LOG as u64 => log.size as usize,
        _ => 0,
    }
}

/// What a reason adds to what the command leaves in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Addition {
    /// The errno that the command has in any case, unless it fails for its log.
    errno: Option<i32>,
    /// What C leaves in the log.
    before: Option<&'static str>,
    /// What stands behind that.
    text: String,
    length: Option<(Where, Field, u32)>,
}

impl Where {
    fn of(self, saw: &mut Outcome) -> &mut Vec<(u32, u32)> {
        match self {
            Self::Attr => &mut saw.written,
            Self::Common => &mut saw.common_written,
        }
    }
}

/// What is to be seen of a refusal. `None` if that does not come to the fore.
pub fn addition(call: &Attributes, refusal: &Refusal) -> Option<Addition> {
    let errno = refusal.errno.raw_os_error();
    let nothing = |errno| Addition {
        errno,
        before: None,
        text: String::new(),
        length: None,
    };
    let log = match Given::of(call) {
        Given::Invalid if call.command == Command::TokenCreate => {
            return Some(nothing(Some(errno)))
        }
        Given::Invalid => return None,
        Given::Nothing => return Some(nothing(Some(errno))),
        Given::Log(log) => log,
    };
    let is_mapped = log.address == memory::LOG as u64;
    let before = if refusal.has_line { MAP_LINE } else { "" };
    if refusal.has_line && (!is_mapped || log.size as usize <= before.len()) {
        return Some(nothing(None));
    }

    let reason = &refusal.reason[..refusal.reason.len().min(LONGEST)];
    // A line feed and the final zero need room too.
    let room = (log.size as usize).saturating_sub(before.len() + 2);
    let fits = room.min(reason.len());
    let text = if fits == 0 {
        String::new()
    } else {
        format!("{}\n", &reason[..fits])
    };
    // The length is that of what would have been written, were there memory.
    let length = if text.is_empty() && call.command == Command::MapCreate {
        None
    } else {
        let total = if text.is_empty() {
            0
        } else {
            (before.len() + text.len() + 1) as u32
        };
        log.length.map(|(place, field)| (place, field, total))
    };
    Some(Addition {
        errno: Some(errno),
        before: refusal.has_line.then_some(MAP_LINE),
        text: if is_mapped { text } else { String::new() },
        length,
    })
}

/// What is to be seen of a line behind what the verifier has said. `None` if it has said nothing, or the line has no room.
pub fn behind_the_verifier(call: &Attributes, line: &str, c: &Outcome) -> Option<Addition> {
    const REJECTED: [i32; 4] = [libc::EPERM, libc::EACCES, libc::EINVAL, libc::E2BIG];
    let said = c.log.as_ref().filter(|said| {
        let lines = said.0.split(|byte| *byte == b'\n');
        lines
            .rev()
            .nth(1)
            .is_some_and(|last| last.starts_with(b"processed "))
    })?;
    let Given::Log(log) = Given::of(call) else {
        return None;
    };
    let text = format!("{line}\n");
    let total = said.0.len() + text.len() + 1;
    let is_seen = REJECTED.contains(&c.errno) && total <= log.size as usize;
    is_seen.then(|| Addition {
        errno: None,
        before: None,
        text,
        length: log
            .length
            .map(|(place, field)| (place, field, total as u32)),
    })
}

/// What the Rust kernel leaves of a rejected program whose log has lost lines already, and keeps the last ones: then
/// both kernels fail with `ENOSPC`, which hides that the program was rejected.
pub fn behind_a_full_log(call: &Attributes, line: &str, c: &Outcome) -> Option<Outcome> {
    let (Given::Log(log), libc::ENOSPC) = (Given::of(call), c.errno) else {
        return None;
    };
    let mut saw = c.clone();
    let text = format!("{line}\n");
    let said = &mut saw.log.as_mut()?.0;
    said.extend(text.bytes());
    let lost = (said.len() + 1).saturating_sub(log.size as usize);
    said.drain(..lost);
    let (place, field) = log.length?;
    let mut lengths = place.of(&mut saw).iter_mut();
    let (_, length) = lengths.find(|(at, _)| *at as usize == field.at)?;
    *length += text.len() as u32;
    Some(saw)
}

impl Addition {
    /// What the Rust kernel leaves, where the C kernel leaves `saw`.
    pub fn apply(&self, call: &Attributes, saw: &Outcome) -> Outcome {
        let mut saw = saw.clone();
        if !self.text.is_empty() {
            let mut log = saw.log.unwrap_or_default();
            log.0.extend(self.text.bytes());
            saw.log = Some(log);
        }
        if let Some((place, field, length)) = self.length {
            let given = match place {
                Where::Attr => &call.attr,
                Where::Common => call.common.as_ref().expect("common attributes"),
            };
            let changed = given.u32(field) != length;
            let written = place.of(&mut saw);
            written.retain(|(at, _)| *at as usize != field.at);
            if changed {
                written.push((field.at as u32, length));
                written.sort_unstable();
            }
        }
        saw
    }

    /// What is wrong with what the C kernel leaves, if anything.
    pub fn check_c(&self, saw: &Outcome) -> Result<(), String> {
        if let Some(errno) = self.errno {
            if saw.errno != errno {
                return Err(format!("C gives errno {}, not {errno}", saw.errno));
            }
        }
        let log = saw.log.as_ref().map(|log| log.0.as_slice());
        if self.errno.is_some() && log != self.before.map(str::as_bytes) {
            return Err("C's log is not what it was to be".to_owned());
        }
        Ok(())
    }
}
