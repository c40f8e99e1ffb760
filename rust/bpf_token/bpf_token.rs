// SPDX-License-Identifier: GPL-2.0

//! The BPF token: what lets a privileged manager delegate a chosen part of BPF to a user namespace.
//!
//! Here is the C interface that the rest of the kernel calls, declared in
//! [`include/linux/bpf.h`](srctree/include/linux/bpf.h); what only `kernel/bpf/` calls is in
//! [`commands`]. Each function turns raw arguments into safe ones and calls what does the work.
//!
//! Reference: [`Documentation/bpf/token.rst`](srctree/Documentation/bpf/token.rst).

mod admission;
mod commands;
mod delegation;
mod events;
mod mask;
mod mount;
mod names;
mod parse;
mod reason;
mod refusal;
mod request;
mod token;

use crate::token::Token;
use kernel::{
    bindings,
    bpf::{
        info::InfoRequest,
        log::Log, //
    },
    capability::Capability,
    ffi::c_int,
    prelude::*,
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
    match unsafe { Token::create(attr, Log::None) } {
        Ok(fd) => fd as c_int,
        Err(err) => err.to_errno(),
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
    let (token, request) = unsafe { (Token::from_ptr(token), InfoRequest::new(attr, uattr)) };
    match token.map_or(Err(EINVAL), |token| request.answer(&token.info())) {
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
