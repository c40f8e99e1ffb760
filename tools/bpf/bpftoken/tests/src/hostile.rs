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
use std::io::IoSlice;
use std::io::Read;
use std::io::Write;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::process::ExitCode;
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
use bpf_token::Received;
use bpf_token::Request;
use bpf_token::Running;
use bpf_token::Target;
use rustix::mount::MountFlags;
use rustix::net::AddressFamily;
use rustix::net::SendAncillaryBuffer;
use rustix::net::SendAncillaryMessage;
use rustix::net::SendFlags;
use rustix::net::SocketFlags;
use rustix::net::SocketType;
use rustix::process::Pid;
use rustix::process::PidfdFlags;
use rustix::process::PidfdGetfdFlags;
use rustix::process::Signal;

use crate::world::path;
use crate::world::said;
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
    ("hostile::mounted_already", mounted_already),
    ("hostile::not_a_container", not_a_container),
    ("hostile::silence_has_a_limit", silence),
    ("hostile::deaf_container", deaf),
    ("hostile::too_much_in_a_message", too_much),
    ("hostile::slow_close_is_not_waited_for", slow_close),
];

/// The first argument of this program when it is the container's first process.
const CONTAINER: &str = "hostile-container";
/// The first argument of this program when it goes for new processes.
const ATTACK: &str = "hostile-attack";
/// The first argument of this program when it goes for the process that started it.
const FIRST: &str = "hostile-first";

/// What is done to new processes.
const LOOT: &str = "loot";
const STOP: &str = "stop";
const KILL: &str = "kill";

const MOUNTS: usize = 200;
const SECRET: &str = "only host root may read this";

/// What this program does when a test starts it again.
pub fn role() -> Option<ExitCode> {
    let mut args = std::env::args().skip(1);
    let done = match args.next()?.as_str() {
        CONTAINER => container(&args.next()?),
        ATTACK => attack(&args.next()?, args.next()?.parse().ok()?),
        FIRST => first_process(),
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
    fn start(world: &World, what: &str) -> Result<Self> {
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

fn delegation() -> Delegation {
    let delegation = "delegate_cmds=map_create,delegate_maps=hash";
    delegation.parse().unwrap_or_default()
}

/// This thread, and what it starts, gets little of a processor as long as the value lives: the
/// container comes to each process before that ends, on a busy machine too.
struct Slowly;

impl Slowly {
    fn new() -> Result<Self> {
        rustix::process::setpriority_process(None, 19)?;
        Ok(Self)
    }
}

impl Drop for Slowly {
    fn drop(&mut self) {
        let _ = rustix::process::setpriority_process(None, 0);
    }
}

/// The time that something takes which must not wait for a container.
fn soon<T>(what: &str, it: impl FnOnce() -> T) -> Result<T> {
    let begin = Instant::now();
    let result = it();
    let took = begin.elapsed();
    ensure!(took < Duration::from_secs(10), "{what}: it took {took:?}");
    Ok(result)
}

fn stopped(world: &World) -> Result<()> {
    let hostile = Hostile::start(world, STOP)?;
    let slowly = Slowly::new()?;
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
    }
    drop(slowly);
    hostile.loot()?;
    ensure!(stopped > 0, "the container was too slow to stop any");
    Ok(())
}

fn killed(world: &World) -> Result<()> {
    let hostile = Hostile::start(world, KILL)?;
    let slowly = Slowly::new()?;
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
    drop(slowly);
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

fn silence(_: &World) -> Result<()> {
    let limit = Duration::from_millis(300);
    let (manager, container) = UnixStream::pair()?;
    let received = soon("receive", || Received::receive_within(&manager, limit))?;
    ensure!(matches!(received, Err(Error::TimedOut { .. })));
    let request = Request::send(&container)?;
    let answer = soon("wait", || request.wait_within(limit))?;
    ensure!(matches!(answer, Err(Error::TimedOut { .. })));
    Ok(())
}

/// A container that does not read what it is sent.
fn deaf(_: &World) -> Result<()> {
    let (manager, container) = UnixStream::pair()?;
    manager.set_nonblocking(true)?;
    while (&manager).write(&[0; 4096]).is_ok() {}
    manager.set_nonblocking(false)?;
    let _request = Request::send(&container)?;
    let received = Received::receive(&manager)?;
    let error = soon("grant", || received.grant(&delegation()))?.err();
    let error = error.context("answered")?;
    ensure!(error.errno() == Some(Errno::EAGAIN), "{error}");
    Ok(())
}

/// Messages that are too long, and descriptors that are too many.
fn too_much(_: &World) -> Result<()> {
    let null: OwnedFd = File::open("/dev/null")?.into();
    for (data, count) in [(&b"FFFFFFFF"[..], 1), (b"F", 2), (b"F", 200), (b"", 1)] {
        let (manager, container) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let before = fs::read_dir("/proc/self/fd")?.count();
        let fds = vec![null.as_fd(); count];
        send(&container, data, &fds)?;
        let received = Received::receive(&manager);
        let error = received.err().with_context(|| format!("{count} taken"))?;
        ensure!(error.to_string().contains("something else"), "{error}");
        let end = Instant::now() + Duration::from_secs(5);
        while fs::read_dir("/proc/self/fd")?.count() > before {
            ensure!(Instant::now() < end, "descriptors were kept");
        }
    }
    Ok(())
}

fn send(socket: &OwnedFd, data: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    ensure!(
        control.push(SendAncillaryMessage::ScmRights(fds)),
        "no room"
    );
    let data = [IoSlice::new(data)];
    rustix::net::sendmsg(socket, &data, &mut control, SendFlags::empty())?;
    Ok(())
}

/// A descriptor whose last close waits for a peer that does not read, for an hour.
fn slow_close(_: &World) -> Result<()> {
    said(Command::new("ip").args(["link", "set", "lo", "up"]))?.must(0)?;
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let stream = std::net::TcpStream::connect(listener.local_addr()?)?;
    let peer = listener.accept()?;
    let hour = Some(Duration::from_secs(3600));
    rustix::net::sockopt::set_socket_linger(&stream, hour)?;
    stream.set_nonblocking(true)?;
    while (&stream).write(&[0; 65536]).is_ok() {}
    stream.set_nonblocking(false)?;
    let (manager, container) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    send(&container, b"F", &[stream.as_fd()])?;
    drop(stream);
    let refused = soon("close", || {
        let received = Received::receive_within(&manager, Duration::from_secs(1));
        received.and_then(|received| received.grant(&delegation()))
    })?;
    let error = refused.err().context("taken")?;
    ensure!(error.to_string().contains("no fs context"), "{error}");
    drop(peer);
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
