// SPDX-License-Identifier: GPL-2.0
//! The processes of the hostile container.

use std::fs;
use std::fs::File;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::process::ExitCode;
use std::process::Stdio;

use anyhow::Context;
use anyhow::Result;
use rustix::fs::RenameFlags;
use rustix::fs::CWD;
use rustix::mount::MountFlags;
use rustix::process::Pid;
use rustix::process::PidfdFlags;
use rustix::process::PidfdGetfdFlags;
use rustix::process::Signal;

use super::MOUNTS;
use super::SECRET;
use crate::world::ended;

/// The first argument of this program when it is the container's first process.
pub(super) const CONTAINER: &str = "hostile-container";
/// The first argument of this program when it goes for new processes.
const ATTACK: &str = "hostile-attack";
/// The first argument of this program when it goes for the process that started it.
pub(super) const FIRST: &str = "hostile-first";

/// What is done to new processes.
pub(super) const LOOT: &str = "loot";
pub const STOP: &str = "stop";
pub(super) const KILL: &str = "kill";
/// Nothing is done to processes; a directory and a link change places for ever.
pub(super) const SWAP: &str = "swap";

/// What this program does when a test starts it again.
pub fn role() -> Option<ExitCode> {
    let mut args = std::env::args().skip(1);
    let done = match args.next()?.as_str() {
        CONTAINER => container(&args.next()?),
        ATTACK => attack(&args.next()?, args.next()?.parse().ok()?),
        FIRST => first_process(),
        _ => return None,
    };
    Some(ended(done))
}

fn first_process() -> Result<()> {
    let parent = rustix::process::getppid().context("no parent")?;
    let mut loot = Loot::default();
    go_for(parent, &mut loot);
    let line = fs::read(format!("/proc/{}/cmdline", parent.as_raw_nonzero()))?;
    if line.iter().any(|byte| *byte != 0) {
        loot.got("the command line", &String::from_utf8_lossy(&line));
    }
    Ok(())
}

/// The first process of the hostile container: starts the others, and ends them.
fn container(what: &str) -> Result<()> {
    let none = None::<&std::ffi::CStr>;
    rustix::mount::mount("tmpfs", "/mnt", "tmpfs", MountFlags::empty(), none)?;
    for n in 0..MOUNTS {
        fs::create_dir(format!("/mnt/{n}"))?;
    }
    symlink("/mnt", "/mnt/link")?;
    symlink("/mnt/1", "/mnt/other")?;
    let mut attackers = Vec::new();
    for processor in 0..2 {
        let mut attacker = Command::new("/proc/self/exe")
            .args([ATTACK, what, &processor.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut out = BufReader::new(attacker.stdout.take().context("no stdout")?);
        let mut ready = String::new();
        out.read_line(&mut ready)?;
        attackers.push((attacker, out));
    }
    // Only now, for they are no victims of each other.
    for (attacker, _) in &attackers {
        let mut stdin = attacker.stdin.as_ref().context("no stdin")?;
        stdin.write_all(b"\n")?;
    }
    for (_, out) in &mut attackers {
        out.read_line(&mut String::new())?;
    }
    println!("ready");
    std::io::stdin().read_exact(&mut [0])?;
    for (mut attacker, mut out) in attackers {
        attacker.kill()?;
        attacker.wait()?;
        let mut loot = String::new();
        out.read_to_string(&mut loot)?;
        print!("{loot}");
    }
    Ok(())
}

/// Goes for each process newer than its own, for ever.
fn attack(what: &str, processor: usize) -> Result<()> {
    let mut cpus = rustix::thread::CpuSet::new();
    cpus.set(processor);
    rustix::thread::sched_setaffinity(None, &cpus)?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let newest = File::open("/proc/loadavg")?;
    println!("here");
    std::io::stdin().read_exact(&mut [0])?;
    let mut seen = newest_pid(&newest)?;
    println!("ready");
    if what == SWAP {
        swap();
    }
    let mut loot = Loot::default();
    loop {
        let found = newest_pid(&newest)?;
        for pid in (seen + 1).max(found - 1)..=found {
            let Some(target) = Pid::from_raw(pid) else {
                continue;
            };
            // What may not be touched yet may be a moment later, when it has entered the container.
            while rustix::process::test_kill_process(target) != Err(rustix::io::Errno::SRCH) {
                match what {
                    STOP => drop(rustix::process::kill_process(target, Signal::STOP)),
                    KILL => drop(rustix::process::kill_process(target, Signal::KILL)),
                    _ => go_for(target, &mut loot),
                }
                if newest_pid(&newest)? > found {
                    break;
                }
            }
        }
        seen = found.max(seen);
    }
}

/// Has `/mnt/0` be a directory and a link to `/mnt/1` by turns.
fn swap() -> ! {
    loop {
        // Refused while something is mounted on the directory.
        let _ = rustix::fs::renameat_with(CWD, "/mnt/0", CWD, "/mnt/other", RenameFlags::EXCHANGE);
    }
}

/// The id that the newest process got.
fn newest_pid(loadavg: &File) -> Result<i32> {
    let mut text = [0; 128];
    let length = loadavg.read_at(&mut text, 0)?;
    let text = std::str::from_utf8(&text[..length])?;
    let last = text.split_whitespace().last().context("empty loadavg")?;
    Ok(last.parse()?)
}

/// What was found, to be said once.
#[derive(Default)]
struct Loot(Vec<&'static str>);

impl Loot {
    fn got(&mut self, what: &'static str, evidence: &dyn std::fmt::Debug) {
        if !self.0.contains(&what) {
            self.0.push(what);
            println!("{what}: {evidence:?}");
        }
    }
}

/// Tries everything on a process.
fn go_for(target: Pid, loot: &mut Loot) {
    let Ok(pidfd) = rustix::process::pidfd_open(target, PidfdFlags::empty()) else {
        return;
    };
    let pid = target.as_raw_nonzero().get();
    let proc = |name: &str| format!("/proc/{pid}/{name}");
    for fd in 0..24 {
        if let Ok(fd) = rustix::process::pidfd_getfd(&pidfd, fd, PidfdGetfdFlags::empty()) {
            loot.got("a descriptor", &describe(fd));
        }
    }
    // The manager must not hear of it.
    let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::USR2);
    if trace(pid) {
        loot.got("the trace", &"PTRACE_SEIZE");
    }
    if let Ok(mem) = File::options().read(true).write(true).open(proc("mem")) {
        loot.got("the memory", &mem);
    }
    match fs::read(proc("environ")) {
        Ok(text) if !text.is_empty() => {
            loot.got("the environment", &String::from_utf8_lossy(&text));
        }
        _ => {}
    }
    for link in ["root", "cwd", "exe"] {
        if let Ok(path) = fs::read_link(proc(link)) {
            loot.got("a link", &(link, path));
        }
    }
    if let Ok(Some(Ok(entry))) = fs::read_dir(proc("fd")).map(|mut dir| dir.next()) {
        loot.got("the list of descriptors", &entry.file_name());
    }
}

/// Where a descriptor leads, and what can be read there.
fn describe(fd: OwnedFd) -> (Option<std::path::PathBuf>, String) {
    let path = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok();
    let mut text = [0; SECRET.len()];
    let length = File::from(fd).read_at(&mut text, 0).unwrap_or(0);
    (path, String::from_utf8_lossy(&text[..length]).into_owned())
}

/// Whether the process let itself be traced; it is let go at once.
fn trace(pid: i32) -> bool {
    let ptrace = |request: libc::c_uint| {
        // SAFETY: None of these requests touches this process's memory.
        unsafe { libc::ptrace(request, pid, 0, 0) == 0 }
    };
    if !ptrace(libc::PTRACE_SEIZE) {
        return false;
    }
    ptrace(libc::PTRACE_INTERRUPT);
    // SAFETY: A null status is not written to.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL) };
    ptrace(libc::PTRACE_DETACH);
    true
}
