// SPDX-License-Identifier: GPL-2.0
//! `bpftoken exec`.

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use bpf_token::Container;
use bpf_token::Discovery;
use bpf_token::Error;
use bpf_token::Exec;
use bpf_token::Token;

use crate::cli::ExecArgs;
use crate::run;

/// A container that runs `bpftoken exec` with these options and a command, with a token from the BPF FS
/// on a directory.
pub fn container(bpffs: &Path, options: &[&str], command: Vec<OsString>) -> Result<Container> {
    let own = File::open("/proc/self/exe").context("open bpftoken itself")?;
    Ok(Container::new("bpftoken")
        .file(own.into())
        .args(["exec", "--token"])
        .args([bpffs])
        .args(options.iter().copied())
        .args(["--"])
        .args(command))
}

pub fn exec(args: ExecArgs) -> Result<ExitCode> {
    let token = match Token::discover(args.token.as_deref())? {
        Discovery::Found { token, .. } | Discovery::Passed { token, .. } => token,
        Discovery::NotFound { reason } => bail!("there is no token to use: {reason}"),
    };
    let mut command = args.command.into_iter();
    let program = command.next().context("no command")?;
    let mut exec = Exec::new(token, program)
        .args(command)
        .quiet(args.quiet)
        .without_token(args.without_token);
    if let Some(number) = args.observer {
        exec = exec.observer(number)?;
    }
    if let Some(number) = args.broker {
        exec = exec.broker(number)?;
    } else if let Err(error) = exec.find_broker() {
        // Not all commands need probes.
        if !args.quiet {
            anstream::eprintln!("bpftoken: warning: no probes: {error}");
        }
    }
    match exec.exec() {
        error @ Error::Exec { errno, .. } => Ok(run::not_executed(&error, errno)),
        error => Err(error.into()),
    }
}
