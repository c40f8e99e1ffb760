// SPDX-License-Identifier: GPL-2.0

//! The delegation options of the BPF file system.

use crate::delegation::Delegation;
use core::mem::offset_of;
use kernel::{
    bindings,
    bpf::bpffs::BpfFs, //
};

/// `struct bpf_mount_opts` holds the four masks one after the other, as [`Delegation`] does.
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

/// What an instance of the BPF file system delegates.
pub(crate) fn delegation(bpffs: &BpfFs) -> &Delegation {
    // SAFETY: The mount options live as long as their super block, and the masks in them do not
    // change; that they have the layout of `Delegation` is asserted above.
    unsafe { &*(&raw const (*bpffs.mount_opts()).delegate_cmds).cast() }
}
