// SPDX-License-Identifier: GPL-2.0

//! Section 10.3 of the design under contention: two threads use a token while a third takes the delegation back and gives
//! it again. A use that begins after the remount has returned is not let through; one that begins when it is given is.

use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use std::time::Instant;

use guest::bpf;
use guest::bpf::MapType;
use guest::container;
use guest::container::Delegation;
use guest::container::Instance;
use guest::managed;
use guest::process;
use guest::process::Link;
use libtest_mimic::Trial;
use rustix::io::Errno;
use rustix::thread::CapabilitySet;
use rustix::thread::CpuSet;

use super::tests;
use super::usage;

/// Of the Rust kernel alone.
pub fn tests() -> Vec<Trial> {
    tests![map_type_taken_back, command_taken_back, what_info_tells]
}

const TIME: Duration = Duration::from_millis(700);
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is taken back at least.
const ROUNDS: u64 = 50;

/// How often each thread must have come to a use while the state did not change, of either.
const USES: u64 = 20;

/// What the delegation is: 1 of 4 given, 3 taken back, and about to change where it is even.
///
/// It is written after the remount has returned, and again before the next one is called.
struct State(AtomicU64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Given,
    TakenBack,
}

impl State {
    fn change(&self) {
        self.0.fetch_add(1, SeqCst);
    }

    /// Does something, and tells in which state all of that was.
    fn during<T>(&self, part: impl FnOnce() -> T) -> (T, Option<Kind>) {
        let before = self.0.load(SeqCst);
        let outcome = part();
        let after = self.0.load(SeqCst);
        let kind = match before % 4 {
            1 => Some(Kind::Given),
            3 => Some(Kind::TakenBack),
            _ => None,
        };
        (outcome, kind.filter(|_| before == after))
    }
}

/// A token of a container that has ended, and the mount. The owner of its user namespace needs no capability to use it.
fn token_and_mount() -> (OwnedFd, OwnedFd) {
    let send = |instance: Instance, link: Link| {
        link.send_fd(instance.token());
        link.send_fd(&instance.mount);
    };
    container::run_with(&Delegation::ANY, send, |link| {
        (link.recv_fd(), link.recv_fd())
    })
}

/// Sets a flag when it goes, be it by a panic.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// Remounts with the options of one and of the other in turn, while two threads, each on a processor of its own if there
/// are two, do `attempt` again and again, which tells whether the token permits it.
fn contest(given: (&str, &str), taken: (&str, &str), attempt: impl Fn(&OwnedFd) -> bool + Sync) {
    let (token, mount) = token_and_mount();
    let state = State(AtomicU64::new(1));
    let done = AtomicBool::new(false);
    // Per thread, what it saw in each state.
    let seen: [[AtomicU64; 2]; 2] = Default::default();
    let user = |thread: usize| {
        let mut own = CpuSet::new();
        own.set(thread);
        // With one processor there is no second.
        let _ = rustix::thread::sched_setaffinity(None, &own);
        process::drop_capabilities(CapabilitySet::all());
        let _done = SetOnDrop(&done);
        while !done.load(SeqCst) {
            let (permitted, kind) = state.during(|| attempt(&token));
            let Some(kind) = kind else { continue };
            assert_eq!(permitted, kind == Kind::Given, "all the while {kind:?}");
            seen[thread][kind as usize].fetch_add(1, SeqCst);
        }
    };
    let enough = || {
        seen.iter()
            .flatten()
            .all(|count| count.load(SeqCst) >= USES)
    };
    let rounds = std::thread::scope(|scope| {
        let users = [0, 1].map(|thread| scope.spawn(move || user(thread)));
        let ended = SetOnDrop(&done);
        let start = Instant::now();
        let mut rounds = 0;
        while !done.load(SeqCst) && start.elapsed() < PATIENCE {
            for options in [taken, given] {
                let counts = || {
                    seen.each_ref()
                        .map(|kinds| kinds.each_ref().map(|it| it.load(SeqCst)))
                };
                let before = counts();
                state.change();
                assert_eq!(managed::remount(&managed::pick(&mount), &[options]), Ok(()));
                state.change();
                // As many uses as come to pass while the other threads get on.
                let moment = Instant::now();
                while counts() == before && moment.elapsed() < Duration::from_millis(20) {
                    std::thread::yield_now();
                }
            }
            rounds += 1;
            if rounds >= ROUNDS && enough() && start.elapsed() >= TIME {
                break;
            }
        }
        drop(ended);
        for user in users {
            user.join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        rounds
    });
    assert!(rounds >= ROUNDS && enough(), "{rounds} rounds: {seen:?}");
}

fn granted(result: Result<OwnedFd, Errno>) -> bool {
    match result {
        Ok(_) => true,
        Err(Errno::PERM) => false,
        Err(errno) => panic!("{errno}"),
    }
}

fn map_type_taken_back() {
    contest(
        ("delegate_maps", "hash:array"),
        ("delegate_maps", "array"),
        |token| granted(bpf::map_create(MapType::Hash, Some(token.as_raw_fd()))),
    );
}

fn command_taken_back() {
    contest(("delegate_cmds", "any"), ("delegate_cmds", "0"), |token| {
        granted(bpf::btf_load(&usage::btf(), Some(token.as_raw_fd())))
    });
}

fn what_info_tells() {
    contest(
        ("delegate_progs", "any"),
        ("delegate_progs", "0"),
        |token| match bpf::masks(token).progs {
            u64::MAX => true,
            0 => false,
            torn => panic!("{torn:#x}"),
        },
    );
}
