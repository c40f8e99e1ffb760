// SPDX-License-Identifier: MIT OR Apache-2.0
//! The hand-shake that gives a container a delegated BPF FS, over a Unix socket.
//!
//! The container opens the fs context, so that its user namespace owns the file system; the manager
//! sets the delegation and makes the file system, because only CAP_SYS_ADMIN in the initial user
//! namespace may; the container mounts it.
//!
//! ```text
//! container                                 manager
//! Request::send   ── 'F' + descriptor ──▶   Received::receive
//! Request::wait   ◀── 'G', or 'R' + why ──  Received::grant, or refuse
//! Granted::mount
//! ```

use std::io::IoSlice;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::io::Errno;
use rustix::net::RecvAncillaryBuffer;
use rustix::net::RecvAncillaryMessage;
use rustix::net::RecvFlags;
use rustix::net::ReturnFlags;
use rustix::net::SendAncillaryBuffer;
use rustix::net::SendAncillaryMessage;
use rustix::net::SendFlags;
use rustix::process::Pid;

use crate::delegation::Delegation;
use crate::error::Error;
use crate::error::Result;
use crate::fs_context::FsContext;

/// The container sends its fs context.
pub(crate) const CONTEXT: u8 = b'F';
/// The manager has set the delegation and made the file system.
pub(crate) const GRANTED: u8 = b'G';
/// The manager has not, and says why.
pub(crate) const REFUSED: u8 = b'R';

/// How long the other side may take if nothing else is said.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// The greatest length of a refusal, in bytes.
const REASON_SIZE: usize = 4096;

/// The container's side: an fs context was opened and sent.
///
/// ```no_run
/// use bpf_token::Request;
/// use std::os::unix::net::UnixStream;
/// let manager = UnixStream::connect("/run/manager.sock")?;
/// Request::send(&manager)?.wait()?.mount("/sys/fs/bpf")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Request<'a> {
    socket: BorrowedFd<'a>,
    context: FsContext,
}

impl<'a> Request<'a> {
    /// Opens an fs context and sends it to the manager at the other end of the socket.
    ///
    /// # Errors
    ///
    /// Those of [`FsContext::open`] and of the socket.
    pub fn send<S: AsFd>(socket: &'a S) -> Result<Self> {
        let context = FsContext::open()?;
        let socket = socket.as_fd();
        send_context(socket, context.as_fd())
            .map_err(|errno| Error::sys("send the fs context to the manager", errno))?;
        Ok(Self { socket, context })
    }

    /// Waits for the manager's answer, for 30 seconds at most.
    ///
    /// # Errors
    ///
    /// [`Error::Handshake`] with the manager's words if it refused, or if it went away;
    /// [`Error::TimedOut`].
    pub fn wait(self) -> Result<Granted> {
        self.wait_within(LIMIT)
    }

    /// As [`wait`](Self::wait), with another limit.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub fn wait_within(self, limit: Duration) -> Result<Granted> {
        let mut answer = vec![0; REASON_SIZE];
        let length = match receive(self.socket, &mut answer, Deadline::new(limit)) {
            // A socket closed with the request unread says so this way.
            Err(Errno::CONNRESET) => 0,
            received => {
                received
                    .map_err(|errno| Error::waiting("for the manager's answer", errno, limit))?
                    .bytes
            }
        };
        match answer[..length].split_first() {
            Some((&GRANTED, _)) => Ok(Granted(self.context)),
            Some((&REFUSED, why)) => Err(Error::Handshake(format!(
                "the manager refused: {}",
                String::from_utf8_lossy(why)
            ))),
            Some((other, _)) => Err(Error::Handshake(format!(
                "the manager answered with byte {other:#x}"
            ))),
            None => Err(Error::Handshake(
                "the manager closed the socket without an answer".to_owned(),
            )),
        }
    }
}

/// The container's side: the file system is made, with the delegation.
#[derive(Debug)]
pub struct Granted(FsContext);

impl Granted {
    /// Mounts the file system on a directory.
    ///
    /// # Errors
    ///
    /// Those of [`FsContext::mount`] and [`attach`](crate::DetachedMount::attach).
    pub fn mount(self, target: impl AsRef<Path>) -> Result<()> {
        self.0.mount()?.attach(target)
    }
}

/// The manager's side: an fs context was received from a container.
///
/// Dropping it closes the socket's end only if the caller does; answer with [`grant`](Self::grant)
/// or [`refuse`](Self::refuse).
///
/// ```no_run
/// use bpf_token::{Delegation, Received};
/// use std::os::unix::net::UnixListener;
/// let delegation: Delegation =
///     "delegate_cmds=prog_load,delegate_progs=xdp,delegate_attachs=xdp".parse()?;
/// let (container, _) = UnixListener::bind("/run/manager.sock")?.accept()?;
/// Received::receive(&container)?.grant(&delegation)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use]
pub struct Received<'a> {
    socket: BorrowedFd<'a>,
    context: FsContext,
}

impl<'a> Received<'a> {
    /// Receives the fs context of the container at the other end of the socket, within 30 seconds.
    ///
    /// # Errors
    ///
    /// [`Error::Handshake`] if something else comes, or nothing; [`Error::TimedOut`].
    pub fn receive<S: AsFd>(socket: &'a S) -> Result<Self> {
        Self::receive_within(socket, LIMIT)
    }

    /// As [`receive`](Self::receive), with another limit.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive).
    pub fn receive_within<S: AsFd>(socket: &'a S, limit: Duration) -> Result<Self> {
        let socket = socket.as_fd();
        let mut first = [0];
        let something_else =
            || Error::Handshake("the container sent something else than an fs context".to_owned());
        let received = match receive(socket, &mut first, Deadline::new(limit)) {
            Err(Errno::MSGSIZE) => return Err(something_else()),
            received => received
                .map_err(|errno| Error::waiting("for the container's fs context", errno, limit))?,
        };
        match (received.bytes, first[0], received.fd) {
            (1, CONTEXT, Some(fd)) if is_fs_context(&fd)? => Ok(Self::new(socket, fd)),
            (1, CONTEXT, Some(fd)) => {
                close_elsewhere(fd);
                Err(no_bpffs())
            }
            (0, _, None) => Err(Error::Handshake(
                "the container closed the socket without sending an fs context".to_owned(),
            )),
            (_, _, fd) => {
                fd.into_iter().for_each(close_elsewhere);
                Err(something_else())
            }
        }
    }

    pub(crate) fn new(socket: BorrowedFd<'a>, context: OwnedFd) -> Self {
        Self {
            socket,
            context: context.into(),
        }
    }

    /// The container's fs context, to set further options such as `mode` on.
    pub fn context(&self) -> &FsContext {
        &self.context
    }

    /// Sets the delegation, makes the file system, and tells the container, also if that failed.
    ///
    /// Returns the context, in whose log the reason of a later failure will be.
    ///
    /// # Errors
    ///
    /// [`Error::Handshake`] if the context is that of another file system; those of
    /// [`Delegation::apply`], [`FsContext::create`] and of the socket.
    pub fn grant(self, delegation: &Delegation) -> Result<FsContext> {
        let made = self.check().and_then(|()| {
            delegation.apply(&self.context)?;
            self.context.create()
        });
        let answered = match &made {
            Ok(()) => self.answer(&[GRANTED]),
            Err(error) => self.refuse(&error.to_string()),
        };
        // Why it failed says more than that the container does not listen.
        made.and(answered).map(|()| self.context)
    }

    fn check(&self) -> Result<()> {
        if self.context.can_delegate() {
            return Ok(());
        }
        Err(no_bpffs())
    }

    /// Tells the container that it gets no delegation, and why.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub fn refuse(&self, why: &str) -> Result<()> {
        let mut answer = vec![REFUSED];
        answer.extend(why.bytes().take(REASON_SIZE - 1));
        self.answer(&answer)
    }

    fn answer(&self, answer: &[u8]) -> Result<()> {
        // One that does not read what it was sent before is not waited for.
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        retry(|| rustix::net::send(self.socket, answer, flags))
            .map(drop)
            .map_err(|errno| Error::sys("answer the container", errno))
    }
}

fn no_bpffs() -> Error {
    Error::Handshake(
        "what the container sent is no fs context of a BPF FS that can delegate (Linux 6.9 has \
         that)"
            .to_owned(),
    )
}

/// Whether a descriptor that a container made is that of an fs context, which can be closed without
/// asking anybody.
fn is_fs_context(fd: &OwnedFd) -> Result<bool> {
    let path = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    match std::fs::read_link(&path) {
        Ok(name) => Ok(name.as_os_str() == "anon_inode:[fscontext]"),
        Err(error) => Err(Error::file(path, error)),
    }
}

/// Sends [`CONTEXT`] and the descriptor, without allocating.
pub(crate) fn send_context(
    socket: BorrowedFd<'_>,
    context: BorrowedFd<'_>,
) -> rustix::io::Result<()> {
    send_fd(socket, CONTEXT, context)
}

/// Sends this word and a descriptor, without allocating.
pub(crate) fn send_fd(
    socket: BorrowedFd<'_>,
    word: u8,
    fd: BorrowedFd<'_>,
) -> rustix::io::Result<()> {
    send_with_fd(socket, std::slice::from_ref(&word), fd)
}

/// Sends a message and a descriptor, without allocating.
pub(crate) fn send_with_fd(
    socket: BorrowedFd<'_>,
    message: &[u8],
    fd: BorrowedFd<'_>,
) -> rustix::io::Result<()> {
    send_with(socket, message, &[fd])
}

/// Sends a message and descriptors, of which there may be two, without allocating.
pub(crate) fn send_with(
    socket: BorrowedFd<'_>,
    message: &[u8],
    fds: &[BorrowedFd<'_>],
) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::NOBUFS);
    }
    let data = [IoSlice::new(message)];
    retry(|| rustix::net::sendmsg(socket, &data, &mut control, SendFlags::NOSIGNAL)).map(drop)
}

/// When to stop waiting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    pub(crate) const NEVER: Self = Self(None);

    pub(crate) fn new(limit: Duration) -> Self {
        Self(Instant::now().checked_add(limit))
    }

    /// Waits until the descriptor is readable; returns whether it is.
    pub(crate) fn wait_for(self, fd: BorrowedFd<'_>) -> rustix::io::Result<bool> {
        loop {
            let left = self
                .0
                .map(|end| end.saturating_duration_since(Instant::now()));
            let timeout = left.map(Timespec::try_from).transpose();
            let timeout = timeout.map_err(|_| Errno::INVAL)?;
            let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
            match rustix::event::poll(&mut fds, timeout.as_ref()) {
                Err(Errno::INTR) => {}
                ready => return ready.map(|ready| ready > 0),
            }
        }
    }
}

/// A message.
pub(crate) struct Message {
    /// Its length.
    pub(crate) bytes: usize,
    /// The descriptor that came with it.
    pub(crate) fd: Option<OwnedFd>,
    /// Who sent it, on a socket with SO_PASSCRED.
    pub(crate) sender: Option<Pid>,
}

/// Receives a message, which must fit: `EMSGSIZE` else, also for more than one descriptor;
/// `ETIMEDOUT` if none comes.
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    message: &mut [u8],
    deadline: Deadline,
) -> rustix::io::Result<Message> {
    let mut fds = [None];
    let received = receive_with(socket, message, &mut fds, deadline);
    let [fd] = fds;
    received.map(|(bytes, sender)| Message { bytes, fd, sender })
}

/// As [`receive`], with as many descriptors at most as there is room for. Returns the message's length
/// and its sender.
pub(crate) fn receive_with(
    socket: BorrowedFd<'_>,
    message: &mut [u8],
    fds: &mut [Option<OwnedFd>],
    deadline: Deadline,
) -> rustix::io::Result<(usize, Option<Pid>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2), ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut data = [IoSliceMut::new(message)];
    let received = loop {
        if !deadline.wait_for(socket)? {
            return Err(Errno::TIMEDOUT);
        }
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        // Somebody else may have taken what there was.
        match rustix::net::recvmsg(socket, &mut data, &mut control, flags) {
            Err(Errno::INTR | Errno::AGAIN) => {}
            received => break received?,
        }
    };
    let mut sender = None;
    let mut free = fds.iter_mut();
    let mut too_much = received
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC);
    for message in control.drain() {
        match message {
            RecvAncillaryMessage::ScmRights(received) => {
                for fd in received {
                    match free.next() {
                        Some(place) => *place = Some(fd),
                        None => {
                            too_much = true;
                            close_elsewhere(fd);
                        }
                    }
                }
            }
            RecvAncillaryMessage::ScmCredentials(credentials) => sender = Some(credentials.pid),
            _ => too_much = true,
        }
    }
    if too_much {
        let taken = fds.iter_mut().filter_map(Option::take);
        taken.for_each(close_elsewhere);
        return Err(Errno::MSGSIZE);
    }
    Ok((received.bytes, sender))
}

/// Closes a descriptor that a container made, in a thread of its own: the container may have made
/// one whose close takes as long as it likes, such as that of a file of its own FUSE.
fn close_elsewhere(fd: OwnedFd) {
    // Without a thread, the caller closes it after all: the closure is dropped.
    let _ = std::thread::Builder::new().spawn(move || drop(fd));
}

/// Runs a call again when a signal interrupted it.
pub(crate) fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}
