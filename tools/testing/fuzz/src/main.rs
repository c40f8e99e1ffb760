// SPDX-License-Identifier: GPL-2.0

//! The same operations on the C and on the Rust kernel, and whether they come out the same.
//!
//! `generate` makes cases by chance, `run` goes through them as root in a guest and writes down what is to be seen, and
//! `compare` holds what was seen on the two kernels against each other. `fuzz.sh` does all of it.

mod attrs;
mod bytes;
mod calls;
mod case;
mod command;
mod compare;
mod contexts;
mod creation;
mod descriptors;
mod grammar;
mod info;
mod items;
mod layout;
mod log;
mod memory;
mod names;
mod options;
mod privilege;
mod reduce;
mod remounts;
mod report;
mod rules;
mod run;
mod sequence;
mod sights;
mod template;

use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use anyhow::Result;
use clap::Parser;
use clap::Subcommand;
use fastrand::Rng;

use crate::case::Case;
use crate::case::Cases;
use crate::case::Header;
use crate::layout::Descriptor;
use crate::report::Divergence;
use crate::report::Report;
use crate::rules::Rule;
use crate::sequence::Compared;
use crate::sequence::Guidance;
use crate::sequence::Limits;

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
    /// Make cases by chance
    Generate {
        /// One seed makes the same cases each time
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
        cases: PathBuf,
    },
    /// Go through cases, as root in a guest
    Run {
        cases: PathBuf,
        /// Where that goes which is to be seen
        output: PathBuf,
    },
    /// Compare what was seen on both kernels; ends with status 3 if it differs
    Compare {
        cases: PathBuf,
        /// What was seen on the C kernel
        c: PathBuf,
        /// What was seen on the Rust kernel
        rust: PathBuf,
        /// A rule that is not to explain a difference
        #[arg(long, ignore_case = true)]
        without: Vec<Rule>,
        /// The cases are many, so each rule must have explained a difference
        #[arg(long)]
        all_rules: bool,
        /// Where the smallest case goes on which they differ
        #[arg(long)]
        smallest: PathBuf,
    },
    /// Make smaller cases of one; none if there are none
    Reduce { case: PathBuf, cases: PathBuf },
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
        /// A file for that, as `contrast` reads it
        output: Option<PathBuf>,
    },
    /// Compare what sequences came to on both kernels; ends with status 3 if it differs
    Contrast {
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
            cases,
        } => generate(seed, strings, calls, &vmlinux)?.write(&cases)?,
        Part::Run { cases, output } => run::run(&cases, &output)?,
        Part::Compare {
            cases,
            c,
            rust,
            without,
            all_rules,
            smallest,
        } => {
            let cases = Cases::read(&cases)?;
            let report = report::compare(&cases, &c, &rust, &without)?;
            report.print();
            if let Some(divergence) = smallest_of(&cases, &report) {
                tell(&cases, divergence, &smallest)?;
                return Ok(ExitCode::from(DIFFERENT));
            }
            let idle = report.idle();
            ensure!(
                !all_rules || idle.is_empty(),
                "nothing was there for the rules {idle:?} to explain: the cases or the rules are not what they were to be"
            );
        }
        Part::Reduce { case, cases } => {
            let Cases { header, cases: one } = Cases::read(&case)?;
            let smaller = one.iter().flat_map(reduce::reductions).collect();
            let smaller = Cases {
                header,
                cases: smaller,
            };
            smaller.write(&cases)?;
        }
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
            sequence::explore(
                seed,
                &corpus,
                guidance,
                &limits,
                files.each_ref().map(PathBuf::as_path),
            )?;
        }
        Part::Replay { sequences, output } => sequence::replay(&sequences, output.as_deref())?,
        Part::Contrast {
            sequences,
            c,
            rust,
            vmlinux,
            without,
            smallest,
        } => {
            let compared = Compared {
                sequences: &sequences,
                c: &c,
                rust: &rust,
                vmlinux: &vmlinux,
                without: &without,
            };
            if !sequence::compare(&compared, &smallest)? {
                return Ok(ExitCode::from(DIFFERENT));
            }
        }
        Part::Shrink {
            sequence,
            sequences,
        } => sequence::reduce(&sequence, &sequences)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn generate(seed: u64, strings: usize, calls: usize, vmlinux: &Path) -> Result<Cases> {
    let names = names::read(vmlinux)?;
    let mut rng = Rng::with_seed(seed);
    let mut cases = Vec::new();
    let mut grammar = grammar::Grammar::new(&names, rng.fork());
    let mut made = 0;
    while made < strings {
        let (case, options) = grammar.case();
        cases.push(case);
        made += options;
    }
    cases.extend((0..calls).map(|_| attrs::case(&mut rng)));
    let header = Header { seed, names };
    Ok(Cases { header, cases })
}

fn smallest_of<'a>(cases: &Cases, report: &'a Report) -> Option<&'a Divergence> {
    let divergences = report.divergences.iter();
    divergences.min_by_key(|divergence| reduce::weight(&cases.cases[divergence.index]))
}

fn descriptor_of(case: &Case) -> Option<Descriptor> {
    match case {
        Case::Call(call) => Descriptor::of(call.word(call.command.token_field())),
        Case::Reopen(reopen) => Descriptor::of(reopen.fd),
        Case::Context(_) | Case::Mount(_) | Case::Remount(..) => None,
    }
}

/// Tells of a difference, and writes its case down.
fn tell(cases: &Cases, divergence: &Divergence, smallest: &Path) -> Result<()> {
    let Divergence {
        index,
        why,
        c,
        rust,
    } = divergence;
    let case: &Case = &cases.cases[*index];
    println!("case {index} of seed {}: {why}", cases.header.seed);
    println!("  input: {}", serde_json::to_string(case)?);
    if let Some(descriptor) = descriptor_of(case) {
        println!("         with the descriptor {descriptor:?}");
    }
    println!("  C:     {}", serde_json::to_string(c)?);
    println!("  Rust:  {}", serde_json::to_string(rust)?);
    let one = Cases {
        header: cases.header.clone(),
        cases: vec![case.clone()],
    };
    one.write(smallest)
}
