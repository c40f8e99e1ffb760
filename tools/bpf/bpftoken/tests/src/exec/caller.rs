// SPDX-License-Identifier: GPL-2.0
//! What this program does under `bpftoken exec`: it says what went wrong, or ends with 0.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::process::ExitCode;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use bpf_token::Token;

use super::raw;
use super::raw::Attr;
use super::raw::BTF_LOAD;
use super::raw::MAP_CREATE;
use super::raw::PROG_LOAD;
use super::raw::TOKEN_FLAG;
use crate::world::ended;

/// The first argument of this program when it is a caller; the second says what it does.
pub const CALLER: &str = "call-bpf";

/// The sizes of attributes that have room for a token, and of the longest that have none.
const WHOLE: [usize; 4] = [80, 148, 40, 16];
const SHORT: [usize; 4] = [76, 144, 36, 12];

pub fn role() -> Option<ExitCode> {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() != Some(CALLER) {
        return None;
    }
    let what = args.next().unwrap_or_default();
    Some(ended(call(&what)))
}

fn call(what: &str) -> Result<()> {
    match what {
        "all" => all_succeed(WHOLE),
        "all-refused" => all_refused(WHOLE),
        "short-refused" => all_refused(SHORT),
        "map-only" => {
            let outcome = raw::map(80, 1).call(MAP_CREATE);
            ensure!(outcome.is_ok(), "{outcome:?}");
            Ok(())
        }
        "all-short" => all_succeed(SHORT),
        "in-vain" => in_vain(),
        "short" => short(),
        "read-only" => read_only(),
        "threads" => threads(),
        "processes" => processes(),
        "own-token" => own_token(),
        "closed" => closed(),
        "full" => full(),
        "limit" => limit(),
        "killed" => killed(),
        "changes" => changes(),
        "signals" => signals(),
        "orphan" => orphan(),
        "daemon" => daemon(),
        other => bail!("nothing is called {other:?}"),
    }
}

fn all_succeed(sizes: [usize; 4]) -> Result<()> {
    for (name, outcome) in raw::one_of_each(sizes) {
        ensure!(outcome.is_ok(), "{name}: {outcome:?}");
    }
    Ok(())
}

fn all_refused(sizes: [usize; 4]) -> Result<()> {
    for (name, outcome) in raw::one_of_each(sizes) {
        ensure!(outcome == Err(libc::EPERM), "{name}: {outcome:?}");
    }
    Ok(())
}

/// How many descriptors of a token this process has.
fn tokens() -> Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir("/proc/self/fd")? {
        let link = fs::read_link(entry?.path());
        count += usize::from(link.is_ok_and(|link| link.to_string_lossy().contains("bpf-token")));
    }
    Ok(count)
}

/// One map of all this can be made.
fn in_vain() -> Result<()> {
    for (name, outcome) in [
        (
            "a map without keys",
            raw::map(80, 1).u32(4, 0).call(MAP_CREATE),
        ),
        (
            "a type of map that there is none of",
            raw::map(80, 60).call(MAP_CREATE),
        ),
        (
            "a program without end",
            raw::program(148, 1, &[]).u32(4, 1).call(PROG_LOAD),
        ),
        ("half BTF", raw::btf(40).u32(16, 20).call(BTF_LOAD)),
        (
            "no such BTF",
            Attr::new(16).u32(0, u32::MAX).call(raw::BTF_GET_FD_BY_ID),
        ),
    ] {
        ensure!(outcome.is_err(), "{name}: {outcome:?}");
    }
    let outcome = raw::map(80, 2).call(MAP_CREATE);
    ensure!(outcome.is_ok(), "{outcome:?}");
    Ok(())
}

fn short() -> Result<()> {
    all_succeed(SHORT)?;
    ensure!(tokens()? == 0, "a descriptor for attributes without room");
    // The caller's own mistakes stay its own.
    let outcome = raw::program(144, 6, &raw::load_map(77))
        .u32(68, 37)
        .call(PROG_LOAD);
    ensure!(outcome == Err(libc::EBADF), "no such map: {outcome:?}");
    let mut log = vec![0u8; 4096];
    let refused = [[0x79, 0x00, 0, 0, 0, 0, 0, 0]];
    let mut attr = raw::program(144, 6, &refused)
        .u32(68, 37)
        .u32(24, 1)
        .u32(28, 4096);
    attr.bytes[32..40].copy_from_slice(&(log.as_mut_ptr() as u64).to_ne_bytes());
    let outcome = attr.call(PROG_LOAD);
    // Written behind the compiler's back.
    let log = String::from_utf8_lossy(std::hint::black_box(&log)).into_owned();
    ensure!(
        outcome == Err(libc::EACCES),
        "no such register: {outcome:?}"
    );
    ensure!(log.contains("!read_ok"), "the verifier's log: {log}");
    ensure!(attr.get(140) > 10, "the length of its log is not told");
    // A map in a map, and a descriptor in a field.
    let inner = raw::map(76, 1).call(MAP_CREATE);
    let inner = inner.ok().context("no inner map")?;
    let outer = raw::map(72, 13).u32(20, inner as u32).call(MAP_CREATE);
    ensure!(outer.is_ok(), "map in map: {outer:?}");
    Ok(())
}

/// Attributes where the caller can't write, private and shared.
fn read_only() -> Result<()> {
    for flags in [libc::MAP_PRIVATE, libc::MAP_SHARED] {
        let page = Page::of(flags, &raw::map(80, 1).bytes)?;
        let outcome = raw::call_at(MAP_CREATE, page.0, 80);
        ensure!(outcome.is_ok(), "a map, {flags}: {outcome:?}");
        let mut attr = raw::program(148, 6, &[]).u32(68, 37);
        let page = Page::of(flags, &attr.bytes)?;
        let outcome = raw::call_at(PROG_LOAD, page.0, 148);
        ensure!(outcome.is_ok(), "a program, {flags}: {outcome:?}");
        ensure!(attr.call(PROG_LOAD).is_ok());
    }
    // Where there is nothing, the kernel says so.
    let outcome = raw::call_at(MAP_CREATE, 64 as *mut u8, 80);
    ensure!(outcome == Err(libc::EFAULT), "no memory: {outcome:?}");
    Ok(())
}

/// A page that can only be read.
struct Page(*mut u8);

impl Page {
    fn of(flags: i32, bytes: &[u8]) -> Result<Self> {
        let flags = flags | libc::MAP_ANONYMOUS;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: A new mapping, which nothing else has, and room for these bytes in it.
        unsafe {
            let page = libc::mmap(std::ptr::null_mut(), 4096, access, flags, -1, 0).cast::<u8>();
            ensure!(page as isize != -1, "mmap");
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), page, bytes.len());
            ensure!(libc::mprotect(page.cast(), 4096, libc::PROT_READ) == 0);
            Ok(Self(page))
        }
    }
}

/// A hundred threads at once get one descriptor.
fn threads() -> Result<()> {
    let threads: Vec<_> = (0..100)
        .map(|_| std::thread::spawn(|| (0..5).try_for_each(|_| all_succeed(WHOLE))))
        .collect();
    for thread in threads {
        thread.join().ok().context("a thread panicked")??;
    }
    ensure!(tokens()? == 1, "{} descriptors of a token", tokens()?);
    Ok(())
}

/// What comes from the program has the token, too, and each program that is executed a new one.
fn processes() -> Result<()> {
    all_succeed(WHOLE)?;
    // SAFETY: This process has a single thread.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let done = all_succeed(WHOLE).is_ok() && all_succeed(SHORT).is_ok();
        // SAFETY: Always sound.
        unsafe { libc::_exit(i32::from(!done)) };
    }
    let mut status = -1;
    // SAFETY: The status is writable.
    unsafe { libc::waitpid(child, &mut status, 0) };
    ensure!(status == 0, "a child: {status}");
    // The supervisor is no child of this process.
    // SAFETY: As above.
    let other = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) };
    ensure!(
        other == -1,
        "a child that this process did not start: {other}"
    );
    let again = std::env::current_exe()?;
    let status = Command::new(&again).args([CALLER, "all"]).status()?;
    ensure!(status.success(), "a program started from here: {status}");
    let script = "\"$0\" \"$1\" all && exec \"$0\" \"$1\" all";
    let error = Command::new("sh")
        .args(["-c", script])
        .arg(&again)
        .arg(CALLER)
        .exec();
    Err(error.into())
}

/// A caller that has a token, or something else in its place, is left alone.
fn own_token() -> Result<()> {
    let token = Token::from_bpffs("/sys/fs/bpf")?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(&token));
    let with = |number: i32| raw::map(80, 1).u32(16, TOKEN_FLAG).u32(76, number as u32);
    let mut attr = with(number);
    ensure!(attr.call(MAP_CREATE).is_ok());
    ensure!(attr.get(76) == number as u32 && tokens()? == 1);
    for (number, errno) in [(0, libc::EINVAL), (999, libc::EBADF), (-1, libc::EBADF)] {
        let mut attr = with(number);
        let outcome = attr.call(MAP_CREATE);
        ensure!(outcome == Err(errno), "{number}: {outcome:?}");
        ensure!(attr.get(76) == number as u32, "{number} was replaced");
    }
    Ok(())
}

/// The same attributes once more, after everything was closed; and something else in its place.
fn closed() -> Result<()> {
    let mut attr = raw::map(80, 1);
    ensure!(attr.call(MAP_CREATE).is_ok());
    ensure!(attr.get(16) == TOKEN_FLAG);
    for other in [false, true] {
        let number = attr.get(76) as i32;
        // SAFETY: Nothing in this process uses these.
        unsafe { libc::close_range(3, u32::MAX, 0) };
        if other {
            // SAFETY: As above.
            ensure!(unsafe { libc::dup2(0, number) } == number);
        }
        let outcome = attr.call(MAP_CREATE);
        ensure!(outcome.is_ok(), "{other}: {outcome:?}");
        ensure!(tokens()? == 1);
    }
    Ok(())
}

/// Without a number left for the token.
fn full() -> Result<()> {
    let mut numbers = Vec::new();
    loop {
        // SAFETY: A descriptor that nothing else has.
        let number = unsafe { libc::dup(0) };
        if number < 0 {
            break;
        }
        numbers.push(number);
    }
    for (name, outcome) in raw::one_of_each(WHOLE) {
        let expected = matches!(outcome, Err(libc::EPERM | libc::EMFILE));
        ensure!(expected, "{name} in a full table: {outcome:?}");
    }
    for number in numbers {
        raw::close(number);
    }
    all_succeed(WHOLE)
}

fn limit() -> Result<()> {
    let set = |current| {
        let limit = libc::rlimit {
            rlim_cur: current,
            rlim_max: 1024,
        };
        // SAFETY: The limit is readable.
        ensure!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } == 0);
        Ok(())
    };
    set(3)?;
    let all = [raw::one_of_each(WHOLE), raw::one_of_each(SHORT)].concat();
    set(1024)?;
    for (name, outcome) in all {
        let expected = matches!(outcome, Err(libc::EPERM | libc::EMFILE));
        ensure!(expected, "{name} without descriptors: {outcome:?}");
    }
    all_succeed(WHOLE)
}

/// Processes that are killed at any time, also in the middle of a call and of one of its forks.
fn killed() -> Result<()> {
    for round in 0..40 {
        // SAFETY: This process has a single thread.
        let child = unsafe { libc::fork() };
        if child == 0 {
            std::thread::spawn(|| loop {
                // SAFETY: The child of a process with threads only ends.
                unsafe {
                    if libc::fork() == 0 {
                        libc::_exit(0);
                    }
                    libc::waitpid(-1, std::ptr::null_mut(), 0);
                }
            });
            loop {
                raw::one_of_each(WHOLE);
                raw::one_of_each(SHORT);
            }
        }
        std::thread::sleep(Duration::from_micros(700 * round));
        // SAFETY: It is a child of this process, not waited for yet.
        unsafe {
            libc::kill(child, libc::SIGKILL);
            libc::waitpid(child, std::ptr::null_mut(), 0);
        }
    }
    all_succeed(WHOLE)
}

/// Attributes that change while the call is looked at: nothing that the token does not give.
fn changes() -> Result<()> {
    struct Shared(*mut u8);
    // SAFETY: Memory that stays for good, and that only system calls and volatile writes access.
    unsafe impl Send for Shared {}
    let mut attr = raw::map(80, 1);
    let (address, end) = (
        attr.bytes.as_mut_ptr(),
        Instant::now() + Duration::from_millis(800),
    );
    let shared = Shared(address);
    std::mem::forget(attr);
    let changer = std::thread::spawn(move || {
        let shared = shared;
        let mut count = 0u32;
        while Instant::now() < end {
            for (at, value) in [
                (0, 27u32),
                (16, 0),
                (76, count % 8),
                (0, 1),
                (16, TOKEN_FLAG),
            ] {
                // SAFETY: Within the attributes; see above.
                unsafe { shared.0.add(at).cast::<u32>().write_volatile(value) };
            }
            count = count.wrapping_add(1);
        }
    });
    let mut outcomes = std::collections::BTreeMap::new();
    while Instant::now() < end {
        let outcome = raw::call_at(MAP_CREATE, address, 80);
        if let Ok(fd) = outcome {
            let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))?;
            ensure!(info.contains("map_type:\t1\n"), "not delegated: {info}");
            raw::close(fd);
        }
        *outcomes.entry(outcome.err()).or_insert(0) += 1;
    }
    changer.join().ok().context("panicked")?;
    ensure!(outcomes.values().sum::<i32>() > 20, "{outcomes:?}");
    all_succeed(WHOLE)
}

/// Signals with a handler, all the time: no call is interrupted.
fn signals() -> Result<()> {
    extern "C" fn nothing(_: i32) {}
    let every = libc::itimerval {
        it_interval: libc::timeval {
            tv_sec: 0,
            tv_usec: 500,
        },
        it_value: libc::timeval {
            tv_sec: 0,
            tv_usec: 500,
        },
    };
    // SAFETY: The handler does nothing, and the timer is readable.
    unsafe {
        libc::signal(libc::SIGALRM, nothing as *const () as usize);
        libc::syscall(libc::SYS_setitimer, libc::ITIMER_REAL, &every, 0);
    }
    for sizes in [WHOLE, SHORT] {
        for _ in 0..60 {
            for (name, outcome) in raw::one_of_each(sizes) {
                // What the verifier says when a signal comes.
                let fine = outcome.is_ok() || outcome == Err(libc::EAGAIN);
                ensure!(fine, "{name}: {outcome:?}");
            }
        }
    }
    Ok(())
}

fn supervisors() -> Result<Vec<i32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
        if name.trim() == "bpf-token-exec" {
            let pid = path.file_name().and_then(|name| name.to_str());
            found.extend(pid.and_then(|pid| pid.parse::<i32>().ok()));
        }
    }
    Ok(found)
}

/// Calls fail once there is no supervisor, and none waits for ever.
fn orphan() -> Result<()> {
    all_succeed(WHOLE)?;
    let found = supervisors()?;
    let [supervisor] = found[..] else {
        bail!("supervisors: {found:?}");
    };
    let waiting = std::thread::spawn(|| {
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            let outcome = raw::map(80, 1).call(MAP_CREATE);
            outcome.iter().for_each(|&fd| raw::close(fd));
            if outcome == Err(libc::ENOSYS) {
                return true;
            }
        }
        false
    });
    // SAFETY: It only has effect on the supervisor, in a container of its own.
    ensure!(unsafe { libc::kill(supervisor, libc::SIGKILL) } == 0);
    ensure!(waiting.join().ok() == Some(true), "no ENOSYS");
    let outcome = raw::btf(40).call(BTF_LOAD);
    ensure!(outcome == Err(libc::ENOSYS), "{outcome:?}");
    // Other commands are none of its business.
    let outcome = Attr::new(16).call(12);
    ensure!(outcome != Err(libc::ENOSYS), "{outcome:?}");
    Ok(())
}

/// Goes on after the command has ended: tells on standard output when it has loaded something then.
fn daemon() -> Result<()> {
    let parent = i32::try_from(std::process::id())?;
    // SAFETY: This process has a single thread.
    if unsafe { libc::fork() } != 0 {
        return Ok(());
    }
    // SAFETY: Always sound.
    while unsafe { libc::getppid() } == parent {
        std::thread::sleep(Duration::from_millis(10));
    }
    all_succeed(WHOLE)?;
    println!("loaded by what was left behind");
    Ok(())
}
