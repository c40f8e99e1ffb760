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
mod watch;

use std::ffi::OsString;

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
    /// Run a command, and fail if the kernel complains or loses memory meanwhile
    Watch {
        /// The command and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
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
        Condition::Scale => scale::run(),
        Condition::Stress { seconds, seed } => stress::run(seconds, seed),
        Condition::Watch { command } => watch::run(&command),
    }
}
