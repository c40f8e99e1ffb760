// SPDX-License-Identifier: GPL-2.0
//! `bpftoken show`.

use std::fs;
use std::process::ExitCode;

use anyhow::Context;
use anyhow::Result;
use bpf_token::report;
use bpf_token::report::Show;
use bpf_token::Delegation;
use bpf_token::Errno;
use bpf_token::Error;
use bpf_token::Kind;
use procfs::process::Process;

use crate::output;

/// How many of a list of processes are named.
const NAMED: usize = 5;

pub fn show(pid: Option<i32>, json: bool) -> Result<ExitCode> {
    let mut report = Show::default();
    report.version = report::VERSION;
    if let Some(pid) = pid {
        let process = Process::new(pid).with_context(|| format!("there is no process {pid}"))?;
        look_into(&process, &mut report).with_context(|| {
            format!("look into process {pid}, which takes root if it is another user's")
        })?;
    } else {
        for process in procfs::process::all_processes()?.flatten() {
            // A process that ended meanwhile is none of the unreadable ones.
            if look_into(&process, &mut report).is_err() && process.is_alive() {
                report.unreadable.push(known(&process));
            }
        }
    }
    programs(pid, &mut report)?;
    if json {
        output::print_json(&report)?;
    } else {
        output::print(&text(&report))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The programs that were loaded through tokens; with a process, those of its user namespace.
fn programs(pid: Option<i32>, report: &mut Show) -> Result<()> {
    let loaded = match bpf_token::loaded_programs() {
        Ok(loaded) => loaded,
        Err(Error::Unsupported(_)) => return Ok(()),
        Err(error) if error.errno() == Some(Errno::EPERM) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let of = pid.map(|pid| namespace(pid, "user")).transpose()?;
    let programs = loaded.into_iter().map(|loaded| {
        let mut program = report::Program::default();
        program.id = loaded.id;
        program.prog_type = loaded.prog_type.to_string();
        program.name = loaded.name;
        program.user_namespace = loaded.user_namespace.to_string();
        program.cookie = loaded.cookie;
        program
    });
    let wanted = |it: &report::Program| of.as_ref().is_none_or(|of| *of == it.user_namespace);
    report.programs = Some(programs.filter(wanted).collect());
    Ok(())
}

/// The number of a process's namespace.
fn namespace(pid: i32, kind: &str) -> Result<String> {
    let link = fs::read_link(format!("/proc/{pid}/ns/{kind}"))?;
    let link = link.to_string_lossy();
    Ok(link.trim_matches(|c: char| !c.is_ascii_digit()).to_owned())
}

/// What anybody may know of a process.
fn known(process: &Process) -> report::Process {
    let mut known = report::Process::default();
    known.pid = process.pid();
    known.uid = process.status().map_or(0, |status| status.ruid);
    known.command = process
        .stat()
        .map_or_else(|_| "?".to_owned(), |stat| stat.comm);
    known
}

fn look_into(process: &Process, report: &mut Show) -> Result<()> {
    let pid = process.pid();
    let held = bpf_token::Process::open(pid)?;
    let holder = known(process);
    let user_namespace = namespace(pid, "user")?;
    let mount_namespace = namespace(pid, "mnt")?;
    for token in bpf_token::held_tokens(&held)? {
        let mut new = report::HeldToken::default();
        new.holder = holder.clone();
        new.user_namespace.clone_from(&user_namespace);
        new.fd = token.fd;
        new.device = token.device;
        new.grants = token.info;
        report.tokens.push(new);
    }
    for mount in bpf_token::delegated_mounts(&held)? {
        let seen = report.mounts.iter_mut().find(|seen| {
            seen.device == mount.device
                && seen.target == mount.target
                && seen.mount_namespace == mount_namespace
        });
        if let Some(seen) = seen {
            seen.processes.push(holder.clone());
            continue;
        }
        let mut new = report::Mount::default();
        new.device = mount.device;
        new.target = mount.target;
        new.user_namespace.clone_from(&user_namespace);
        new.mount_namespace.clone_from(&mount_namespace);
        new.delegation = mount.delegation;
        new.processes.push(holder.clone());
        report.mounts.push(new);
    }
    Ok(())
}

fn name(process: &report::Process) -> String {
    format!("{} ({}, uid {})", process.pid, process.command, process.uid)
}

/// The first few, and how many more.
fn names(processes: &[report::Process]) -> String {
    let mut names: Vec<String> = processes.iter().take(NAMED).map(name).collect();
    if processes.len() > NAMED {
        names.push(format!("{} more", processes.len() - NAMED));
    }
    names.join(", ")
}

fn delegation(delegation: &Delegation) -> String {
    let named = delegation.named_options();
    let row = |kind: &'static Kind| {
        let value = named.iter().find(|(other, _)| *other == kind);
        let cell = match value {
            Some((_, value)) => (anstyle::Style::new(), value.clone()),
            None => (output::FAINT, "nothing".to_owned()),
        };
        vec![(output::FAINT, format!("  {}", kind.key)), cell]
    };
    let mut rows: Vec<_> = Kind::ALL.map(row).into();
    rows.extend(output::cookie(delegation.cookie));
    output::table(&rows)
}

/// By BPF FS: where it is mounted and who sees it, then the tokens that were made from it.
fn text(report: &Show) -> String {
    let mut text = String::new();
    let mounts = report.mounts.iter().map(|mount| &mount.device);
    let tokens = report.tokens.iter().map(|token| &token.device);
    let mut devices: Vec<&String> = Vec::new();
    for device in mounts.chain(tokens) {
        if !devices.contains(&device) {
            devices.push(device);
        }
    }
    for device in devices {
        text.push_str(&instance(report, device));
    }
    if report.mounts.is_empty() && report.tokens.is_empty() {
        text.push_str("no BPF FS delegates anything, and no process holds a token\n");
    }
    text.push_str(&programs_text(
        report.programs.as_deref().unwrap_or_default(),
    ));
    if !report.unreadable.is_empty() {
        text.push_str(&format!(
            "{} processes could not be looked into, which takes root: {}\n",
            report.unreadable.len(),
            names(&report.unreadable)
        ));
    }
    text
}

fn instance(report: &Show, device: &str) -> String {
    let mut text = String::new();
    let of_it = |other: &str| other == device;
    for mount in report.mounts.iter().filter(|it| of_it(&it.device)) {
        text.push_str(&format!(
            "{} {} on {}, user namespace {}, seen by {}\n",
            output::styled(output::HEAD, "BPF FS"),
            mount.device,
            mount.target.display(),
            mount.user_namespace,
            names(&mount.processes),
        ));
        text.push_str(&delegation(&mount.delegation));
    }
    if text.is_empty() {
        text.push_str(&format!(
            "{} {device}, which nobody sees mounted, or which delegates nothing now\n",
            output::styled(output::HEAD, "BPF FS"),
        ));
    }
    for token in report.tokens.iter().filter(|it| of_it(&it.device)) {
        text.push_str(&format!(
            "{} of {device}, descriptor {} of {}, user namespace {}\n",
            output::styled(output::HEAD, "token"),
            token.fd,
            name(&token.holder),
            token.user_namespace,
        ));
        text.push_str(&output::masks(&token.grants));
    }
    text
}

/// The programs that were loaded through tokens, a line each.
fn programs_text(programs: &[report::Program]) -> String {
    let row = |program: &report::Program| {
        let cookie = match program.cookie {
            0 => String::new(),
            cookie => format!(", cookie {cookie}"),
        };
        vec![
            (output::HEAD, "program".to_owned()),
            (anstyle::Style::new(), program.id.to_string()),
            (anstyle::Style::new(), program.prog_type.clone()),
            (anstyle::Style::new(), program.name.clone()),
            (
                output::FAINT,
                format!(
                    "through a token of user namespace {}{cookie}",
                    program.user_namespace
                ),
            ),
        ]
    };
    output::table(&programs.iter().map(row).collect::<Vec<_>>())
}
