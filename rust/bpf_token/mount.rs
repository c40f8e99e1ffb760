// SPDX-License-Identifier: GPL-2.0

//! The delegation options of the BPF file system: set, kept and shown.

use crate::{
    delegation::Delegation,
    mask::{
        Kind,
        Mask,
        Part, //
    },
};
use core::mem::offset_of;
use kernel::{
    bindings,
    bpf::bpffs::BpfFs,
    capability::{
        self,
        Capability, //
    },
    fs_context::FsContext,
    prelude::*,
    seq_file::SeqFile, //
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
    // change.
    unsafe { &*from_opts(bpffs.mount_opts().cast_mut()) }
}

/// Where the masks are in mount options.
pub(crate) fn from_opts(opts: *mut bindings::bpf_mount_opts) -> *mut Delegation {
    opts.wrapping_byte_add(offset_of!(bindings::bpf_mount_opts, delegate_cmds))
        .cast()
}

/// Adds to `delegation` what `value` gives to the option that `which` numbers, in the order of the
/// fields.
pub(crate) fn parse_option(
    fc: &FsContext,
    delegation: &mut Delegation,
    which: u32,
    value: &[u8],
) -> Result {
    match which {
        0 => add(fc, &mut delegation.cmds, value),
        1 => add(fc, &mut delegation.maps, value),
        2 => add(fc, &mut delegation.progs, value),
        3 => add(fc, &mut delegation.attachs, value),
        _ => Err(EINVAL),
    }
}

fn add<K: Kind>(fc: &FsContext, mask: &mut Mask<K>, value: &[u8]) -> Result {
    let added = Mask::parse(value).map_err(|refusal| {
        fc.error(format_args!("{}", refusal.explain::<K>()));
        Error::from(&refusal)
    })?;
    // To delegate is to give away what only the initial user namespace has.
    if !added.is_empty() && !capability::capable(Capability::SYS_ADMIN) {
        fc.error(format_args!(
            "{}: to delegate needs CAP_SYS_ADMIN in the initial user namespace",
            K::OPTION
        ));
        return Err(EPERM);
    }
    *mask |= added;
    Ok(())
}

/// Shows what is delegated as mount options, each behind a comma.
pub(crate) fn show_options(m: &SeqFile, delegation: &Delegation) {
    show(m, delegation.cmds);
    show(m, delegation.maps);
    show(m, delegation.progs);
    show(m, delegation.attachs);
}

fn show<K: Kind>(m: &SeqFile, mask: Mask<K>) {
    // As in C, bits that this kernel has no enumerator for are not shown.
    let mut before: &[u8] = b"=";
    let mask = mask.known();
    if mask.is_empty() {
        return;
    }
    m.write(b",");
    m.write(K::OPTION.as_bytes());
    for part in mask.parts() {
        m.write(before);
        match part {
            Part::Any => m.write(b"any"),
            Part::Name(name) => m.write(name.as_bytes()),
            Part::Unnamed(bits) => {
                m.write(b"0x");
                m.put_hex(bits);
            }
        }
        before = b":";
    }
}
