// SPDX-License-Identifier: MIT OR Apache-2.0
//! New processes: their signals and descriptors.

use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;
use std::ptr;

use rustix::io::Errno;
use rustix::io::Result;
use rustix::process::Pid;
use rustix::process::PidfdFlags;

use super::result;

/// Runs `child` in a new process, in new namespaces as the `CLONE_NEW*` flags say, and returns a
/// pidfd of it.
///
/// The child has all signals blocked and no signal handler: a handler would act for the parent, on
/// what the two share.
///
/// As after fork(2) in a program with threads, `child` must neither allocate nor take locks.
pub(crate) fn clone(namespaces: libc::c_int, child: impl FnOnce() -> i32) -> Result<OwnedFd> {
    let flags = libc::c_long::from(namespaces | libc::SIGCHLD | libc::CLONE_PIDFD);
    let mut pidfd = -1;
    let before = set_signal_mask(!0)?;
    // SAFETY: Without CLONE_VM and a new stack this is fork(2): the child has its own copy of
    // everything. The kernel writes the pidfd to where CLONE_PARENT_SETTID would write.
    let ret = unsafe { libc::syscall(libc::SYS_clone, flags, 0, ptr::from_mut(&mut pidfd), 0, 0) };
    let pid = result(ret);
    if pid == Ok(0) {
        default_signals();
        let status = child();
        // SAFETY: Always sound; no exit handlers of the parent run.
        unsafe { libc::_exit(status) }
    }
    set_signal_mask(before)?;
    // SAFETY: The call succeeded, so this is a new descriptor, which nothing else owns.
    pid.map(|_| unsafe { OwnedFd::from_raw_fd(pidfd) })
}

/// Runs `child` in a new process and returns its id. Only for a process that [`clone`] made, to
/// which all of that function's rules apply.
pub(crate) fn fork(child: impl FnOnce() -> i32) -> Result<Pid> {
    let flags = libc::c_long::from(libc::SIGCHLD);
    // SAFETY: As in `clone`.
    let ret = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    let pid = result(ret)?;
    if pid == 0 {
        let status = child();
        // SAFETY: As in `clone`.
        unsafe { libc::_exit(status) }
    }
    Pid::from_raw(pid).ok_or(Errno::IO)
}

/// A pidfd of the process that connected to a socket, which Linux 6.5 can tell.
pub(crate) fn peer(socket: BorrowedFd<'_>) -> Result<OwnedFd> {
    let mut pidfd: RawFd = -1;
    let mut length: libc::socklen_t = 4;
    // SAFETY: There is room for a number, whose length is said.
    let ret = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERPIDFD,
            ptr::from_mut(&mut pidfd).cast(),
            &mut length,
        )
    };
    result(ret.into())?;
    // SAFETY: The call succeeded, so this is a new descriptor, which nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(pidfd) })
}

/// Gives the thread a copy of the mount namespace.
pub(crate) fn copy_mounts() -> Result<()> {
    // SAFETY: Another working directory and root come with it, for this thread only.
    result(unsafe { libc::syscall(libc::SYS_unshare, libc::CLONE_NEWNS) }).map(drop)
}

/// Overwrites this memory of the process itself with what `zeros` has to read.
pub(crate) fn wipe(memory: Range<usize>, zeros: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: Only called in a new process, with the memory of the arguments that its parent was
    // executed with: nothing reads them any more. The kernel checks the addresses.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_read,
            zeros.as_raw_fd(),
            memory.start,
            memory.len(),
        )
    };
    result(ret).map(drop)
}

/// Sends a signal by its number.
pub(crate) fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    let info = ptr::null::<libc::siginfo_t>();
    // SAFETY: A null siginfo is none.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            info,
            0,
        )
    };
    result(ret).map(drop)
}

/// A pidfd of a thread, also of one that is no process.
pub(crate) fn open_thread(thread: Pid) -> Result<OwnedFd> {
    // PIDFD_THREAD, of Linux 6.9, which has tokens only.
    let flags = PidfdFlags::from_bits_retain(libc::O_EXCL as u32);
    rustix::process::pidfd_open(thread, flags)
}

/// A descriptor that becomes readable with SIGCHLD, which must be blocked.
pub(crate) fn child_signals() -> Result<OwnedFd> {
    let mask = 1u64 << (libc::SIGCHLD - 1);
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: The kernel reads 8 bytes.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_signalfd4,
            -1,
            ptr::from_ref(&mask),
            size_of::<u64>(),
            flags,
        )
    };
    // SAFETY: The call succeeded, so this is a new descriptor, which nothing else owns.
    result(ret).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Gives the process a new, empty session keyring. A kernel without keys needs none.
pub(crate) fn new_session_keyring() -> Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    let name = ptr::null::<libc::c_char>();
    // SAFETY: Without a name the keyring is a new one.
    let ret = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name) };
    match result(ret) {
        Ok(_) | Err(Errno::NOSYS) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Blocks the signals of this set, bit 0 for signal 1, and no others; returns the set from before.
pub(crate) fn set_signal_mask(mask: u64) -> Result<u64> {
    let mut before = 0u64;
    // SAFETY: The kernel reads and writes 8 bytes each. The C library's own signals can be blocked
    // for the time of a system call.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            ptr::from_ref(&mask),
            ptr::from_mut(&mut before),
            size_of::<u64>(),
        )
    };
    result(ret).map(|_| before)
}

/// Gives signals their default action: those with a handler, and SIGPIPE and SIGCHLD, which Rust's
/// runtime or the caller may ignore. What else is ignored stays so, as nohup(1) wants it.
fn default_signals() {
    // `struct sigaction` of the kernel: the handler, then flags and mask, on all architectures in
    // at most this.
    type Action = [usize; 8];
    let size = size_of::<u64>();
    for signal in 1..=64 {
        let mut action: Action = [0; 8];
        // SAFETY: The kernel writes one `struct sigaction`, for which there is room.
        let got = unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                ptr::null::<Action>(),
                ptr::from_mut(&mut action),
                size,
            )
        };
        let ignored = got != 0 || action[0] == libc::SIG_IGN;
        if ignored && signal != libc::SIGPIPE && signal != libc::SIGCHLD {
            continue;
        }
        action = [0; 8];
        // SAFETY: All zeros is the default action, SIG_DFL. No handler is installed.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                ptr::from_ref(&action),
                ptr::null_mut::<Action>(),
                size,
            );
        }
    }
}

/// Closes every descriptor but these, which it sorts.
///
/// Only for a new process, which ends or executes a program without ever dropping the owners of
/// what it inherited.
pub(crate) fn close_all_but(keep: &mut [RawFd]) -> Result<()> {
    keep.sort_unstable();
    let mut first = 0;
    for last in keep.iter().map(|fd| fd - 1).chain([RawFd::MAX]) {
        if first <= last {
            // SAFETY: Nothing in this process uses these descriptors any more, see above.
            result(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })?;
        }
        first = last.saturating_add(2);
    }
    Ok(())
}

/// Lets the next program have the standard descriptors and no others.
pub(crate) fn close_on_exec() -> Result<()> {
    let flags = libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: No descriptor is closed as long as this program runs.
    result(unsafe { libc::syscall(libc::SYS_close_range, 3, RawFd::MAX, flags) }).map(drop)
}

/// Lets the next program not have this descriptor.
pub(crate) fn close_one_on_exec(number: RawFd) -> Result<()> {
    let flags = libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: No descriptor is closed as long as this program runs.
    result(unsafe { libc::syscall(libc::SYS_close_range, number, number, flags) }).map(drop)
}

/// Makes `fd` also descriptor `number`, kept on exec.
pub(crate) fn place_fd(fd: BorrowedFd<'_>, number: RawFd) -> Result<()> {
    // SAFETY: Only called in a new process that is about to execute a program: nothing there owns
    // `number`.
    result(unsafe { libc::syscall(libc::SYS_dup3, fd.as_raw_fd(), number, 0) }).map(drop)
}
