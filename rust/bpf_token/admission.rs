// SPDX-License-Identifier: GPL-2.0

//! The step that a `bpf()` command takes with its `token_fd`.
//!
//! A descriptor that is no token is refused. A token that does not delegate what is asked for is
//! put aside, and the caller stands on its own capabilities. What follows are the privileges that
//! the command needs, from the token's user namespace or from the initial one.

#![forbid(unsafe_code)]

use crate::{
    reason::{
        Lack,
        Purpose,
        Reason,
        Unused, //
    },
    refusal::{
        is_read,
        refuse,
        tell,
        Asked, //
    },
    request::{
        Missing,
        Need,
        Request,
        Unfit, //
    },
    token::{
        Denial,
        Token, //
    },
};
use kernel::{
    bpf::log::Log,
    capability::Capability,
    prelude::*,
    sync::aref::ARef, //
};

/// The token that a command uses, if it uses one; or why it is refused.
pub(crate) type Admitted = Result<Option<ARef<Token>>>;

/// Takes the token step of `request`, then checks the privileges; a refusal is told to `log`.
///
/// Fails with `EBADF` or `EINVAL` when the descriptor is that of no token.
///
/// The way with a token, and those to tell a reason, are functions of their own: most callers have
/// no token, and save no registers that only those need. `T` is what the caller returns in the end,
/// so that there is nothing left to do after them.
#[inline(always)]
pub(crate) fn admit<R: Request, T: From<Admitted>>(
    request: R,
    token_fd: Option<u32>,
    log: Log<'_>,
) -> T {
    let Some(fd) = token_fd else {
        return admit_without(request, log);
    };
    match Token::get_from_fd(fd) {
        Ok(token) => admit_with(token, request, log),
        Err(err) if is_read(log) => Err(tell_wrong_descriptor(request, fd, err, log)).into(),
        Err(err) => Err(err).into(),
    }
}

/// The same, when no token was given.
#[inline(always)]
fn admit_without<R: Request, T: From<Admitted>>(request: R, log: Log<'_>) -> T {
    match request.require(None) {
        Ok(()) => Ok(None),
        Err(Missing { cap, need, .. }) if is_read(log) => {
            Err(tell_no_token(request, cap, need, log))
        }
        Err(missing) => Err(missing.need.error()),
    }
    .into()
}

/// The same, with the token that was given.
#[inline(never)]
fn admit_with<R: Request, T: From<Admitted>>(token: ARef<Token>, request: R, log: Log<'_>) -> T {
    let unfit = unfit(&token, request);
    let used = match unfit {
        None => Some(&*token),
        Some(_) => None,
    };
    match (request.require(used), unfit) {
        (Ok(()), None) => Ok(Some(token)),
        (Ok(()), Some(_)) => Ok(None),
        (Err(missing), unfit) if is_read(log) => {
            let Missing { cap, need, denial } = missing;
            Err(match unfit {
                Some(unfit) => tell_unfit(&token, unfit, request, cap, need, log),
                None => tell_denied(&token, denial, request, cap, need, log),
            })
        }
        (Err(missing), _) => Err(missing.need.error()),
    }
    .into()
}

#[cold]
#[inline(never)]
fn tell_wrong_descriptor<R: Request>(request: R, fd: u32, err: Error, log: Log<'_>) -> Error {
    let reason = Reason::of_descriptor(fd, err);
    tell(Asked::by(request), None, log, err, reason)
}

#[cold]
#[inline(never)]
fn tell_no_token<R: Request>(request: R, cap: Capability, need: Need, log: Log<'_>) -> Error {
    let lack = Lack::WithoutToken(Unused::NotGiven);
    tell(
        Asked::by(request),
        None,
        log,
        need.error(),
        need.reason(cap, request, lack),
    )
}

#[cold]
#[inline(never)]
fn tell_unfit<R: Request>(
    token: &Token,
    unfit: Unfit,
    request: R,
    cap: Capability,
    need: Need,
    log: Log<'_>,
) -> Error {
    let (allowed, asked) = (token.allowed(), Asked::by(request));
    let lack = Lack::WithoutToken(match unfit {
        Unfit::Cmd => Unused::Cmd(asked.cmd, allowed.cmds),
        Unfit::SecurityModule => Unused::CmdSecurityModule(asked.cmd),
        Unfit::MapType => Unused::MapType(asked.object_type, allowed.maps),
        Unfit::ProgType => Unused::ProgType(asked.object_type, allowed.progs),
        Unfit::AttachType => Unused::AttachType(asked.attach_type, allowed.attachs),
    });
    tell(
        asked,
        Some(token),
        log,
        need.error(),
        need.reason(cap, request, lack),
    )
}

#[cold]
#[inline(never)]
fn tell_denied<R: Request>(
    token: &Token,
    denial: Denial,
    request: R,
    cap: Capability,
    need: Need,
    log: Log<'_>,
) -> Error {
    let lack = match denial {
        Denial::Capability => Lack::InTokenNamespace,
        Denial::SecurityModule => Lack::SecurityModule,
    };
    let reason = need.reason(cap, request, lack);
    tell(Asked::by(request), Some(token), log, need.error(), reason)
}

/// Why `token` cannot be used for `request`, if it cannot.
#[inline(always)]
fn unfit<R: Request>(token: &Token, request: R) -> Option<Unfit> {
    let allowed = token.allowed();
    if !allowed.cmd(R::CMD) {
        Some(Unfit::Cmd)
    } else if !token.may_delegate_cmd(R::CMD) {
        Some(Unfit::SecurityModule)
    } else {
        request.not_delegated(allowed)
    }
}

/// Refuses what C code found a capability missing for, and returns `EPERM`.
#[cold]
pub(crate) fn refuse_unprivileged(
    asked: Asked,
    token: Option<&Token>,
    log: Log<'_>,
    cap: Capability,
    purpose: Purpose,
) -> Error {
    let lack = match token {
        Some(_) => Lack::InTokenNamespace,
        None => Lack::WithoutToken(Unused::NotGiven),
    };
    let reason = || Reason::Unprivileged { cap, purpose, lack };
    refuse(asked, token, log, EPERM, reason)
}
