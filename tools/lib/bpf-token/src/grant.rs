// SPDX-License-Identifier: MIT OR Apache-2.0
//! The value of one delegation option: a mask, and names that only a newer kernel knows.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use crate::error::Error;
use crate::kind::Enumerator;
use crate::kind::Kind;
use crate::mask::bit;
use crate::mask::items;
use crate::mask::Mask;

/// What one mount option delegates.
///
/// Items are separated by `:` or `,`. Each is `any`, a name (in any case, without the enumerator's prefix)
/// or a number (decimal, `0x` hex or `0` octal), which is a mask and not a value.
///
/// ```
/// use bpf_token::{Grant, MapType};
/// let grant: Grant<MapType> = "array:RINGBUF:0x2:quantum_map".parse()?;
/// assert_eq!(grant.mask().to_string(), "hash:array:ringbuf");
/// assert_eq!(grant.newer().collect::<Vec<_>>(), ["quantum_map"]);
/// # Ok::<(), bpf_token::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant<E> {
    pub(crate) items: Items,
    of: PhantomData<E>,
}

/// A [`Grant`] without the type of its kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Items {
    /// What is granted of what Linux 7.3 knows, and all bits that were given as a number.
    pub(crate) bits: u64,
    /// Which of it must exist, because it was asked for by name.
    pub(crate) named: u64,
    /// Names that Linux 7.3 does not have.
    pub(crate) newer: Vec<String>,
}

impl<E: Enumerator> Grant<E> {
    /// What is granted of what Linux 7.3 knows.
    pub fn mask(&self) -> Mask<E> {
        Mask::from_bits(self.items.bits)
    }

    /// Names that Linux 7.3 does not have; the running kernel decides on them.
    pub fn newer(&self) -> impl Iterator<Item = &str> {
        self.items.newer.iter().map(String::as_str)
    }

    /// Whether nothing is granted.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Adds what another grant grants.
    pub fn add(&mut self, other: Self) {
        self.items.add(other.items);
    }

    /// The text to give to the kernel.
    ///
    /// It has one number and has it first, because the C implementation of Linux 7.3 forgets what
    /// stands before a number; and it has a number rather than names because a kernel without BTF
    /// only takes numbers.
    pub fn option_value(&self) -> String {
        self.items.option_value()
    }
}

/// How it was asked for makes no difference to what is granted.
impl PartialEq for Items {
    fn eq(&self, other: &Self) -> bool {
        self.bits == other.bits && self.newer == other.newer
    }
}

impl Eq for Items {}

impl Items {
    pub(crate) fn is_empty(&self) -> bool {
        self.bits == 0 && self.newer.is_empty()
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.bits |= other.bits;
        self.named |= other.named;
        for name in other.newer {
            if !self.newer.contains(&name) {
                self.newer.push(name);
            }
        }
    }

    /// What is in both.
    pub(crate) fn intersection(&self, other: &Self) -> Self {
        let has = |set: &Self, name: &String| set.bits == u64::MAX || set.newer.contains(name);
        let mut newer: Vec<String> = Vec::new();
        for name in self.newer.iter().chain(&other.newer) {
            if has(self, name) && has(other, name) && !newer.contains(name) {
                newer.push(name.clone());
            }
        }
        Self {
            bits: self.bits & other.bits,
            named: self.named & other.bits,
            newer,
        }
    }

    /// What is in this and not in the other.
    pub(crate) fn difference(&self, other: &Self) -> Self {
        let beyond = |name: &&String| other.bits != u64::MAX && !other.newer.contains(name);
        Self {
            bits: self.bits & !other.bits,
            named: self.named & !other.bits,
            newer: self.newer.iter().filter(beyond).cloned().collect(),
        }
    }

    pub(crate) fn option_value(&self) -> String {
        let number = match self.bits {
            0 => None,
            u64::MAX => Some("any".to_owned()),
            bits => Some(format!("{bits:#x}")),
        };
        let items: Vec<String> = number.into_iter().chain(self.newer.clone()).collect();
        items.join(":")
    }

    /// The items in names, for people and for the command line.
    pub(crate) fn names(&self, kind: &Kind) -> Vec<String> {
        let mut all = items(kind, self.bits);
        all.extend(self.newer.iter().cloned());
        all
    }

    /// What may have been meant by names that Linux 7.3 does not have.
    pub(crate) fn suggestion(&self, kind: &Kind) -> Option<String> {
        let close = self.newer.iter().filter_map(|name| {
            let close = kind.closest(name)?;
            Some(format!("for \"{name}\", is \"{close}\" meant?"))
        });
        let close: Vec<String> = close.collect();
        (!close.is_empty()).then(|| close.join(" "))
    }

    pub(crate) fn parse(kind: &'static Kind, text: &str) -> Result<Self, Error> {
        let mut all = Self::default();
        for item in text.split([':', ',']) {
            all.add(Self::parse_item(kind, item.trim())?);
        }
        Ok(all)
    }

    fn parse_item(kind: &'static Kind, text: &str) -> Result<Self, Error> {
        let syntax = |problem: String| Error::Syntax {
            option: kind.option,
            item: text.to_owned(),
            problem,
        };
        if text == "any" {
            return Ok(Self::number(u64::MAX));
        }
        if let Some(value) = kind.value(text) {
            return Ok(Self::named(bit(value)));
        }
        if text.starts_with(|c: char| c.is_ascii_digit() || c == '+') {
            return parse_number(text)
                .map(Self::number)
                .map_err(|problem| syntax(problem.to_owned()));
        }
        if text.is_empty() {
            return Err(syntax(
                "an item is empty; separate items by one \":\" or \",\"".to_owned(),
            ));
        }
        if text.eq_ignore_ascii_case("any") {
            return Err(syntax("write \"any\" in lower case".to_owned()));
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(syntax(format!(
                "neither \"any\", the name of a {}, nor a number; separate items by \":\" or \",\"{}",
                kind.noun,
                kind.suggestion(text)
            )));
        }
        if let Some(bare) = strip_prefix_any_case(text, kind.prefix) {
            return Err(syntax(format!(
                "names go without {}: \"{}\"",
                kind.prefix,
                bare.to_ascii_lowercase()
            )));
        }
        // The C implementation of Linux 7.3 takes its value, 1 << 16, for a command and grants
        // another one.
        if kind.option == "delegate_cmds" && text.eq_ignore_ascii_case("common_attrs") {
            return Err(syntax("a flag of bpf(2), not a command".to_owned()));
        }
        Ok(Self {
            newer: vec![text.to_ascii_lowercase()],
            ..Self::default()
        })
    }

    /// Whether a text can be no other than an item of this kind, or several.
    pub(crate) fn is_one_of(kind: &'static Kind, text: &str) -> bool {
        Self::parse(kind, text).is_ok_and(|items| items.newer.is_empty())
    }

    fn number(bits: u64) -> Self {
        Self {
            bits,
            ..Self::default()
        }
    }

    fn named(bits: u64) -> Self {
        Self {
            bits,
            named: bits,
            newer: Vec::new(),
        }
    }
}

/// What kstrtou64() with base 0 accepts.
pub(crate) fn parse_number(text: &str) -> Result<u64, &'static str> {
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

impl<E: Enumerator> From<Items> for Grant<E> {
    fn from(items: Items) -> Self {
        Self {
            items,
            of: PhantomData,
        }
    }
}

impl<E: Enumerator> From<Mask<E>> for Grant<E> {
    /// Grants what is in the set. What is not [`Mask::ANY`] must exist in the running kernel.
    fn from(mask: Mask<E>) -> Self {
        let items = if mask.is_any() {
            Items::number(u64::MAX)
        } else {
            Items::named(mask.bits())
        };
        items.into()
    }
}

impl<E: Enumerator> From<E> for Grant<E> {
    /// Grants just this one.
    fn from(one: E) -> Self {
        Mask::from(one).into()
    }
}

impl<E: Enumerator, const N: usize> From<[E; N]> for Grant<E> {
    /// Grants these.
    fn from(all: [E; N]) -> Self {
        Mask::from_iter(all).into()
    }
}

impl<E: Enumerator> Default for Grant<E> {
    fn default() -> Self {
        Items::default().into()
    }
}

impl<E: Enumerator> FromStr for Grant<E> {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Items::parse(E::KIND, text).map(Self::from)
    }
}

impl<E: Enumerator> fmt::Display for Grant<E> {
    /// In names, for people and for the command line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.items.names(E::KIND).join(":"))
    }
}

#[cfg(feature = "serde")]
impl<E: Enumerator> serde::Serialize for Grant<E> {
    /// A list of the items that [`Display`](fmt::Display) separates by `:`.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.items.names(E::KIND))
    }
}

#[cfg(feature = "serde")]
impl<'de, E: Enumerator> serde::Deserialize<'de> for Grant<E> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let items = <Vec<String> as serde::Deserialize>::deserialize(deserializer)?;
        let mut all = Items::default();
        for item in items {
            all.add(Items::parse(E::KIND, &item).map_err(serde::de::Error::custom)?);
        }
        Ok(all.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Cmd;
    use crate::names::ProgType;

    fn cmds(text: &str) -> Result<u64, String> {
        text.parse::<Grant<Cmd>>()
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
        assert_eq!(cmds("map_create,prog_load:0x2, 0x4"), Ok(0x27));
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
            ("map_create;prog_load", "separate items by \":\" or \",\""),
            ("map-create", "(is \"map_create\" meant?)"),
            ("map_create,", "an item is empty"),
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
        let grant: Grant<ProgType> = "xdp:Teleport".parse().unwrap();
        assert_eq!(grant.option_value(), "0x40:teleport");
        assert_eq!(grant.to_string(), "xdp:teleport");
        assert!("teleport".parse::<Mask<ProgType>>().is_err());
    }
}
