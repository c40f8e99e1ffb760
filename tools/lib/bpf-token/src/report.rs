// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `bpftoken --json` prints, as types that read it back. With the feature `serde`.
//!
//! Each document has `version`, which is [`VERSION`]. Fields may be added in a version, and readers
//! must pass over those that they do not know; what changes or goes away makes a new version.
//!
//! A set of commands or types is a list of strings: `["any"]`, or names in the order of the enum and
//! the rest as one number in hex, as in `["map_create", "prog_load", "0x8000000000"]`. An object of
//! the four sets has the keys `cmds`, `maps`, `progs` and `attachs`, and `cookie`, a number of up to
//! 64 bits, where there is one.
//!
//! | command | document |
//! | --- | --- |
//! | `bpftoken show --json` | [`Show`] |
//! | `bpftoken check --json`, `bpftoken watch --json` | [`Check`] |
//! | `bpftoken load --json` | [`Load`] |
//! | `bpftoken probe --json` | [`Probe`] |
//! | `bpftoken trace --json` | an [`Event`] a line |
//!
//! ```
//! let text = r#"{ "version": 1, "mounts": [], "tokens": [], "unreadable": [] }"#;
//! let show: bpf_token::report::Show = serde_json::from_str(text)?;
//! assert!(show.tokens.is_empty());
//! # Ok::<(), serde_json::Error>(())
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

use crate::delegation::Delegation;
use crate::info::TokenInfo;
use crate::probe::Outcome;

/// The version of these documents.
pub const VERSION: u32 = 1;

/// `bpftoken show`: delegated BPF file systems, and held tokens.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Show {
    /// The version.
    pub version: u32,
    /// Each BPF FS that delegates something, as each mount namespace sees it.
    pub mounts: Vec<Mount>,
    /// Each token that a process holds.
    pub tokens: Vec<HeldToken>,
    /// Each program that was loaded through a token, and is still loaded; none if that is not known,
    /// because the kernel does not tell or only root may ask.
    #[serde(default)]
    pub programs: Option<Vec<Program>>,
    /// Processes that could not be looked into.
    pub unreadable: Vec<Process>,
}

/// A delegated BPF FS.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Mount {
    /// The instance, `major:minor`.
    pub device: String,
    /// Where it is mounted.
    pub target: PathBuf,
    /// The user namespace of the processes that see it, by number.
    pub user_namespace: String,
    /// The mount namespace, by number.
    pub mount_namespace: String,
    /// What it delegates.
    pub delegation: Delegation,
    /// The processes that see it.
    pub processes: Vec<Process>,
}

/// A process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its real user id, as the host sees it.
    pub uid: u32,
    /// The name of its command.
    pub command: String,
}

/// A token that a process holds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HeldToken {
    /// The process.
    #[serde(flatten)]
    pub holder: Process,
    /// The user namespace of the process, by number.
    pub user_namespace: String,
    /// The number of the descriptor.
    pub fd: i32,
    /// The BPF FS that the token was made from, `major:minor`, as in [`Mount::device`].
    #[serde(default)]
    pub device: String,
    /// What the token grants now, and its cookie.
    pub grants: TokenInfo,
}

/// A program that was loaded through a token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Program {
    /// Its id.
    pub id: u32,
    /// Its type.
    #[serde(rename = "type")]
    pub prog_type: String,
    /// Its name.
    pub name: String,
    /// The user namespace of the token, by number.
    pub user_namespace: String,
    /// The cookie of the token; 0 for none.
    pub cookie: u64,
}

/// `bpftoken check`: what an object needs to be delegated.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Check {
    /// The version.
    pub version: u32,
    /// The object's file.
    pub object: String,
    /// What it needs to load.
    pub needs: TokenInfo,
    /// The same as options of `bpftoken run` and `bpftoken mount`.
    pub run_options: String,
    /// What `bpftoken watch` saw attached by perf events, as `bpftoken run --probes` takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probes: Option<String>,
    /// The same as lines of a systemd unit.
    pub unit_lines: Vec<String>,
    /// Whether loading was tried: with all of `needs`, and without each single item of it.
    pub tried: bool,
    /// How `needs` was found.
    pub note: String,
    /// What attaching takes besides, by program.
    pub attach: Vec<Attach>,
    /// Whether it loads with the token that was given; none if none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loads: Option<bool>,
    /// Why it does not load with that token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
    /// What that token lacks of `needs`; nothing if the object loads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<TokenInfo>,
}

/// What it takes to attach a program.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Attach {
    /// The program's name.
    pub program: String,
    /// What it takes; no token helps.
    pub needs: String,
}

/// `bpftoken load`: what was loaded.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Load {
    /// The version.
    pub version: u32,
    /// The object's file.
    pub object: String,
    /// The BPF FS that the token came from; none if there was no token, or it was passed on.
    pub token: Option<PathBuf>,
    /// The number of the descriptor that the token was passed on as; none if it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub descriptor: Option<i32>,
    /// The maps that were created, by name; with their path where they were pinned.
    pub maps: BTreeMap<String, Option<PathBuf>>,
    /// The programs that were loaded, by name; with their path where they were pinned.
    pub programs: BTreeMap<String, Option<PathBuf>>,
}

/// `bpftoken probe`: what may be done here.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Probe {
    /// The version.
    pub version: u32,
    /// Where the token came from, or why there is none.
    pub token: String,
    /// What the token grants; none without one.
    pub grants: Option<TokenInfo>,
    /// The commands.
    pub cmds: Vec<Tried>,
    /// The map types.
    pub maps: Vec<Tried>,
    /// The program types.
    pub progs: Vec<Tried>,
}

/// Something that was tried.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Tried {
    /// The name of the command or type.
    pub name: String,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

impl Tried {
    /// This name, and what came of it.
    pub fn new(name: String, outcome: Outcome) -> Self {
        Self { name, outcome }
    }
}

/// `bpftoken trace`: an event of tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// The version.
    pub version: u32,
    /// When, in seconds of the kernel's trace clock.
    pub seconds: f64,
    /// The name of the command that ran.
    pub command: String,
    /// The process.
    pub pid: i32,
    /// The processor.
    pub cpu: u32,
    /// The event's name, such as `bpf_token_create`.
    pub event: String,
    /// The event's fields, as the kernel wrote them.
    pub fields: BTreeMap<String, String>,
}
