// SPDX-License-Identifier: GPL-2.0

//! What ran, by suite and by line.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::list::List;
use crate::list::Missing;
use crate::map::Map;
use crate::map::Place;
use crate::translated::Translated;

/// The blocks that ran.
pub struct Report<'a> {
    map: &'a Map,
    ran: Vec<bool>,
    suites: Vec<(String, usize)>,
}

/// How many blocks of a line there are, and ran.
#[derive(Default)]
struct Count {
    line: u32,
    blocks: usize,
    ran: usize,
    /// Of those that did not run, the first address and what they are inlined into.
    others: Vec<(u64, String)>,
}

impl Count {
    fn missing(&self) -> Option<Missing> {
        match self.ran {
            ran if ran == self.blocks => None,
            0 => Some(Missing::All),
            _ => Some(Missing::Part),
        }
    }
}

impl<'a> Report<'a> {
    /// Nothing ran yet.
    pub fn new(map: &'a Map) -> Self {
        Self {
            map,
            ran: vec![false; map.blocks.len()],
            suites: Vec::new(),
        }
    }

    /// Adds what ran in the guest of a suite.
    pub fn add(&mut self, suite: &str, translated: &Translated) {
        let mut count = 0;
        for (block, ran) in self.map.blocks.iter().zip(&mut self.ran) {
            if translated.has_all(&block.instructions) {
                count += 1;
                *ran = true;
            }
        }
        self.suites.push((suite.into(), count));
    }

    /// One line for each suite, and one for all.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let all = (
            "all suites".to_string(),
            self.ran.iter().filter(|ran| **ran).count(),
        );
        for (suite, ran) in self.suites.iter().chain([&all]) {
            let _ = writeln!(
                text,
                "  blocks that ran in {suite:<28} {ran:5} of {}",
                self.ran.len()
            );
        }
        text
    }

    fn counts(&self) -> BTreeMap<&'a Place, Count> {
        let mut counts: BTreeMap<_, Count> = BTreeMap::new();
        for (block, ran) in self.map.blocks.iter().zip(&self.ran) {
            let count = counts.entry(&block.place).or_default();
            count.line = block.line;
            count.blocks += 1;
            if *ran {
                count.ran += 1;
            } else {
                count
                    .others
                    .push((block.instructions[0], block.inside.clone()));
            }
        }
        counts
    }

    /// What runs less than the list says, and lines of it that are not there: errors.
    pub fn complaints(&self, list: &List) -> Vec<String> {
        let counts = self.counts();
        let mut complaints = Vec::new();
        for (place, count) in &counts {
            let Some(missing) = count.missing() else {
                continue;
            };
            let listed = list.get(place).map(|(missing, _)| *missing);
            if matches!(listed, Some(Missing::All | Missing::Varies)) || listed == Some(missing) {
                continue;
            }
            let (line, blocks, others) = (count.line, count.blocks, &count.others);
            let mut complaint = format!(
                "{} of {blocks} blocks of line {line} did not run: {missing} {place}",
                others.len(),
            );
            for (address, inside) in others {
                let _ = write!(complaint, "\n    {address:#x} {inside}");
            }
            complaints.push(complaint);
        }
        for (place, missing) in list.entries() {
            if !counts.contains_key(place) {
                complaints.push(format!("there is no such line: {missing} {place}"));
            }
        }
        complaints
    }

    /// What runs more than the list says. No error: what a probe or a race of threads needs may happen in one run of many.
    pub fn more(&self, list: &List) -> Vec<String> {
        let mut more = Vec::new();
        for (place, count) in self.counts() {
            match (count.missing(), list.get(place)) {
                (_, Some((Missing::Varies, _))) => {}
                (None, Some((listed, _))) => {
                    more.push(format!(
                        "all of its blocks ran in this run: {listed} {place}"
                    ));
                }
                (Some(Missing::Part), Some((Missing::All, _))) => {
                    more.push(format!("some of its blocks ran in this run: all {place}"));
                }
                _ => {}
            }
        }
        more
    }

    /// All lines that have blocks, by file, and how many of them ran.
    pub fn text(&self, list: &List) -> String {
        let mut text = self.table();
        let counts = self.counts();
        let mut lines: Vec<_> = counts.into_iter().collect();
        lines.sort_by(|(a, x), (b, y)| (&a.file, x.line, a).cmp(&(&b.file, y.line, b)));
        let mut file = "";
        for (place, count) in lines {
            if place.file != file {
                file = &place.file;
                let _ = writeln!(text, "\n{file}");
            }
            let mark = if count.missing().is_some() { '-' } else { ' ' };
            let Count {
                line, blocks, ran, ..
            } = count;
            let _ = writeln!(
                text,
                "{mark} {ran:4} of {blocks:4}  {line:4} {}: {}",
                place.function, place.text
            );
            if let Some((_, reason)) = list.get(place) {
                let _ = writeln!(text, "                    ({reason})");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::Block;

    fn map() -> Map {
        let place = |text: &str| Place {
            file: "a.rs".into(),
            function: "f".into(),
            text: text.into(),
        };
        let block = |text, line, address| Block {
            place: place(text),
            line,
            inside: "g:3".into(),
            instructions: vec![address],
        };
        Map {
            filter: String::new(),
            blocks: vec![block("x?;", 1, 1), block("x?;", 1, 2), block("y", 2, 3)],
        }
    }

    fn complaints(log: &str, list: &str) -> Vec<String> {
        let map = map();
        let mut report = Report::new(&map);
        report.add("one", &Translated::parse(log));
        report.complaints(&List::parse(list).expect("a list"))
    }

    #[test]
    fn what_did_not_run_is_named() {
        let told = complaints("0x1: x\n", "");
        assert_eq!(
            told,
            [
                "1 of 2 blocks of line 1 did not run: part a.rs: f: x?;\n    0x2 g:3",
                "1 of 1 blocks of line 2 did not run: all a.rs: f: y\n    0x3 g:3",
            ]
        );
        assert!(complaints("0x1: x\n", "= why\npart a.rs: f: x?;\nall a.rs: f: y\n").is_empty());
        assert!(complaints("0x1: x\n0x2: x\n0x3: x\n", "").is_empty());
    }

    #[test]
    fn a_line_that_is_not_there_is_an_error() {
        assert_eq!(
            complaints("0x1: x\n0x2: x\n0x3: x\n", "= why\nall a.rs: f: z\n"),
            ["there is no such line: all a.rs: f: z"]
        );
    }

    #[test]
    fn what_runs_less_than_listed_is_an_error() {
        assert_eq!(
            complaints("0x3: x\n", "= why\npart a.rs: f: x?;\n").len(),
            1
        );
    }

    #[test]
    fn what_varies_is_never_an_error() {
        for log in ["0x3: x\n", "0x1: x\n0x3: x\n", "0x1: x\n0x2: x\n0x3: x\n"] {
            assert!(complaints(log, "= why\nvaries a.rs: f: x?;\n").is_empty());
        }
        assert_eq!(complaints("", "= why\nvaries a.rs: f: x?;\n").len(), 1);
    }

    #[test]
    fn what_runs_more_than_listed_is_told() {
        for (log, list, told) in [
            (
                "0x1: x\n0x3: x\n",
                "= why\nall a.rs: f: x?;\n",
                "some of its blocks ran in this run: all a.rs: f: x?;",
            ),
            (
                "0x1: x\n0x2: x\n0x3: x\n",
                "= why\npart a.rs: f: x?;\n",
                "all of its blocks ran in this run: part a.rs: f: x?;",
            ),
        ] {
            let map = map();
            let mut report = Report::new(&map);
            report.add("one", &Translated::parse(log));
            let list = List::parse(list).expect("a list");
            assert_eq!(report.more(&list), [told]);
            assert!(report.complaints(&list).is_empty(), "{list:?}");
        }
    }

    #[test]
    fn suites_add_up() {
        let map = map();
        let mut report = Report::new(&map);
        report.add("one", &Translated::parse("0x1: x\n"));
        report.add("two", &Translated::parse("0x1: x\n0x2: x\n"));
        let table = report.table();
        assert!(
            table.contains("all suites                       2 of 3"),
            "{table}"
        );
        assert!(report
            .text(&List::parse("").expect("a list"))
            .contains("-    0 of    1     2 f: y"));
    }
}
