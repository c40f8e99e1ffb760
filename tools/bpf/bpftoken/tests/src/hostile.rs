// SPDX-License-Identifier: GPL-2.0
//! A container whose root wants out, against the manager that gives it a BPF FS.
//!
//! The container shares the process namespace with the manager, so that it can name every process
//! of the manager. One process on each of two processors goes for each new process as soon as
//! there is one.

use std::fs;
use std::fs::File;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::process::ExitCode;
use std::process::Stdio;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use bpf_token::Container;
use bpf_token::Delegation;
use bpf_token::IdMap;
use bpf_token::Running;
use rustix::mount::MountFlags;
use rustix::process::Pid;
use rustix::process::PidfdFlags;
use rustix::process::PidfdGetfdFlags;
use rustix::process::Signal;

use crate::world::Holder;
use crate::world::World;
use crate::Test;

pub const TESTS: &[(&str, Test)] = &[
    ("hostile::mount_gives_nothing_away", mount),
    ("hostile::suid_dumpable", suid_dumpable),
];

/// The first argument of this program when it is the container's first process.
const CONTAINER: &str = "hostile-container";
/// The first argument of this program when it goes for new processes.
const ATTACK: &str = "hostile-attack";

const MOUNTS: usize = 200;
const SECRET: &str = "only host root may read this";

/// What this program does when a test starts it again.
pub fn role() -> Option<ExitCode> {
    let mut args = std::env::args().skip(1);
    let done = match args.next()?.as_str() {
        CONTAINER => container(),
        ATTACK => attack(args.next()?.parse().ok()?),
        _ => return None,
    };
    Some(match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    })
}

/// The hostile container, as its test sees it.
struct Hostile {
    running: Running,
    stdin: File,
    stdout: BufReader<File>,
}

impl Hostile {
    fn start(world: &World) -> Result<Self> {
        let (theirs_in, ours_in) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let (ours_out, theirs_out) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let running = Container::new(&world.own)
            .args([CONTAINER])
            .ids([IdMap::root(1000)], [IdMap::root(1000)])
            .pass_fd(theirs_in, 0)
            .pass_fd(theirs_out, 1)
            .spawn()?;
        let mut hostile = Self {
            running,
            stdin: ours_in.into(),
            stdout: BufReader::new(ours_out.into()),
        };
        let mut ready = String::new();
        hostile.stdout.read_line(&mut ready)?;
        ensure!(ready == "ready\n", "the hostile container did not start");
        Ok(hostile)
    }

    /// Ends the container and returns what it got hold of.
    fn loot(mut self) -> Result<String> {
        self.stdin.write_all(b"\n")?;
        let mut loot = String::new();
        self.stdout.read_to_string(&mut loot)?;
        self.running.wait()?;
        Ok(loot)
    }
}

/// The process that enters the container for a mount has nothing that the container could take:
/// no descriptor, no memory, no directory, no environment, and no signal handler of the manager.
fn mount(world: &World) -> Result<()> {
    let path = world.dir.path().join("secret");
    let mut secret = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)?;
    secret.write_all(SECRET.as_bytes())?;
    let (mut signals, handler) = UnixStream::pair()?;
    signals.set_nonblocking(true)?;
    let handler = signal_hook::low_level::pipe::register(signal_hook::consts::SIGUSR2, handler)?;

    let hostile = Hostile::start(world)?;
    let delegation: Delegation = "delegate_cmds=map_create,delegate_maps=hash".parse()?;
    let pid = hostile.running.pid().as_raw_nonzero().get();
    for n in 0..MOUNTS {
        bpf_token::mount_into(pid, format!("/mnt/{n}"), &delegation)
            .with_context(|| format!("mount {n}"))?;
    }
    let mounts = fs::read_to_string(format!("/proc/{pid}/mounts"))?;
    let mounted = mounts.lines().filter(|line| line.contains(" bpf ")).count();
    let mut loot = hostile.loot()?;
    signal_hook::low_level::unregister(handler);
    if signals.read(&mut [0]).unwrap_or(0) > 0 {
        loot.push_str("the manager's signal handler");
    }
    drop(secret);
    ensure!(loot.is_empty(), "the container got hold of: {loot}");
    ensure!(mounted >= MOUNTS, "{mounted} mounts of {MOUNTS}");
    Ok(())
}

/// Where the kernel would make that process dumpable, it does not enter.
fn suid_dumpable(world: &World) -> Result<()> {
    const SYSCTL: &str = "/proc/sys/fs/suid_dumpable";
    let holder = Holder::start(world, "--cmds map_create --maps hash")?;
    let pid = holder.pid.to_string();
    let mount = || {
        world.run(&[
            "mount",
            "--pid",
            &pid,
            "--target",
            "/mnt",
            "--cmds",
            "prog_load",
        ])
    };
    let before = fs::read_to_string(SYSCTL)?;
    fs::write(SYSCTL, "1")?;
    let refused = mount();
    fs::write(SYSCTL, before)?;
    refused?
        .must(1)?
        .explains(&["fs.suid_dumpable is 1", "set it to 0 or 2"])?;
    mount()?.must(0)?;
    Ok(())
}

/// The first process of the hostile container: starts the others, and ends them.
fn container() -> Result<()> {
    let none = None::<&std::ffi::CStr>;
    rustix::mount::mount("tmpfs", "/mnt", "tmpfs", MountFlags::empty(), none)?;
    for n in 0..MOUNTS {
        fs::create_dir(format!("/mnt/{n}"))?;
    }
    let mut attackers = Vec::new();
    for processor in 0..2 {
        let mut attacker = Command::new("/proc/self/exe")
            .args([ATTACK, &processor.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut out = BufReader::new(attacker.stdout.take().context("no stdout")?);
        let mut ready = String::new();
        out.read_line(&mut ready)?;
        attackers.push((attacker, out));
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
fn attack(processor: usize) -> Result<()> {
    let mut cpus = rustix::thread::CpuSet::new();
    cpus.set(processor);
    rustix::thread::sched_setaffinity(None, &cpus)?;
    let newest = File::open("/proc/loadavg")?;
    println!("ready");
    let mut seen = newest_pid(&newest)?;
    // The other attacker is no victim.
    let ours = seen + 1;
    let mut found = Vec::new();
    loop {
        let newest = newest_pid(&newest)?;
        for pid in (seen + 1).max(newest - 1)..=newest {
            if pid == ours && processor == 0 {
                continue;
            }
            go_for(pid, &mut found);
        }
        seen = newest.max(seen);
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

/// Tries everything on a process until it is gone. Says once what worked.
fn go_for(pid: i32, found: &mut Vec<&'static str>) {
    let Some(target) = Pid::from_raw(pid) else {
        return;
    };
    let Ok(pidfd) = rustix::process::pidfd_open(target, PidfdFlags::empty()) else {
        return;
    };
    let mut got = |what: &'static str, evidence: &dyn std::fmt::Debug| {
        if !found.contains(&what) {
            found.push(what);
            println!("{what} of process {pid}: {evidence:?}");
        }
    };
    let proc = |name: &str| format!("/proc/{pid}/{name}");
    while rustix::process::test_kill_process(target).is_ok() {
        for fd in 0..24 {
            if let Ok(fd) = rustix::process::pidfd_getfd(&pidfd, fd, PidfdGetfdFlags::empty()) {
                got("a descriptor", &describe(fd));
            }
        }
        // The manager must not hear of it.
        let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::USR2);
        if trace(pid) {
            got("the trace", &"PTRACE_SEIZE");
        }
        if let Ok(mem) = File::options().read(true).write(true).open(proc("mem")) {
            got("the memory", &mem);
        }
        match fs::read(proc("environ")) {
            Ok(text) if !text.is_empty() => {
                got("the environment", &String::from_utf8_lossy(&text));
            }
            _ => {}
        }
        for link in ["root", "cwd", "exe"] {
            if let Ok(path) = fs::read_link(proc(link)) {
                got("a link", &(link, path));
            }
        }
        if let Ok(Some(Ok(entry))) = fs::read_dir(proc("fd")).map(|mut dir| dir.next()) {
            got("the list of descriptors", &entry.file_name());
        }
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
