// SPDX-License-Identifier: GPL-2.0

//! Typed sets of commands, map types, program types and attach types.

use crate::names::Names;
use core::marker::PhantomData;

/// What a [`Mask`] is a set of.
pub(crate) trait Kind {
    /// The mount option that sets it.
    const OPTION: &'static str;
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

impl<K> core::ops::BitOr for Mask<K> {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self::from_bits(self.bits | other.bits)
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
    pub(crate) const KNOWN: u64 = (1 << K::NAMES.len()) - 1;

    /// Whether the enumerator `value` is in the set. What is no enumerator is in no set.
    pub(crate) const fn contains(self, value: u32) -> bool {
        value < K::NAMES.len() && self.bits & (1 << value) != 0
    }

    /// Whether every enumerator of this kernel is in the set.
    pub(crate) const fn contains_all(self) -> bool {
        self.bits & Self::KNOWN == Self::KNOWN
    }
}
