// SPDX-License-Identifier: GPL-2.0

//! What an instance of the BPF file system delegates at present: a remount can change it.

#![forbid(unsafe_code)]

use crate::{
    delegation::Delegation,
    kind::{
        AttachType,
        Cmd,
        MapType,
        ProgType, //
    },
    mask::Mask, //
};
use core::{
    marker::PhantomData,
    mem::offset_of, //
};
use kernel::{
    bindings,
    sync::atomic::{
        ordering::Relaxed,
        Atomic, //
    },
};

/// A [`Mask`] that is read while a remount writes it, without tearing.
///
/// Nothing is ordered by it: a remount holds `s_umount` and releases it before it returns, so who
/// knows of its end sees what it wrote.
#[repr(transparent)]
pub(crate) struct AtomicMask<K> {
    bits: Atomic<u64>,
    _kind: PhantomData<K>,
}

impl<K> AtomicMask<K> {
    #[inline]
    pub(crate) fn load(&self) -> Mask<K> {
        Mask::from_bits(self.bits.load(Relaxed))
    }

    #[inline]
    pub(crate) fn store(&self, mask: Mask<K>) {
        self.bits.store(mask.bits(), Relaxed);
    }
}

/// The four masks of a BPF FS instance and its cookie, as `struct bpf_mount_opts` holds them.
#[repr(C)]
pub(crate) struct Present {
    pub(crate) cmds: AtomicMask<Cmd>,
    pub(crate) maps: AtomicMask<MapType>,
    pub(crate) progs: AtomicMask<ProgType>,
    pub(crate) attachs: AtomicMask<AttachType>,
    cookie: u64,
}

const _: () = {
    let start = offset_of!(bindings::bpf_mount_opts, delegate_cmds);
    assert!(
        offset_of!(bindings::bpf_mount_opts, delegate_maps) - start == offset_of!(Present, maps)
    );
    assert!(
        offset_of!(bindings::bpf_mount_opts, delegate_progs) - start == offset_of!(Present, progs)
    );
    assert!(
        offset_of!(bindings::bpf_mount_opts, delegate_attachs) - start
            == offset_of!(Present, attachs)
    );
    assert!(
        offset_of!(bindings::bpf_mount_opts, delegate_cookie) - start
            == offset_of!(Present, cookie)
    );
};

impl Present {
    /// Where this is in mount options.
    #[inline]
    pub(crate) fn in_opts(opts: *const bindings::bpf_mount_opts) -> *const Self {
        opts.wrapping_byte_add(offset_of!(bindings::bpf_mount_opts, delegate_cmds))
            .cast()
    }

    /// Returns the four masks. Each is of the moment when it is read.
    #[inline]
    pub(crate) fn load(&self) -> Delegation {
        Delegation {
            cmds: self.cmds.load(),
            maps: self.maps.load(),
            progs: self.progs.load(),
            attachs: self.attachs.load(),
        }
    }

    /// Returns the number that the manager gave the instance, 0 if it gave none.
    #[inline]
    pub(crate) fn cookie(&self) -> u64 {
        self.cookie
    }
}
