// SPDX-License-Identifier: MIT OR Apache-2.0
//! New processes, and what they execute.

use std::ffi::CStr;
use std::ffi::CString;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;
use std::ptr;

use rustix::io::Errno;
use rustix::io::Result;
use rustix::process::Pid;

use super::result;

/// Runs `child` in a new process, in new namespaces as the `CLONE_NEW*` flags say, and returns its
/// process id.
///
/// The child has all signals blocked and no signal handler: a handler would act for the parent, on
/// what the two share.
///
/// As after fork(2) in a program with threads, `child` must neither allocate nor take locks.
pub(crate) fn clone(namespaces: libc::c_int, child: impl FnOnce() -> i32) -> Result<Pid> {
    let flags = libc::c_long::from(namespaces | libc::SIGCHLD);
    let before = set_signal_mask(!0)?;
    // SAFETY: Without CLONE_VM and a new stack this is fork(2): the child has its own copy of
    // everything.
    let ret = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    let pid = result(ret);
    if pid != Ok(0) {
        set_signal_mask(before)?;
    }
    let pid = pid?;
    if pid == 0 {
        default_signals();
        let status = child();
        // SAFETY: Always sound; no exit handlers of the parent run.
        unsafe { libc::_exit(status) }
    }
    Pid::from_raw(pid).ok_or(Errno::IO)
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
pub(crate) fn close_all_but(keep: &mut [i32]) -> Result<()> {
    keep.sort_unstable();
    let mut first = 0;
    for last in keep.iter().map(|fd| fd - 1).chain([i32::MAX]) {
        if first <= last {
            // SAFETY: Nothing in this process uses these descriptors any more, see above.
            result(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })?;
        }
        first = last.saturating_add(2);
    }
    Ok(())
}

/// A program to execute: its file, arguments and environment, allocated before the new process
/// exists.
pub(crate) struct Exec {
    candidates: Vec<CString>,
    file: Option<OwnedFd>,
    _argv: Vec<CString>,
    _envp: Vec<CString>,
    argv_ptrs: Vec<*const libc::c_char>,
    envp_ptrs: Vec<*const libc::c_char>,
}

impl Exec {
    /// Executes `file` if there is one, else the first of the paths that exists.
    pub(crate) fn new(
        candidates: Vec<CString>,
        file: Option<OwnedFd>,
        argv: Vec<CString>,
        envp: Vec<CString>,
    ) -> Self {
        let pointers = |strings: &[CString]| {
            strings
                .iter()
                .map(|s| s.as_ptr())
                .chain([ptr::null()])
                .collect()
        };
        // INVARIANT: The arrays end with a null pointer and point into the strings, which stay
        // where they are.
        Self {
            argv_ptrs: pointers(&argv),
            envp_ptrs: pointers(&envp),
            candidates,
            file,
            _argv: argv,
            _envp: envp,
        }
    }

    /// The descriptor of the file to execute.
    pub(crate) fn fd(&self) -> Option<RawFd> {
        self.file.as_ref().map(OwnedFd::as_raw_fd)
    }

    /// Replaces the process by the program; returns only if that failed.
    pub(crate) fn exec(&self) -> Errno {
        if let Some(file) = &self.file {
            return self.execveat(file.as_raw_fd(), c"", libc::AT_EMPTY_PATH);
        }
        let mut last = Errno::NOENT;
        for path in &self.candidates {
            match self.execveat(libc::AT_FDCWD, path, 0) {
                Errno::NOENT | Errno::NOTDIR => {}
                errno => last = errno,
            }
        }
        last
    }

    fn execveat(&self, dir: i32, path: &CStr, flags: i32) -> Errno {
        // SAFETY: The path ends with a NUL, and the arrays with a null pointer, by the type's
        // invariant.
        let ret = unsafe {
            libc::syscall(
                libc::SYS_execveat,
                dir,
                path.as_ptr(),
                self.argv_ptrs.as_ptr(),
                self.envp_ptrs.as_ptr(),
                flags,
            )
        };
        result(ret).err().unwrap_or(Errno::IO)
    }
}

/// Makes `fd` also descriptor `number`, kept on exec.
pub(crate) fn place_fd(fd: BorrowedFd<'_>, number: i32) -> Result<()> {
    if fd.as_raw_fd() == number {
        return rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty());
    }
    // SAFETY: Only called in a new process that is about to execute a program: nothing there owns
    // `number`.
    result(unsafe { libc::syscall(libc::SYS_dup3, fd.as_raw_fd(), number, 0) }).map(drop)
}
