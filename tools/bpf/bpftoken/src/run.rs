// SPDX-License-Identifier: GPL-2.0
//! `bpftoken run`, `bpftoken mount` and `bpftoken umount`.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitCode;

use anyhow::anyhow;
use anyhow::Context;
use anyhow::Result;
use bpf_token::Broker;
use bpf_token::Container;
use bpf_token::Delegation;
use bpf_token::Errno;
use bpf_token::Error;
use bpf_token::Probes;
use bpf_token::Process;
use bpf_token::Target;

use crate::cli::ContainerArgs;
use crate::cli::Grants;
use crate::cli::TargetArgs;
use crate::exec;
use crate::explain::explain;
use crate::foreground;
use crate::foreground::Signals;
use crate::ids;

/// The exit statuses of `run` for errors that are not the command's, as env(1) has them.
pub const FAILED: u8 = 125;
const CANNOT_EXECUTE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// The number of the socket that leads to the broker.
const BROKER: i32 = 3;

pub fn run(
    grants: &Grants,
    args: ContainerArgs,
    exec: bool,
    probes: Option<Probes>,
    command: Vec<OsString>,
) -> Result<ExitCode> {
    let delegation = grants.delegation()?;
    let container = if let Some(probes) = probes {
        let broker = Broker::new(probes)?;
        let (ours, theirs) = Broker::sockets()?;
        // It has no more to do than the container, and ends with this process.
        std::thread::spawn(move || broker.serve(ours));
        let number = BROKER.to_string();
        let options = ["--broker", &number, "--without-token"];
        let options = &options[..if exec { 2 } else { 3 }];
        exec::container(&args.target, options, command)?.pass_fd(theirs, BROKER)
    } else if exec {
        exec::container(&args.target, &[], command)?
    } else {
        let mut command = command.into_iter();
        Container::new(command.next().context("no command")?).args(command)
    };
    foreground(container, args, delegation)
}

/// Runs a command in a container; the exit status is the command's.
pub fn foreground(
    container: Container,
    args: ContainerArgs,
    delegation: Delegation,
) -> Result<ExitCode> {
    let mut container = container
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
        Err(error @ Error::Exec { errno, .. }) => return Ok(not_executed(&error, errno)),
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

/// Tells why a command was not executed; returns the exit status for that.
pub fn not_executed(error: &Error, errno: Errno) -> ExitCode {
    anstream::eprintln!("bpftoken: {error}");
    ExitCode::from(if errno == Errno::ENOENT {
        NOT_FOUND
    } else {
        CANNOT_EXECUTE
    })
}

pub fn mount(
    at: &TargetArgs,
    replace: bool,
    grants: &Grants,
    probes: Option<Probes>,
) -> Result<ExitCode> {
    let delegation = grants.delegation()?;
    let process = Process::open(at.pid)?;
    let in_the_way = |error: Error| match error.errno() {
        Some(Errno::EBUSY) if !replace => {
            anyhow!("{error}; --replace puts this one in its place")
        }
        _ => explain(error),
    };
    let mount = || {
        Target::new(&process, &at.target)
            .replace(replace)
            .mount(&delegation)
            .map_err(in_the_way)
    };
    match probes {
        None => mount()?,
        Some(probes) => {
            let stop = foreground::stop_signals()?;
            let broker = Broker::new(probes)?;
            let listener = broker.listen(&process, replace).map_err(in_the_way)?;
            mount()?;
            anstream::eprintln!(
                "bpftoken: probes are served to the container of process {}",
                at.pid
            );
            listener.serve(stop)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub fn umount(at: &TargetArgs) -> Result<ExitCode> {
    Target::new(&Process::open(at.pid)?, &at.target).unmount()?;
    Ok(ExitCode::SUCCESS)
}
