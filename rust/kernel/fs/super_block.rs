// SPDX-License-Identifier: GPL-2.0

//! Super blocks.
//!
//! C header: [`include/linux/fs/super_types.h`](srctree/include/linux/fs/super_types.h).

use crate::{
    bindings,
    types::Opaque,
    user_namespace::UserNamespace, //
};

/// Wraps the kernel's `struct super_block`.
///
/// # Invariants
///
/// The super block is active: it has a root, and its owner holds `s_user_ns`.
#[repr(transparent)]
pub struct SuperBlock(Opaque<bindings::super_block>);

impl SuperBlock {
    /// Returns a raw pointer to the C struct.
    #[inline]
    pub fn as_ptr(&self) -> *mut bindings::super_block {
        self.0.get()
    }

    /// Returns the user namespace that owns this instance of the file system.
    #[inline]
    pub fn user_ns(&self) -> &UserNamespace {
        // SAFETY: `s_user_ns` is set at creation and held until the super block is freed.
        unsafe { UserNamespace::from_ptr((*self.as_ptr()).s_user_ns) }
    }
}
