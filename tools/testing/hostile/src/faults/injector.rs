// SPDX-License-Identifier: GPL-2.0

//! Faults, and the system calls that meet them.

use std::fmt;
use std::fs::File;
use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use guest::kernel::Sysctl;
use guest::process::Child;
use guest::process::Link;
use rustix::io::Errno;
use rustix::mm::MlockAllFlags;
use rustix::process::Resource;
use rustix::process::Rlimit;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The nth allocation, of an object or of pages.
    Allocation(u32),
    /// There is no descriptor left, with each limit from 0 on until there is one.
    Descriptors,
    /// The system has as many open files as `fs.file-max` says.
    Files,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("no fault"),
            Self::Allocation(nth) => write!(f, "allocation {nth} fails"),
            Self::Descriptors => f.write_str("no descriptor is left (RLIMIT_NOFILE)"),
            Self::Files => f.write_str("no file is left (fs.file-max)"),
        }
    }
}

/// How the system calls fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How many faults they met.
    pub met: u32,
    /// How many descriptors were in use before, below the first that was not.
    pub descriptors: u32,
    /// The errno in the end.
    pub errno: Option<Errno>,
}

/// Lets a part of an operation meet a fault.
pub struct Injector {
    fault: Fault,
    fail_nth: Option<FailNth>,
    file_limit: Option<Link>,
    outcome: Option<Outcome>,
}

impl Injector {
    /// For the calling thread, as long as it sees /proc.
    pub fn of(fault: Fault, file_limit: Option<Link>) -> Self {
        Self {
            fault,
            fail_nth: matches!(fault, Fault::Allocation(_)).then(FailNth::open),
            file_limit,
            outcome: None,
        }
    }

    /// Whether the operation met a fault.
    pub fn met(&self) -> bool {
        self.outcome.expect("called after the operation").met > 0
    }

    pub fn outcome(&self) -> Outcome {
        self.outcome
            .expect("each operation lets something meet the fault")
    }

    /// How often the system calls are made at most.
    pub fn calls(&self) -> u32 {
        match self.fault {
            Fault::Descriptors => first_free_descriptor() + 2,
            _ => 1,
        }
    }

    /// Makes system calls that meet the fault, and again after they have failed for want of a descriptor.
    ///
    /// `calls` does nothing else: it does not allocate memory, for one, as that would be among what fails.
    pub fn inject<T>(&mut self, mut calls: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
        assert_eq!(self.outcome, None, "one part of an operation meets a fault");
        let descriptors = first_free_descriptor();
        let (met, result) = match self.fault {
            Fault::None => (0, calls()),
            Fault::Allocation(nth) => {
                let fail_nth = self.fail_nth.as_ref().expect("opened for this fault");
                with_failing_allocation(fail_nth, nth, calls)
            }
            Fault::Descriptors => with_few_descriptors(calls),
            Fault::Files => self.without_files(calls),
        };
        self.outcome = Some(Outcome {
            met,
            descriptors,
            errno: result.as_ref().err().copied(),
        });
        result
    }

    fn without_files<T>(
        &self,
        mut calls: impl FnMut() -> Result<T, Errno>,
    ) -> (u32, Result<T, Errno>) {
        let link = self.file_limit.as_ref();
        let link = link.expect("there is a process that sets fs.file-max");
        link.signal();
        link.wait();
        let result = calls();
        link.signal();
        link.wait();
        (
            u32::from(result.as_ref().err() == Some(&Errno::NFILE)),
            result,
        )
    }
}

/// A fault of the program's own memory would be an allocation too.
pub fn lock_memory() {
    rustix::mm::mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE).expect("mlockall");
}

fn with_failing_allocation<T>(
    fail_nth: &FailNth,
    nth: u32,
    mut calls: impl FnMut() -> Result<T, Errno>,
) -> (u32, Result<T, Errno>) {
    lock_memory();
    let number = nth.to_string();
    fail_nth.write(&number);
    let result = calls();
    let left = fail_nth.read();
    fail_nth.write("0");
    (u32::from(left == b'0'), result)
}

/// `fail-nth` of the calling thread: the allocation that fails, counted down to 0.
struct FailNth(File);

impl FailNth {
    fn open() -> Self {
        const PATH: &str = "/proc/thread-self/fail-nth";
        let file = OpenOptions::new().read(true).write(true).open(PATH);
        Self(file.unwrap_or_else(|error| panic!("{PATH}: {error}")))
    }

    fn write(&self, number: &str) {
        let written = self.0.write_at(number.as_bytes(), 0);
        assert_eq!(written.ok(), Some(number.len()), "{number} to fail-nth");
    }

    /// The first digit, which is 0 only when the number is.
    fn read(&self) -> u8 {
        let mut digits = [0; 16];
        let read = self.0.read_at(&mut digits, 0);
        assert!(read.is_ok_and(|len| len > 0), "fail-nth is read");
        digits[0]
    }
}

fn first_free_descriptor() -> u32 {
    let free = rustix::io::dup(std::io::stdin()).expect("a descriptor is free");
    free.as_raw_fd() as u32
}

fn with_few_descriptors<T>(mut calls: impl FnMut() -> Result<T, Errno>) -> (u32, Result<T, Errno>) {
    let before = rustix::process::getrlimit(Resource::Nofile);
    let set = |limit| rustix::process::setrlimit(Resource::Nofile, limit).expect("setrlimit");
    let mut met = 0;
    loop {
        set(Rlimit {
            current: Some(met.into()),
            maximum: before.maximum,
        });
        let result = calls();
        set(before);
        if result.as_ref().err() != Some(&Errno::MFILE) {
            return (met, result);
        }
        met += 1;
    }
}

/// A process that takes the files from the others for as long as it is asked to: only root in the initial user
/// namespace may set `fs.file-max`, and only its holders of CAP_SYS_ADMIN may go beyond it.
pub fn limit_files() -> (Child, Link) {
    let mut ends = Some(Link::pair());
    let child = Child::spawn(|| {
        let (_, link) = ends.take().expect("the child's copy");
        while link.wait_or_end() {
            let limit = Sysctl::set("fs/file-max", "0");
            link.signal();
            link.wait();
            drop(limit);
            link.signal();
        }
    });
    let (link, _) = ends.take().expect("the parent's copy");
    (child, link)
}
