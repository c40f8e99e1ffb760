// SPDX-License-Identifier: GPL-2.0

//! The bounds of trust: attempts to get from a token what it does not stand for, or to get it in the wrong hands. What
//! each comes to is argued from the rules of a token in one line.

mod contest;
mod files;
mod identity;
mod mounts;
mod namespaces;
mod uring;

use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;

use libtest_mimic::Trial;
use rustix::io::Errno;

use super::usage;
use super::usage::LoadedBtf;

pub fn tests() -> Vec<Trial> {
    let mut trials = namespaces::tests();
    trials.extend(identity::tests());
    trials.extend(mounts::tests());
    trials.extend(files::tests());
    trials.extend(uring::tests());
    trials.extend(contest::tests());
    trials
}

/// Any user that is not root.
const USER: u32 = 1000;

/// The four commands that take a token, with arguments that nothing else is wrong about.
struct Commands(LoadedBtf);

impl Commands {
    fn new() -> Self {
        Self(LoadedBtf::new())
    }

    /// Expects the same of every command with this descriptor for a token.
    fn expect(&self, what: &str, token: &OwnedFd, expected: Result<(), Errno>) {
        for command in usage::COMMANDS {
            let result = usage::attempt(command, self.0.id(), Some(token.as_raw_fd()));
            assert_eq!(result, expected, "{command:?}: {what}");
        }
    }

    fn expect_granted(&self, what: &str, token: &OwnedFd) {
        self.expect(what, token, Ok(()));
    }

    fn expect_refused(&self, what: &str, token: &OwnedFd) {
        self.expect(what, token, Err(Errno::PERM));
    }
}
