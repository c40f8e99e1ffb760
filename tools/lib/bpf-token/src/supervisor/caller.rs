// SPDX-License-Identifier: MIT OR Apache-2.0
//! The process that makes a call: its memory and its descriptors.

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use rustix::fs::AtFlags;
use rustix::fs::Dir;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::io::Result;
use rustix::process::Pid;
use rustix::process::PidfdGetfdFlags;

use crate::file_id::FileId;
use crate::process::effective_capabilities;
use crate::sys;

/// How many descriptors are looked at, at most, for one of a file.
const SEARCHED: usize = 100;

/// The capabilities that the kernel looks for through a token: CAP_NET_ADMIN, CAP_SYS_ADMIN,
/// CAP_PERFMON and CAP_BPF.
const ASKED_FOR: u64 = (1 << 12) | (1 << 21) | (1 << 38) | (1 << 39);

/// A thread whose call waits. All of this is about that thread only as long as the call does, which
/// is to be looked at once this is open.
pub(super) struct Caller {
    pub(super) tid: i32,
    dir: OwnedFd,
    memory: OwnedFd,
}

impl Caller {
    /// `EACCES` or `EPERM` if this process may not look into the other.
    pub(super) fn open(tid: i32) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(CWD, format!("/proc/{tid}"), flags, Mode::empty())?;
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let memory = rustix::fs::openat(&dir, c"mem", flags, Mode::empty())?;
        Ok(Self { tid, dir, memory })
    }

    /// Reads all of its memory from an address on that the buffer has room for.
    pub(super) fn read(&self, mut address: u64, buffer: &mut [u8]) -> Result<()> {
        let mut at = 0;
        while at < buffer.len() {
            match rustix::io::pread(&self.memory, &mut buffer[at..], address)? {
                0 => return Err(Errno::FAULT),
                length => {
                    at += length;
                    address += length as u64;
                }
            }
        }
        Ok(())
    }

    /// Reads so many bytes, or up to where its memory ends.
    pub(super) fn read_some(&self, address: u64, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let length = rustix::io::pread(&self.memory, &mut bytes[..], address)?;
        bytes.truncate(length);
        Ok(bytes)
    }

    /// Reads so many bytes.
    pub(super) fn read_vec(&self, address: u64, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.read(address, &mut bytes)?;
        Ok(bytes)
    }

    /// Writes to its memory, also where it may not write itself, if that is private.
    pub(super) fn write(&self, mut address: u64, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            match rustix::io::pwrite(&self.memory, bytes, address)? {
                0 => return Err(Errno::FAULT),
                length => {
                    bytes = &bytes[length..];
                    address += length as u64;
                }
            }
        }
        Ok(())
    }

    /// Whether its descriptor of this number is of the file.
    pub(super) fn holds(&self, number: RawFd, file: FileId) -> bool {
        self.stat_fd(number) == Some(file)
    }

    /// The number of one of its descriptors of the file: 2 if that is one.
    pub(super) fn number_of(&self, file: FileId) -> Option<RawFd> {
        if self.holds(2, file) {
            return Some(2);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fds = rustix::fs::openat(&self.dir, c"fd", flags, Mode::empty()).ok()?;
        let names = Dir::new(fds).ok()?.filter_map(Result::ok).take(SEARCHED);
        let mut numbers = names.filter_map(|it| it.file_name().to_str().ok()?.parse().ok());
        numbers.find(|&number| self.holds(number, file))
    }

    fn stat_fd(&self, number: RawFd) -> Option<FileId> {
        let path = format!("fd/{number}");
        let stat = rustix::fs::statat(&self.dir, path, AtFlags::empty()).ok()?;
        Some(FileId::of(&stat))
    }

    /// A descriptor of the file that it has under this number.
    pub(super) fn descriptor(&self, number: RawFd) -> Result<OwnedFd> {
        rustix::process::pidfd_getfd(self.pidfd()?, number, PidfdGetfdFlags::empty())
    }

    /// A pidfd of the thread.
    pub(super) fn pidfd(&self) -> Result<OwnedFd> {
        let pidfd = sys::open_thread(Pid::from_raw(self.tid).ok_or(Errno::SRCH)?)?;
        // As long as this works, the number was its own when the pidfd was opened.
        self.stat(c"fd")?;
        Ok(pidfd)
    }

    /// What one of its files in `/proc` leads to.
    pub(super) fn stat(&self, file: &CStr) -> Result<FileId> {
        rustix::fs::statat(&self.dir, file, AtFlags::empty()).map(|stat| FileId::of(&stat))
    }

    /// One of its directories, by its link in `/proc`.
    pub(super) fn directory(&self, link: &CStr) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(&self.dir, link, flags, Mode::empty())
    }

    /// Whether it has each capability of ours that a token asks for, in our user namespace. Only
    /// then may a call be made in its stead: it could have given them up, or be in a namespace of its
    /// own, where it has others. Its credentials do not change while it waits.
    pub(super) fn is_as_privileged(&self) -> bool {
        let own = || Self::open(rustix::process::getpid().as_raw_nonzero().get()).ok();
        let rights = |of: &Self| Some((of.stat(c"ns/user").ok()?, of.capabilities()?));
        match (rights(self), own().as_ref().and_then(rights)) {
            (Some((namespace, has)), Some((ours, wanted))) => {
                namespace == ours && wanted & ASKED_FOR & !has == 0
            }
            _ => false,
        }
    }

    /// Its effective capabilities.
    fn capabilities(&self) -> Option<u64> {
        effective_capabilities(&self.text("status")?)
    }

    /// The number of the process that the thread is of.
    pub(super) fn process(&self) -> Option<i32> {
        let status = self.text("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
        line?.trim().parse().ok()
    }

    /// Its name, which may be anything.
    pub(super) fn name(&self) -> String {
        let name = self.text("comm").unwrap_or_default();
        name.trim_end().escape_debug().to_string()
    }

    fn text(&self, file: &str) -> Option<String> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.dir, file, flags, Mode::empty()).ok()?;
        let mut bytes = [0; 4096];
        let length = rustix::io::read(fd, &mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
    }
}
