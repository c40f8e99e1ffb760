// SPDX-License-Identifier: GPL-2.0

//! The LSM hooks of the BPF token.
//!
//! C header: [`include/linux/security.h`](srctree/include/linux/security.h).

use crate::{
    bindings,
    capability::Capability,
    error::{
        Error,
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
pub struct BpfToken(Opaque<bindings::bpf_token>);

impl BpfToken {
    /// Creates a reference to a [`BpfToken`] from a valid pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must point at a token that [`token_create`] accepted, and that stays valid for `'a`.
    #[inline]
    pub unsafe fn from_ptr<'a>(ptr: *const bindings::bpf_token) -> &'a Self {
        // SAFETY: The caller vouches for the pointer; the type is transparent.
        unsafe { &*ptr.cast() }
    }
}

/// Allocates the security blob of a new token and asks the modules whether it may be created.
///
/// When they refuse, the blob is freed again and `bpf_token_free` was called.
///
/// # Safety
///
/// `token` must be valid but for its blob, and `attr` be the attributes of the command.
#[inline]
pub unsafe fn token_create(
    token: *mut bindings::bpf_token,
    attr: *mut bindings::bpf_attr,
    path: &Path,
) -> Result {
    // SAFETY: The caller vouches for token and attributes; the path is valid.
    let err = unsafe { bindings::security_bpf_token_create(token, attr, path.as_ptr()) };
    if err != 0 {
        return Err(Error::from_errno(err));
    }
    Ok(())
}

/// Tells the modules that a token goes, and frees its blob.
///
/// # Safety
///
/// [`token_create`] must have accepted `token`, and nobody may use its blob after this.
#[inline]
pub unsafe fn token_free(token: *mut bindings::bpf_token) {
    // SAFETY: The caller vouches for the token.
    unsafe { bindings::security_bpf_token_free(token) };
}

/// Whether the modules let `token` delegate the command `cmd`.
#[inline]
pub fn token_cmd(token: &BpfToken, cmd: bindings::bpf_cmd) -> bool {
    // SAFETY: By the type invariant, the token is valid.
    unsafe { bindings::security_bpf_token_cmd(token.0.get(), cmd) == 0 }
}

/// Whether the modules let `token` delegate `cap`.
#[inline]
pub fn token_capable(token: &BpfToken, cap: Capability) -> bool {
    // SAFETY: By the type invariant, the token is valid.
    unsafe { bindings::security_bpf_token_capable(token.0.get(), cap.as_raw()) >= 0 }
}
