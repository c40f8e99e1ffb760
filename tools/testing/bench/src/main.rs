// SPDX-License-Identifier: GPL-2.0
//! Counts the guest instructions of what the BPF token does, in a kernel with the token in C or in
//! Rust, and compares the two.
//!
//! Without a command, measures the running kernel as root in a guest, and prints a line of JSON for
//! each operation; `bench report` makes a table and a plot of such lines. `bench.sh` does both.

mod bpf;
mod container;
mod measure;
mod memory;
mod mounts;
mod programs;
mod statmount;
mod tokens;

use anyhow::ensure;
use anyhow::Result;
use clap::Parser;
use clap::Subcommand;

#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Subcommand)]
enum Part {
    /// The part that runs in a container
    #[command(hide = true)]
    Inside,
}

fn main() -> Result<()> {
    match Arguments::parse().part {
        None => guest(),
        Some(Part::Inside) => container::inside(),
    }
}

fn guest() -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "measuring needs root in a guest of its own; bench.sh boots one"
    );
    let bench = measure::Bench::new();
    measure::count("bare system call (getppid)", bench.syscall(), 1.0)?;
    mounts::options(&bench)?;
    container::start()?;
    tokens::permitted(&bench, "by own capabilities", None)?;
    memory::mounts()?;
    mounts::shown(&bench)
}
