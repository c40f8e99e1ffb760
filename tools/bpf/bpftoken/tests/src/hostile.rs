// SPDX-License-Identifier: GPL-2.0
//! A container whose root wants out, against the manager that gives it a BPF FS.
//!
//! The container shares the process namespace with the manager, so that it can name every process
//! of the manager. One process on each of two processors goes for each new process as soon as
//! there is one.

mod container;

use std::fs;
use std::fs::File;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use bpf_token::Container;
use bpf_token::Delegation;
use bpf_token::Errno;
use bpf_token::Error;
use bpf_token::IdMap;
use bpf_token::Process;
use bpf_token::Running;
use bpf_token::Target;

pub use self::container::role;
use self::container::CONTAINER;
use self::container::FIRST;
use self::container::KILL;
use self::container::LOOT;
pub use self::container::STOP;
use self::container::SWAP;
use crate::world::path;
use crate::world::Holder;
use crate::world::World;
use crate::Test;

pub const TESTS: &[(&str, Test)] = &[
    ("hostile::mount_gives_nothing_away", mount),
    ("hostile::suid_dumpable", suid_dumpable),
    ("hostile::first_process_gives_nothing_away", first),
    ("hostile::stopped_process_is_not_waited_for", stopped),
    ("hostile::killed_process_is_told", killed),
    ("hostile::links_on_the_path", links),
    ("hostile::target_changes_meanwhile", target_changes),
    ("hostile::mounted_already", mounted_already),
    ("hostile::not_a_container", not_a_container),
];

const MOUNTS: usize = 200;
const SECRET: &str = "only host root may read this";

/// The hostile container, as its test sees it.
pub struct Hostile {
    pub running: Running,
    stdin: File,
    stdout: BufReader<File>,
}

impl Hostile {
    pub fn start(world: &World, what: &str) -> Result<Self> {
        let (theirs_in, ours_in) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let (ours_out, theirs_out) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let running = Container::new(&world.own)
            .args([CONTAINER, what])
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
    pub fn loot(mut self) -> Result<String> {
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

    let hostile = Hostile::start(world, LOOT)?;
    let pid = hostile.running.pid();
    for n in 0..MOUNTS {
        Target::new(hostile.running.command(), format!("/mnt/{n}"))
            .mount(&delegation())
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

/// The container's first process is a copy of the manager, and stays so.
fn first(world: &World) -> Result<()> {
    for own in [&["--pid"][..], &[]] {
        let args = ["run", "--user", "1000", "--cmds", "map_create"];
        let mut args = args.to_vec();
        args.extend(own);
        args.extend(["--", path(&world.own), FIRST]);
        let said = world.run(&args)?.must(0)?;
        ensure!(said.out.is_empty(), "{args:?}: {}", said.out);
    }
    Ok(())
}

pub fn delegation() -> Delegation {
    let delegation = "delegate_cmds=map_create,delegate_maps=hash";
    delegation.parse().unwrap_or_default()
}

/// The time that something takes which must not wait for a container.
pub fn soon<T>(what: &str, it: impl FnOnce() -> T) -> Result<T> {
    let begin = Instant::now();
    let result = it();
    let took = begin.elapsed();
    ensure!(took < Duration::from_secs(20), "{what}: it took {took:?}");
    Ok(result)
}

/// So many processes stopped by the container are enough for a test: each is waited for as long as the limit is.
pub const ENOUGH: u32 = 2;

fn stopped(world: &World) -> Result<()> {
    let hostile = Hostile::start(world, STOP)?;
    let mut stopped = 0;
    for n in 0..10 {
        let target = Target::new(hostile.running.command(), format!("/mnt/{n}"));
        let target = target.limit(Duration::from_secs(1));
        let mounted = soon("a stopped process", || target.mount(&delegation()))?;
        match mounted {
            Err(Error::TimedOut { .. }) => stopped += 1,
            // It was faster.
            done => done?,
        }
        if stopped == ENOUGH {
            break;
        }
    }
    hostile.loot()?;
    ensure!(stopped > 0, "the container was too slow to stop any");
    Ok(())
}

fn killed(world: &World) -> Result<()> {
    let hostile = Hostile::start(world, KILL)?;
    let pid = hostile.running.pid();
    let mut killed = 0;
    for n in 0..20 {
        let path = format!("/mnt/{n}");
        let target = Target::new(hostile.running.command(), &path);
        match soon("a killed process", || target.mount(&delegation()))? {
            Err(Error::Handshake(_) | Error::Sys { .. }) => killed += 1,
            done => {
                done?;
                let mounts = fs::read_to_string(format!("/proc/{pid}/mounts"))?;
                ensure!(mounts.contains(&format!(" {path} bpf ")), "told too early");
            }
        }
    }
    hostile.loot()?;
    ensure!(killed > 0, "the container was too slow to kill any");
    Ok(())
}

/// A container decides what its links lead to.
fn links(world: &World) -> Result<()> {
    let hostile = Hostile::start(world, "")?;
    for path in ["/mnt/link/0", "/mnt/link", "/proc/self/root/mnt/0"] {
        let target = Target::new(hostile.running.command(), path);
        for done in [target.mount(&delegation()), target.unmount()] {
            let error = done.err().with_context(|| format!("{path} was taken"))?;
            ensure!(error.errno() == Some(Errno::ELOOP), "{path}: {error}");
        }
    }
    let target = Target::new(hostile.running.command(), "mnt/0");
    let error = target.mount(&delegation()).err().context("relative")?;
    ensure!(error.to_string().contains("absolute path"), "{error}");
    hostile.loot()?;
    Ok(())
}

/// A directory that becomes a link to another at any time: nothing is ever mounted on the other.
fn target_changes(world: &World) -> Result<()> {
    let hostile = Hostile::start(world, SWAP)?;
    let pid = hostile.running.pid();
    let mounts = || fs::read_to_string(format!("/proc/{pid}/mounts"));
    // The two names that the directory has by turns.
    let names = ["/mnt/0", "/mnt/other"];
    let targets = names.map(|name| Target::new(hostile.running.command(), name));
    let (mut mounted, mut refused) = (0, 0);
    for n in 0..50 {
        let done = targets[0].mount(&delegation());
        let found = mounts()?;
        ensure!(
            !found.contains(" /mnt/1 bpf "),
            "mount {n} followed the link: {done:?}"
        );
        match done {
            Ok(()) => {
                mounted += 1;
                let there = names
                    .iter()
                    .any(|it| found.contains(&format!(" {it} bpf ")));
                ensure!(there, "mount {n} is elsewhere: {found}");
            }
            Err(error) => {
                refused += 1;
                let expected = [Some(Errno::ELOOP), Some(Errno::EBUSY)];
                ensure!(expected.contains(&error.errno()), "mount {n}: {error}");
            }
        }
        // It may have got the other name meanwhile.
        let end = Instant::now() + Duration::from_secs(20);
        while mounts()?.contains(" bpf rw") {
            ensure!(Instant::now() < end, "mount {n} stays");
            let _ = targets[0].unmount().or_else(|_| targets[1].unmount());
        }
    }
    hostile.loot()?;
    ensure!(
        mounted > 0 && refused > 0,
        "no contest: {mounted} mounted, {refused} refused"
    );
    Ok(())
}

/// A second BPF FS is not stacked on the first, which can be replaced and unmounted.
fn mounted_already(world: &World) -> Result<()> {
    let holder = Holder::start(world, "--cmds map_create --maps hash")?;
    let pid = holder.pid.to_string();
    let mounts = || -> Result<Vec<String>> {
        let text = fs::read_to_string(format!("/proc/{pid}/mounts"))?;
        let ours = text.lines().filter(|line| line.contains(" /mnt bpf "));
        Ok(ours.map(str::to_owned).collect())
    };
    let at = ["--pid", &pid, "--target", "/mnt"];
    let mount = |options: &[&str]| world.run(&[&["mount"][..], &at, options].concat());
    let umount = || world.run(&[&["umount"][..], &at].concat());
    mount(&["--cmds", "prog_load"])?.must(0)?;
    mount(&["--cmds", "btf_load"])?
        .must(1)?
        .explains(&["mounted on the target already", "--replace"])?;
    let found = mounts()?;
    ensure!(found.len() == 1, "{found:?}");
    ensure!(found[0].contains("delegate_cmds=prog_load"), "{found:?}");
    mount(&["--cmds", "btf_load", "--replace"])?.must(0)?;
    let found = mounts()?;
    ensure!(found.len() == 1, "{found:?}");
    ensure!(found[0].contains("delegate_cmds=btf_load"), "{found:?}");
    umount()?.must(0)?;
    ensure!(mounts()?.is_empty(), "{:?}", mounts()?);
    umount()?
        .must(1)?
        .explains(&["no delegated BPF FS is mounted on the target"])?;
    mount(&["--cmds", "btf_load", "--replace"])?.must(0)?;
    Ok(())
}

/// Ended processes, threads, and processes that share our namespaces.
fn not_a_container(world: &World) -> Result<()> {
    let mut child = Command::new("sleep").arg("1000").spawn()?;
    let process = Process::open(child.id().try_into()?)?;
    let target = Target::new(&process, "/mnt");
    let refused = |words: &str| -> Result<()> {
        let error = target.mount(&delegation()).err().context("mounted")?;
        ensure!(error.to_string().contains(words), "{error}");
        Ok(())
    };
    refused("runs in this user namespace")?;
    child.kill()?;
    child.wait()?;
    refused("No such process")?;

    // Its own user namespace, in our mount namespace.
    let mut child = Command::new("unshare")
        .args(["--user", "sh", "-c", "echo; exec sleep 1000"])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut ready = [0];
    child
        .stdout
        .take()
        .context("no stdout")?
        .read_exact(&mut ready)?;
    let pid = child.id().to_string();
    let said = world.run(&["mount", "--pid", &pid, "--cmds", "map_create"]);
    child.kill()?;
    child.wait()?;
    said?
        .must(1)?
        .explains(&["no mount namespace of its own"])?;

    let (tell, told) = std::sync::mpsc::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        let _ = tell.send(rustix::thread::gettid().as_raw_nonzero().get());
        let _ = ended.recv();
    });
    let error = Process::open(told.recv()?).err().context("a thread")?;
    ensure!(error.to_string().contains("is a thread"), "{error}");
    drop(end);
    ensure!(thread.join().is_ok());
    Ok(())
}
