// SPDX-License-Identifier: GPL-2.0
//! `bpftoken convert`.

use std::io::Read;
use std::process::ExitCode;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use bpf_token::Format;
use bpf_token::Kernel;

use crate::cli::ConvertArgs;
use crate::output;

pub fn convert(args: &ConvertArgs) -> Result<ExitCode> {
    let text = if args.text.is_empty() {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .context("read standard input")?;
        text
    } else {
        args.text.join(" ")
    };
    let Some(from) = args.from.or_else(|| Format::of(&text)) else {
        bail!(
            "the text has no word of a delegation, such as --cmds, delegate_cmds, BPFDelegateCommands \
             or org.bpf-token.delegate_cmds; --from tells its format"
        );
    };
    let delegation = from.read(&text)?;
    if delegation.is_empty() {
        bail!("the text, read as that of {from}, delegates nothing");
    }
    // For another kernel, these may be right.
    if let Err(error) = delegation.check(Kernel::running()) {
        anstream::eprintln!("bpftoken: warning: {error}");
    }
    for warning in delegation.warnings() {
        anstream::eprintln!("bpftoken: warning: {warning}");
    }
    output::print(&args.format.write(&delegation)?)?;
    Ok(ExitCode::SUCCESS)
}
