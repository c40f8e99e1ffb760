// SPDX-License-Identifier: GPL-2.0

//! Which blocks of the token's machine code ran in the guests of the tests, by QEMU's log of what it translates.
//!
//! `coverage map VMLINUX IMAGE TREE OURS` finds the blocks that come from our lines, and prints them, after a line with the
//! addresses that QEMU should log. `coverage judge MAP LIST REPORT SUITE=LOG...` compares what ran with `LIST`, which has
//! the blocks that no test can run, and why; it fails if one did not run that is not there.

mod binary;
mod blocks;
mod list;
mod map;
mod names;
mod ours;
mod report;
mod translated;

use std::fs;
use std::process::ExitCode;

use list::List;
use map::Map;
use report::Report;
use translated::Translated;

const USAGE: &str =
    "usage: coverage map VMLINUX IMAGE TREE OURS | coverage judge MAP LIST REPORT SUITE=LOG...";

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}

fn judge(map: &str, list: &str, to: &str, suites: &[String]) -> Result<bool, String> {
    let map = Map::parse(&read(map)?)?;
    let excused = List::parse(&read(list)?).map_err(|error| format!("{list}, {error}"))?;
    let mut report = Report::new(&map);
    for suite in suites {
        let (name, log) = suite
            .split_once('=')
            .ok_or_else(|| format!("{suite}: it should be SUITE=LOG"))?;
        let translated = Translated::parse(&read(log)?);
        if translated.is_empty() {
            return Err(format!(
                "{log}: no translated instruction in it; QEMU should have written them there"
            ));
        }
        report.add(name, &translated);
    }
    fs::write(to, report.text(&excused)).map_err(|error| format!("{to}: {error}"))?;
    print!("{}", report.table());
    for more in report.more(&excused) {
        println!("  {more}");
    }
    let complaints = report.complaints(&excused);
    for complaint in &complaints {
        println!("{complaint}");
    }
    if !complaints.is_empty() {
        println!(
            "{} lines ran less than {list} says; all lines, with what ran: {to}",
            complaints.len()
        );
    }
    Ok(complaints.is_empty())
}

fn run(arguments: &[String]) -> Result<bool, String> {
    match arguments {
        [command, vmlinux, image, tree, ours] if command == "map" => {
            print!("{}", Map::of(vmlinux, image, tree, &read(ours)?)?.text());
            Ok(true)
        }
        [command, map, list, to, suites @ ..] if command == "judge" && !suites.is_empty() => {
            judge(map, list, to, suites)
        }
        _ => Err(USAGE.into()),
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("coverage: {error}");
            ExitCode::FAILURE
        }
    }
}
