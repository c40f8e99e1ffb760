// SPDX-License-Identifier: GPL-2.0

//! A sequence: what several processes do, one step after the other, as text that can be read and run again.
//!
//! A step is a line: who, does what, with which descriptors. Descriptors are in slots, whose numbers are the same in every
//! process, so that attributes are the same bytes on both kernels.

use std::fmt;
use std::str::FromStr;

use anyhow::bail;
use anyhow::Context;
use anyhow::Error;
use anyhow::Result;
use clap::ValueEnum;

use crate::attributes::Attributes;
use crate::bytes::Bytes;
use crate::words;
use crate::words::words;
use crate::words::Argument;

/// How many slots a process has, and how many places for mounts there are.
pub const SLOTS: u32 = 32;
/// The number of the descriptor in the first slot.
pub const FIRST: u32 = 64;

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Actor {
    /// Root in the initial user namespace.
    Manager,
    /// Root of a user namespace below it.
    Container,
    /// Another process there.
    Worker,
    /// Root of a user namespace below that.
    Nested,
}

impl Actor {
    pub const ALL: [Self; 4] = [Self::Manager, Self::Container, Self::Worker, Self::Nested];

    pub fn does(self, act: Act) -> Step {
        Step { actor: self, act }
    }
}

bitflags::bitflags! {
    /// The four capabilities that tokens are about.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Caps: u8 {
        const BPF = 1 << 0;
        const PERFMON = 1 << 1;
        const NET_ADMIN = 1 << 2;
        const SYS_ADMIN = 1 << 3;
    }

    /// Flags of `open(2)`, whose numbers are not the same on each architecture. rustix takes `O_DSYNC` for `O_SYNC`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct OpenFlags: i32 {
        const RDONLY = libc::O_RDONLY;
        const WRONLY = libc::O_WRONLY;
        const RDWR = libc::O_RDWR;
        const PATH = libc::O_PATH;
        const DIRECTORY = libc::O_DIRECTORY;
        const NOFOLLOW = libc::O_NOFOLLOW;
        const TRUNC = libc::O_TRUNC;
        const APPEND = libc::O_APPEND;
        const CREAT = libc::O_CREAT;
        const EXCL = libc::O_EXCL;
        const NONBLOCK = libc::O_NONBLOCK;
        const DIRECT = libc::O_DIRECT;
        const NOATIME = libc::O_NOATIME;
        // Has the bits of the next one.
        const SYNC = libc::O_SYNC;
        const DSYNC = libc::O_DSYNC;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// A directory in a BPF FS
    Directory,
    /// What another descriptor is of, opened with `O_PATH`
    Path,
    /// The root of a tmpfs
    Tree,
    File,
    Pipe,
    Socket,
    Epoll,
    Event,
    #[value(name = "userns")]
    UserNamespace,
}

/// Declares what there is to do, each with its word and its arguments in their order.
macro_rules! acts {
    ($($(#[$meta:meta])* $name:ident $word:literal { $($field:ident: $type:ty),* })*) => {
        #[derive(Clone, Debug, PartialEq)]
        pub enum Act {
            $($(#[$meta])* $name { $($field: $type),* },)*
        }

        impl fmt::Display for Act {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$name { $($field),* } => {
                        f.write_str($word)?;
                        $(write!(f, " {}", $field.text())?;)*
                    })*
                }
                Ok(())
            }
        }

        impl FromStr for Act {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
                match word {
                    $($word => {
                        let [$($field),*] = words(rest)?;
                        Ok(Self::$name { $($field: Argument::read($field)?),* })
                    })*
                    other => bail!("{other:?} is no step"),
                }
            }
        }
    };
}

acts! {
    /// `fsopen("bpf")`
    Open "open" { to: u32 }
    /// `fsconfig()` with an option. Tells what the log says of it.
    Set "set" { context: u32, key: Bytes, value: Bytes }
    /// The same with `FSCONFIG_SET_BINARY`
    SetBinary "blob" { context: u32, key: Bytes, value: Bytes }
    /// The same with `FSCONFIG_SET_FLAG`
    SetFlag "flag" { context: u32, key: Bytes }
    /// The same with `FSCONFIG_SET_PATH`, relative to a directory in a slot
    SetPath "path" { context: u32, key: Bytes, slot: u32, value: Bytes }
    /// The same with `FSCONFIG_SET_FD`
    SetFd "fd" { context: u32, key: Bytes, slot: u32 }
    /// `fsconfig(FSCONFIG_CMD_CREATE)`
    Create "create" { context: u32 }
    /// `fsmount`
    Mount "mount" { context: u32, to: u32 }
    /// Opens the root directory of a mount.
    Root "root" { mount: u32, to: u32 }
    /// `fspick` of a root directory
    Pick "pick" { root: u32, to: u32 }
    /// `fsconfig(FSCONFIG_CMD_RECONFIGURE)`
    Reconfigure "reconfigure" { context: u32 }
    /// `move_mount` to a place
    Attach "attach" { mount: u32, place: u32 }
    /// `mount(2)` of a BPF FS at a place. Tells what the kernel log says of it.
    MountData "mountdata" { place: u32, data: Bytes }
    /// `mount(2)` with `MS_REMOUNT`
    Remount "remount" { place: u32, data: Bytes }
    /// The line of mountinfo of a place
    Line "line" { place: u32 }
    /// `umount` of a place
    Detach "detach" { place: u32 }
    /// A command of `bpf()`; what it makes goes to a slot.
    Bpf "bpf" { to: u32, attributes: Attributes }
    /// Passes a descriptor to the same slot of another process.
    Pass "pass" { slot: u32, actor: Actor }
    Close "close" { slot: u32 }
    /// Leaves the process these of its capabilities, until the next such step.
    Hold "caps" { caps: Caps }
    /// The process goes on as a child of its own.
    Fork "fork" {}
    /// What `BPF_OBJ_GET_INFO_BY_FD` tells of a token.
    Tell "tell" { slot: u32 }
    /// The options that `statmount` shows of a mount, by its root directory
    Show "show" { root: u32 }
    /// Opens a descriptor again, by way of /proc/self/fd.
    Reopen "reopen" { slot: u32, flags: OpenFlags }
    /// Makes a descriptor of what has nothing to do with tokens; some kinds are made `of` what another slot has.
    Make "make" { kind: Kind, of: u32, to: u32 }
    /// Makes a program the filter of a socket.
    Filter "filter" { prog: u32 }
    /// `kernel.unprivileged_bpf_disabled`
    Disable "disabled" { disabled: bool }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub actor: Actor,
    pub act: Act,
}

impl Act {
    /// The option that it sets by `fsconfig()`, and where.
    pub fn option(&self) -> Option<(u32, &Bytes)> {
        match self {
            Self::Set { context, key, .. }
            | Self::SetBinary { context, key, .. }
            | Self::SetFlag { context, key }
            | Self::SetPath { context, key, .. }
            | Self::SetFd { context, key, .. } => Some((*context, key)),
            _ => None,
        }
    }

    /// The slots that it uses, and the one that it fills.
    pub fn slots(&self) -> (Vec<u32>, Option<u32>) {
        match self {
            Self::Open { to } => (Vec::new(), Some(*to)),
            Self::Set { context: slot, .. }
            | Self::SetBinary { context: slot, .. }
            | Self::SetFlag { context: slot, .. }
            | Self::Create { context: slot }
            | Self::Reconfigure { context: slot }
            | Self::Attach { mount: slot, .. }
            | Self::Pass { slot, .. }
            | Self::Close { slot }
            | Self::Tell { slot }
            | Self::Show { root: slot }
            | Self::Reopen { slot, .. }
            | Self::Filter { prog: slot } => (vec![*slot], None),
            Self::SetPath { context, slot, .. } | Self::SetFd { context, slot, .. } => {
                (vec![*context, *slot], None)
            }
            Self::Mount { context: from, to }
            | Self::Root { mount: from, to }
            | Self::Pick { root: from, to } => (vec![*from], Some(*to)),
            Self::Bpf { to, attributes } => {
                let to = attributes.command.makes_descriptor().then_some(*to);
                (attributes.slots(), to)
            }
            Self::Make { kind, of, to } => match kind {
                Kind::Directory | Kind::Path => (vec![*of], Some(*to)),
                _ => (Vec::new(), Some(*to)),
            },
            _ => (Vec::new(), None),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", words::name(&self.actor), self.act)
    }
}

impl FromStr for Step {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self> {
        let read = || -> Result<Self> {
            let [actor, act] = words(line)?;
            Ok(words::one_of::<Actor>(actor)?.does(act.parse()?))
        };
        read().with_context(|| format!("not understood: {line:?}"))
    }
}

/// The sequences of a text: lines that belong together, with an empty line between two sequences. A line that starts with
/// `#` is a comment.
pub fn read(text: &str) -> Result<Vec<Vec<Step>>> {
    let mut sequences = Vec::new();
    let mut steps = Vec::new();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    for line in lines.chain([""]) {
        if !line.trim().is_empty() {
            steps.push(line.parse()?);
        } else if !steps.is_empty() {
            sequences.push(std::mem::take(&mut steps));
        }
    }
    Ok(sequences)
}

/// A sequence as text, with the empty line behind it.
pub fn text(steps: &[Step]) -> String {
    let lines = steps.iter().map(|step| format!("{step}\n"));
    lines.chain(["\n".to_owned()]).collect()
}
