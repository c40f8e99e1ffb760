// SPDX-License-Identifier: MIT OR Apache-2.0
//! The manager's part in the set-up of a container.

use std::ffi::CString;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::time::Duration;

use rustix::net::AddressFamily;
use rustix::net::SocketFlags;
use rustix::net::SocketType;
use rustix::process::PidfdFlags;

use crate::child::Plan;
use crate::child::DONE;
use crate::child::FAILED;
use crate::child::GO;
use crate::child::READY;
use crate::child::ROOT;
use crate::delegation::Delegation;
use crate::errno::Errno;
use crate::errno::IntoErrno;
use crate::error::Error;
use crate::error::Result;
use crate::fs_context::FsContext;
use crate::handshake;
use crate::handshake::Deadline;
use crate::handshake::Received;
use crate::process::Process;
use crate::reason::Reason;
use crate::running::First;
use crate::step::Step;
use crate::sys;

/// How the set-up ended.
pub(crate) enum Outcome {
    /// The process did what it had to and ends.
    Done,
    /// As `Done`; this is the root of the BPF FS that was looked for.
    Reached(OwnedFd),
    /// This process has executed the command.
    Executed(Process),
}

/// A pair of connected sockets that keep messages apart.
pub(crate) fn socket_pair() -> Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|errno| Error::sys("socketpair", errno))
}

/// Makes the new process. Our copies of what it keeps are closed.
pub(crate) fn start(mut plan: Plan, namespaces: i32) -> Result<First> {
    let pidfd = sys::clone(namespaces, || plan.run()).map_err(|errno| Error::Container {
        step: Step::Make,
        errno: errno.into_errno(),
        reason: Reason::default(),
    })?;
    Ok(First::new(pidfd))
}

/// Answers the new process until it has executed its command or is done.
pub(crate) fn manage(
    setup: &OwnedFd,
    delegation: Option<&Delegation>,
    limit: Duration,
) -> Result<Outcome> {
    let deadline = Deadline::new(limit);
    let mut context: Option<FsContext> = None;
    let mut command: Option<Process> = None;
    let mut root: Option<OwnedFd> = None;
    let mut done = false;
    loop {
        let mut message = [0; 6];
        let received = handshake::receive(setup.as_fd(), &mut message, deadline)
            .map_err(|errno| Error::waiting("for the container to be set up", errno, limit))?;
        match (&message[..received.bytes], received.fd, delegation) {
            ([], ..) if done => return Ok(root.map_or(Outcome::Done, Outcome::Reached)),
            ([], ..) => {
                return command.map(Outcome::Executed).ok_or_else(|| {
                    Error::Handshake("the container ended during its set-up".to_owned())
                })
            }
            ([handshake::CONTEXT], Some(fd), Some(delegation)) if context.is_none() => {
                context = Some(Received::new(setup.as_fd(), fd).grant(delegation)?);
            }
            ([READY], None, _) if command.is_none() => {
                command = Some(process_of(received.sender)?);
                tell(setup, GO)?;
            }
            ([DONE], None, _) => done = true,
            ([ROOT], Some(fd), None) if root.is_none() => root = Some(fd),
            ([FAILED, step, errno @ ..], ..) => {
                let errno = <[u8; 4]>::try_from(errno).map_or(0, i32::from_ne_bytes);
                let step = Step::of(*step).ok_or_else(|| {
                    Error::Handshake(format!("the container failed in step {step}"))
                })?;
                return Err(Error::Container {
                    step,
                    errno: Errno::new(errno),
                    reason: context
                        .as_ref()
                        .map(FsContext::take_log)
                        .unwrap_or_default(),
                });
            }
            _ => {
                return Err(Error::Handshake(
                    "the container sent an unexpected message".to_owned(),
                ))
            }
        }
    }
}

/// The process that sent a message and waits for the answer, so that its number is still its own.
fn process_of(sender: Option<rustix::process::Pid>) -> Result<Process> {
    let sender = sender
        .ok_or_else(|| Error::Handshake("the command's process has no number here".to_owned()))?;
    rustix::process::pidfd_open(sender, PidfdFlags::empty())
        .map_err(|errno| Error::sys("pidfd_open", errno))
        .and_then(Process::from_pidfd)
}

/// Says this word to the new process.
pub(crate) fn tell(setup: impl AsFd, word: u8) -> Result<()> {
    fn send(setup: BorrowedFd<'_>, word: u8) -> Result<()> {
        rustix::net::send(setup, &[word], rustix::net::SendFlags::NOSIGNAL)
            .map(drop)
            .map_err(|errno| Error::sys("talk to the container", errno))
    }
    send(setup.as_fd(), word)
}

/// A directory to mount on, as the new process needs it.
pub(crate) fn target(path: &Path) -> Result<CString> {
    if !path.is_absolute() {
        return Err(Error::Invalid(format!(
            "{}: the directory to mount on needs an absolute path: it is the container's",
            path.display()
        )));
    }
    c_string(path)
}

pub(crate) fn c_string(text: impl Into<std::ffi::OsString>) -> Result<CString> {
    let text = text.into();
    CString::new(text.into_vec()).map_err(|error| {
        let text = String::from_utf8_lossy(&error.into_vec()).into_owned();
        Error::Invalid(format!("{text:?}: holds a NUL byte"))
    })
}
