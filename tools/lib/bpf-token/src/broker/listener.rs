// SPDX-License-Identifier: MIT OR Apache-2.0
//! A broker that programs of a running container find.

use std::fs;
use std::fs::Permissions;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::net::AddressFamily;
use rustix::net::SocketAddrUnix;
use rustix::net::SocketFlags;
use rustix::net::SocketType;

use super::Broker;
use super::Client;
use crate::error::Error;
use crate::error::Result;
use crate::file_id::FileId;
use crate::handshake;
use crate::process::effective_capabilities;
use crate::process::Process;
use crate::sys;
use crate::target::Target;
use crate::tracefs::TRACEFS;

/// The name of the socket. tracefs has no such file.
pub(crate) const SOCKET: &str = "bpf_token_broker";

/// How many connections there may be, each with a thread: one for each program that runs at a time.
const MOST: usize = 64;

/// CAP_SYS_ADMIN and CAP_PERFMON, with one of which a process may open any event.
const MAY_OPEN: u64 = (1 << 21) | (1 << 38);

/// A broker's place in a running container, which it leaves when this is dropped.
#[derive(Debug)]
pub struct Listener {
    broker: Arc<Broker>,
    process: Process,
    /// The container's, whatever the process does later.
    namespace: OwnedFd,
    socket: OwnedFd,
    tree: OwnedFd,
}

impl Listener {
    pub(super) fn new(broker: Broker, process: &Process, replace: bool) -> Result<Self> {
        let failed = |errno| Error::sys("make a socket for the container", errno);
        let namespace = process.open_namespace("user")?;
        let (uid, gid) = (
            process.first_ids("uid_map")?.1,
            process.first_ids("gid_map")?.1,
        );
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
                .map_err(failed)?;
        // A file is looked for in the mounts of who sends it; those who connect take that on.
        sockopt::set_socket_passcred(&socket, true).map_err(failed)?;
        let add = |tree: &Path| {
            let path = tree.join(SOCKET);
            SocketAddrUnix::new(&path)
                .and_then(|address| rustix::net::bind(&socket, &address))
                .and_then(|()| rustix::net::listen(&socket, 16))
                .map_err(failed)?;
            std::os::unix::fs::chown(&path, Some(uid), Some(gid))
                .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o600)))
                .map_err(|error| Error::file(path, error))
        };
        let tree = broker.tracing.tree(&broker.probes, Some(&add))?;
        Target::new(process, TRACEFS)
            .replace(replace)
            .place(&tree)?;
        Ok(Self {
            broker: Arc::new(broker),
            process: process.try_clone()?,
            namespace,
            socket,
            tree,
        })
    }

    /// Answers all who connect until the process ends that the container was found by, or `stop` is
    /// readable. A connection is answered by a thread of its own.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub fn serve(&self, stop: impl AsFd) -> Result<()> {
        let failed = |errno| Error::sys("wait for programs of the container", errno);
        let stop = stop.as_fd();
        let connections = Arc::new(AtomicUsize::new(0));
        loop {
            let watched = [self.socket.as_fd(), self.process.as_fd(), stop];
            let mut fds = watched.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
            handshake::retry(|| rustix::event::poll(&mut fds, None)).map_err(failed)?;
            if fds[1..].iter().any(|fd| !fd.revents().is_empty()) {
                return Ok(());
            }
            match rustix::net::accept_with(&self.socket, SocketFlags::CLOEXEC) {
                Ok(client) => self.answer(client, &connections),
                // It has gone again.
                Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
    }

    /// Answers one who connected; one who may not, or is one too many, finds the connection closed.
    fn answer(&self, client: OwnedFd, connections: &Arc<AtomicUsize>) {
        let Ok(()) = sockopt::set_socket_passcred(&client, true) else {
            return;
        };
        // Who can't be looked at may not ask.
        let may_ask = self.may_ask(&client).unwrap_or(false);
        if !may_ask || connections.load(Ordering::Relaxed) >= MOST {
            return;
        }
        let broker = self.broker.clone();
        let count = Count::new(connections);
        // Without a thread, the closure is dropped, and the connection with it.
        let _ = std::thread::Builder::new().spawn(move || {
            let _count = count;
            // What failed is the connection, which ends here.
            let _ = broker.answer_all(client.as_fd(), Client::Connected);
        });
    }

    /// Whether the process that connected may do in the container what the broker does for it: the
    /// owner of the socket alone may have given that up, or have it in a namespace of its own.
    fn may_ask(&self, client: &OwnedFd) -> Result<bool> {
        let peer = sys::peer(client.as_fd()).map_err(|errno| Error::sys("SO_PEERPIDFD", errno))?;
        let peer = Process::from_pidfd(peer)?;
        let capabilities = effective_capabilities(&peer.read("status")?).unwrap_or_default();
        let may_open = capabilities & MAY_OPEN != 0;
        let namespaces = [&peer.open_namespace("user")?, &self.namespace].map(rustix::fs::fstat);
        let is_here = match namespaces {
            [Ok(theirs), Ok(container)] => FileId::of(&theirs) == FileId::of(&container),
            _ => false,
        };
        Ok(may_open && is_here)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // A container that has ended, or has unmounted it itself, has nothing to give back.
        let _ = Target::new(&self.process, TRACEFS).displace(&self.tree);
    }
}

/// One connection, as long as it is there.
struct Count(Arc<AtomicUsize>);

impl Count {
    fn new(connections: &Arc<AtomicUsize>) -> Self {
        connections.fetch_add(1, Ordering::Relaxed);
        Self(connections.clone())
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
