// SPDX-License-Identifier: MIT OR Apache-2.0
//! The system calls that rustix does not have: bpf(2), clone(2), execveat(2), perf_event_open(2), seccomp(2),
//! statmount(2); and a few calls of libbpf. All of the crate's unsafe code.

mod attr;
mod bpf;
mod exec;
#[cfg(feature = "libbpf")]
mod lend;
#[cfg(feature = "libbpf")]
mod libbpf;
mod mount;
mod perf;
mod process;
mod seccomp;
mod terminal;

use rustix::io::Errno;
use rustix::io::Result;

pub(crate) use attr::token_offsets;
pub(crate) use bpf::*;
pub(crate) use exec::*;
#[cfg(feature = "libbpf")]
pub(crate) use lend::*;
#[cfg(feature = "libbpf")]
pub(crate) use libbpf::*;
pub(crate) use mount::*;
pub(crate) use perf::*;
pub(crate) use process::*;
pub(crate) use seccomp::*;
pub(crate) use terminal::*;

/// What a system call returned: a number that is not negative, or an errno.
fn result(ret: libc::c_long) -> Result<i32> {
    match i32::try_from(ret) {
        Ok(ret) if ret >= 0 => Ok(ret),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}
