// SPDX-License-Identifier: GPL-2.0

//! The functions that `kernel/bpf/` calls when a command has failed behind its token step, declared
//! in [`include/linux/bpf_token.h`](srctree/include/linux/bpf_token.h).

#[cfg(doc)]
use crate::commands::{
    bpf_admit_map_create,
    bpf_admit_prog_load, //
};
use crate::{
    admission::refuse_later,
    decision::{
        Decision,
        Denied,
        Refusal, //
    },
    events,
    kept::made,
    line::Line,
    log::{
        Log,
        LogAttr,
        VerifierLog, //
    },
    reason::VerifiedWithout,
    report,
    request::{
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
    ffi::c_int,
    prelude::*, //
};

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
    if let Some(decision) = decision {
        refuse_later(token, Refusal::SecurityModule, decision);
    }
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
    let Some(decision) = decision else {
        return;
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
    let (lacks_bpf, lacks_perfmon, last, mut log, request, decision, token) = unsafe {
        let (env, prog) = (&mut *env, &*(*env).prog);
        let insns = (&raw const prog.__bindgen_anon_2).cast::<bindings::bpf_insn>();
        let insns = core::slice::from_raw_parts(insns, prog.len as usize);
        (
            !env.bpf_capable,
            !env.allow_ptr_leaks,
            insns.get(env.insn_idx as usize),
            VerifierLog::new(&mut env.log),
            ProgLoad(&(*attr).__bindgen_anon_3).request(),
            made(&mut *(*attr_log).decision),
            Token::from_ptr((*prog.aux).token),
        )
    };
    let lacks_sys_admin = last.is_some_and(calls_probe_write_user)
        && Token::check_capable(token, Capability::SYS_ADMIN).is_err();

    let mut missing = [(Capability::BPF, Denied::InInitialNamespace); 3];
    let mut count = 0;
    for (lacking, cap) in [
        (lacks_bpf, Capability::BPF),
        (lacks_perfmon, Capability::PERFMON),
        (lacks_sys_admin, Capability::SYS_ADMIN),
    ] {
        if lacking {
            missing[count] = (cap, Token::who_denied(token, cap));
            count += 1;
        }
    }
    if let (1.., Some(decision)) = (count, decision) {
        let without = VerifiedWithout {
            missing: &missing[..count],
            request: &request,
            decision,
        };
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
    let (attr, decision, common, log) = unsafe {
        (
            &(*attr).__bindgen_anon_1,
            made(&mut *decision),
            &*common,
            LogAttr::new(&mut *attr_log),
        )
    };
    if let Some(decision) = decision {
        if decision.refusal != Refusal::None
            && (common.log_buf != 0 || events::refusals_are_traced())
        {
            tell_map_create(attr, decision, log, common, err);
        }
    }
}

#[cold]
fn tell_map_create(
    attr: &bindings::bpf_attr__bindgen_ty_1,
    decision: &Decision,
    mut log: LogAttr<'_>,
    common: &bindings::bpf_common_attr,
    err: c_int,
) {
    let (request, err) = (MapCreate(attr).request(), Error::from_errno(err));
    // A log that itself made the command fail is left as it is.
    if decision.refusal == Refusal::SecurityModule || err == decision.refusal.error() {
        log.reopen(common);
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
    if let Some(decision) = decision {
        report::trace(&ProgLoad(attr).request(), decision, Error::from_errno(err));
    }
}
