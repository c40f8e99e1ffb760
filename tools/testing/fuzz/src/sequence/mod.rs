// SPDX-License-Identifier: GPL-2.0

//! Sequences of steps: made and run under guidance of coverage on one kernel, run again on the other, and compared.

mod actor;
mod arena;
mod attributes;
mod commands;
pub mod judge;
mod kcov;
mod make;
mod model;
mod outcome;
mod shrink;
mod stage;
pub mod step;

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::fs::File;
use std::io::BufWriter;
use std::io::Write;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use anyhow::anyhow;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use fastrand::Rng;
use guest::kernel;

use crate::names;
use crate::rules::Rule;
use crate::rules::Rules;
pub use crate::sequence::attributes::Attributes;
use crate::sequence::outcome::Outcome;
use crate::sequence::stage::Coverage;
use crate::sequence::stage::Edge;
use crate::sequence::stage::Stage;
use crate::sequence::step::Step;

/// Whether coverage decides what is kept for more to be made of it.
#[derive(Clone, Copy, PartialEq)]
pub enum Guidance {
    Coverage,
    None,
}

/// What an exploration ends after, whichever comes first.
pub struct Limits {
    pub sequences: usize,
    pub time: Duration,
}

/// Sequences and outcomes as they are written down, in two files.
struct Record {
    sequences: BufWriter<File>,
    outcomes: BufWriter<File>,
}

impl Record {
    fn create(sequences: &Path, outcomes: &Path) -> Result<Self> {
        let create = |path: &Path| {
            let file = File::create(path).with_context(|| path.display().to_string());
            file.map(BufWriter::new)
        };
        Ok(Self {
            sequences: create(sequences)?,
            outcomes: create(outcomes)?,
        })
    }

    fn add(&mut self, steps: &[Step], outcomes: &[Outcome]) -> Result<()> {
        self.sequences.write_all(step::text(steps).as_bytes())?;
        write_outcomes(&mut self.outcomes, outcomes)
    }

    fn finish(mut self) -> Result<()> {
        self.sequences.flush()?;
        Ok(self.outcomes.flush()?)
    }
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
        "this needs root in a guest of its own; sequences.sh boots one"
    );
    kernel::forbid_module_requests().map_err(|failed| anyhow!("{failed:?}"))?;
    kernel::forbid_unprivileged_bpf().map_err(|failed| anyhow!("{failed:?}"))
}

/// Makes sequences, of a corpus and from nothing, and runs them: first the corpus itself.
pub fn explore(
    seed: u64,
    corpus: &Path,
    guidance: Guidance,
    limits: &Limits,
    [sequences, outcomes, kept]: [&Path; 3],
) -> Result<()> {
    prepare()?;
    let mut corpus = step::read(&judge::read(corpus)?)?;
    let mut record = Record::create(sequences, outcomes)?;
    let kept = File::create(kept).with_context(|| kept.display().to_string())?;
    let mut rng = Rng::with_seed(seed);
    let start = Instant::now();
    stage::with(Coverage::Kcov, |stage| {
        let mut reached = HashSet::new();
        let mut kept = BufWriter::new(kept);
        let given = corpus.len();
        let mut count = 0;
        let mut next_report = 1000;
        while count < given || count < limits.sequences && start.elapsed() < limits.time {
            let steps = match corpus.get(count).filter(|_| count < given) {
                Some(steps) => steps.clone(),
                None if corpus.is_empty() || rng.u32(..6) == 0 => make::sequence(&mut rng),
                None => make::mutated(&mut rng, &corpus),
            };
            let (outcomes, new) = run_one(stage, &steps, &mut reached);
            record.add(&steps, &outcomes)?;
            if new > 0 {
                kept.write_all(step::text(&steps).as_bytes())?;
                if count >= given && guidance == Guidance::Coverage {
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
        Ok(kept.flush()?)
    })?;
    record.finish()
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

/// Runs the sequences of a file. With the text for people, if that is asked for.
pub fn replay(sequences: &Path, outcomes: Option<&Path>) -> Result<()> {
    prepare()?;
    let sequences = step::read(&judge::read(sequences)?)?;
    let output =
        outcomes.map(|path| File::create(path).with_context(|| path.display().to_string()));
    let mut output = output.transpose()?.map(BufWriter::new);
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
    output.map_or(Ok(()), |mut output| Ok(output.flush()?))
}

/// What of a file of sequences to compare, and how.
pub struct Compared<'a> {
    pub sequences: &'a Path,
    pub c: &'a Path,
    pub rust: &'a Path,
    pub vmlinux: &'a Path,
    pub without: &'a [Rule],
}

/// Compares. The smallest sequence on which the kernels differ goes to `smallest`, as text for people, if there is one.
pub fn compare(compared: &Compared<'_>, smallest: &Path) -> Result<bool> {
    let names = names::read(compared.vmlinux)?;
    let rules = Rules::all_but(compared.without);
    let sequences = step::read(&judge::read(compared.sequences)?)?;
    let c = judge::outcomes(&judge::read(compared.c)?);
    let rust = judge::outcomes(&judge::read(compared.rust)?);
    ensure!(
        [c.len(), rust.len()] == [sequences.len(); 2],
        "of {} sequences, the C kernel came to {} and the Rust kernel to {}",
        sequences.len(),
        c.len(),
        rust.len()
    );
    let mut used = BTreeMap::new();
    let mut found: Vec<(usize, String)> = Vec::new();
    for (index, steps) in sequences.iter().enumerate() {
        let outcomes = [c[index].as_slice(), rust[index].as_slice()];
        let divergence = judge::judge(&names, rules, steps, outcomes, &mut used)
            .with_context(|| format!("sequence {index}"))?;
        if let Some(divergence) = divergence {
            let size = shrink::weight(&steps[..=divergence.step]);
            found.push((size, judge::tell(steps, outcomes, &divergence)));
        }
    }
    let steps: usize = sequences.iter().map(Vec::len).sum();
    println!(
        "{} sequences of {steps} steps on both kernels",
        sequences.len()
    );
    for (rule, count) in used {
        println!("  {count:6}  explained by {rule}: {}", rule.title());
    }
    println!("  {:6}  not explained", found.len());
    found.sort();
    if let Some((_, text)) = found.first() {
        std::fs::write(smallest, text).with_context(|| smallest.display().to_string())?;
    }
    Ok(found.is_empty())
}

/// Makes smaller sequences of one; none if there are none.
pub fn reduce(sequence: &Path, sequences: &Path) -> Result<()> {
    let of = step::read(&judge::read(sequence)?)?;
    let smaller: String = of
        .iter()
        .flat_map(|steps| shrink::reductions(steps))
        .map(|steps| step::text(&steps))
        .collect();
    std::fs::write(sequences, smaller).with_context(|| sequences.display().to_string())
}
