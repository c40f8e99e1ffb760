// SPDX-License-Identifier: GPL-2.0
//! Man pages and shell completions, made from the command line's definition.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use anyhow::Result;
use clap::Command;
use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::roff::bold;
use clap_mangen::roff::roman;
use clap_mangen::roff::Roff;
use clap_mangen::Man;

use crate::cli::Cli;
use crate::manual;

pub fn generate(dir: &Path) -> Result<ExitCode> {
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let mut command = Cli::command();
    command.build();
    let mut names = vec!["bpftoken".to_owned()];
    let public = |command: &&Command| !command.is_hide_set() && command.get_name() != "help";
    for sub in command.get_subcommands().filter(public) {
        names.push(format!("bpftoken-{}", sub.get_name()));
    }
    write_page(dir, &command, "", &names)?;
    for sub in command.get_subcommands().filter(public) {
        write_page(dir, sub, sub.get_name(), &names)?;
    }
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command, "bpftoken", dir)
            .with_context(|| format!("write the completions for {shell}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the page of a command; `names` are those of all pages.
fn write_page(dir: &Path, command: &Command, name: &str, names: &[String]) -> Result<()> {
    let page = if name.is_empty() {
        "bpftoken".to_owned()
    } else {
        format!("bpftoken-{name}")
    };
    let path = dir.join(format!("{page}.1"));
    let man = Man::new(command.clone())
        .title(page.as_str())
        .source(concat!("bpftoken ", env!("CARGO_PKG_VERSION")));
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if name.is_empty() {
        man.render_subcommands_section(&mut text)?;
    }
    let mut roff = Roff::new();
    if !manual::examples(name).is_empty() {
        roff.control("SH", ["EXAMPLES"]);
    }
    for manual::Example(what, line) in manual::examples(name) {
        roff.control("PP", []).text([roman(*what)]);
        roff.control("PP", [])
            .control("nf", [])
            .control("RS", ["4"]);
        roff.text([roman(*line)]);
        roff.control("RE", []).control("fi", []);
    }
    if !manual::notes(name).is_empty() {
        section(&mut roff, "NOTES", &manual::notes(name));
    }
    section(&mut roff, "ENVIRONMENT", &manual::environment(name));
    section(&mut roff, "EXIT STATUS", &manual::exit_status(name));
    roff.control("SH", ["SEE ALSO"]);
    let others = names.iter().filter(|other| **other != page);
    let mut pages: Vec<String> = others.map(|other| format!("{other}(1)")).collect();
    pages.extend(manual::SEE_ALSO.map(str::to_owned));
    roff.text([roman(pages.join(", "))]);
    roff.to_writer(&mut text)?;
    fs::write(&path, text).with_context(|| path.display().to_string())
}

fn section(roff: &mut Roff, title: &str, entries: &[(&str, &str)]) {
    roff.control("SH", [title]);
    for (term, text) in entries {
        roff.control("TP", [])
            .text([bold(*term)])
            .text([roman(*text)]);
    }
}
