// SPDX-License-Identifier: GPL-2.0

//! Rule 6 where it is consumed: the verifier, the helpers and what comes after them ask for a capability by the token that
//! a program was loaded through. Each is asked for by somebody who has the capability, who lacks it, and to whom a security
//! module denies it, by a token and without.

mod loaded;
mod verifier;

use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use guest::container;
use guest::container::Delegation;
use guest::insn;
use guest::process;
use libtest_mimic::Trial;
use rustix::io::Errno;
use rustix::thread::CapabilitySet;

use super::security::user_namespace;
use super::trial;
use crate::hooks::Hook;
use crate::hooks::Watch;

const BPF: CapabilitySet = CapabilitySet::BPF;
const PERFMON: CapabilitySet = CapabilitySet::PERFMON;
const NET_ADMIN: CapabilitySet = CapabilitySet::NET_ADMIN;

pub fn tests() -> Vec<Trial> {
    let mut trials = verifier::tests();
    trials.extend(loaded::tests());
    trials
}

/// How somebody stands to a capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// By a token: the capability is there, it is missing, or a security module denies it.
    TokenHeld,
    TokenMissing,
    TokenRefused,
    /// In the initial user namespace, without a token.
    OwnHeld,
    OwnMissing,
}

impl Standing {
    const ALL: [Self; 5] = [
        Self::TokenHeld,
        Self::TokenMissing,
        Self::TokenRefused,
        Self::OwnHeld,
        Self::OwnMissing,
    ];

    fn has_it(self) -> bool {
        matches!(self, Self::TokenHeld | Self::OwnHeld)
    }

    fn by_token(self) -> bool {
        !matches!(self, Self::OwnHeld | Self::OwnMissing)
    }

    /// What a reason says of a missing capability.
    fn told(self) -> &'static str {
        match self {
            Self::TokenMissing => " in the user namespace that owns the token",
            Self::TokenRefused => ", which a security module refused to the token",
            _ => " in the initial user namespace, because no token was given",
        }
    }

    /// Runs `part` with this standing to `cap`, and with all other capabilities that BPF asks for but CAP_SYS_ADMIN,
    /// which stands in for each. What `part` returns is handed to `root`, in the initial user namespace.
    fn run(
        self,
        cap: CapabilitySet,
        part: impl FnOnce(Option<RawFd>) -> Option<OwnedFd>,
        root: impl FnOnce(OwnedFd),
    ) {
        let others = BPF | PERFMON | NET_ADMIN;
        let held = match self {
            Self::TokenMissing | Self::OwnMissing => others.difference(cap),
            _ => others | cap,
        };
        if !self.by_token() {
            if let Some(fd) = process::with_capabilities(held, || part(None)) {
                root(fd);
            }
            return;
        }
        let watch = (self == Self::TokenRefused).then(Watch::start);
        let inside = |instance: container::Instance, link: process::Link| {
            let token = instance.token();
            if let Some(watch) = &watch {
                watch.refuse_args(user_namespace(), Hook::TokenCapable, Errno::DOM, cap.bits());
            }
            let made = process::with_capabilities(held, || part(Some(token.as_raw_fd())));
            link.send(&[u8::from(made.is_some())]);
            if let Some(fd) = made {
                link.send_fd(fd);
            }
        };
        container::run_with(&Delegation::ANY, inside, |link| {
            if link.receive().is_some_and(|made| made == [1]) {
                root(link.recv_fd());
            }
        });
    }
}

/// A program that looks up the value of a map and does `then` with it, in r0; r6 is the context.
fn with_value(map: &OwnedFd, then: &[u64]) -> Vec<u64> {
    let [low, high] = insn::load_map(1, map.as_raw_fd());
    let begin = [
        insn::mov_reg(6, 1),
        insn::store_imm_u32(10, 0, -4),
        insn::mov_reg(2, 10),
        insn::add_imm(2, -4),
        low,
        high,
        insn::call_helper(1),
        insn::jump_if_equal(0, 0, then.len() as i16),
    ];
    [&begin[..], then, &[insn::mov_imm(0, 0), insn::exit()]].concat()
}
