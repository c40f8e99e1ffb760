// SPDX-License-Identifier: GPL-2.0
//! `bpftoken mount --probes`: a broker for a container that runs.

use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::process::Child;
use std::process::ChildStderr;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use rustix::process::Pid;
use rustix::process::Signal;

use super::ENOUGH;
use super::LIST;
use crate::probes::CALLER;
use crate::world::inside;
use crate::world::path;
use crate::world::said;
use crate::world::Holder;
use crate::world::World;

const TREE: &str = "/sys/kernel/tracing";
const SOCKET: &str = "/sys/kernel/tracing/bpf_token_broker";

/// `bpftoken mount --probes`, which goes on.
struct Served {
    run: Child,
    _said: BufReader<ChildStderr>,
}

impl Served {
    /// Returns once it says that it serves.
    fn start(world: &World, pid: i32, options: &str) -> Result<Self> {
        let pid = pid.to_string();
        let mut args = vec!["mount", "--pid", &pid];
        args.extend(ENOUGH.split_whitespace());
        args.extend(options.split_whitespace());
        Self::of(&mut world.command(&args))
    }

    fn of(command: &mut Command) -> Result<Self> {
        let mut run = command.stderr(Stdio::piped()).spawn()?;
        let mut said = BufReader::new(run.stderr.take().context("no stderr")?);
        let mut line = String::new();
        said.read_line(&mut line)?;
        if !line.contains("probes are served to") {
            run.kill()?;
            bail!("{line}");
        }
        Ok(Self { run, _said: said })
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.run.id().try_into()?).context("no process")?;
        Ok(rustix::process::kill_process(pid, signal)?)
    }

    /// Its exit status, which must not take long.
    fn ended(&mut self) -> Result<Option<i32>> {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(20) {
            if let Some(status) = self.run.try_wait()? {
                return Ok(status.code());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("it goes on");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // One that a test did not end has nothing to say any more.
        let _ = self.run.kill();
        let _ = self.run.wait();
    }
}

/// A container without probes, and without much of BPF.
fn container(world: &World) -> Result<Holder> {
    Holder::start(world, "--cmds map_create --maps array")
}

/// What `bpftoken exec` says of a caller in the container that finds nothing wrong.
fn exec(world: &World, pid: i32, what: &str) -> Result<()> {
    let own = path(&world.own);
    let bpftoken = world.bpftoken();
    inside(pid, &format!("{bpftoken} exec -- {own} {CALLER} {what}"))?.must(0)?;
    Ok(())
}

fn refused(world: &World, pid: i32) -> Result<()> {
    let own = path(&world.own);
    inside(pid, &format!("{own} {CALLER} refused"))?.must(0)?;
    Ok(())
}

/// A running container gets what is listed, under `bpftoken exec` and not otherwise.
pub(super) fn listed(world: &World) -> Result<()> {
    let holder = container(world)?;
    refused(world, holder.pid)?;
    let list = format!("--replace --probes {LIST},uprobe:{}", path(&world.own));
    let _served = Served::start(world, holder.pid, &list)?;
    for what in ["listed", "not-listed", "fields", "samples"] {
        exec(world, holder.pid, what).context(what)?;
    }
    refused(world, holder.pid)?;
    // Many programs one after the other, and several at a time.
    let own = path(&world.own);
    let one = format!("{} exec -- {own} {CALLER} listed", world.bpftoken());
    let script = format!(
        "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do {one} || exit 3; done; \
         for i in 1 2 3 4 5 6; do {one} & list=\"$list $!\"; done; for i in $list; do wait $i; done"
    );
    inside(holder.pid, &script)?.must(0)?;
    Ok(())
}

/// An unmodified loader of a container that ran before anybody thought of probes.
pub(super) fn bpftrace(world: &World) -> Result<()> {
    let holder = container(world)?;
    let pid = holder.pid.to_string();
    let line = "mount --replace --cmds any --maps any --progs any --attachs any \
                --probes kprobe:vfs_read,tracepoint:sched:sched_switch --pid";
    let mut args: Vec<&str> = line.split_whitespace().collect();
    args.push(&pid);
    let _served = Served::of(&mut world.command(&args))?;
    let script = "kprobe:vfs_read { @k = 1 } tracepoint:sched:sched_switch { @t = 1 }";
    let script = format!(
        "{} exec -- bpftrace -e '{script}' -c '/bin/cat /etc/passwd'",
        world.bpftoken()
    );
    let said = inside(holder.pid, &script)?.must(0)?;
    for shown in ["@k: 1", "@t: 1"] {
        ensure!(said.out.contains(shown), "{} {}", said.out, said.err);
    }
    Ok(())
}

/// Only root of the container, with its capabilities, is listened to.
pub(super) fn less_privileged(world: &World) -> Result<()> {
    let holder = container(world)?;
    let _served = Served::start(world, holder.pid, "--replace --probes any")?;
    let (own, bpftoken) = (path(&world.own), world.bpftoken());
    for without in [
        "setpriv --bounding-set=-all --inh-caps=-all",
        "setpriv --bounding-set=-perfmon,-sys_admin --inh-caps=-perfmon,-sys_admin",
        "unshare --user --map-root-user",
    ] {
        let ask = format!("{without} {own} {CALLER} ask {SOCKET}");
        inside(holder.pid, &ask)?.must(0).context(without)?;
    }
    let without = "setpriv --bounding-set=-perfmon,-sys_admin --inh-caps=-perfmon,-sys_admin";
    let caller = format!("{without} {bpftoken} exec -- {own} {CALLER} refused");
    inside(holder.pid, &caller)?
        .must(0)?
        .tells(&["warning: no probes", "listens to root of this container"])?;
    let ask = format!("{own} {CALLER} ask {SOCKET}");
    let said = inside(holder.pid, &ask)?;
    ensure!(said.code == Some(1), "root is listened to: {}", said.err);
    said.tells(&["an answer of"])?;
    // The socket is of the container's root, and nobody else's.
    let args = [
        "--reuid",
        "2000",
        "--clear-groups",
        own,
        CALLER,
        "ask",
        SOCKET,
    ];
    let pid = holder.pid.to_string();
    let target = ["-t", &pid, "-m", "setpriv"];
    let outside = Command::new("nsenter").args(target).args(args).output()?;
    ensure!(outside.status.success(), "{outside:?}");
    Ok(())
}

/// A process that enters a user namespace of its own does not take the container with it.
pub(super) fn process_that_moves(world: &World) -> Result<()> {
    let script =
        "echo $$; read go; exec unshare --user --map-root-user sh -c 'echo moved; read end'";
    let mut run = world
        .contained("--cmds map_create --maps array", &["sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut out = BufReader::new(run.stdout.take().context("no stdout")?).lines();
    let mut line = || {
        out.next()
            .context("it has ended")?
            .map_err(anyhow::Error::from)
    };
    let pid: i32 = line()?.parse()?;
    let _served = Served::start(world, pid, "--replace --probes any")?;
    let mut stdin = run.stdin.take().context("no stdin")?;
    stdin.write_all(b"\n")?;
    ensure!(line()? == "moved");
    let asked = inside(pid, &format!("{} {CALLER} ask {SOCKET}", path(&world.own)));
    drop(stdin);
    run.wait()?;
    asked?.must(0)?;
    Ok(())
}

fn is_there(pid: i32) -> Result<bool> {
    let mounts = fs::read_to_string(format!("/proc/{pid}/mounts"))?;
    Ok(mounts.contains(&format!(" {TREE} tmpfs ro")))
}

/// It goes until it is interrupted, and then takes back what it put there; the delegation stays.
pub(super) fn until_interrupted(world: &World) -> Result<()> {
    let holder = container(world)?;
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut served = Served::start(world, holder.pid, "--replace --probes kprobe:vfs_*")?;
        ensure!(is_there(holder.pid)?, "{signal:?}");
        served.signal(signal)?;
        ensure!(served.ended()? == Some(0), "{signal:?}");
        ensure!(!is_there(holder.pid)?, "{signal:?}");
        refused(world, holder.pid)?;
    }
    // What nohup(1) has it ignore, it ignores.
    let pid = holder.pid;
    let line = format!(
        "trap '' HUP; exec {} mount --pid {pid} --replace {ENOUGH} --probes kprobe:vfs_*",
        world.bpftoken()
    );
    let mut command = Command::new("sh");
    let mut served = Served::of(command.args(["-c", &line]))?;
    served.signal(Signal::HUP)?;
    std::thread::sleep(Duration::from_millis(500));
    ensure!(served.run.try_wait()?.is_none() && is_there(pid)?);
    served.signal(Signal::TERM)?;
    ensure!(served.ended()? == Some(0));
    // Also where the container has moved it to.
    let mut served = Served::start(world, holder.pid, "--replace --probes kprobe:vfs_*")?;
    inside(holder.pid, "mount --move /sys/kernel/tracing /mnt")?.must(0)?;
    served.signal(Signal::TERM)?;
    ensure!(served.ended()? == Some(0));
    let mounts = fs::read_to_string(format!("/proc/{}/mounts", holder.pid))?;
    ensure!(!mounts.contains(" /mnt tmpfs"), "{mounts}");
    Ok(())
}

/// It ends with the process of the container that it was told.
pub(super) fn until_the_process_ends(world: &World) -> Result<()> {
    let holder = container(world)?;
    let mut served = Served::start(world, holder.pid, "--replace --probes kprobe:vfs_*")?;
    drop(holder);
    ensure!(served.ended()? == Some(0));
    Ok(())
}

/// One that was killed is in the way, and a program says that it is gone.
pub(super) fn killed(world: &World) -> Result<()> {
    let holder = container(world)?;
    let probes = "--probes kprobe:vfs_*";
    let mut served = Served::start(world, holder.pid, &format!("--replace {probes}"))?;
    served.signal(Signal::KILL)?;
    served.ended()?;
    let own = path(&world.own);
    let caller = format!("{} exec -- {own} {CALLER} refused", world.bpftoken());
    let said = inside(holder.pid, &caller)?.must(0)?;
    said.tells(&["warning: no probes", SOCKET, "ECONNREFUSED"])?;
    let again = Served::start(world, holder.pid, probes);
    let error = again.err().context("two at a time")?.to_string();
    ensure!(
        error.contains("probes are served on the target already") && error.contains("--replace"),
        "{error}"
    );
    let _served = Served::start(world, holder.pid, &format!("--replace {probes}"))?;
    inside(
        holder.pid,
        &format!(
            "{} exec -- {own} {CALLER} changes </dev/null",
            world.bpftoken()
        ),
    )?
    .must(0)?;
    Ok(())
}

/// What can't be served leaves nothing behind.
pub(super) fn refusals(world: &World) -> Result<()> {
    let holder = container(world)?;
    let error = |options: &str| -> Result<String> {
        let served = Served::start(world, holder.pid, options);
        Ok(served.err().context("it serves")?.to_string())
    };
    // The BPF FS of the container is in the way, and what was mounted before is gone again.
    let said = error("--probes kprobe:vfs_*")?;
    ensure!(said.contains("--replace"), "{said}");
    ensure!(!is_there(holder.pid)?);
    let said = error("--replace --probes uprobe:/no/such/file")?;
    ensure!(said.contains("/no/such/file"), "{said}");
    inside(holder.pid, "mount -t tmpfs tmpfs /sys")?.must(0)?;
    let said = error("--replace --probes kprobe:vfs_*")?;
    ensure!(
        said.contains("open the target") && said.contains("ENOENT"),
        "{said}"
    );
    let unprivileged = [
        "--reuid",
        "1000",
        "--clear-groups",
        world.bpftoken(),
        "mount",
    ];
    let pid = holder.pid.to_string();
    let at = ["--pid", &pid, "--cmds", "any", "--probes", "any"];
    said_no(Command::new("setpriv").args(unprivileged).args(at))
}

fn said_no(command: &mut Command) -> Result<()> {
    said(command)?
        .must(1)?
        .explains(&["mount tracefs", "EPERM"])
}
