// SPDX-License-Identifier: GPL-2.0
//! A program that knows nothing of tokens, under the supervisor of `bpftoken exec`.

use std::path::Path;
use std::process::Command;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Result;
use bpf_token::Exec;
use bpf_token::Token;

use crate::bpf;
use crate::measure::Bench;

/// What a call takes is mostly switching to the supervisor and back, and that one's reads of `/proc`, which
/// are not of the token's kernel code.
const GOAL: f64 = 1.05;
const ITERATIONS: usize = 300;

/// Has this program measure itself so, with a token from a BPF FS.
pub fn start(bpffs: &Path) -> Result<()> {
    let mut program = Command::new("/proc/self/exe");
    let status = program.arg("supervise").arg(bpffs).status()?;
    ensure!(status.success(), "the supervised part ended with {status}");
    Ok(())
}

/// Goes under a supervisor.
pub fn supervise(bpffs: &Path) -> Result<()> {
    let exec = Exec::new(Token::from_bpffs(bpffs)?, "/proc/self/exe");
    bail!("{}", exec.args(["supervised"]).exec())
}

/// All instructions count: the caller's, the supervisor's, and those of switching between the two.
pub fn measure() -> Result<()> {
    let mut create = bpf::Command::map_create(None);
    Bench::new().run_for(
        "map create, under bpftoken exec",
        GOAL,
        ITERATIONS,
        |timer| {
            drop(bpf::fd(timer.time(|| create.run())));
            1
        },
    )?;
    Ok(())
}
