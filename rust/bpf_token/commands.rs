// SPDX-License-Identifier: GPL-2.0

//! The functions that `kernel/bpf/` calls for its commands, declared in
//! [`include/linux/bpf_token.h`](srctree/include/linux/bpf_token.h).

#[cfg(doc)]
use crate::outcome::bpf_token_tell_map_create;
use crate::{
    admission::{
        admit,
        admit_later, //
    },
    create,
    decision::{
        Decision,
        Purpose, //
    },
    file::{
        self,
        Permitted, //
    },
    info,
    kept::{
        begin,
        made, //
    },
    log::{
        CommonLog,
        Log,
        LogAttr,
        VerifierLog, //
    },
    report,
    request::{
        BtfGetFdById,
        BtfLoad,
        Command,
        MapCreate,
        ProgLoad,
        Request, //
    },
    token::Token, //
};
use kernel::{
    bindings,
    capability::Capability,
    error::from_err_ptr,
    ffi::c_int,
    fs::LocalFile,
    prelude::*,
    seq_file::SeqFile, //
};

/// `BPF_TOKEN_CREATE`: returns a descriptor of a new token, or a negative errno. The reason of a
/// refusal goes to the log of the common attributes.
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
    let (asked, attr, log) = unsafe {
        (
            (*attr).token_create,
            &mut *attr,
            CommonLog::new(&mut *common, ucommon, size),
        )
    };
    match create::create(asked, attr, Log::Common(log)) {
        Ok(fd) => fd as c_int,
        Err(err) => err.to_errno(),
    }
}

/// Decides `BPF_MAP_CREATE`, from its token step to the privileges that its map type needs.
///
/// Returns the token to use, null for none, or an errno as a pointer. [`bpf_token_tell_map_create`]
/// tells the reason.
///
/// # Safety
///
/// `attr` must be the attributes of the command, `decision` be where it keeps its decision, and
/// `log` be null or the log that it writes.
#[export]
pub(crate) unsafe extern "C" fn bpf_admit_map_create(
    attr: *const bindings::bpf_attr,
    token_given: bool,
    decision: *mut bindings::bpf_token_decision,
    log: *mut bindings::bpf_verifier_log,
) -> *mut bindings::bpf_token {
    // SAFETY: By the requirements of this function.
    let (attr, decision, log) = unsafe {
        (
            &(*attr).__bindgen_anon_1,
            begin(&mut *decision),
            log.as_mut().map(|log| VerifierLog::new(log)),
        )
    };
    let fd = token_given.then_some(attr.map_token_fd as u32);
    let token = admit(MapCreate(attr), fd, decision);
    if let (true, Some(log)) = (token_given, log) {
        report::wrong_token_of_map(decision, log);
    }
    token
}

/// Decides whether a map may have fields that the kernel manages.
///
/// # Safety
///
/// `token` must be null or the token of a map's creation, and `decision` what
/// [`bpf_admit_map_create`] decided.
#[export]
pub(crate) unsafe extern "C" fn bpf_admit_map_fields(
    token: *const bindings::bpf_token,
    decision: *mut bindings::bpf_token_decision,
) -> bool {
    // SAFETY: By the requirements of this function.
    let (token, kept) = unsafe { (Token::from_ptr(token), &mut *decision) };
    match made(kept) {
        Some(decision) => admit_later(token, Capability::BPF, Purpose::MapFields, decision).is_ok(),
        None => Token::check_capable(token, Capability::BPF).is_ok(),
    }
}

/// Decides `BPF_PROG_LOAD`, from its token step to the privileges that it needs before the verifier
/// runs.
///
/// Returns as [`bpf_admit_map_create`] does, and tells the reason.
///
/// # Safety
///
/// `attr` must be the attributes of the command, `decision` be where it keeps its decision, and
/// `attr_log` where its caller wants a log.
#[export]
pub(crate) unsafe extern "C" fn bpf_admit_prog_load(
    attr: *const bindings::bpf_attr,
    decision: *mut bindings::bpf_token_decision,
    attr_log: *mut bindings::bpf_log_attr,
) -> *mut bindings::bpf_token {
    // SAFETY: By the requirements of this function. The decision stays with the log, for the
    // verifier.
    let (attr, log, decision) = unsafe {
        (*attr_log).decision = decision;
        (
            &(*attr).__bindgen_anon_3,
            LogAttr::new(&mut *attr_log),
            begin(&mut *decision),
        )
    };
    let given = attr.prog_flags & bindings::BPF_F_TOKEN_FD != 0;
    let fd = given.then_some(attr.prog_token_fd as u32);
    let token = admit(ProgLoad(attr), fd, decision);
    if let Err(err) = from_err_ptr(token) {
        report::early(ProgLoad(attr), decision, log, err);
    }
    token
}

/// Decides `BPF_BTF_LOAD`. Returns 0 or a negative errno, and tells the reason.
///
/// # Safety
///
/// `attr` must be the attributes of the command, and `attr_log` where its caller wants a log.
#[export]
pub(crate) unsafe extern "C" fn bpf_admit_btf_load(
    attr: *const bindings::bpf_attr,
    attr_log: *mut bindings::bpf_log_attr,
) -> c_int {
    // SAFETY: By the requirements of this function.
    let (attr, log) = unsafe { (&(*attr).__bindgen_anon_7, LogAttr::new(&mut *attr_log)) };
    let mut decision = Decision::new();
    let given = attr.btf_flags & bindings::BPF_F_TOKEN_FD != 0;
    let fd = given.then_some(attr.btf_token_fd as u32);
    put(admit(BtfLoad, fd, &mut decision)).map_or_else(
        |err| {
            report::early(BtfLoad, &decision, log, err);
            err.to_errno()
        },
        |()| 0,
    )
}

/// Decides `BPF_BTF_GET_FD_BY_ID`. Returns 0 or a negative errno, and tells the reason.
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
    let mut decision = Decision::new();
    put(admit(BtfGetFdById, fd, &mut decision)).map_or_else(
        |err| {
            report::trace(&BtfGetFdById.request(), &decision, err);
            err.to_errno()
        },
        |()| 0,
    )
}

/// `BPF_OBJ_GET_INFO_BY_FD` of a token: what it permits now.
///
/// # Safety
///
/// `file` must be valid and looked up by this thread, and `attr` be the attributes of the command;
/// `uattr` is where userspace has them.
#[export]
pub(crate) unsafe extern "C" fn bpf_token_info_by_file(
    file: *mut bindings::file,
    attr: *const bindings::bpf_attr,
    uattr: *mut bindings::bpf_attr,
) -> c_int {
    // SAFETY: By the requirements of this function.
    let (file, attr) = unsafe { (LocalFile::from_raw_file(file), &(*attr).info) };
    let Some(permitted) = Permitted::by_file(file) else {
        return EINVAL.to_errno();
    };
    match info::copy(&permitted.info(), attr.info, attr.info_len, uattr) {
        Ok(()) => 0,
        Err(err) => err.to_errno(),
    }
}

/// Writes to the fdinfo of a program by which token it was loaded, if by one.
///
/// # Safety
///
/// `m` must be valid and used by this thread only, and `prog` be valid.
#[export]
pub(crate) unsafe extern "C" fn bpf_token_show_prog(
    m: *mut bindings::seq_file,
    prog: *const bindings::bpf_prog,
) {
    // SAFETY: By the requirements of this function; a program keeps its token.
    let (m, token) = unsafe { (SeqFile::from_raw(m), Token::from_ptr((*(*prog).aux).token)) };
    if let Some(token) = token {
        file::show_origin(m, token);
    }
}

/// Decides whether a program may be attached as `attach_type` by `cmd`, and tells the reason.
///
/// # Safety
///
/// `prog` must be valid.
#[export]
pub(crate) unsafe extern "C" fn bpf_admit_attach(
    prog: *const bindings::bpf_prog,
    attach_type: bindings::bpf_attach_type,
    cmd: bindings::bpf_cmd,
) -> bool {
    // SAFETY: By the requirements of this function; a program keeps its token.
    let (token, object_type) = unsafe { (Token::from_ptr((*(*prog).aux).token), (*prog).type_) };
    let mut decision = Decision::new();
    let cap = Capability::NET_ADMIN;
    let Err(err) = admit_later(token, cap, Purpose::Attach, &mut decision) else {
        return true;
    };
    let request = Request {
        object_type,
        attach_type,
        ..Request::of(cmd)
    };
    // BPF_PROG_ATTACH makes one errno of all that an attach type is refused for.
    let err = match cmd {
        bindings::bpf_cmd_BPF_PROG_ATTACH => EINVAL,
        _ => err,
    };
    report::trace(&request, &decision, err);
    false
}

/// Drops the token of a command that does not use it further, or returns the errno.
#[inline]
fn put(token: *mut bindings::bpf_token) -> Result {
    let token = from_err_ptr(token)?;
    // SAFETY: `admit` returned the token, with a reference.
    unsafe { Token::put(token) };
    Ok(())
}
