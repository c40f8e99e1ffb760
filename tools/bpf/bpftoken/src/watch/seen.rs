// SPDX-License-Identifier: GPL-2.0
//! Which calls of bpf(2) succeed: the supervisor tells what is asked for, the kernel what came of it.

use std::collections::HashMap;
use std::fs::File;
use std::io::ErrorKind;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;

use anyhow::Context;
use anyhow::Result;
use bpf_token::Observed;
use bpf_token::TokenInfo;
use bpf_token::Tracefs;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::fs::OFlags;

use crate::trace::Instance;

/// How often trace events are read where nothing else happens: a buffer of the kernel fills up.
const OFTEN: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

#[cfg(target_arch = "x86_64")]
const BPF: u32 = 321;
#[cfg(any(target_arch = "aarch64", target_arch = "riscv64"))]
const BPF: u32 = 280;

/// What was asked for, and what of it succeeded.
pub struct Seen {
    pipe: File,
    instance: Instance,
    _tracefs: Tracefs,
    /// The end of what was read, which is no whole line yet.
    rest: String,
    /// What threads asked for in the call that they are in.
    asked: HashMap<i32, TokenInfo>,
    used: TokenInfo,
    lost: bool,
}

impl Seen {
    /// Has the kernel tell the end of each call of bpf(2) from now on.
    pub fn start() -> Result<Self> {
        let tracefs = Tracefs::open()?;
        let instance = Instance::new(&tracefs)?;
        instance.write(
            "events/raw_syscalls/sys_exit/filter",
            &format!("id == {BPF}"),
        )?;
        instance.write("events/raw_syscalls/sys_exit/enable", "1")?;
        let pipe = File::options()
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits() as i32)
            .open(instance.0.join("trace_pipe"))
            .context("open trace_pipe")?;
        Ok(Self {
            pipe,
            instance,
            _tracefs: tracefs,
            rest: String::new(),
            asked: HashMap::new(),
            used: TokenInfo::default(),
            lost: false,
        })
    }

    /// Follows the calls until the other end of `stopped` is closed.
    pub fn follow(&mut self, stopped: &OwnedFd, supervisor: &OwnedFd) -> Result<()> {
        let mut is_there = true;
        loop {
            let mut fds = [
                PollFd::new(stopped, PollFlags::IN),
                PollFd::new(supervisor, PollFlags::IN),
            ];
            let watched = if is_there { 2 } else { 1 };
            match rustix::event::poll(&mut fds[..watched], Some(&OFTEN)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            let [stop, calls] = fds.map(|fd| !fd.revents().is_empty());
            // All that a thread did before its call comes first.
            self.drain()?;
            if is_there && calls {
                match Observed::receive(supervisor)? {
                    Some(call) => {
                        self.asked.insert(call.tid, call.needs);
                        // One that is gone asks no more.
                        let _ = call.proceed(supervisor);
                    }
                    None => is_there = false,
                }
            } else if stop {
                break;
            }
        }
        self.instance
            .write("events/raw_syscalls/sys_exit/enable", "0")?;
        self.drain()?;
        // What was not told of may have succeeded.
        if self.lost {
            for asked in std::mem::take(&mut self.asked).into_values() {
                self.use_up(asked);
            }
        }
        Ok(())
    }

    /// What succeeded.
    pub fn used(&self) -> TokenInfo {
        self.used
    }

    /// How that was found out.
    pub fn note(&self) -> &'static str {
        if self.lost {
            "watched: the kernel lost trace events, so some of it may have been asked for in vain"
        } else {
            "watched: all of it was used with success, and nothing else was"
        }
    }

    fn use_up(&mut self, needs: TokenInfo) {
        let (used, needs) = (self.used.bits(), needs.bits());
        self.used = TokenInfo::from_bits(std::array::from_fn(|at| used[at] | needs[at]));
    }

    /// Reads all that the kernel has told.
    fn drain(&mut self) -> Result<()> {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.pipe.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => self
                    .rest
                    .push_str(&String::from_utf8_lossy(&buffer[..length])),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("read trace_pipe"),
            }
        }
        let text = std::mem::take(&mut self.rest);
        let (lines, rest) = text.rsplit_once('\n').unwrap_or(("", &text));
        for line in lines.lines() {
            self.line(line);
        }
        self.rest = rest.to_owned();
        Ok(())
    }

    fn line(&mut self, line: &str) {
        if let Some((tid, succeeded)) = end_of_call(line) {
            match self.asked.remove(&tid) {
                Some(needs) if succeeded => self.use_up(needs),
                _ => {}
            }
        } else if line.contains("[LOST ") {
            self.lost = true;
            for asked in std::mem::take(&mut self.asked).into_values() {
                self.use_up(asked);
            }
        }
    }
}

/// Reads `comm-pid [cpu] flags seconds: sys_exit: NR 321 = 3`: the thread, and whether its call
/// succeeded.
fn end_of_call(line: &str) -> Option<(i32, bool)> {
    // The name may be anything, and is followed by this for the first time.
    let (head, value) = line.rsplit_once(&format!(": sys_exit: NR {BPF} = "))?;
    let value: i64 = value.trim().parse().ok()?;
    let (head, _) = head.rsplit_once(" [")?;
    let (_, tid) = head.trim_end().rsplit_once('-')?;
    Some((tid.parse().ok()?, value >= 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_calls() {
        let line = |comm: &str, value: &str| {
            end_of_call(&format!(
                "{comm}-42      [001] .....    12.345678: sys_exit: NR {BPF} = {value}"
            ))
        };
        assert_eq!(line("  bpftool", "3"), Some((42, true)));
        assert_eq!(line("a-7 [000] b: sys_exit", "-22"), Some((42, false)));
        assert_eq!(line("<...>", "0"), Some((42, true)));
        assert_eq!(line("x", "none"), None);
        assert_eq!(end_of_call("CPU:0 [LOST 12 EVENTS]"), None);
    }
}
