// SPDX-License-Identifier: GPL-2.0
//! Man pages and shell completions, made from the command line's definition.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use anyhow::Result;
use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;

pub fn generate(dir: &Path) -> Result<ExitCode> {
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let mut command = Cli::command();
    clap_mangen::generate_to(command.clone(), dir).context("write the man pages")?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command, "bpftoken", dir)
            .with_context(|| format!("write the completions for {shell}"))?;
    }
    Ok(ExitCode::SUCCESS)
}
