// SPDX-License-Identifier: GPL-2.0
//! `bpftoken probe`.

use std::path::Path;
use std::process::ExitCode;

use anstyle::Style;
use anyhow::Result;
use bpf_token::probe::Outcome;
use bpf_token::report;
use bpf_token::report::Probe;
use bpf_token::report::Tried;
use bpf_token::Discovery;
use bpf_token::Enumerator;
use bpf_token::Token;

use crate::output;

fn tried<E: Enumerator>(outcomes: Vec<(E, Outcome)>) -> Vec<Tried> {
    let tried = |(one, outcome): (E, Outcome)| Tried::new(one.to_string(), outcome);
    outcomes.into_iter().map(tried).collect()
}

pub fn probe(path: Option<&Path>, all: bool, json: bool) -> Result<ExitCode> {
    let discovery = Token::discover(path)?;
    let token = discovery.token();
    let maps = bpf_token::probe::map_types(token);
    let progs = bpf_token::probe::prog_types(token);
    let cmds = bpf_token::probe::commands(token, &maps, &progs);
    let mut report = Probe::default();
    report.version = report::VERSION;
    report.token = match &discovery {
        Discovery::Found { path, .. } => format!("from {}", path.display()),
        Discovery::Passed { number, .. } => format!("passed on as descriptor {number}"),
        Discovery::NotFound { reason, .. } => format!("none: {reason}"),
    };
    report.grants = token.map(Token::info).transpose()?;
    report.cmds = tried(cmds);
    report.maps = tried(maps);
    report.progs = tried(progs);
    if json {
        output::print_json(&report)?;
    } else {
        output::print(&text(&report, all))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// How an outcome is called, and its colour.
fn word(outcome: &Outcome) -> (Style, &'static str) {
    match outcome {
        Outcome::Works => (output::GOOD, "works"),
        Outcome::Permitted { .. } => (output::GOOD, "permitted"),
        Outcome::Refused { .. } => (output::BAD, "refused"),
        _ => (output::FAINT, "unsupported"),
    }
}

const WORDS: [&str; 4] = ["works", "permitted", "refused", "unsupported"];

fn text(report: &Probe, all: bool) -> String {
    let mut text = format!(
        "{} {}\n",
        output::styled(output::HEAD, "token"),
        report.token
    );
    if let Some(info) = &report.grants {
        text.push_str(&output::masks(info));
    }
    let kinds = [
        ("commands", &report.cmds),
        ("map types", &report.maps),
        ("program types", &report.progs),
    ];
    text.push('\n');
    let counts = kinds.map(|(name, tried)| {
        let count = |word_: &str| {
            tried
                .iter()
                .filter(|one| word(&one.outcome).1 == word_)
                .count()
        };
        let mut row = vec![(output::HEAD, name.to_owned())];
        row.extend(WORDS.map(|word| (Style::new(), format!("{} {}", count(word), said(word)))));
        row
    });
    text.push_str(&output::table(&counts));
    for (name, tried) in kinds {
        text.push_str(&format!("\n{}\n", output::styled(output::HEAD, name)));
        text.push_str(&if all { each(tried) } else { grouped(tried) });
    }
    if !all {
        text.push_str("\n--all tells the reason of each.\n");
    }
    text
}

/// An outcome's word for several.
fn said(word: &'static str) -> &'static str {
    if word == "works" {
        "work"
    } else {
        word
    }
}

/// A line for each.
fn each(tried: &[Tried]) -> String {
    let row = |one: &Tried| {
        let (style, word) = word(&one.outcome);
        vec![
            (Style::new(), format!("  {}", one.name)),
            (style, word.to_owned()),
            (output::FAINT, one.outcome.detail().to_owned()),
        ]
    };
    output::table(&tried.iter().map(row).collect::<Vec<_>>())
}

/// A line for each outcome, with the names as an option takes them.
fn grouped(tried: &[Tried]) -> String {
    let mut rows = Vec::new();
    for wanted in WORDS {
        let of_it = tried.iter().filter(|one| word(&one.outcome).1 == wanted);
        let names: Vec<&str> = of_it.clone().map(|one| one.name.as_str()).collect();
        let Some(first) = of_it.into_iter().next() else {
            continue;
        };
        let names = if names.len() == tried.len() {
            "all".to_owned()
        } else {
            names.join(":")
        };
        let (style, _) = word(&first.outcome);
        rows.push(vec![
            (style, format!("  {}", said(wanted))),
            (Style::new(), names),
        ]);
    }
    output::table(&rows)
}
