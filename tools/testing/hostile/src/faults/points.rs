// SPDX-License-Identifier: GPL-2.0

//! Where in the kernel a fault was met: a tracing instance with probes on the functions that decide on faults, and with
//! the events of tokens.

use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;

use anyhow::Context;
use anyhow::Result;
use rustix::io::Errno;
use rustix::mount;
use rustix::mount::MountFlags;

const TRACEFS: &str = "/sys/kernel/tracing";
const INSTANCE: &str = "/sys/kernel/tracing/instances/bpf-token-faults";
const GROUP: &str = "bpf_token_faults";

/// What decides whether an allocation fails, and the type of its answer, which is 0 if it does not.
const PROBES: [(&str, &str); 2] = [("should_failslab", "s32"), ("should_fail_alloc_page", "u8")];

pub struct Points(Option<File>);

/// What was seen since it was last read.
#[derive(Default)]
pub struct Seen {
    /// For each fault the functions that it was met in, with the offsets there, the innermost first.
    pub faults: Vec<Vec<String>>,
    pub tokens_created: u64,
    pub tokens_freed: u64,
}

impl Points {
    pub fn watch() -> Result<Self> {
        mount_tracefs()?;
        // What a run that was stopped has left.
        let _ = fs::remove_dir(INSTANCE);
        for (function, kind) in PROBES {
            let _ = remove(function);
            let probe = format!("r:{GROUP}/{function} {function} fails=$retval:{kind}");
            append("kprobe_events", &probe)?;
        }
        fs::create_dir(INSTANCE).context(INSTANCE)?;
        let mut pipe = OpenOptions::new();
        pipe.read(true).custom_flags(NONBLOCK);
        let path = format!("{INSTANCE}/trace_pipe");
        let points = Self(Some(pipe.open(&path).context(path)?));
        let offsets = format!("{INSTANCE}/options/sym-offset");
        fs::write(&offsets, "1").context(offsets)?;
        for (function, _) in PROBES {
            let event = format!("{GROUP}/{function}");
            set(&event, "filter", "fails != 0")?;
            set(&event, "trigger", "stacktrace if fails != 0")?;
            set(&event, "enable", "1")?;
        }
        set("bpf_token/bpf_token_create", "enable", "1")?;
        set("bpf_token/bpf_token_free", "enable", "1")?;
        Ok(points)
    }

    pub fn read(&self) -> Result<Seen> {
        let mut pipe = self.0.as_ref().expect("open until it is dropped");
        let mut text = Vec::new();
        match pipe.read_to_end(&mut text) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                Err(error).context("trace_pipe")
            }
            _ => Ok(Seen::parse(&String::from_utf8_lossy(&text))),
        }
    }
}

/// `O_NONBLOCK`: what is not there is not waited for.
const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits() as i32;

/// Sets what concerns an event in the instance.
fn set(event: &str, file: &str, value: &str) -> Result<()> {
    let path = format!("{INSTANCE}/events/{event}/{file}");
    fs::write(&path, value).with_context(|| format!("{value} to {path}"))
}

fn remove(function: &str) -> Result<()> {
    append("kprobe_events", &format!("-:{GROUP}/{function}"))
}

fn append(file: &str, line: &str) -> Result<()> {
    let path = format!("{TRACEFS}/{file}");
    let write = || {
        let mut open = OpenOptions::new();
        io::Write::write_all(&mut open.append(true).open(&path)?, line.as_bytes())
    };
    write().with_context(|| format!("{line} to {path}"))
}

fn mount_tracefs() -> Result<()> {
    let none: Option<&std::ffi::CStr> = None;
    match mount::mount("tracefs", TRACEFS, "tracefs", MountFlags::empty(), none) {
        Ok(()) | Err(Errno::BUSY) => Ok(()),
        Err(errno) => Err(errno).context(TRACEFS),
    }
}

impl Drop for Points {
    fn drop(&mut self) {
        self.0 = None;
        let removed = fs::remove_dir(INSTANCE)
            .context(INSTANCE)
            .and_then(|()| PROBES.iter().try_for_each(|(function, _)| remove(function)));
        if let Err(error) = removed {
            eprintln!("{error:#}");
        }
    }
}

impl Seen {
    /// Adds what was seen later.
    pub fn extend(&mut self, later: Self) {
        self.faults.extend(later.faults);
        self.tokens_created += later.tokens_created;
        self.tokens_freed += later.tokens_freed;
    }

    /// Reads lines such as these, of which only the last form part of a stack:
    ///
    /// ```text
    ///  task-1 [000] ..... 1.0: bpf_token_create: userns=...
    ///  task-1 [000] ..... 1.0: <stack trace>
    ///  => arch_rethook_trampoline+0x0/0x70
    ///  => kmem_cache_alloc_noprof+0x2b0/0x3f0
    /// ```
    ///
    /// The functions of the probe itself come first, and are left out.
    fn parse(text: &str) -> Self {
        let mut seen = Self::default();
        for line in text.lines() {
            if let Some(function) = line.strip_prefix(" => ") {
                if let Some(stack) = seen.faults.last_mut() {
                    stack.push(function.trim().to_owned());
                    if function.contains("rethook_trampoline") {
                        stack.clear();
                    }
                }
            } else if line.contains(": <stack trace>") {
                seen.faults.push(Vec::new());
            } else if line.contains(": bpf_token_create: ") {
                seen.tokens_created += 1;
            } else if line.contains(": bpf_token_free: ") {
                seen.tokens_freed += 1;
            }
        }
        seen
    }
}
