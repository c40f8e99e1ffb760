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
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::io::Errno;
use rustix::net::RecvAncillaryBuffer;
use rustix::net::RecvAncillaryMessage;
use rustix::net::RecvFlags;
use rustix::net::SendAncillaryBuffer;
use rustix::net::SendAncillaryMessage;
use rustix::net::SendFlags;

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

    /// Waits for the manager's answer.
    ///
    /// # Errors
    ///
    /// [`Error::Handshake`] with the manager's words if it refused, or if it went away.
    pub fn wait(self) -> Result<Granted> {
        let mut answer = vec![0; REASON_SIZE];
        let length = match retry(|| rustix::io::read(self.socket, &mut *answer)) {
            // A socket closed with the request unread says so this way.
            Err(Errno::CONNRESET) => 0,
            read => read.map_err(|errno| Error::sys("receive the manager's answer", errno))?,
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
/// let delegation: Delegation = "delegate_cmds=prog_load,delegate_progs=xdp".parse()?;
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
    /// Receives the fs context of the container at the other end of the socket.
    ///
    /// # Errors
    ///
    /// [`Error::Handshake`] if something else comes, or nothing.
    pub fn receive<S: AsFd>(socket: &'a S) -> Result<Self> {
        let socket = socket.as_fd();
        let mut first = [0];
        let (length, fd) = recv_with_fd(socket, &mut first)
            .map_err(|errno| Error::sys("receive an fs context", errno))?;
        match (length, first[0], fd) {
            (1, CONTEXT, Some(fd)) => Ok(Self::new(socket, fd)),
            (0, ..) => Err(Error::Handshake(
                "the container closed the socket without sending an fs context".to_owned(),
            )),
            _ => Err(Error::Handshake(
                "the container sent something else than an fs context".to_owned(),
            )),
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
        if let Err(error) = made {
            self.refuse(&error.to_string())?;
            return Err(error);
        }
        self.answer(&[GRANTED])?;
        Ok(self.context)
    }

    fn check(&self) -> Result<()> {
        if self.context.can_delegate() {
            return Ok(());
        }
        Err(Error::Handshake(
            "what the container sent is no fs context of a BPF FS that can delegate (Linux 6.9 has \
             that)"
                .to_owned(),
        ))
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
        rustix::net::send(self.socket, answer, SendFlags::NOSIGNAL)
            .map(drop)
            .map_err(|errno| Error::sys("answer the container", errno))
    }
}

/// Sends [`CONTEXT`] and the descriptor, without allocating.
pub(crate) fn send_context(
    socket: BorrowedFd<'_>,
    context: BorrowedFd<'_>,
) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [context];
    if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(Errno::NOBUFS);
    }
    let data = [IoSlice::new(&[CONTEXT])];
    retry(|| rustix::net::sendmsg(socket, &data, &mut control, SendFlags::NOSIGNAL)).map(drop)
}

/// Receives a message and the descriptor that may come with it.
pub(crate) fn recv_with_fd(
    socket: BorrowedFd<'_>,
    message: &mut [u8],
) -> rustix::io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut data = [IoSliceMut::new(message)];
    let received =
        retry(|| rustix::net::recvmsg(socket, &mut data, &mut control, RecvFlags::CMSG_CLOEXEC))?;
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    Ok((received.bytes, fd))
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
