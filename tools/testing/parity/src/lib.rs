// SPDX-License-Identifier: GPL-2.0
//! The policy of the kernel's BPF token on the host, and its comparison with upstream's C.
//!
//! The safe modules of `rust/bpf_token` are compiled from the files that the kernel compiles. What they use of the
//! kernel, and of the modules that are not safe code, is [`kernel`](self) and [`standin`] here: as little as they need.
//! Upstream's functions are cut out of the unpatched tree by `build.rs`. Both are asked the same questions.
#![cfg(test)]
// Of what the kernel uses, the tests use only some; and clippy has been over it with the settings of the kernel.
#![allow(dead_code, unexpected_cfgs, clippy::all)]

// The modules say `kernel::`.
extern crate self as kernel;

#[path = "../../../../rust/bpf_token/admission.rs"]
mod admission;
#[path = "../../../../rust/bpf_token/capable.rs"]
mod capable;
#[path = "../../../../rust/bpf_token/decision.rs"]
mod decision;
#[path = "../../../../rust/bpf_token/delegation.rs"]
mod delegation;
#[path = "../../../../rust/bpf_token/kind.rs"]
mod kind;
#[path = "../../../../rust/bpf_token/line.rs"]
mod line;
#[path = "../../../../rust/bpf_token/mask.rs"]
mod mask;
#[path = "../../../../rust/bpf_token/names.rs"]
mod names;
#[path = "../../../../rust/bpf_token/options.rs"]
mod options;
#[path = "../../../../rust/bpf_token/parse.rs"]
mod parse;
#[path = "../../../../rust/bpf_token/present.rs"]
mod present;
#[path = "../../../../rust/bpf_token/reason.rs"]
mod reason;
#[path = "../../../../rust/bpf_token/remount.rs"]
mod remount;
#[path = "../../../../rust/bpf_token/request.rs"]
mod request;

// The rest of the crate, as far as the policy uses it.
mod standin;
use standin::{bpffs, events, file, lsm, sysctl, token};

// The crate `kernel`, as far as the policy uses it.
#[path = "kernel/bindings.rs"]
pub mod bindings;
#[path = "../../../../rust/kernel/capability.rs"]
pub mod capability;
#[path = "kernel/error.rs"]
pub mod error;
#[path = "kernel/fs.rs"]
pub mod fs;
#[path = "kernel/fs_context.rs"]
pub mod fs_context;
#[path = "../../../../rust/kernel/nospec.rs"]
pub mod nospec;
#[path = "kernel/sync.rs"]
pub mod sync;
#[path = "kernel/user_namespace.rs"]
pub mod user_namespace;

/// Macros of the crate `kernel`.
pub mod macros {
    pub use parity_macros::kunit_tests;
    pub use pastey::paste;
}

/// C types.
pub mod ffi {
    pub use core::ffi::c_int;
}

/// What most modules of the kernel use.
pub mod prelude {
    pub use crate::error::{code::*, Error, Result};
}

mod oracle;
mod tests;
mod world;
