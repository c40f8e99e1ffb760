// SPDX-License-Identifier: GPL-2.0

//! Counts what the test suites said, and compares it with the tests that are expected of each on its kernel.
//!
//! `results EXPECTED KTAP [--update] FORMAT:ID:TITLE:LOG...` reads the logs, prints a table that ends with the line
//! `N passed, N failed`, and writes the KTAP report. `EXPECTED/ID` is the list of the tests that a suite must run;
//! `--update` writes the lists anew. It exits with 0 only if all that is expected ran and nothing failed.

mod log;
mod suite;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use log::Format;
use suite::Suite;

fn parse(argument: &str, expected: &Path) -> Result<Suite, String> {
    let parts: Vec<&str> = argument.splitn(4, ':').collect();
    let [format, id, title, log] = parts[..] else {
        return Err(format!("{argument}: it should be FORMAT:ID:TITLE:LOG"));
    };
    let format = Format::of(format)
        .ok_or_else(|| format!("{format}: it is one of libtest, ktap, test_progs, program"))?;
    Suite::judge(format, id, title, log, &expected.join(id))
        .map_err(|error| format!("{id}: {error}"))
}

fn update(suite: &Suite, expected: &Path) -> Result<(), String> {
    let list = expected.join(&suite.id);
    let names: Vec<&str> = suite.outcomes.keys().map(String::as_str).collect();
    fs::create_dir_all(expected)
        .and_then(|()| fs::write(&list, names.join("\n") + "\n"))
        .map_err(|error| format!("{}: {error}", list.display()))
}

fn run(arguments: &[String]) -> Result<bool, String> {
    let [expected, ktap, rest @ ..] = arguments else {
        return Err("usage: results EXPECTED KTAP [--update] FORMAT:ID:TITLE:LOG...".into());
    };
    let expected = Path::new(expected);
    let (updates, suites): (Vec<_>, Vec<_>) =
        rest.iter().partition(|argument| *argument == "--update");
    let mut report = format!("KTAP version 1\n1..{}\n", suites.len());
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for (n, argument) in suites.into_iter().enumerate() {
        let mut suite = parse(argument, expected)?;
        let listed = expected.join(&suite.id).exists();
        // A suite that broke says nothing of the tests that it has.
        if !updates.is_empty() && suite.broken.is_none() && (listed || !suite.unlisted.is_empty()) {
            update(&suite, expected)?;
            suite.missing.clear();
            suite.unlisted.clear();
        }
        eprint!("{}", suite.tell());
        if !suite.missing.is_empty() || !suite.unlisted.is_empty() {
            eprintln!(
                "    {} of its tests are not in {}, {} there did not run; EXPECT=update writes what ran",
                suite.unlisted.len(),
                expected.join(&suite.id).display(),
                suite.missing.len()
            );
        }
        passed += suite.passed();
        failed += suite.failed();
        skipped += suite.skipped();
        report += &suite.ktap(n + 1);
    }
    fs::write(ktap, report).map_err(|error| format!("{ktap}: {error}"))?;
    if skipped > 0 {
        eprintln!("  {skipped} skipped, for the reasons above");
    }
    // No test is not all of them.
    if passed == 0 && failed == 0 {
        failed = 1;
    }
    println!("{passed} passed, {failed} failed");
    Ok(failed == 0)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("results: {error}");
            ExitCode::FAILURE
        }
    }
}
