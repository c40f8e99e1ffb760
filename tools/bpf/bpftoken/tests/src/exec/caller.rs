// SPDX-License-Identifier: GPL-2.0
//! What this program does under `bpftoken exec`: it says what went wrong, or ends with 0.

mod lives;

use std::fs;
use std::process::ExitCode;

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
        "threads" => lives::threads(),
        "processes" => lives::processes(),
        "own-token" => own_token(),
        "closed" => closed(),
        "full" => full(),
        "limit" => limit(),
        "killed" => lives::killed(),
        "changes" => lives::changes(),
        "signals" => lives::signals(),
        "held" => lives::held(),
        "orphan" => lives::orphan(),
        "daemon" => lives::daemon(),
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
