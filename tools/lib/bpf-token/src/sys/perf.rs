// SPDX-License-Identifier: MIT OR Apache-2.0
//! Perf events that BPF programs are attached to, `include/uapi/linux/perf_event.h`.

use std::ffi::CStr;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;

use rustix::io::Result;

use super::result;

/// `PERF_TYPE_TRACEPOINT`.
pub(crate) const TRACEPOINT: u32 = 2;
/// `PERF_FLAG_FD_CLOEXEC`.
pub(crate) const CLOEXEC: u64 = 8;

/// What an event is about: it counts, and neither samples nor tells of anything else.
pub(crate) struct Event<'a> {
    pub(crate) kind: u32,
    pub(crate) config: u64,
    /// A function or a file.
    pub(crate) name: Option<&'a CStr>,
    pub(crate) offset: u64,
}

/// `struct perf_event_attr`, up to its second version.
#[repr(C)]
struct Attr {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    bp_type: u32,
    config1: u64,
    config2: u64,
}

/// Opens the event for a thread, or for all; close-on-exec.
pub(crate) fn open_event(event: &Event<'_>, thread: Option<i32>, cpu: i32) -> Result<OwnedFd> {
    let attr = Attr {
        kind: event.kind,
        size: size_of::<Attr>() as u32,
        config: event.config,
        sample_period: 0,
        sample_type: 0,
        read_format: 0,
        flags: 0,
        wakeup_events: 0,
        bp_type: 0,
        config1: event.name.map_or(0, |name| name.as_ptr() as u64),
        config2: event.offset,
    };
    // SAFETY: The attributes have the size that they say, and the name ends with a NUL; both are only
    // read.
    let fd = result(unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            std::ptr::from_ref(&attr),
            thread.unwrap_or(-1),
            cpu,
            -1,
            CLOEXEC,
        )
    })?;
    // SAFETY: The call succeeded, so this is a new descriptor, which nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
