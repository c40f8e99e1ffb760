// SPDX-License-Identifier: GPL-2.0

//! All faults of one operation, one after the other.

use std::time::Duration;
use std::time::Instant;

use anyhow::Result;
use guest::kernel::Log;
use rustix::io::Errno;

use super::attempt;
use super::attempt::Attempt;
use super::expected;
use super::injector::Fault;
use super::operations::By;
use super::operations::Makes;
use super::operations::Operation;
use super::points::Points;
use super::report::Row;
use super::sites;
use super::sites::Sites;
use crate::counts::Counts;

/// For what is freed in batches.
const PATIENCE: Duration = Duration::from_secs(20);

/// More allocations than fail in any operation.
const MOST: u32 = 5_000;

pub struct Series<'a> {
    operation: &'a Operation,
    points: &'a Points,
    /// Whether to tell where each fault was met.
    verbose: bool,
    log: Log,
    before: Counts,
    sites: Sites,
    /// Whether the last fault was met in a place not known before.
    new_site: bool,
    row: Row,
}

impl<'a> Series<'a> {
    pub fn new(
        index: usize,
        operation: &'a Operation,
        points: &'a Points,
        verbose: bool,
    ) -> Result<Self> {
        Ok(Self {
            operation,
            points,
            verbose,
            log: Log::from_now_on(),
            before: Counts::now()?,
            sites: Sites::default(),
            new_site: false,
            row: Row::new(index, operation.name),
        })
    }

    /// Fails one allocation only.
    pub fn run_one(mut self, nth: u32) -> Row {
        let start = Instant::now();
        if !self.allocation(nth) {
            self.fail(
                Fault::Allocation(nth),
                "there are not that many allocations",
            );
        }
        self.row.time = start.elapsed();
        self.row
    }

    pub fn run(mut self) -> Result<Row> {
        let start = Instant::now();
        let before = self.before.clone();
        self.attempt(Fault::None);
        self.count_up();
        while let Some((callers, numbers)) = self.sites.passed_over() {
            self.look_for(&callers, numbers);
        }
        self.attempt(Fault::Descriptors);
        // The manager may go beyond fs.file-max.
        if !matches!(self.operation.by, By::Manager(_)) {
            self.attempt(Fault::Files);
        }
        for (kind, more) in Counts::settle(&before, PATIENCE, attempt::is_late)? {
            self.row.leaks += 1;
            self.row
                .fail(format!("leaks: {more} {kind} after all attempts"), "");
        }
        self.row.time = start.elapsed();
        Ok(self.row)
    }

    /// Tells whether there are that many allocations, and the last of them failed.
    fn allocation(&mut self, nth: u32) -> bool {
        let attempt = self.attempt(Fault::Allocation(nth));
        let met = attempt.is_some_and(|attempt| attempt.outcome.met > 0);
        self.row.allocations += u32::from(met);
        met
    }

    /// Fails the 1st, 2nd, ... allocation, until there is none left to fail.
    fn count_up(&mut self) {
        let (mut nth, mut again) = (1, false);
        while self.allocation(nth) {
            if self.row.allocations > MOST {
                self.fail(Fault::Allocation(nth), "there is no end of allocations");
                return;
            }
            // Once, as the place may be a loop's.
            again = !self.new_site && !again;
            nth += u32::from(!again);
        }
    }

    /// Fails allocations of these numbers, until one of them is that of the callers.
    fn look_for(&mut self, callers: &[String], numbers: impl Iterator<Item = u32>) {
        for nth in numbers {
            self.allocation(nth);
            if self.sites.met(callers) {
                return;
            }
        }
        self.row.passed_over += 1;
        let what = format!("an allocation was passed over, in {}", sites::told(callers));
        if sites::is_ours(callers) {
            self.row.fail(what, "");
        } else {
            println!("{}: {what}", self.operation.name);
        }
        self.sites.give_up(callers);
    }

    fn attempt(&mut self, fault: Fault) -> Option<Attempt> {
        let attempt = Attempt::make(
            self.operation,
            &self.row.comm(fault),
            fault,
            self.points,
            &mut self.before,
        );
        let complaints = self.log.complaints();
        for complaint in complaints {
            self.fail(fault, &format!("in the kernel's log: {complaint}"));
        }
        match attempt {
            Ok(attempt) => {
                self.judge(fault, &attempt);
                Some(attempt)
            }
            Err(error) => {
                self.fail(fault, &format!("{error:#}"));
                None
            }
        }
    }

    fn judge(&mut self, fault: Fault, attempt: &Attempt) {
        let stack = attempt.stack.as_ref();
        if let (Fault::Allocation(nth), Some(stack)) = (fault, stack) {
            self.new_site = self.sites.note(nth, stack);
        }
        let place = stack.map_or(String::new(), |stack| {
            format!(", in {}", sites::told(stack))
        });
        if self.verbose {
            let (operation, errno) = (self.operation.name, name(attempt.outcome.errno));
            println!("{operation}, {fault}: {errno}{place}");
        }
        let wrong =
            self.errno_of(fault, attempt)
                .and_then(|expected| match attempt.outcome.errno {
                    errno if errno == expected => Ok(()),
                    errno => Err(format!("{} and not {}", name(errno), name(expected))),
                });
        if let Err(wrong) = wrong {
            self.fail(fault, &format!("{wrong}{place}"));
        }
        for leak in &attempt.leaks {
            self.row.leaks += 1;
            self.fail(fault, &format!("leaks: {leak}"));
        }
    }

    /// The errno that is right, if the right number of faults was met.
    fn errno_of(
        &mut self,
        fault: Fault,
        attempt: &Attempt,
    ) -> std::result::Result<Option<Errno>, String> {
        let (outcome, makes) = (&attempt.outcome, self.operation.makes);
        let (must_meet, errno) = match (fault, makes) {
            (Fault::Allocation(_), _) if outcome.met > 0 => {
                let stack = attempt.stack.as_ref();
                let stack = stack.ok_or("the probe did not see where the fault was met")?;
                (
                    1,
                    expected::errno(&sites::told(stack), self.operation.errno),
                )
            }
            (Fault::Descriptors, Makes::Descriptor | Makes::File) => {
                self.row.descriptors = outcome.met;
                // With each limit up to the number of the first free descriptor.
                (outcome.descriptors + 1, self.operation.errno)
            }
            (Fault::Files, Makes::File) => {
                self.row.files = outcome.met;
                (1, Some(Errno::NFILE))
            }
            _ => (0, self.operation.errno),
        };
        if outcome.met == must_meet {
            Ok(errno)
        } else {
            Err(format!("met {} faults and not {must_meet}", outcome.met))
        }
    }

    fn fail(&mut self, fault: Fault, what: &str) {
        let again = match fault {
            Fault::Allocation(nth) => format!(" --nth {nth}"),
            _ => String::new(),
        };
        self.row.fail(format!("{fault}: {what}"), &again);
    }
}

fn name(errno: Option<Errno>) -> String {
    errno.map_or("success".to_owned(), |errno| errno.to_string())
}
