// SPDX-License-Identifier: MIT OR Apache-2.0
//! The first process of a container: starts the command, reaps what is left to it, tells the manager
//! how the command fares, and ends the container when the manager is gone.

use std::ffi::CStr;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::net::SendFlags;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::WaitOptions;
use rustix::process::WaitStatus;

use super::at;
use super::command;
use super::NewContainer;
use super::Result;
use crate::handshake;
use crate::step::Step;
use crate::sys;

/// The name of the process.
const NAME: &CStr = c"container-init";

/// Returns when the command has ended.
pub(super) fn run(setup: BorrowedFd<'_>, new: &mut NewContainer) -> Result<i32> {
    // It stays, so it does not show what the manager's command line was.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::open(c"/dev/zero", flags, Mode::empty())
        .and_then(|zeros| sys::wipe(new.arguments.clone(), zeros.as_fd()))
        .and_then(|()| rustix::thread::set_name(NAME))
        .map_err(at(Step::Seal))?;
    let signals = sys::child_signals().map_err(at(Step::Fork))?;
    let pid = sys::fork(|| command(setup, new)).map_err(at(Step::Fork))?;
    // Neither the end of the set-up nor that of a pipe must wait for this process.
    let life = new.life.as_fd();
    let mut keep = [life.as_raw_fd(), signals.as_raw_fd()];
    sys::close_all_but(&mut keep).map_err(at(Step::Close))?;
    while look_after(pid, life, &signals) {}
    Ok(0)
}

/// Waits for what comes next; returns whether there is more to come.
fn look_after(command: Pid, life: BorrowedFd<'_>, signals: &OwnedFd) -> bool {
    let mut fds = [
        PollFd::new(signals, PollFlags::IN),
        PollFd::from_borrowed_fd(life, PollFlags::IN),
    ];
    // Without an answer it looks by itself; that is never wrong.
    let _ = rustix::event::poll(&mut fds, None);
    let manager_is_gone = !fds[1].revents().is_empty();
    // One signal stands for any number of changes.
    let _ = rustix::io::read(signals, &mut [0u8; 128]);
    if manager_is_gone {
        // It is a child, reaped only below, so the number is still its own.
        let _ = rustix::process::kill_process(command, Signal::KILL);
    }
    let options = WaitOptions::NOHANG | WaitOptions::UNTRACED;
    loop {
        match handshake::retry(|| rustix::process::wait(options)) {
            Ok(Some((pid, status))) if pid == command => {
                if ended(status) {
                    tell(life, status, SendFlags::empty());
                    return false;
                }
                // Of these, one more or less does not matter to a manager that does not listen.
                tell(life, status, SendFlags::DONTWAIT);
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return true,
        }
    }
}

fn ended(status: WaitStatus) -> bool {
    status.exited() || status.signaled()
}

fn tell(life: BorrowedFd<'_>, status: WaitStatus, flags: SendFlags) {
    let status = status.as_raw().to_ne_bytes();
    let _ = handshake::retry(|| rustix::net::send(life, &status, SendFlags::NOSIGNAL | flags));
}
