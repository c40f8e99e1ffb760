// SPDX-License-Identifier: GPL-2.0

//! A worker: threads that do operations at random on the same descriptors.

use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU64;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::time::Instant;

use fastrand::Rng;

use super::board::Board;
use super::operations;
use super::operations::Operation;
use super::operations::OPERATIONS;

const THREADS: usize = 3;

pub struct Worker<'a> {
    pub board: &'a Board,
    /// The socket by which to ask for delegation.
    pub manager: BorrowedFd<'a>,
    /// Sockets that all workers of all containers, and the outside, have.
    pub sockets: &'a [(OwnedFd, OwnedFd)],
    /// Numbers the directories that are mounted on.
    pub directories: AtomicU64,
    held: Mutex<Held>,
    end: Instant,
}

/// The descriptors of a worker.
#[derive(Default)]
pub struct Held {
    pub instances: Vec<Instance>,
    pub tokens: Vec<OwnedFd>,
    /// Programs, maps and BTF made with a token.
    pub objects: Vec<OwnedFd>,
}

/// A BPF FS: its root directory, its mount, and where that is attached, if it is.
pub struct Instance {
    pub root: OwnedFd,
    pub mount: OwnedFd,
    pub path: Option<String>,
}

impl<'a> Worker<'a> {
    pub fn new(
        board: &'a Board,
        manager: BorrowedFd<'a>,
        sockets: &'a [(OwnedFd, OwnedFd)],
        end: Instant,
    ) -> Self {
        Self {
            board,
            manager,
            sockets,
            directories: AtomicU64::new(0),
            held: Mutex::default(),
            end,
        }
    }

    pub fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().expect("no thread has panicked")
    }
}

pub fn run(worker: &Worker<'_>, mut rng: Rng) {
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            let rng = rng.fork();
            scope.spawn(|| go_on(worker, rng));
        }
    });
}

fn go_on(worker: &Worker<'_>, mut rng: Rng) {
    let total: u32 = OPERATIONS.iter().map(|operation| operation.weight).sum();
    while !worker.board.stopped() && Instant::now() < worker.end {
        let (index, operation) = choose(rng.u32(..total));
        match (operation.run)(worker, &mut rng) {
            Ok(true) => worker.board.did(index),
            // There was nothing to do it on.
            Ok(false) => (),
            Err(errno) if operation.refusals.contains(&errno) => worker.board.was_refused(index),
            Err(errno) => worker
                .board
                .surprise(&format!("{}: {errno}", operation.name)),
        }
    }
}

/// The operation that a number below the sum of all weights stands for.
fn choose(mut number: u32) -> (usize, &'static operations::Operation) {
    let has = |(_, operation): &(usize, &Operation)| match number.checked_sub(operation.weight) {
        Some(rest) => {
            number = rest;
            false
        }
        None => true,
    };
    let found = OPERATIONS.iter().enumerate().find(has);
    found.expect("the number is below the sum")
}
