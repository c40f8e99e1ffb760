// SPDX-License-Identifier: GPL-2.0

//! The BPF token: what lets a privileged manager delegate a chosen part of BPF to a user namespace.
//!
//! This is the C interface that the rest of the kernel calls, declared in
//! [`include/linux/bpf.h`](srctree/include/linux/bpf.h). Each function turns raw arguments into
//! safe ones and calls what does the work.
//!
//! Reference: [`Documentation/bpf/token.rst`](srctree/Documentation/bpf/token.rst).

mod admission;
mod delegation;
mod events;
mod mask;
mod mount;
mod names;
mod parse;
mod reason;
mod refusal;
mod token;

use crate::{
    admission::{
        Admission,
        ProgLoad,
        Request, //
    },
    reason::{
        Lack,
        Purpose,
        Reason,
        Unused, //
    },
    refusal::Asked,
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
    ffi::{
        c_char,
        c_int, //
    },
    fs_context::FsContext,
    prelude::*,
    seq_file::SeqFile,
    sync::aref::ARef, //
};

/// Returns whether the current task has `cap`, in the token's user namespace if there is a token.
///
/// # Safety
///
/// `token` must be null or valid for the duration of the call.
#[export]
pub unsafe extern "C" fn bpf_token_capable(token: *const bindings::bpf_token, cap: c_int) -> bool {
    // SAFETY: By the requirements of this function.
    let token = unsafe { Token::from_ptr(token) };
    Token::check_capable(token, Capability::from_raw(cap)).is_ok()
}

/// Takes a reference to a token.
///
/// # Safety
///
/// `token` must be valid.
#[export]
pub unsafe extern "C" fn bpf_token_inc(token: *mut bindings::bpf_token) {
    // SAFETY: By the requirements of this function.
    if let Some(token) = unsafe { Token::from_ptr(token) } {
        core::mem::forget(ARef::from(token));
    }
}

/// Gives back a reference to a token, if there is one. Can be called in atomic context.
///
/// # Safety
///
/// `token` must be null or valid, and the caller gives up one reference.
#[export]
pub unsafe extern "C" fn bpf_token_put(token: *mut bindings::bpf_token) {
    // SAFETY: By the requirements of this function.
    drop(unsafe { Token::from_raw(token) });
}

/// `BPF_TOKEN_CREATE` without a log: returns a descriptor of a new token, or a negative errno.
///
/// # Safety
///
/// `attr` must be the attributes of the command.
#[export]
pub unsafe extern "C" fn bpf_token_create(attr: *mut bindings::bpf_attr) -> c_int {
    // SAFETY: By the requirements of this function.
    unsafe { create(attr, Log::None) }
}

/// `BPF_TOKEN_CREATE`: the same, with a reason in the log of the common attributes when refused.
///
/// # Safety
///
/// `attr` must be the attributes of the command, and `common` its common attributes, of which
/// userspace has `size` bytes at `ucommon`.
#[export]
pub unsafe extern "C" fn bpf_token_create_log(
    attr: *mut bindings::bpf_attr,
    common: *mut bindings::bpf_common_attr,
    ucommon: bindings::bpfptr_t,
    size: u32,
) -> c_int {
    // SAFETY: By the requirements of this function.
    unsafe {
        let log = CommonLog::new(common, ucommon, size);
        create(attr, Log::Common(&log))
    }
}

/// # Safety
///
/// `attr` must be the attributes of `BPF_TOKEN_CREATE`.
unsafe fn create(attr: *mut bindings::bpf_attr, log: Log<'_>) -> c_int {
    // SAFETY: By the requirements of this function.
    match unsafe { Token::create(attr) } {
        Ok(fd) => fd as c_int,
        Err(step) => {
            let asked = Asked {
                cmd: bindings::bpf_cmd_BPF_TOKEN_CREATE,
                ..Asked::default()
            };
            refusal::refuse(asked, None, log, Reason::NotCreated(step)).to_errno()
        }
    }
}

/// Returns a reference to the token behind a descriptor, or `EBADF` or `EINVAL` as a pointer.
///
/// # Safety
///
/// None: any number will do. The function is unsafe because bindgen declares all of C so.
#[export]
pub unsafe extern "C" fn bpf_token_get_from_fd(ufd: u32) -> *mut bindings::bpf_token {
    match Token::get_from_fd(ufd) {
        Ok(token) => Token::into_raw(token),
        Err(err) => err.to_ptr(),
    }
}

/// `BPF_OBJ_GET_INFO_BY_FD` of a token.
///
/// # Safety
///
/// `token` and `attr` must be valid; `uattr` is where userspace has them.
#[export]
pub unsafe extern "C" fn bpf_token_get_info_by_fd(
    token: *mut bindings::bpf_token,
    attr: *const bindings::bpf_attr,
    uattr: *mut bindings::bpf_attr,
) -> c_int {
    // SAFETY: By the requirements of this function.
    let (token, info) = unsafe { (Token::from_ptr(token), &(*attr).info) };
    let uinfo_len = uattr.wrapping_byte_add(core::mem::offset_of!(bindings::bpf_attr, info.info_len));
    match token.ok_or(EINVAL).and_then(|t| t.copy_info(info.info, info.info_len, uinfo_len.addr())) {
        Ok(()) => 0,
        Err(err) => err.to_errno(),
    }
}

/// Returns whether a token delegates a command.
///
/// # Safety
///
/// `token` must be null or valid.
#[export]
pub unsafe extern "C" fn bpf_token_allow_cmd(
    token: *const bindings::bpf_token,
    cmd: bindings::bpf_cmd,
) -> bool {
    // SAFETY: By the requirements of this function.
    unsafe { Token::from_ptr(token) }.is_some_and(|token| token.allows_cmd(cmd))
}

/// Returns whether a token delegates a map type.
///
/// # Safety
///
/// `token` must be null or valid.
#[export]
pub unsafe extern "C" fn bpf_token_allow_map_type(
    token: *const bindings::bpf_token,
    type_: bindings::bpf_map_type,
) -> bool {
    // SAFETY: By the requirements of this function.
    unsafe { Token::from_ptr(token) }.is_some_and(|token| token.allowed().map_type(type_))
}

/// Returns whether a token delegates a program type together with an attach type.
///
/// # Safety
///
/// `token` must be null or valid.
#[export]
pub unsafe extern "C" fn bpf_token_allow_prog_type(
    token: *const bindings::bpf_token,
    prog_type: bindings::bpf_prog_type,
    attach_type: bindings::bpf_attach_type,
) -> bool {
    // SAFETY: By the requirements of this function.
    unsafe { Token::from_ptr(token) }
        .is_some_and(|token| token.allowed().prog_type(prog_type, attach_type))
}

/// The token step of `BPF_MAP_CREATE`, and the privileges that it needs.
///
/// Returns 0 with the token to use in `token`, or null for none; or a negative errno.
///
/// # Safety
///
/// `attr` must be the attributes of the command, `log` be null or the log that it writes, and
/// `token` be valid for writes.
#[export]
pub unsafe extern "C" fn bpf_admit_map_create(
    attr: *const bindings::bpf_attr,
    token_given: bool,
    log: *mut bindings::bpf_verifier_log,
    token: *mut *mut bindings::bpf_token,
) -> c_int {
    // SAFETY: By the requirements of this function.
    let (attr, log) = unsafe { (&(*attr).__bindgen_anon_1, VerifierLog::from_ptr(log)) };
    let (map_type, fd) = (attr.map_type, attr.map_token_fd as u32);
    let log = log.map_or(Log::None, Log::Open);
    let request = Request::MapCreate { map_type };
    let admitted = admit(request, token_given.then_some(fd), log, |admission| {
        admission.may_create_map(map_type)
    });
    // SAFETY: By the requirements of this function.
    unsafe { hand_over(admitted, token) }
}

/// The token step of `BPF_PROG_LOAD`, and the privileges that it needs before the verifier runs.
///
/// Returns as [`bpf_admit_map_create`] does.
///
/// # Safety
///
/// `attr` must be the attributes of the command, `log` where its caller wants a log, and `token`
/// be valid for writes.
#[export]
pub unsafe extern "C" fn bpf_admit_prog_load(
    attr: *const bindings::bpf_attr,
    log: *mut bindings::bpf_log_attr,
    token: *mut *mut bindings::bpf_token,
) -> c_int {
    // SAFETY: By the requirements of this function.
    let (attr, log) = unsafe { (&(*attr).__bindgen_anon_3, LogAttr::from_ptr(log)) };
    let (prog_type, flags) = (attr.prog_type, attr.prog_flags);
    let request = Request::ProgLoad {
        prog_type,
        attach_type: attr.expected_attach_type,
    };
    let load = ProgLoad {
        prog_type,
        insn_cnt: attr.insn_cnt,
        any_alignment: flags & bindings::BPF_F_ANY_ALIGNMENT != 0,
        // SAFETY: The two functions only look at the number.
        needs_net_admin: unsafe { bindings::is_net_admin_prog_type(prog_type) },
        // SAFETY: As above.
        needs_perfmon: unsafe { bindings::is_perfmon_prog_type(prog_type) },
    };
    let given = flags & bindings::BPF_F_TOKEN_FD != 0;
    let fd = given.then_some(attr.prog_token_fd as u32);
    let admitted = admit(request, fd, Log::Closed(log), |admission| {
        admission.may_load_prog(&load)
    });
    // SAFETY: By the requirements of this function.
    unsafe { hand_over(admitted, token) }
}

/// The token step of `BPF_BTF_LOAD`, and the privilege that it needs. Returns 0 or a negative errno.
///
/// # Safety
///
/// `attr` must be the attributes of the command, and `log` where its caller wants a log.
#[export]
pub unsafe extern "C" fn bpf_admit_btf_load(
    attr: *const bindings::bpf_attr,
    log: *mut bindings::bpf_log_attr,
) -> c_int {
    // SAFETY: By the requirements of this function.
    let (attr, log) = unsafe { (&(*attr).__bindgen_anon_7, LogAttr::from_ptr(log)) };
    let given = attr.btf_flags & bindings::BPF_F_TOKEN_FD != 0;
    let fd = given.then_some(attr.btf_token_fd as u32);
    let admitted = admit(Request::BtfLoad, fd, Log::Closed(log), Admission::may_load_btf);
    errno_of(admitted.map(drop))
}

/// The token step of `BPF_BTF_GET_FD_BY_ID`, and the privilege that it needs. Returns 0 or a
/// negative errno.
///
/// # Safety
///
/// `attr` must be the attributes of the command.
#[export]
pub unsafe extern "C" fn bpf_admit_btf_get_fd_by_id(attr: *const bindings::bpf_attr) -> c_int {
    // SAFETY: By the requirements of this function.
    let attr = unsafe { &(*attr).__bindgen_anon_6 };
    let given = attr.open_flags & bindings::BPF_F_TOKEN_FD != 0;
    let fd = given.then_some(attr.fd_by_id_token_fd as u32);
    let admitted = admit(Request::BtfGetFdById, fd, Log::None, Admission::may_get_btf_by_id);
    errno_of(admitted.map(drop))
}

/// Takes the token step of `request`, then checks the privileges; a refusal is told to `log`.
#[inline]
fn admit(
    request: Request,
    token_fd: Option<u32>,
    log: Log<'_>,
    check: impl FnOnce(&Admission) -> Result<(), Reason>,
) -> Result<Option<ARef<Token>>> {
    let refuse = |token: Option<&Token>, reason| {
        Err(refusal::refuse(request.asked(), token, log, reason))
    };
    let admission = match Admission::new(request, token_fd) {
        Ok(admission) => admission,
        Err(reason) => return refuse(None, reason),
    };
    match check(&admission) {
        Ok(()) => Ok(admission.into_token()),
        Err(reason) => refuse(admission.token(), reason),
    }
}

/// Gives C code the token and 0, or the errno.
///
/// # Safety
///
/// `slot` must be valid for writes.
#[inline]
unsafe fn hand_over(
    admitted: Result<Option<ARef<Token>>>,
    slot: *mut *mut bindings::bpf_token,
) -> c_int {
    errno_of(admitted.map(|token| {
        let token = token.map_or(core::ptr::null_mut(), Token::into_raw);
        // SAFETY: By the requirements of this function.
        unsafe { *slot = token };
    }))
}

#[inline]
fn errno_of(result: Result) -> c_int {
    result.map_or_else(|err| err.to_errno(), |()| 0)
}

/// Tells that a map value with fields of the kernel was refused for want of `CAP_BPF`.
///
/// # Safety
///
/// `token` must be null or valid, and `log` be null or the log that the command writes.
#[export]
pub unsafe extern "C" fn bpf_refused_map_fields(
    token: *const bindings::bpf_token,
    map_type: bindings::bpf_map_type,
    log: *mut bindings::bpf_verifier_log,
) {
    // SAFETY: By the requirements of this function.
    let (token, log) = unsafe { (Token::from_ptr(token), VerifierLog::from_ptr(log)) };
    let request = Request::MapCreate { map_type };
    let log = log.map_or(Log::None, Log::Open);
    tell_unprivileged(request.asked(), token, log, Capability::BPF, Purpose::MapFields);
}

/// Tells that a `cgroup_skb` program was refused to be attached for want of `CAP_NET_ADMIN`.
/// Returns `EPERM`.
///
/// # Safety
///
/// `token` must be null or valid.
#[export]
pub unsafe extern "C" fn bpf_refused_attach(
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
    tell_unprivileged(asked, token, Log::None, Capability::NET_ADMIN, purpose).to_errno()
}

#[cold]
fn tell_unprivileged(
    asked: Asked,
    token: Option<&Token>,
    log: Log<'_>,
    cap: Capability,
    purpose: Purpose,
) -> Error {
    let lack = match token {
        Some(_) => Lack::InTokenNamespace,
        None => Lack::WithoutToken(Unused::NotGiven),
    };
    let reason = Reason::Unprivileged { cap, purpose, lack };
    refusal::refuse(asked, token, log, reason)
}

/// Takes one delegation option of a BPF FS: `which` is 0 for `delegate_cmds`, 1 for
/// `delegate_maps`, 2 for `delegate_progs`, 3 for `delegate_attachs`.
///
/// Returns 0, `EINVAL`, `ERANGE` or `EPERM`, with the reason in the log of `fc`.
///
/// # Safety
///
/// `fc` must be a context of the BPF file system that is being configured, and `value` a string.
#[export]
pub unsafe extern "C" fn bpf_delegation_parse(
    fc: *mut bindings::fs_context,
    which: u32,
    value: *const c_char,
) -> c_int {
    // SAFETY: By the requirements of this function; `s_fs_info` of such a context is its
    // `struct bpf_mount_opts`, which nobody else uses while it is being configured.
    let (fc, delegation, value) = unsafe {
        let opts = mount::from_opts((*fc).s_fs_info.cast());
        (FsContext::from_ptr(fc), &mut *opts, CStr::from_char_ptr(value))
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
pub unsafe extern "C" fn bpf_delegation_show(
    m: *mut bindings::seq_file,
    opts: *mut bindings::bpf_mount_opts,
) {
    // SAFETY: By the requirements of this function.
    let (m, delegation) = unsafe { (SeqFile::from_raw(m), &*mount::from_opts(opts)) };
    mount::show_options(m, delegation);
}
