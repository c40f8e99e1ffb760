// SPDX-License-Identifier: GPL-2.0

//! The table of what was injected, and what went wrong.

use std::fmt;
use std::time::Duration;

use anyhow::ensure;
use anyhow::Result;

use super::injector::Fault;
use crate::kmemleak::Leak;

/// An operation: how many faults of each kind it met, and how it fared.
pub struct Row {
    index: usize,
    name: &'static str,
    pub allocations: u32,
    /// Allocations that were seen, but did not fail themselves.
    pub passed_over: u32,
    pub descriptors: u32,
    pub files: u32,
    pub leaks: usize,
    pub time: Duration,
    failures: Vec<String>,
}

impl Row {
    pub fn new(index: usize, name: &'static str) -> Self {
        Self {
            index,
            name,
            allocations: 0,
            passed_over: 0,
            descriptors: 0,
            files: 0,
            leaks: 0,
            time: Duration::ZERO,
            failures: Vec::new(),
        }
    }

    /// Tells what went wrong, at once and in the end. `again` are the arguments that repeat only that.
    pub fn fail(&mut self, what: String, again: &str) {
        let name = self.name;
        let failure =
            format!("{name}, {what}\n  again: hostile faults --operation '{name}'{again}");
        eprintln!("FAILED: {failure}");
        self.failures.push(failure);
    }

    /// The name of the processes of an attempt, by which kmemleak tells whose memory is lost. It has at most 15 bytes.
    pub fn comm(&self, fault: Fault) -> String {
        let fault = match fault {
            Fault::None => "none".to_owned(),
            Fault::Allocation(nth) => nth.to_string(),
            Fault::Descriptors => "nofile".to_owned(),
            Fault::Files => "file-max".to_owned(),
        };
        format!("{}{fault}", self.comm_start())
    }

    fn comm_start(&self) -> String {
        format!("op{}:", self.index)
    }

    /// Whether the memory was allocated in an attempt at this operation.
    fn owns(&self, leak: &Leak) -> bool {
        leak.comm.starts_with(&self.comm_start())
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<36} {:>11} {:>11} {:>11} {:>5} {:>5} {:>8.1} s",
            self.name,
            self.allocations,
            self.passed_over,
            self.descriptors,
            self.files,
            self.leaks,
            self.time.as_secs_f64()
        )
    }
}

/// Gives what kmemleak found to the operations. Others' is told, and a failure if it is the token's code that lost it.
pub fn attribute(leaks: Vec<Leak>, rows: &mut [Row]) -> Result<()> {
    let mut lost_elsewhere = 0;
    for leak in leaks {
        if let Some(row) = rows.iter_mut().find(|row| row.owns(&leak)) {
            let (_, fault) = leak.comm.split_once(':').unwrap_or_default();
            row.leaks += 1;
            row.failures.push(format!(
                "{}, fault {fault}: lost\n{}",
                row.name, leak.report
            ));
            continue;
        }
        println!("lost by others: {}", leak.report);
        lost_elsewhere += usize::from(leak.report.contains("bpf_token"));
    }
    ensure!(
        lost_elsewhere == 0,
        "{lost_elsewhere} objects of the token's code were lost outside of the operations"
    );
    Ok(())
}

/// Tells all, and fails if anything went wrong.
pub fn tell(rows: &[Row]) -> Result<()> {
    println!(
        "{:<36} {:>11} {:>11} {:>11} {:>5} {:>5} {:>10}",
        "operation", "allocations", "passed over", "descriptors", "files", "leaks", "time"
    );
    for row in rows {
        println!("{row}");
    }
    let injected: u32 = rows
        .iter()
        .map(|row| row.allocations + row.descriptors + row.files)
        .sum();
    let failures: Vec<_> = rows.iter().flat_map(|row| &row.failures).collect();
    for failure in &failures {
        println!("FAILED: {failure}");
    }
    println!(
        "{} operations, {injected} faults, {} failed",
        rows.len(),
        failures.len()
    );
    ensure!(failures.is_empty(), "{} faults did harm", failures.len());
    Ok(())
}
