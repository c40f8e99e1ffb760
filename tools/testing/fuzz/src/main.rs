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
mod compare;
mod creation;
mod descriptors;
mod difference;
mod expected;
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
mod words;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::compare::Compare;
use crate::run::Explore;
use crate::run::Generate;
use crate::run::Replay;
use crate::shrink::Shrink;

/// Tells a difference from a failure.
const DIFFERENT: u8 = 3;

#[derive(Parser)]
#[command(version, about)]
enum Part {
    Generate(Generate),
    Explore(Explore),
    Replay(Replay),
    Compare(Compare),
    Shrink(Shrink),
}

fn main() -> Result<ExitCode> {
    match Part::parse() {
        Part::Generate(part) => part.run()?,
        Part::Explore(part) => part.run()?,
        Part::Replay(part) => part.run()?,
        Part::Compare(part) => {
            if !part.run()? {
                return Ok(ExitCode::from(DIFFERENT));
            }
        }
        Part::Shrink(part) => part.run()?,
    }
    Ok(ExitCode::SUCCESS)
}
