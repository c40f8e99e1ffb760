// SPDX-License-Identifier: GPL-2.0

//! What a BPF FS instance delegates, and what a token of it permits.

#![forbid(unsafe_code)]

use crate::{
    kind::{
        AttachType,
        Cmd,
        MapType,
        ProgType, //
    },
    mask::Mask, //
};
use core::mem::offset_of;
use kernel::{
    bindings,
    macros::kunit_tests, //
};

/// The four masks of a BPF FS instance, as `struct bpf_mount_opts` and `struct bpf_token` hold
/// them.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Delegation {
    pub(crate) cmds: Mask<Cmd>,
    pub(crate) maps: Mask<MapType>,
    pub(crate) progs: Mask<ProgType>,
    pub(crate) attachs: Mask<AttachType>,
}

/// `struct bpf_mount_opts` holds the four masks one after the other.
const _: () = {
    let start = offset_of!(bindings::bpf_mount_opts, delegate_cmds);
    assert!(
        offset_of!(bindings::bpf_mount_opts, delegate_maps) - start == offset_of!(Delegation, maps)
    );
    assert!(
        offset_of!(bindings::bpf_mount_opts, delegate_progs) - start
            == offset_of!(Delegation, progs)
    );
    assert!(
        offset_of!(bindings::bpf_mount_opts, delegate_attachs) - start
            == offset_of!(Delegation, attachs)
    );
};

impl Delegation {
    /// Nothing at all.
    pub(crate) const NOTHING: Self = Self {
        cmds: Mask::EMPTY,
        maps: Mask::EMPTY,
        progs: Mask::EMPTY,
        attachs: Mask::EMPTY,
    };

    /// Whether nothing is delegated: no token can be made of this.
    pub(crate) fn is_empty(&self) -> bool {
        self.cmds.is_empty()
            && self.maps.is_empty()
            && self.progs.is_empty()
            && self.attachs.is_empty()
    }
}

impl core::ops::BitAnd for Delegation {
    type Output = Self;

    /// What both delegate.
    #[inline]
    fn bitand(self, other: Self) -> Self {
        Self {
            cmds: self.cmds & other.cmds,
            maps: self.maps & other.maps,
            progs: self.progs & other.progs,
            attachs: self.attachs & other.attachs,
        }
    }
}

/// Permits what is in four masks, which may change from one look to the next.
pub(crate) trait Permits {
    fn cmds(&self) -> Mask<Cmd>;
    fn maps(&self) -> Mask<MapType>;
    fn progs(&self) -> Mask<ProgType>;
    fn attachs(&self) -> Mask<AttachType>;
}

impl Permits for Delegation {
    fn cmds(&self) -> Mask<Cmd> {
        self.cmds
    }

    fn maps(&self) -> Mask<MapType> {
        self.maps
    }

    fn progs(&self) -> Mask<ProgType> {
        self.progs
    }

    fn attachs(&self) -> Mask<AttachType> {
        self.attachs
    }
}

#[kunit_tests(bpf_token_delegation)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_empty_and_permits_nothing() {
        assert!(Delegation::NOTHING.is_empty());
        assert!(!(0..=64).any(|value| Delegation::NOTHING.cmds.contains(value)));
    }

    #[test]
    fn one_bit_is_not_empty() {
        let mut delegation = Delegation::NOTHING;
        delegation.attachs = Mask::from_bits(1 << 63);
        assert!(!delegation.is_empty());
    }

    #[test]
    fn both_delegate_no_more_than_each() {
        let delegation = |bits| Delegation {
            cmds: Mask::from_bits(bits),
            maps: Mask::from_bits(bits << 1),
            progs: Mask::from_bits(bits << 2),
            attachs: Mask::from_bits(bits << 3),
        };
        assert!(delegation(0b110) & delegation(0b011) == delegation(0b010));
        assert!((delegation(0b100) & delegation(0b010)).is_empty());
    }
}
