// SPDX-License-Identifier: GPL-2.0

//! The first process of a container, which keeps workers running.

use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::time::Duration;
use std::time::Instant;

use fastrand::Rng;
use guest::container;
use rustix::process::Pid;

use super::board::Board;
use super::board::WORKERS;
use super::processes;
use super::worker;
use super::worker::Worker;

/// How long a container and a worker go on at most, if they are not killed. To start one takes a second in a debug
/// kernel under emulation.
const CONTAINER: Duration = Duration::from_secs(20);
const WORKER: Duration = Duration::from_secs(12);

/// Runs workers, each in a process of its own, and a new one for each that ends.
pub fn run(
    board: &Board,
    container: usize,
    manager: BorrowedFd<'_>,
    sockets: &[(OwnedFd, OwnedFd)],
    mut rng: Rng,
) {
    container::mount_tmpfs();
    let end = Instant::now() + CONTAINER;
    let mut workers: [Option<Pid>; WORKERS] = [None; WORKERS];
    loop {
        if !board.stopped() && Instant::now() < end {
            for (index, worker) in workers.iter_mut().enumerate() {
                if worker.is_none() {
                    let end = Instant::now() + WORKER.mul_f64(rng.f64());
                    let rng = rng.fork();
                    let pid = processes::spawn(|| {
                        worker::run(&Worker::new(board, manager, sockets, end), rng);
                    });
                    board.add_target(container, 1 + index, pid);
                    *worker = Some(pid);
                }
            }
        }
        let Some(ended) = processes::wait(board) else {
            return;
        };
        for worker in &mut workers {
            if *worker == Some(ended) {
                *worker = None;
            }
        }
    }
}
