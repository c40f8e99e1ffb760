// SPDX-License-Identifier: GPL-2.0
//! `bpftoken`: delegates BPF to containers, and shows, checks and explains what is delegated.

mod annotations;
mod attach;
mod check;
mod cli;
mod convert;
mod event;
mod exec;
mod explain;
mod foreground;
mod generate;
mod grants;
mod ids;
mod load;
mod log;
mod manual;
mod narrow;
mod nri;
mod oci;
mod output;
mod probe;
mod profile;
mod restrict;
mod run;
mod show;
mod trace;
mod trial;
mod watch;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;
use crate::cli::Command;

/// The exit status for an error of the tool, but for `run`.
const FAILED: u8 = 1;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // What libbpf has to say comes with the error that it is about, not before.
    libbpf_rs::set_print(None);
    let own_failure = match cli.command {
        Command::Run { .. } | Command::Exec(_) | Command::Watch(_) | Command::Restrict { .. } => {
            run::FAILED
        }
        _ => FAILED,
    };
    let result = match cli.command {
        Command::Run {
            grants,
            container,
            exec,
            probes,
            command,
        } => run::run(&grants, container, exec, probes, command),
        Command::Exec(exec) => exec::exec(exec),
        Command::Mount {
            at,
            replace,
            grants,
            probes,
        } => run::mount(&at, replace, &grants, probes),
        Command::Umount { at } => run::umount(&at),
        Command::Narrow { at, keep } => narrow::narrow(&at, &keep),
        Command::Revoke { at } => narrow::revoke(&at),
        Command::Restrict {
            keep,
            token,
            net,
            command,
        } => restrict::restrict(&keep, token.as_deref(), net, command),
        Command::Show { pid, json } => show::show(pid, json),
        Command::Watch(watch) => watch::watch(watch),
        Command::Check(check) => check::check(&check),
        Command::Convert(convert) => convert::convert(&convert),
        Command::OciHook(hook) => oci::hook(&hook),
        Command::NriPlugin(plugin) => nri::plugin(&plugin),
        Command::Load(load) => load::load(&load),
        Command::Probe { token, all, json } => probe::probe(token.as_deref(), all, json),
        Command::Trace { uses, json } => trace::trace(uses, json),
        Command::TryLoad => trial::try_load(),
        Command::Generate { dir } => generate::generate(&dir),
    };
    result.unwrap_or_else(|error| {
        // Nobody who stopped reading needs to be told.
        if !is_broken_pipe(&error) {
            let log = error.chain().find_map(|cause| cause.downcast_ref());
            let log = log.map(output::log).unwrap_or_default();
            anstream::eprintln!("bpftoken: {error:#}{log}");
        }
        ExitCode::from(own_failure)
    })
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
