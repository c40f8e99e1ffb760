// SPDX-License-Identifier: GPL-2.0

//! How often the kernel has made and ended what no file in /proc lists: tokens, and super blocks of BPF FS.
//!
//! Counted by kprobes, which do it alike on every kernel, and unlike trace events in a ring buffer never lose one.

use std::collections::HashMap;
use std::fs;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::path::Path;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use rustix::mount;
use rustix::mount::MountFlags;

const TRACEFS: &str = "/sys/kernel/tracing";
const GROUP: &str = "hostile";

/// What is counted, and the functions that begin and end it: one call of each for every object.
const LIVES: [(&str, &str, &str); 2] = [
    (
        "tokens",
        "security_bpf_token_create",
        "security_bpf_token_free",
    ),
    ("super blocks of BPF FS", "bpf_fill_super", "bpf_kill_super"),
];

/// The probes, until they are dropped.
pub struct Probes(());

/// How many objects of a kind came into being and ended.
pub struct Life {
    pub kind: &'static str,
    pub made: u64,
    pub ended: u64,
}

impl Probes {
    pub fn start() -> Result<Self> {
        mount_tracefs()?;
        remove();
        let probes = Self(());
        for function in functions() {
            command(&format!("p:{GROUP}/{function} {function}\n"))
                .with_context(|| format!("a kprobe on {function}"))?;
        }
        enable("1").context("the kprobes")?;
        Ok(probes)
    }

    /// What began and ended since then.
    pub fn lives(&self) -> Result<Vec<Life>> {
        let path = Path::new(TRACEFS).join("kprobe_profile");
        let profile = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let mut hits = HashMap::new();
        for line in profile.lines() {
            // The event, how often it was hit, and how often it was missed.
            let fields: Vec<_> = line.split_whitespace().collect();
            let [event, hit, missed] = fields[..] else {
                anyhow::bail!("{}: not a line of a probe: {line}", path.display());
            };
            ensure!(
                missed == "0",
                "the kprobe {event} missed {missed} calls: its count means nothing"
            );
            hits.insert(event.to_owned(), hit.parse::<u64>()?);
        }
        let hit = |function: &str| {
            let found = hits.get(function).copied();
            found.with_context(|| format!("{}: no line for {function}", path.display()))
        };
        LIVES
            .iter()
            .map(|(kind, begin, end)| {
                Ok(Life {
                    kind,
                    made: hit(begin)?,
                    ended: hit(end)?,
                })
            })
            .collect()
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        remove();
    }
}

fn functions() -> impl Iterator<Item = &'static str> {
    LIVES.iter().flat_map(|(_, begin, end)| [*begin, *end])
}

fn mount_tracefs() -> Result<()> {
    if Path::new(TRACEFS).join("kprobe_events").exists() {
        return Ok(());
    }
    let none: Option<&std::ffi::CStr> = None;
    mount::mount("tracefs", TRACEFS, "tracefs", MountFlags::empty(), none)
        .context("tracefs (CONFIG_KPROBE_EVENTS)")
}

fn command(line: &str) -> io::Result<()> {
    let path = Path::new(TRACEFS).join("kprobe_events");
    let mut file = OpenOptions::new().append(true).open(path)?;
    file.write_all(line.as_bytes())
}

fn enable(value: &str) -> io::Result<()> {
    let path = Path::new(TRACEFS).join("events").join(GROUP);
    fs::write(path.join("enable"), value)
}

/// Removes the probes that are there, which may be those of a run that was killed.
fn remove() {
    let _ = enable("0");
    for function in functions() {
        let _ = command(&format!("-:{GROUP}/{function}\n"));
    }
}
