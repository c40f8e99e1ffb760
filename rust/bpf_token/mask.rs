// SPDX-License-Identifier: GPL-2.0

//! Typed sets of commands, map types, program types and attach types.

#![forbid(unsafe_code)]

use crate::kind::Kind;
use core::{
    fmt,
    marker::PhantomData, //
};
use kernel::macros::kunit_tests;

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

impl<K> core::ops::BitAnd for Mask<K> {
    type Output = Self;

    #[inline]
    fn bitand(self, other: Self) -> Self {
        Self::from_bits(self.bits & other.bits)
    }
}

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

    /// Returns whether the enumerator `value` is in the set. A value of no enumerator never is.
    pub(crate) const fn contains(self, value: u32) -> bool {
        value < K::NAMES.len() && self.bits & (1 << value) != 0
    }

    /// Whether every enumerator of this kernel is in the set.
    pub(crate) const fn contains_all(self) -> bool {
        self.bits & Self::KNOWN == Self::KNOWN
    }

    /// Returns the bits of the set that this kernel has enumerators for.
    pub(crate) const fn known(self) -> Self {
        Self::from_bits(self.bits & Self::KNOWN)
    }

    /// Iterates over the set as text, in the order of the enum.
    pub(crate) fn parts(self) -> Parts<K> {
        Parts {
            rest: self,
            all: self.contains_all(),
        }
    }
}

/// One item of a [`Mask`] as text.
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

#[kunit_tests(bpf_token_mask)]
mod tests {
    use super::*;
    use crate::kind::{
        AttachType,
        Cmd,
        MapType,
        ProgType, //
    };

    /// Whether the full set of `K` permits each enumerator and nothing else.
    fn permits_what_there_is<K: Kind>() -> bool {
        (0..=70).all(|value| Mask::<K>::ALL.contains(value) == (value < K::NAMES.len()))
    }

    #[test]
    fn all_permits_each_enumerator_and_nothing_else() {
        assert!(permits_what_there_is::<Cmd>());
        assert!(permits_what_there_is::<MapType>());
        assert!(permits_what_there_is::<ProgType>());
        assert!(permits_what_there_is::<AttachType>());
        assert!(!Mask::<Cmd>::ALL.contains(u32::MAX));
    }

    #[test]
    fn all_that_is_known_is_any() {
        let known = Mask::<MapType>::ALL.known();
        assert!(known.contains_all());
        assert!(matches!(known.parts().next(), Some(Part::Any)));
        let less = Mask::<MapType>::from_bits(known.bits() >> 1);
        assert!(!less.contains_all());
        assert_eq!(less.parts().count(), MapType::NAMES.len() as usize - 1);
    }

    #[test]
    fn what_has_no_name_comes_last() {
        let mask = Mask::<ProgType>::from_bits(1 << 63 | 1 << 40 | 1 << 2);
        let mut parts = mask.parts();
        assert!(matches!(parts.next(), Some(Part::Name("kprobe"))));
        assert!(matches!(parts.next(), Some(Part::Unnamed(bits)) if bits == 1 << 63 | 1 << 40));
        assert!(parts.next().is_none());
        assert!(mask.known() == Mask::from_bits(1 << 2));
    }

    #[test]
    fn the_empty_set_has_no_parts() {
        assert!(Mask::<Cmd>::EMPTY.parts().next().is_none());
        assert!(Mask::<Cmd>::EMPTY.is_empty());
    }
}
