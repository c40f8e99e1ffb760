// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sets of one kind, as the kernel keeps them.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use crate::error::Error;
use crate::grant::Grant;
use crate::kind::Enumerator;
use crate::kind::Kind;

/// A set of one kind: bit `n` stands for the enumerator of value `n`.
///
/// ```
/// use bpf_token::{Cmd, Mask};
/// let mask = Mask::from_iter([Cmd::PROG_LOAD, Cmd::MAP_CREATE]);
/// assert_eq!(mask.bits(), 0x21);
/// assert_eq!(mask.to_string(), "map_create:prog_load");
/// assert_eq!(mask, "prog_load:0x1".parse()?);
/// # Ok::<(), bpf_token::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mask<E> {
    bits: u64,
    of: PhantomData<E>,
}

impl<E: Enumerator> Mask<E> {
    /// Nothing.
    pub const EMPTY: Self = Self::from_bits(0);
    /// Everything, what later kernels add included.
    pub const ANY: Self = Self::from_bits(u64::MAX);
    /// Every value that has a name in Linux 7.3.
    pub const KNOWN: Self = Self::from_bits(E::KIND.known());

    /// The set with these bits.
    pub const fn from_bits(bits: u64) -> Self {
        Self {
            bits,
            of: PhantomData,
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

    /// Whether everything is in the set, what later kernels add included.
    pub const fn is_any(self) -> bool {
        self.bits == u64::MAX
    }

    /// Whether the set has this enumerator.
    pub fn contains(self, one: E) -> bool {
        self.bits & bit(one.value()) != 0
    }

    /// The set with this enumerator added; one of value 64 or more has no bit and changes nothing.
    #[must_use]
    pub fn with(self, one: E) -> Self {
        Self::from_bits(self.bits | bit(one.value()))
    }

    /// The set without this enumerator.
    #[must_use]
    pub fn without(self, one: E) -> Self {
        Self::from_bits(self.bits & !bit(one.value()))
    }

    /// What is in either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self::from_bits(self.bits | other.bits)
    }

    /// What is in both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self::from_bits(self.bits & other.bits)
    }

    /// What is in this set and not in the other.
    #[must_use]
    pub const fn difference(self, other: Self) -> Self {
        Self::from_bits(self.bits & !other.bits)
    }

    /// What is in the set, lowest value first.
    pub fn iter(self) -> impl Iterator<Item = E> {
        values(self.bits).map(E::from_value)
    }
}

/// The set's bit of a value; none from 64 on.
pub(crate) const fn bit(value: u32) -> u64 {
    if value < u64::BITS {
        1 << value
    } else {
        0
    }
}

/// The values in a set, lowest first.
pub(crate) fn values(bits: u64) -> impl Iterator<Item = u32> {
    (0..u64::BITS).filter(move |&value| bits & bit(value) != 0)
}

/// The items of a set: `any`, or the names in enum order and the unnamed rest as hex; nothing for
/// the empty set.
pub(crate) fn items(kind: &Kind, bits: u64) -> Vec<String> {
    if bits == u64::MAX {
        return vec!["any".to_owned()];
    }
    let names = values(bits & kind.known()).map(|value| kind.label(value));
    let rest = bits & !kind.known();
    names
        .chain((rest != 0).then(|| format!("{rest:#x}")))
        .collect()
}

impl<E: Enumerator> Default for Mask<E> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<E: Enumerator> From<E> for Mask<E> {
    /// The set of just this one.
    fn from(one: E) -> Self {
        Self::EMPTY.with(one)
    }
}

impl<E: Enumerator> FromIterator<E> for Mask<E> {
    fn from_iter<I: IntoIterator<Item = E>>(all: I) -> Self {
        all.into_iter().fold(Self::EMPTY, Self::with)
    }
}

impl<E: Enumerator> fmt::Display for Mask<E> {
    /// As a mount option has it: `any`, or the names in enum order and the unnamed rest as hex;
    /// nothing for the empty set.
    ///
    /// The kernel also says `any` where all of its own values are in the set;
    /// [`Kernel::show`](crate::Kernel::show) does, too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&items(E::KIND, self.bits).join(":"))
    }
}

impl<E> fmt::Debug for Mask<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mask({:#x})", self.bits)
    }
}

impl<E: Enumerator> FromStr for Mask<E> {
    type Err = Error;

    /// Reads what the mount options accept, names of Linux 7.3 only; [`Grant`] also takes newer
    /// ones.
    fn from_str(text: &str) -> Result<Self, Error> {
        let grant: Grant<E> = text.parse()?;
        if let Some(name) = grant.newer().next() {
            return Err(Error::Syntax {
                option: E::KIND.option,
                item: name.to_owned(),
                problem: format!(
                    "no {} of Linux 7.3{}",
                    E::KIND.noun,
                    E::KIND.suggestion(name)
                ),
            });
        }
        Ok(grant.mask())
    }
}

#[cfg(feature = "serde")]
impl<E: Enumerator> serde::Serialize for Mask<E> {
    /// A list of the items that [`Display`](fmt::Display) separates by `:`.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(items(E::KIND, self.bits))
    }
}

#[cfg(feature = "serde")]
impl<'de, E: Enumerator> serde::Deserialize<'de> for Mask<E> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let grant = <Grant<E> as serde::Deserialize>::deserialize(deserializer)?;
        if let Some(name) = grant.newer().next() {
            let (noun, close) = (E::KIND.noun, E::KIND.suggestion(name));
            let problem = format!("{name:?}: no {noun} of Linux 7.3{close}");
            return Err(serde::de::Error::custom(problem));
        }
        Ok(grant.mask())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::AttachType;
    use crate::names::Cmd;
    use crate::names::MapType;
    use crate::names::ProgType;

    #[test]
    fn every_name_is_read_back() {
        fn kind<E: Enumerator>() {
            for (value, name) in E::KIND.names.iter().enumerate() {
                let one = Mask::from(E::from_value(value as u32));
                assert_eq!(one.to_string(), *name);
                assert_eq!(name.parse::<Mask<E>>().unwrap(), one);
                assert_eq!(name.to_uppercase().parse::<Mask<E>>().unwrap(), one);
            }
            for &(alias, value) in E::KIND.aliases {
                assert_eq!(E::from_name(alias), Some(E::from_value(value)));
            }
        }
        kind::<Cmd>();
        kind::<MapType>();
        kind::<ProgType>();
        kind::<AttachType>();
    }

    /// All that Linux 7.3 names is not everything: another kernel may have more.
    #[test]
    fn only_all_bits_are_any() {
        assert_eq!(Mask::<Cmd>::ANY.to_string(), "any");
        assert!(Mask::<Cmd>::KNOWN.to_string().ends_with("assoc_struct_ops"));
        assert!(!Mask::<Cmd>::KNOWN.is_any());
    }

    #[test]
    fn display_ends_with_the_unnamed_rest() {
        let mask = Mask::<MapType>::from_bits((1 << 1) | (1 << 62));
        assert_eq!(mask.to_string(), "hash:0x4000000000000000");
        assert_eq!(Mask::<MapType>::EMPTY.to_string(), "");
    }

    #[cfg(feature = "serde")]
    #[test]
    fn json_is_read_back() {
        for bits in [0, u64::MAX, 0x21, (1 << 62) | 2] {
            let mask = Mask::<Cmd>::from_bits(bits);
            let text = serde_json::to_string(&mask).unwrap();
            assert_eq!(serde_json::from_str::<Mask<Cmd>>(&text).unwrap(), mask);
        }
        assert!(serde_json::from_str::<Mask<Cmd>>("[\"teleport\"]").is_err());
    }
}
