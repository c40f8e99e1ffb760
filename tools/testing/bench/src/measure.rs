// SPDX-License-Identifier: GPL-2.0
//! The clock and what is computed from it.
//!
//! Under QEMU's `-icount shift=0,sleep=off` with one CPU, virtual time is the number of instructions
//! that the guest has executed, in nanoseconds.

use std::time::Duration;

use anyhow::Result;
use rustix::time::clock_gettime;
use rustix::time::ClockId;
use serde::Deserialize;
use serde::Serialize;

/// Iterations before the first that counts: caches of the kernel fill, and static calls are made.
const WARM_UP: u32 = 20;

/// What one boot says of one operation: a line of the guest's output, in JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What was measured.
    pub operation: String,
    /// What `value` counts.
    pub unit: Unit,
    /// The cost.
    pub value: f64,
    /// The greatest ratio of Rust to C that is wanted.
    pub goal: f64,
    /// What C does not have is compared with this operation of the same kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<String>,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Guest instructions; nanoseconds where the guest runs without `-icount`.
    Instructions,
    /// Bytes of memory.
    Bytes,
}

impl Record {
    /// Prints the record as a line of JSON.
    pub fn print(&self) -> Result<()> {
        println!("{}", serde_json::to_string(self)?);
        Ok(())
    }
}

/// Adds up the timed sections of one iteration.
#[derive(Default)]
pub struct Timer {
    spent: Duration,
    sections: u32,
}

impl Timer {
    /// Runs a section of an iteration that counts.
    pub fn time<T>(&mut self, section: impl FnOnce() -> T) -> T {
        let start = now();
        let value = section();
        let end = now();
        self.spent += end.saturating_sub(start);
        self.sections += 1;
        value
    }
}

fn now() -> Duration {
    let time = clock_gettime(ClockId::MonotonicRaw);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Measures operations, less the cost of the measuring itself.
pub struct Bench {
    section: f64,
    syscall: f64,
}

impl Bench {
    /// Measures what an empty section and a bare system call cost.
    pub fn new() -> Self {
        let mut bench = Self {
            section: 0.0,
            syscall: 0.0,
        };
        bench.section = bench.median(1000, |timer| {
            timer.time(|| ());
            0
        });
        bench.syscall = bench.median(1000, |timer| {
            timer.time(getppid);
            0
        });
        bench
    }

    /// What getppid(2) costs.
    pub fn syscall(&self) -> f64 {
        self.syscall
    }

    /// The median cost of `iteration`, which returns how many system calls its sections make; the
    /// cost of as many bare ones is subtracted.
    pub fn median(&self, iterations: usize, mut iteration: impl FnMut(&mut Timer) -> u32) -> f64 {
        for _ in 0..WARM_UP.min(iterations as u32) {
            iteration(&mut Timer::default());
        }
        let mut samples = Vec::with_capacity(iterations);
        for _ in 0..iterations {
            let mut timer = Timer::default();
            let syscalls = iteration(&mut timer);
            samples.push(
                timer.spent.as_nanos() as f64
                    - f64::from(timer.sections) * self.section
                    - f64::from(syscalls) * self.syscall,
            );
        }
        samples.sort_by(f64::total_cmp);
        samples[iterations / 2]
    }

    /// Measures an operation and prints the record.
    pub fn run(
        &self,
        operation: &str,
        iterations: usize,
        iteration: impl FnMut(&mut Timer) -> u32,
    ) -> Result<f64> {
        self.run_for(operation, 1.0, iterations, iteration)
    }

    /// As [`Self::run`], with a goal of its own.
    pub fn run_for(
        &self,
        operation: &str,
        goal: f64,
        iterations: usize,
        iteration: impl FnMut(&mut Timer) -> u32,
    ) -> Result<f64> {
        let value = self.median(iterations, iteration);
        count(operation, value, goal)?;
        Ok(value)
    }
}

/// Prints the record of a number of instructions.
pub fn count(operation: &str, value: f64, goal: f64) -> Result<()> {
    print(operation, value, goal, None)
}

/// The same for an operation that C does not have, with the one that it is compared with.
pub fn count_beside(operation: &str, value: f64, goal: f64, beside: &str) -> Result<()> {
    print(operation, value, goal, Some(beside.to_owned()))
}

fn print(operation: &str, value: f64, goal: f64, beside: Option<String>) -> Result<()> {
    let record = Record {
        operation: operation.to_owned(),
        unit: Unit::Instructions,
        value,
        goal,
        beside,
    };
    record.print()
}

fn getppid() {
    // SAFETY: The call takes nothing and cannot fail.
    unsafe { libc::syscall(libc::SYS_getppid) };
}
