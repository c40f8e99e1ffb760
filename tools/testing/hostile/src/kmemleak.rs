// SPDX-License-Identifier: GPL-2.0

//! Memory that nothing points at any more, as the kernel's own detector finds it.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use rustix::io::Errno;
use rustix::mount;
use rustix::mount::MountFlags;

const DEBUGFS: &str = "/sys/kernel/debug";
const FILE: &str = "/sys/kernel/debug/kmemleak";

/// Younger objects are not reported: `MSECS_MIN_AGE`, and a little.
const MIN_AGE: Duration = Duration::from_millis(5_200);

/// The detector, from a certain moment on.
pub struct Kmemleak(());

/// A block of memory that was lost.
pub struct Leak {
    /// The name of the task that allocated it, at that time.
    pub comm: String,
    /// The detector's report, with the backtrace of the allocation.
    pub report: String,
}

impl Kmemleak {
    /// Whether the running kernel has it.
    pub fn exists() -> Result<bool> {
        mount_debugfs()?;
        Ok(Path::new(FILE).exists())
    }

    /// Prints what was lost before, by those who booted the system, and forgets it.
    pub fn from_now_on() -> Result<Self> {
        mount_debugfs()?;
        ensure!(
            Path::new(FILE).exists(),
            "{FILE} is not there: this needs a kernel with CONFIG_DEBUG_KMEMLEAK (make vm KERNEL=debug)"
        );
        let kmemleak = Self(());
        for leak in kmemleak.leaks()? {
            println!("lost before, by {}: {}", leak.comm, leak.report);
        }
        write("clear")?;
        Ok(kmemleak)
    }

    /// Looks for what was lost since then.
    pub fn leaks(&self) -> Result<Vec<Leak>> {
        thread::sleep(MIN_AGE);
        // The first scan takes a checksum of what it finds unreferenced, the second one sees whether it was in use.
        write("scan")?;
        write("scan")?;
        let text = fs::read(FILE).context(FILE)?;
        Ok(Leak::parse(&String::from_utf8_lossy(&text)))
    }
}

/// Fails if the detector has switched itself off, for want of memory of its own.
fn write(command: &str) -> Result<()> {
    fs::write(FILE, command).with_context(|| format!("{command} to {FILE}"))
}

/// Mounts debugfs, unless it is.
pub fn mount_debugfs() -> Result<()> {
    let none: Option<&std::ffi::CStr> = None;
    match mount::mount("debugfs", DEBUGFS, "debugfs", MountFlags::empty(), none) {
        Ok(()) | Err(Errno::BUSY) => Ok(()),
        Err(errno) => Err(errno).context("debugfs (CONFIG_DEBUG_FS)"),
    }
}

impl Leak {
    fn parse(text: &str) -> Vec<Self> {
        const START: &str = "unreferenced object ";
        let reports = text.split(START).skip(1);
        reports
            .map(|report| Self {
                comm: comm_of(report).unwrap_or_default().to_owned(),
                report: format!("{START}{report}"),
            })
            .collect()
    }
}

/// The name in `comm "...", pid 1, jiffies 4294667296`.
fn comm_of(report: &str) -> Option<&str> {
    let (_, comm) = report.split_once("comm \"")?;
    let (comm, _) = comm.split_once("\", pid ")?;
    Some(comm)
}
