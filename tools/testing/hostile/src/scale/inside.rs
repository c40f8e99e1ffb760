// SPDX-License-Identifier: GPL-2.0

//! The container's part: makes everything and ends it.

use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use guest::bpf;
use guest::container;
use guest::context::Context;
use guest::process::Child;
use guest::process::Link;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::CWD;
use rustix::mount;
use rustix::mount::MoveMountFlags;
use rustix::mount::UnmountFlags;

use super::memory::Memory;
use super::results::Results;
use super::results::Thousand;
use super::FIRST_OF_ALL;
use super::HOLDERS;
use super::MOUNTS;
use super::THOUSAND;
use super::TOKENS;

/// How many descriptors a process may have: those of its tokens, and some.
pub const DESCRIPTORS: usize = TOKENS + 1_000;

/// How many objects are timed at a time.
const PART: usize = 100;

pub fn run(link: &Link, memory: &mut Memory, results: &Results) {
    container::mount_tmpfs();
    for number in 0..FIRST_OF_ALL + MOUNTS {
        rustix::fs::mkdirat(CWD, path(number), Mode::RWXU).expect("mkdir");
    }

    (MOUNTS..MOUNTS + FIRST_OF_ALL).for_each(|number| mount_one(link, number));
    let before = bytes(memory);
    println!("mounting {MOUNTS} times");
    mount_all(link, memory, results);
    results.remount.time.set(Thousand::First, remount(link, 0));
    println!("making {HOLDERS} times {TOKENS} tokens");
    let holders: Vec<(Child, Link)> = (0..HOLDERS)
        .map(|index| start_holder(index, memory, results))
        .collect();
    results.peak_bytes.store(bytes(memory) - before, Relaxed);
    results
        .remount
        .time
        .set(Thousand::Last, remount(link, THOUSAND));
    println!("closing them");
    for (holder, link) in holders {
        link.signal();
        holder.join();
    }
    println!("unmounting");
    unmount_all(results);
}

fn path(number: usize) -> String {
    format!("/tmp/{number}")
}

fn bytes(memory: &mut Memory) -> u64 {
    memory.bytes().expect("memory in use")
}

/// Does `part` for each hundred of a thousand, and gives the nanoseconds that one took: the median of the hundreds.
fn thousand(mut part: impl FnMut(usize) -> Duration) -> u64 {
    let mut times: Vec<_> = (0..THOUSAND / PART).map(&mut part).collect();
    times.sort();
    let median = times[times.len() / 2];
    median.as_nanos() as u64 / PART as u64
}

fn time(part: impl FnOnce()) -> Duration {
    let start = Instant::now();
    part();
    start.elapsed()
}

fn mount_all(link: &Link, memory: &mut Memory, results: &Results) {
    let thousands = MOUNTS / THOUSAND;
    for index in 0..thousands {
        let mount = || {
            thousand(|part| {
                let first = index * THOUSAND + part * PART;
                time(|| (first..first + PART).for_each(|number| mount_one(link, number)))
            })
        };
        let Some(which) = Thousand::of(index, thousands) else {
            mount();
            continue;
        };
        let before = bytes(memory);
        results.mount.time.set(which, mount());
        let taken = bytes(memory) - before;
        results.mount.bytes.set(which, taken / THOUSAND as u64);
    }
}

fn mount_one(link: &Link, number: usize) {
    let context = Context::of_bpffs();
    link.send_fd(&context);
    link.wait();
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    mount::move_mount(context.mount(), "", CWD, path(number), flags).expect("move_mount");
}

/// Has a thousand mounts delegate less, from the first one on. It takes no longer when they have tokens.
fn remount(link: &Link, first: usize) -> u64 {
    thousand(|part| {
        let first = first + part * PART;
        let roots: Vec<_> = (first..first + PART).map(open_root).collect();
        time(|| {
            for root in &roots {
                link.signal();
                link.send_fd(root);
                link.wait();
            }
        })
    })
}

fn unmount_all(results: &Results) {
    let thousands = MOUNTS / THOUSAND;
    for index in 0..thousands {
        let which = Thousand::of(index, thousands);
        if which.is_some() {
            // The kernel frees later what is unmounted: what came before must not be counted here.
            thread::sleep(Duration::from_secs(1));
        }
        let nanoseconds = thousand(|part| {
            let first = index * THOUSAND + part * PART;
            time(|| {
                for number in first..first + PART {
                    mount::unmount(path(number), UnmountFlags::empty()).expect("unmount");
                }
            })
        });
        if let Some(which) = which {
            results.unmount.time.set(which, nanoseconds);
        }
    }
}

/// Starts a process that holds a token of every mount until it is told to close them.
fn start_holder(index: usize, memory: &mut Memory, results: &Results) -> (Child, Link) {
    let (link, link_inside) = Link::pair();
    let (mut ours, mut theirs) = (Some(link), Some(link_inside));
    let holder = Child::spawn(|| {
        ours = None;
        let link = theirs.take().expect("the child's copy");
        let tokens = create_all(index, memory, results);
        link.signal();
        link.wait();
        close_all(index, tokens, results);
    });
    drop(theirs);
    let link = ours.expect("the parent's copy");
    if !link.wait_or_end() {
        holder.join();
        panic!("a holder of tokens ended before it was told to");
    }
    (holder, link)
}

/// Which of all thousands of tokens this one of a holder's is, if it is measured.
fn thousand_of_all(holder: usize, index: usize) -> Option<Thousand> {
    let thousands = TOKENS / THOUSAND;
    Thousand::of(holder * thousands + index, HOLDERS * thousands)
}

fn create_all(holder: usize, memory: &mut Memory, results: &Results) -> Vec<OwnedFd> {
    // The table of descriptors gets its final size.
    let last = DESCRIPTORS as i32 - 1;
    drop(rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), last).expect("dup"));
    let mut tokens = Vec::with_capacity(TOKENS);
    for index in 0..TOKENS / THOUSAND {
        let mut create = || {
            thousand(|part| {
                let first = index * THOUSAND + part * PART;
                let roots: Vec<_> = (first..first + PART).map(open_root).collect();
                time(|| {
                    let made = roots
                        .iter()
                        .map(|root| bpf::token_create(root).expect("token"));
                    tokens.extend(made);
                })
            })
        };
        let Some(which) = thousand_of_all(holder, index) else {
            create();
            continue;
        };
        let before = bytes(memory);
        let nanoseconds = create();
        let taken = bytes(memory) - before;
        results.token.time.set(which, nanoseconds);
        results.token.bytes.set(which, taken / THOUSAND as u64);
    }
    tokens
}

fn open_root(number: usize) -> OwnedFd {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path(number), flags, Mode::empty()).expect("a directory")
}

fn close_all(holder: usize, tokens: Vec<OwnedFd>, results: &Results) {
    let mut tokens = tokens.into_iter();
    for index in 0..TOKENS / THOUSAND {
        let nanoseconds = thousand(|_| {
            let closing: Vec<_> = tokens.by_ref().take(PART).collect();
            time(|| drop(closing))
        });
        if let Some(which) = thousand_of_all(holder, index) {
            results.close.time.set(which, nanoseconds);
        }
    }
}
