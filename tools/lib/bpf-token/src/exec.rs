// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs that know nothing of tokens, run so that they use one.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::MoveMountFlags;
use rustix::process::WaitOptions;

use crate::error::Error;
use crate::error::Result;
use crate::handshake;
use crate::handshake::Deadline;
use crate::handshake::LIMIT;
use crate::launch;
use crate::supervisor;
use crate::supervisor::Client;
use crate::supervisor::Observer;
use crate::supervisor::Supervisor;
use crate::sys;
use crate::sys::Supervised;
use crate::token::inherited_fd;
use crate::token::Token;
use crate::tracefs::TRACEFS;

/// A program to execute in place of this process, whose calls of bpf(2) get a token.
///
/// A seccomp filter hands calls with a command that takes a token to a supervisor: a process of its
/// own, with no more privilege than this one, which gives the caller a descriptor of the token, puts
/// it into the attributes, and lets the caller make the call. It holds for all processes that come
/// from the program, and ends when the last of them does.
///
/// That is no bound: a caller can change its attributes again, and gains nothing that the token
/// would not give it anyway.
///
/// ```no_run
/// use bpf_token::{Exec, Token};
/// let token = Token::from_bpffs("/sys/fs/bpf")?;
/// let error = Exec::new(token, "bpftrace").args(["-e", "BEGIN { exit() }"]).exec();
/// eprintln!("bpftrace: {error}");
/// # Ok::<(), bpf_token::Error>(())
/// ```
#[derive(Debug)]
pub struct Exec {
    token: Token,
    program: OsString,
    args: Vec<OsString>,
    quiet: bool,
    no_token: bool,
    observer: Option<OwnedFd>,
    broker: Option<Broker>,
}

/// The way to a broker.
#[derive(Debug)]
enum Broker {
    /// The socket was passed on.
    Passed(OwnedFd),
    Connected(Client),
}

impl Exec {
    /// Executes this program, found through `PATH` if its name has no slash.
    pub fn new(token: Token, program: impl Into<OsString>) -> Self {
        Self {
            token,
            program: program.into(),
            args: Vec::new(),
            quiet: false,
            no_token: false,
            observer: None,
            broker: None,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<I: IntoIterator<Item: Into<OsString>>>(mut self, args: I) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Whether the supervisor keeps to itself why a call will be refused, or gets no token. Otherwise
    /// it tells, each reason once, on the caller's standard error if that is this process's.
    #[must_use]
    pub fn quiet(mut self, quiet: bool) -> Self {
        self.quiet = quiet;
        self
    }

    /// Tells each call to the other end of the socket that this process has under this number, before
    /// the call is made; see [`Observed`]. The program does not get the socket.
    ///
    /// # Errors
    ///
    /// `EBADF` if it is not open.
    ///
    /// [`Observed`]: crate::Observed
    pub fn observer(mut self, number: i32) -> Result<Self> {
        self.observer = Some(take(number)?);
        Ok(self)
    }

    /// Has the broker at the other end of the socket that this process has under this number open perf
    /// events for kprobes, uprobes and tracepoints; see [`Broker`]. The program does not get the
    /// socket. What the broker allows of tracefs is mounted, read-only, on `/sys/kernel/tracing`.
    ///
    /// # Errors
    ///
    /// `EBADF` if it is not open.
    ///
    /// [`Broker`]: crate::Broker
    pub fn broker(mut self, number: i32) -> Result<Self> {
        self.broker = Some(Broker::Passed(take(number)?));
        Ok(self)
    }

    /// As [`broker`](Self::broker), with the one that [listens](crate::Broker::listen) in this
    /// container. Returns whether there is one: only root of the container reaches it.
    ///
    /// # Errors
    ///
    /// `ECONNREFUSED` if it has ended, `EPIPE` or `ECONNRESET` if it does not listen to this process,
    /// which lacks capabilities; those of the socket. Nothing is changed then.
    pub fn find_broker(&mut self) -> Result<bool> {
        let found = Client::connect()?;
        let is_there = found.is_some();
        self.broker = found.map(Broker::Connected).or(self.broker.take());
        Ok(is_there)
    }

    /// Whether calls of bpf(2) are left alone, for a program that uses a token by itself and only needs
    /// a [`broker`](Self::broker).
    #[must_use]
    pub fn without_token(mut self, without: bool) -> Self {
        self.no_token = without;
        self
    }

    /// Replaces this process by the program; returns only if that failed.
    ///
    /// Sets no_new_privs if the process lacks CAP_SYS_ADMIN in its user namespace: set-user-ID
    /// programs then get no privileges.
    ///
    /// # Errors
    ///
    /// [`Error::Exec`] if the program could not be executed; `EBUSY` if a supervisor is there
    /// already; [`Error::Invalid`] if this process has more than one thread, or `/proc` is not that
    /// of its process namespace.
    pub fn exec(self) -> Error {
        let mut command = Command::new(&self.program);
        command.args(&self.args);
        let program = self.program.clone().into();
        if let Err(error) = self.supervise() {
            return error;
        }
        let error = command.exec();
        match Errno::from_io_error(&error) {
            Some(errno) => Error::Exec {
                program,
                errno: crate::errno::IntoErrno::into_errno(errno),
            },
            None => Error::file(program, error),
        }
    }

    /// Puts this process under a supervisor.
    fn supervise(self) -> Result<()> {
        check_proc()?;
        let (ours, theirs) = launch::socket_pair()?;
        let what = Supervised {
            bpf: !self.no_token,
            events: self.broker.is_some(),
        };
        let broker = match self.broker {
            None => None,
            Some(Broker::Connected(client)) => Some(client),
            Some(Broker::Passed(socket)) => {
                let (client, tree) = Client::new(socket)?;
                tree.map_or(Ok(()), |tree| mount_tree(tree.as_fd()))?;
                Some(client)
            }
        };
        let supervisor = Supervisor::new(
            self.token,
            self.quiet,
            self.observer.map(Observer::new),
            broker,
        )?;
        let failed = |errno| Error::sys("start the supervisor", errno);
        // A child of a child, so that the program does not find one that it did not start.
        match sys::fork_alone().map_err(failed)? {
            Some(child) => {
                let ended = handshake::retry(|| {
                    rustix::process::waitpid(Some(child), WaitOptions::empty())
                });
                match ended.map_err(failed)? {
                    Some((_, status)) if status.exit_status() == Some(0) => {}
                    _ => return Err(failed(Errno::AGAIN)),
                }
            }
            None => match sys::fork_alone() {
                Ok(None) => supervisor::run(supervisor, theirs),
                forked => sys::exit_now(i32::from(forked.is_err())),
            },
        }
        drop(theirs);
        let listener = install(what)?;
        handshake::send_context(ours.as_fd(), listener.as_fd()).map_err(failed)?;
        // A call of ours must not wait for ourselves.
        drop(listener);
        let mut ready = [0; 4];
        let received = handshake::receive(ours.as_fd(), &mut ready, Deadline::new(LIMIT));
        match (received.map_err(failed)?.bytes, i32::from_ne_bytes(ready)) {
            (4, 0) => Ok(()),
            (4, errno) => Err(failed(Errno::from_raw_os_error(errno)).and(
                "it may not look into this process: that takes CAP_SYS_PTRACE in the user namespace \
                 where kernel.yama.ptrace_scope is not 0",
            )),
            _ => Err(failed(Errno::PIPE)),
        }
    }
}

/// Takes a descriptor that the program is not to have.
fn take(number: i32) -> Result<OwnedFd> {
    let fd = inherited_fd(number)?;
    sys::close_one_on_exec(number)
        .map_err(|errno| Error::sys(format!("close descriptor {number} on exec"), errno))?;
    Ok(fd)
}

/// Puts what the broker allows of tracefs where programs look for it.
fn mount_tree(tree: BorrowedFd<'_>) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(tree, c"", CWD, TRACEFS, flags)
        .map_err(|errno| Error::sys(format!("mount {TRACEFS}"), errno))
}

/// Installs the filter. CAP_SYS_ADMIN may do that as it is, so that set-user-ID programs go on to
/// work; others have to give these up.
fn install(what: Supervised) -> Result<OwnedFd> {
    let installed = sys::supervise(what).or_else(|errno| match errno {
        Errno::ACCESS => rustix::thread::set_no_new_privs(true).and_then(|()| sys::supervise(what)),
        errno => Err(errno),
    });
    installed.map_err(|errno| {
        let error = Error::sys("supervise the calls of bpf(2)", errno);
        match errno {
            Errno::BUSY => error.and(
                "another program supervises system calls here already, such as a container manager \
                 or bpftoken exec; the kernel allows for one",
            ),
            Errno::INVAL | Errno::NOSYS => {
                error.and("the kernel has no seccomp filters with notifications (CONFIG_SECCOMP_FILTER)")
            }
            _ => error,
        }
    })
}

/// Checks what the fork and the supervisor rely on.
fn check_proc() -> Result<()> {
    let own = rustix::process::getpid().as_raw_nonzero().to_string();
    match std::fs::read_link("/proc/self") {
        Ok(link) if link.as_os_str() == own.as_str() => {}
        _ => {
            return Err(Error::Invalid(
                "/proc is not that of this process namespace: mount one there".to_owned(),
            ))
        }
    }
    let threads = std::fs::read_dir("/proc/self/task")
        .map_err(|error| Error::file("/proc/self/task", error))?;
    match threads.count() {
        1 => Ok(()),
        threads => Err(Error::Invalid(format!(
            "this process has {threads} threads, of which only one would be supervised"
        ))),
    }
}
