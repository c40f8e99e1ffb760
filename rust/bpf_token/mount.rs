// SPDX-License-Identifier: GPL-2.0

//! The delegation options of the BPF file system: set, kept and shown.

use crate::{
    delegation::Delegation,
    kind::Kind,
    mask::{
        Mask,
        Part, //
    },
};
use kernel::{
    bindings,
    capability::{
        self,
        Capability, //
    },
    fs_context::FsContext,
    prelude::*,
    seq_file::SeqFile, //
};

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

/// Writes the delegated masks as mount options, each preceded by a comma.
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

/// Takes one delegation option of a BPF FS: `which` is 0 for `delegate_cmds`, 1 for
/// `delegate_maps`, 2 for `delegate_progs`, 3 for `delegate_attachs`.
///
/// Returns 0, `EINVAL`, `ERANGE` or `EPERM`, with the reason in the log of `fc`.
///
/// # Safety
///
/// `fc` must be a context of the BPF file system that is being configured, and `param` a parameter
/// of it whose value is a string.
#[export]
pub(crate) unsafe extern "C" fn bpf_delegation_parse(
    fc: *mut bindings::fs_context,
    which: u32,
    param: *const bindings::fs_parameter,
) -> c_int {
    // SAFETY: By the requirements of this function; `s_fs_info` of such a context is its
    // `struct bpf_mount_opts`, which nobody else uses while it is being configured.
    let (fc, delegation, value) = unsafe {
        let opts = Delegation::in_opts((*fc).s_fs_info.cast());
        (
            FsContext::from_ptr(fc),
            &mut *opts,
            core::slice::from_raw_parts((*param).__bindgen_anon_1.string.cast(), (*param).size),
        )
    };
    match parse_option(fc, delegation, which, value) {
        Ok(()) => 0,
        Err(err) => err.to_errno(),
    }
}

/// Shows the delegation options of a BPF FS in `/proc/mounts` and its like.
///
/// # Safety
///
/// `m` must be valid and used by this thread only, and `opts` be the options of a BPF FS.
#[export]
pub(crate) unsafe extern "C" fn bpf_delegation_show(
    m: *mut bindings::seq_file,
    opts: *mut bindings::bpf_mount_opts,
) {
    // SAFETY: By the requirements of this function.
    let (m, delegation) = unsafe { (SeqFile::from_raw(m), &*Delegation::in_opts(opts)) };
    show_options(m, delegation);
}
