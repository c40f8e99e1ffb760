// SPDX-License-Identifier: MIT OR Apache-2.0
//! The four kinds of things that a BPF FS can delegate: commands, map types, program types, attach
//! types.

use std::fmt;
use std::hash::Hash;

use crate::names;

pub(crate) mod private {
    pub trait Sealed {}
}

/// One of the four kinds, without its type: what is needed to walk them.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Kind {
    /// The mount option that delegates this kind, such as `delegate_cmds`.
    pub option: &'static str,
    /// Its short name, such as `cmds`: the option of `bpftoken run`, and the key in JSON.
    pub key: &'static str,
    /// The prefix of the enumerators in `include/uapi/linux/bpf.h`, which options leave out.
    pub prefix: &'static str,
    /// What one of the kind is called in messages, such as `map type`.
    pub noun: &'static str,
    /// The enum in `include/uapi/linux/bpf.h`, such as `bpf_cmd`.
    pub enumeration: &'static str,
    /// The names of Linux 7.3 by value, in the spelling of the mount options.
    pub names: &'static [&'static str],
    /// Further names of values that `names` has already.
    pub aliases: &'static [(&'static str, u32)],
}

impl Kind {
    /// All four, in the order in which everything shows them.
    pub const ALL: [&'static Kind; 4] = [
        names::Cmd::KIND,
        names::MapType::KIND,
        names::ProgType::KIND,
        names::AttachType::KIND,
    ];

    /// The bits of every value that has a name in Linux 7.3.
    pub const fn known(&self) -> u64 {
        (1 << self.names.len()) - 1
    }

    /// The name of a value, if Linux 7.3 has one.
    pub fn name(&self, value: u32) -> Option<&'static str> {
        self.names.get(usize::try_from(value).ok()?).copied()
    }

    /// The name of a value, or its number.
    pub fn label(&self, value: u32) -> String {
        self.name(value)
            .map_or_else(|| value.to_string(), str::to_owned)
    }

    /// The value of a name, in any case and without the prefix.
    pub fn value(&self, name: &str) -> Option<u32> {
        let named = |known: &&str| known.eq_ignore_ascii_case(name);
        if let Some(value) = self.names.iter().position(named) {
            return u32::try_from(value).ok();
        }
        let alias = self.aliases.iter().find(|(alias, _)| named(alias));
        alias.map(|&(_, value)| value)
    }

    /// The name of Linux 7.3 that is closest to one that is none, if it is close.
    ///
    /// ```
    /// use bpf_token::{Enumerator, MapType};
    /// assert_eq!(MapType::KIND.closest("ring_buf"), Some("ringbuf"));
    /// assert_eq!(MapType::KIND.closest("teleport"), None);
    /// ```
    pub fn closest(&self, name: &str) -> Option<&'static str> {
        closest(name, self.all_names())
    }

    /// Which name may have been meant by one that is none, as the end of a message; empty if none is
    /// close.
    pub(crate) fn suggestion(&self, name: &str) -> String {
        self.closest(name)
            .map_or_else(String::new, |close| format!(" (is \"{close}\" meant?)"))
    }

    /// The names and the aliases of Linux 7.3.
    pub(crate) fn all_names(&self) -> impl Iterator<Item = &'static str> {
        let aliases = self.aliases.iter().map(|&(alias, _)| alias);
        self.names.iter().copied().chain(aliases)
    }
}

/// The one of these words that is closest to another, if it is close.
pub(crate) fn closest<'a>(word: &str, all: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    let far = |other: &str| distance(&word, &other.to_ascii_lowercase());
    let best = all.into_iter().min_by_key(|other| far(other))?;
    (far(best) <= 2.max(word.len() / 4)).then_some(best)
}

/// The Levenshtein distance: how many bytes to insert, delete or replace.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// One of a kind: a [`Cmd`](crate::Cmd), [`MapType`](crate::MapType),
/// [`ProgType`](crate::ProgType) or [`AttachType`](crate::AttachType).
///
/// What Linux 7.3 names is a constant. Any number can be given, for newer kernels.
///
/// ```
/// use bpf_token::{Enumerator, ProgType};
/// assert_eq!(ProgType::XDP.value(), 6);
/// assert_eq!(ProgType::XDP.to_string(), "xdp");
/// assert_eq!(ProgType::from_value(60).to_string(), "60");
/// ```
pub trait Enumerator:
    private::Sealed + Copy + Eq + Ord + Hash + fmt::Debug + fmt::Display + Send + Sync + 'static
{
    /// The kind that this is one of.
    const KIND: &'static Kind;

    /// The enumerator of this value.
    fn from_value(value: u32) -> Self;

    /// The value.
    fn value(self) -> u32;

    /// The name, if Linux 7.3 has one.
    fn name(self) -> Option<&'static str> {
        Self::KIND.name(self.value())
    }

    /// The enumerator of this name, in any case and without the prefix.
    fn from_name(name: &str) -> Option<Self> {
        Self::KIND.value(name).map(Self::from_value)
    }
}

/// The lower-case copy of a string of `N` bytes.
pub(crate) const fn lower<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    let mut at = 0;
    while at < N {
        bytes[at] = text.as_bytes()[at].to_ascii_lowercase();
        at += 1;
    }
    bytes
}

/// The string of ASCII bytes.
pub(crate) const fn ascii(bytes: &'static [u8]) -> &'static str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => panic!("not ASCII"),
    }
}

/// Defines the type of one kind: a constant for each name, in the order of the enum; and aliases.
macro_rules! enumerators {
    (
        $(#[$doc:meta])*
        $type:ident, $option:literal, $key:literal, $enum:literal, $prefix:literal, $noun:literal;
        $($name:ident)*; $($alias:ident = $value:literal,)*
    ) => {
        $(#[$doc])*
        ///
        /// Has a constant for each name of Linux 7.3.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(u32);

        const _: () = {
            #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
            enum Position { $($name),* }

            impl $type {
                $(
                    #[doc = concat!("`", $prefix, stringify!($name), "`")]
                    pub const $name: Self = Self(Position::$name as u32);
                )*
                $(
                    #[doc = concat!("`", $prefix, stringify!($alias), "`")]
                    pub const $alias: Self = Self($value);
                )*

                /// The enumerator of this value, in constants;
                /// [`from_value`](crate::Enumerator::from_value) elsewhere.
                pub const fn new(value: u32) -> Self {
                    Self(value)
                }
            }
        };

        impl crate::kind::private::Sealed for $type {}

        impl crate::kind::Enumerator for $type {
            const KIND: &'static crate::kind::Kind = &crate::kind::Kind {
                option: $option,
                key: $key,
                prefix: $prefix,
                noun: $noun,
                enumeration: $enum,
                names: &[$(enumerators!(@lower $name)),*],
                aliases: &[$((enumerators!(@lower $alias), $value)),*],
            };

            fn from_value(value: u32) -> Self {
                Self(value)
            }

            fn value(self) -> u32 {
                self.0
            }
        }

        impl std::fmt::Display for $type {
            /// The name, or the number of a value that Linux 7.3 does not name.
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&<Self as crate::kind::Enumerator>::KIND.label(self.0))
            }
        }
    };
    (@lower $name:ident) => {{
        const BYTES: &[u8] = &crate::kind::lower::<{ stringify!($name).len() }>(stringify!($name));
        crate::kind::ascii(BYTES)
    }};
}
pub(crate) use enumerators;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::AttachType;
    use crate::names::Cmd;
    use crate::names::MapType;

    #[test]
    fn constants_have_their_values() {
        assert_eq!(Cmd::PROG_LOAD.value(), 5);
        assert_eq!(Cmd::PROG_RUN, Cmd::PROG_TEST_RUN);
        assert_eq!(MapType::RINGBUF.value(), 27);
        assert_eq!(AttachType::XDP.to_string(), "xdp");
        assert_eq!(Cmd::from_name("Prog_Run"), Some(Cmd::PROG_TEST_RUN));
        assert_eq!(MapType::new(99).to_string(), "99");
    }

    #[test]
    fn close_names_are_suggested() {
        assert_eq!(MapType::KIND.closest("lpmtrie"), Some("lpm_trie"));
        assert_eq!(MapType::KIND.closest("Ring_Buf"), Some("ringbuf"));
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
