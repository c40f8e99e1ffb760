// SPDX-License-Identifier: GPL-2.0
//! `bpftoken show`.

use std::collections::BTreeMap;
use std::fs;
use std::process::ExitCode;

use anyhow::Context;
use anyhow::Result;
use bpf_token::DelegatedMount;
use bpf_token::Kind;
use bpf_token::TokenInfo;
use procfs::process::Process;
use serde::Serialize;

use crate::output;

#[derive(Serialize)]
struct Report {
    mounts: Vec<Mount>,
    tokens: Vec<Token>,
    /// Processes that could not be looked into.
    unreadable: usize,
}

/// A BPF FS as one mount namespace sees it.
#[derive(Serialize)]
struct Mount {
    device: String,
    target: String,
    user_namespace: String,
    mount_namespace: String,
    delegation: BTreeMap<&'static str, String>,
    processes: Vec<Holder>,
}

#[derive(Serialize)]
struct Token {
    #[serde(flatten)]
    holder: Holder,
    user_namespace: String,
    fd: i32,
    grants: TokenInfo,
}

#[derive(Clone, Serialize)]
struct Holder {
    pid: i32,
    uid: u32,
    command: String,
}

pub fn show(pid: Option<i32>, json: bool) -> Result<ExitCode> {
    let mut report = Report {
        mounts: Vec::new(),
        tokens: Vec::new(),
        unreadable: 0,
    };
    if let Some(pid) = pid {
        let process = Process::new(pid).with_context(|| format!("there is no process {pid}"))?;
        look_into(&process, &mut report).with_context(|| {
            format!("look into process {pid}, which takes root if it is another user's")
        })?;
    } else {
        for process in procfs::process::all_processes()?.flatten() {
            // A process that ended meanwhile is none of the unreadable ones.
            if look_into(&process, &mut report).is_err() && process.is_alive() {
                report.unreadable += 1;
            }
        }
    }
    if json {
        output::print_json(&report)?;
    } else {
        output::print(&text(&report))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn look_into(process: &Process, report: &mut Report) -> Result<()> {
    let pid = process.pid().to_string();
    let namespace = |name: &str| -> Result<String> {
        let link = fs::read_link(format!("/proc/{pid}/ns/{name}"))?;
        let link = link.to_string_lossy();
        Ok(link.trim_matches(|c: char| !c.is_ascii_digit()).to_owned())
    };
    let holder = Holder {
        pid: process.pid(),
        uid: process.status()?.ruid,
        command: process.stat()?.comm,
    };
    let user_namespace = namespace("user")?;
    let mount_namespace = namespace("mnt")?;
    for token in bpf_token::held_tokens(&pid)? {
        report.tokens.push(Token {
            holder: holder.clone(),
            user_namespace: user_namespace.clone(),
            fd: token.fd,
            grants: token.info,
        });
    }
    for mount in bpf_token::delegated_mounts(&pid)? {
        let target = mount.target.display().to_string();
        let seen = report.mounts.iter_mut().find(|seen| {
            seen.device == mount.device
                && seen.target == target
                && seen.mount_namespace == mount_namespace
        });
        match seen {
            Some(seen) => seen.processes.push(holder.clone()),
            None => report.mounts.push(Mount {
                delegation: options(&mount),
                device: mount.device,
                target,
                user_namespace: user_namespace.clone(),
                mount_namespace: mount_namespace.clone(),
                processes: vec![holder.clone()],
            }),
        }
    }
    Ok(())
}

fn options(mount: &DelegatedMount) -> BTreeMap<&'static str, String> {
    let mut options = BTreeMap::from(Kind::ALL.map(|kind| (kind.key, String::new())));
    let named = mount.delegation.named_options();
    options.extend(named.into_iter().map(|(kind, value)| (kind.key, value)));
    options
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for mount in &report.mounts {
        let first = &mount.processes[0];
        let others = match mount.processes.len() - 1 {
            0 => String::new(),
            count => format!(" and {count} more"),
        };
        text.push_str(&format!(
            "{} {} on {}, user namespace {}, seen by {} ({}, uid {}){others}\n",
            output::styled(output::HEAD, "BPF FS"),
            mount.device,
            mount.target,
            mount.user_namespace,
            first.pid,
            first.command,
            first.uid,
        ));
        let lines = Kind::ALL.map(|kind| {
            let value = mount.delegation.get(kind.key).cloned().unwrap_or_default();
            let cell = if value.is_empty() {
                (output::FAINT, "nothing".to_owned())
            } else {
                (anstyle::Style::new(), value)
            };
            vec![(output::FAINT, format!("  {}", kind.key)), cell]
        });
        text.push_str(&output::table(&lines));
    }
    for token in &report.tokens {
        text.push_str(&format!(
            "{} descriptor {} of {} ({}, uid {}), user namespace {}\n",
            output::styled(output::HEAD, "token "),
            token.fd,
            token.holder.pid,
            token.holder.command,
            token.holder.uid,
            token.user_namespace,
        ));
        text.push_str(&output::masks(&token.grants));
    }
    if report.mounts.is_empty() && report.tokens.is_empty() {
        text.push_str("no BPF FS delegates anything, and no process holds a token\n");
    }
    if report.unreadable > 0 {
        let hint = if rustix::process::geteuid().is_root() {
            ""
        } else {
            "; that takes root"
        };
        text.push_str(&format!(
            "processes that could not be looked into: {}{hint}\n",
            report.unreadable
        ));
    }
    text
}
