// SPDX-License-Identifier: GPL-2.0

//! What mount options must come to: rule 1 of the design, C's way and ours.

use guest::enums::Enumerators;
use rustix::io::Errno;

use crate::names::Names;
use crate::names::KINDS;
use crate::rules::Rule;
use crate::rules::Rules;

/// What `strndup_user()` takes for a value, with the zero behind it.
const LONGEST: usize = 256;

/// What a delegation option must come to.
#[derive(Clone, Debug, PartialEq)]
pub enum Expected {
    /// It is not ours to predict: both kernels must do the same.
    Same,
    Accepted,
    Refused(i32, Option<Reason>),
}

/// What the message of a refusal must say.
#[derive(Clone, Debug, PartialEq)]
pub struct Reason {
    /// Begins like this, after what stands before every message of BPF FS.
    start: String,
    /// May then propose a name of this kind, and tells what is accepted.
    accepted: Option<usize>,
}

impl Reason {
    pub fn matches(&self, names: &Names, message: &[u8]) -> bool {
        let Some(rest) = message.strip_prefix(self.start.as_bytes()) else {
            return false;
        };
        let Some(kind) = self.accepted else {
            return rest.is_empty();
        };
        let accepted = format!(
            " (accepted: 'any', {} without {}, or a mask such as 0x3; several are separated by ':')",
            KINDS[kind].one(),
            KINDS[kind].prefix
        );
        let Some(proposal) = rest.strip_suffix(accepted.as_bytes()) else {
            return false;
        };
        let name = proposal
            .strip_prefix(b", did you mean '")
            .and_then(|name| name.strip_suffix(b"'?"));
        proposal.is_empty() || name.is_some_and(|name| names[kind].value_of(name).is_some())
    }
}

/// What an option that is set on a context must come to.
pub fn setting(
    names: &Names,
    (key, value): (&[u8], &[u8]),
    privileged: bool,
    rules: Rules,
    masks: &mut [u64; 4],
) -> Expected {
    match kind_of(key) {
        Some(kind) if (1..LONGEST).contains(&value.len()) => {
            set(names, kind, value, privileged, rules, masks)
        }
        _ => Expected::Same,
    }
}

pub const COOKIE: &str = "delegate_cookie";

/// What the data of `mount(2)` comes to: each mask that is named, and the cookie if it is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Named {
    pub errno: i32,
    pub masks: [Option<u64>; 4],
    pub cookie: Option<u64>,
}

/// Reads options up to the first that is refused: those of a mount, or of a remount of what has the cookie `present`. Masks that
/// are named more than once add up in a mount; in a remount, the last value counts. `None` if not BPF FS but the VFS refuses
/// one.
pub fn data(names: &Names, data: &[u8], rules: Rules, present: Option<u64>) -> Option<Named> {
    const PAGE: usize = 4096;
    let mut named = Named::default();
    let data = &data[..data.len().min(PAGE - 1)];
    for option in data.split(|byte| *byte == b',') {
        let mut parts = option.splitn(2, |byte| *byte == b'=');
        let (key, value) = (parts.next().unwrap_or_default(), parts.next());
        let kind = kind_of(key);
        if key != COOKIE.as_bytes() && kind.is_none() {
            continue;
        }
        let value = value.filter(|value| !value.is_empty())?;
        let Some(kind) = kind else {
            if rules.has(Rule::Cookie) {
                let cookie = number(value).ok()?;
                if present.is_some_and(|present| present != cookie) {
                    named.errno = Errno::INVAL.raw_os_error();
                    return Some(named);
                }
                named.cookie = Some(cookie);
            }
            continue;
        };
        let mut masks = [0; 4];
        if let Some(before) = named.masks[kind].filter(|_| present.is_none()) {
            masks[kind] = before;
        }
        // `mount(2)` has no log to read, and the kernel's is nobody's to fill.
        if let Expected::Refused(errno, _) = set(names, kind, value, true, rules, &mut masks) {
            named.errno = errno;
            return Some(named);
        }
        named.masks[kind] = Some(masks[kind]);
    }
    Some(named)
}

/// Which of the four options a key is.
pub fn kind_of(key: &[u8]) -> Option<usize> {
    KINDS.iter().position(|kind| kind.option.as_bytes() == key)
}

pub fn set(
    names: &Names,
    kind: usize,
    value: &[u8],
    privileged: bool,
    rules: Rules,
    masks: &mut [u64; 4],
) -> Expected {
    let refused = |errno: Errno, start: String, accepted| {
        let start = format!("bpf: {}: {start}", KINDS[kind].option);
        let reason = Reason { start, accepted };
        Expected::Refused(errno.raw_os_error(), rules.has(Rule::D4).then_some(reason))
    };
    match parse(&names[kind], kind, value, rules) {
        Err(Malformed { errno, what }) => refused(errno, what, Some(kind)),
        Ok(mask) if mask != 0 && !privileged => refused(
            Errno::PERM,
            "to delegate needs CAP_SYS_ADMIN in the initial user namespace".to_owned(),
            None,
        ),
        Ok(mask) => {
            masks[kind] |= mask;
            Expected::Accepted
        }
    }
}

#[derive(Debug)]
pub struct Malformed {
    errno: Errno,
    what: String,
}

pub fn parse(
    names: &Enumerators,
    kind: usize,
    value: &[u8],
    rules: Rules,
) -> Result<u64, Malformed> {
    let mut mask = 0;
    for item in value.split(|byte| *byte == b':') {
        match names.value_of(item) {
            _ if item == b"any" => mask = u64::MAX,
            Some(value @ 0..64) => mask |= 1 << value,
            // C shifts by 65536, of which x86 takes the lowest six bits.
            Some(value) if !rules.has(Rule::D2) => mask |= 1_u64.wrapping_shl(value as u32),
            _ => {
                let number = number(item).map_err(|errno| malformed(item, kind, errno))?;
                let before = if rules.has(Rule::D1) { mask } else { 0 };
                mask = before | number;
            }
        }
    }
    Ok(mask)
}

fn malformed(item: &[u8], kind: usize, errno: Errno) -> Malformed {
    let shown = printable(item);
    let what = match errno {
        Errno::RANGE => format!("'{shown}' does not fit into 64 bits"),
        _ if item.is_empty() => "an item is empty".to_owned(),
        _ => format!("'{shown}' is not {}", KINDS[kind].one()),
    };
    Malformed { errno, what }
}

/// An item as a message shows it.
fn printable(item: &[u8]) -> String {
    const MOST: usize = 48;
    let mut shown = String::new();
    for byte in &item[..item.len().min(MOST)] {
        match byte {
            b'\'' | b'\\' => shown.extend(['\\', char::from(*byte)]),
            b' '..=b'~' => shown.push(char::from(*byte)),
            _ => shown.push_str(&format!("\\x{byte:02x}")),
        }
    }
    if item.len() > MOST {
        shown.push_str("...");
    }
    shown
}

/// `kstrtou64()` with base 0: lib/kstrtox.c.
pub fn number(item: &[u8]) -> Result<u64, Errno> {
    let item = item.strip_prefix(b"+").unwrap_or(item);
    let is_hex = item.len() > 2
        && item[0] == b'0'
        && item[1].eq_ignore_ascii_case(&b'x')
        && item[2].is_ascii_hexdigit();
    let (base, digits) = match item.first() {
        _ if is_hex => (16, &item[2..]),
        Some(b'0') => (8, item),
        _ => (10, item),
    };
    let is_digit = |byte: &&u8| char::from(**byte).is_digit(base);
    let count = digits.iter().take_while(is_digit).count();
    let (digits, rest) = digits.split_at(count);
    if digits.is_empty() {
        return Err(Errno::INVAL);
    }
    let digits = std::str::from_utf8(digits).expect("digits are ASCII");
    let number = u64::from_str_radix(digits, base).map_err(|_| Errno::RANGE)?;
    match rest {
        [] | [b'\n'] => Ok(number),
        _ => Err(Errno::INVAL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::CMDS;

    fn names() -> Names {
        let cmds = Enumerators {
            names: vec![
                ("map_create".to_owned(), 0),
                ("map_lookup_elem".to_owned(), 1),
                ("common_attrs".to_owned(), 65536),
            ],
            known: 0x3,
        };
        [cmds.clone(), cmds.clone(), cmds.clone(), cmds]
    }

    fn masks(value: &str, rules: Rules) -> Result<u64, Errno> {
        parse(&names()[CMDS], CMDS, value.as_bytes(), rules).map_err(|malformed| malformed.errno)
    }

    #[test]
    fn c_and_rust_differ_where_the_design_says() {
        let rust = Rules::all_but(&[]);
        for (value, c, ours) in [
            ("map_create:0x20", Ok(0x20), Ok(0x21)),
            ("any:0x1", Ok(1), Ok(u64::MAX)),
            ("0x2:Map_Create", Ok(3), Ok(3)),
            ("map_create:0", Ok(0), Ok(1)),
            ("COMMON_attrs", Ok(1), Err(Errno::INVAL)),
            ("common_attrs:0x", Err(Errno::INVAL), Err(Errno::INVAL)),
        ] {
            assert_eq!(masks(value, Rules::NONE), c, "{value}");
            assert_eq!(masks(value, rust), ours, "{value}");
        }
    }

    #[test]
    fn numbers_are_those_of_kstrtou64() {
        for (item, expected) in [
            ("+010", Ok(8)),
            ("0X1f\n", Ok(0x1f)),
            ("18446744073709551615", Ok(u64::MAX)),
            ("18446744073709551616 x", Err(Errno::RANGE)),
            ("0x", Err(Errno::INVAL)),
            ("08", Err(Errno::INVAL)),
            ("++1", Err(Errno::INVAL)),
            ("1_0", Err(Errno::INVAL)),
            ("", Err(Errno::INVAL)),
        ] {
            assert_eq!(number(item.as_bytes()), expected, "{item}");
        }
    }
}
