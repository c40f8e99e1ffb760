// SPDX-License-Identifier: GPL-2.0

//! Sequences of steps: made by chance, or under guidance of coverage on one kernel; run on both, and compared.

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

use crate::calls;
use crate::grammar::Grammar;
use crate::judge;
use crate::judge::Divergence;
use crate::make;
use crate::names;
use crate::outcome::Outcome;
use crate::rules;
use crate::rules::Rule;
use crate::rules::Rules;
use crate::shrink;
use crate::stage;
use crate::stage::Coverage;
use crate::stage::Edge;
use crate::stage::Stage;
use crate::step;
use crate::step::Step;

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
        "this needs root in a guest of its own; fuzz.sh boots one"
    );
    kernel::forbid_module_requests().map_err(|failed| anyhow!("{failed:?}"))?;
    kernel::forbid_unprivileged_bpf().map_err(|failed| anyhow!("{failed:?}"))
}

/// Reads a file with its name in what goes wrong.
fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}

/// The outcomes that a guest has written: as many lines for a sequence as it has steps, then an empty one.
fn outcomes(path: &Path) -> Result<Vec<Vec<Outcome>>> {
    let text = read(path)?;
    let sequences = text.split("\n\n").filter(|lines| !lines.is_empty());
    sequences
        .map(|lines| lines.lines().map(Outcome::parse).collect())
        .collect()
}

/// Makes sequences from nothing: of so many mount option strings, and of so many calls of `bpf()`.
pub fn generate(
    seed: u64,
    [strings, calls]: [usize; 2],
    vmlinux: &Path,
    sequences: &Path,
) -> Result<()> {
    /// How many calls share what they are made with.
    const TOGETHER: usize = 500;
    let names = names::read(vmlinux)?;
    let mut rng = Rng::with_seed(seed);
    let mut grammar = Grammar::new(&names, rng.fork());
    let file = File::create(sequences).with_context(|| sequences.display().to_string())?;
    let mut file = BufWriter::new(file);
    let mut made = 0;
    while made < strings {
        let (steps, options) = grammar.sequence();
        file.write_all(step::text(&steps).as_bytes())?;
        made += options;
    }
    for from in (0..calls).step_by(TOGETHER) {
        let steps = calls::sequence(&mut rng, TOGETHER.min(calls - from));
        file.write_all(step::text(&steps).as_bytes())?;
    }
    Ok(file.flush()?)
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
    let mut corpus = step::read(&read(corpus)?)?;
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
    let sequences = step::read(&read(sequences)?)?;
    let output =
        outcomes.map(|path| File::create(path).with_context(|| path.display().to_string()));
    let mut output = output.transpose()?.map(BufWriter::new);
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

fn tainted() -> Result<u64> {
    let path = "/proc/sys/kernel/tainted";
    read(Path::new(path))?.trim().parse().context(path)
}

/// What of a file of sequences to compare, and how.
pub struct Compared<'a> {
    pub sequences: &'a Path,
    pub c: &'a Path,
    pub rust: &'a Path,
    pub vmlinux: &'a Path,
    pub without: &'a [Rule],
    /// Each rule must have explained a difference.
    pub all_rules: bool,
}

/// Compares. The smallest sequence on which the kernels differ goes to `smallest`, as text for people, if there is one.
pub fn compare(compared: &Compared<'_>, smallest: &Path) -> Result<bool> {
    let names = names::read(compared.vmlinux)?;
    let rules = Rules::all_but(compared.without);
    let sequences = step::read(&read(compared.sequences)?)?;
    let c = outcomes(compared.c)?;
    let rust = outcomes(compared.rust)?;
    ensure!(
        [c.len(), rust.len()] == [sequences.len(); 2],
        "of {} sequences, the C kernel came to {} and the Rust kernel to {}",
        sequences.len(),
        c.len(),
        rust.len()
    );
    let mut used = BTreeMap::new();
    let mut distinct = HashSet::new();
    let mut found: Vec<(usize, String)> = Vec::new();
    for (index, steps) in sequences.iter().enumerate() {
        let outcomes = [c[index].as_slice(), rust[index].as_slice()];
        ensure!(
            outcomes.map(<[Outcome]>::len) == [steps.len(); 2],
            "a guest did not come to all steps of sequence {index}"
        );
        distinct.extend(steps.iter().zip(outcomes[0]).map(|(step, came_to)| {
            let act = step.act.to_string();
            let kind = act.split(' ').next().unwrap_or_default().to_owned();
            (
                kind,
                came_to.errno,
                came_to.told.clone(),
                came_to.log.is_some(),
            )
        }));
        let divergence = judge::judge(&names, rules, steps, outcomes, &mut used);
        if let Some(divergence) = divergence {
            let size = shrink::weight(&steps[..=divergence.step]);
            let Divergence { step, why } = &divergence;
            println!("  sequence {index}, step {step}: {}: {why}", steps[*step]);
            found.push((size, judge::tell(steps, outcomes, &divergence)));
        }
    }
    let steps: usize = sequences.iter().map(Vec::len).sum();
    println!(
        "{} sequences of {steps} steps on both kernels, {} distinct outcomes",
        sequences.len(),
        distinct.len()
    );
    for (rule, count) in &used {
        println!("  {count:6}  explained by {rule}: {}", rule.title());
    }
    println!("  {:6}  not explained", found.len());
    found.sort();
    if let Some((_, text)) = found.first() {
        std::fs::write(smallest, text).with_context(|| smallest.display().to_string())?;
    }
    let idle = rules::ALL.iter().filter(|rule| !used.contains_key(rule));
    let idle: Vec<_> = idle.collect();
    ensure!(
        !compared.all_rules || !found.is_empty() || idle.is_empty(),
        "nothing was there for the rules {idle:?} to explain: the steps or the rules are not what they were to be"
    );
    Ok(found.is_empty())
}

/// Makes smaller sequences of one; none if there are none.
pub fn reduce(sequence: &Path, sequences: &Path) -> Result<()> {
    let of = step::read(&read(sequence)?)?;
    let smaller: String = of
        .iter()
        .flat_map(|steps| shrink::reductions(steps))
        .map(|steps| step::text(&steps))
        .collect();
    std::fs::write(sequences, smaller).with_context(|| sequences.display().to_string())
}
