// SPDX-License-Identifier: GPL-2.0

//! Capabilities.
//!
//! C header: [`include/linux/capability.h`](srctree/include/linux/capability.h) and
//! [`include/uapi/linux/capability.h`](srctree/include/uapi/linux/capability.h).
//!
//! Reference: `capabilities(7)`.

use crate::{
    bindings,
    ffi::c_int,
    user_namespace::UserNamespace, //
};

/// One capability, as `CAP_*` numbers it.
///
/// # Invariants
///
/// The number is one that C's `cap_valid()` accepts.
///
/// # Examples
///
/// ```
/// use kernel::capability::Capability;
///
/// // The numbers are those of `include/uapi/linux/capability.h`.
/// assert_eq!(Capability::SYS_ADMIN.as_raw(), 21);
/// assert_ne!(Capability::BPF, Capability::PERFMON);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Capability(c_int);

impl Capability {
    /// `CAP_NET_ADMIN`: network administration.
    pub const NET_ADMIN: Self = Self(bindings::CAP_NET_ADMIN as c_int);
    /// `CAP_SYS_ADMIN`: system administration.
    pub const SYS_ADMIN: Self = Self(bindings::CAP_SYS_ADMIN as c_int);
    /// `CAP_PERFMON`: performance monitoring and observability.
    pub const PERFMON: Self = Self(bindings::CAP_PERFMON as c_int);
    /// `CAP_BPF`: privileged BPF operations.
    pub const BPF: Self = Self(bindings::CAP_BPF as c_int);

    /// Takes a number that C code passed on.
    ///
    /// # Safety
    ///
    /// `cap` must be the number of a capability: C's `ns_capable()` ends the kernel for any other.
    #[inline]
    pub const unsafe fn from_raw(cap: c_int) -> Self {
        // INVARIANT: The caller vouches for it.
        Self(cap)
    }

    /// The number of the capability.
    #[inline]
    pub const fn as_raw(self) -> c_int {
        self.0
    }
}

/// Returns whether the current task has `cap` in the initial user namespace.
///
/// As C's `capable()`, this marks the task as having used its privilege, and is audited.
#[inline]
pub fn capable(cap: Capability) -> bool {
    UserNamespace::init().capable(cap)
}
