// SPDX-License-Identifier: MIT OR Apache-2.0
//! Another process, which its number alone does not name for long.

use std::ffi::OsString;
use std::io;
use std::io::Read;
use std::io::Write;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::AtFlags;
use rustix::fs::Dir;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::StatxFlags;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::process::Pid;
use rustix::process::PidfdFlags;

use crate::error::Error;
use crate::error::Result;
use crate::sys;

/// A process, held by a pidfd and by its directory in `/proc`.
///
/// Once it has ended, everything about it fails; nothing ever goes to a process that got its number
/// later.
///
/// ```
/// use bpf_token::Process;
/// let own: i32 = std::process::id().try_into()?;
/// let process = Process::open(own)?;
/// assert_eq!(process.pid(), own);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Process {
    // INVARIANT: `dir` was opened under `pid` while the process behind `pidfd` had that number, so
    // both are the same process.
    pid: i32,
    pidfd: OwnedFd,
    dir: OwnedFd,
}

impl Process {
    /// The process that has this number now.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if there is none, or the number is that of a thread.
    pub fn open(pid: i32) -> Result<Self> {
        // A negative number is none; in debug builds rustix does not even look at it.
        let number = (pid > 0).then(|| Pid::from_raw(pid)).flatten();
        let number = number.ok_or_else(|| no_process(pid))?;
        match rustix::process::pidfd_open(number, PidfdFlags::empty()) {
            Ok(pidfd) => Self::from_pidfd(pidfd),
            Err(Errno::SRCH) => Err(no_process(pid)),
            // Linux 6.9 and later say ENOENT of a thread, earlier ones EINVAL.
            Err(Errno::INVAL | Errno::NOENT) => Err(Error::Invalid(format!(
                "{pid} is a thread of a process; give the number of the process"
            ))),
            Err(errno) => Err(Error::sys("pidfd_open", errno)),
        }
    }

    /// The process behind a pidfd.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if it has ended, or the descriptor is no pidfd; [`Error::File`] if `/proc`
    /// does not have it.
    pub fn from_pidfd(pidfd: OwnedFd) -> Result<Self> {
        let gone = || Error::Invalid("the process has ended".to_owned());
        let pid = number(&pidfd)?.ok_or_else(gone)?;
        let path = Path::new("/proc").join(pid.to_string());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(CWD, &path, flags, Mode::empty())
            .map_err(|errno| Error::file(path, errno.into()))?;
        // As long as it has the number, nothing else had it when the directory was opened.
        number(&pidfd)?.ok_or_else(gone)?;
        Ok(Self { pid, pidfd, dir })
    }

    /// This process.
    ///
    /// # Errors
    ///
    /// `EMFILE` if it has too many descriptors; [`Error::File`] without `/proc`.
    pub fn current() -> Result<Self> {
        let own = rustix::process::getpid();
        rustix::process::pidfd_open(own, PidfdFlags::empty())
            .map_err(|errno| Error::sys("pidfd_open", errno))
            .and_then(Self::from_pidfd)
    }

    pub(crate) fn into_pidfd(self) -> OwnedFd {
        self.pidfd
    }

    /// Its number in the process namespace that `/proc` shows.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends it a signal, such as 15 for SIGTERM.
    ///
    /// # Errors
    ///
    /// `ESRCH` once it has ended, `EPERM` without permission, `EINVAL` for a number that is no
    /// signal.
    pub fn signal(&self, signal: i32) -> Result<()> {
        sys::pidfd_send_signal(self.pidfd.as_fd(), signal).map_err(|errno| {
            Error::sys(
                format!("send signal {signal} to process {}", self.pid),
                errno,
            )
        })
    }

    /// Another handle on the same process.
    ///
    /// # Errors
    ///
    /// `EMFILE` if the caller has too many descriptors.
    pub fn try_clone(&self) -> Result<Self> {
        let clone = |fd: &OwnedFd| fd.try_clone().map_err(|source| self.error("", source));
        Ok(Self {
            pid: self.pid,
            pidfd: clone(&self.pidfd)?,
            dir: clone(&self.dir)?,
        })
    }

    /// Reads a file of its directory.
    pub(crate) fn read(&self, file: &str) -> Result<String> {
        let mut text = String::new();
        self.file(file, OFlags::RDONLY)
            .and_then(|mut file| file.read_to_string(&mut text))
            .map_err(|source| self.error(file, source))?;
        Ok(text)
    }

    /// The names in one of its directories.
    pub(crate) fn list(&self, dir: &str) -> Result<Vec<String>> {
        let error = |errno: Errno| self.error(dir, errno.into());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let entries = rustix::fs::openat(&self.dir, dir, flags, Mode::empty())
            .and_then(Dir::new)
            .map_err(error)?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(error)?;
            let name = entry.file_name().to_string_lossy();
            if name != "." && name != ".." {
                names.push(name.into_owned());
            }
        }
        Ok(names)
    }

    /// The device, `major:minor`, that a file of its directory leads to; none if it is gone.
    pub(crate) fn device(&self, file: &str) -> Option<String> {
        let found = rustix::fs::statx(&self.dir, file, AtFlags::empty(), StatxFlags::empty());
        let found = found.ok()?;
        Some(format!("{}:{}", found.stx_dev_major, found.stx_dev_minor))
    }

    /// Writes a file of its directory, in one call.
    pub(crate) fn write(&self, file: &str, text: &str) -> Result<()> {
        self.file(file, OFlags::WRONLY)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|source| self.error(file, source))
    }

    /// Where in its memory the arguments are that it was executed with, proc_pid_stat(5).
    pub(crate) fn arguments(&self) -> Result<Range<usize>> {
        const ARG_START: usize = 48;
        let stat = self.read("stat")?;
        // The second field may hold anything, but ends with the last parenthesis.
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let mut fields = after_name.split_whitespace().skip(ARG_START - 3);
        let mut field = || fields.next().and_then(|field| field.parse().ok());
        match (field(), field()) {
            (Some(start), Some(end)) => Ok(start..end),
            _ => Err(self.error("stat", io::ErrorKind::InvalidData.into())),
        }
    }

    /// The name of one of its namespaces, such as `user:[4026531837]` for `user`.
    pub(crate) fn namespace(&self, kind: &str) -> Result<OsString> {
        let link = format!("ns/{kind}");
        rustix::fs::readlinkat(&self.dir, &link, Vec::new())
            .map(|name| OsString::from_vec(name.into_bytes()))
            .map_err(|errno| self.error(&link, errno.into()))
    }

    /// The first ids of `uid_map` or `gid_map`, inside and outside, which are root's in all but odd
    /// containers.
    pub(crate) fn first_ids(&self, map: &str) -> Result<(u32, u32)> {
        let text = self.read(map)?;
        let mut ids = text.split_whitespace().map(|id| id.parse().ok());
        match (ids.next().flatten(), ids.next().flatten()) {
            (Some(inside), Some(outside)) => Ok((inside, outside)),
            _ => {
                let pid = self.pid;
                Err(Error::Invalid(format!(
                    "the {map} of process {pid} is empty"
                )))
            }
        }
    }

    /// One of its namespaces, which is there as long as this is open.
    pub(crate) fn open_namespace(&self, kind: &str) -> Result<OwnedFd> {
        let link = format!("ns/{kind}");
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        rustix::fs::openat(&self.dir, &link, flags, Mode::empty())
            .map_err(|errno| self.error(&link, errno.into()))
    }

    fn file(&self, file: &str, flags: OFlags) -> io::Result<std::fs::File> {
        let flags = flags | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.dir, file, flags, Mode::empty())?.into())
    }

    fn error(&self, file: &str, source: io::Error) -> Error {
        let path: PathBuf = ["/proc", &self.pid.to_string(), file].iter().collect();
        Error::file(path, source)
    }
}

impl AsFd for Process {
    /// The pidfd, which polls as readable once the process has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// The effective capabilities, of the text of `/proc/<pid>/status`.
pub(crate) fn effective_capabilities(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    u64::from_str_radix(line?.trim(), 16).ok()
}

fn no_process(pid: i32) -> Error {
    Error::Invalid(format!("there is no process {pid}"))
}

/// The number of the process behind a pidfd in the process namespace that `/proc` shows, as long as
/// it has one.
pub(crate) fn number(pidfd: &OwnedFd) -> Result<Option<i32>> {
    let path = PathBuf::from(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()));
    let text = std::fs::read_to_string(&path).map_err(|error| Error::file(path, error))?;
    let number: i32 = text
        .lines()
        .find_map(|line| line.strip_prefix("Pid:"))
        .and_then(|number| number.trim().parse().ok())
        .ok_or_else(|| Error::Invalid("the descriptor is no pidfd".to_owned()))?;
    Ok((number > 0).then_some(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ended_process_stays_ended() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id().try_into().unwrap();
        let process = Process::open(pid).unwrap();
        assert!(process.namespace("user").is_ok() || process.read("stat").is_ok());
        child.wait().unwrap();
        assert!(process.read("stat").is_err());
        assert_eq!(
            process.signal(0).unwrap_err().errno(),
            Some(crate::Errno::ESRCH)
        );
        assert!(Process::open(pid).is_err());
    }

    #[test]
    fn arguments_are_in_memory() {
        let arguments = Process::current().unwrap().arguments().unwrap();
        let length: usize = std::env::args_os().map(|it| it.len() + 1).sum();
        assert_eq!(arguments.len(), length);
    }

    #[test]
    fn numbers_that_name_no_process() {
        for pid in [0, -1, i32::MIN, i32::MAX] {
            let error = Process::open(pid).unwrap_err().to_string();
            assert_eq!(error, format!("there is no process {pid}"));
        }
        let null = std::fs::File::open("/dev/null").unwrap();
        assert!(Process::from_pidfd(null.into()).is_err());
    }
}
