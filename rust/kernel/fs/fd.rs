// SPDX-License-Identifier: GPL-2.0

//! Looking up a file descriptor for the duration of a system call.
//!
//! C header: [`include/linux/file.h`](srctree/include/linux/file.h).

use super::file::{
    BadFdError,
    LocalFile, //
};
use crate::{
    bindings,
    types::NotThreadSafe, //
};

/// A file descriptor that was looked up with `fdget`.
///
/// Takes the light reference that [`File`](super::File) describes: no reference count is touched
/// when the caller's descriptor table is not shared.
///
/// # Invariants
///
/// `fd` came from `fdget`, is not empty, and is put exactly once, by `drop`.
pub struct Fd {
    fd: bindings::fd,
    /// A light reference is only good for the task that took it.
    _not_send: NotThreadSafe,
}

impl Fd {
    /// Looks up `fd` in the current task's descriptor table.
    ///
    /// Fails when `fd` is not open, and when it was opened with `O_PATH`.
    #[inline]
    pub fn get(fd: u32) -> Result<Self, BadFdError> {
        // SAFETY: `fdget` takes any number.
        let fd = unsafe { bindings::fdget(fd) };
        if fd.word == 0 {
            return Err(BadFdError);
        }
        // INVARIANT: `fd` is not empty, and nobody else has a copy.
        Ok(Self {
            fd,
            _not_send: NotThreadSafe,
        })
    }

    /// Returns the file behind the descriptor.
    #[inline]
    pub fn file(&self) -> &LocalFile {
        // SAFETY: By the type invariant, the file stays valid until `self` is dropped.
        // `fdget_pos` may be active on it, which is why this is a `LocalFile`; `Fd` does not leave
        // its task.
        unsafe { LocalFile::from_raw_file(bindings::fd_file(self.fd)) }
    }
}

impl Drop for Fd {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant, this is the one put of a successful `fdget`.
        unsafe { bindings::fdput(self.fd) };
    }
}
