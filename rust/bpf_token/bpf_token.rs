// SPDX-License-Identifier: GPL-2.0

//! The BPF token, with which a privileged manager delegates a part of BPF to a user namespace.
//!
//! Here is the C interface that [`include/linux/bpf.h`](srctree/include/linux/bpf.h) declares; what
//! only `kernel/bpf/` calls is in [`commands`], [`outcome`] and [`mount`]. Each function turns raw
//! arguments into safe ones and calls what does the work.
//!
//! The call graph of a command, from its entry point to the report of its decision:
//!
//! ```text
//!   bpf(2)                                                         fsconfig(2), /proc/mounts
//!     |                                                                       |
//!   commands, outcome        C entries: raw arguments in, errno out         mount
//!     |        |      |                                                       |
//!     |   admission  create  the token step and the privileges; a new token   |
//!     |        |      |                                                       |
//!     |        +------+------ file        the token's file, what it permits  remount
//!     |        |               |                                              |
//!     |        |             token        the object, its lifetime            |
//!     |        |               |                                              |
//!     |        |            capable       whom it gives a capability          |
//!     |        |               |                                              |
//!     |     request            |          the types, and their capabilities   |
//!     |        |               |                                              |
//!     |        +-------+-------+                                              |
//!     |                |                                                      |
//!     |            decision    which token is used, why a command is refused  |
//!     |                |                                                      |
//!     |             reason     the decision as text                           |
//!     |                |                                                      |
//!     +------------- report    written to the log and to trace events         |
//!                                                                             |
//!   names <- kind <- mask <- delegation, present, parse: what is delegated ---+
//! ```
//!
//! A module uses those below it, and what `log`, `events`, `lsm`, `bpffs`, `info`, `line` and
//! `sysctl` wrap; none uses one above.
//!
//! Reference: [`Documentation/bpf/token.rst`](srctree/Documentation/bpf/token.rst).

mod admission;
mod bpffs;
mod capable;
mod commands;
mod create;
mod decision;
mod delegation;
mod events;
mod file;
mod info;
mod kept;
mod kind;
mod line;
mod log;
mod lsm;
mod mask;
mod mount;
mod names;
mod options;
mod outcome;
mod parse;
mod present;
mod reason;
mod remount;
mod report;
mod request;
mod sysctl;
mod token;

use crate::token::Token;
use kernel::{
    bindings,
    capability::Capability,
    ffi::c_int,
    prelude::*,
    ModuleMetadata, //
};

/// The `THIS_MODULE` of this crate, which is built in.
struct LocalModule;

impl ModuleMetadata for LocalModule {
    const NAME: &'static CStr = c"bpf_token";
    const THIS_MODULE: ThisModule = {
        // SAFETY: The crate is built in, so it is no module.
        unsafe { ThisModule::from_ptr(core::ptr::null_mut()) }
    };
}

/// Returns whether the current task has `cap`, in the token's user namespace if there is a token.
///
/// # Safety
///
/// `token` must be null or valid for the duration of the call, and `cap` be a capability.
#[export]
pub unsafe extern "C" fn bpf_token_capable(token: *const bindings::bpf_token, cap: c_int) -> bool {
    // SAFETY: By the requirements of this function.
    let (token, cap) = unsafe { (Token::from_ptr(token), Capability::from_raw(cap)) };
    Token::check_capable(token, cap).is_ok()
}

/// Drops a reference to a token, if there is one. Can be called in atomic context.
///
/// # Safety
///
/// `token` must be null or valid, and the caller gives up one reference.
#[export]
pub unsafe extern "C" fn bpf_token_put(token: *mut bindings::bpf_token) {
    // SAFETY: By the requirements of this function.
    unsafe { Token::put(token) };
}
