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
mod plot;
mod programs;
mod report;
mod sizes;
mod statmount;
mod supervised;
mod tokens;

use std::path::PathBuf;

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
    /// The part that goes under a supervisor
    #[command(hide = true)]
    Supervise { bpffs: PathBuf },
    /// The part that has one
    #[command(hide = true)]
    Supervised,
    /// Compare what the boots of both kernels said: a table, results.json and plot.svg
    Report {
        /// The directory with the files c.N.json and rust.N.json of the boots, and the symbols of
        /// both kernels in c.nm and rust.nm
        directory: PathBuf,
        /// Fail if Rust costs more than the goal
        #[arg(long)]
        check: bool,
        /// The figures are nanoseconds on a real clock, and noisy
        #[arg(long, conflicts_with = "check")]
        wall: bool,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().part {
        None => guest(),
        Some(Part::Inside) => container::inside(),
        Some(Part::Supervise { bpffs }) => supervised::supervise(&bpffs),
        Some(Part::Supervised) => supervised::measure(),
        Some(Part::Report {
            directory,
            check,
            wall,
        }) => report::report(&directory, check, wall),
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
