// SPDX-License-Identifier: GPL-2.0
//! `bpftoken run` and `bpftoken mount`.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use anyhow::Result;
use bpf_token::Container;
use bpf_token::IdMap;

use crate::cli::ContainerArgs;
use crate::cli::Grants;
use crate::explain::explain;

/// The exit status of `run` for an error of its own, as env(1) and docker(1) have it.
pub const FAILED: u8 = 125;

pub fn run(grants: &Grants, args: ContainerArgs, command: Vec<OsString>) -> Result<ExitCode> {
    let delegation = grants.delegation()?;
    let mut command = command.into_iter();
    let program = command.next().context("no command")?;
    let mut container = Container::new(program)
        .args(command)
        .network(args.net)
        .pid(args.pid)
        .cgroup(args.cgroup)
        .bpffs(delegation, args.target);
    if let Some(user) = args.user {
        let user = User::find(&user)?;
        let uids = maps(user.uid, subordinate("/etc/subuid", &user)?);
        let gids = maps(user.gid, subordinate("/etc/subgid", &user)?);
        container = container.ids(uids, gids);
    }
    let status = container.spawn().map_err(explain)?.wait()?;
    let code = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => i32::from(FAILED),
    };
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(FAILED)))
}

pub fn mount(pid: i32, target: &Path, grants: &Grants) -> Result<ExitCode> {
    let delegation = grants.delegation()?;
    bpf_token::mount_into(pid, target, &delegation).map_err(explain)?;
    Ok(ExitCode::SUCCESS)
}

/// A user, as /etc/passwd has it.
struct User {
    name: Option<String>,
    uid: u32,
    gid: u32,
}

impl User {
    /// By name, or by a uid, which needs no entry.
    fn find(wanted: &str) -> Result<Self> {
        let passwd = read("/etc/passwd")?;
        let number: Option<u32> = wanted.parse().ok();
        for line in passwd.lines() {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, uid, gid, ..] = fields[..] else {
                continue;
            };
            let (Ok(uid), Ok(gid)) = (uid.parse(), gid.parse()) else {
                continue;
            };
            if name == wanted || number == Some(uid) {
                let name = Some(name.to_owned());
                return Ok(Self { name, uid, gid });
            }
        }
        let uid = number.with_context(|| {
            format!(
                "--user {wanted}: no such name in /etc/passwd; give one that is there, or a uid"
            )
        })?;
        Ok(Self {
            name: None,
            uid,
            gid: uid,
        })
    }
}

/// The first range of subordinate ids that a user has, as start and count.
fn subordinate(file: &str, user: &User) -> Result<Option<(u32, u32)>> {
    if !Path::new(file).exists() {
        return Ok(None);
    }
    let text = read(file)?;
    let uid = user.uid.to_string();
    Ok(text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let owner = fields.next()?;
        let start = fields.next()?.parse().ok()?;
        let count = fields.next()?.parse().ok()?;
        (owner == uid || Some(owner) == user.name.as_deref()).then_some((start, count))
    }))
}

/// Root inside is the user; the ids from 1 are subordinate ones.
fn maps(id: u32, subordinate: Option<(u32, u32)>) -> Vec<IdMap> {
    let rest = subordinate.map(|(outside, count)| IdMap {
        inside: 1,
        outside,
        count,
    });
    std::iter::once(IdMap::root(id)).chain(rest).collect()
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| path.to_owned())
}
