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

    /// Appends `value` in hexadecimal, without a prefix.
    #[inline]
    pub fn put_hex(&self, value: u64) {
        let digits = (64 - value.leading_zeros()).div_ceil(4).max(1);
        let mut text = [0; 16];
        let text = &mut text[..digits as usize];
        for (i, byte) in text.iter_mut().rev().enumerate() {
            *byte = b"0123456789abcdef"[(value >> (4 * i)) as usize & 0xf];
        }
        self.write(text);
    }
}
