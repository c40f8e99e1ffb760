// SPDX-License-Identifier: GPL-2.0
//! `bpftoken trace`.

use std::fs;
use std::fs::File;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use bpf_token::Tracefs;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use signal_hook::consts::SIGINT;
use signal_hook::consts::SIGTERM;

use crate::event;
use crate::output;

pub fn trace(uses: bool, json: bool) -> Result<ExitCode> {
    let tracefs = Tracefs::open()?;
    let events = tracefs.path().join("events/bpf_token");
    if !events.exists() {
        bail!("this kernel has no bpf_token trace events: they come with CONFIG_BPF_TOKEN_RUST=y");
    }
    let has_uses = events.join(USE).exists();
    if uses && !has_uses {
        bail!("this kernel has no trace event {USE}: it tells of tokens made, refused and freed");
    }
    let instance = Instance::new(&tracefs)?;
    instance.write("events/bpf_token/enable", "1")?;
    if has_uses && !uses {
        instance.write(&format!("events/bpf_token/{USE}/enable"), "0")?;
    }
    let mut pipe = File::open(instance.0.join("trace_pipe")).context("open trace_pipe")?;
    let (stop, stopped) = UnixStream::pair()?;
    for signal in [SIGINT, SIGTERM] {
        signal_hook::low_level::pipe::register(signal, stopped.try_clone()?)?;
    }
    anstream::eprintln!("following the events of bpf_token; interrupt to end");
    let mut pending = String::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let mut fds = [
            PollFd::new(&stop, PollFlags::IN),
            PollFd::new(&pipe, PollFlags::IN),
        ];
        match rustix::event::poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        if !fds[0].revents().is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        if fds[1].revents().is_empty() {
            continue;
        }
        let length = pipe.read(&mut buffer).context("read trace_pipe")?;
        pending.push_str(&String::from_utf8_lossy(&buffer[..length]));
        while let Some((line, rest)) = pending.split_once('\n') {
            show(line, json)?;
            pending = rest.to_owned();
        }
    }
}

fn show(line: &str, json: bool) -> Result<()> {
    match event::parse(line) {
        Some(event) if json => output::print(&format!("{}\n", serde_json::to_string(&event)?)),
        Some(event) => output::print(&event::text(&event)),
        // The kernel says so when it lost events; nothing else has another form.
        None => {
            anstream::eprintln!("{}", line.trim());
            Ok(())
        }
    }
}

/// The event of each use of a token, of which there may be many.
const USE: &str = "bpf_token_use";

/// A tracing instance of our own, in which no event is on at first.
pub struct Instance(pub PathBuf);

impl Instance {
    pub fn new(tracefs: &Tracefs) -> Result<Self> {
        let dir = tracefs
            .path()
            .join("instances")
            .join(format!("bpftoken-{}", std::process::id()));
        fs::create_dir(&dir).context("make a tracing instance")?;
        Ok(Self(dir))
    }

    /// Writes one of its files.
    pub fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.0.join(file);
        fs::write(&path, text).with_context(|| path.display().to_string())
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // rmdir(2) on an instance takes all that is in it along. Nobody is left to tell of a
        // failure.
        let _ = fs::remove_dir(&self.0);
    }
}
