// SPDX-License-Identifier: GPL-2.0

//! Reads what test harnesses print.

use std::collections::BTreeMap;

/// How one test ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It passed.
    Passed,
    /// It failed.
    Failed,
    /// It did not run, for this reason.
    Skipped(String),
}

/// The tests of a suite by name.
pub type Outcomes = BTreeMap<String, Outcome>;

/// Which harness wrote a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Rust's libtest, or libtest-mimic: `test NAME ... ok`.
    Libtest,
    /// KTAP, as the kernel's KUnit prints it, or its single lines `ok: NAME`.
    Ktap,
    /// The `test_progs` of the kernel's BPF selftests: `#1/2 NAME:OK`.
    TestProgs,
    /// A program that is one test: its exit status is all there is.
    Program,
}

impl Format {
    /// The format of that name.
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "libtest" => Some(Self::Libtest),
            "ktap" => Some(Self::Ktap),
            "test_progs" => Some(Self::TestProgs),
            "program" => Some(Self::Program),
            _ => None,
        }
    }

    /// The outcomes that `log` tells.
    pub fn read(self, log: &str) -> Outcomes {
        match self {
            Self::Libtest => libtest(log),
            Self::Ktap => ktap(log),
            Self::TestProgs => test_progs(log),
            Self::Program => Outcomes::new(),
        }
    }
}

/// How many tests the summaries of libtest in `log` count: passed, failed and ignored.
pub fn counted(log: &str) -> usize {
    log.lines()
        .filter_map(|line| line.strip_prefix("test result: "))
        .flat_map(|summary| summary.split([';', '.']))
        .filter_map(|part| {
            let (number, what) = part.trim().split_once(' ')?;
            let of_a_test = ["passed", "failed", "ignored"].contains(&what);
            of_a_test.then(|| number.parse::<usize>().ok())?
        })
        .sum()
}

/// Adds a test. Of two with one name, the second is told apart by a number.
fn add(outcomes: &mut Outcomes, name: &str, outcome: Outcome) {
    let mut unique = name.to_string();
    let mut n = 2;
    while outcomes.contains_key(&unique) {
        unique = format!("{name} ({n})");
        n += 1;
    }
    outcomes.insert(unique, outcome);
}

fn libtest(log: &str) -> Outcomes {
    let mut outcomes = Outcomes::new();
    // Several programs may write to one log; cargo names each before it runs.
    let mut program = String::new();
    for line in log.lines() {
        let trimmed = line.trim_start();
        if let Some(running) = trimmed.strip_prefix("Running ") {
            let file = running.rsplit(['/', '(']).next().unwrap_or_default();
            let name = file.trim_end_matches(')');
            // What follows the last hyphen is a hash.
            program = format!("{}: ", name.rsplit_once('-').map_or(name, |(name, _)| name));
        } else if let Some(name) = trimmed.strip_prefix("Doc-tests ") {
            program = format!("{name}, documentation: ");
        }
        let Some((name, result)) = line
            .strip_prefix("test ")
            .and_then(|rest| rest.rsplit_once(" ... "))
        else {
            continue;
        };
        let outcome = match result
            .split_once(',')
            .map_or(result, |(word, _)| word)
            .trim()
        {
            "ok" => Outcome::Passed,
            "FAILED" => Outcome::Failed,
            "ignored" => {
                let reason = result.split_once(',').map_or("", |(_, reason)| reason);
                Outcome::Skipped(reason.trim().to_string())
            }
            _ => continue,
        };
        // Where a documentation test stands changes with each line above it.
        let name = name.trim();
        let name = name.split_once(" (line ").map_or(name, |(name, _)| name);
        add(&mut outcomes, &format!("{program}{name}"), outcome);
    }
    outcomes
}

fn ktap(log: &str) -> Outcomes {
    let mut outcomes = Outcomes::new();
    // The suite that each depth is in.
    let mut suites: Vec<(usize, String)> = Vec::new();
    // A line that closes a suite comes after deeper lines, and is no test.
    let mut deepest = 0;
    for line in log.lines() {
        let text = line.trim_start();
        let depth = line.len() - text.len();
        if let Some(name) = text.strip_prefix("# Subtest: ") {
            suites.retain(|(other, _)| *other < depth);
            suites.push((depth, name.trim().to_string()));
            continue;
        }
        let (passed, rest) = match (text.strip_prefix("ok"), text.strip_prefix("not ok")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => continue,
        };
        let rest = match (rest.strip_prefix(' '), rest.strip_prefix(": ")) {
            (Some(numbered), _) => {
                let (number, name) = numbered.split_once(' ').unwrap_or((numbered, ""));
                if number.parse::<u32>().is_err() {
                    continue;
                }
                name
            }
            (_, Some(name)) => name,
            _ => continue,
        };
        suites.retain(|(other, _)| *other <= depth);
        if depth < deepest {
            deepest = depth;
            continue;
        }
        deepest = depth;
        let (name, directive) = rest.split_once(" # ").unwrap_or((rest, ""));
        let name = name.trim().trim_start_matches("- ");
        let outcome = match directive.strip_prefix("SKIP") {
            Some(reason) => Outcome::Skipped(reason.trim().to_string()),
            None if passed => Outcome::Passed,
            None => Outcome::Failed,
        };
        let suite = suites
            .last()
            .map_or(String::new(), |(_, suite)| format!("{suite}."));
        add(&mut outcomes, &format!("{suite}{name}"), outcome);
    }
    outcomes
}

fn test_progs(log: &str) -> Outcomes {
    let mut outcomes = Outcomes::new();
    for line in log.lines() {
        let Some((number, rest)) = line
            .strip_prefix('#')
            .and_then(|rest| rest.split_once(char::is_whitespace))
        else {
            continue;
        };
        // A number without a slash is the test that the numbered ones are parts of.
        let Some((name, result)) = rest.trim().rsplit_once(':') else {
            continue;
        };
        if !number.contains('/') {
            continue;
        }
        let outcome = match result {
            "OK" => Outcome::Passed,
            "SKIP" => Outcome::Skipped(String::new()),
            _ => Outcome::Failed,
        };
        outcomes.insert(name.to_string(), outcome);
    }
    outcomes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(outcomes: &Outcomes) -> Vec<(&str, Outcome)> {
        outcomes
            .iter()
            .map(|(name, outcome)| (name.as_str(), outcome.clone()))
            .collect()
    }

    #[test]
    fn libtest_lines() {
        let log = "     Running unittests src/lib.rs (target/release/deps/bpf_token-0af3)\n\
                   test a::b        ... ok\ntest c ... FAILED\ntest d ... ignored, needs KVM\n\
                   test result: FAILED. 1 passed; 1 failed\n   Doc-tests bpf_token\n\
                   test src/lib.rs - x (line 12) ... ok\ntest src/lib.rs - x (line 40) ... ok\n";
        assert_eq!(
            names(&Format::Libtest.read(log)),
            [
                ("bpf_token, documentation: src/lib.rs - x", Outcome::Passed),
                (
                    "bpf_token, documentation: src/lib.rs - x (2)",
                    Outcome::Passed
                ),
                ("bpf_token: a::b", Outcome::Passed),
                ("bpf_token: c", Outcome::Failed),
                ("bpf_token: d", Outcome::Skipped("needs KVM".into())),
            ]
        );
    }

    #[test]
    fn summaries_are_counted() {
        let log =
            "test result: FAILED. 1 passed; 2 failed; 3 ignored; 0 measured; 7 filtered out; \
                   finished in 0.01s\ntest result: ok. 4 passed; 0 failed; 0 ignored; 0 measured\n";
        assert_eq!(counted(log), 10);
    }

    #[test]
    fn a_suite_of_one_test_has_no_totals() {
        let log = "KTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: one\n    1..1\n\
                   \x20   ok 1 only\nok 1 one\nKTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: two\n\
                   \x20   1..3\n    ok 1 a\n    not ok 2 b\n    ok 3 c # SKIP no such type\n\
                   # two: pass:1 fail:1 skip:1 total:3\n# Totals: pass:1 fail:1 skip:1 total:3\nnot ok 1 two\n";
        assert_eq!(
            names(&Format::Ktap.read(log)),
            [
                ("one.only", Outcome::Passed),
                ("two.a", Outcome::Passed),
                ("two.b", Outcome::Failed),
                ("two.c", Outcome::Skipped("no such type".into())),
            ]
        );
    }

    #[test]
    fn single_lines() {
        let log = "ok: map: the token does not delegate it\nnot ok: btf: -1\nokay\n";
        assert_eq!(
            names(&Format::Ktap.read(log)),
            [
                ("btf: -1", Outcome::Failed),
                ("map: the token does not delegate it", Outcome::Passed),
            ]
        );
    }

    #[test]
    fn test_progs_lines() {
        let log = "#505/1    token/map_token:OK\n#505/2    token/btf_token:FAIL\n#505/3    token/x:SKIP\n\
                   #505     token:FAIL\nSummary: 0/1 PASSED, 1 SKIPPED, 1 FAILED\n";
        assert_eq!(
            names(&Format::TestProgs.read(log)),
            [
                ("token/btf_token", Outcome::Failed),
                ("token/map_token", Outcome::Passed),
                ("token/x", Outcome::Skipped(String::new())),
            ]
        );
    }
}
