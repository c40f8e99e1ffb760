// SPDX-License-Identifier: GPL-2.0

//! Log buffers that a caller of `bpf()` gives, and where a test gives them.

use std::cell::Cell;
use std::marker::PhantomData;

/// What a buffer is filled with, to tell what the kernel has written.
const UNTOUCHED: u8 = 0xa5;

/// The level that asks for the least: `BPF_LOG_LEVEL1`.
pub const LEVEL: u32 = 1;

/// A log as the arguments of a command have it.
pub struct Log<'a> {
    pub level: u32,
    pub size: u32,
    pub address: u64,
    /// `log_true_size` after the command.
    pub true_size: Cell<u32>,
    buffer: PhantomData<&'a mut [u8]>,
}

impl Log<'_> {
    /// No log.
    pub const fn none() -> Self {
        Self::at(0, 0, 0)
    }

    const fn at(level: u32, size: u32, address: u64) -> Self {
        Self {
            level,
            size,
            address,
            true_size: Cell::new(0),
            buffer: PhantomData,
        }
    }

    /// A log at an address in the first page, where nothing ever is.
    pub const fn unmapped(level: u32, size: u32) -> Self {
        Self::at(level, size, 16)
    }

    /// A level and a size without a buffer.
    pub const fn without_buffer(level: u32, size: u32) -> Self {
        Self::at(level, size, 0)
    }
}

/// A buffer for a log, of which the caller names less to the kernel than there is.
pub struct Buffer {
    bytes: Vec<u8>,
    size: usize,
}

impl Buffer {
    pub fn of(size: usize) -> Self {
        Self {
            bytes: vec![UNTOUCHED; size + 64],
            size,
        }
    }

    pub fn log(&mut self, level: u32) -> Log<'_> {
        self.bytes.fill(UNTOUCHED);
        Log::at(level, self.size as u32, self.bytes.as_mut_ptr() as u64)
    }

    /// What the kernel wrote, if it wrote anything.
    pub fn text(&self) -> Option<String> {
        let (given, behind) = self.bytes.split_at(self.size);
        assert!(
            behind.iter().all(|byte| *byte == UNTOUCHED),
            "written beyond the buffer"
        );
        if given.iter().all(|byte| *byte == UNTOUCHED) {
            return None;
        }
        let end = given
            .iter()
            .position(|byte| *byte == 0)
            .expect("the log ends with a zero");
        Some(String::from_utf8(given[..end].to_vec()).expect("the log is text"))
    }
}
