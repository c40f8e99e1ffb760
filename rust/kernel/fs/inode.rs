// SPDX-License-Identifier: GPL-2.0

//! Inodes.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h).

use super::super_block::SuperBlock;
use crate::bindings;
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull, //
};

/// The file mode creation mask of the current task (`umask(2)`).
///
/// # Safety
///
/// The current task must have an `fs_struct`, as it does in a system call. A task that exits, and a
/// work item, may have none.
#[inline]
pub unsafe fn current_umask() -> u32 {
    // SAFETY: By the requirements of this function.
    unsafe { bindings::current_umask() as u32 }
}

/// A new inode to which no dentry and no file points yet.
///
/// It is in `s_inodes` of its super block. Code that walks that list may hold a reference for a
/// while, but does not change the inode.
///
/// # Invariants
///
/// `inode` is valid, `self` owns one reference to it, and neither a dentry nor a file points to it.
/// Its super block stays active for `'a`.
pub struct NewInode<'a> {
    inode: NonNull<bindings::inode>,
    super_block: PhantomData<&'a SuperBlock>,
}

impl NewInode<'_> {
    /// Takes over an inode.
    ///
    /// # Safety
    ///
    /// `inode` must be valid, no dentry and no file point to it, and its super block stay active
    /// for the lifetime of the result. The caller gives up one reference.
    #[inline]
    pub unsafe fn from_raw(inode: NonNull<bindings::inode>) -> Self {
        // INVARIANT: The caller vouches for it.
        Self {
            inode,
            super_block: PhantomData,
        }
    }

    /// Returns a raw pointer to the C struct.
    #[inline]
    pub fn as_ptr(&self) -> *mut bindings::inode {
        self.inode.as_ptr()
    }

    /// Returns the inode with its reference, which the caller now owns.
    #[inline]
    pub(super) fn into_raw(self) -> *mut bindings::inode {
        ManuallyDrop::new(self).as_ptr()
    }
}

impl Drop for NewInode<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant, `self` owns this reference.
        unsafe { bindings::iput(self.as_ptr()) };
    }
}
