// SPDX-License-Identifier: GPL-2.0

//! Processes that end with those who started them, and are waited for by whoever is left.

use std::panic::AssertUnwindSafe;

use guest::sys;
use rustix::io::Errno;
use rustix::process;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::WaitOptions;

use super::board::Board;

/// Runs `part` in a child, which is killed when the calling thread ends.
pub fn spawn(part: impl FnOnce()) -> Pid {
    let parent = process::getpid();
    if let Some(pid) = sys::fork().expect("fork") {
        return pid;
    }
    end_with_parent();
    // The parent may have ended before it could be asked for.
    if process::getppid() != Some(parent) {
        sys::exit(0);
    }
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(part));
    sys::exit(i32::from(outcome.is_err()));
}

/// Has the calling process killed when its parent ends.
pub fn end_with_parent() {
    process::set_parent_process_death_signal(Some(Signal::KILL)).expect("PR_SET_PDEATHSIG");
}

/// Waits for the end of a child, and notes it. Gives `None` when there is no child.
pub fn wait(board: &Board) -> Option<Pid> {
    match process::wait(WaitOptions::empty()) {
        Ok(ended) => {
            let (pid, status) = ended.expect("a child that has ended");
            board.ended(pid, status);
            Some(pid)
        }
        Err(Errno::CHILD) => None,
        Err(errno) => panic!("wait: {errno}"),
    }
}
