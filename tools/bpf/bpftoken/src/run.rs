// SPDX-License-Identifier: GPL-2.0
//! `bpftoken run`, `bpftoken mount` and `bpftoken umount`.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitCode;

use anyhow::anyhow;
use anyhow::Context;
use anyhow::Result;
use bpf_token::Container;
use bpf_token::Errno;
use bpf_token::Error;
use bpf_token::Process;
use bpf_token::Target;

use crate::cli::ContainerArgs;
use crate::cli::Grants;
use crate::cli::TargetArgs;
use crate::explain::explain;
use crate::foreground;
use crate::foreground::Signals;
use crate::ids;

/// The exit statuses of `run` for errors that are not the command's, as env(1) has them.
pub const FAILED: u8 = 125;
const CANNOT_EXECUTE: u8 = 126;
const NOT_FOUND: u8 = 127;

pub fn run(grants: &Grants, args: ContainerArgs, command: Vec<OsString>) -> Result<ExitCode> {
    let delegation = grants.delegation()?;
    let mut command = command.into_iter();
    let program = command.next().context("no command")?;
    let mut container = Container::new(program)
        .args(command)
        .network(args.net)
        .pid(args.pid)
        .cgroup(args.cgroup)
        .bpffs(delegation, &args.target);
    if let Some((uids, gids)) = ids::maps(&args)? {
        container = container.ids(uids, gids);
    }
    wait(container)
}

/// Runs the container in the place of this process, and returns its command's exit status.
pub fn wait(container: Container) -> Result<ExitCode> {
    let signals = Signals::keep()?;
    let running = match container.spawn() {
        Err(error @ Error::Exec { errno, .. }) => {
            anstream::eprintln!("bpftoken: {error}");
            let found = errno != Errno::ENOENT;
            return Ok(ExitCode::from(if found {
                CANNOT_EXECUTE
            } else {
                NOT_FOUND
            }));
        }
        running => running.map_err(explain)?,
    };
    let status = foreground::wait(running, signals)?;
    let code = match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => i32::from(FAILED),
    };
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(FAILED)))
}

pub fn mount(at: &TargetArgs, replace: bool, grants: &Grants) -> Result<ExitCode> {
    let delegation = grants.delegation()?;
    Target::new(&Process::open(at.pid)?, &at.target)
        .replace(replace)
        .mount(&delegation)
        .map_err(|error| match error.errno() {
            Some(Errno::EBUSY) if !replace => {
                anyhow!("{error}; --replace puts this one in its place")
            }
            _ => explain(error),
        })?;
    Ok(ExitCode::SUCCESS)
}

pub fn umount(at: &TargetArgs) -> Result<ExitCode> {
    Target::new(&Process::open(at.pid)?, &at.target).unmount()?;
    Ok(ExitCode::SUCCESS)
}
