// SPDX-License-Identifier: GPL-2.0
//! `bpftoken trace`.

use std::fs;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::mount::FsMountFlags;
use rustix::mount::FsOpenFlags;
use rustix::mount::MountAttrFlags;
use signal_hook::consts::SIGINT;
use signal_hook::consts::SIGTERM;

use crate::event;
use crate::output;

pub fn trace(uses: bool, json: bool) -> Result<ExitCode> {
    let tracefs = Tracefs::open()?;
    let instance = Instance::new(&tracefs, uses)?;
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

/// tracefs, mounted nowhere: nobody else sees it, and it is gone with the descriptor.
struct Tracefs(OwnedFd);

impl Tracefs {
    fn open() -> Result<Self> {
        let mount = || -> rustix::io::Result<OwnedFd> {
            let context = rustix::mount::fsopen(c"tracefs", FsOpenFlags::FSOPEN_CLOEXEC)?;
            rustix::mount::fsconfig_create(&context)?;
            let flags = FsMountFlags::FSMOUNT_CLOEXEC;
            rustix::mount::fsmount(&context, flags, MountAttrFlags::empty())
        };
        mount()
            .map(Self)
            .context("mount tracefs (it takes root, in the initial user namespace)")
    }

    fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_fd().as_raw_fd()).into()
    }
}

/// The event of each use of a token, of which there may be many.
const USE: &str = "bpf_token_use";

/// A tracing instance of our own, in which only the events of tokens are on.
struct Instance(PathBuf);

impl Instance {
    fn new(tracefs: &Tracefs, uses: bool) -> Result<Self> {
        let root = tracefs.path();
        if !root.join("events/bpf_token").exists() {
            bail!(
                "this kernel has no bpf_token trace events: they come with CONFIG_BPF_TOKEN_RUST=y"
            );
        }
        if uses && !root.join("events/bpf_token").join(USE).exists() {
            bail!(
                "this kernel has no trace event {USE}: it tells of tokens made, refused and freed"
            );
        }
        let dir = root
            .join("instances")
            .join(format!("bpftoken-{}", std::process::id()));
        fs::create_dir(&dir).context("make a tracing instance")?;
        let instance = Self(dir);
        let events = instance.0.join("events/bpf_token");
        write(&events.join("enable"), "1")?;
        let uses_of_tokens = events.join(USE).join("enable");
        if !uses && uses_of_tokens.exists() {
            write(&uses_of_tokens, "0")?;
        }
        Ok(instance)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // rmdir(2) on an instance takes all that is in it along. Nobody is left to tell of a
        // failure.
        let _ = fs::remove_dir(&self.0);
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| path.display().to_string())
}
