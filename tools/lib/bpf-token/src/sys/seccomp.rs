// SPDX-License-Identifier: MIT OR Apache-2.0
//! A seccomp filter that hands calls of bpf(2) to a supervisor, and what the supervisor does about
//! them, `include/uapi/linux/seccomp.h`.

use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use rustix::io::Errno;
use rustix::io::Result;
use rustix::process::Pid;

use super::result;
use super::terminal::if_equal;
use super::terminal::statement;
use super::terminal::unless_equal;
use super::terminal::ARCH;
use super::terminal::NATIVE;
use super::terminal::NR;
use crate::kind::Enumerator;
use crate::names::Cmd;

/// Where the low half of the first argument is in `struct seccomp_data`: the command.
const CMD: u32 = 16;
/// All of a command but `BPF_COMMON_ATTRS`.
const CMD_MASK: u32 = !(1 << 16);

/// Hands every call of bpf(2) with a command that takes a token to a supervisor, for this process and
/// all that come from it. Returns the supervisor's descriptor; close-on-exec.
///
/// The calls of other architectures that the kernel runs, such as i386, go on as ever. Once all copies
/// of the descriptor are closed, the calls that would go to it fail (`ENOSYS`).
///
/// # Errors
///
/// `EACCES` without CAP_SYS_ADMIN in the user namespace and without no_new_privs; `EBUSY` if the
/// process has a supervisor already.
pub(crate) fn supervise_bpf() -> Result<OwnedFd> {
    let load = |offset| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset);
    let end = |action| statement(libc::BPF_RET | libc::BPF_K, action);
    let filter = [
        load(ARCH),
        unless_equal(NATIVE, 8),
        load(NR),
        unless_equal(libc::SYS_bpf as u32, 6),
        load(CMD),
        statement(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, CMD_MASK),
        if_equal(Cmd::MAP_CREATE.value(), 4),
        if_equal(Cmd::PROG_LOAD.value(), 3),
        if_equal(Cmd::BTF_LOAD.value(), 2),
        if_equal(Cmd::BTF_GET_FD_BY_ID.value(), 1),
        end(libc::SECCOMP_RET_ALLOW),
        end(libc::SECCOMP_RET_USER_NOTIF),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_ptr().cast_mut(),
    };
    let flags =
        libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    // SAFETY: The program is as long as it says, and only read.
    let fd = result(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            std::ptr::from_ref(&program),
        )
    })?;
    // SAFETY: The call succeeded, so this is a new descriptor, which nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A call of bpf(2) that waits for the supervisor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// The cookie, which no other call of this supervisor ever has.
    pub(crate) id: u64,
    /// The thread that makes it, as the supervisor numbers processes; 0 if it sees none.
    pub(crate) tid: i32,
    /// The command, with `BPF_COMMON_ATTRS` if the caller set it.
    pub(crate) cmd: u32,
    /// Where the attributes are in its memory, and how long they are.
    pub(crate) attr: u64,
    pub(crate) size: u32,
}

/// Waits for a call. `ENOENT` if the one that there was is gone: its process was killed.
pub(crate) fn next_call(listener: BorrowedFd<'_>) -> Result<Call> {
    // SAFETY: All zeros is a value of it, and what the kernel wants.
    let mut notif: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: The request has the size of what it points to, which the kernel fills.
    unsafe { ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_RECV, &mut notif) }?;
    let args = notif.data.args;
    Ok(Call {
        id: notif.id,
        tid: notif.pid as i32,
        // The kernel takes the low halves, too.
        cmd: args[0] as u32,
        attr: args[1],
        size: args[2] as u32,
    })
}

/// Whether the call still waits: then its thread is there, and its number is no other's.
pub(crate) fn call_waits(listener: BorrowedFd<'_>, id: u64) -> bool {
    let mut id = id;
    // SAFETY: As in `next_call`; the kernel reads it.
    unsafe { ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &mut id) }.is_ok()
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The caller makes it.
    Continue,
    /// It is not made, and fails with this.
    Fail(Errno),
}

/// Answers a call. `ENOENT` if it is gone.
pub(crate) fn answer_call(listener: BorrowedFd<'_>, id: u64, answer: Answer) -> Result<()> {
    let (error, flags) = match answer {
        Answer::Continue => (0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
        Answer::Fail(errno) => (-errno.raw_os_error(), 0),
    };
    let mut response = libc::seccomp_notif_resp {
        id,
        val: 0,
        error,
        flags,
    };
    // SAFETY: As in `next_call`.
    unsafe { ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_SEND, &mut response) }.map(drop)
}

/// Gives the caller a close-on-exec descriptor of this file and returns its number; with `is_result`,
/// that is also what the call returns. `EMFILE` if the caller has no number left.
pub(crate) fn give_fd(
    listener: BorrowedFd<'_>,
    id: u64,
    fd: BorrowedFd<'_>,
    is_result: bool,
) -> Result<RawFd> {
    let flags = if is_result {
        libc::SECCOMP_ADDFD_FLAG_SEND as u32
    } else {
        0
    };
    let mut addfd = libc::seccomp_notif_addfd {
        id,
        flags,
        srcfd: fd.as_raw_fd() as u32,
        newfd: 0,
        newfd_flags: libc::O_CLOEXEC as u32,
    };
    // SAFETY: As in `next_call`; the kernel reads it.
    unsafe { ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_ADDFD, &mut addfd) }
}

/// # Safety
///
/// The kernel must read or write no more than `T` for this request, and `T` must be valid with any
/// bits.
unsafe fn ioctl<T>(fd: BorrowedFd<'_>, request: libc::Ioctl, argument: &mut T) -> Result<i32> {
    // SAFETY: By this function's contract.
    result(unsafe {
        libc::syscall(
            libc::SYS_ioctl,
            fd.as_raw_fd(),
            request,
            std::ptr::from_mut(argument),
        )
    })
}

/// Forks a process that has a single thread, so that the child may do all that the parent could.
/// Returns the child's number; none in the child.
pub(crate) fn fork_alone() -> Result<Option<Pid>> {
    // SAFETY: Without other threads, no lock is held by a thread that the child lacks.
    let pid = result(libc::c_long::from(unsafe { libc::fork() }))?;
    Ok(Pid::from_raw(pid))
}

/// Ends the process without what the parent would do at its own end.
pub(crate) fn exit_now(status: i32) -> ! {
    // SAFETY: Always sound.
    unsafe { libc::_exit(status) }
}
