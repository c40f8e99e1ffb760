// SPDX-License-Identifier: GPL-2.0

//! What sequences came to on both kernels, held against each other.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::path::Path;
use std::path::PathBuf;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use clap::Args;
use clap::ValueEnum;

use crate::judge;
use crate::judge::Divergence;
use crate::names;
use crate::outcome::Outcome;
use crate::rules::Rule;
use crate::rules::Rules;
use crate::run::read;
use crate::shrink;
use crate::step;

/// Compare what sequences came to on both kernels; ends with status 3 if it differs
#[derive(Args)]
pub struct Compare {
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
    /// Where the smallest sequence goes on which they differ, as text for people
    #[arg(long)]
    smallest: PathBuf,
}

impl Compare {
    /// Says whether no difference is left unexplained.
    pub fn run(&self) -> Result<bool> {
        let names = names::read(&self.vmlinux)?;
        let rules = Rules::all_but(&self.without);
        let sequences = step::read(&read(&self.sequences)?)?;
        let c = outcomes(&self.c)?;
        let rust = outcomes(&self.rust)?;
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
            std::fs::write(&self.smallest, text)
                .with_context(|| self.smallest.display().to_string())?;
        }
        let all = Rule::value_variants().iter();
        let idle: Vec<_> = all.filter(|rule| !used.contains_key(rule)).collect();
        ensure!(
            !self.all_rules || !found.is_empty() || idle.is_empty(),
            "nothing was there for the rules {idle:?} to explain: the steps or the rules are not \
             what they were to be"
        );
        Ok(found.is_empty())
    }
}

/// The outcomes that a guest has written: as many lines for a sequence as it has steps, then an empty one.
fn outcomes(path: &Path) -> Result<Vec<Vec<Outcome>>> {
    let text = read(path)?;
    let sequences = text.split("\n\n").filter(|lines| !lines.is_empty());
    sequences
        .map(|lines| lines.lines().map(Outcome::parse).collect())
        .collect()
}
