// SPDX-License-Identifier: GPL-2.0
//! Calls of perf_event_open(2), as a loader makes them or as nobody should.

use std::ffi::CString;
use std::fs;
use std::io::Error;
use std::rc::Rc;

use anyhow::Context;
use anyhow::Result;

/// `PERF_TYPE_TRACEPOINT`.
pub const TRACEPOINT: u32 = 2;
/// `PERF_FLAG_FD_CLOEXEC`.
pub const CLOEXEC: u64 = 8;
/// `PERF_EVENT_IOC_SET_BPF` and `PERF_EVENT_IOC_PERIOD`.
pub const SET_BPF: u64 = 0x4004_2408;
pub const PERIOD: u64 = 0x4008_2404;

/// What a call returned: a descriptor, which stays open, or an errno.
pub type Outcome = Result<i32, i32>;

/// `struct perf_event_attr`, and what else is said in a call.
#[derive(Clone)]
pub struct Event {
    pub bytes: [u8; 160],
    _name: Rc<CString>,
    pub pid: i32,
    pub cpu: i32,
    pub group: i32,
    pub flags: u64,
}

impl Event {
    pub fn new(kind: u32, name: &str) -> Self {
        let event = Self {
            bytes: [0; 160],
            _name: Rc::new(CString::new(name).unwrap_or_default()),
            pid: -1,
            cpu: 0,
            group: -1,
            flags: CLOEXEC,
        };
        let address = event._name.as_ptr() as u64;
        let event = event.u32(0, kind).u32(4, 144);
        if name.is_empty() {
            event
        } else {
            event.u64(56, address)
        }
    }

    pub fn kprobe(name: &str) -> Result<Self> {
        Ok(Self::new(kind("kprobe")?, name))
    }

    pub fn uprobe(path: &str) -> Result<Self> {
        // The first instruction of the text, which is as good as any.
        Ok(Self::new(kind("uprobe")?, path).u64(64, 4096))
    }

    pub fn tracepoint(id: u64) -> Self {
        Self::new(TRACEPOINT, "").u64(8, id)
    }

    pub fn u32(mut self, at: usize, value: u32) -> Self {
        self.bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    pub fn u64(mut self, at: usize, value: u64) -> Self {
        self.bytes[at..at + 8].copy_from_slice(&value.to_ne_bytes());
        self
    }

    pub fn open(&self) -> Outcome {
        self.open_at(self.bytes.as_ptr())
    }

    pub fn open_at(&self, attr: *const u8) -> Outcome {
        // SAFETY: The kernel checks addresses, and only reads what is there.
        let ret = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                attr,
                self.pid,
                self.cpu,
                self.group,
                self.flags,
            )
        };
        outcome(ret)
    }
}

/// What a system call returned.
pub fn outcome(ret: libc::c_long) -> Outcome {
    match i32::try_from(ret) {
        Ok(fd) if fd >= 0 => Ok(fd),
        _ => Err(Error::last_os_error().raw_os_error().unwrap_or(0)),
    }
}

pub fn ioctl(fd: i32, request: u64, argument: u64) -> Outcome {
    // SAFETY: Of these requests, the kernel reads 8 bytes at most, and checks their address.
    outcome(unsafe { libc::syscall(libc::SYS_ioctl, fd, request, argument) })
}

/// How the kernel numbers a kind of events.
fn kind(name: &str) -> Result<u32> {
    let path = format!("/sys/bus/event_source/devices/{name}/type");
    let text = fs::read_to_string(&path).context(path)?;
    Ok(text.trim().parse()?)
}

/// The id of a tracepoint, as the container is told it.
pub fn id(tracepoint: &str) -> Result<u64> {
    let path = format!("/sys/kernel/tracing/events/{tracepoint}/id");
    let text = fs::read_to_string(&path).context(path)?;
    Ok(text.trim().parse()?)
}
