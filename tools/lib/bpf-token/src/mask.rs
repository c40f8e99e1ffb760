// SPDX-License-Identifier: GPL-2.0
//! Typed sets of what can be delegated: commands, map types, program types, attach types.

use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;
use std::str::FromStr;

use crate::error::Error;
use crate::names;

mod private {
    pub trait Sealed {}
}

/// One of the four kinds of things that a BPF FS can delegate.
pub trait Kind: private::Sealed + Copy + fmt::Debug + Eq + Hash + 'static {
    /// The mount option that delegates this kind, such as `delegate_cmds`.
    const OPTION: &'static str;
    /// The prefix of the enumerators in `include/uapi/linux/bpf.h`, which options leave out.
    const PREFIX: &'static str;
    /// What one of the set is called in messages.
    const NOUN: &'static str;
    /// The names by value, in the options' spelling.
    const NAMES: &'static [&'static str];
    /// Further names of values that [`Self::NAMES`] has already.
    const ALIASES: &'static [(&'static str, u32)] = &[];
}

macro_rules! kind {
    ($(#[$doc:meta])* $kind:ident, $option:literal, $prefix:literal, $noun:literal, $names:ident
     $(, $aliases:ident)?) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $kind {}
        impl private::Sealed for $kind {}
        impl Kind for $kind {
            const OPTION: &'static str = $option;
            const PREFIX: &'static str = $prefix;
            const NOUN: &'static str = $noun;
            const NAMES: &'static [&'static str] = names::$names;
            $(const ALIASES: &'static [(&'static str, u32)] = names::$aliases;)?
        }
    };
}

kind!(
    /// `enum bpf_cmd`.
    Cmds, "delegate_cmds", "BPF_", "command", CMDS, CMD_ALIASES
);
kind!(
    /// `enum bpf_map_type`.
    Maps, "delegate_maps", "BPF_MAP_TYPE_", "map type", MAPS, MAP_ALIASES
);
kind!(
    /// `enum bpf_prog_type`.
    Progs, "delegate_progs", "BPF_PROG_TYPE_", "program type", PROGS
);
kind!(
    /// `enum bpf_attach_type`.
    Attachs, "delegate_attachs", "BPF_", "attach type", ATTACHS
);

/// A set of one kind, as the kernel keeps it: bit `n` stands for the enumerator of value `n`.
///
/// ```
/// use bpf_token::{Cmds, Mask};
/// let mask: Mask<Cmds> = "prog_load:map_create".parse()?;
/// assert_eq!(mask.bits(), 0x21);
/// assert_eq!(mask.to_string(), "map_create:prog_load");
/// # Ok::<(), bpf_token::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mask<K> {
    bits: u64,
    kind: PhantomData<K>,
}

impl<K: Kind> Mask<K> {
    /// Nothing.
    pub const EMPTY: Self = Self::from_bits(0);
    /// Everything, what later kernels add included.
    pub const ANY: Self = Self::from_bits(u64::MAX);
    /// Every value that has a name in Linux 7.3.
    pub const KNOWN: Self = Self::from_bits((1 << K::NAMES.len()) - 1);

    /// The set with these bits.
    pub const fn from_bits(bits: u64) -> Self {
        Self {
            bits,
            kind: PhantomData,
        }
    }

    /// The bits, as `struct bpf_token_info` has them.
    pub const fn bits(self) -> u64 {
        self.bits
    }

    /// Whether nothing is in the set.
    pub const fn is_empty(self) -> bool {
        self.bits == 0
    }

    /// Whether every value that Linux 7.3 names is in the set: the kernel shows `any`.
    pub const fn is_any(self) -> bool {
        self.bits & Self::KNOWN.bits == Self::KNOWN.bits
    }

    /// Whether the enumerator of this value is in the set.
    pub const fn contains(self, value: u32) -> bool {
        value < u64::BITS && self.bits & (1 << value) != 0
    }

    /// The set with the enumerator of this value added; a value of 64 or more has no bit and
    /// changes nothing.
    #[must_use]
    pub const fn with(self, value: u32) -> Self {
        if value < u64::BITS {
            Self::from_bits(self.bits | (1 << value))
        } else {
            self
        }
    }

    /// What is in either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self::from_bits(self.bits | other.bits)
    }

    /// What is in this set and not in the other.
    #[must_use]
    pub const fn difference(self, other: Self) -> Self {
        Self::from_bits(self.bits & !other.bits)
    }

    /// The values in the set, lowest first.
    pub fn iter(self) -> impl Iterator<Item = u32> {
        (0..u64::BITS).filter(move |&value| self.contains(value))
    }

    /// The name of a value, if Linux 7.3 has one.
    pub fn name(value: u32) -> Option<&'static str> {
        K::NAMES.get(usize::try_from(value).ok()?).copied()
    }

    /// The name of a value, or its number.
    pub fn label(value: u32) -> String {
        Self::name(value).map_or_else(|| value.to_string(), str::to_owned)
    }

    /// The value of a name, in any case and without the prefix.
    pub fn value(name: &str) -> Option<u32> {
        let by_table = K::NAMES.iter().position(|n| n.eq_ignore_ascii_case(name));
        by_table
            .and_then(|value| u32::try_from(value).ok())
            .or_else(|| {
                let alias = K::ALIASES
                    .iter()
                    .find(|(n, _)| n.eq_ignore_ascii_case(name));
                alias.map(|&(_, value)| value)
            })
    }
}

impl<K: Kind> Default for Mask<K> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<K: Kind> FromIterator<u32> for Mask<K> {
    fn from_iter<I: IntoIterator<Item = u32>>(values: I) -> Self {
        values.into_iter().fold(Self::EMPTY, Self::with)
    }
}

impl<K: Kind> fmt::Display for Mask<K> {
    /// As `/proc/mounts` shows it: `any`, or the names in enum order and the unnamed rest as hex;
    /// nothing for the empty set.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_any() {
            return f.pad("any");
        }
        let mut items: Vec<String> = self
            .iter()
            .filter_map(|value| Self::name(value).map(str::to_owned))
            .collect();
        let rest = self.difference(Self::KNOWN);
        if !rest.is_empty() {
            items.push(format!("{:#x}", rest.bits));
        }
        f.pad(&items.join(":"))
    }
}

impl<K> fmt::Debug for Mask<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mask({:#x})", self.bits)
    }
}

impl<K: Kind> FromStr for Mask<K> {
    type Err = Error;

    /// Reads what the mount options accept, names of Linux 7.3 only; [`Grant`](crate::Grant) also
    /// takes newer ones.
    fn from_str(text: &str) -> Result<Self, Error> {
        let grant: crate::Grant<K> = text.parse()?;
        if let Some(name) = grant.newer().next() {
            return Err(Error::Syntax {
                option: K::OPTION,
                item: name.to_owned(),
                problem: format!("no {} of Linux 7.3", K::NOUN),
            });
        }
        Ok(grant.mask())
    }
}

#[cfg(feature = "serde")]
impl<K: Kind> serde::Serialize for Mask<K> {
    /// `"any"`, or a list of names and, for values without one, numbers.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.is_any() {
            return serializer.serialize_str("any");
        }
        serializer.collect_seq(self.iter().map(Self::label))
    }
}
