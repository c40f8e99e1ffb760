// SPDX-License-Identifier: GPL-2.0

//! What all processes of the stress write down: it must survive each of them.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicI32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use rustix::process::Pid;

use crate::shared::Shareable;

pub const CONTAINERS: usize = 3;
pub const WORKERS: usize = 2;

/// Room for more operations than there are.
const OPERATIONS: usize = 32;

/// The processes of a container: the first one, and its workers.
const PROCESSES: usize = 1 + WORKERS;

#[derive(Default)]
pub struct Board {
    stop: AtomicBool,
    done: [AtomicU64; OPERATIONS],
    refused: [AtomicU64; OPERATIONS],
    /// The processes that may be killed, or 0.
    targets: [AtomicI32; CONTAINERS * PROCESSES],
    pub containers: AtomicU64,
    pub killed: AtomicU64,
    pub exited: AtomicU64,
    /// Processes that ended in another way, and operations that failed with an error that they should not have.
    pub surprises: AtomicU64,
}

// SAFETY: Atomics alone, of which zero is a value.
unsafe impl Shareable for Board {}

impl Board {
    pub fn stop(&self) {
        self.stop.store(true, Relaxed);
    }

    pub fn stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }

    pub fn did(&self, operation: usize) {
        self.done[operation].fetch_add(1, Relaxed);
    }

    pub fn was_refused(&self, operation: usize) {
        self.refused[operation].fetch_add(1, Relaxed);
    }

    /// How often an operation was done, and how often it was refused.
    pub fn count(&self, operation: usize) -> (u64, u64) {
        let counts = (&self.done[operation], &self.refused[operation]);
        (counts.0.load(Relaxed), counts.1.load(Relaxed))
    }

    pub fn operations(&self) -> u64 {
        self.done.iter().map(|done| done.load(Relaxed)).sum()
    }

    pub fn surprise(&self, what: &str) {
        const TOLD: u64 = 20;
        if self.surprises.fetch_add(1, Relaxed) < TOLD {
            eprintln!("{what}");
        }
    }

    /// Notes a process that may be killed from now on.
    pub fn add_target(&self, container: usize, process: usize, pid: Pid) {
        self.targets[container * PROCESSES + process].store(pid.as_raw_nonzero().get(), Relaxed);
    }

    /// One of the processes, if it is there, by a random number.
    pub fn target(&self, random: usize) -> Option<Pid> {
        Pid::from_raw(self.targets[random % self.targets.len()].load(Relaxed))
    }

    /// Notes the end of a process: it must have been killed, or have exited with 0.
    pub fn ended(&self, pid: Pid, status: rustix::process::WaitStatus) {
        let raw = pid.as_raw_nonzero().get();
        for target in &self.targets {
            // It is another's already if this fails.
            let _ = target.compare_exchange(raw, 0, Relaxed, Relaxed);
        }
        let kill = rustix::process::Signal::KILL.as_raw();
        if status.terminating_signal() == Some(kill) {
            self.killed.fetch_add(1, Relaxed);
        } else if status.exit_status() == Some(0) {
            self.exited.fetch_add(1, Relaxed);
        } else {
            self.surprise(&format!("process {pid:?} ended with {status:?}"));
        }
    }
}
