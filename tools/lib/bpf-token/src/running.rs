// SPDX-License-Identifier: MIT OR Apache-2.0
//! A container that runs.

use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::Signal;
use rustix::process::WaitId;
use rustix::process::WaitIdOptions;

use crate::error::Error;
use crate::error::Result;
use crate::handshake;
use crate::handshake::Deadline;
use crate::process::Process;

/// How long a container that was killed may take to say so, before its first process is killed as
/// well.
const LAST_WORD: Duration = Duration::from_secs(2);

/// A container that runs. Dropping it kills the command (and, with its own process namespace, all
/// in it); so does the end of the process that started it.
///
/// ```no_run
/// use bpf_token::Container;
/// use std::time::Duration;
/// let mut running = Container::new("sleep").args(["1000"]).spawn()?;
/// if running.wait_timeout(Duration::from_secs(10))?.is_none() {
///     running.command().signal(15)?;
/// }
/// println!("{}", running.wait()?);
/// # Ok::<(), bpf_token::Error>(())
/// ```
#[derive(Debug)]
pub struct Running {
    first: First,
    command: Process,
    life: OwnedFd,
    own_pids: bool,
    ended: Option<ExitStatus>,
}

impl Running {
    pub(crate) fn new(first: First, command: Process, life: OwnedFd, own_pids: bool) -> Self {
        Self {
            first,
            command,
            life,
            own_pids,
            ended: None,
        }
    }

    /// The command.
    pub fn command(&self) -> &Process {
        &self.command
    }

    /// The command's number, as the caller sees it.
    pub fn pid(&self) -> i32 {
        self.command.pid()
    }

    /// A pidfd of the command, which polls as readable once it has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.command.as_fd()
    }

    /// Kills the command and, with its own process namespace, all in it. Does nothing if it has
    /// ended.
    ///
    /// # Errors
    ///
    /// `EPERM` if the command has taken on ids that the caller may not send signals to.
    pub fn kill(&mut self) -> Result<()> {
        if self.ended.is_some() {
            return Ok(());
        }
        let killed = self.kill_command();
        match killed {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(Error::sys("kill the container", errno)),
        }
    }

    fn kill_command(&self) -> rustix::io::Result<()> {
        // The end of its first process ends a process namespace, but leaves nobody to tell the
        // command's status; the first process ends with the command.
        rustix::process::pidfd_send_signal(&self.command, Signal::KILL)
    }

    /// Waits until the command ends.
    ///
    /// # Errors
    ///
    /// Those of the socket that leads to the container.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        loop {
            if let Some(status) = self.change(Deadline::NEVER)? {
                if ended(status) {
                    return Ok(status);
                }
            }
        }
    }

    /// The command's status if it has ended.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        self.wait_timeout(Duration::ZERO)
    }

    /// Waits until the command ends, for this long at most.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        let deadline = Deadline::new(limit);
        loop {
            match self.change(deadline)? {
                Some(status) if ended(status) => return Ok(Some(status)),
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    /// Waits until the command ends or is stopped, as by Ctrl-Z.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub fn wait_change(&mut self) -> Result<ExitStatus> {
        loop {
            if let Some(status) = self.change(Deadline::NEVER)? {
                return Ok(status);
            }
        }
    }

    /// The next thing that the first process has to say of the command.
    fn change(&mut self, deadline: Deadline) -> Result<Option<ExitStatus>> {
        if let Some(status) = self.ended {
            return Ok(Some(status));
        }
        let mut message = [0; 4];
        let received = match handshake::receive(self.life.as_fd(), &mut message, deadline) {
            Ok(received) => received,
            Err(Errno::TIMEDOUT) => return Ok(None),
            Err(errno) => return Err(Error::sys("wait for the container", errno)),
        };
        let status = match received.bytes {
            4 => ExitStatus::from_raw(i32::from_ne_bytes(message)),
            // The first process was killed, and the command with it.
            _ => self.first.reap(Deadline::NEVER).unwrap_or_default(),
        };
        if ended(status) {
            self.first.reap(Deadline::NEVER);
            self.ended = Some(status);
        }
        Ok(Some(status))
    }
}

impl AsFd for Running {
    /// The command's pidfd.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended.is_none() && !self.own_pids {
            // The first process reaps the command and ends; without that, it is killed next.
            let _ = self.kill_command();
            self.first.reap(Deadline::new(LAST_WORD));
        }
    }
}

fn ended(status: ExitStatus) -> bool {
    status.code().is_some() || status.signal().is_some()
}

/// The first process of a container, our child. Dropping it kills it, which ends its process
/// namespace if it has one.
#[derive(Debug)]
pub(crate) struct First {
    pidfd: OwnedFd,
    reaped: bool,
}

impl First {
    pub(crate) fn new(pidfd: OwnedFd) -> Self {
        Self {
            pidfd,
            reaped: false,
        }
    }

    /// What `/proc` has of it.
    pub(crate) fn process(&self) -> Result<Process> {
        let pidfd = self.pidfd.try_clone();
        let pidfd = pidfd.map_err(|error| Error::file("pidfd", error))?;
        Process::from_pidfd(pidfd)
    }

    /// Waits for its end; returns its status unless somebody else of this process has taken it.
    pub(crate) fn reap(&mut self, deadline: Deadline) -> Option<ExitStatus> {
        if self.reaped || !deadline.wait_for(self.pidfd.as_fd()).unwrap_or(false) {
            return None;
        }
        self.reaped = true;
        let status = handshake::retry(|| {
            rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED)
        });
        let status = status.ok()??;
        let raw = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => code << 8,
            (None, signal) => signal.unwrap_or_default(),
        };
        Some(ExitStatus::from_raw(raw))
    }
}

impl Drop for First {
    fn drop(&mut self) {
        if !self.reaped {
            // Fails only if it is gone already.
            let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
            self.reap(Deadline::NEVER);
        }
    }
}
