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
    /// Where the masks are in mount options.
    pub(crate) fn in_opts(opts: *mut bindings::bpf_mount_opts) -> *mut Self {
        opts.wrapping_byte_add(offset_of!(bindings::bpf_mount_opts, delegate_cmds))
            .cast()
    }

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

    /// Whether the `bpf()` command `cmd` is delegated.
    pub(crate) fn cmd(&self, cmd: u32) -> bool {
        self.cmds.contains(cmd)
    }

    /// Whether maps of `map_type` are delegated.
    pub(crate) fn map_type(&self, map_type: u32) -> bool {
        self.maps.contains(map_type)
    }
}

#[kunit_tests(bpf_token_delegation)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_empty_and_permits_nothing() {
        assert!(Delegation::NOTHING.is_empty());
        assert!(!(0..=64).any(|value| Delegation::NOTHING.cmd(value)));
    }

    #[test]
    fn one_bit_is_not_empty() {
        let mut delegation = Delegation::NOTHING;
        delegation.attachs = Mask::from_bits(1 << 63);
        assert!(!delegation.is_empty());
    }
}
