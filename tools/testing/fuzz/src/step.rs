// SPDX-License-Identifier: GPL-2.0

//! A sequence: what several processes do, one step after the other, as text that can be read and run again.
//!
//! A step is a line: who, does what, with which descriptors. Descriptors are in slots, whose numbers are the same in every
//! process, so that attributes are the same bytes on both kernels.

use std::fmt;
use std::str::FromStr;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Error;
use anyhow::Result;

use crate::attributes::Attributes;
use crate::bytes::Bytes;
use crate::flags::OpenFlags;

/// How many slots a process has.
pub const SLOTS: u32 = 32;
/// The number of the descriptor in the first of them.
pub const FIRST: u32 = 64;
/// How many places for mounts there are.
pub const PLACES: u32 = 4;

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

    fn name(self) -> &'static str {
        match self {
            Self::Manager => "manager",
            Self::Container => "container",
            Self::Worker => "worker",
            Self::Nested => "nested",
        }
    }
}

/// CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN and CAP_SYS_ADMIN, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps(pub u8);

impl Caps {
    pub const ALL: Self = Self(0xf);
    const NAMES: [&'static str; 4] = ["bpf", "perfmon", "net_admin", "sys_admin"];
}

/// How `fsconfig()` is given the value of an option.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(Bytes),
    Blob(Bytes),
    Flag,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    UserNamespace,
}

impl Kind {
    pub const ALL: [(Self, &str); 9] = [
        (Self::Directory, "directory"),
        (Self::Path, "path"),
        (Self::Tree, "tree"),
        (Self::File, "file"),
        (Self::Pipe, "pipe"),
        (Self::Socket, "socket"),
        (Self::Epoll, "epoll"),
        (Self::Event, "event"),
        (Self::UserNamespace, "userns"),
    ];
}

#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// `fsopen("bpf")`
    Open {
        to: u32,
    },
    /// `fsconfig()` with an option. Tells what the log says of it.
    Set {
        context: u32,
        key: Bytes,
        value: Value,
    },
    /// `fsconfig(FSCONFIG_CMD_CREATE)`
    Create {
        context: u32,
    },
    /// `fsmount`
    Mount {
        context: u32,
        to: u32,
    },
    /// Opens the root directory of a mount.
    Root {
        mount: u32,
        to: u32,
    },
    /// `fspick` of a root directory
    Pick {
        root: u32,
        to: u32,
    },
    /// `fsconfig(FSCONFIG_CMD_RECONFIGURE)`
    Reconfigure {
        context: u32,
    },
    /// `move_mount` to a place
    Attach {
        mount: u32,
        place: u32,
    },
    /// `mount(2)` of a BPF FS at a place. Tells what the kernel log says of it.
    MountData {
        place: u32,
        data: Bytes,
    },
    /// `mount(2)` with `MS_REMOUNT`
    Remount {
        place: u32,
        data: Bytes,
    },
    /// The line of mountinfo of a place
    Line {
        place: u32,
    },
    /// `umount` of a place
    Detach {
        place: u32,
    },
    /// A command of `bpf()`; what it makes goes to a slot.
    Bpf {
        to: u32,
        attributes: Attributes,
    },
    /// Passes a descriptor to the same slot of another process.
    Pass {
        slot: u32,
        actor: Actor,
    },
    Close {
        slot: u32,
    },
    /// Leaves the process these of its capabilities, until the next such step.
    Caps(Caps),
    /// The process goes on as a child of its own.
    Fork,
    /// What `BPF_OBJ_GET_INFO_BY_FD` tells of a token.
    Tell {
        slot: u32,
    },
    /// The options that `statmount` shows of a mount, by its root directory
    Show {
        root: u32,
    },
    /// Opens a descriptor again, by way of /proc/self/fd, with flags of `open`.
    Reopen {
        slot: u32,
        flags: OpenFlags,
    },
    /// Makes a descriptor of what has nothing to do with tokens; some kinds are made `of` what another slot has.
    Make {
        kind: Kind,
        of: u32,
        to: u32,
    },
    /// Makes a program the filter of a socket.
    Filter {
        prog: u32,
    },
    /// `kernel.unprivileged_bpf_disabled`
    Disabled(bool),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub actor: Actor,
    pub act: Act,
}

impl Act {
    /// The slots that it uses, and the one that it fills.
    pub fn slots(&self) -> (Vec<u32>, Option<u32>) {
        match self {
            Self::Open { to } => (Vec::new(), Some(*to)),
            Self::Set { context, .. }
            | Self::Create { context }
            | Self::Reconfigure { context } => (vec![*context], None),
            Self::Mount { context: from, to }
            | Self::Root { mount: from, to }
            | Self::Pick { root: from, to } => (vec![*from], Some(*to)),
            Self::Attach { mount: slot, .. }
            | Self::Pass { slot, .. }
            | Self::Close { slot }
            | Self::Tell { slot }
            | Self::Show { root: slot }
            | Self::Reopen { slot, .. }
            | Self::Filter { prog: slot } => (vec![*slot], None),
            Self::Bpf { to, attributes } => {
                let to = attributes.command.makes_descriptor().then_some(*to);
                (attributes.slots(), to)
            }
            Self::Make { kind, of, to } => match kind {
                Kind::Directory | Kind::Path => (vec![*of], Some(*to)),
                _ => (Vec::new(), Some(*to)),
            },
            Self::MountData { .. }
            | Self::Remount { .. }
            | Self::Line { .. }
            | Self::Detach { .. }
            | Self::Caps(_)
            | Self::Fork
            | Self::Disabled(_) => (Vec::new(), None),
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Actor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let named = Self::ALL.into_iter().find(|actor| actor.name() == text);
        named.with_context(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("{text:?} is nobody; there are {names}")
        })
    }
}

impl fmt::Display for Caps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = Self::NAMES.iter().enumerate();
        let held = held.filter(|(bit, _)| self.0 & (1 << bit) != 0);
        let held: Vec<_> = held.map(|(_, name)| *name).collect();
        f.write_str(match held.as_slice() {
            [] => "none",
            _ => return f.write_str(&held.join(",")),
        })
    }
}

impl FromStr for Caps {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut caps = 0;
        for name in text.split(',').filter(|name| *name != "none") {
            let bit = Self::NAMES.iter().position(|known| *known == name);
            caps |= 1
                << bit.with_context(|| {
                    format!("{name:?} is none of {}, none", Self::NAMES.join(", "))
                })?;
        }
        Ok(Self(caps))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.actor, self.act)
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Act::Open { to } => write!(f, "open {to}"),
            Act::Set {
                context,
                key,
                value,
            } => match value {
                Value::Text(value) => write!(f, "set {context} {key} {value}"),
                Value::Blob(value) => write!(f, "blob {context} {key} {value}"),
                Value::Flag => write!(f, "flag {context} {key}"),
            },
            Act::MountData { place, data } => write!(f, "mountdata {place} {data}"),
            Act::Remount { place, data } => write!(f, "remount {place} {data}"),
            Act::Line { place } => write!(f, "line {place}"),
            Act::Create { context } => write!(f, "create {context}"),
            Act::Mount { context, to } => write!(f, "mount {context} {to}"),
            Act::Root { mount, to } => write!(f, "root {mount} {to}"),
            Act::Pick { root, to } => write!(f, "pick {root} {to}"),
            Act::Reconfigure { context } => write!(f, "reconfigure {context}"),
            Act::Attach { mount, place } => write!(f, "attach {mount} {place}"),
            Act::Detach { place } => write!(f, "detach {place}"),
            Act::Bpf { to, attributes } => write!(f, "bpf {to} {attributes}"),
            Act::Pass { slot, actor } => write!(f, "pass {slot} {actor}"),
            Act::Close { slot } => write!(f, "close {slot}"),
            Act::Caps(caps) => write!(f, "caps {caps}"),
            Act::Fork => write!(f, "fork"),
            Act::Tell { slot } => write!(f, "tell {slot}"),
            Act::Show { root } => write!(f, "show {root}"),
            Act::Reopen { slot, flags } => write!(f, "reopen {slot} {flags}"),
            Act::Make { kind, of, to } => {
                let mut all = Kind::ALL.iter();
                let known = all.find(|(known, _)| known == kind);
                let (_, name) = known.expect("all have names");
                write!(f, "make {name} {of} {to}")
            }
            Act::Filter { prog } => write!(f, "filter {prog}"),
            Act::Disabled(disabled) => write!(f, "disabled {}", u8::from(*disabled)),
        }
    }
}

/// The words of a line, one by one.
struct Words<'a>(std::str::SplitAsciiWhitespace<'a>);

impl<'a> Words<'a> {
    fn word(&mut self) -> Result<&'a str> {
        self.0.next().context("a word is missing at its end")
    }

    fn below(&mut self, end: u32) -> Result<u32> {
        let word = self.word()?;
        let number: u32 = word
            .parse()
            .with_context(|| format!("{word:?} is no number"))?;
        ensure!(number < end, "{number} is not below {end}");
        Ok(number)
    }

    fn slot(&mut self) -> Result<u32> {
        self.below(SLOTS)
    }

    fn bytes(&mut self) -> Result<Bytes> {
        Ok(Bytes::parse(self.word()?))
    }

    fn kind(&mut self) -> Result<Kind> {
        let word = self.word()?;
        let known = Kind::ALL.into_iter().find(|(_, name)| *name == word);
        known.map(|(kind, _)| kind).context("there is no such kind")
    }
}

impl FromStr for Step {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self> {
        parse(line).with_context(|| format!("not understood: {line:?}"))
    }
}

fn parse(line: &str) -> Result<Step> {
    let mut words = Words(line.split_ascii_whitespace());
    let actor = words.word()?.parse()?;
    let act = match words.word()? {
        "open" => Act::Open { to: words.slot()? },
        set @ ("set" | "blob" | "flag") => Act::Set {
            context: words.slot()?,
            key: words.bytes()?,
            value: match set {
                "set" => Value::Text(words.bytes()?),
                "blob" => Value::Blob(words.bytes()?),
                _ => Value::Flag,
            },
        },
        "mountdata" => Act::MountData {
            place: words.below(PLACES)?,
            data: words.bytes()?,
        },
        "remount" => Act::Remount {
            place: words.below(PLACES)?,
            data: words.bytes()?,
        },
        "line" => Act::Line {
            place: words.below(PLACES)?,
        },
        "create" => Act::Create {
            context: words.slot()?,
        },
        "mount" => Act::Mount {
            context: words.slot()?,
            to: words.slot()?,
        },
        "root" => Act::Root {
            mount: words.slot()?,
            to: words.slot()?,
        },
        "pick" => Act::Pick {
            root: words.slot()?,
            to: words.slot()?,
        },
        "reconfigure" => Act::Reconfigure {
            context: words.slot()?,
        },
        "attach" => Act::Attach {
            mount: words.slot()?,
            place: words.below(PLACES)?,
        },
        "detach" => Act::Detach {
            place: words.below(PLACES)?,
        },
        "bpf" => Act::Bpf {
            to: words.slot()?,
            attributes: Attributes::parse(words.word()?, words.0.by_ref())?,
        },
        "pass" => Act::Pass {
            slot: words.slot()?,
            actor: words.word()?.parse()?,
        },
        "close" => Act::Close {
            slot: words.slot()?,
        },
        "caps" => Act::Caps(words.word()?.parse()?),
        "fork" => Act::Fork,
        "tell" => Act::Tell {
            slot: words.slot()?,
        },
        "show" => Act::Show {
            root: words.slot()?,
        },
        "reopen" => Act::Reopen {
            slot: words.slot()?,
            flags: words.word()?.parse()?,
        },
        "make" => Act::Make {
            kind: words.kind()?,
            of: words.slot()?,
            to: words.slot()?,
        },
        "filter" => Act::Filter {
            prog: words.slot()?,
        },
        "disabled" => Act::Disabled(words.below(2)? == 1),
        other => bail!("{other:?} is no step"),
    };
    if let Some(word) = words.0.next() {
        bail!("{word:?} is too much");
    }
    Ok(Step { actor, act })
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
