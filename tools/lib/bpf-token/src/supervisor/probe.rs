// SPDX-License-Identifier: MIT OR Apache-2.0
//! Calls of perf_event_open(2) for kprobes, uprobes and tracepoints, which the manager's broker makes.

use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::AtFlags;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::net::AddressFamily;
use rustix::net::SocketAddrUnix;
use rustix::net::SocketFlags;
use rustix::net::SocketType;
use rustix::process::Pid;

use super::caller::Caller;
use super::perf::PerfAttr;
use super::place;
use crate::broker::message;
use crate::broker::message::Answer;
use crate::broker::message::Kind;
use crate::broker::message::Request;
use crate::broker::SOCKET;
use crate::error::Error;
use crate::error::Result;
use crate::file_id::FileId;
use crate::handshake;
use crate::handshake::Deadline;
use crate::handshake::LIMIT;
use crate::sys;
use crate::sys::Call;
use crate::tracefs::TRACEFS;

/// The longest path, with its NUL.
const PATH_MAX: usize = 4096;

/// The socket that leads to the broker.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) socket: OwnedFd,
    kprobes: u32,
    uprobes: u32,
}

/// What becomes of a call.
pub(super) enum Outcome {
    /// The caller makes it.
    NotOurs,
    /// The caller makes it, and will hear of its own lack of privilege; the reason is this.
    Refused(String),
    /// It fails with this, which the kernel told the broker.
    Failed(Errno),
    /// It returns this event, close-on-exec as said.
    Opened(OwnedFd, bool),
}

impl Client {
    /// Asks the broker what there is: returns also what stands in for tracefs, unless it is mounted.
    pub(crate) fn new(socket: OwnedFd) -> Result<(Self, Option<OwnedFd>)> {
        let failed = |errno| Error::sys("ask the broker for probes", errno);
        let (answer, tree) = ask(socket.as_fd(), &Request::hello(), &[]).map_err(failed)?;
        match (answer.errno, tree) {
            (None, tree) => {
                let [kprobes, uprobes] = answer.kinds;
                let client = Self {
                    socket,
                    kprobes,
                    uprobes,
                };
                Ok((client, tree))
            }
            (Some(errno), _) => Err(failed(errno).and(&answer.reason)),
        }
    }

    /// Connects to the broker that listens in this container; none where this process reaches none.
    pub(crate) fn connect() -> Result<Option<Self>> {
        let path = Path::new(TRACEFS).join(SOCKET);
        let connected = || {
            let flags = SocketFlags::CLOEXEC;
            let socket =
                rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
            // One that does not listen is not waited for.
            sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(LIMIT))?;
            rustix::net::connect(&socket, &SocketAddrUnix::new(&path)?).map(|()| socket)
        };
        // One that does not listen to this process has closed its end, before or after our word.
        let closed = [crate::Errno::EPIPE, crate::Errno::ECONNRESET].map(Some);
        match connected() {
            Ok(socket) => match Self::new(socket) {
                Ok((client, _)) => Ok(Some(client)),
                Err(error) if closed.contains(&error.errno()) => Err(error.and(
                    "the broker listens to root of this container with CAP_PERFMON or CAP_SYS_ADMIN in \
                     its user namespace, and to 64 programs at a time",
                )),
                Err(error) => Err(error),
            },
            // The host's tracefs is for root of the host.
            Err(Errno::NOENT | Errno::ACCESS) => Ok(None),
            Err(errno) => Err(Error::file(path, errno.into())),
        }
    }

    /// Has the broker open what the caller wants, if it is for that.
    pub(super) fn open(&self, caller: &Caller, call: &Call) -> Outcome {
        let [_, pid, cpu, group, flags, _] = call.args;
        let (pid, cpu, group) = (pid as i32, cpu as i32, group as i32);
        let Some(attr) = PerfAttr::read(caller, call.args[0]) else {
            return Outcome::NotOurs;
        };
        let kind = match attr.kind() {
            sys::TRACEPOINT => Kind::Tracepoint,
            kind if kind != 0 && kind == self.kprobes => Kind::Kprobe,
            kind if kind != 0 && kind == self.uprobes => Kind::Uprobe,
            _ => return Outcome::NotOurs,
        };
        let refused = |reason: &str| Outcome::Refused(reason.to_owned());
        if !caller.is_as_privileged() {
            return refused("the caller lacks capabilities that the supervisor has");
        }
        if let Some(field) = attr.beyond_attaching(kind) {
            return Outcome::Refused(format!(
                "the event asks for {field}, which attaching a program does not need"
            ));
        }
        if group != -1 || flags & !sys::CLOEXEC != 0 {
            return refused("the event is for a group, an output or a cgroup");
        }
        let mut request = Request {
            kind,
            on_return: kind != Kind::Tracepoint && attr.config() & 1 != 0,
            has_thread: pid >= 0,
            cpu,
            offset: attr.offset(),
            name: Vec::new(),
        };
        let mut fds = Vec::new();
        match kind {
            Kind::Kprobe => match text(caller, attr.name(), message::NAME) {
                Ok(name) if !name.is_empty() => request.name = name,
                Ok(_) => {
                    return refused("a kprobe by address: it goes by the function's name here")
                }
                Err(_) => return Outcome::NotOurs,
            },
            Kind::Uprobe => {
                let Ok(path) = text(caller, attr.name(), PATH_MAX) else {
                    return Outcome::NotOurs;
                };
                match place::open(caller, &path) {
                    Ok(file) => fds.push(file),
                    Err(errno) => return Outcome::Failed(errno),
                }
            }
            _ => request.offset = attr.config(),
        }
        match pid {
            -1 => {}
            0.. => match thread(caller, pid) {
                Ok(thread) => fds.push(thread),
                Err(errno) => return Outcome::Failed(errno),
            },
            _ => return Outcome::NotOurs,
        }
        let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
        match ask(self.socket.as_fd(), &request, &fds) {
            Ok((_, Some(event))) => Outcome::Opened(event, flags & sys::CLOEXEC != 0),
            Ok((answer, None)) if answer.errno == Some(Errno::ACCESS) => {
                Outcome::Refused(answer.reason)
            }
            Ok((answer, None)) => Outcome::Failed(answer.errno.unwrap_or(Errno::IO)),
            Err(_) => refused("the broker is gone"),
        }
    }
}

/// Sends a request and waits for the answer.
fn ask(
    socket: BorrowedFd<'_>,
    request: &Request,
    fds: &[BorrowedFd<'_>],
) -> rustix::io::Result<(Answer, Option<OwnedFd>)> {
    handshake::send_with(socket, &request.bytes(), fds)?;
    let mut message = [0; message::ANSWER];
    let received = handshake::receive(socket, &mut message, Deadline::new(LIMIT))?;
    let answer = Answer::read(&message[..received.bytes]).ok_or(Errno::PIPE)?;
    Ok((answer, received.fd))
}

/// A text in the caller's memory, without the NUL that has to end it within so many bytes.
fn text(caller: &Caller, address: u64, longest: usize) -> rustix::io::Result<Vec<u8>> {
    if address == 0 {
        return Ok(Vec::new());
    }
    let mut text = caller.read_some(address, longest)?;
    let end = text.iter().position(|&byte| byte == 0);
    text.truncate(end.ok_or(Errno::TOOBIG)?);
    Ok(text)
}

/// A pidfd of a thread that the caller numbers so: itself for 0.
fn thread(caller: &Caller, pid: i32) -> rustix::io::Result<OwnedFd> {
    if pid == 0 {
        return caller.pidfd();
    }
    let own = rustix::fs::statat(CWD, c"/proc/self/ns/pid", AtFlags::empty())?;
    if caller.stat(c"ns/pid")? != FileId::of(&own) {
        // It numbers them otherwise.
        return Err(Errno::SRCH);
    }
    let pid = Pid::from_raw(pid).ok_or(Errno::SRCH)?;
    sys::open_thread(pid)
}
