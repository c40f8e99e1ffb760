// SPDX-License-Identifier: GPL-2.0
//! New processes, and what they execute.

use std::ffi::CStr;
use std::ffi::CString;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::ptr;

use rustix::io::Errno;
use rustix::io::Result;
use rustix::process::Pid;

use super::result;

/// Runs `child` in a new process, in new namespaces as the `CLONE_NEW*` flags say, and returns its
/// process id.
///
/// As after fork(2) in a program with threads, `child` must neither allocate nor take locks.
pub(crate) fn clone(namespaces: libc::c_int, child: impl FnOnce() -> i32) -> Result<Pid> {
    let flags = libc::c_long::from(namespaces | libc::SIGCHLD);
    // SAFETY: Without CLONE_VM and a new stack this is fork(2): the child has its own copy of
    // everything.
    let ret = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    let pid = result(ret)?;
    if pid == 0 {
        let status = child();
        // SAFETY: Always sound; no exit handlers of the parent run.
        unsafe { libc::_exit(status) }
    }
    Pid::from_raw(pid).ok_or(Errno::IO)
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

/// Closes a descriptor that a new process inherited and whose owner lives on in the parent.
pub(crate) fn close_inherited(fd: BorrowedFd<'_>) {
    // SAFETY: Only called in a new process, which ends or executes a program without ever dropping
    // the owner.
    unsafe { libc::close(fd.as_raw_fd()) };
}
