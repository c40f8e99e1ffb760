// SPDX-License-Identifier: GPL-2.0
//! A container's command as under any launcher: signals, descriptors, statuses, and its end.

use std::fs;
use std::fs::File;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitCode;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use bpf_token::Container;
use bpf_token::Errno;
use bpf_token::Error;
use bpf_token::IdMap;
use bpf_token::Process;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::pipe::PipeFlags;

use crate::world::ended;
use crate::world::path;
use crate::world::said;
use crate::world::until;
use crate::world::World;
use crate::Test;

pub const TESTS: &[(&str, Test)] = &[
    ("launch::signals_are_forwarded", signals),
    ("launch::signals_end_a_command", ending_signals),
    ("launch::ignored_signals_stay_ignored", ignored_signals),
    ("launch::signal_state_is_default", signal_state),
    ("launch::orphans_are_reaped", orphans),
    ("launch::ends_with_its_parent", parents_death),
    ("launch::no_descriptor_leaks", no_descriptor_leaks),
    ("launch::no_key_leaks", no_key_leaks),
    ("launch::scripts", scripts),
    ("launch::programs_in_path", programs_in_path),
    ("launch::descriptors_swapped", descriptors_swapped),
    (
        "launch::descriptors_of_any_number",
        descriptors_of_any_number,
    ),
    ("launch::descriptor_numbers_refused", descriptor_numbers),
    ("launch::running", running),
    ("launch::killed_inside", killed_inside),
    ("launch::default_ids", default_ids),
    ("launch::host_root_is_asked_for", host_root),
];

const LEAST: &str = "--cmds map_create --maps hash";

/// The first argument of this program when it leaves an orphan behind and counts zombies.
const ORPHAN: &str = "launch-orphan";
/// The first argument of this program when it looks for the manager's key.
const KEY: &str = "launch-key";

/// What this program does when a test starts it again.
pub fn role() -> Option<ExitCode> {
    let done = match std::env::args().nth(1)?.as_str() {
        ORPHAN => orphan(),
        KEY => key(),
        _ => return None,
    };
    Some(ended(done))
}

/// `bpftoken run`, whose command has said a first line.
struct Run {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
}

impl Run {
    fn start(mut command: Command) -> Result<Self> {
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut out = BufReader::new(child.stdout.take().context("no stdout")?);
        let mut ready = String::new();
        out.read_line(&mut ready)?;
        Ok(Self { child, out })
    }

    fn signal(&self, signal: i32) -> Result<()> {
        Ok(Process::open(self.child.id().try_into()?)?.signal(signal)?)
    }

    /// The exit status, within a few seconds.
    fn status(&mut self) -> Result<Option<i32>> {
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.child.kill()?;
        bail!("it still runs")
    }

    /// What it said after the first line.
    fn rest(&mut self) -> Result<String> {
        let mut rest = String::new();
        self.out.read_to_string(&mut rest)?;
        Ok(rest)
    }
}

/// Both ways to run a container.
const BOTH: [&str; 2] = ["", " --pid"];

fn signals(world: &World) -> Result<()> {
    let script = "trap 'echo got; exit 7' TERM USR1; echo ready; while :; do sleep 0.1; done";
    for own in BOTH {
        for signal in [15, 10] {
            let options = format!("{LEAST}{own}");
            let mut run = Run::start(world.contained(&options, &["sh", "-c", script]))?;
            run.signal(signal)?;
            let status = run.status().context(options)?;
            ensure!(status == Some(7), "{status:?}");
            ensure!(run.rest()? == "got\n");
        }
    }
    Ok(())
}

fn ending_signals(world: &World) -> Result<()> {
    for own in BOTH {
        for signal in [2, 1, 15] {
            let options = format!("{LEAST}{own}");
            let script = "echo ready; exec sleep 1000";
            let mut run = Run::start(world.contained(&options, &["sh", "-c", script]))?;
            run.signal(signal)?;
            let status = run.status().context(options)?;
            ensure!(status == Some(128 + signal), "{status:?}");
            // Nobody has the pipe any more, so the command is gone.
            ensure!(run.rest()?.is_empty());
        }
    }
    Ok(())
}

/// As under nohup(1).
fn ignored_signals(world: &World) -> Result<()> {
    let script = format!(
        "trap '' HUP; exec {} run --user 1000 {LEAST} -- sh -c 'echo ready; sleep 0.3; echo lived'",
        world.bpftoken()
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script]);
    let mut run = Run::start(command)?;
    run.signal(1)?;
    ensure!(run.status()? == Some(0));
    ensure!(run.rest()? == "lived\n");
    Ok(())
}

fn signal_state(world: &World) -> Result<()> {
    for own in BOTH {
        let options = format!("{LEAST}{own}");
        let command = ["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"];
        let said = said(&mut world.contained(&options, &command))?.must(0)?;
        let sets: Vec<&str> = said.out.split_whitespace().collect();
        ensure!(
            sets == ["SigBlk:", "0000000000000000", "SigIgn:", "0000000000000000"],
            "{}",
            said.out
        );
    }
    Ok(())
}

fn orphans(world: &World) -> Result<()> {
    let options = format!("{LEAST} --pid");
    let said = said(&mut world.contained(&options, &[path(&world.own), ORPHAN]))?.must(0)?;
    ensure!(said.out == "0 zombies\n", "{}", said.out);
    Ok(())
}

/// Leaves an orphan, which ends, and counts zombies.
fn orphan() -> Result<()> {
    // How many processes have this in their status.
    let count = |what: &str| -> Result<usize> {
        let mut found = 0;
        for entry in fs::read_dir("/proc")? {
            if let Ok(status) = fs::read_to_string(entry?.path().join("status")) {
                found += usize::from(status.contains(what));
            }
        }
        Ok(found)
    };
    Command::new("sh").args(["-c", "sleep 0.2 &"]).status()?;
    let end = Instant::now() + Duration::from_secs(1);
    while count("Name:\tsleep\n")? > 0 && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("{} zombies", count("State:\tZ")?);
    Ok(())
}

fn parents_death(world: &World) -> Result<()> {
    for (own, script) in [
        ("", "echo ready; exec sleep 1000"),
        (" --pid", "echo ready; exec sleep 1000"),
        // With its own process namespace, nothing of the container lives on.
        (" --pid", "setsid sleep 1000 & echo ready; exec sleep 1000"),
    ] {
        let options = format!("{LEAST}{own}");
        let mut run = Run::start(world.contained(&options, &["sh", "-c", script]))?;
        run.child.kill()?;
        run.child.wait()?;
        let mut fds = [PollFd::new(run.out.get_ref(), PollFlags::IN)];
        let limit = Timespec {
            tv_sec: 10,
            tv_nsec: 0,
        };
        // The pipe ends once nobody of the container has it.
        let ended = rustix::event::poll(&mut fds, Some(&limit))?;
        ensure!(ended == 1, "{options}: {script}: it lives on");
        ensure!(run.rest()?.is_empty());
    }
    Ok(())
}

fn no_descriptor_leaks(world: &World) -> Result<()> {
    let script = format!(
        "exec {} run --user 1000 {LEAST} -- ls /proc/self/fd 5</etc/passwd 9</",
        world.bpftoken()
    );
    let said = said(Command::new("sh").args(["-c", &script]))?.must(0)?;
    // ls(1) has the directory open.
    ensure!(said.out == "0\n1\n2\n3\n", "{}", said.out);
    Ok(())
}

const KEY_NAME: &std::ffi::CStr = c"bpftoken-tests";

fn no_key_leaks(world: &World) -> Result<()> {
    const JOIN_SESSION_KEYRING: i32 = 1;
    const SESSION_KEYRING: i32 = -3;
    let secret = b"secret";
    // SAFETY: Without a name the keyring is a new one; the other arguments are strings, and a
    // buffer with its length.
    let key = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            JOIN_SESSION_KEYRING,
            std::ptr::null::<u8>(),
        );
        libc::syscall(
            libc::SYS_add_key,
            c"user".as_ptr(),
            KEY_NAME.as_ptr(),
            secret.as_ptr(),
            secret.len(),
            SESSION_KEYRING,
        )
    };
    ensure!(key > 0, "add_key: {}", std::io::Error::last_os_error());
    ensure!(key_found(), "the test does not find its own key");
    said(&mut world.contained(LEAST, &[path(&world.own), KEY]))?.must(0)?;
    Ok(())
}

fn key() -> Result<()> {
    ensure!(!key_found(), "the manager's key is here");
    Ok(())
}

fn key_found() -> bool {
    // SAFETY: All arguments are strings, or none.
    let key = unsafe {
        let none = std::ptr::null::<u8>();
        libc::syscall(
            libc::SYS_request_key,
            c"user".as_ptr(),
            KEY_NAME.as_ptr(),
            none,
            0,
        )
    };
    key > 0
}

fn script(world: &World, name: &str, text: &str) -> Result<PathBuf> {
    let dir = world.dir.path().join("scripts");
    fs::create_dir_all(&dir)?;
    let file = dir.join(name);
    fs::write(&file, text)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    Ok(file)
}

/// A container that writes to the pipe that is returned.
fn piped(container: Container) -> Result<(Container, File)> {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let one = [IdMap::root(1000)];
    Ok((container.ids(one, one).pass_fd(write, 1), read.into()))
}

/// What a container says until it ends, which must be well.
fn output(container: Container) -> Result<String> {
    let (container, mut read) = piped(container)?;
    let mut running = container.spawn()?;
    let mut text = String::new();
    read.read_to_string(&mut text)?;
    let status = running.wait()?;
    ensure!(status.success(), "{status}");
    Ok(text)
}

fn scripts(world: &World) -> Result<()> {
    let with = script(world, "with", "#!/bin/sh\necho with $1\n")?;
    let without = script(world, "without", "echo without $1\n")?;
    for (script, name) in [(&with, "with"), (&without, "without")] {
        let by_path = output(Container::new(script).args(["one"]))?;
        ensure!(by_path == format!("{name} one\n"), "{by_path}");
        let dir = script.parent().context("no directory")?;
        let by_name = Container::new(name).args(["two"]).env("PATH", dir);
        let by_name = output(by_name)?;
        ensure!(by_name == format!("{name} two\n"), "{by_name}");
    }
    let open = || -> Result<OwnedFd> { Ok(File::open(&with)?.into()) };
    let by_file = output(Container::new("name").file(open()?).args(["three"]))?;
    ensure!(by_file == "with three\n", "{by_file}");
    // Also where its descriptor is in the way of one to pass on.
    let file = open()?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&file);
    let null = File::open("/dev/null")?.into();
    let passed = Container::new("name").file(file).pass_fd(null, number);
    let by_file = output(passed.args(["four"]))?;
    ensure!(by_file == "with four\n", "{by_file}");
    Ok(())
}

/// Not found, not executable, and directories of PATH that may not be searched.
fn programs_in_path(world: &World) -> Result<()> {
    let plain = script(world, "plain", "not executable")?;
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o644))?;
    let dir = plain.parent().context("no directory")?;
    let closed = world.dir.path().join("closed");
    fs::create_dir_all(&closed)?;
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700))?;
    let both = format!("{}:{}:/usr/bin:/bin", path(&closed), path(dir));
    let run = |name: &str| -> Result<Errno> {
        let container = Container::new(name).env("PATH", &both);
        let one = [IdMap::root(1000)];
        let error = container.ids(one, one).spawn().err().context("it runs")?;
        match &error {
            Error::Exec { program, errno, .. } if program.as_os_str() == name => Ok(*errno),
            _ => bail!("{error}"),
        }
    };
    ensure!(run("no-such-program")? == Errno::ENOENT);
    ensure!(run("plain")? == Errno::EACCES);
    ensure!(output(Container::new("echo").env("PATH", &both).args(["found"]))? == "found\n");
    Ok(())
}

fn descriptors_swapped(world: &World) -> Result<()> {
    let mut fds: Vec<OwnedFd> = Vec::new();
    let mut numbers = Vec::new();
    let count = 6;
    for n in 0..count {
        let file = world.dir.path().join(format!("descriptor-{n}"));
        fs::write(&file, format!("{n};"))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
        let fd: OwnedFd = File::open(&file)?.into();
        numbers.push(std::os::fd::AsRawFd::as_raw_fd(&fd));
        fds.push(fd);
    }
    // Each gets the number that another one has.
    let mut script = String::new();
    let mut container = Container::new("sh");
    let mut expected = String::new();
    for (n, fd) in fds.into_iter().enumerate() {
        let number = numbers[(n + 1) % count];
        container = container.pass_fd(fd, number);
        script.push_str(&format!("cat /proc/self/fd/{number}\n"));
        expected.push_str(&format!("{n};"));
    }
    let found = output(container.args(["-c", &script]))?;
    ensure!(found == expected, "{found}");
    Ok(())
}

/// Also one that the library has in use: an error is still told, and the command still runs.
fn descriptors_of_any_number(_: &World) -> Result<()> {
    for number in (3..40).chain([255, 1000]) {
        let null = || -> Result<OwnedFd> { Ok(File::open("/dev/null")?.into()) };
        let one = [IdMap::root(1000)];
        let missing = Container::new("/no/such/program").ids(one, one);
        let error = missing.pass_fd(null()?, number).spawn().err();
        let error = error.with_context(|| format!("{number}: a missing program runs"))?;
        ensure!(matches!(error, Error::Exec { .. }), "{number}: {error}");
        let test = format!("test -c /proc/self/fd/{number} && echo /proc/self/fd/*");
        let found = Container::new("sh").args(["-c", &test]);
        let found = output(found.pass_fd(null()?, number))?;
        // Three standard ones, this one, and that of the directory that the shell reads.
        let count = found.split_whitespace().count();
        ensure!(count == 5, "{number}: {found}");
    }
    Ok(())
}

fn descriptor_numbers(_: &World) -> Result<()> {
    let null = || -> Result<OwnedFd> { Ok(File::open("/dev/null")?.into()) };
    for (numbers, words) in [
        ([5, 5], "as 5: so is another one"),
        ([-1, 4], "as -1: no descriptor has a negative number"),
        ([4, i32::MAX], "not below the limit of open files"),
    ] {
        let mut container = Container::new("true");
        for number in numbers {
            container = container.pass_fd(null()?, number);
        }
        let error = container.spawn().err().context("it runs")?.to_string();
        ensure!(error.contains(words), "{error}");
    }
    Ok(())
}

fn running(_: &World) -> Result<()> {
    let one = [IdMap::root(1000)];
    for own in [false, true] {
        let start = |args: &[&str]| {
            let container = Container::new("sh").args(args.iter().copied());
            container.ids(one, one).pid(own).spawn()
        };
        let mut sleep = start(&["-c", "exec sleep 1000"])?;
        ensure!(sleep.try_wait()?.is_none());
        ensure!(sleep.wait_timeout(Duration::from_millis(200))?.is_none());
        let mut fds = [PollFd::from_borrowed_fd(sleep.pidfd(), PollFlags::IN)];
        ensure!(rustix::event::poll(&mut fds, Some(&Timespec::default()))? == 0);
        let command = sleep.command().try_clone()?;
        sleep.kill()?;
        let status = sleep.wait_timeout(Duration::from_secs(10))?;
        let status = status.context("killed, and runs on")?;
        ensure!(status.signal() == Some(9), "{status}");
        // It was reaped, and stays what it was.
        let gone = command.signal(0).err().context("still there")?;
        ensure!(gone.errno() == Some(Errno::ESRCH), "{gone}");
        ensure!(sleep.try_wait()? == Some(status));
        ensure!(sleep.wait()? == status);
        sleep.kill()?;

        let mut stops = start(&["-c", "kill -STOP $$; exit 3"])?;
        let status = stops.wait_change()?;
        ensure!(status.stopped_signal() == Some(19), "{status}");
        ensure!(stops.try_wait()?.is_none());
        stops.command().signal(18)?;
        ensure!(stops.wait()?.code() == Some(3));
    }
    Ok(())
}

/// A container may kill the first process, where it sees it; its manager is told of an end.
fn killed_inside(_: &World) -> Result<()> {
    let one = [IdMap::root(1000)];
    let kill = Container::new("sh").args(["-c", "kill -KILL $PPID; exec sleep 1000"]);
    let mut running = kill.ids(one, one).spawn()?;
    let command = running.command().try_clone()?;
    let status = running.wait_timeout(Duration::from_secs(10))?;
    let status = status.context("no end")?;
    ensure!(status.signal() == Some(9), "{status}");
    until("the command has ended", || Ok(command.signal(0).is_err()))
}

/// `bpftoken run` as root without `--user`, with these lines in /etc/subuid and /etc/subgid.
fn root_maps(world: &World, subordinate: &str, options: &str) -> Result<crate::world::Said> {
    let file = world.dir.path().join("roots-own");
    fs::write(&file, subordinate)?;
    let script = format!(
        "set -e\n\
         for file in subuid subgid; do\n\
         [ -e /etc/$file ] || touch /etc/$file\n\
         mount --bind {} /etc/$file\n\
         done\n\
         {} run {options} {LEAST} -- cat /proc/self/uid_map /proc/self/gid_map",
        path(&file),
        world.bpftoken()
    );
    said(
        Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", &script])
            .stdin(Stdio::null()),
    )
}

/// Root of the container is nobody, or whom root has subordinate ids for.
fn default_ids(world: &World) -> Result<()> {
    for (subordinate, map) in [
        ("", ["0", "65534", "1"]),
        ("somebody:100000:65536\n", ["0", "65534", "1"]),
        (
            "somebody:100000:65536\nroot:500000:65536\n",
            ["0", "500000", "65536"],
        ),
    ] {
        let said = root_maps(world, subordinate, "")?.must(0)?;
        let numbers: Vec<&str> = said.out.split_whitespace().collect();
        ensure!(numbers == [map, map].concat(), "{}", said.out);
    }
    Ok(())
}

fn host_root(world: &World) -> Result<()> {
    for root in ["root", "0"] {
        root_maps(world, "", &format!("--user {root}"))?
            .must(125)?
            .explains(&["root of the host", "--host-root"])?;
    }
    let said = root_maps(world, "", "--host-root")?.must(0)?;
    let numbers: Vec<&str> = said.out.split_whitespace().collect();
    ensure!(numbers == ["0", "0", "1", "0", "0", "1"], "{}", said.out);
    root_maps(world, "", "--host-root --user 1000")?
        .must(2)?
        .tells(&["--host-root", "--user"])
}
