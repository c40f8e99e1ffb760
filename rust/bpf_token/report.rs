// SPDX-License-Identifier: GPL-2.0

//! Reports a refused command, with its reason, to the log and to trace events.
//!
//! The log of the command gets the reason while it can be written; the trace event is fired when
//! the errno of the command is final.

#![forbid(unsafe_code)]

use crate::{
    decision::{
        Decision,
        Refusal, //
    },
    events::{
        self,
        Refused, //
    },
    line::Line,
    log::{
        Log,
        LogAttr,
        VerifierLog, //
    },
    reason::Reason,
    request::{
        Command,
        Request, //
    }, //
};
use kernel::{
    bindings,
    error::Error, //
};

/// The line that C writes when the descriptor in place of a map's token is none.
const INVALID_MAP_TOKEN_FD: &str = "Invalid map_token_fd.";

/// Writes that line where C does, while the log is open: a log without room for it makes the
/// command fail.
#[inline(never)]
pub(crate) fn wrong_token_of_map(decision: &Decision, mut log: VerifierLog<'_>) {
    if let Refusal::NotOpen(_) | Refusal::NotAToken(_) = decision.refusal {
        log.write_line(INVALID_MAP_TOKEN_FD);
    }
}

/// Writes why a request is refused to its log, if the caller wants one.
#[cold]
pub(crate) fn log(request: &Request, decision: &Decision, mut log: Log<'_>) {
    let first = match (request.cmd, decision.refusal) {
        (bindings::bpf_cmd_BPF_MAP_CREATE, Refusal::NotOpen(_) | Refusal::NotAToken(_)) => {
            Some(INVALID_MAP_TOKEN_FD)
        }
        _ => None,
    };
    if log.is_wanted() {
        log.write(first, Line::new(&Reason { request, decision }).as_str());
    }
}

/// Tells why a command fails with `err` before it has written to its log, if anybody reads it.
#[inline]
pub(crate) fn early(command: impl Command, decision: &Decision, attr: LogAttr<'_>, err: Error) {
    if attr.is_wanted() || events::refusals_are_traced() {
        early_and_read(command, decision, attr, err);
    }
}

#[cold]
#[inline(never)]
fn early_and_read(command: impl Command, decision: &Decision, attr: LogAttr<'_>, err: Error) {
    log(&command.request(), decision, Log::Closed(attr));
    trace(&command.request(), decision, err);
}

/// Fires the trace event of a refused request, which fails with `err`.
#[inline]
pub(crate) fn trace(request: &Request, decision: &Decision, err: Error) {
    if events::refusals_are_traced() && decision.refusal != Refusal::None {
        fire(request, decision, err);
    }
}

#[cold]
#[inline(never)]
fn fire(request: &Request, decision: &Decision, err: Error) {
    let refused = Refused {
        cmd: request.cmd,
        object_type: request.object_type,
        attach_type: request.attach_type,
        cap: decision.refusal.capability(),
        err,
    };
    let reason = Line::new(&Reason { request, decision });
    events::refused(&refused, &decision.given, &reason);
}
