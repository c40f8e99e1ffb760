// SPDX-License-Identifier: GPL-2.0

//! One attempt at an operation, in processes and namespaces of its own, and what must be the case after it.

use std::ffi::CString;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use guest::container;
use guest::context::Context;
use guest::process::Child;
use rustix::io::Errno;

use super::injector;
use super::injector::Fault;
use super::injector::Injector;
use super::injector::Outcome;
use super::operations::By;
use super::operations::Contexts;
use super::operations::Operation;
use super::points::Points;
use super::points::Seen;
use crate::counts::Counts;

/// How often an attempt is repeated after which there is more of something, to tell a leak from what the rest of the
/// system does. What is left by more than half of them leaks: an allocation may have another number at times.
const TIMES: u64 = 8;

const PATIENCE: Duration = Duration::from_secs(5);

/// What is freed only seconds after the last use, with much else: it is counted after all attempts at an operation.
pub fn is_late(kind: &str) -> bool {
    kind == "user_namespace"
}

/// An attempt that is over.
pub struct Attempt {
    pub outcome: Outcome,
    /// The functions that the fault was met in.
    pub stack: Option<Vec<String>>,
    /// What is left behind each time, if anything.
    pub leaks: Vec<String>,
}

impl Attempt {
    /// Fails if the operation does: if a system call that is to meet no fault does not work, for one.
    ///
    /// `before` is what there was before the first of many attempts. It is counted anew after one that left something:
    /// counting takes as long as an attempt does.
    pub fn make(
        operation: &Operation,
        comm: &str,
        fault: Fault,
        points: &Points,
        before: &mut Counts,
    ) -> Result<Self> {
        // What an attempt before this one, that failed, has left.
        points.read()?;
        let outcome = match perform(operation, comm, fault) {
            Ok(outcome) => outcome,
            Err(error) => {
                *before = Counts::now()?;
                return Err(error);
            }
        };
        let mut leaks = Vec::new();
        if !Counts::settle(before, PATIENCE, |kind| !is_late(kind))?.is_empty() {
            leaks = leaks_of_many(operation, comm, fault)?;
            *before = Counts::now()?;
        }
        let mut seen = points.read()?;
        leaks.extend(tokens_left(&mut seen, points)?);
        Ok(Self {
            outcome,
            stack: seen.faults.into_iter().next(),
            leaks,
        })
    }
}

fn leaks_of_many(operation: &Operation, comm: &str, fault: Fault) -> Result<Vec<String>> {
    let before = Counts::now()?;
    for _ in 0..TIMES {
        perform(operation, comm, fault)?;
    }
    let left = Counts::settle(&before, PATIENCE, |kind| !is_late(kind))?;
    let leaks = left.into_iter().filter(|(_, more)| *more > TIMES / 2);
    Ok(leaks
        .map(|(kind, more)| format!("{more} {kind} after {TIMES} times"))
        .collect())
}

/// Tokens are freed by a work item.
fn tokens_left(seen: &mut Seen, points: &Points) -> Result<Option<String>> {
    let end = Instant::now() + PATIENCE;
    while seen.tokens_created != seen.tokens_freed {
        if Instant::now() > end {
            let (created, freed) = (seen.tokens_created, seen.tokens_freed);
            return Ok(Some(format!("{created} tokens created, {freed} freed")));
        }
        std::thread::sleep(Duration::from_millis(5));
        seen.extend(points.read()?);
    }
    Ok(None)
}

/// Lets the kernel cache what it caches when an operation is first performed.
pub fn warm_up(operation: &Operation) -> Result<()> {
    Counts::now()?;
    perform(operation, "warm-up", Fault::None).map(drop)
}

/// Performs an operation in processes that are called `comm`.
fn perform(operation: &Operation, comm: &str, fault: Fault) -> Result<Outcome> {
    let (reader, writer) = UnixDatagram::pair()?;
    let name = CString::new(comm)?;
    let child = Child::spawn(|| {
        rustix::thread::set_name(&name).expect("PR_SET_NAME");
        perform_here(operation, fault, &writer);
    });
    child.wait().map_err(anyhow::Error::msg)?;
    reader.set_nonblocking(true)?;
    let mut bytes = [0; 12];
    reader.recv(&mut bytes).context("no outcome")?;
    Ok(decode(bytes))
}

fn perform_here(operation: &Operation, fault: Fault, writer: &UnixDatagram) {
    let (limiter, link) = (fault == Fault::Files).then(injector::limit_files).unzip();
    let mut link = Some(link);
    let mut with_injector = |part: &dyn Fn(&mut Injector)| {
        let mut injector = Injector::of(fault, link.take().flatten());
        part(&mut injector);
        let outcome = encode(injector.outcome());
        writer.send(&outcome).expect("the other process listens");
    };
    match &operation.by {
        By::Container(delegation, part) => container::run(delegation, |instance| {
            with_injector(&|injector| part(&instance, injector));
        }),
        By::Mounter(part) => container::two_sides(
            |link| {
                let contexts = Contexts::of(link);
                with_injector(&|injector| part(&contexts, injector));
            },
            |link| Contexts::serve(&link),
        ),
        By::Manager(part) => container::two_sides(
            |link| {
                link.send_fd(Context::of_bpffs());
                link.wait_for_end();
            },
            |link| {
                let context = Context::from(link.recv_fd());
                with_injector(&|injector| part(&context, injector));
            },
        ),
    }
    drop(link);
    if let Some(limiter) = limiter {
        limiter.join();
    }
}

fn encode(outcome: Outcome) -> [u8; 12] {
    let errno = outcome.errno.map_or(0, |errno| errno.raw_os_error() as u32);
    let mut bytes = [0; 12];
    for (word, value) in bytes
        .chunks_exact_mut(4)
        .zip([outcome.met, outcome.descriptors, errno])
    {
        word.copy_from_slice(&value.to_ne_bytes());
    }
    bytes
}

fn decode(bytes: [u8; 12]) -> Outcome {
    let word = |index: usize| {
        let bytes = bytes[4 * index..][..4].try_into();
        u32::from_ne_bytes(bytes.expect("four bytes"))
    };
    let errno = word(2) as i32;
    Outcome {
        met: word(0),
        descriptors: word(1),
        errno: (errno != 0).then(|| Errno::from_raw_os_error(errno)),
    }
}
