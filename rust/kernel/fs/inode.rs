// SPDX-License-Identifier: GPL-2.0

//! Inodes.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h).

use super::super_block::SuperBlock;
use crate::bindings;
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::{
        self,
        NonNull, //
    },
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

/// An inode that was just made and that no dentry and no file leads to yet.
///
/// It is in `s_inodes` of its super block: who walks that list may take a reference for a while,
/// and does not change the inode.
///
/// # Invariants
///
/// `inode` is valid, `self` owns one reference to it, and neither a dentry nor a file leads to it.
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
    /// `inode` must be valid, no dentry and no file lead to it, and its super block stay active for
    /// the lifetime of the result. The caller gives up one reference.
    #[inline]
    pub unsafe fn from_raw(inode: NonNull<bindings::inode>) -> Self {
        // INVARIANT: The caller vouches for it.
        Self {
            inode,
            super_block: PhantomData,
        }
    }

    /// Whether the inode is one of this super block.
    #[inline]
    pub(super) fn is_of(&self, super_block: &SuperBlock) -> bool {
        // SAFETY: By the type invariant, the inode is valid; its super block does not change.
        ptr::eq(unsafe { (*self.as_ptr()).i_sb }, super_block.as_ptr())
    }

    /// Returns a raw pointer to the C struct.
    #[inline]
    pub fn as_ptr(&self) -> *mut bindings::inode {
        self.inode.as_ptr()
    }

    /// Makes the inode one without a name: it is freed with its last reference.
    #[inline]
    pub fn clear_nlink(&mut self) {
        // SAFETY: By the type invariant, the inode is valid, and nobody else changes its link
        // count.
        unsafe { bindings::clear_nlink(self.as_ptr()) };
    }

    /// Hands the reference on to what takes it.
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
