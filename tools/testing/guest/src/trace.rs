// SPDX-License-Identifier: GPL-2.0

//! The trace events `bpf_token:*`, read from a tracing instance of the tests' own.

use std::collections::HashMap;
use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use rustix::mount;

const TRACEFS: &str = "/sys/kernel/tracing";
const INSTANCE: &str = "/sys/kernel/tracing/instances/bpf-token-guest";

/// An event, with its fields as the kernel prints them.
#[derive(Debug)]
pub struct Event {
    pub name: String,
    pub fields: HashMap<String, String>,
}

/// The events from the start on.
pub struct Trace(Option<File>);

/// Whether the kernel has the events.
pub fn has_events() -> bool {
    mount_tracefs();
    Path::new(TRACEFS).join("events/bpf_token").exists()
}

/// The number of an event, which perf knows it by.
pub fn event_id(name: &str) -> u64 {
    let path = format!("{TRACEFS}/events/bpf_token/{name}/id");
    let id = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    id.trim().parse().expect("a number")
}

fn mount_tracefs() {
    if !Path::new(TRACEFS).join("events").exists() {
        let none: Option<&std::ffi::CStr> = None;
        mount::mount(
            "tracefs",
            TRACEFS,
            "tracefs",
            mount::MountFlags::empty(),
            none,
        )
        .expect("tracefs");
    }
}

impl Trace {
    /// Without the uses of tokens.
    pub fn start() -> Self {
        mount_tracefs();
        // A test that failed while a child of its own still read may have left it.
        let _ = fs::remove_dir(INSTANCE);
        fs::create_dir(INSTANCE).expect("a tracing instance");
        let mut pipe = OpenOptions::new();
        pipe.read(true).custom_flags(libc::O_NONBLOCK);
        let pipe = pipe.open(format!("{INSTANCE}/trace_pipe"));
        let trace = Self(Some(pipe.expect("trace_pipe")));
        for event in ["bpf_token_create", "bpf_token_refuse", "bpf_token_free"] {
            trace.enable(event);
        }
        trace
    }

    pub fn with_uses() -> Self {
        let trace = Self::start();
        trace.enable("bpf_token_use");
        trace
    }

    fn enable(&self, event: &str) {
        let path = format!("{INSTANCE}/events/bpf_token/{event}/enable");
        fs::write(&path, "1").unwrap_or_else(|error| panic!("1 to {path}: {error}"));
    }

    /// The events since the start, or since they were last read.
    pub fn read(&self) -> Vec<Event> {
        let mut pipe = self.0.as_ref().expect("open until it is dropped");
        let mut text = String::new();
        let mut page = [0; 65536];
        loop {
            match pipe.read(&mut page) {
                Ok(0) => break,
                Ok(len) => text.push_str(std::str::from_utf8(&page[..len]).expect("text")),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => panic!("trace_pipe: {error}"),
            }
        }
        text.lines().map(Event::parse).collect()
    }

    /// Waits for an event that a work item is to emit.
    pub fn wait_for(&self, wanted: impl Fn(&Event) -> bool) -> Event {
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            if let Some(event) = self.read().into_iter().find(&wanted) {
                return event;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the event did not come");
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.0 = None;
        if let Err(error) = fs::remove_dir(INSTANCE) {
            eprintln!("{INSTANCE}: {error}");
        }
    }
}

impl Event {
    /// Reads a line of `trace_pipe`: task, processor, flags and time, then `name: key=value ...`, of which only
    /// the last value, in quotes, has spaces in it.
    fn parse(line: &str) -> Self {
        let (_, event) = line
            .split_once(": ")
            .unwrap_or_else(|| panic!("no event: {line}"));
        let (name, mut rest) = event
            .split_once(": ")
            .unwrap_or_else(|| panic!("no event: {line}"));
        let mut fields = HashMap::new();
        while let Some((key, value)) = rest.trim_start().split_once('=') {
            let quoted = value
                .strip_prefix('"')
                .and_then(|value| value.strip_suffix('"'));
            let (value, others) = match quoted {
                Some(text) => (text, ""),
                None => value.split_once(' ').unwrap_or((value, "")),
            };
            fields.insert(key.to_owned(), value.to_owned());
            rest = others;
        }
        Self {
            name: name.to_owned(),
            fields,
        }
    }

    /// A field, which the event must have.
    pub fn field(&self, key: &str) -> &str {
        self.fields
            .get(key)
            .unwrap_or_else(|| panic!("no {key} in {self:?}"))
    }
}
