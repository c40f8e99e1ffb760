// SPDX-License-Identifier: MIT OR Apache-2.0
//! The process that gives a token to calls of bpf(2) that come without one, and has the manager's broker
//! open perf events.

mod caller;
mod copy;
mod observer;
mod perf;
mod place;
mod probe;
mod program;
mod request;
mod voice;

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::SendFlags;

use crate::command::BPF_F_TOKEN_FD;
use crate::error::Error;
use crate::error::Result;
use crate::file_id::FileId;
use crate::handshake;
use crate::handshake::Deadline;
use crate::handshake::LIMIT;
use crate::sys;
use crate::sys::Answer;
use crate::sys::Call;
use crate::sys::Given;
use crate::token::Token;
use caller::Caller;
use copy::Copy;
pub use observer::Observed;
pub(crate) use observer::Observer;
pub(crate) use probe::Client;
use probe::Outcome;
use request::Attr;
use voice::Voice;

/// The name of the process.
const NAME: &std::ffi::CStr = c"bpf-token-exec";

/// Processes whose descriptor's number is remembered, before those that ended are forgotten.
const REMEMBERED: usize = 1024;

/// What bpf(2) returns is always close-on-exec.
const RESULT: Given = Given::AsResult {
    close_on_exec: true,
};

/// What the supervisor works with.
pub(crate) struct Supervisor {
    token: Token,
    /// The token's file, to know it by in other processes.
    file: FileId,
    voice: Voice,
    observer: Option<Observer>,
    broker: Option<Client>,
    /// The number that the token's descriptor was given in a process or thread. It may have been
    /// closed since.
    numbers: HashMap<i32, RawFd>,
    /// The process that will be supervised.
    first: i32,
}

impl Supervisor {
    pub(crate) fn new(
        token: Token,
        quiet: bool,
        observer: Option<Observer>,
        broker: Option<Client>,
    ) -> Result<Self> {
        let stat = rustix::fs::fstat(&token).map_err(|errno| Error::sys("fstat", errno))?;
        Ok(Self {
            token,
            file: FileId::of(&stat),
            voice: Voice::new(quiet),
            observer,
            broker,
            numbers: HashMap::new(),
            first: rustix::process::getpid().as_raw_nonzero().get(),
        })
    }

    /// Answers calls until nobody is left to make one.
    fn serve(&mut self, listener: BorrowedFd<'_>) {
        loop {
            let mut fds = [PollFd::from_borrowed_fd(listener, PollFlags::IN)];
            match rustix::event::poll(&mut fds, None) {
                Err(Errno::INTR) => continue,
                Err(_) => return,
                Ok(_) => {}
            }
            if !fds[0].revents().contains(PollFlags::IN) {
                return;
            }
            match sys::next_call(listener) {
                Ok(call) => {
                    let answer = self.treat(listener, &call);
                    if let Some(answer) = answer {
                        // It fails if the caller was killed.
                        let _ = sys::answer_call(listener, call.id, answer);
                    }
                }
                // The caller was killed, or a signal came here.
                Err(Errno::NOENT | Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    /// Does what is to be done before the caller goes on; no answer if it has got one.
    fn treat(&mut self, listener: BorrowedFd<'_>, call: &Call) -> Option<Answer> {
        let caller = match Caller::open(call.tid) {
            // From here on, all that is read and written is the caller's.
            Ok(caller) if sys::call_waits(listener, call.id) => caller,
            Ok(_) => return None,
            // What may not be looked into has no standard error either.
            Err(_) => return Some(Answer::Continue),
        };
        if call.is_event() {
            return self.treat_event(listener, call, &caller);
        }
        // What can't be read, the kernel will say.
        let Some(attr) = Attr::read(&caller, call) else {
            return Some(Answer::Continue);
        };
        if let Some(observer) = &mut self.observer {
            if !observer.tell(call.tid, attr.needs()) {
                self.observer = None;
            }
        }
        if let Some(number) = attr.own_token() {
            // It may be ours, from a call before with the same attributes.
            let ours = self.known_number(&caller) == Some(number);
            if !ours || caller.holds(number, self.file) {
                return Some(Answer::Continue);
            }
        }
        self.voice.tell_refusal(&caller, &attr, &self.token);
        if attr.has_room() {
            match self.number_in(listener, call, &caller) {
                Ok(number) if put_token(&caller, &attr, number).is_ok() => {
                    return Some(Answer::Continue)
                }
                Ok(_) => {}
                // The caller was killed.
                Err(Errno::NOENT) => return None,
                Err(errno) => {
                    self.voice.tell_no_token(&caller, &attr, errno);
                    return Some(Answer::Continue);
                }
            }
        }
        // No room for a token, or none that can be written.
        match (Copy {
            caller: &caller,
            call,
            attr: &attr,
            token: &self.token,
        })
        .make()
        {
            copy::Made::Fd(fd) => match sys::give_fd(listener, call.id, fd.as_fd(), RESULT) {
                Ok(_) => None,
                Err(errno) => Some(Answer::Fail(errno)),
            },
            copy::Made::Failed(errno) => Some(Answer::Fail(errno)),
            copy::Made::Not(why) => {
                self.voice.tell_not_copied(&caller, &attr, why);
                Some(Answer::Continue)
            }
        }
    }

    /// As [`treat`](Self::treat), for a call of perf_event_open(2).
    fn treat_event(
        &mut self,
        listener: BorrowedFd<'_>,
        call: &Call,
        caller: &Caller,
    ) -> Option<Answer> {
        match self.broker.as_ref()?.open(caller, call) {
            Outcome::NotOurs => Some(Answer::Continue),
            Outcome::Refused(reason) => {
                self.voice.tell_no_event(caller, &reason);
                Some(Answer::Continue)
            }
            Outcome::Failed(errno) => Some(Answer::Fail(errno)),
            Outcome::Opened(event, close_on_exec) => {
                let how = Given::AsResult { close_on_exec };
                match sys::give_fd(listener, call.id, event.as_fd(), how) {
                    Ok(_) => None,
                    Err(errno) => Some(Answer::Fail(errno)),
                }
            }
        }
    }

    fn known_number(&mut self, caller: &Caller) -> Option<RawFd> {
        if let Some(number) = self.numbers.get(&caller.tid) {
            return Some(*number);
        }
        let number = *self.numbers.get(&caller.process()?)?;
        self.remember(caller.tid, number);
        Some(number)
    }

    /// The number of the token's descriptor in the caller, which gets one if it has none.
    fn number_in(
        &mut self,
        listener: BorrowedFd<'_>,
        call: &Call,
        caller: &Caller,
    ) -> rustix::io::Result<RawFd> {
        if let Some(number) = self.known_number(caller) {
            // A program that was executed since has it no more, nor one that closed it.
            if caller.holds(number, self.file) {
                return Ok(number);
            }
        }
        let number = sys::give_fd(listener, call.id, self.token.as_fd(), Given::Besides)?;
        self.remember(caller.tid, number);
        if let Some(process) = caller.process() {
            self.remember(process, number);
        }
        Ok(number)
    }

    fn remember(&mut self, id: i32, number: RawFd) {
        if self.numbers.len() >= REMEMBERED {
            self.numbers
                .retain(|id, _| std::fs::exists(format!("/proc/{id}")).unwrap_or(false));
        }
        self.numbers.insert(id, number);
    }
}

/// Puts the token into the caller's attributes. The flag comes last, so that it never stands there
/// without a descriptor.
fn put_token(caller: &Caller, attr: &Attr, number: RawFd) -> rustix::io::Result<()> {
    let (flags_at, fd_at) = attr.token_addresses();
    caller.write(fd_at, &number.to_ne_bytes())?;
    caller.write(flags_at, &(attr.flags() | BPF_F_TOKEN_FD).to_ne_bytes())
}

/// All that the process does. `socket` leads to the one that will be supervised.
pub(crate) fn run(mut supervisor: Supervisor, socket: OwnedFd) -> ! {
    let served = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let Ok(listener) = settle(&supervisor, &socket) else {
            return false;
        };
        drop(socket);
        supervisor.serve(listener.as_fd());
        true
    }));
    sys::exit_now(i32::from(!served.unwrap_or(false)));
}

/// Leaves the terminal and everything else that was the parent's, and gets the listener.
fn settle(supervisor: &Supervisor, socket: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    rustix::process::setsid()?;
    rustix::process::chdir(c"/")?;
    rustix::thread::set_name(NAME)?;
    // A pipe that the parent's standard output leads to ends with the parent.
    let null = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    for number in 0..3 {
        sys::place_fd(null.as_fd(), number)?;
    }
    let mut keep = vec![
        0,
        1,
        2,
        supervisor.token.as_fd().as_raw_fd(),
        socket.as_raw_fd(),
    ];
    keep.extend(supervisor.observer.as_ref().map(AsRawFd::as_raw_fd));
    let broker = supervisor.broker.as_ref();
    keep.extend(broker.map(|broker| broker.socket.as_raw_fd()));
    if null.as_raw_fd() > 2 {
        keep.push(null.as_raw_fd());
    }
    sys::close_all_but(&mut keep)?;
    let mut message = [0; 1];
    let received = handshake::receive(socket.as_fd(), &mut message, Deadline::new(LIMIT))?;
    let listener = received.fd.ok_or(Errno::PIPE)?;
    // A supervisor that may not look into the programs is of no use.
    let reached = Caller::open(supervisor.first).map(drop);
    let errno = reached.err().map_or(0, Errno::raw_os_error);
    rustix::net::send(socket, &errno.to_ne_bytes(), SendFlags::NOSIGNAL)?;
    reached.map(|()| listener)
}
