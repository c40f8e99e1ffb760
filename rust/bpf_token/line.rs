// SPDX-License-Identifier: GPL-2.0

//! One line of text of bounded length, without an allocation.

#![forbid(unsafe_code)]

use core::fmt::{
    self,
    Write, //
};

/// A line; what does not fit is left out.
pub(crate) struct Line {
    bytes: [u8; Line::MOST],
    len: usize,
}

impl Line {
    /// Longer than any reason but those that show a mask of many names.
    const MOST: usize = 400;

    pub(crate) fn new(text: &dyn fmt::Display) -> Self {
        let mut line = Line {
            bytes: [0; Line::MOST],
            len: 0,
        };
        // An error says that the line is full.
        let _ = write!(line, "{text}");
        line
    }

    pub(crate) fn as_str(&self) -> &str {
        core::str::from_utf8(&self.bytes[..self.len]).unwrap_or("")
    }

    /// The line with a zero behind it.
    pub(crate) fn as_c_bytes(&self) -> &[u8] {
        &self.bytes[..=self.len]
    }
}

impl Write for Line {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        // All reasons are ASCII, so a cut is never within a character. The last byte stays zero.
        let room = Line::MOST - 1 - self.len;
        let fits = room.min(s.len());
        self.bytes[self.len..][..fits].copy_from_slice(&s.as_bytes()[..fits]);
        self.len += fits;
        if fits == s.len() {
            Ok(())
        } else {
            Err(fmt::Error)
        }
    }
}
