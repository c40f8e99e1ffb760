// SPDX-License-Identifier: GPL-2.0

//! User namespaces.
//!
//! C header: [`include/linux/user_namespace.h`](srctree/include/linux/user_namespace.h).
//!
//! Reference: `user_namespaces(7)`.

use crate::{
    bindings,
    capability::Capability,
    sync::aref::AlwaysRefCounted,
    types::Opaque, //
};
use core::ptr::{
    self,
    NonNull, //
};

/// Wraps the kernel's `struct user_namespace`. Thread safe.
///
/// # Examples
///
/// ```
/// use kernel::{sync::aref::ARef, user_namespace::UserNamespace};
///
/// let init: ARef<UserNamespace> = UserNamespace::init().into();
/// assert!(init.is_init());
/// assert_ne!(init.inum(), 0);
/// ```
///
/// # Invariants
///
/// Instances of this type are always reference-counted: a call to `get_user_ns` keeps the namespace
/// alive until the matching call to `put_user_ns`.
#[repr(transparent)]
pub struct UserNamespace(Opaque<bindings::user_namespace>);

// SAFETY: `put_user_ns` can be called from any thread.
unsafe impl Send for UserNamespace {}

// SAFETY: What is reachable through a shared reference is either immutable after creation or
// synchronised by the C side.
unsafe impl Sync for UserNamespace {}

impl UserNamespace {
    /// Creates a reference to a [`UserNamespace`] from a valid pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must point at a user namespace whose reference count stays above zero for `'a`.
    #[inline]
    pub unsafe fn from_ptr<'a>(ptr: *const bindings::user_namespace) -> &'a Self {
        // SAFETY: The caller vouches for the pointer; the type is transparent.
        unsafe { &*ptr.cast() }
    }

    /// Returns a raw pointer to the C struct.
    #[inline]
    pub fn as_ptr(&self) -> *mut bindings::user_namespace {
        self.0.get()
    }

    /// Returns the initial user namespace.
    #[inline]
    pub fn init() -> &'static Self {
        // SAFETY: `init_user_ns` is static and never freed.
        unsafe { Self::from_ptr(&raw const bindings::init_user_ns) }
    }

    /// Returns whether this is the initial user namespace.
    #[inline]
    pub fn is_init(&self) -> bool {
        ptr::eq(self, Self::init())
    }

    /// Returns whether the current task is in this user namespace, and not in one above or below
    /// it.
    #[inline]
    pub fn is_current(&self) -> bool {
        // SAFETY: There is always a current task with credentials. The result is only compared.
        ptr::eq(self.as_ptr(), unsafe { bindings::current_user_ns() })
    }

    /// Returns the inode number of the namespace, as `/proc/<pid>/ns/user` shows it.
    #[inline]
    pub fn inum(&self) -> u32 {
        // SAFETY: By the type invariant, the namespace is alive; its number does not change.
        unsafe { (*self.as_ptr()).ns.inum }
    }

    /// Returns whether the current task has `cap` with regard to this user namespace.
    ///
    /// As C's `ns_capable()`, this marks the task as having used its privilege, and is audited.
    #[inline]
    pub fn capable(&self, cap: Capability) -> bool {
        // SAFETY: By the type invariant, the namespace is alive.
        unsafe { bindings::ns_capable(self.as_ptr(), cap.as_raw()) }
    }

    /// As [`Self::capable`], but does not mark the task, and is not audited. Not for a decision.
    #[inline]
    pub fn capable_noaudit(&self, cap: Capability) -> bool {
        // SAFETY: By the type invariant, the namespace is alive.
        unsafe { bindings::ns_capable_noaudit(self.as_ptr(), cap.as_raw()) }
    }
}

// SAFETY: The type invariant says that instances are always reference-counted.
unsafe impl AlwaysRefCounted for UserNamespace {
    #[inline]
    fn inc_ref(&self) {
        // SAFETY: The existence of a shared reference means that the refcount is nonzero.
        unsafe { bindings::get_user_ns(self.as_ptr()) };
    }

    #[inline]
    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller gives up one reference.
        unsafe { bindings::put_user_ns(obj.cast().as_ptr()) };
    }
}
