// SPDX-License-Identifier: GPL-2.0

//! Writing to a seq file without formatting, for files that are read often.

use super::SeqFile;
use crate::bindings;

impl SeqFile {
    /// Appends `bytes` as they are.
    #[inline]
    pub fn write(&self, bytes: &[u8]) {
        // SAFETY: The seq file is valid and used by this thread only; `bytes` are valid for reads.
        // What does not fit sets the overflow mark, and the text is made again with more room.
        unsafe { bindings::seq_write(self.inner.get(), bytes.as_ptr().cast(), bytes.len()) };
    }

    /// Appends `value` in decimal.
    #[inline]
    pub fn put_decimal(&self, value: u64) {
        // SAFETY: The seq file is valid and used by this thread only.
        unsafe { bindings::seq_put_decimal_ull(self.inner.get(), core::ptr::null(), value) };
    }

    /// Appends `value` in hexadecimal, without a prefix.
    #[inline]
    pub fn put_hex(&self, value: u64) {
        // SAFETY: The seq file is valid and used by this thread only.
        unsafe { bindings::seq_put_hex_ll(self.inner.get(), core::ptr::null(), value, 0) };
    }
}
