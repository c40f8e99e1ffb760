// SPDX-License-Identifier: GPL-2.0

//! The step that a `bpf()` command takes with its `token_fd`, and the privileges that it needs.
//!
//! A descriptor that is no token is refused. A token that does not delegate what is asked for is
//! put aside, and the caller stands on its own capabilities. What follows are the privileges that
//! the command needs, from the token's user namespace or from the initial one.

#![forbid(unsafe_code)]

use crate::{
    decision::{
        Decision,
        Purpose,
        Refusal,
        Unused, //
    },
    events,
    file::Permitted,
    request::Command,
    sysctl,
    token::Token, //
};
use core::ptr;
use kernel::{
    bindings,
    capability::Capability,
    fs::Fd,
    macros::kunit_tests,
    prelude::*, //
};

/// Decides a command, from its token step to the privileges that it needs.
///
/// Returns, as C code wants it, the token that the command uses, null if it uses none, or the errno
/// as a pointer; `decision` keeps the reason.
#[inline]
pub(crate) fn admit<C: Command>(
    command: C,
    token_fd: Option<u32>,
    decision: &mut Decision,
) -> *mut bindings::bpf_token {
    match token_fd {
        None => admit_without(command, decision),
        Some(fd) => admit_with(command, fd, decision),
    }
}

/// As [`admit`], with the capabilities of the caller.
#[inline]
fn admit_without<C: Command>(command: C, decision: &mut Decision) -> *mut bindings::bpf_token {
    let disabled = sysctl::unprivileged_bpf_disabled();
    let capable = |cap| Token::check_capable(None, cap);
    match command.request().require(disabled, capable) {
        Ok(()) => ptr::null_mut(),
        Err(refusal) => decision.refuse(refusal).to_ptr(),
    }
}

/// As [`admit`], with the token that was given.
///
/// Not inline, or those who give no token save the registers that only this needs: map creation by
/// own capabilities takes 2,592 instructions then, and C 2,565.
#[inline(never)]
fn admit_with<C: Command>(
    command: C,
    fd: u32,
    decision: &mut Decision,
) -> *mut bindings::bpf_token {
    let Ok(given) = Fd::get(fd) else {
        return decision.refuse(Refusal::NotOpen(fd)).to_ptr();
    };
    let Some(permitted) = Permitted::by_file(given.file()) else {
        return decision.refuse(Refusal::NotAToken(fd)).to_ptr();
    };
    let token = permitted.token;
    let request = command.request();
    let unused = request.unused(&permitted, || token.may_delegate_cmd(request.cmd));
    if unused != Unused::None {
        decision.given = token.given(unused);
        drop(given);
        return admit_without(command, decision);
    }
    let disabled = sysctl::unprivileged_bpf_disabled();
    match request.require(disabled, |cap| Token::check_capable(Some(token), cap)) {
        Ok(()) => {
            events::used(token.as_bpf_token(), &request);
            Token::into_raw(token.into())
        }
        Err(refusal) => refuse_with(token, refusal, decision).to_ptr(),
    }
}

/// Refuses a command that uses `token`.
#[cold]
fn refuse_with(token: &Token, refusal: Refusal, decision: &mut Decision) -> Error {
    decision.given = token.given(Unused::None);
    decision.refuse(refusal)
}

/// Decides a check of `cap` that comes later in a command, with the token that it uses.
#[inline]
pub(crate) fn admit_later(
    token: Option<&Token>,
    cap: Capability,
    purpose: Purpose,
    decision: &mut Decision,
) -> Result {
    Token::check_capable(token, cap).map_err(|denied| {
        let refusal = Refusal::Privilege {
            cap,
            purpose,
            denied,
        };
        refuse_later(token, refusal, decision)
    })
}

/// Refuses a command that uses `token`, or none.
#[cold]
pub(crate) fn refuse_later(
    token: Option<&Token>,
    refusal: Refusal,
    decision: &mut Decision,
) -> Error {
    match token {
        Some(token) => refuse_with(token, refusal, decision),
        None => decision.refuse(refusal),
    }
}

#[kunit_tests(bpf_token_admission)]
mod tests {
    use super::*;
    use crate::decision::Given;
    use kernel::error::from_err_ptr;

    use crate::request::{
        BtfLoad,
        Request, //
    };

    /// The thread of the tests has all capabilities in the initial user namespace.
    #[test]
    fn own_capabilities_are_enough() {
        let mut decision = Decision::new();
        assert!(admit(BtfLoad, None, &mut decision).is_null());
        assert!(decision.refusal == Refusal::None);
        assert!(admit_later(None, Capability::BPF, Purpose::MapFields, &mut decision).is_ok());
    }

    #[test]
    fn a_descriptor_that_is_not_open_is_refused_in_spite_of_capabilities() {
        for fd in [u32::MAX, 1 << 20] {
            let mut decision = Decision::new();
            let admitted = from_err_ptr(admit(BtfLoad, Some(fd), &mut decision));
            assert!(admitted.is_err_and(|err| err == EBADF));
            assert!(decision.refusal == Refusal::NotOpen(fd));
        }
    }

    #[derive(Clone, Copy)]
    struct LongProgram;

    impl Command for LongProgram {
        fn request(self) -> Request {
            Request {
                insn_cnt: 1_000_001,
                ..Request::of(bindings::bpf_cmd_BPF_PROG_LOAD)
            }
        }
    }

    #[test]
    fn instructions_are_refused_in_spite_of_capabilities() {
        let mut decision = Decision::new();
        let admitted = from_err_ptr(admit(LongProgram, None, &mut decision));
        assert!(admitted.is_err_and(|err| err == E2BIG));
        assert!(decision.refusal == Refusal::InstructionCount);
        assert!(matches!(decision.given, Given::Nothing));
    }
}
