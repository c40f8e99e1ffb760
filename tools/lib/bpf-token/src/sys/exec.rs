// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a new process executes.

use std::ffi::CStr;
use std::ffi::CString;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::ptr;

use rustix::fs::AtFlags;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::io::FdFlags;

use super::result;

/// What execvp(3) runs a file with that is executable but in no format that the kernel knows.
const SHELL: &CStr = c"/bin/sh";

/// A program to execute: its file, arguments and environment, allocated before the new process
/// exists.
pub(crate) struct Exec {
    candidates: Vec<CString>,
    file: Option<OwnedFd>,
    _argv: Vec<CString>,
    _envp: Vec<CString>,
    // INVARIANT: The arrays end with a null pointer and point into the strings, which stay where
    // they are.
    argv: Vec<*const libc::c_char>,
    envp: Vec<*const libc::c_char>,
}

impl Exec {
    /// Executes `file` if there is one, else the first of the paths that exists.
    pub(crate) fn new(
        candidates: Vec<CString>,
        file: Option<OwnedFd>,
        argv: Vec<CString>,
        envp: Vec<CString>,
    ) -> Self {
        let pointers = |strings: &[CString]| strings.iter().map(|s| s.as_ptr()).collect();
        let mut argv_ptrs: Vec<_> = pointers(&argv);
        // Room for the shell, the script and the end.
        argv_ptrs.extend([ptr::null(); 3]);
        let mut envp_ptrs: Vec<_> = pointers(&envp);
        envp_ptrs.push(ptr::null());
        Self {
            argv: argv_ptrs,
            envp: envp_ptrs,
            candidates,
            file,
            _argv: argv,
            _envp: envp,
        }
    }

    /// The file to execute.
    pub(crate) fn file(&mut self) -> Option<&mut OwnedFd> {
        self.file.as_mut()
    }

    /// Replaces the process by the program; returns only if that failed.
    pub(crate) fn exec(&mut self) -> Errno {
        if let Some(file) = &self.file {
            let number = file.as_raw_fd();
            // The interpreter of a script opens it anew, as /dev/fd/NUMBER.
            if is_script(file) {
                if let Err(errno) = rustix::io::fcntl_setfd(file, FdFlags::empty()) {
                    return errno;
                }
            }
            return self.execveat(number, c"", libc::AT_EMPTY_PATH);
        }
        let mut last = Errno::NOENT;
        for candidate in 0..self.candidates.len() {
            match self.execveat(libc::AT_FDCWD, &self.candidates[candidate], 0) {
                Errno::NOENT | Errno::NOTDIR => {}
                Errno::NOEXEC => return self.exec_shell(candidate),
                // A directory of PATH that may not be searched has no such program.
                Errno::ACCESS if !exists(&self.candidates[candidate]) => {}
                errno => last = errno,
            }
        }
        last
    }

    /// Executes the shell with a script.
    fn exec_shell(&mut self, script: usize) -> Errno {
        let arguments = self._argv.len();
        self.argv.copy_within(1..arguments.max(1), 2);
        self.argv[0] = SHELL.as_ptr();
        self.argv[1] = self.candidates[script].as_ptr();
        self.execveat(libc::AT_FDCWD, SHELL, 0)
    }

    fn execveat(&self, dir: i32, path: &CStr, flags: i32) -> Errno {
        // SAFETY: The path ends with a NUL, and the arrays with a null pointer, by the type's
        // invariant.
        let ret = unsafe {
            libc::syscall(
                libc::SYS_execveat,
                dir,
                path.as_ptr(),
                self.argv.as_ptr(),
                self.envp.as_ptr(),
                flags,
            )
        };
        result(ret).err().unwrap_or(Errno::IO)
    }
}

fn is_script(file: &OwnedFd) -> bool {
    let mut start = [0; 2];
    rustix::io::pread(file.as_fd(), &mut start, 0) == Ok(2) && start == *b"#!"
}

fn exists(path: &CStr) -> bool {
    rustix::fs::statat(CWD, path, AtFlags::empty()).is_ok()
}
