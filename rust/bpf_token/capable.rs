// SPDX-License-Identifier: GPL-2.0

//! What a token gives its capabilities for, and what there is to tell of it.

#![forbid(unsafe_code)]

use crate::{
    decision::{
        Denied,
        Given,
        Unused, //
    },
    lsm,
    token::Token, //
};
use kernel::{
    bindings,
    capability::Capability,
    user_namespace::UserNamespace, //
};

impl Token {
    /// What there is to tell of the token, and why it is not used.
    pub(crate) fn given(&self, unused: Unused) -> Given {
        Given::Token {
            unused,
            userns: self.userns().inum(),
            cookie: self.cookie(),
            allowed: *self.allowed(),
        }
    }

    /// Fails unless the current task has `cap`, or `CAP_SYS_ADMIN` in its place: in the user
    /// namespace of the token, if the security modules agree, or without a token in the initial
    /// one.
    #[inline]
    pub(crate) fn check_capable(token: Option<&Self>, cap: Capability) -> Result<(), Denied> {
        let userns = token.map_or(UserNamespace::init(), Self::userns);
        if !userns.capable(cap)
            && (cap == Capability::SYS_ADMIN || !userns.capable(Capability::SYS_ADMIN))
        {
            return Err(Self::lacking(token));
        }
        match token {
            Some(token) if !lsm::token_capable(token.as_bpf_token(), cap) => {
                Err(Denied::BySecurityModule)
            }
            _ => Ok(()),
        }
    }

    /// Returns who denied `cap`, for which C code called [`Self::check_capable`] before.
    ///
    /// The capabilities of a task do not change in a system call: who has the capability was
    /// refused by a security module.
    pub(crate) fn who_denied(token: Option<&Self>, cap: Capability) -> Denied {
        match token {
            Some(token) if token.userns().capable_noaudit(cap) => Denied::BySecurityModule,
            Some(token) if token.userns().capable_noaudit(Capability::SYS_ADMIN) => {
                Denied::BySecurityModule
            }
            _ => Self::lacking(token),
        }
    }

    /// Returns the refusal of a caller that lacks a capability.
    #[inline]
    fn lacking(token: Option<&Self>) -> Denied {
        match token {
            Some(_) => Denied::InTokenNamespace,
            None => Denied::InInitialNamespace,
        }
    }

    /// Whether the security modules let the token delegate `cmd`.
    #[inline]
    pub(crate) fn may_delegate_cmd(&self, cmd: bindings::bpf_cmd) -> bool {
        lsm::token_cmd(self.as_bpf_token(), cmd)
    }
}
