// SPDX-License-Identifier: GPL-2.0

//! The LSM hooks of the BPF token.
//!
//! C header: [`include/linux/security.h`](srctree/include/linux/security.h).

use kernel::{
    bindings,
    capability::Capability,
    error::{
        to_result,
        Result, //
    },
    fs::Path,
    types::Opaque, //
};

/// Wraps the kernel's `struct bpf_token`, as the security modules know it.
///
/// # Invariants
///
/// The token is valid, and its security blob, if the modules want one, is allocated.
#[repr(transparent)]
pub(crate) struct BpfToken(Opaque<bindings::bpf_token>);

impl BpfToken {
    /// Returns a raw pointer to the C struct.
    #[inline]
    pub(crate) fn as_ptr(&self) -> *const bindings::bpf_token {
        self.0.get()
    }
}

/// Allocates the security blob of a new token and asks the modules whether it may be created.
///
/// When they refuse, the blob is freed again and `bpf_token_free` was called.
///
/// # Safety
///
/// `token` must be valid but for its blob.
#[inline]
pub(crate) unsafe fn token_create(
    token: *mut bindings::bpf_token,
    attr: &mut bindings::bpf_attr,
    path: &Path,
) -> Result {
    // SAFETY: The caller vouches for the token; attributes and path are valid.
    to_result(unsafe { bindings::security_bpf_token_create(token, attr, path.as_ptr()) })
}

/// Tells the modules that a token is freed, and frees its blob.
///
/// # Safety
///
/// [`token_create`] must have accepted `token`, and nobody may use its blob after this.
#[inline]
pub(crate) unsafe fn token_free(token: *mut bindings::bpf_token) {
    // SAFETY: The caller vouches for the token.
    unsafe { bindings::security_bpf_token_free(token) };
}

/// Whether the modules let `token` delegate the command `cmd`.
#[inline]
pub(crate) fn token_cmd(token: &BpfToken, cmd: bindings::bpf_cmd) -> bool {
    // SAFETY: By the type invariant, the token is valid.
    unsafe { bindings::security_bpf_token_cmd(token.0.get(), cmd) == 0 }
}

/// Whether the modules let `token` delegate `cap`.
#[inline]
pub(crate) fn token_capable(token: &BpfToken, cap: Capability) -> bool {
    // SAFETY: By the type invariant, the token is valid.
    unsafe { bindings::security_bpf_token_capable(token.0.get(), cap.as_raw()) >= 0 }
}
