// SPDX-License-Identifier: MIT OR Apache-2.0
//! Events, for a thread or for all.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::io::Errno;

use super::Refusal;
use crate::error::Error;
use crate::error::Result;
use crate::process;
use crate::sys;
use crate::sys::Event;

/// How the kernel numbers a kind of perf events.
pub(super) fn kind_number(kind: &str) -> Result<u32> {
    let path = Path::new("/sys/bus/event_source/devices")
        .join(kind)
        .join("type");
    let text = std::fs::read_to_string(&path).map_err(|error| Error::file(&path, error))?;
    text.trim()
        .parse()
        .map_err(|_| Error::file(path, std::io::ErrorKind::InvalidData.into()))
}

/// Opens an event, for the thread behind a pidfd if there is one.
pub(super) fn open(
    event: &Event<'_>,
    thread: Option<&OwnedFd>,
    cpu: i32,
) -> Result<OwnedFd, Refusal> {
    let refused = |errno| Refusal::new(errno, "the kernel refuses the event");
    let Some(thread) = thread else {
        return sys::open_event(event, None, cpu).map_err(refused);
    };
    let gone = || Refusal::new(Errno::SRCH, "the thread has ended");
    let number = number_of(thread)?.ok_or_else(gone)?;
    let opened = sys::open_event(event, Some(number), cpu).map_err(refused)?;
    // As long as it has the number, nothing else had it when the event was opened.
    match number_of(thread)? {
        Some(_) => Ok(opened),
        None => Err(gone()),
    }
}

/// The number of the thread behind a pidfd, as long as it has one.
fn number_of(thread: &OwnedFd) -> Result<Option<i32>, Refusal> {
    let number = process::number(thread);
    number.map_err(|_| Refusal::new(Errno::BADF, "what stands for a thread is no pidfd"))
}
