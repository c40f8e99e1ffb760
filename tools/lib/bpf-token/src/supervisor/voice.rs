// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the supervisor has to say, on the standard error of who makes the call.

use std::collections::HashSet;

use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::io::Errno;

use super::caller::Caller;
use super::request::Attr;
use crate::diagnose;
use crate::errno;
use crate::error::Error;
use crate::file_id::FileId;
use crate::token::Token;

/// How much is said at most, in lines.
const LINES: usize = 200;
/// What a pipe takes whole or not at all, `PIPE_BUF`.
const LONGEST: usize = 4096;

pub(super) struct Voice {
    /// Standard error of the program at its start; none if nothing is to be said.
    place: Option<FileId>,
    said: HashSet<String>,
}

impl Voice {
    pub(super) fn new(quiet: bool) -> Self {
        let stat = rustix::fs::fstat(std::io::stderr()).ok();
        Self {
            place: stat.filter(|_| !quiet).map(|stat| FileId::of(&stat)),
            said: HashSet::new(),
        }
    }

    /// Tells why the kernel will refuse the call, if it will.
    pub(super) fn tell_refusal(&mut self, caller: &Caller, attr: &Attr, token: &Token) {
        if self.place.is_none() {
            return;
        }
        if let Some(reason) = diagnose::foreseen(attr.request(), token) {
            let error = Error::with_reason(attr.action(), errno::Errno::EPERM, reason);
            self.say(caller, error.to_string());
        }
    }

    /// Tells why the caller gets no descriptor of the token.
    pub(super) fn tell_no_token(&mut self, caller: &Caller, attr: &Attr, errno: Errno) {
        let errno = errno::IntoErrno::into_errno(errno);
        self.say(
            caller,
            format!(
                "{}: without the token, which it can't be given: {errno}",
                attr.action()
            ),
        );
    }

    /// Tells why a call without room for a token is made without one.
    pub(super) fn tell_not_copied(&mut self, caller: &Caller, attr: &Attr, why: &str) {
        let what = if attr.has_room() {
            "its attributes can't be written"
        } else {
            "its attributes end before the field for a token"
        };
        self.say(
            caller,
            format!("{}: without the token: {what}, and {why}", attr.action()),
        );
    }

    /// Tells why the caller does not get an event.
    pub(super) fn tell_no_event(&mut self, caller: &Caller, reason: &str) {
        self.say(caller, format!("perf_event_open: {reason}"));
    }

    /// Says something once, where the program's standard error was at the start, if the caller has
    /// that open. Some loaders, such as bpftrace, move it elsewhere as long as they load.
    fn say(&mut self, caller: &Caller, text: String) {
        let Some(place) = self.place else {
            return;
        };
        if self.said.contains(&text) || self.said.len() >= LINES {
            return;
        }
        let Some(number) = caller.number_of(place) else {
            return;
        };
        let process = caller.process().unwrap_or(caller.tid);
        let mut line = format!(
            "bpftoken exec: process {process} ({}): {text}",
            caller.name()
        );
        self.said.insert(text);
        line.push('\n');
        let whole = line.len().min(LONGEST);
        let Ok(fd) = caller.descriptor(number) else {
            return;
        };
        // One that nobody reads must not hold up the callers.
        let mut fds = [PollFd::new(&fd, PollFlags::OUT)];
        if rustix::event::poll(&mut fds, Some(&Timespec::default())) == Ok(1) {
            let _ = rustix::io::write(&fd, &line.as_bytes()[..whole]);
        }
    }
}
