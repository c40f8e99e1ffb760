// SPDX-License-Identifier: GPL-2.0

//! One suite on one kernel: what its log says against what is expected of it.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

use crate::log::counted;
use crate::log::Format;
use crate::log::Outcome;
use crate::log::Outcomes;

/// A suite, its log, and what came of it.
pub struct Suite {
    /// Its name, and that of the list of the tests that are expected.
    pub id: String,
    /// What it is called in the table.
    pub title: String,
    /// Where its output is.
    pub log: String,
    /// What its tests did.
    pub outcomes: Outcomes,
    /// The tests that are expected and did not run.
    pub missing: BTreeSet<String>,
    /// The tests that ran and are not in the list.
    pub unlisted: BTreeSet<String>,
    /// The run that this log is of, if it is an earlier one: nothing that the suite depends on has changed since.
    pub from: Option<String>,
    /// Set if the suite failed as a whole: it did not end, or ended with an error although no test failed.
    pub broken: Option<String>,
}

/// The names in `list`, one a line.
fn names(list: &str) -> BTreeSet<String> {
    list.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(String::from)
        .collect()
}

impl Suite {
    /// Judges the log at `log`, and the exit status beside it, in `log.status`. `list` is the list of expected tests;
    /// none is read for a program, which is one test by itself.
    pub fn judge(
        format: Format,
        id: &str,
        title: &str,
        log: &str,
        list: &Path,
    ) -> io::Result<Self> {
        let text = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
        let status = fs::read_to_string(format!("{log}.status")).unwrap_or_default();
        let from = fs::read_to_string(format!("{log}.from")).ok();
        let mut suite = Self {
            id: id.into(),
            title: title.into(),
            log: log.into(),
            from: from.map(|run| run.trim().into()),
            outcomes: format.read(&text),
            missing: BTreeSet::new(),
            unlisted: BTreeSet::new(),
            broken: None,
        };
        if format == Format::Program {
            let outcome = match status.trim() {
                "0" => Outcome::Passed,
                _ => Outcome::Failed,
            };
            suite.outcomes.insert(id.into(), outcome);
            return Ok(suite);
        }
        suite.compare(&names(&read_list(list)?));
        suite.broken = match status.trim() {
            "" => Some("it was not run to its end".into()),
            "0" if suite.outcomes.is_empty() => Some("it ran no test".into()),
            // A line that something else was written into is no test's any more.
            _ if format == Format::Libtest && counted(&text) != suite.outcomes.len() => {
                let (told, found) = (counted(&text), suite.outcomes.len());
                Some(format!(
                    "it counts {told} tests, of which {found} can be read"
                ))
            }
            "0" => None,
            // Its failed tests say why.
            _ if suite.failures() > 0 => None,
            status => Some(format!("it ended with exit status {status}")),
        };
        Ok(suite)
    }

    fn compare(&mut self, expected: &BTreeSet<String>) {
        let seen: BTreeSet<String> = self.outcomes.keys().cloned().collect();
        self.missing = expected.difference(&seen).cloned().collect();
        self.unlisted = seen.difference(expected).cloned().collect();
    }

    fn count(&self, wanted: impl Fn(&Outcome) -> bool) -> usize {
        self.outcomes
            .values()
            .filter(|outcome| wanted(outcome))
            .count()
    }

    /// How many tests passed.
    pub fn passed(&self) -> usize {
        self.count(|outcome| *outcome == Outcome::Passed)
    }

    /// How many were skipped.
    pub fn skipped(&self) -> usize {
        self.count(|outcome| matches!(outcome, Outcome::Skipped(_)))
    }

    fn failures(&self) -> usize {
        self.count(|outcome| *outcome == Outcome::Failed)
    }

    /// How many failed: a test that is expected and did not run is one, and so is a suite that broke.
    pub fn failed(&self) -> usize {
        self.failures() + self.missing.len() + usize::from(self.broken.is_some())
    }

    /// Its line of the table, and below it what there is to say.
    pub fn tell(&self) -> String {
        let (passed, failed, skipped) = (self.passed(), self.failed(), self.skipped());
        let mut text = format!("  {:<48} {passed:4} passed, {failed} failed", self.title);
        if skipped > 0 {
            let _ = write!(text, ", {skipped} skipped");
        }
        if let Some(run) = &self.from {
            let _ = write!(text, " (in {run}; nothing of it has changed)");
        }
        text.push('\n');
        for (name, outcome) in &self.outcomes {
            match outcome {
                Outcome::Passed => {}
                Outcome::Failed => {
                    let _ = writeln!(text, "    failed: {name}");
                }
                Outcome::Skipped(reason) if reason.is_empty() => {
                    let _ = writeln!(text, "    skipped: {name}: it gives no reason");
                }
                Outcome::Skipped(reason) => {
                    let _ = writeln!(text, "    skipped: {name}: {reason}");
                }
            }
        }
        for name in &self.missing {
            let _ = writeln!(text, "    did not run: {name}");
        }
        if let Some(why) = &self.broken {
            let _ = writeln!(text, "    the suite failed: {why}");
        }
        if failed > 0 {
            let _ = writeln!(text, "    its output: {}", self.log);
        }
        text
    }

    /// Its part of the KTAP report.
    pub fn ktap(&self, number: usize) -> String {
        let count = self.outcomes.len() + self.missing.len();
        let mut text = format!(
            "    KTAP version 1\n    # Subtest: {}\n    1..{count}\n",
            self.id
        );
        let missing = self.missing.iter().map(|name| (name, &Outcome::Failed));
        for (n, (name, outcome)) in self.outcomes.iter().chain(missing).enumerate() {
            // A # would begin a directive.
            let name = name.replace('#', "");
            let _ = match outcome {
                Outcome::Passed => writeln!(text, "    ok {} {name}", n + 1),
                Outcome::Failed => writeln!(text, "    not ok {} {name}", n + 1),
                Outcome::Skipped(reason) => {
                    writeln!(text, "    ok {} {name} # SKIP {reason}", n + 1)
                }
            };
        }
        if let Some(why) = &self.broken {
            let _ = writeln!(text, "    # {why}");
        }
        if let Some(run) = &self.from {
            let _ = writeln!(text, "    # seen in the run {run}");
        }
        let verdict = if self.failed() == 0 { "ok" } else { "not ok" };
        let _ = writeln!(text, "{verdict} {number} {}", self.id);
        text
    }
}

/// A suite that has no list yet expects nothing.
fn read_list(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        list => list,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Judges `log`, of which `expected` is the list; a `status` of "" is that of a suite that did not end.
    fn judge(name: &str, log: &str, status: &str, expected: &str) -> Suite {
        let dir = std::env::temp_dir().join(format!("results-{}-{name}", std::process::id()));
        fs::create_dir_all(&dir).expect("a directory");
        let path = dir.join("log");
        let count = |what| log.matches(what).count();
        let (ok, bad, ignored) = (count("... ok"), count("... FAILED"), count("... ignored"));
        let summary = format!("test result: x. {ok} passed; {bad} failed; {ignored} ignored\n");
        fs::write(&path, format!("{log}{summary}")).expect("the log");
        if !status.is_empty() {
            fs::write(dir.join("log.status"), status).expect("the status");
        }
        let list = dir.join("list");
        fs::write(&list, expected).expect("the list");
        let path = path.to_str().expect("UTF-8");
        let suite = Suite::judge(Format::Libtest, "id", "title", path, &list).expect("judged");
        fs::remove_dir_all(&dir).expect("removed");
        suite
    }

    #[test]
    fn all_that_is_expected_passes() {
        let suite = judge(
            "all",
            "test a ... ok\ntest b ... ignored, why\n",
            "0\n",
            "a\nb\n",
        );
        assert_eq!((suite.passed(), suite.failed(), suite.skipped()), (1, 0, 1));
        assert!(suite.tell().contains("skipped: b: why"));
    }

    #[test]
    fn fewer_is_a_failure() {
        let suite = judge("fewer", "test a ... ok\n", "0\n", "a\nb\n");
        assert_eq!(suite.failed(), 1);
        assert!(suite.tell().contains("did not run: b"));
        assert!(suite.ktap(1).contains("not ok 2 b\nnot ok 1 id"));
    }

    #[test]
    fn none_is_a_failure() {
        assert_eq!(judge("none", "", "0\n", "").failed(), 1);
        assert_eq!(judge("none-of-one", "", "0\n", "a\n").failed(), 2);
    }

    #[test]
    fn an_error_without_a_failed_test_is_a_failure() {
        assert_eq!(
            judge("error", "test a ... ok\n", "255\n", "a\n").failed(),
            1
        );
        assert_eq!(judge("unended", "test a ... ok\n", "", "a\n").failed(), 1);
        assert_eq!(
            judge("one", "test a ... FAILED\n", "101\n", "a\n").failed(),
            1
        );
    }

    #[test]
    fn a_line_that_is_broken_up_is_a_failure() {
        let log = "test a ... ok\ntest b ... as\n... ok\n";
        let suite = judge("broken", log, "0\n", "a\n");
        assert_eq!(suite.failed(), 1);
        assert!(suite
            .tell()
            .contains("counts 2 tests, of which 1 can be read"));
    }

    #[test]
    fn an_earlier_run_is_named() {
        let mut suite = judge("earlier", "test a ... ok\n", "0\n", "a\n");
        assert_eq!(suite.from, None);
        suite.from = Some("20260101-test".into());
        assert!(suite.tell().contains(" (in 20260101-test; "));
        assert!(suite
            .ktap(1)
            .contains("    # seen in the run 20260101-test\n"));
    }

    #[test]
    fn a_new_test_is_told() {
        let suite = judge("new", "test a ... ok\ntest c ... ok\n", "0\n", "a\n");
        assert_eq!((suite.failed(), suite.unlisted.len()), (0, 1));
    }
}
