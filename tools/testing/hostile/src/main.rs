// SPDX-License-Identifier: GPL-2.0

//! The kernel's BPF token under faults, under load and in large numbers.
//!
//! Runs as root inside a guest.

mod baseline;
mod counts;
mod faults;
mod kmemleak;
mod probes;
mod scale;
mod shared;
mod stress;

use anyhow::ensure;
use anyhow::Result;
use clap::Parser;
use clap::Subcommand;

#[derive(Parser)]
#[command(about)]
struct Arguments {
    #[command(subcommand)]
    condition: Condition,
}

#[derive(Subcommand)]
enum Condition {
    /// Fail every allocation of every operation once
    Faults(faults::Arguments),
    /// Look for memory that was lost since the kernel booted
    Leaks,
    /// Ten thousand delegated mounts and a hundred thousand tokens
    Scale,
    /// Threads and processes that use tokens, pass them on, and kill each other
    Stress {
        /// How long
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Makes the same random choices again
        #[arg(long)]
        seed: Option<u64>,
    },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(
        rustix::process::geteuid().is_root(),
        "needs root in the initial user namespace of a guest"
    );
    match arguments.condition {
        Condition::Faults(arguments) => faults::run(&arguments),
        Condition::Leaks => kmemleak::none_lost(),
        Condition::Scale => scale::run(),
        Condition::Stress { seconds, seed } => stress::run(seconds, seed),
    }
}
