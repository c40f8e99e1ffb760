// SPDX-License-Identifier: GPL-2.0

//! What a comparison of two guests has come to.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Result;

use crate::case;
use crate::case::Case;
use crate::case::Cases;
use crate::case::Saw;
use crate::compare::Comparison;
use crate::options;
use crate::rules;
use crate::rules::Rule;
use crate::rules::Rules;

/// A case on which the kernels differ, and no rule says so.
pub struct Divergence {
    pub index: usize,
    pub why: String,
    pub c: Saw,
    pub rust: Saw,
}

pub struct Report {
    pub divergences: Vec<Divergence>,
    /// How many cases each rule explained.
    explained: BTreeMap<Rule, usize>,
    options: usize,
    calls: usize,
    outcomes: usize,
}

/// Compares what was seen in both guests, which must have seen all cases.
pub fn compare(cases: &Cases, c: &Path, rust: &Path, without: &[Rule]) -> Result<Report> {
    let comparison = Comparison {
        names: &cases.header.names,
        rules: Rules::all_but(without),
    };
    let of_c = sights(cases, c)?;
    let of_rust = sights(cases, rust)?;
    let mut report = Report {
        divergences: Vec::new(),
        explained: rules::ALL.map(|rule| (rule, 0)).into(),
        options: 0,
        calls: 0,
        outcomes: 0,
    };
    let mut outcomes = BTreeSet::new();
    let sights = of_c.into_iter().zip(of_rust).enumerate();
    for (case, (index, (c, rust))) in cases.cases.iter().zip(sights) {
        report.count(case);
        outcomes.insert(outcome(case, &c));
        match comparison.compare(case, &c, &rust) {
            Ok(fired) => {
                for rule in fired {
                    *report.explained.entry(rule).or_default() += 1;
                }
            }
            Err(why) => report.divergences.push(Divergence {
                index,
                why,
                c,
                rust,
            }),
        }
    }
    report.outcomes = outcomes.len();
    Ok(report)
}

fn sights(cases: &Cases, path: &Path) -> Result<Vec<Saw>> {
    let case::Sights { sights, end } = case::read_sights(path)?;
    let name = path.display();
    let count = cases.cases.len();
    let Some((before, after)) = end else {
        let last = sights.last().map(|(index, _)| index);
        bail!(
            "{name}: the run did not end; the last of {count} cases that it wrote down is {last:?}"
        );
    };
    ensure!(
        before == after,
        "{name}: the kernel was tainted during the run ({before} to {after}): see its console"
    );
    let complete = sights.iter().map(|(index, _)| *index).eq(0..count);
    ensure!(
        complete,
        "{name} does not have each of the {count} cases once"
    );
    Ok(sights.into_iter().map(|(_, saw)| saw).collect())
}

/// What kinds of outcomes there are: of each option, and of each command.
fn outcome(case: &Case, saw: &Saw) -> String {
    match (case, saw) {
        (Case::Context(_), Saw::Context(saw)) => {
            let errnos: BTreeSet<_> = saw.settings.iter().map(|saw| saw.errno).collect();
            let masks = saw.mount.as_ref().map(|mount| &mount.token);
            format!("context {errnos:?} {masks:?}")
        }
        (Case::Mount(_), Saw::Mount(saw)) => format!("mount {} {:?}", saw.errno, saw.mountinfo),
        (Case::Call(call), Saw::Call(saw)) => {
            let common = call.common.is_some();
            let log = saw.log.is_some();
            format!(
                "{:?} {} {common} {log} {:?}",
                call.command, saw.errno, saw.token
            )
        }
        (_, saw) => format!("{saw:?}"),
    }
}

fn count_options(data: &[u8]) -> usize {
    let options = data.split(|byte| *byte == b',');
    options
        .filter(|option| option.starts_with(b"delegate_"))
        .count()
}

impl Report {
    fn count(&mut self, case: &Case) {
        match case {
            Case::Context(settings) => {
                let is_option = |setting: &&case::Setting| options::kind_of(&setting.key).is_some();
                self.options += settings.iter().filter(is_option).count();
            }
            Case::Mount(data) => self.options += count_options(data),
            Case::Remount(data, again) => {
                self.options += count_options(data) + count_options(again);
            }
            Case::Call(_) | Case::Reopen(_) => self.calls += 1,
        }
    }

    pub fn print(&self) {
        println!(
            "{} option strings, {} calls, {} distinct outcomes",
            self.options, self.calls, self.outcomes
        );
        for (rule, count) in &self.explained {
            println!(
                "  {rule}: {count:>7} differences explained ({})",
                rule.title()
            );
        }
        println!("  unexplained: {}", self.divergences.len());
    }

    /// The rules that have explained nothing.
    pub fn idle(&self) -> Vec<Rule> {
        let idle = self.explained.iter().filter(|(_, count)| **count == 0);
        idle.map(|(rule, _)| *rule).collect()
    }
}
