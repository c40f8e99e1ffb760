// SPDX-License-Identifier: GPL-2.0

//! Threads of processes of containers that make, pass on and use tokens, and kill each other: whether the kernel holds
//! more afterwards than it did before.
//!
//! Each container has a manager outside, which delegates, and workers inside. All workers share sockets, by which tokens
//! get from one to another, also of another container, and stay when everyone is dead.

mod board;
mod inside;
mod manager;
mod mounts;
mod operations;
mod processes;
mod sockets;
mod worker;

use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::anyhow;
use anyhow::bail;
use anyhow::ensure;
use anyhow::Result;
use fastrand::Rng;
use guest::kernel;
use rustix::io::Errno;
use rustix::process;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::WaitOptions;

use crate::baseline::Baseline;
use crate::shared;
use board::Board;
use board::CONTAINERS;
use operations::OPERATIONS;

const SOCKETS: usize = 4;

/// How long all processes may take to end when they are told to.
const PATIENCE: Duration = Duration::from_secs(120);

const PROGRESS: Duration = Duration::from_secs(10);

pub fn run(seconds: u64, seed: Option<u64>) -> Result<()> {
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("stress for {seconds} s, seed {seed} (--seed {seed} makes the same random choices)");
    kernel::forbid_unprivileged_bpf().map_err(|failed| anyhow!("{failed:?}"))?;

    let board = shared::zeroed::<Board>()?;
    let baseline = Baseline::take(true)?;
    run_managers(board, Duration::from_secs(seconds), Rng::with_seed(seed))?;
    let outcome = report(board);
    baseline.check()?;
    outcome
}

/// Has everyone run for a while, and waits for their ends.
fn run_managers(board: &Board, duration: Duration, mut rng: Rng) -> Result<()> {
    let sockets: Vec<(OwnedFd, OwnedFd)> = (0..SOCKETS)
        .map(|_| sockets::pair())
        .collect::<Result<_, _>>()?;
    let managers: Vec<Pid> = (0..CONTAINERS)
        .map(|number| {
            let rng = rng.fork();
            processes::spawn(|| manager::run(board, number, &sockets, rng))
        })
        .collect();

    let start = Instant::now();
    while start.elapsed() < duration {
        thread::sleep(PROGRESS.min(duration.saturating_sub(start.elapsed())));
        println!(
            "{:4} s: {} operations, {} processes killed, {} containers",
            start.elapsed().as_secs(),
            board.operations(),
            board.killed.load(Relaxed),
            board.containers.load(Relaxed),
        );
    }
    board.stop();
    wait_for(&managers)
}

fn wait_for(managers: &[Pid]) -> Result<()> {
    let start = Instant::now();
    let mut running = managers.to_vec();
    while start.elapsed() < PATIENCE {
        match process::wait(WaitOptions::NOHANG) {
            Ok(None) => thread::sleep(Duration::from_millis(50)),
            Ok(Some((pid, status))) => {
                running.retain(|manager| *manager != pid);
                ensure!(
                    status.exit_status() == Some(0),
                    "a manager ended with {status:?}"
                );
            }
            Err(Errno::CHILD) => return Ok(()),
            Err(errno) => bail!("wait: {errno}"),
        }
    }
    for manager in &running {
        // What runs in their containers ends with them.
        let _ = process::kill_process(*manager, Signal::KILL);
    }
    bail!(
        "{} containers have not ended {} s after they were told to",
        running.len(),
        PATIENCE.as_secs()
    );
}

/// Prints how often everything was done, and fails if something was not, or went wrong.
fn report(board: &Board) -> Result<()> {
    println!("\n{:28} {:>9} {:>9}", "operation", "done", "refused");
    let mut never = Vec::new();
    for (index, operation) in OPERATIONS.iter().enumerate() {
        let (done, refused) = board.count(index);
        println!("{:28} {done:9} {refused:9}", operation.name);
        if done == 0 {
            never.push(operation.name);
        }
    }
    let mut count = |what: &'static str, counter: &AtomicU64| {
        let count = counter.load(Relaxed);
        println!("{what:28} {count:9}");
        if count == 0 {
            never.push(what);
        }
    };
    count("containers", &board.containers);
    count("processes that were killed", &board.killed);
    count("processes that went on", &board.exited);

    let surprises = board.surprises.load(Relaxed);
    ensure!(surprises == 0, "{surprises} things went wrong (see above)");
    ensure!(never.is_empty(), "never happened: {}", never.join(", "));
    Ok(())
}
