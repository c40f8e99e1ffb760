// SPDX-License-Identifier: GPL-2.0

//! The trace events `bpf_token:*`.
//!
//! C header: [`include/trace/events/bpf_token.h`](srctree/include/trace/events/bpf_token.h).

use crate::{
    delegation::Delegation,
    refusal::{
        Asked,
        Line, //
    },
    token::Token, //
};
use core::ptr;
#[cfg(CONFIG_TRACEPOINTS)]
use kernel::jump_label::static_branch_unlikely;
use kernel::{
    bindings,
    capability::Capability,
    error::Error,
    tracepoint::declare_trace,
    user_namespace::UserNamespace, //
};

declare_trace! {
    /// # Safety
    ///
    /// `token` must be valid.
    unsafe fn bpf_token_create(token: *const bindings::bpf_token);

    /// # Safety
    ///
    /// `refusal` must be valid.
    unsafe fn bpf_token_refuse(refusal: *const bindings::bpf_token_refusal);

    /// # Safety
    ///
    /// `token` must be valid.
    unsafe fn bpf_token_free(token: *const bindings::bpf_token);
}

/// A token was created.
#[inline]
pub(crate) fn created(token: &Token) {
    // SAFETY: The token is valid, and has the layout of `struct bpf_token`.
    unsafe { bpf_token_create(ptr::from_ref(token).cast()) };
}

/// A token goes.
#[inline]
pub(crate) fn freed(token: &Token) {
    // SAFETY: The token is valid, and has the layout of `struct bpf_token`.
    unsafe { bpf_token_free(ptr::from_ref(token).cast()) };
}

/// Whether anybody traces refusals, so that there is a reason to put into words.
#[inline]
pub(crate) fn refusals_are_traced() -> bool {
    #[cfg(CONFIG_TRACEPOINTS)]
    // SAFETY: The static key of a tracepoint can be asked at any time.
    return unsafe {
        static_branch_unlikely!(
            bindings::__tracepoint_bpf_token_refuse,
            bindings::tracepoint,
            key
        )
    };
    #[cfg(not(CONFIG_TRACEPOINTS))]
    false
}

/// A command was refused.
#[cold]
pub(crate) fn refuse(
    asked: Asked,
    token: Option<&Token>,
    allowed: &Delegation,
    err: Error,
    cap: Option<Capability>,
    line: &Line,
) {
    let userns = match token {
        Some(token) => token.userns().inum(),
        None => UserNamespace::current_inum(),
    };
    let refusal = bindings::bpf_token_refusal {
        userns,
        cmds: allowed.cmds.bits(),
        maps: allowed.maps.bits(),
        progs: allowed.progs.bits(),
        attachs: allowed.attachs.bits(),
        cmd: asked.cmd,
        type_: asked.object_type,
        attach_type: asked.attach_type,
        cap: cap.map_or(-1, Capability::as_raw),
        err: err.to_errno(),
        reason: line.as_c_bytes().as_ptr(),
    };
    // SAFETY: `refusal` and the line in it are valid for the call.
    unsafe { bpf_token_refuse(&refusal) };
}
