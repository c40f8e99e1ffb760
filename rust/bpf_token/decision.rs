// SPDX-License-Identifier: GPL-2.0

//! The decision about a command: which token it uses, and why it is refused.
//!
//! A [`Decision`] is made once, where the token is looked at, stays with the command, and is told
//! where the errno of the command is final.

#![forbid(unsafe_code)]

use crate::{
    delegation::Delegation,
    kind::{
        AttachType,
        Cmd,
        MapType,
        ProgType, //
    },
    mask::Mask, //
};
use kernel::{
    capability::Capability,
    error::{
        code::*,
        Error, //
    }, //
};

/// What the token step of a command decided.
///
/// Stored in C's `struct bpf_token_decision`, on the stack of the command.
#[derive(Clone, Copy)]
pub(crate) struct Decision {
    pub(crate) given: Given,
    pub(crate) refusal: Refusal,
}

/// What there is to tell of the token that was given, as it was then. Kept when it is not used, and
/// when the command is refused with it.
#[derive(Clone, Copy)]
pub(crate) enum Given {
    Nothing,
    Token {
        /// Why it is not used.
        unused: Unused,
        /// The number of its user namespace.
        userns: u32,
        cookie: u64,
        /// Its own masks, whatever its instance delegates now.
        allowed: Delegation,
    },
}

/// Why a token is not used. The mask that lacks something is that which was looked at: a remount
/// may change it at any time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unused {
    /// It is used.
    None,
    /// It does not delegate the command.
    Cmd(Mask<Cmd>),
    /// It does not delegate the type of the map.
    MapType(Mask<MapType>),
    /// It does not delegate the type of the program.
    ProgType(Mask<ProgType>),
    /// It does not delegate the attach type of the program.
    AttachType(Mask<AttachType>),
    /// A security module does not let it delegate the command.
    SecurityModule,
}

/// Why a command is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is not, as far as it got.
    None,
    /// The descriptor in place of a token is not open, or was opened with `O_PATH`.
    NotOpen(u32),
    /// The descriptor in place of a token is something else.
    NotAToken(u32),
    /// A capability is missing.
    Privilege {
        cap: Capability,
        purpose: Purpose,
        denied: Denied,
    },
    /// A program has no instruction, or more than any program may have.
    InstructionCount,
    /// A security module refused the map or the program itself.
    SecurityModule,
}

/// The part of a command that needs a capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Command,
    /// A command that makes something, while `kernel.unprivileged_bpf_disabled` is set.
    UnprivilegedBpfDisabled,
    MapType,
    /// A map whose value has fields that the kernel manages, such as a lock or a timer.
    MapFields,
    ProgType,
    /// Attaching a `cgroup_skb` program, which anybody may load.
    Attach,
    AnyAlignment,
    /// More instructions than an unprivileged program may have.
    Instructions,
}

/// Where a capability was looked for, and who denied it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// The caller lacks it in the user namespace that owns the token.
    InTokenNamespace,
    /// The caller has it there, and a security module denied it to the token.
    BySecurityModule,
    /// No token is used, and the caller lacks it in the initial user namespace.
    InInitialNamespace,
}

impl Decision {
    /// Before the token step: no token is given, nothing is refused.
    ///
    /// Not a constant, which would be copied as a whole, and not by its two tags.
    #[inline]
    pub(crate) fn new() -> Self {
        Self {
            given: Given::Nothing,
            refusal: Refusal::None,
        }
    }

    /// Refuses the command. Returns the errno.
    #[inline]
    pub(crate) fn refuse(&mut self, refusal: Refusal) -> Error {
        self.refusal = refusal;
        refusal.error()
    }
}

impl Refusal {
    /// Returns the errno, the same as in C.
    #[inline]
    pub(crate) fn error(self) -> Error {
        match self {
            Self::NotOpen(_) => EBADF,
            Self::NotAToken(_) => EINVAL,
            Self::InstructionCount
            | Self::Privilege {
                purpose: Purpose::Instructions,
                ..
            } => E2BIG,
            Self::None | Self::Privilege { .. } | Self::SecurityModule => EPERM,
        }
    }

    /// The capability that was missing.
    pub(crate) fn capability(self) -> Option<Capability> {
        match self {
            Self::Privilege { cap, .. } => Some(cap),
            _ => None,
        }
    }
}
