// SPDX-License-Identifier: MIT OR Apache-2.0
//! A seccomp filter that hands calls of bpf(2) and perf_event_open(2) to a supervisor, and what the
//! supervisor does about them, `include/uapi/linux/seccomp.h`.

use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use rustix::io::Errno;
use rustix::io::Result;
use rustix::process::Pid;

use super::result;
use super::terminal::end;
use super::terminal::if_equal;
use super::terminal::load;
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

/// Which calls go to a supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Supervised {
    /// Those of bpf(2) with a command that takes a token.
    pub(crate) bpf: bool,
    /// Those of perf_event_open(2).
    pub(crate) events: bool,
}

/// Hands these calls to a supervisor, for this process and all that come from it. Returns the
/// supervisor's descriptor; close-on-exec.
///
/// The calls of other architectures that the kernel runs, such as i386, go on as ever. Once all copies
/// of the descriptor are closed, the calls that would go to it fail (`ENOSYS`).
///
/// # Errors
///
/// `EACCES` without CAP_SYS_ADMIN in the user namespace and without no_new_privs; `EBUSY` if the
/// process has a supervisor already.
pub(crate) fn supervise(what: Supervised) -> Result<OwnedFd> {
    let events = match what.events {
        true => if_equal(libc::SYS_perf_event_open as u32, 8),
        // Nothing new.
        false => load(NR),
    };
    let bpf = match what.bpf {
        true => unless_equal(libc::SYS_bpf as u32, 6),
        false => end(libc::SECCOMP_RET_ALLOW),
    };
    let filter = [
        load(ARCH),
        unless_equal(NATIVE, 9),
        load(NR),
        events,
        bpf,
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

/// A call that waits for the supervisor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// The cookie, which no other call of this supervisor ever has.
    pub(crate) id: u64,
    /// The thread that makes it, as the supervisor numbers processes; 0 if it sees none.
    pub(crate) tid: i32,
    number: i32,
    pub(crate) args: [u64; 6],
}

// Of smaller arguments, the kernel takes the low part, too.
impl Call {
    /// Whether it is of perf_event_open(2), and not of bpf(2).
    pub(crate) fn is_event(&self) -> bool {
        libc::c_long::from(self.number) == libc::SYS_perf_event_open
    }

    /// The command of bpf(2), with `BPF_COMMON_ATTRS` if the caller set it.
    pub(crate) fn cmd(&self) -> u32 {
        self.args[0] as u32
    }

    /// Where the attributes of bpf(2) are in its memory.
    pub(crate) fn attr(&self) -> u64 {
        self.args[1]
    }

    /// How long they are.
    pub(crate) fn size(&self) -> u32 {
        self.args[2] as u32
    }
}

/// Waits for a call. `ENOENT` if the one that there was is gone: its process was killed.
pub(crate) fn next_call(listener: BorrowedFd<'_>) -> Result<Call> {
    // SAFETY: All zeros is a value of it, and what the kernel wants.
    let mut notif: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: The request has the size of what it points to, which the kernel fills.
    unsafe { ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_RECV, &mut notif) }?;
    Ok(Call {
        id: notif.id,
        tid: notif.pid as i32,
        number: notif.data.nr,
        args: notif.data.args,
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

/// How a caller gets a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    /// Close-on-exec, before the call is answered.
    Besides,
    /// As what the call returns, close-on-exec or not.
    AsResult { close_on_exec: bool },
}

/// Gives the caller a descriptor of this file and returns its number. `EMFILE` if the caller has no
/// number left.
pub(crate) fn give_fd(
    listener: BorrowedFd<'_>,
    id: u64,
    fd: BorrowedFd<'_>,
    how: Given,
) -> Result<RawFd> {
    let (flags, close_on_exec) = match how {
        Given::Besides => (0, true),
        Given::AsResult { close_on_exec } => (libc::SECCOMP_ADDFD_FLAG_SEND as u32, close_on_exec),
    };
    let mut addfd = libc::seccomp_notif_addfd {
        id,
        flags,
        srcfd: fd.as_raw_fd() as u32,
        newfd: 0,
        newfd_flags: if close_on_exec {
            libc::O_CLOEXEC as u32
        } else {
            0
        },
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
