// SPDX-License-Identifier: GPL-2.0

//! Why a command was refused for what its token does not give, or for want of a token.
//!
//! What a reason tells is what the caller could find out by itself: about its own token, its own
//! user namespace, and its own request.

#![forbid(unsafe_code)]

use crate::mask::{
    AttachType,
    Cmd,
    Kind,
    MapType,
    Mask,
    ProgType, //
};
use core::fmt;
use kernel::{
    capability::Capability,
    error::{
        code::*,
        Error, //
    },
};

/// Why a command was refused.
pub(crate) enum Reason {
    /// The descriptor is not open, or was opened with `O_PATH`.
    NotOpen { fd: u32 },
    /// The descriptor is something else.
    NotAToken { fd: u32 },
    /// A privilege is missing.
    Unprivileged {
        cap: Capability,
        purpose: Purpose,
        lack: Lack,
    },
    /// A program has no instruction, or more than any program may have.
    InstructionCount(u32),
    /// A token was not created.
    NotCreated(NotCreated),
}

/// What a privilege was needed for.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Command(u32),
    /// A command that makes something, while `kernel.unprivileged_bpf_disabled` is set.
    UnprivilegedBpfDisabled(u32),
    MapType(u32),
    /// Maps whose values have fields that the kernel manages, such as a lock or a timer.
    MapFields,
    ProgType(u32),
    /// To attach a `cgroup_skb` program, which anybody may load.
    Attach(u32),
    AnyAlignment,
    /// More instructions than an unprivileged program may have.
    Instructions(u32),
}

/// Where the privilege was looked for, and why there.
#[derive(Clone, Copy)]
pub(crate) enum Lack {
    /// In the token's user namespace; the caller does not have it there.
    InTokenNamespace,
    /// The caller has it there, and a security module said no.
    SecurityModule,
    /// In the initial user namespace, for want of a token that could be used.
    WithoutToken(Unused),
}

/// Why no token was used.
#[derive(Clone, Copy)]
pub(crate) enum Unused {
    NotGiven,
    Cmd(u32, Mask<Cmd>),
    CmdSecurityModule(u32),
    MapType(u32, Mask<MapType>),
    ProgType(u32, Mask<ProgType>),
    AttachType(u32, Mask<AttachType>),
}

/// The step at which the creation of a token failed.
pub(crate) enum NotCreated {
    NotOpen { fd: u32 },
    NotARoot,
    NotABpfFs,
    NoAccess(Error),
    OtherNamespace,
    Unprivileged,
    InitialNamespace,
    NothingDelegated,
    NoInode(Error),
    NoDescriptor(Error),
    NoFile(Error),
    NoToken(Error),
}

impl Reason {
    /// What is wrong with a descriptor that gave `err` in place of a token.
    pub(crate) fn of_descriptor(fd: u32, err: Error) -> Self {
        if err == EBADF {
            Reason::NotOpen { fd }
        } else {
            Reason::NotAToken { fd }
        }
    }

    /// The capability that was missing.
    pub(crate) fn capability(&self) -> Option<Capability> {
        match self {
            Reason::Unprivileged { cap, .. } => Some(*cap),
            Reason::NotCreated(NotCreated::Unprivileged) => Some(Capability::BPF),
            _ => None,
        }
    }
}

impl NotCreated {
    /// The errno, which is that of the C implementation.
    pub(crate) fn error(&self) -> Error {
        match self {
            Self::NotOpen { .. } => EBADF,
            Self::NotARoot | Self::NotABpfFs => EINVAL,
            Self::OtherNamespace | Self::Unprivileged => EPERM,
            Self::InitialNamespace => EOPNOTSUPP,
            Self::NothingDelegated => ENOENT,
            Self::NoAccess(err)
            | Self::NoInode(err)
            | Self::NoDescriptor(err)
            | Self::NoFile(err)
            | Self::NoToken(err) => *err,
        }
    }
}

/// The name of an enumerator, or its number if it has none.
struct Named<K>(u32, core::marker::PhantomData<K>);

fn named<K: Kind>(value: u32) -> Named<K> {
    Named(value, core::marker::PhantomData)
}

impl<K: Kind> fmt::Display for Named<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match K::NAMES.as_slice().get(self.0 as usize) {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

/// A capability as `capabilities(7)` calls it.
struct CapName(Capability);

impl fmt::Display for CapName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Capability::BPF => f.write_str("CAP_BPF"),
            Capability::PERFMON => f.write_str("CAP_PERFMON"),
            Capability::NET_ADMIN => f.write_str("CAP_NET_ADMIN"),
            Capability::SYS_ADMIN => f.write_str("CAP_SYS_ADMIN"),
            cap => write!(f, "capability {}", cap.as_raw()),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::NotOpen { fd } => write!(f, "descriptor {} is not open", *fd as i32),
            Reason::NotAToken { fd } => write!(f, "descriptor {} is not a BPF token", *fd as i32),
            Reason::Unprivileged { cap, purpose, lack } => {
                let cap = CapName(*cap);
                match lack {
                    Lack::InTokenNamespace => {
                        write!(
                            f,
                            "{purpose} needs {cap} in the user namespace that owns the token"
                        )
                    }
                    Lack::SecurityModule => write!(
                        f,
                        "{purpose} needs {cap}, which a security module refused to the token"
                    ),
                    Lack::WithoutToken(unused) => write!(
                        f,
                        "{purpose} needs {cap} in the initial user namespace, because {unused}"
                    ),
                }
            }
            Reason::InstructionCount(count) => {
                write!(f, "a program cannot have {count} instructions")
            }
            Reason::NotCreated(step) => write!(f, "no token: {step}"),
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Command(cmd) => write!(f, "the command {}", named::<Cmd>(cmd)),
            Self::UnprivilegedBpfDisabled(cmd) => {
                let cmd = named::<Cmd>(cmd);
                write!(
                    f,
                    "with kernel.unprivileged_bpf_disabled, the command {cmd}"
                )
            }
            Self::MapType(value) => write!(f, "map type {}", named::<MapType>(value)),
            Self::MapFields => f.write_str("a map value with fields of the kernel"),
            Self::ProgType(value) => write!(f, "program type {}", named::<ProgType>(value)),
            Self::Attach(value) => write!(f, "to attach program type {}", named::<ProgType>(value)),
            Self::AnyAlignment => f.write_str("BPF_F_ANY_ALIGNMENT"),
            Self::Instructions(count) => write!(f, "a program of {count} instructions"),
        }
    }
}

impl fmt::Display for Unused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn missing<K: Kind>(f: &mut fmt::Formatter<'_>, value: u32, mask: Mask<K>) -> fmt::Result {
            let (noun, name, option) = (K::NOUN, named::<K>(value), K::OPTION);
            write!(
                f,
                "the token does not delegate {noun} {name} ({option}={mask})"
            )
        }
        match *self {
            Self::NotGiven => f.write_str("no token was given"),
            Self::Cmd(cmd, mask) => missing(f, cmd, mask),
            Self::CmdSecurityModule(cmd) => {
                write!(
                    f,
                    "a security module refused the command {} to the token",
                    named::<Cmd>(cmd)
                )
            }
            Self::MapType(value, mask) => missing(f, value, mask),
            Self::ProgType(value, mask) => missing(f, value, mask),
            Self::AttachType(value, mask) => missing(f, value, mask),
        }
    }
}

impl fmt::Display for NotCreated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOpen { fd } => write!(
                f,
                "descriptor {} is not open, or was opened with O_PATH",
                *fd as i32
            ),
            Self::NotARoot => f.write_str("the descriptor is not the root of a file system"),
            Self::NotABpfFs => f.write_str("the descriptor is not that of a BPF file system"),
            Self::NoAccess(_) => f.write_str("no permission to access the BPF file system"),
            Self::OtherNamespace => {
                f.write_str("the BPF file system belongs to another user namespace")
            }
            Self::Unprivileged => f.write_str("this needs CAP_BPF in the user namespace"),
            Self::InitialNamespace => f.write_str(
                "the initial user namespace has none: there, CAP_BPF does what a token does",
            ),
            Self::NothingDelegated => {
                f.write_str("the BPF file system was mounted without any delegate_ option")
            }
            Self::NoInode(_) => f.write_str("no memory for its inode"),
            Self::NoDescriptor(_) => f.write_str("no descriptor is left (RLIMIT_NOFILE)"),
            Self::NoFile(_) => f.write_str("no file could be had (fs.file-max, or memory)"),
            Self::NoToken(ENOMEM) => f.write_str("no memory for it"),
            Self::NoToken(_) => f.write_str("a security module refused it"),
        }
    }
}
