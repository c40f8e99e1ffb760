// SPDX-License-Identifier: GPL-2.0

//! What `kernel/bpf/` calls for its commands and for the BPF file system, declared in
//! [`include/linux/bpf_token.h`](srctree/include/linux/bpf_token.h).

use crate::{
    admission::{
        self,
        admit,
        Admitted, //
    },
    mount,
    reason::Purpose,
    refusal::Asked,
    request::{
        BtfGetFdById,
        BtfLoad,
        MapCreate,
        ProgLoad, //
    },
    token::Token, //
};
use kernel::{
    bindings,
    bpf::log::{
        CommonLog,
        Log,
        LogAttr,
        VerifierLog, //
    },
    capability::Capability,
    ffi::c_int,
    fs_context::FsContext,
    prelude::*,
    seq_file::SeqFile, //
};

/// `BPF_TOKEN_CREATE`: the same, with a reason in the log of the common attributes when refused.
///
/// # Safety
///
/// `attr` must be the attributes of the command, and `common` its common attributes, of which
/// userspace has `size` bytes at `ucommon`.
#[export]
pub(crate) unsafe extern "C" fn bpf_token_create_log(
    attr: *mut bindings::bpf_attr,
    common: *mut bindings::bpf_common_attr,
    ucommon: bindings::bpfptr_t,
    size: u32,
) -> c_int {
    // SAFETY: By the requirements of this function.
    let created = unsafe {
        let log = CommonLog::new(common, ucommon, size);
        Token::create(attr, Log::Common(&log))
    };
    match created {
        Ok(fd) => fd as c_int,
        Err(err) => err.to_errno(),
    }
}

/// The token step of `BPF_MAP_CREATE`, and the privileges that it needs.
///
/// Returns the token to use, null for none, or an errno as a pointer.
///
/// # Safety
///
/// `attr` must be the attributes of the command, and `log` be null or the log that it writes.
#[export]
pub(crate) unsafe extern "C" fn bpf_admit_map_create(
    attr: *const bindings::bpf_attr,
    token_given: bool,
    log: *mut bindings::bpf_verifier_log,
) -> *mut bindings::bpf_token {
    // SAFETY: By the requirements of this function.
    let (attr, log) = unsafe { (&(*attr).__bindgen_anon_1, VerifierLog::from_ptr(log)) };
    let fd = token_given.then_some(attr.map_token_fd as u32);
    let TokenPtr(token) = admit(MapCreate(attr), fd, Log::Open(log));
    token
}

/// The token step of `BPF_PROG_LOAD`, and the privileges that it needs before the verifier runs.
///
/// Returns as [`bpf_admit_map_create`] does.
///
/// # Safety
///
/// `attr` must be the attributes of the command, and `log` where its caller wants a log.
#[export]
pub(crate) unsafe extern "C" fn bpf_admit_prog_load(
    attr: *const bindings::bpf_attr,
    log: *mut bindings::bpf_log_attr,
) -> *mut bindings::bpf_token {
    // SAFETY: By the requirements of this function.
    let (attr, log) = unsafe { (&(*attr).__bindgen_anon_3, LogAttr::from_ptr(log)) };
    let given = attr.prog_flags & bindings::BPF_F_TOKEN_FD != 0;
    let fd = given.then_some(attr.prog_token_fd as u32);
    let TokenPtr(token) = admit(ProgLoad(attr), fd, Log::Closed(log));
    token
}

/// The token step of `BPF_BTF_LOAD`, and the privilege that it needs. Returns 0 or a negative errno.
///
/// # Safety
///
/// `attr` must be the attributes of the command, and `log` where its caller wants a log.
#[export]
pub(crate) unsafe extern "C" fn bpf_admit_btf_load(
    attr: *const bindings::bpf_attr,
    log: *mut bindings::bpf_log_attr,
) -> c_int {
    // SAFETY: By the requirements of this function.
    let (attr, log) = unsafe { (&(*attr).__bindgen_anon_7, LogAttr::from_ptr(log)) };
    let given = attr.btf_flags & bindings::BPF_F_TOKEN_FD != 0;
    let fd = given.then_some(attr.btf_token_fd as u32);
    let Errno(errno) = admit(BtfLoad, fd, Log::Closed(log));
    errno
}

/// The token step of `BPF_BTF_GET_FD_BY_ID`, and the privilege that it needs. Returns 0 or a
/// negative errno.
///
/// # Safety
///
/// `attr` must be the attributes of the command.
#[export]
pub(crate) unsafe extern "C" fn bpf_admit_btf_get_fd_by_id(
    attr: *const bindings::bpf_attr,
) -> c_int {
    // SAFETY: By the requirements of this function.
    let attr = unsafe { &(*attr).__bindgen_anon_6 };
    let given = attr.open_flags & bindings::BPF_F_TOKEN_FD != 0;
    let fd = given.then_some(attr.fd_by_id_token_fd as u32);
    let Errno(errno) = admit(BtfGetFdById, fd, Log::None);
    errno
}

/// The token for a command that keeps it: null if it uses none, an errno as a pointer if refused.
struct TokenPtr(*mut bindings::bpf_token);

impl From<Admitted> for TokenPtr {
    #[inline]
    fn from(admitted: Admitted) -> Self {
        Self(match admitted {
            Ok(Some(token)) => Token::into_raw(token),
            Ok(None) => core::ptr::null_mut(),
            Err(err) => err.to_ptr(),
        })
    }
}

/// 0 or a negative errno, for a command that has no use for its token any more.
struct Errno(c_int);

impl From<Admitted> for Errno {
    #[inline]
    fn from(admitted: Admitted) -> Self {
        Self(match admitted {
            Ok(token) => {
                drop(token);
                0
            }
            Err(err) => err.to_errno(),
        })
    }
}

/// Tells that a map value with fields of the kernel was refused for want of `CAP_BPF`.
///
/// # Safety
///
/// `token` must be null or valid, and `log` be null or the log that the command writes.
#[export]
pub(crate) unsafe extern "C" fn bpf_refused_map_fields(
    token: *const bindings::bpf_token,
    map_type: bindings::bpf_map_type,
    log: *mut bindings::bpf_verifier_log,
) {
    // SAFETY: By the requirements of this function.
    let (token, log) = unsafe { (Token::from_ptr(token), VerifierLog::from_ptr(log)) };
    let asked = Asked {
        cmd: bindings::bpf_cmd_BPF_MAP_CREATE,
        object_type: map_type,
        attach_type: 0,
    };
    let (log, purpose) = (Log::Open(log), Purpose::MapFields);
    admission::refuse_unprivileged(asked, token, log, Capability::BPF, purpose);
}

/// Tells that a `cgroup_skb` program was refused to be attached for want of `CAP_NET_ADMIN`.
/// Returns `EPERM`.
///
/// # Safety
///
/// `token` must be null or valid.
#[export]
pub(crate) unsafe extern "C" fn bpf_refused_attach(
    token: *const bindings::bpf_token,
    prog_type: bindings::bpf_prog_type,
    attach_type: bindings::bpf_attach_type,
) -> c_int {
    // SAFETY: By the requirements of this function.
    let token = unsafe { Token::from_ptr(token) };
    let asked = Asked {
        cmd: bindings::bpf_cmd_BPF_PROG_ATTACH,
        object_type: prog_type,
        attach_type,
    };
    let purpose = Purpose::Attach(prog_type);
    admission::refuse_unprivileged(asked, token, Log::None, Capability::NET_ADMIN, purpose)
        .to_errno()
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
        let opts = mount::from_opts((*fc).s_fs_info.cast());
        (
            FsContext::from_ptr(fc),
            &mut *opts,
            core::slice::from_raw_parts((*param).__bindgen_anon_1.string.cast(), (*param).size),
        )
    };
    match mount::parse_option(fc, delegation, which, value) {
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
    let (m, delegation) = unsafe { (SeqFile::from_raw(m), &*mount::from_opts(opts)) };
    mount::show_options(m, delegation);
}
