// SPDX-License-Identifier: GPL-2.0

//! D4 for commands: where a reason must stand in a log, and what else in memory changes with it.

use guest::attr::btf_load;
use guest::attr::common;
use guest::attr::prog_load;

use crate::case::Attr;
use crate::case::Call;
use crate::case::CallSaw;
use crate::case::Command;
use crate::command::Refusal;
use crate::layout::memory;

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
    length: Option<(Where, usize)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Where {
    Attr,
    Common,
}

/// `level`, `size` and `address` of a log, as the caller gives them.
struct Arguments {
    level: u32,
    size: u32,
    address: u64,
}

impl Arguments {
    const NONE: Self = Self {
        level: 0,
        size: 0,
        address: 0,
    };

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
    fn of(call: &Call) -> Self {
        let no_bytes = Vec::new();
        let (bytes, size) = call
            .common
            .as_ref()
            .map_or((&no_bytes, 0), |common| (&common.attr, common.size));
        let attr = Attr::of(bytes, size);
        let common = Arguments {
            level: attr.u32(common::log_level.at),
            size: attr.u32(common::log_size.at),
            address: attr.u64(common::log_buf.at),
        };
        let has_length = size as usize >= common::END;
        let common_length = has_length.then_some((Where::Common, common::log_true_size.at));

        let attr = Attr::of(&call.attr, call.size);
        let (own, own_length) = match call.command {
            Command::ProgLoad => (
                Arguments {
                    level: attr.u32(prog_load::log_level.at),
                    size: attr.u32(prog_load::log_size.at),
                    address: attr.u64(prog_load::log_buf.at),
                },
                prog_load::log_true_size.at,
            ),
            Command::BtfLoad => (
                Arguments {
                    level: attr.u32(btf_load::btf_log_level.at),
                    size: attr.u32(btf_load::btf_log_size.at),
                    address: attr.u64(btf_load::btf_log_buf.at),
                },
                btf_load::btf_log_true_size.at,
            ),
            Command::MapCreate | Command::TokenCreate => (Arguments::NONE, 0),
            Command::BtfGetFdById | Command::ObjGetInfoByFd => return Self::Nothing,
        };
        if !own.are_valid() || !common.are_valid() {
            return Self::Invalid;
        }
        let same =
            own.address == common.address && own.size == common.size && own.level == common.level;
        match (own.address, common.address) {
            (0, 0) => Self::Nothing,
            (0, _) => Self::Log(Log {
                address: common.address,
                size: common.size,
                length: common_length,
            }),
            (_, 0) => Self::Log(Log {
                address: own.address,
                size: own.size,
                length: (call.size as usize >= own_length + 4).then_some((Where::Attr, own_length)),
            }),
            _ if same => Self::Log(Log {
                address: own.address,
                size: own.size,
                length: (call.size as usize >= own_length + 4).then_some((Where::Attr, own_length)),
            }),
            _ => Self::Invalid,
        }
    }
}

/// How much of the buffer a call may write to.
pub fn room(call: &Call) -> usize {
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
    length: Option<(Where, usize, u32)>,
}

impl Where {
    fn of(self, saw: &mut CallSaw) -> &mut Vec<(u32, u32)> {
        match self {
            Self::Attr => &mut saw.written,
            Self::Common => &mut saw.common_written,
        }
    }
}

/// What is to be seen of a refusal. `None` if that does not come to the fore.
pub fn addition(call: &Call, refusal: &Refusal) -> Option<Addition> {
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
        log.length.map(|(place, offset)| (place, offset, total))
    };
    Some(Addition {
        errno: Some(errno),
        before: refusal.has_line.then_some(MAP_LINE),
        text: if is_mapped { text } else { String::new() },
        length,
    })
}

/// What is to be seen of a line behind what the verifier has said. `None` if it has said nothing, or the line has no room.
pub fn behind_the_verifier(call: &Call, line: &str, c: &CallSaw) -> Option<Addition> {
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
            .map(|(place, offset)| (place, offset, total as u32)),
    })
}

/// What the Rust kernel leaves of a rejected program whose log has lost lines already, and keeps the last ones: then
/// both kernels fail with `ENOSPC`, which hides that the program was rejected.
pub fn behind_a_full_log(call: &Call, line: &str, c: &CallSaw) -> Option<CallSaw> {
    let (Given::Log(log), libc::ENOSPC) = (Given::of(call), c.errno) else {
        return None;
    };
    let mut saw = c.clone();
    let text = format!("{line}\n");
    let said = &mut saw.log.as_mut()?.0;
    said.extend(text.bytes());
    let lost = (said.len() + 1).saturating_sub(log.size as usize);
    said.drain(..lost);
    let (place, offset) = log.length?;
    let mut lengths = place.of(&mut saw).iter_mut();
    let (_, length) = lengths.find(|(at, _)| *at as usize == offset)?;
    *length += text.len() as u32;
    Some(saw)
}

impl Addition {
    /// What the Rust kernel leaves, where the C kernel leaves `saw`.
    pub fn apply(&self, call: &Call, saw: &CallSaw) -> CallSaw {
        let mut saw = saw.clone();
        if !self.text.is_empty() {
            let mut log = saw.log.unwrap_or_default();
            log.0.extend(self.text.bytes());
            saw.log = Some(log);
        }
        if let Some((place, offset, length)) = self.length {
            let given = match place {
                Where::Attr => Attr::of(&call.attr, call.size),
                Where::Common => {
                    let common = call.common.as_ref().expect("common attributes");
                    Attr::of(&common.attr, common.size)
                }
            };
            let changed = given.u32(offset) != length;
            let written = place.of(&mut saw);
            written.retain(|(at, _)| *at as usize != offset);
            if changed {
                written.push((offset as u32, length));
                written.sort_unstable();
            }
        }
        saw
    }

    /// What is wrong with what the C kernel leaves, if anything.
    pub fn check_c(&self, saw: &CallSaw) -> Result<(), String> {
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

    /// Whether C and Rust differ by it.
    pub fn is_visible(&self) -> bool {
        !self.text.is_empty() || self.length.is_some()
    }
}
