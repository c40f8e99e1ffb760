// SPDX-License-Identifier: GPL-2.0

//! Telling those who can read it that a command was refused, and why.

#![forbid(unsafe_code)]

use crate::{
    delegation::Delegation,
    events,
    reason::Reason,
    request::Request,
    token::Token, //
};
use core::fmt::{
    self,
    Write, //
};
use kernel::{
    bpf::log::Log,
    error::Error, //
};

/// One line of bounded length; what does not fit is left out.
pub(crate) struct Line {
    bytes: [u8; Line::MOST],
    len: usize,
}

impl Line {
    /// Longer than any reason but those that show a mask of many names.
    const MOST: usize = 400;

    fn new(text: &dyn fmt::Display) -> Self {
        let mut line = Line {
            bytes: [0; Line::MOST],
            len: 0,
        };
        // An error says that the line is full.
        let _ = write!(line, "{text}");
        line
    }

    fn as_str(&self) -> &str {
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

/// What was asked for, as far as there is anything to tell of it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Asked {
    pub(crate) cmd: u32,
    pub(crate) object_type: u32,
    pub(crate) attach_type: u32,
}

impl Asked {
    pub(crate) fn by<R: Request>(request: R) -> Self {
        Self {
            cmd: R::CMD,
            object_type: request.object_type(),
            attach_type: request.attach_type(),
        }
    }
}

/// Whether anybody reads why a command fails: in the caller's log, or from the trace event.
#[inline(always)]
pub(crate) fn is_read(log: Log<'_>) -> bool {
    events::refusals_are_traced() || log.is_wanted()
}

/// Tells why a command fails with `err`, if anybody reads it. Returns `err`.
#[inline(always)]
pub(crate) fn refuse(
    asked: Asked,
    token: Option<&Token>,
    log: Log<'_>,
    err: Error,
    reason: impl FnOnce() -> Reason,
) -> Error {
    if is_read(log) {
        tell(asked, token, log, err, reason())
    } else {
        err
    }
}

/// Tells why a command fails with `err`. Returns `err`.
#[cold]
pub(crate) fn tell(
    asked: Asked,
    token: Option<&Token>,
    log: Log<'_>,
    err: Error,
    reason: Reason,
) -> Error {
    if let (Log::Open(Some(log)), Reason::NotOpen { .. } | Reason::NotAToken { .. }) =
        (log, &reason)
    {
        // C's line comes first: the command fails when there is no room for it.
        log.write_line(c"Invalid map_token_fd.");
    }
    let line = Line::new(&reason);
    log.append(line.as_str());
    if events::refusals_are_traced() {
        let allowed = token.map_or(Delegation::NOTHING, |token| *token.allowed());
        events::refuse(asked, token, &allowed, err, reason.capability(), &line);
    }
    err
}
