// SPDX-License-Identifier: GPL-2.0

//! Typed sets of commands, map types, program types and attach types.

use crate::names::Names;
use core::{
    fmt,
    marker::PhantomData, //
};

/// What a [`Mask`] is a set of.
pub(crate) trait Kind {
    /// The mount option that sets it.
    const OPTION: &'static str;
    /// What one enumerator is, in words.
    const NOUN: &'static str;
    /// What C writes before the names of its enumerators.
    const PREFIX: &'static str;
    /// The names of its enumerators.
    const NAMES: &'static Names;
}

/// `enum bpf_cmd`.
pub(crate) enum Cmd {}
/// `enum bpf_map_type`.
pub(crate) enum MapType {}
/// `enum bpf_prog_type`.
pub(crate) enum ProgType {}
/// `enum bpf_attach_type`.
pub(crate) enum AttachType {}

/// A set of enumerators of one kind, one bit each.
///
/// Bits above the last enumerator are kept: userspace may be newer than the kernel, and `any` sets
/// them all. They permit nothing.
#[repr(transparent)]
pub(crate) struct Mask<K> {
    bits: u64,
    _kind: PhantomData<K>,
}

impl<K> Clone for Mask<K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Mask<K> {}

impl<K> PartialEq for Mask<K> {
    fn eq(&self, other: &Self) -> bool {
        self.bits == other.bits
    }
}

impl<K> Eq for Mask<K> {}

impl<K> core::ops::BitOrAssign for Mask<K> {
    fn bitor_assign(&mut self, other: Self) {
        self.bits |= other.bits;
    }
}

impl<K> Mask<K> {
    /// Nothing.
    pub(crate) const EMPTY: Self = Self::from_bits(0);
    /// Everything, of this kernel and of later ones.
    pub(crate) const ALL: Self = Self::from_bits(u64::MAX);

    /// The set with these bits.
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self {
            bits,
            _kind: PhantomData,
        }
    }

    /// The bits of the set.
    pub(crate) const fn bits(self) -> u64 {
        self.bits
    }

    /// Whether no bit is set.
    pub(crate) const fn is_empty(self) -> bool {
        self.bits == 0
    }
}

impl<K: Kind> Mask<K> {
    /// The bits that have an enumerator in this kernel.
    const KNOWN: u64 = (1 << K::NAMES.len()) - 1;

    /// Whether the enumerator `value` is in the set. What is no enumerator is in no set.
    pub(crate) const fn contains(self, value: u32) -> bool {
        value < K::NAMES.len() && self.bits & (1 << value) != 0
    }

    /// Whether every enumerator of this kernel is in the set.
    pub(crate) const fn contains_all(self) -> bool {
        self.bits & Self::KNOWN == Self::KNOWN
    }

    /// What of the set this kernel knows.
    pub(crate) const fn known(self) -> Self {
        Self::from_bits(self.bits & Self::KNOWN)
    }

    /// The set in words, in the order of the enum.
    pub(crate) fn parts(self) -> Parts<K> {
        Parts {
            rest: self,
            all: self.contains_all(),
        }
    }
}

/// One word of a [`Mask`] in words.
pub(crate) enum Part {
    /// All that this kernel knows.
    Any,
    /// One enumerator.
    Name(&'static str),
    /// Bits that have no name.
    Unnamed(u64),
}

/// The words of a [`Mask`].
pub(crate) struct Parts<K> {
    rest: Mask<K>,
    all: bool,
}

impl<K: Kind> Iterator for Parts<K> {
    type Item = Part;

    #[inline]
    fn next(&mut self) -> Option<Part> {
        if self.rest.is_empty() {
            return None;
        }
        if self.all {
            self.rest = Mask::EMPTY;
            return Some(Part::Any);
        }
        let lowest = self.rest.bits.trailing_zeros();
        if let Some(name) = K::NAMES.as_slice().get(lowest as usize) {
            self.rest.bits &= self.rest.bits - 1;
            Some(Part::Name(name))
        } else {
            Some(Part::Unnamed(core::mem::take(&mut self.rest.bits)))
        }
    }
}

/// Shows a set as a mount option that gives it: `any`, or names, then what has no name in
/// hexadecimal; an empty set as `0x0`.
impl<K: Kind> fmt::Display for Mask<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("0x0");
        }
        for (i, part) in self.parts().enumerate() {
            if i > 0 {
                f.write_str(":")?;
            }
            match part {
                Part::Any => f.write_str("any")?,
                Part::Name(name) => f.write_str(name)?,
                Part::Unnamed(bits) => write!(f, "{bits:#x}")?,
            }
        }
        Ok(())
    }
}
