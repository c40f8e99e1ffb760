// SPDX-License-Identifier: GPL-2.0

//! Paths: a mount and a dentry on it.
//!
//! C header: [`include/linux/path.h`](srctree/include/linux/path.h).

use super::{
    file::LocalFile,
    super_block::SuperBlock, //
};
use crate::{
    bindings,
    error::{
        to_result,
        Result, //
    },
    ffi::c_int,
    types::Opaque,
};
use core::ptr;

/// The permission to follow a path, without reading or writing (`access(2)`'s `F_OK` as the kernel
/// asks for it).
pub const MAY_ACCESS: c_int = bindings::MAY_ACCESS as c_int;

/// Wraps the kernel's `struct path`.
///
/// # Invariants
///
/// The mount and the dentry are referenced, the dentry is of the super block of the mount, and it
/// is not negative.
#[repr(transparent)]
pub struct Path(Opaque<bindings::path>);

impl Path {
    /// Returns a raw pointer to the C struct.
    #[inline]
    pub fn as_ptr(&self) -> *mut bindings::path {
        self.0.get()
    }

    /// Returns the super block of the file system that the path is on.
    #[inline]
    pub fn super_block(&self) -> &SuperBlock {
        // SAFETY: By the type invariant, the mount is referenced, which keeps the super block of
        // the dentry active; `d_sb` never changes. The type is transparent.
        unsafe { &*(*(*self.as_ptr()).dentry).d_sb.cast() }
    }

    /// Returns whether this is the path of the root directory of its file system.
    #[inline]
    pub fn is_root(&self) -> bool {
        // SAFETY: By the type invariant, the super block of the dentry is active. Its root does not
        // change.
        unsafe {
            let dentry = (*self.as_ptr()).dentry;
            ptr::eq(dentry, (*(*dentry).d_sb).s_root)
        }
    }

    /// Checks that the current task may access the inode at this path.
    ///
    /// `mask` is made of `MAY_*`. Fails with the errno of `path_permission()`, mostly `EACCES`.
    #[inline]
    pub fn permission(&self, mask: c_int) -> Result {
        // SAFETY: By the type invariant, the path is valid.
        to_result(unsafe { bindings::path_permission(self.as_ptr(), mask) })
    }
}

impl LocalFile {
    /// Returns the path by which the file was opened.
    #[inline]
    pub fn path(&self) -> &Path {
        // SAFETY: `f_path` is set before a file is reachable and never changes; it holds its
        // references as long as the file lives. The cast is that of a transparent type.
        unsafe { &*(&raw const (*self.as_ptr()).__bindgen_anon_1.f_path).cast() }
    }
}
