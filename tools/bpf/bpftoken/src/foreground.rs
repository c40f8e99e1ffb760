// SPDX-License-Identifier: GPL-2.0
//! Standing in for a command that runs in a container: signals and job control.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use anyhow::Result;
use bpf_token::Process;
use bpf_token::Running;
use rustix::process::Pid;
use rustix::termios::tcgetpgrp;
use rustix::termios::tcsetpgrp;
use signal_hook::consts::signal;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::iterator::SignalsInfo;
use signal_hook::low_level::siginfo::Cause;

/// Signals that whoever sends them means for the command. SIGCONT is not one of them: the command is
/// continued when the terminal is its own again.
const FORWARDED: [i32; 11] = [
    signal::SIGHUP,
    signal::SIGINT,
    signal::SIGQUIT,
    signal::SIGTERM,
    signal::SIGALRM,
    signal::SIGUSR1,
    signal::SIGUSR2,
    signal::SIGTSTP,
    signal::SIGTTIN,
    signal::SIGTTOU,
    signal::SIGWINCH,
];

/// The signals to this process, kept from now on until somebody can have them.
pub struct Signals(SignalsInfo<WithOrigin>);

impl Signals {
    pub fn keep() -> Result<Self> {
        Ok(Self(SignalsInfo::new(not_ignored(&FORWARDED)?)?))
    }
}

/// A socket that is readable once somebody wants this process to end.
pub fn stop_signals() -> Result<UnixStream> {
    let (stopped, stop) = UnixStream::pair()?;
    for signal in not_ignored(&[signal::SIGHUP, signal::SIGINT, signal::SIGTERM])? {
        signal_hook::low_level::pipe::register(signal, stop.try_clone()?)?;
    }
    Ok(stopped)
}

/// Waits until the command ends. Signals go to it, and this process is stopped when it is.
pub fn wait(mut running: Running, signals: Signals) -> Result<ExitStatus> {
    let command = running.command().try_clone()?;
    std::thread::spawn(move || forward(signals.0, &command));
    loop {
        let status = running.wait_change()?;
        if status.stopped_signal().is_none() {
            return Ok(status);
        }
        stop()?;
        // It may have ended meanwhile.
        let _ = running.command().signal(signal::SIGCONT);
    }
}

/// Stops this process until it is continued: the shell sees one job, and stops and continues both.
///
/// A command that is a shell itself has the terminal for one of its own process groups; it gets it
/// back when this process gets it.
fn stop() -> Result<()> {
    let terminal = File::open("/dev/tty").ok();
    let owner = terminal.as_ref().and_then(|it| tcgetpgrp(it).ok());
    signal_hook::low_level::raise(signal::SIGSTOP)?;
    if let (Some(terminal), Some(owner)) = (terminal, owner) {
        if tcgetpgrp(&terminal) == Ok(rustix::process::getpgrp()) {
            // The group may be gone.
            let _ = tcsetpgrp(&terminal, owner);
        }
    }
    Ok(())
}

/// Those that our parent does not have us ignore, as nohup(1) does, and the shell in the background.
fn not_ignored(signals: &[i32]) -> Result<Vec<i32>> {
    let ignored = procfs::process::Process::myself()?.status()?.sigign;
    let is_ignored = |signal: i32| (ignored >> (signal - 1)) & 1 == 1;
    let signals = signals.iter().copied();
    Ok(signals.filter(|signal| !is_ignored(*signal)).collect())
}

fn forward(mut signals: SignalsInfo<WithOrigin>, command: &Process) {
    for origin in signals.forever() {
        // A terminal sends its signals to all of the foreground, which is where the command is,
        // unless it is in a session of its own.
        if origin.cause != Cause::Kernel || !in_our_session(command) {
            // Without the command there is nothing to do.
            let _ = command.signal(origin.signal);
        }
    }
}

fn in_our_session(command: &Process) -> bool {
    let session = |process| rustix::process::getsid(process).ok();
    session(Pid::from_raw(command.pid())) == session(None)
}
