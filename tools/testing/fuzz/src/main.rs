// SPDX-License-Identifier: GPL-2.0

//! The same steps on the C and on the Rust kernel, and whether they come out the same.
//!
//! Sequences of steps are made by chance: `generate` makes them from nothing, `explore` as coverage guides it, as root in a
//! guest. `replay` runs them in a guest and writes down what is to be seen, and `compare` holds what was seen on the two
//! kernels against each other. `fuzz.sh` does all of it.

mod actor;
mod arena;
mod attributes;
mod bytes;
mod calls;
mod command;
mod commands;
mod creation;
mod descriptors;
mod difference;
mod expected;
mod flags;
mod follow;
mod grammar;
mod info;
mod items;
mod judge;
mod kcov;
mod layout;
mod log;
mod make;
mod memory;
mod model;
mod names;
mod options;
mod outcome;
mod privilege;
mod rules;
mod run;
mod shrink;
mod stage;
mod step;
mod template;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use clap::Subcommand;

use crate::rules::Rule;
use crate::run::Compared;
use crate::run::Guidance;
use crate::run::Limits;

/// Tells a difference from a failure.
const DIFFERENT: u8 = 3;

#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// Make sequences of mount options and of calls of bpf()
    Generate {
        /// One seed makes the same sequences each time
        #[arg(long)]
        seed: u64,
        /// How many mount option strings
        #[arg(long)]
        strings: usize,
        /// How many calls of bpf()
        #[arg(long)]
        calls: usize,
        /// A file with BTF, which the names come from
        #[arg(long)]
        vmlinux: PathBuf,
        /// Where they go
        sequences: PathBuf,
    },
    /// Make sequences of steps and run them, as root in a guest whose kernel has KCOV
    Explore {
        #[arg(long)]
        seed: u64,
        /// How many sequences at most, besides those of the corpus
        #[arg(long, default_value_t = usize::MAX)]
        sequences: usize,
        /// How many seconds at most
        #[arg(long)]
        seconds: u64,
        /// What is reached for the first time is not kept to make more of it
        #[arg(long)]
        unguided: bool,
        /// Sequences to begin with
        corpus: PathBuf,
        /// A directory for the files `sequences`, `rust` (what they came to), and `kept` (those that reached something new)
        output: PathBuf,
    },
    /// Run the sequences of a file, as root in a guest, and tell what each step came to
    Replay {
        sequences: PathBuf,
        /// A file for that, as `compare` reads it
        output: Option<PathBuf>,
    },
    /// Compare what sequences came to on both kernels; ends with status 3 if it differs
    Compare {
        sequences: PathBuf,
        /// What they came to on the C kernel
        c: PathBuf,
        /// What they came to on the Rust kernel
        rust: PathBuf,
        /// A file with BTF, which the names come from
        #[arg(long)]
        vmlinux: PathBuf,
        /// A rule that is not to explain a difference
        #[arg(long, ignore_case = true)]
        without: Vec<Rule>,
        /// The sequences are many, so each rule must have explained a difference
        #[arg(long)]
        all_rules: bool,
        /// Where the smallest sequence goes on which they differ
        #[arg(long)]
        smallest: PathBuf,
    },
    /// Make smaller sequences of one; none if there are none
    Shrink {
        sequence: PathBuf,
        sequences: PathBuf,
    },
}

fn main() -> Result<ExitCode> {
    match Arguments::parse().part {
        Part::Generate {
            seed,
            strings,
            calls,
            vmlinux,
            sequences,
        } => run::generate(seed, [strings, calls], &vmlinux, &sequences)?,
        Part::Explore {
            seed,
            sequences,
            seconds,
            unguided,
            corpus,
            output,
        } => {
            let guidance = match unguided {
                true => Guidance::None,
                false => Guidance::Coverage,
            };
            let limits = Limits {
                sequences,
                time: Duration::from_secs(seconds),
            };
            let files = ["sequences", "rust", "kept"].map(|name| output.join(name));
            let files = files.each_ref().map(PathBuf::as_path);
            run::explore(seed, &corpus, guidance, &limits, files)?;
        }
        Part::Replay { sequences, output } => run::replay(&sequences, output.as_deref())?,
        Part::Compare {
            sequences,
            c,
            rust,
            vmlinux,
            without,
            all_rules,
            smallest,
        } => {
            let compared = Compared {
                sequences: &sequences,
                c: &c,
                rust: &rust,
                vmlinux: &vmlinux,
                without: &without,
                all_rules,
            };
            if !run::compare(&compared, &smallest)? {
                return Ok(ExitCode::from(DIFFERENT));
            }
        }
        Part::Shrink {
            sequence,
            sequences,
        } => run::reduce(&sequence, &sequences)?,
    }
    Ok(ExitCode::SUCCESS)
}
