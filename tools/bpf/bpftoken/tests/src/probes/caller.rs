// SPDX-License-Identifier: GPL-2.0
//! What this program does in a container with probes: it says what went wrong, or ends with 0.

use std::fs;
use std::os::fd::AsRawFd;
use std::process::ExitCode;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;

use super::changing;
use super::raw;
use super::raw::Event;
use super::raw::Outcome;
use super::socket;
use crate::exec::raw as bpf;
use crate::world::ended;

/// The first argument of this program when it is a caller; the second says what it does.
pub const CALLER: &str = "open-event";

pub fn role() -> Option<ExitCode> {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() != Some(CALLER) {
        return None;
    }
    let what = args.next().unwrap_or_default();
    Some(ended(call(&what, args.next().as_deref())))
}

fn call(what: &str, argument: Option<&str>) -> Result<()> {
    match what {
        "listed" => listed(),
        "not-listed" => not_listed(),
        "refused" => all(libc::EACCES, &one_of_each(argument)?),
        "fields" => fields(),
        "addresses" => addresses(),
        "files" => changing::files(),
        "samples" => samples(),
        "changes" => changing::changes(),
        "threads" => threads(argument.context("no number")?.parse()?),
        "socket" => socket::attack(argument),
        "ask" => socket::unheard(argument.context("no socket")?),
        other => bail!("nothing is called {other:?}"),
    }
}

pub fn is(wanted: i32, name: &str, outcome: Outcome) -> Result<()> {
    ensure!(outcome == Err(wanted), "{name}: {outcome:?}");
    Ok(())
}

pub fn works(name: &str, outcome: Outcome) -> Result<i32> {
    match outcome {
        Ok(fd) => Ok(fd),
        Err(errno) => bail!("{name}: errno {errno}"),
    }
}

fn all(wanted: i32, events: &[(&str, Event)]) -> Result<()> {
    events
        .iter()
        .try_for_each(|(name, event)| is(wanted, name, event.open()))
}

/// A probe of each kind; the tracepoint by an id that was found outside.
fn one_of_each(id: Option<&str>) -> Result<Vec<(&'static str, Event)>> {
    let mut events = vec![
        ("kprobe", Event::kprobe("vfs_read")?),
        ("uprobe", Event::uprobe("/bin/sh")?),
    ];
    if let Some(id) = id {
        events.push(("tracepoint", Event::tracepoint(id.parse()?)));
    }
    Ok(events)
}

/// What is on the list can be had, in the ways that loaders ask for it, and a program attached.
fn listed() -> Result<()> {
    let id = raw::id("sched/sched_switch")?.to_string();
    for (name, event) in one_of_each(Some(&id))? {
        for (how, event) in [
            ("as libbpf does", event.clone()),
            (
                "as bcc does",
                event.clone().u64(16, 1).u64(24, 1 << 10).u32(48, 1),
            ),
            ("disabled", event.clone().u64(40, 1)),
            ("with short attributes", event.clone().u32(4, 72)),
        ] {
            works(&format!("{name} {how}"), event.open())?;
        }
        let closed = works(name, event.open())?;
        let mut event = event;
        event.flags = 0;
        let kept = works(name, event.open())?;
        // SAFETY: F_GETFD takes no argument.
        let flags = [closed, kept].map(|fd| unsafe { libc::fcntl(fd, libc::F_GETFD) });
        ensure!(flags == [libc::FD_CLOEXEC, 0], "{name}: {flags:?}");
        let prog_type = if name == "tracepoint" { 5 } else { 2 };
        let program = bpf::program(148, prog_type, &[]).call(bpf::PROG_LOAD);
        let program = works("program", program)?;
        works(name, raw::ioctl(kept, raw::SET_BPF, program as u64))?;
    }
    works("on return", Event::kprobe("vfs_read")?.u64(8, 1).open())?;
    works("its own program", Event::uprobe("/proc/self/exe")?.open())?;
    Ok(())
}

/// What is not on the list `kprobe:vfs_*,uprobe:/bin/sh,tracepoint:sched:*` can't.
fn not_listed() -> Result<()> {
    all(
        libc::EACCES,
        &[
            ("another function", Event::kprobe("do_exit")?),
            (
                "a function behind its entry",
                Event::kprobe("vfs_read")?.u64(64, 4),
            ),
            (
                "an address",
                Event::kprobe("")?.u64(64, 0xffff_ffff_8100_0000),
            ),
            ("no name", Event::kprobe("")?.u64(56, c"".as_ptr() as u64)),
            ("another file", Event::uprobe("/usr/bin/env")?),
            (
                "another tracepoint",
                Event::tracepoint(raw::id("sched/sched_switch")? + 10_000),
            ),
            ("a tracepoint of the tracer itself", Event::tracepoint(1)),
        ],
    )?;
    // What the kernel gives to everybody, it still gives.
    let mut software = Event::new(1, "").u64(40, (1 << 5) | (1 << 6));
    (software.pid, software.cpu) = (0, -1);
    works("a software event", software.open())?;
    // What is on the list and not in the kernel is refused by that.
    is(
        libc::ENOENT,
        "no such function",
        Event::kprobe("vfs_none")?.open(),
    )
}

/// Nothing is given that attaching a program does not need.
fn fields() -> Result<()> {
    let event = Event::kprobe("vfs_read")?;
    for (name, at, value) in [
        ("callchains", 24, 1 << 5),
        ("registers", 24, 1 << 18),
        ("addresses", 24, 1 << 3),
        ("a read format", 32, 8),
        ("inheritance", 40, 1 << 1),
        ("mappings", 40, 1 << 8),
        ("a frequency", 40, 1 << 10),
        ("tasks", 40, 1 << 13),
        ("a signal", 40, 1 << 37),
        ("branches", 72, 1),
        ("user registers", 80, 1),
        ("the last that is known", 136, 1),
    ] {
        let outcome = event.clone().u64(at, value).open();
        // The kernel's own objections to some of them come first.
        let refused = [libc::EACCES, libc::EINVAL];
        ensure!(
            outcome.is_err_and(|errno| refused.contains(&errno)),
            "{name}: {outcome:?}"
        );
    }
    let counter = Event::uprobe("/bin/sh")?.u64(8, 4096 << 32);
    is(libc::EACCES, "a reference counter", counter.open())?;
    let leader = works("leader", event.open())?;
    let cgroup = fs::File::open("/sys")?;
    let cgroup = cgroup.as_raw_fd();
    for (name, group, flags, pid) in [
        ("a group", leader, 8, -1),
        ("no group", 0, 8, -1),
        ("an output", leader, 8 | 2, -1),
        ("a cgroup", -1, 8 | 4, cgroup),
        ("an unknown flag", -1, 1 << 40, -1),
    ] {
        let mut event = event.clone();
        (event.group, event.flags, event.pid) = (group, flags, pid);
        let outcome = event.open();
        let refused = [libc::EACCES, libc::EINVAL, libc::EBADF];
        ensure!(
            outcome.is_err_and(|errno| refused.contains(&errno)),
            "{name}: {outcome:?}"
        );
    }
    Ok(())
}

/// Attributes and names that are not what they should be.
fn addresses() -> Result<()> {
    let event = Event::kprobe("vfs_read")?;
    is(libc::EFAULT, "no memory", event.open_at(std::ptr::null()))?;
    is(
        libc::EFAULT,
        "the kernel's",
        event.open_at(usize::MAX as *const u8),
    )?;
    for size in [1, 63, 4097, 1 << 31, u32::MAX] {
        let outcome = event.clone().u32(4, size).open();
        is(libc::E2BIG, &format!("{size} bytes"), outcome)?;
    }
    // Fields that no kernel has yet.
    is(
        libc::E2BIG,
        "a later field",
        event.clone().u32(4, 160).u64(152, 1).open(),
    )?;
    works("room for later fields", event.clone().u32(4, 160).open())?;
    // The kernel asks for privilege before it looks at the name.
    is(libc::EACCES, "no name", event.clone().u64(56, 64).open())?;
    let long = Event::kprobe(&"a".repeat(512))?;
    is(libc::EACCES, "a name without end", long.open())?;
    let end = vec![b'v'; 4096];
    is(
        libc::EACCES,
        "a longer one",
        event.u64(56, end.as_ptr() as u64).open(),
    )
}

/// An event with everything that loaders ask for out of habit tells of nothing but its count.
fn samples() -> Result<()> {
    let event = Event::kprobe("vfs_read")?
        .u64(16, 1)
        .u64(24, 1 << 10)
        .u32(48, 1);
    let fd = works("event", event.open())?;
    let period = 1u64;
    let outcome = raw::ioctl(fd, raw::PERIOD, std::ptr::from_ref(&period) as u64);
    is(libc::EINVAL, "another period", outcome)?;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: A new mapping, which nothing else has.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), 8192, access, libc::MAP_SHARED, fd, 0) };
    ensure!(
        page as isize != -1,
        "mmap: {}",
        std::io::Error::last_os_error()
    );
    for _ in 0..100 {
        fs::read("/proc/self/stat")?;
    }
    // SAFETY: `data_head` of `struct perf_event_mmap_page`, which the mapping has.
    let head = unsafe { std::ptr::read_volatile(page.cast::<u64>().add(1024 / 8)) };
    ensure!(head == 0, "{head} bytes of samples");
    Ok(())
}

/// Threads by the numbers that they have here: `host` is one that only the host has.
fn threads(host: i32) -> Result<()> {
    let own = i32::try_from(std::process::id())?;
    let open = |pid: i32, cpu: i32| -> Result<Outcome> {
        let mut event = Event::kprobe("vfs_read")?;
        (event.pid, event.cpu) = (pid, cpu);
        Ok(event.open())
    };
    works("itself", open(0, -1)?)?;
    works("itself, by its number", open(own, -1)?)?;
    works("itself, on a processor", open(0, 0)?)?;
    is(libc::ESRCH, "a process outside", open(host, -1)?)?;
    is(libc::ESRCH, "nobody", open(i32::MAX, -1)?)?;
    is(libc::EINVAL, "no processor", open(-1, 100_000)?)?;
    is(libc::EINVAL, "none and none", open(-1, -1)?)?;
    let mut count = [0u64];
    let fd = works("itself", open(0, -1)?)?;
    fs::read("/proc/self/stat")?;
    // SAFETY: There is room for 8 bytes.
    let length = unsafe { libc::read(fd, count.as_mut_ptr().cast(), 8) };
    ensure!(
        length == 8 && count[0] > 0,
        "{length} bytes, count {}",
        count[0]
    );
    ensure!(open(-2, 0)?.is_err(), "a negative number");
    Ok(())
}
