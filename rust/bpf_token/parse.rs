// SPDX-License-Identifier: GPL-2.0

//! Reading a [`Mask`] as a mount option gives it.

#![forbid(unsafe_code)]

use crate::{
    kind::Kind,
    mask::Mask, //
};
use core::fmt;
use kernel::{
    error::{
        code::*,
        Error, //
    },
    macros::kunit_tests, //
};

/// Why the value of a mount option is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal<'a> {
    /// Two separators with nothing between them, or one at an end.
    Empty,
    /// An item that is neither a name nor a number.
    Unknown(&'a [u8]),
    /// A number that does not fit into 64 bits.
    Overflow(&'a [u8]),
}

impl From<&Refusal<'_>> for Error {
    /// The errno that C gives, which has it from `kstrtou64`.
    fn from(refusal: &Refusal<'_>) -> Error {
        match refusal {
            Refusal::Empty | Refusal::Unknown(_) => EINVAL,
            Refusal::Overflow(_) => ERANGE,
        }
    }
}

impl<K: Kind> Mask<K> {
    /// Reads a list of `any`, names and numbers that `:` separates. The result is their union.
    pub(crate) fn parse(value: &[u8]) -> Result<Self, Refusal<'_>> {
        let mut mask = Self::EMPTY;
        for item in value.split(|&byte| byte == b':') {
            mask |= Self::parse_item(item)?;
        }
        Ok(mask)
    }

    fn parse_item(item: &[u8]) -> Result<Self, Refusal<'_>> {
        if item == b"any" {
            return Ok(Self::ALL);
        }
        if let Some(value) = K::NAMES.value_of(item) {
            return Ok(Self::from_bits(1 << value));
        }
        parse_number(item).map(Self::from_bits)
    }
}

/// Reads a number as `kstrtou64()` with base 0 does: decimal, `0x` hexadecimal or `0` octal, after
/// at most one `+` and before at most one line feed.
fn parse_number(item: &[u8]) -> Result<u64, Refusal<'_>> {
    let digits = item.strip_prefix(b"+").unwrap_or(item);
    let (base, digits) = match digits {
        [b'0', b'x' | b'X', rest @ ..] => (16, rest),
        [b'0', ..] => (8, digits),
        _ => (10, digits),
    };

    let mut value = Some(0u64);
    let mut rest = digits;
    while let [byte, tail @ ..] = rest {
        let Some(digit) = char::from(*byte).to_digit(base) else {
            break;
        };
        // What follows an overflow is still looked at for digits only: C reports it first.
        value = value
            .and_then(|value| value.checked_mul(base.into()))
            .and_then(|value| value.checked_add(digit.into()));
        rest = tail;
    }

    match value {
        _ if item.is_empty() => Err(Refusal::Empty),
        _ if rest.len() == digits.len() => Err(Refusal::Unknown(item)),
        None => Err(Refusal::Overflow(item)),
        Some(value) if matches!(rest, [] | [b'\n']) => Ok(value),
        Some(_) => Err(Refusal::Unknown(item)),
    }
}

/// Reads the number that `delegate_cookie` gives.
pub(crate) fn parse_cookie(value: &[u8]) -> Result<u64, Refusal<'_>> {
    parse_number(value)
}

/// The refusal of a cookie as text.
pub(crate) struct CookieExplanation<'a>(&'a Refusal<'a>);

impl fmt::Display for CookieExplanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("delegate_cookie: ")?;
        match *self.0 {
            Refusal::Empty => f.write_str("it is empty")?,
            Refusal::Unknown(item) => write!(f, "'{}' is not a number", Printable(item))?,
            Refusal::Overflow(item) => {
                write!(f, "'{}' does not fit into 64 bits", Printable(item))?;
            }
        }
        f.write_str(" (accepted: a number, decimal or hexadecimal after 0x)")
    }
}

/// A refusal as text, for an option of one kind.
pub(crate) struct Explanation<'a, K> {
    refusal: &'a Refusal<'a>,
    _kind: core::marker::PhantomData<K>,
}

impl Refusal<'_> {
    /// Puts the refusal of a cookie into words.
    pub(crate) fn explain_cookie(&self) -> CookieExplanation<'_> {
        CookieExplanation(self)
    }

    /// Puts the refusal into words.
    pub(crate) fn explain<K: Kind>(&self) -> Explanation<'_, K> {
        Explanation {
            refusal: self,
            _kind: core::marker::PhantomData,
        }
    }
}

impl<K: Kind> fmt::Display for Explanation<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", K::OPTION)?;
        match *self.refusal {
            Refusal::Empty => f.write_str("an item is empty")?,
            Refusal::Unknown(item) => {
                let (article, noun) = (K::ARTICLE, K::NOUN);
                write!(f, "'{}' is not {article} {noun}", Printable(item))?;
                if let Some(name) = nearest::<K>(item) {
                    write!(f, ", did you mean '{name}'?")?;
                }
            }
            Refusal::Overflow(item) => {
                write!(f, "'{}' does not fit into 64 bits", Printable(item))?;
            }
        }
        write!(
            f,
            " (accepted: 'any', {} {} without {}, or a mask such as 0x3; \
             several are separated by ':')",
            K::ARTICLE,
            K::NOUN,
            K::PREFIX
        )
    }
}

/// Text from userspace that can be shown: of bounded length, with printable characters only.
pub(crate) struct Printable<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 48;
        for &byte in self.0.iter().take(MOST) {
            match byte {
                b'\'' | b'\\' => write!(f, "\\{}", char::from(byte))?,
                b' '..=b'~' => write!(f, "{}", char::from(byte))?,
                _ => write!(f, "\\x{byte:02x}")?,
            }
        }
        if self.0.len() > MOST {
            f.write_str("...")?;
        }
        Ok(())
    }
}

/// The name that `item` was probably meant to be.
fn nearest<K: Kind>(item: &[u8]) -> Option<&'static str> {
    // Written as in C, with the prefix.
    let bare = match item.split_at_checked(K::PREFIX.len()) {
        Some((prefix, bare)) if prefix.eq_ignore_ascii_case(K::PREFIX.as_bytes()) => bare,
        _ => item,
    };
    K::NAMES
        .all()
        .filter_map(|name| Some((distance(name.as_bytes(), bare, 1 + name.len() / 5)?, name)))
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, name)| name)
}

/// How many bytes must be added, removed or changed to make one text of the other, whatever the
/// case; `None` when they are more than `most`, or one text is too long to be a name.
fn distance(a: &[u8], b: &[u8], most: usize) -> Option<usize> {
    const LONGEST: usize = 40;
    // As many as the difference of the lengths must be added or removed.
    if a.len().abs_diff(b.len()) > most || a.len() >= LONGEST || b.len() >= LONGEST {
        return None;
    }
    // Row by row over the prefixes of `a`: `row[j]` is the distance to the first `j` bytes of `b`.
    let mut row: [usize; LONGEST] = core::array::from_fn(|j| j);
    for (i, &x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(!x.eq_ignore_ascii_case(&y));
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    Some(row[b.len()]).filter(|&distance| distance <= most)
}

#[kunit_tests(bpf_token_parse)]
mod tests {
    use super::*;
    use crate::kind::{
        AttachType,
        Cmd,
        MapType,
        ProgType, //
    };
    use core::fmt::Write;

    /// Text of bounded length, to display into.
    struct Text {
        bytes: [u8; 2048],
        len: usize,
    }

    impl Text {
        fn of(value: &dyn fmt::Display) -> Result<Self, fmt::Error> {
            let mut text = Text {
                bytes: [0; 2048],
                len: 0,
            };
            write!(text, "{value}")?;
            Ok(text)
        }

        fn as_bytes(&self) -> &[u8] {
            &self.bytes[..self.len]
        }
    }

    impl Write for Text {
        fn write_str(&mut self, s: &str) -> fmt::Result {
            let end = self.len + s.len();
            let room = self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?;
            room.copy_from_slice(s.as_bytes());
            self.len = end;
            Ok(())
        }
    }

    /// Whether `mask` is what parsing its display gives.
    fn round_trip<K: Kind>(mask: Mask<K>) -> bool {
        let text = Text::of(&mask);
        text.is_ok_and(|text| {
            let parsed = Mask::<K>::parse(text.as_bytes());
            // `any` stands for the bits that have no name yet, too.
            parsed.is_ok_and(|parsed| match text.as_bytes() {
                b"any" => parsed == Mask::ALL && mask.contains_all(),
                _ => parsed == mask,
            })
        })
    }

    /// The first name of `K` that is not understood as it should be, in lower or upper case.
    fn wrong_name<K: Kind>() -> Option<&'static str> {
        let names = K::NAMES.as_slice().iter().copied();
        names.enumerate().find_map(|(value, name)| {
            let mask = Mask::<K>::from_bits(1 << value);
            let mut upper = [0; 64];
            let upper = &mut upper[..name.len()];
            upper.copy_from_slice(name.as_bytes());
            upper.make_ascii_uppercase();
            let right = Mask::parse(name.as_bytes()) == Ok(mask)
                && Mask::parse(upper) == Ok(mask)
                && Text::of(&mask).is_ok_and(|text| text.as_bytes() == name.as_bytes())
                && round_trip(mask);
            (!right).then_some(name)
        })
    }

    #[test]
    fn every_name_is_understood_and_shown() {
        assert_eq!(wrong_name::<Cmd>(), None);
        assert_eq!(wrong_name::<MapType>(), None);
        assert_eq!(wrong_name::<ProgType>(), None);
        assert_eq!(wrong_name::<AttachType>(), None);
    }

    #[test]
    fn aliases_are_shown_by_the_first_name() {
        let run = Mask::<Cmd>::parse(b"prog_run");
        assert!(run == Mask::parse(b"prog_test_run"));
        assert!(
            Text::of(&run.unwrap_or(Mask::EMPTY)).is_ok_and(|t| t.as_bytes() == b"prog_test_run")
        );
        let maps =
            Mask::<MapType>::parse(b"cgroup_storage:PERCPU_CGROUP_STORAGE").unwrap_or(Mask::EMPTY);
        let shown: &[u8] = b"cgroup_storage_deprecated:percpu_cgroup_storage_deprecated";
        assert!(Text::of(&maps).is_ok_and(|t| t.as_bytes() == shown));
        assert!(Mask::parse(shown) == Ok(maps));
    }

    /// 10,000 masks of a fixed sequence; the first that does not survive.
    fn lost_mask<K: Kind>() -> Option<u64> {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        for _ in 0..10_000 {
            // xorshift64: every state but 0, in an order that mixes dense and sparse masks.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let sparse = state & state.rotate_left(21) & state.rotate_left(42);
            if !round_trip(Mask::<K>::from_bits(state)) || !round_trip(Mask::<K>::from_bits(sparse))
            {
                return Some(state);
            }
        }
        None
    }

    #[test]
    fn masks_survive_display_and_parse() {
        assert_eq!(lost_mask::<Cmd>(), None);
        assert_eq!(lost_mask::<MapType>(), None);
        assert_eq!(lost_mask::<ProgType>(), None);
        assert_eq!(lost_mask::<AttachType>(), None);
    }

    #[test]
    fn items_add_up() {
        let parse = |value| Mask::<Cmd>::parse(value).map(Mask::bits);
        assert!(parse(b"map_create:0x20") == Ok(0x21));
        assert!(parse(b"0x20:map_create") == Ok(0x21));
        assert!(parse(b"0x1:0x2") == Ok(3));
        assert!(parse(b"any:0x1") == Ok(u64::MAX));
        assert!(parse(b"0x1:any") == Ok(u64::MAX));
        assert!(parse(b"map_create:map_create") == Ok(1));
        assert!(parse(b"0:0x0:00") == Ok(0));
    }

    #[test]
    fn numbers_are_those_of_kstrtou64() {
        let parse = |value| Mask::<Cmd>::parse(value).map(Mask::bits);
        assert!(parse(b"0") == Ok(0));
        assert!(parse(b"+5") == Ok(5));
        assert!(parse(b"010") == Ok(8));
        assert!(parse(b"0x1F") == Ok(31));
        assert!(parse(b"+0X1f") == Ok(31));
        assert!(parse(b"7\n") == Ok(7));
        assert!(parse(b"18446744073709551615") == Ok(u64::MAX));
        assert!(parse(b"01777777777777777777777") == Ok(u64::MAX));
        assert!(parse(b"0x0000000000000000000000000001") == Ok(1));
        assert!(parse(b"0xffffffffffffffff") == Ok(u64::MAX));

        for item in [
            &b"18446744073709551616"[..],
            b"0x10000000000000000",
            b"02000000000000000000000",
            b"99999999999999999999999999 and more",
        ] {
            assert!(parse(item) == Err(Refusal::Overflow(item)));
        }
        for item in [
            &b"-1"[..],
            b" 1",
            b"1 ",
            b"++1",
            b"+",
            b"0x",
            b"0xg",
            b"08",
            b"0b1",
            b"0o7",
            b"1\n\n",
            b"\n",
            b"1\r",
            b"1e3",
            b"1.0",
            b"1_000",
            b"\xd9\xa1",
            b"0x1\0",
        ] {
            assert!(parse(item) == Err(Refusal::Unknown(item)));
        }
    }

    #[test]
    fn what_is_malformed_is_refused() {
        let parse = Mask::<MapType>::parse;
        for value in [&b""[..], b":", b"hash:", b":hash", b"hash::array"] {
            assert!(parse(value) == Err(Refusal::Empty));
        }
        for item in [
            &b"hash "[..],
            b" hash",
            b"hash,array",
            b"hash\n",
            b"bpf_map_type_hash",
            b"ANY",
            b"Any",
            b"ringbuff",
            b"map_create",
            b"__max_bpf_map_type",
            b"\xff\xfe",
            b"h\xc3\xa4sh",
        ] {
            assert!(parse(item) == Err(Refusal::Unknown(item)));
        }
        assert!(parse(b"hash:nope:") == Err(Refusal::Unknown(b"nope")));
        assert!(Mask::<Cmd>::parse(b"common_attrs") == Err(Refusal::Unknown(b"common_attrs")));
        assert!(Mask::<Cmd>::parse(b"__max_bpf_cmd") == Err(Refusal::Unknown(b"__max_bpf_cmd")));
    }

    #[test]
    fn near_misses_get_a_proposal() {
        assert_eq!(nearest::<MapType>(b"ringbuff"), Some("ringbuf"));
        assert_eq!(nearest::<MapType>(b"BPF_MAP_TYPE_HASH"), Some("hash"));
        assert_eq!(nearest::<MapType>(b"has"), Some("hash"));
        assert_eq!(nearest::<MapType>(b"sh"), None);
        assert_eq!(nearest::<Cmd>(b"map_craete"), Some("map_create"));
        assert_eq!(nearest::<Cmd>(b"BPF_PROG_LOAD"), Some("prog_load"));
        assert_eq!(nearest::<ProgType>(b"socketfilter"), Some("socket_filter"));
        assert_eq!(nearest::<AttachType>(b"trace_fentri"), Some("trace_fentry"));
        assert_eq!(nearest::<MapType>(b"qwertyuiop"), None);
        assert_eq!(nearest::<MapType>(&[b'a'; 200]), None);
    }

    #[test]
    fn cookies_are_numbers() {
        assert!(parse_cookie(b"7") == Ok(7));
        assert!(parse_cookie(b"0xffffffffffffffff") == Ok(u64::MAX));
        assert!(parse_cookie(b"") == Err(Refusal::Empty));
        assert!(parse_cookie(b"any") == Err(Refusal::Unknown(b"any")));
        let refusal = Refusal::Unknown(b"any");
        let shown = Text::of(&refusal.explain_cookie());
        assert!(shown.is_ok_and(|t| t
            .as_bytes()
            .starts_with(b"delegate_cookie: 'any' is not a number (accepted: ")));
    }

    #[test]
    fn what_is_shown_is_printable() {
        let shown = Text::of(&Printable(b"a\x00\n'\xff\\"));
        assert!(shown.is_ok_and(|t| t.as_bytes() == b"a\\x00\\x0a\\'\\xff\\\\"));
        let longest = Text::of(&Printable(&[b'x'; 48]));
        assert!(longest.is_ok_and(|t| t.as_bytes() == [b'x'; 48]));
        let long = Text::of(&Printable(&[b'x'; 500]));
        assert!(long.is_ok_and(|t| t.len == 51 && t.as_bytes().ends_with(b"x...")));
        let refusal = Refusal::Unknown(b"ringbuff");
        let shown = Text::of(&refusal.explain::<MapType>());
        assert!(shown.is_ok_and(|t| t.as_bytes().starts_with(
            b"delegate_maps: 'ringbuff' is not a map type, did you mean 'ringbuf'? (accepted: "
        )));
        let shown = Text::of(&Refusal::Unknown(b"hash").explain::<AttachType>());
        assert!(shown.is_ok_and(|t| {
            t.as_bytes()
            == b"delegate_attachs: 'hash' is not an attach type (accepted: 'any', an attach type \
                without BPF_, or a mask such as 0x3; several are separated by ':')"
        }));
    }
}
