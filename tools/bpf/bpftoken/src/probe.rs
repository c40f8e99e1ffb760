// SPDX-License-Identifier: GPL-2.0
//! `bpftoken probe`.

use std::path::Path;
use std::process::ExitCode;

use anstyle::Style;
use anyhow::Result;
use bpf_token::probe::Outcome;
use bpf_token::Discovery;
use bpf_token::Enumerator;
use bpf_token::Token;
use bpf_token::TokenInfo;
use serde::Serialize;

use crate::output;

#[derive(Serialize)]
struct Report {
    /// Where the token came from, or why there is none.
    token: String,
    grants: Option<TokenInfo>,
    cmds: Vec<Item>,
    maps: Vec<Item>,
    progs: Vec<Item>,
}

#[derive(Serialize)]
struct Item {
    name: String,
    #[serde(flatten)]
    outcome: Outcome,
}

fn items<E: Enumerator>(outcomes: Vec<(E, Outcome)>) -> Vec<Item> {
    let item = |(one, outcome): (E, Outcome)| Item {
        name: one.to_string(),
        outcome,
    };
    outcomes.into_iter().map(item).collect()
}

pub fn probe(path: Option<&Path>, json: bool) -> Result<ExitCode> {
    let discovery = Token::discover(path)?;
    let token = discovery.token();
    let maps = bpf_token::probe::map_types(token);
    let progs = bpf_token::probe::prog_types(token);
    let cmds = bpf_token::probe::commands(token, &maps, &progs);
    let report = Report {
        token: match &discovery {
            Discovery::Found { path, .. } => format!("from {}", path.display()),
            Discovery::NotFound { reason } => format!("none: {reason}"),
        },
        grants: token.map(Token::info).transpose()?,
        cmds: items(cmds),
        maps: items(maps),
        progs: items(progs),
    };
    if json {
        output::print_json(&report)?;
    } else {
        output::print(&text(&report))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn text(report: &Report) -> String {
    let mut text = format!(
        "{} {}\n",
        output::styled(output::HEAD, "token"),
        report.token
    );
    if let Some(info) = &report.grants {
        text.push_str(&output::masks(info));
    }
    let row = |item: &Item| {
        let (style, word) = match item.outcome {
            Outcome::Works => (output::GOOD, "works"),
            Outcome::Permitted { .. } => (output::GOOD, "permitted"),
            Outcome::Refused { .. } => (output::BAD, "refused"),
            _ => (output::FAINT, "unsupported"),
        };
        vec![
            (Style::new(), format!("  {}", item.name)),
            (style, word.to_owned()),
            (output::FAINT, item.outcome.detail().to_owned()),
        ]
    };
    for (name, items) in [
        ("commands", &report.cmds),
        ("map types", &report.maps),
        ("program types", &report.progs),
    ] {
        text.push_str(&format!("\n{}\n", output::styled(output::HEAD, name)));
        text.push_str(&output::table(&items.iter().map(row).collect::<Vec<_>>()));
    }
    text
}
