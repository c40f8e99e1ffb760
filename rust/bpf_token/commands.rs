// SPDX-License-Identifier: GPL-2.0

//! The functions that `kernel/bpf/` calls for its commands, declared in
//! [`include/linux/bpf_token.h`](srctree/include/linux/bpf_token.h).

use crate::{
    admission::{
        admit,
        admit_later,
        refuse_later, //
    },
    create,
    decision::{
        Decision,
        Denied,
        Purpose,
        Refusal, //
    },
    events,
    file::{
        self,
        Permitted, //
    },
    info,
    line::Line,
    log::{
        CommonLog,
        Log,
        LogAttr,
        VerifierLog, //
    },
    reason::VerifiedWithout,
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
use core::{
    mem::{
        offset_of,
        MaybeUninit, //
    },
    ptr, //
};
use kernel::{
    bindings,
    capability::Capability,
    error::from_err_ptr,
    ffi::{
        c_char,
        c_int, //
    },
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
    let (attr, log) = unsafe { (&mut *attr, CommonLog::new(&mut *common, ucommon, size)) };
    match create::create(attr, Log::Common(log)) {
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
    let (attr, decision) = unsafe { (&(*attr).__bindgen_anon_1, begin(&mut *decision)) };
    let fd = token_given.then_some(attr.map_token_fd as u32);
    let token = admit(MapCreate(attr), fd, decision);
    // SAFETY: By the requirements of this function.
    if let (true, Some(log)) = (token_given, unsafe { log.as_mut() }) {
        // SAFETY: As above.
        report::wrong_token_of_map(decision, unsafe { VerifierLog::new(log) });
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
    let (token, decision) = unsafe { (Token::from_ptr(token), made(&mut *decision)) };
    admit_later(token, Capability::BPF, Purpose::MapFields, decision).is_ok()
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
    let (attr, decision) = unsafe {
        (*attr_log).decision = decision;
        (&(*attr).__bindgen_anon_3, begin(&mut *decision))
    };
    let given = attr.prog_flags & bindings::BPF_F_TOKEN_FD != 0;
    let fd = given.then_some(attr.prog_token_fd as u32);
    let token = admit(ProgLoad(attr), fd, decision);
    if let Err(err) = from_err_ptr(token) {
        // SAFETY: By the requirements of this function.
        unsafe { tell_early(ProgLoad(attr), decision, attr_log, err) };
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
    let attr = unsafe { &(*attr).__bindgen_anon_7 };
    let mut decision = Decision::NEW;
    let given = attr.btf_flags & bindings::BPF_F_TOKEN_FD != 0;
    let fd = given.then_some(attr.btf_token_fd as u32);
    put(admit(BtfLoad, fd, &mut decision)).map_or_else(
        |err| {
            // SAFETY: By the requirements of this function.
            unsafe { tell_early(BtfLoad, &decision, attr_log, err) };
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
    let mut decision = Decision::NEW;
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
    let mut decision = Decision::NEW;
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

/// Keeps that a security module refused the map of `BPF_MAP_CREATE`.
///
/// # Safety
///
/// `token` must be null or the token that the command uses, and `decision` what
/// [`bpf_admit_map_create`] decided.
#[export]
pub(crate) unsafe extern "C" fn bpf_token_map_refused(
    token: *const bindings::bpf_token,
    decision: *mut bindings::bpf_token_decision,
) {
    // SAFETY: By the requirements of this function.
    let (token, decision) = unsafe { (Token::from_ptr(token), made(&mut *decision)) };
    refuse_later(token, Refusal::SecurityModule, decision);
}

/// Keeps that a security module refused the program of `BPF_PROG_LOAD`, and writes it to the log.
///
/// # Safety
///
/// `env` must be the verifier's state at its begin, and `attr_log` what [`bpf_admit_prog_load`]
/// got.
#[export]
pub(crate) unsafe extern "C" fn bpf_token_prog_refused(
    env: *mut bindings::bpf_verifier_env,
    attr_log: *mut bindings::bpf_log_attr,
) {
    // SAFETY: By the requirements of this function; the program keeps its token.
    let (token, decision, log) = unsafe {
        (
            Token::from_ptr((*(*(*env).prog).aux).token),
            made(&mut *(*attr_log).decision),
            VerifierLog::new(&mut (*env).log),
        )
    };
    refuse_later(token, Refusal::SecurityModule, decision);
    let request = Request::of(bindings::bpf_cmd_BPF_PROG_LOAD);
    report::log(&request, decision, Log::Open(log));
}

/// Tells which capabilities a program was verified without, when the verifier rejects it with
/// `ret`.
///
/// # Safety
///
/// `env` must be the verifier's state at its end, before its log is finished, `attr` the attributes
/// of the command, and `attr_log` what [`bpf_admit_prog_load`] got.
#[export]
pub(crate) unsafe extern "C" fn bpf_token_verified(
    env: *mut bindings::bpf_verifier_env,
    attr: *const bindings::bpf_attr,
    attr_log: *mut bindings::bpf_log_attr,
    ret: c_int,
) {
    // What the verifier says of a program, and not of memory, of the log or of a signal.
    let rejected = [EPERM, EACCES, EINVAL, E2BIG];
    if !rejected.iter().any(|err| err.to_errno() == ret) {
        return;
    }
    // SAFETY: By the requirements of this function; the program has `len` instructions, and keeps
    // its token.
    let (env, insns, attr, decision, token) = unsafe {
        let (env, prog) = (&mut *env, &*(*env).prog);
        let insns = (&raw const prog.__bindgen_anon_2).cast::<bindings::bpf_insn>();
        (
            env,
            core::slice::from_raw_parts(insns, prog.len as usize),
            &(*attr).__bindgen_anon_3,
            made(&mut *(*attr_log).decision),
            Token::from_ptr((*prog.aux).token),
        )
    };
    let last = insns.get(env.insn_idx as usize);
    let lacks_sys_admin = last.is_some_and(calls_probe_write_user)
        && Token::check_capable(token, Capability::SYS_ADMIN).is_err();

    let mut missing = [(Capability::BPF, Denied::InInitialNamespace); 3];
    let mut count = 0;
    for (lacking, cap) in [
        (!env.bpf_capable, Capability::BPF),
        (!env.allow_ptr_leaks, Capability::PERFMON),
        (lacks_sys_admin, Capability::SYS_ADMIN),
    ] {
        if lacking {
            missing[count] = (cap, Token::who_denied(token, cap));
            count += 1;
        }
    }
    if count > 0 {
        let without = VerifiedWithout {
            missing: &missing[..count],
            request: &ProgLoad(attr).request(),
            decision,
        };
        // SAFETY: The log is that of the verifier, which calls this.
        let mut log = unsafe { VerifierLog::new(&mut env.log) };
        log.append(Line::new(&without).as_str());
    }
}

/// Whether an instruction calls `bpf_probe_write_user()`, which needs `CAP_SYS_ADMIN`.
fn calls_probe_write_user(insn: &bindings::bpf_insn) -> bool {
    const CALL: u32 = bindings::BPF_JMP | bindings::BPF_CALL;
    u32::from(insn.code) == CALL
        && insn.src_reg() == 0
        && insn.imm as u32 == bindings::bpf_func_id_BPF_FUNC_probe_write_user
}

/// Tells why `BPF_MAP_CREATE` failed with `err`, if that was for a token or the lack of one.
///
/// # Safety
///
/// `attr` must be the attributes of the command, `common` its common attributes, `attr_log` what
/// `bpf_log_attr_create_vlog` made of them, and `decision` be where the command keeps its decision,
/// if it came to one.
#[export]
pub(crate) unsafe extern "C" fn bpf_token_tell_map_create(
    attr: *const bindings::bpf_attr,
    decision: *mut bindings::bpf_token_decision,
    attr_log: *mut bindings::bpf_log_attr,
    common: *const bindings::bpf_common_attr,
    err: c_int,
) {
    // SAFETY: By the requirements of this function.
    if !unsafe { (*decision).made } {
        return;
    }
    // SAFETY: By the requirements of this function; there is a decision.
    let (decision, log_buf) = unsafe { (&*made(&mut *decision), (*common).log_buf) };
    if decision.refusal == Refusal::None || log_buf == 0 && !events::refusals_are_traced() {
        return;
    }
    // SAFETY: By the requirements of this function.
    unsafe { tell_map_create(&(*attr).__bindgen_anon_1, decision, attr_log, &*common, err) };
}

/// # Safety
///
/// `attr_log` must be what `bpf_log_attr_create_vlog` made of `common`.
#[cold]
unsafe fn tell_map_create(
    attr: &bindings::bpf_attr__bindgen_ty_1,
    decision: &Decision,
    attr_log: *mut bindings::bpf_log_attr,
    common: &bindings::bpf_common_attr,
    err: c_int,
) {
    let (request, err) = (MapCreate(attr).request(), Error::from_errno(err));
    // A log that itself made the command fail is left as it is.
    if decision.refusal == Refusal::SecurityModule || err == decision.refusal.error() {
        // SAFETY: By the requirements of this function.
        let attr_log = unsafe { &mut *attr_log };
        // What makes an open log leaves out where the caller wants it.
        attr_log.ubuf = common.log_buf as *mut c_char;
        attr_log.size = common.log_size;
        attr_log.level = common.log_level;
        // SAFETY: As above.
        let log = unsafe { LogAttr::new(attr_log) };
        report::log(&request, decision, Log::Closed(log));
    }
    report::trace(&request, decision, err);
}

/// Fires the event of a `BPF_PROG_LOAD` that failed with `err` in the verifier, if that was for a
/// token or the lack of one.
///
/// # Safety
///
/// `attr` must be the attributes of the command, and `decision` what [`bpf_admit_prog_load`]
/// decided.
#[export]
pub(crate) unsafe extern "C" fn bpf_token_tell_prog_load(
    attr: *const bindings::bpf_attr,
    decision: *mut bindings::bpf_token_decision,
    err: c_int,
) {
    // SAFETY: By the requirements of this function.
    let (attr, decision) = unsafe { (&(*attr).__bindgen_anon_3, made(&mut *decision)) };
    report::trace(&ProgLoad(attr).request(), decision, Error::from_errno(err));
}

/// Tells why a command fails with `err` before it has written to its log, if anybody reads it.
///
/// # Safety
///
/// `attr_log` must be where the caller of the command wants a log.
#[inline(always)]
unsafe fn tell_early(
    command: impl Command,
    decision: &Decision,
    attr_log: *mut bindings::bpf_log_attr,
    err: Error,
) {
    // SAFETY: By the requirements of this function.
    let log = unsafe { LogAttr::new(&mut *attr_log) };
    if log.is_wanted() || events::refusals_are_traced() {
        tell_now(command, decision, log, err);
    }
}

#[cold]
#[inline(never)]
fn tell_now(command: impl Command, decision: &Decision, log: LogAttr<'_>, err: Error) {
    report::log(&command.request(), decision, Log::Closed(log));
    report::trace(&command.request(), decision, err);
}

/// Drops the token of a command that does not use it further, or returns the errno.
#[inline(always)]
fn put(token: *mut bindings::bpf_token) -> Result {
    let token = from_err_ptr(token)?;
    // SAFETY: `admit` returned the token, with a reference.
    unsafe { Token::put(token) };
    Ok(())
}

const _: () = {
    let offset = offset_of!(bindings::bpf_token_decision, opaque);
    assert!(offset + size_of::<Decision>() <= size_of::<bindings::bpf_token_decision>());
    assert!(offset % align_of::<Decision>() == 0);
    assert!(align_of::<Decision>() <= align_of::<bindings::bpf_token_decision>());
};

/// Begins the decision of a command where the command keeps it.
#[inline(always)]
fn begin(kept: &mut bindings::bpf_token_decision) -> &mut Decision {
    kept.made = true;
    // SAFETY: There is room, and what is there now does not matter.
    let decision = unsafe { &mut *ptr::from_mut(&mut kept.opaque).cast::<MaybeUninit<Decision>>() };
    decision.write(Decision::NEW)
}

/// The decision of a command.
///
/// # Safety
///
/// [`begin`] must have been called for it.
#[inline(always)]
unsafe fn made(kept: &mut bindings::bpf_token_decision) -> &mut Decision {
    // SAFETY: By the requirements of this function; C code does not write to it.
    unsafe { &mut *ptr::from_mut(&mut kept.opaque).cast() }
}
