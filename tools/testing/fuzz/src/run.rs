// SPDX-License-Identifier: GPL-2.0

//! Sequences of steps: made by chance, or under guidance of coverage on one kernel; and run.

use std::collections::HashSet;
use std::fs::File;
use std::io::BufWriter;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use anyhow::anyhow;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use clap::Args;
use fastrand::Rng;
use guest::kernel;

use crate::calls;
use crate::grammar::Grammar;
use crate::make;
use crate::names;
use crate::outcome::Outcome;
use crate::stage;
use crate::stage::Coverage;
use crate::stage::Edge;
use crate::stage::Stage;
use crate::step;
use crate::step::Step;

/// Make sequences of mount options and of calls of bpf()
#[derive(Args)]
pub struct Generate {
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
}

impl Generate {
    pub fn run(&self) -> Result<()> {
        /// How many calls share what they are made with.
        const TOGETHER: usize = 500;
        let names = names::read(&self.vmlinux)?;
        let mut rng = Rng::with_seed(self.seed);
        let mut grammar = Grammar::new(&names, rng.fork());
        let mut file = create(&self.sequences)?;
        let mut made = 0;
        while made < self.strings {
            let (steps, options) = grammar.sequence();
            file.write_all(step::text(&steps).as_bytes())?;
            made += options;
        }
        for from in (0..self.calls).step_by(TOGETHER) {
            let steps = calls::sequence(&mut rng, TOGETHER.min(self.calls - from));
            file.write_all(step::text(&steps).as_bytes())?;
        }
        Ok(file.flush()?)
    }
}

/// Make sequences of steps, of a corpus and from nothing, and run them, as root in a guest whose kernel has KCOV
#[derive(Args)]
pub struct Explore {
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
}

impl Explore {
    pub fn run(&self) -> Result<()> {
        prepare()?;
        let mut corpus = step::read(&read(&self.corpus)?)?;
        let file = |name| create(&self.output.join(name));
        let (mut sequences, mut rust, mut kept) =
            (file("sequences")?, file("rust")?, file("kept")?);
        let mut rng = Rng::with_seed(self.seed);
        let (start, most) = (Instant::now(), Duration::from_secs(self.seconds));
        stage::with(Coverage::Kcov, |stage| {
            let mut reached = HashSet::new();
            let given = corpus.len();
            let mut count = 0;
            let mut next_report = 1000;
            while count < given || count < self.sequences && start.elapsed() < most {
                let steps = match corpus.get(count).filter(|_| count < given) {
                    Some(steps) => steps.clone(),
                    // Sequences from nothing reach as much as those made of others.
                    None if corpus.is_empty() || rng.bool() => make::sequence(&mut rng),
                    None => make::mutated(&mut rng, &corpus),
                };
                let (outcomes, new) = run_one(stage, &steps, &mut reached);
                let text = step::text(&steps);
                sequences.write_all(text.as_bytes())?;
                write_outcomes(&mut rust, &outcomes)?;
                if new > 0 {
                    kept.write_all(text.as_bytes())?;
                    if count >= given && !self.unguided {
                        corpus.push(steps);
                    }
                }
                count += 1;
                if count == next_report {
                    report(count, &reached, corpus.len(), start);
                    next_report += 1000;
                }
            }
            report(count, &reached, corpus.len(), start);
            for mut file in [sequences, rust, kept] {
                file.flush()?;
            }
            Ok(())
        })
    }
}

/// Runs a sequence, and says how many edges were gone for the first time.
fn run_one(
    stage: &mut Stage<'_>,
    steps: &[Step],
    reached: &mut HashSet<Edge>,
) -> (Vec<Outcome>, usize) {
    let (outcomes, edges) = stage.run(steps);
    let before = reached.len();
    reached.extend(edges);
    (outcomes, reached.len() - before)
}

fn report(count: usize, reached: &HashSet<Edge>, corpus: usize, start: Instant) {
    let addresses: HashSet<u64> = reached.iter().map(|(_, to)| *to).collect();
    println!(
        "{count} sequences in {:.0} s, {} edges between {} addresses reached, corpus of {corpus}",
        start.elapsed().as_secs_f32(),
        reached.len(),
        addresses.len()
    );
}

/// Run the sequences of a file, as root in a guest, and tell what each step came to
#[derive(Args)]
pub struct Replay {
    sequences: PathBuf,
    /// A file for that, as `compare` reads it
    output: Option<PathBuf>,
}

impl Replay {
    pub fn run(&self) -> Result<()> {
        prepare()?;
        let sequences = step::read(&read(&self.sequences)?)?;
        let output = self.output.as_deref().map(create);
        let mut output = output.transpose()?;
        let before = tainted()?;
        stage::with(Coverage::None, |stage| {
            for steps in &sequences {
                let (outcomes, _) = stage.run(steps);
                match &mut output {
                    Some(output) => write_outcomes(output, &outcomes)?,
                    None => {
                        for (step, outcome) in steps.iter().zip(outcomes) {
                            println!("{step}\n#   {}", outcome.explained());
                        }
                        println!();
                    }
                }
            }
            Ok(())
        })?;
        output.map_or(Ok(()), |mut output| output.flush())?;
        let after = tainted()?;
        ensure!(
            before == after,
            "the kernel was tainted meanwhile ({before} to {after}): see its console"
        );
        Ok(())
    }
}

fn tainted() -> Result<u64> {
    let path = "/proc/sys/kernel/tainted";
    read(Path::new(path))?.trim().parse().context(path)
}

fn write_outcomes(to: &mut impl Write, outcomes: &[Outcome]) -> Result<()> {
    for outcome in outcomes {
        writeln!(to, "{}", outcome.text())?;
    }
    Ok(writeln!(to)?)
}

fn prepare() -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "this needs root in a guest of its own; fuzz.sh boots one"
    );
    kernel::forbid_unprivileged_bpf().map_err(|failed| anyhow!("{failed:?}"))
}

/// Reads a file with its name in what goes wrong.
pub fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}

fn create(path: &Path) -> Result<BufWriter<File>> {
    let file = File::create(path).with_context(|| path.display().to_string())?;
    Ok(BufWriter::new(file))
}
