// SPDX-License-Identifier: GPL-2.0

//! The functions that `kernel/bpf/` calls for the delegation options of the BPF file system.

use crate::{
    bpffs::BpfFs,
    kind::Kind,
    mask::{
        Mask,
        Part, //
    },
    options::Options,
    present::Present,
    remount, //
};
use kernel::{
    bindings,
    fs_context::FsContext,
    prelude::*,
    seq_file::SeqFile,
    seq_print, //
};

/// Writes what an instance delegates as mount options, each preceded by a comma.
fn show_options(m: &SeqFile, present: &Present) {
    show(m, present.cmds.load());
    show(m, present.maps.load());
    show(m, present.progs.load());
    show(m, present.attachs.load());
    if present.cookie() != 0 {
        seq_print!(m, ",delegate_cookie={}", present.cookie());
    }
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
/// `delegate_maps`, 2 for `delegate_progs`, 3 for `delegate_attachs`, 4 for `delegate_cookie`.
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
    // SAFETY: By the requirements of this function; nobody else uses the options of a context that
    // is being configured.
    let (fc, options, value) = unsafe {
        (
            FsContext::from_ptr(fc),
            &mut *Options::in_opts((*fc).s_fs_info.cast()),
            core::slice::from_raw_parts((*param).__bindgen_anon_1.string.cast(), (*param).size),
        )
    };
    match options.parse(fc, which, value) {
        Ok(()) => 0,
        Err(err) => err.to_errno(),
    }
}

/// Remounts a BPF FS with the delegation options of `fc`. Returns 0 or `EPERM`, with the reason in
/// the log of `fc`.
///
/// # Safety
///
/// `fc` must be a context of the BPF file system for a remount, whose super block is held for
/// writing.
#[export]
pub(crate) unsafe extern "C" fn bpf_delegation_reconfigure(fc: *mut bindings::fs_context) -> c_int {
    // SAFETY: By the requirements of this function; nobody changes the options meanwhile.
    let (fc, options) = unsafe {
        (
            FsContext::from_ptr(fc),
            &*Options::in_opts((*fc).s_fs_info.cast()),
        )
    };
    let Some(bpffs) = fc.reconfigured().and_then(BpfFs::from_super_block) else {
        return 0;
    };
    match remount::reconfigure(fc, options, bpffs.present()) {
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
    let (m, present) = unsafe { (SeqFile::from_raw(m), &*Present::in_opts(opts)) };
    show_options(m, present);
}
