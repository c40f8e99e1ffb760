// SPDX-License-Identifier: GPL-2.0
//! The value of one delegation option: a mask, and names that only a newer kernel knows.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;
use crate::mask::Kind;
use crate::mask::Mask;

/// What one mount option delegates.
///
/// Items are separated by `:`. Each is `any`, a name (in any case, without the enumerator's prefix)
/// or a number (decimal, `0x` hex or `0` octal), which is a mask and not a value.
///
/// ```
/// use bpf_token::{Grant, Maps};
/// let grant: Grant<Maps> = "array:RINGBUF:0x2:quantum_map".parse()?;
/// assert_eq!(grant.mask().to_string(), "hash:array:ringbuf");
/// assert_eq!(grant.newer().collect::<Vec<_>>(), ["quantum_map"]);
/// # Ok::<(), bpf_token::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant<K> {
    mask: Mask<K>,
    newer: Vec<String>,
}

impl<K: Kind> Grant<K> {
    /// What is granted of what Linux 7.3 knows.
    pub fn mask(&self) -> Mask<K> {
        self.mask
    }

    /// Names that Linux 7.3 does not have; the running kernel decides on them.
    pub fn newer(&self) -> impl Iterator<Item = &str> {
        self.newer.iter().map(String::as_str)
    }

    /// Whether nothing is granted.
    pub fn is_empty(&self) -> bool {
        self.mask.is_empty() && self.newer.is_empty()
    }

    /// Adds what another grant grants.
    pub fn add(&mut self, other: Self) {
        self.mask = self.mask.union(other.mask);
        for name in other.newer {
            if !self.newer.contains(&name) {
                self.newer.push(name);
            }
        }
    }

    /// The text to give to the kernel.
    ///
    /// It has one number and has it first, because the C implementation of Linux 7.3 forgets what
    /// stands before a number; and it has a number rather than names because a kernel without BTF
    /// only takes numbers.
    pub fn option_value(&self) -> String {
        let mut items = Vec::new();
        if self.mask == Mask::ANY {
            items.push("any".to_owned());
        } else if !self.mask.is_empty() {
            items.push(format!("{:#x}", self.mask.bits()));
        }
        items.extend(self.newer.iter().cloned());
        items.join(":")
    }

    fn item(text: &str) -> Result<Self, Error> {
        let syntax = |problem: String| Error::Syntax {
            option: K::OPTION,
            item: text.to_owned(),
            problem,
        };
        if text == "any" {
            return Ok(Mask::ANY.into());
        }
        if let Some(value) = Mask::<K>::value(text) {
            return Ok(Mask::EMPTY.with(value).into());
        }
        if text.starts_with(|c: char| c.is_ascii_digit() || c == '+') {
            return parse_number(text)
                .map(|bits| Mask::from_bits(bits).into())
                .map_err(|problem| syntax(problem.to_owned()));
        }
        if text.is_empty() {
            return Err(syntax(
                "an item is empty; separate items by one \":\"".to_owned(),
            ));
        }
        if text.eq_ignore_ascii_case("any") {
            return Err(syntax("write \"any\" in lower case".to_owned()));
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(syntax(format!(
                "neither \"any\", the name of a {}, nor a number; separate items by \":\"",
                K::NOUN
            )));
        }
        if let Some(bare) = strip_prefix_any_case(text, K::PREFIX) {
            return Err(syntax(format!(
                "names go without {}: \"{}\"",
                K::PREFIX,
                bare.to_ascii_lowercase()
            )));
        }
        // The C implementation of Linux 7.3 takes its value, 1 << 16, for a command and grants
        // another one.
        if K::OPTION == "delegate_cmds" && text.eq_ignore_ascii_case("common_attrs") {
            return Err(syntax("a flag of bpf(2), not a command".to_owned()));
        }
        Ok(Self {
            mask: Mask::EMPTY,
            newer: vec![text.to_ascii_lowercase()],
        })
    }
}

/// What kstrtou64() with base 0 accepts.
fn parse_number(text: &str) -> Result<u64, &'static str> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    let lower = digits.to_ascii_lowercase();
    let (digits, radix) = match (lower.strip_prefix("0x"), lower.strip_prefix('0')) {
        (Some(hex), _) => (hex, 16),
        (None, Some(octal)) if !octal.is_empty() => (octal, 8),
        _ => (lower.as_str(), 10),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return Err("not a number: write a mask in decimal, 0x hex or 0 octal");
    }
    u64::from_str_radix(digits, radix).map_err(|_| "a mask has 64 bits at most")
}

fn strip_prefix_any_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, tail) = text.split_at_checked(prefix.len())?;
    (head.eq_ignore_ascii_case(prefix) && !tail.is_empty()).then_some(tail)
}

impl<K: Kind> From<Mask<K>> for Grant<K> {
    fn from(mask: Mask<K>) -> Self {
        Self {
            mask,
            newer: Vec::new(),
        }
    }
}

impl<K: Kind> Default for Grant<K> {
    fn default() -> Self {
        Mask::EMPTY.into()
    }
}

impl<K: Kind> FromStr for Grant<K> {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut grant = Self::default();
        for item in text.split(':') {
            grant.add(Self::item(item)?);
        }
        Ok(grant)
    }
}

impl<K: Kind> fmt::Display for Grant<K> {
    /// In names, for people and for the command line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut items = Vec::new();
        if !self.mask.is_empty() {
            items.push(self.mask.to_string());
        }
        items.extend(self.newer.iter().cloned());
        f.pad(&items.join(":"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mask::Attachs;
    use crate::mask::Cmds;
    use crate::mask::Maps;
    use crate::mask::Progs;

    fn cmds(text: &str) -> Result<u64, String> {
        text.parse::<Grant<Cmds>>()
            .map(|grant| grant.mask().bits())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn items_add_up() {
        assert_eq!(cmds("map_create:0x20"), Ok(0x21));
        assert_eq!(cmds("0x1:0x2:4:010"), Ok(0xf));
        assert_eq!(cmds("any:0x1"), Ok(u64::MAX));
        assert_eq!(cmds("MAP_Create:Prog_Run:prog_test_run"), Ok(0x401));
        assert_eq!(cmds("0"), Ok(0));
    }

    #[test]
    fn what_the_kernel_refuses_is_refused_with_a_reason() {
        for (text, reason) in [
            ("", "an item is empty"),
            ("map_create:", "an item is empty"),
            ("0x", "not a number"),
            ("08", "not a number"),
            ("0x1g", "not a number"),
            ("0x10000000000000000", "64 bits at most"),
            ("map_create,prog_load", "separate items by \":\""),
            ("-1", "neither"),
            ("ANY", "lower case"),
            ("BPF_MAP_CREATE", "names go without BPF_: \"map_create\""),
            ("common_attrs", "not a command"),
        ] {
            let error = cmds(text).expect_err(text);
            assert!(error.contains(reason), "{text}: {error}");
            assert!(error.starts_with("delegate_cmds: "), "{error}");
        }
    }

    #[test]
    fn newer_names_reach_the_kernel_as_they_are() {
        let grant: Grant<Progs> = "xdp:Teleport".parse().unwrap();
        assert_eq!(grant.option_value(), "0x40:teleport");
        assert_eq!(grant.to_string(), "xdp:teleport");
        assert!("teleport".parse::<Mask<Progs>>().is_err());
    }

    #[test]
    fn every_name_is_read_back() {
        fn kind<K: Kind>() {
            let any: Mask<K> = Mask::KNOWN;
            assert_eq!(any.to_string(), "any");
            for value in 0..any.iter().count() as u32 {
                let one: Mask<K> = Mask::EMPTY.with(value);
                assert_eq!(one.to_string().parse::<Mask<K>>().unwrap(), one);
                assert_eq!(one.to_string(), K::NAMES[value as usize]);
                let shout = one.to_string().to_uppercase();
                assert_eq!(shout.parse::<Mask<K>>().unwrap(), one);
            }
            for &(alias, value) in K::ALIASES {
                assert_eq!(Mask::<K>::value(alias), Some(value));
            }
        }
        kind::<Cmds>();
        kind::<Maps>();
        kind::<Progs>();
        kind::<Attachs>();
    }

    #[test]
    fn display_ends_with_the_unnamed_rest() {
        let mask = Mask::<Maps>::from_bits((1 << 1) | (1 << 62));
        assert_eq!(mask.to_string(), "hash:0x4000000000000000");
        assert_eq!(Mask::<Maps>::EMPTY.to_string(), "");
    }
}
