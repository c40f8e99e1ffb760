// SPDX-License-Identifier: GPL-2.0

//! What happens in the kernel while a command runs, that the command itself may not notice.

use std::ffi::OsString;
use std::process::Child;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use guest::kernel;

use crate::kmemleak::Kmemleak;

/// Often enough that no record of the log is overwritten before it is read.
const INTERVAL: Duration = Duration::from_millis(200);

/// Runs a command, and fails if that does, or if the kernel complains or memory is lost meanwhile.
pub fn run(command: &[OsString]) -> Result<()> {
    let kmemleak = Kmemleak::from_now_on()?;
    let mut log = Log::from_now_on();
    let (program, arguments) = command.split_first().context("no command")?;
    let mut child = Command::new(program)
        .args(arguments)
        .spawn()
        .with_context(|| program.to_string_lossy().into_owned())?;
    let succeeded = log.read_while(&mut child)?;

    // The name of the task that lost it is, but for its length, that of the test.
    let mut found: Vec<_> = kmemleak
        .leaks()?
        .into_iter()
        .map(|leak| format!("lost by {}: {}", leak.comm, leak.report))
        .collect();
    log.read();
    found.extend(log.complaints);
    println!("complaints and losses of the kernel: {}", found.len());
    ensure!(
        found.is_empty(),
        "the kernel is not well:\n{}",
        found.join("\n")
    );
    ensure!(succeeded, "the command failed");
    Ok(())
}

/// The kernel's log, and what it complains of.
struct Log {
    log: kernel::Log,
    /// The test that was last said to begin.
    test: String,
    complaints: Vec<String>,
}

impl Log {
    fn from_now_on() -> Self {
        Self {
            log: kernel::Log::from_now_on(),
            test: "the first test".to_owned(),
            complaints: Vec::new(),
        }
    }

    fn read(&mut self) {
        for message in self.log.read() {
            if let Some(test) = message.strip_prefix("test ") {
                self.test = test.to_owned();
            } else if kernel::is_complaint(&message) {
                self.complaints.push(format!("in {}: {message}", self.test));
            }
        }
    }

    /// Tells whether the process ended well.
    fn read_while(&mut self, process: &mut Child) -> Result<bool> {
        loop {
            let ended = process.try_wait()?;
            self.read();
            if let Some(status) = ended {
                return Ok(status.success());
            }
            thread::sleep(INTERVAL);
        }
    }
}
