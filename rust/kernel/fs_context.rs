// SPDX-License-Identifier: GPL-2.0

//! File system contexts, made by `fsopen(2)` and configured by `fsconfig(2)`.
//!
//! C header: [`include/linux/fs_context.h`](srctree/include/linux/fs_context.h).
//!
//! Reference: [the mount API](srctree/Documentation/filesystems/mount_api.rst).

use crate::{
    bindings,
    ffi::c_void,
    fmt,
    fs::SuperBlock,
    prelude::*,
    types::Opaque, //
};

/// Wraps the kernel's `struct fs_context`.
///
/// # Invariants
///
/// The context is valid, and its `uapi_mutex` is held or it is reachable by this thread only.
#[repr(transparent)]
pub struct FsContext(Opaque<bindings::fs_context>);

impl FsContext {
    /// Creates a reference to an [`FsContext`] from a valid pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must point at a context that satisfies the type invariants for `'a`.
    #[inline]
    pub unsafe fn from_ptr<'a>(ptr: *mut bindings::fs_context) -> &'a Self {
        // SAFETY: The caller vouches for the pointer; the type is transparent.
        unsafe { &*ptr.cast() }
    }

    /// Returns the super block that this context reconfigures, if that is what it is for.
    #[inline]
    pub fn reconfigured(&self) -> Option<&SuperBlock> {
        // SAFETY: By the type invariant, the context is valid, and its purpose does not change. A
        // context for a reconfiguration holds its root, and that an active super block. The type
        // is transparent.
        unsafe {
            let fc = self.0.get();
            if (*fc).purpose() != bindings::fs_context_purpose_FS_CONTEXT_FOR_RECONFIGURE {
                return None;
            }
            Some(&*(*(*fc).root).d_sb.cast())
        }
    }

    /// Logs why an option is refused, as C's `errorfc()` does, for the reader of the `fsopen`
    /// descriptor, with the name of the file system before it.
    ///
    /// Unlike C's, this leaves out what nobody reads: with `mount(2)`, which has no such
    /// descriptor, `errorfc()` writes to the kernel's log, which is not for an unprivileged caller
    /// to fill.
    #[cold]
    pub fn error(&self, message: fmt::Arguments<'_>) {
        let log = &raw const message;
        // SAFETY: By the type invariant, the context and its log are this thread's. `%pA` takes a
        // pointer to `Arguments`, which `message` is for the length of the call.
        unsafe {
            let plog = &(*self.0.get()).log;
            if plog.log.is_null() {
                return;
            }
            bindings::logfc(
                plog.log,
                plog.prefix,
                b'e',
                c"%pA".as_char_ptr(),
                log.cast::<c_void>(),
            );
        }
    }
}
