// SPDX-License-Identifier: GPL-2.0

//! Goes through a file of cases in a guest, and writes down what is to be seen.

use std::fs::File;
use std::io::BufWriter;
use std::io::Write;
use std::path::Path;

use anyhow::anyhow;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use guest::kernel;

use crate::calls;
use crate::case;
use crate::case::Call;
use crate::case::Caller;
use crate::case::Case;
use crate::case::Cases;
use crate::case::Line;
use crate::case::Reopen;
use crate::case::Saw;
use crate::contexts;

/// The file that all processes write to, one after the other.
pub struct Output(File);

impl Output {
    pub fn writer(&self) -> Writer {
        let file = self.0.try_clone().expect("dup");
        Writer {
            lines: case::Writer(BufWriter::new(file)),
            unflushed: 0,
        }
    }
}

/// Writes so that little is lost when the guest ends early.
pub struct Writer {
    lines: case::Writer<BufWriter<File>>,
    unflushed: usize,
}

impl Writer {
    pub fn saw(&mut self, index: usize, saw: Saw) {
        const MOST: usize = 500;
        self.line(&Line::Saw(index, saw));
        self.unflushed += 1;
        if self.unflushed == MOST {
            self.flush();
        }
    }

    fn line(&mut self, line: &Line) {
        self.lines.line(line).expect("write of the output");
    }

    fn flush(&mut self) {
        self.lines.0.flush().expect("write of the output");
        self.unflushed = 0;
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // A child process ends without anything else that would flush.
        self.flush();
    }
}

/// A call of some kind.
#[derive(Clone, Copy)]
pub enum Act<'a> {
    Call(&'a Call),
    Reopen(&'a Reopen),
}

impl Act<'_> {
    pub fn caller(self) -> Caller {
        match self {
            Self::Call(call) => call.caller,
            Self::Reopen(reopen) => reopen.caller,
        }
    }
}

pub fn run(cases: &Path, output: &Path) -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "this needs root in a guest of its own; fuzz.sh boots one"
    );
    kernel::forbid_module_requests().map_err(|failed| anyhow!("{failed:?}"))?;
    let cases = Cases::read(cases)?;
    let output = Output(case::create(output)?);
    let before = tainted()?;

    let mut contexts = Vec::new();
    let mut mounts = Vec::new();
    let mut acts = Vec::new();
    for (index, case) in cases.cases.iter().enumerate() {
        match case {
            Case::Context(settings) => contexts.push((index, settings.as_slice())),
            Case::Mount(data) => mounts.push((index, data, None)),
            Case::Remount(data, again) => mounts.push((index, data, Some(again))),
            Case::Call(call) => acts.push((index, Act::Call(call))),
            Case::Reopen(reopen) => acts.push((index, Act::Reopen(reopen))),
        }
    }
    contexts::run(&contexts, &output);
    contexts::run_mounts(&mounts, &output);
    calls::run(&acts, &output);
    output.writer().line(&Line::End(before, tainted()?));
    Ok(())
}

fn tainted() -> Result<u64> {
    let path = "/proc/sys/kernel/tainted";
    let text = std::fs::read_to_string(path).context(path)?;
    text.trim().parse().context(path)
}
