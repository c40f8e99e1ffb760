// SPDX-License-Identifier: MIT OR Apache-2.0
//! The manager's broker, which opens perf events for a container that may not.

mod event;
mod file;
mod listener;
pub(crate) mod message;
mod tracing;

use std::ffi::CString;
use std::fmt;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::sync::Mutex;

use rustix::io::Errno;
use rustix::net::SendFlags;
use rustix::process::Pid;

use crate::error::Error;
use crate::error::Result;
use crate::handshake;
use crate::handshake::Deadline;
use crate::probes::Probes;
use crate::process::Process;
use crate::sys;
use crate::sys::Event;
use crate::tracefs::path_of;
use event::kind_number;
use event::open;
use file::Files;
pub use listener::Listener;
pub(crate) use listener::SOCKET;
use message::Answer;
use message::Kind;
use message::Request;
use tracing::Tracing;

/// Opens perf events for kprobes, uprobes and tracepoints on behalf of a container, as far as a list
/// of [`Probes`] goes.
///
/// perf_event_open(2) knows no tokens: a program that the container loads with one can't be attached
/// that way. [`Exec::broker`](crate::Exec::broker) has the supervisor in the container ask this one
/// in place of the kernel; the caller gets the event, and attaches its program itself.
///
/// All that comes from the container is a short message, and for a uprobe the file, which the
/// container has opened. The events count, and neither sample nor write to a buffer. A program that is
/// attached runs for every process of the host that comes by, whatever thread or processor the event
/// is for; in a file, for all that map it. So this is for containers that are trusted to observe what
/// is on the list.
///
/// ```no_run
/// use bpf_token::{Broker, Container};
/// let broker = Broker::new("kprobe:vfs_*,tracepoint:sched:*".parse()?)?;
/// let (ours, theirs) = Broker::sockets()?;
/// std::thread::spawn(move || broker.serve(ours));
/// // The container's program calls Exec::broker(3).
/// let running = Container::new("loader").pass_fd(theirs, 3).spawn()?;
/// # drop(running);
/// # Ok::<(), bpf_token::Error>(())
/// ```
#[derive(Debug)]
pub struct Broker {
    probes: Probes,
    kprobes: Option<u32>,
    uprobes: Option<u32>,
    files: Files,
    tracing: Tracing,
    used: Mutex<Probes>,
}

/// Who asks.
#[derive(Clone, Copy)]
enum Client {
    /// Whoever has the other one of the sockets; it gets what stands in for tracefs.
    Given,
    /// A process that found the socket, of a container that has the file system already.
    Connected,
}

/// Why a request is refused.
struct Refusal(Errno, String);

impl Refusal {
    fn new(errno: Errno, reason: impl fmt::Display) -> Self {
        Self(errno, reason.to_string())
    }
}

impl Broker {
    /// # Errors
    ///
    /// Those of mounting tracefs, and of the files that the list names; [`Error::File`] if the kernel
    /// has no kprobes or uprobes that the list has.
    pub fn new(probes: Probes) -> Result<Self> {
        // What is not listed is refused by the broker, which says so.
        let number = |wanted: bool, kind: &str| match kind_number(kind) {
            Err(error) if wanted => Err(error),
            number => Ok(number.ok()),
        };
        Ok(Self {
            kprobes: number(probes.have_kprobes(), "kprobe")?,
            uprobes: number(probes.have_uprobes(), "uprobe")?,
            files: Files::new(&probes)?,
            tracing: Tracing::new(&probes)?,
            used: Mutex::default(),
            probes,
        })
    }

    /// Answers requests until the other end of the socket is closed, the first of
    /// [`sockets`](Self::sockets).
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub fn serve(&self, socket: impl AsFd) -> Result<()> {
        self.answer_all(socket.as_fd(), Client::Given)
    }

    /// Puts what the list has of tracefs on `/sys/kernel/tracing` of the container that the process
    /// runs in, with a socket on which [`Exec::find_broker`](crate::Exec::find_broker) finds this
    /// broker. Unless `replace` is said, one that was put there before is in the way.
    ///
    /// Whoever connects must be root of the container, in its user namespace, with CAP_PERFMON or
    /// CAP_SYS_ADMIN there.
    ///
    /// # Errors
    ///
    /// As [`Target::mount`](crate::Target::mount), for that directory.
    pub fn listen(self, process: &Process, replace: bool) -> Result<Listener> {
        Listener::new(self, process, replace)
    }

    fn answer_all(&self, socket: BorrowedFd<'_>, client: Client) -> Result<()> {
        let mut message = [0; message::LONGEST];
        // What stands in for tracefs takes memory, so there is one.
        let mut greeted = false;
        loop {
            let mut fds = [None, None];
            let received = handshake::receive_with(socket, &mut message, &mut fds, Deadline::NEVER);
            let mut last = false;
            let done = match received {
                Ok((0, _)) => return Ok(()),
                Ok((length, sender)) => {
                    let request = Request::read(&message[..length]).ok_or_else(malformed);
                    let allowed = request.and_then(|request| match request.kind {
                        Kind::Hello if std::mem::replace(&mut greeted, true) => Err(malformed()),
                        _ => Ok(request),
                    });
                    allowed.and_then(|request| self.answer(&request, &fds, sender, client))
                }
                // No supervisor sends that. What came with it is closed by threads, of which there shall
                // not be many.
                Err(Errno::MSGSIZE) => {
                    last = true;
                    Err(malformed())
                }
                Err(errno) => return Err(Error::sys("hear of a probe", errno)),
            };
            // If that takes long, it is this container that waits.
            drop(fds);
            let mut answer = Answer {
                errno: None,
                kinds: [self.kprobes, self.uprobes].map(Option::unwrap_or_default),
                reason: String::new(),
            };
            let sent = match done {
                Ok(fd) => {
                    let fds = fd.as_ref().map(AsFd::as_fd);
                    handshake::send_with(socket, &answer.bytes(), fds.as_slice())
                }
                Err(Refusal(errno, reason)) => {
                    answer.errno = Some(errno);
                    answer.reason = reason;
                    let bytes = answer.bytes();
                    handshake::retry(|| rustix::net::send(socket, &bytes, SendFlags::NOSIGNAL))
                        .map(drop)
                }
            };
            match sent {
                Ok(()) if last => return Ok(()),
                Ok(()) => {}
                Err(Errno::PIPE | Errno::CONNRESET) => return Ok(()),
                Err(errno) => return Err(Error::sys("answer about a probe", errno)),
            }
        }
    }

    /// The two ends of a connection: the broker's, and the container's.
    ///
    /// # Errors
    ///
    /// `EMFILE` if there are too many descriptors.
    pub fn sockets() -> Result<(OwnedFd, OwnedFd)> {
        let (ours, theirs) = crate::launch::socket_pair()?;
        // A file is looked for in the mounts of who sends it.
        rustix::net::sockopt::set_socket_passcred(&ours, true)
            .map_err(|errno| Error::sys("SO_PASSCRED", errno))?;
        Ok((ours, theirs))
    }

    /// What was opened until now.
    pub fn used(&self) -> Probes {
        self.used
            .lock()
            .map(|used| used.clone())
            .unwrap_or_default()
    }

    fn note(&self, add: impl FnOnce(&mut Probes)) {
        // Only a thread that panicked with it would have left it in a state of its own.
        if let Ok(mut used) = self.used.lock() {
            add(&mut used);
        }
    }

    fn answer(
        &self,
        request: &Request,
        fds: &[Option<OwnedFd>; 2],
        sender: Option<Pid>,
        client: Client,
    ) -> Result<Option<OwnedFd>, Refusal> {
        let (file, thread) = match (request.kind, fds) {
            (Kind::Uprobe, [Some(file), thread]) => (Some(file), thread),
            (Kind::Uprobe, _) => return Err(malformed()),
            (_, [thread, None]) => (None, thread),
            _ => return Err(malformed()),
        };
        if request.has_thread != thread.is_some() {
            return Err(malformed());
        }
        let thread = thread.as_ref();
        match (request.kind, file) {
            (Kind::Hello, _) => match client {
                Client::Given => {
                    let tree = self.tracing.tree(&self.probes, None);
                    return tree
                        .map(Some)
                        .map_err(|error| Refusal::new(Errno::IO, error));
                }
                Client::Connected => return Ok(None),
            },
            (Kind::Kprobe, _) => self.kprobe(request, thread),
            (Kind::Uprobe, Some(file)) => self.uprobe(request, thread, file, sender),
            (Kind::Uprobe, None) => Err(malformed()),
            (Kind::Tracepoint, _) => self.tracepoint(request, thread),
        }
        .map(Some)
    }

    fn kprobe(&self, request: &Request, thread: Option<&OwnedFd>) -> Result<OwnedFd, Refusal> {
        let name = String::from_utf8_lossy(&request.name);
        let Some(kind) = self.kprobes else {
            return Err(self.not_listed(format_args!("kprobe:{name}")));
        };
        if !self.probes.allow_kprobe(&name, request.offset) {
            return Err(match request.offset {
                0 => self.not_listed(format_args!("kprobe:{name}")),
                offset => Refusal::new(
                    Errno::ACCESS,
                    format_args!(
                        "kprobe:{name}+{offset}: what is behind the entry of a function may be \
                         another one, so that takes the item kprobe"
                    ),
                ),
            });
        }
        let text = CString::new(request.name.clone()).map_err(|_| malformed())?;
        let event = Event {
            kind,
            config: request.on_return.into(),
            name: Some(&text),
            offset: request.offset,
        };
        let opened = open(&event, thread, request.cpu)?;
        self.note(|used| used.add_kprobe(&name, request.offset));
        Ok(opened)
    }

    fn uprobe(
        &self,
        request: &Request,
        thread: Option<&OwnedFd>,
        file: &OwnedFd,
        sender: Option<Pid>,
    ) -> Result<OwnedFd, Refusal> {
        let Some(kind) = self.uprobes else {
            return Err(self.not_listed("the file"));
        };
        let unknown = || Refusal::new(Errno::ACCESS, "the file has no known sender");
        file::check(file, sender.ok_or_else(unknown)?)?;
        if !self.probes.allow_all_files() && !self.files.have(file) {
            return Err(self.not_listed("the file"));
        }
        // The kernel follows this link to the very file, whatever path it had.
        let path = path_of(file).into_os_string().into_vec();
        let path = CString::new(path).map_err(|_| malformed())?;
        let event = Event {
            kind,
            config: request.on_return.into(),
            name: Some(&path),
            offset: request.offset,
        };
        let opened = open(&event, thread, request.cpu)?;
        self.note(|used| used.add_file(std::fs::read_link(path_of(file)).ok()));
        Ok(opened)
    }

    fn tracepoint(&self, request: &Request, thread: Option<&OwnedFd>) -> Result<OwnedFd, Refusal> {
        let id = request.offset;
        let tracepoint = self.tracing.of(id);
        let tracepoint = tracepoint
            .ok_or_else(|| self.not_listed(format_args!("the tracepoint with id {id}")))?;
        let event = Event {
            kind: sys::TRACEPOINT,
            config: id,
            name: None,
            offset: 0,
        };
        let opened = open(&event, thread, request.cpu)?;
        // It keeps its id as long as the event is open.
        if self.tracing.is(tracepoint, id) {
            let (group, name) = tracepoint;
            self.note(|used| used.add_tracepoint(group, name));
            Ok(opened)
        } else {
            Err(self.not_listed(format_args!("the tracepoint with id {id}")))
        }
    }

    fn not_listed(&self, what: impl fmt::Display) -> Refusal {
        Refusal::new(
            Errno::ACCESS,
            format_args!(
                "{what} is not among the probes of this container ({})",
                self.probes
            ),
        )
    }
}

fn malformed() -> Refusal {
    Refusal::new(Errno::INVAL, "the request is none")
}
