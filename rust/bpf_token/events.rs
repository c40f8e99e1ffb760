// SPDX-License-Identifier: GPL-2.0

//! The trace events `bpf_token:*`.
//!
//! C header: [`include/trace/events/bpf_token.h`](srctree/include/trace/events/bpf_token.h).

use crate::{
    decision::Given,
    delegation::Delegation,
    line::Line,
    lsm::BpfToken,
    request::Request, //
};
#[cfg(CONFIG_TRACEPOINTS)]
use kernel::jump_label::static_branch_unlikely;
use kernel::{
    bindings,
    capability::Capability,
    error::Error,
    tracepoint::declare_trace, //
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
    unsafe fn bpf_token_use(
        token: *const bindings::bpf_token,
        cmd: u32,
        object_type: u32,
        attach_type: u32,
    );

    /// # Safety
    ///
    /// `token` must be valid.
    unsafe fn bpf_token_free(token: *const bindings::bpf_token);
}

/// A command that is refused.
pub(crate) struct Refused {
    pub(crate) cmd: u32,
    pub(crate) object_type: u32,
    pub(crate) attach_type: u32,
    /// The capability that is missing.
    pub(crate) cap: Option<Capability>,
    /// The errno that the caller gets.
    pub(crate) err: Error,
}

/// Fires an event that has only the token.
#[inline]
fn fire(event: unsafe fn(*const bindings::bpf_token), token: &BpfToken) {
    // SAFETY: By its type invariant, the token is valid.
    unsafe { event(token.as_ptr()) };
}

/// Tells that a token was created.
#[inline]
pub(crate) fn created(token: &BpfToken) {
    fire(bpf_token_create, token);
}

/// Tells that a command uses a token.
#[inline]
pub(crate) fn used(token: &BpfToken, request: &Request) {
    // SAFETY: By its type invariant, the token is valid.
    unsafe {
        bpf_token_use(
            token.as_ptr(),
            request.cmd,
            request.object_type,
            request.attach_type,
        )
    };
}

/// Tells that a token is freed.
#[inline]
pub(crate) fn freed(token: &BpfToken) {
    fire(bpf_token_free, token);
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

/// Tells that a command is refused, with the token that was given, or the caller's user namespace.
#[cold]
pub(crate) fn refused(what: &Refused, given: &Given, reason: &Line) {
    let (userns, cookie, allowed) = match *given {
        Given::Nothing => (0, 0, Delegation::NOTHING),
        Given::Token {
            userns,
            cookie,
            allowed,
            ..
        } => (userns, cookie, allowed),
    };
    let refusal = bindings::bpf_token_refusal {
        userns,
        cmds: allowed.cmds.bits(),
        maps: allowed.maps.bits(),
        progs: allowed.progs.bits(),
        attachs: allowed.attachs.bits(),
        cookie,
        cmd: what.cmd,
        type_: what.object_type,
        attach_type: what.attach_type,
        cap: what.cap.map_or(-1, Capability::as_raw),
        err: what.err.to_errno(),
        reason: reason.as_c_bytes().as_ptr(),
    };
    // SAFETY: `refusal` and the line in it are valid for the call.
    unsafe { bpf_token_refuse(&refusal) };
}
