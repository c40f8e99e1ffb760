// SPDX-License-Identifier: GPL-2.0

//! Inodes.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h).

use crate::bindings;
use core::{
    mem::ManuallyDrop,
    ptr::NonNull, //
};

/// The file mode creation mask of the current task (`umask(2)`).
#[inline]
pub fn current_umask() -> u32 {
    // SAFETY: There is always a current task with an `fs_struct` in a system call.
    unsafe { bindings::current_umask() as u32 }
}

/// An inode that was just made and that nobody else can reach yet.
///
/// # Invariants
///
/// `inode` is valid, `self` owns one reference to it, and there is no other.
pub struct NewInode {
    inode: NonNull<bindings::inode>,
}

impl NewInode {
    /// Takes over an inode.
    ///
    /// # Safety
    ///
    /// `inode` must be valid and new, and the caller gives up its only reference.
    #[inline]
    pub unsafe fn from_raw(inode: NonNull<bindings::inode>) -> Self {
        // INVARIANT: The caller vouches for it.
        Self { inode }
    }

    /// Returns a raw pointer to the C struct.
    #[inline]
    pub fn as_ptr(&self) -> *mut bindings::inode {
        self.inode.as_ptr()
    }

    /// Makes the inode one without a name: it goes with its last reference.
    #[inline]
    pub fn clear_nlink(&mut self) {
        // SAFETY: By the type invariant, the inode is valid and nobody else can reach it.
        unsafe { bindings::clear_nlink(self.as_ptr()) };
    }

    /// Hands the reference on to what takes it.
    #[inline]
    pub(super) fn into_raw(self) -> *mut bindings::inode {
        ManuallyDrop::new(self).as_ptr()
    }
}

impl Drop for NewInode {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant, `self` owns this reference.
        unsafe { bindings::iput(self.as_ptr()) };
    }
}
