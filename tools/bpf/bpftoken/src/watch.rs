// SPDX-License-Identifier: GPL-2.0
//! `bpftoken watch`.

mod seen;

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use bpf_token::report;
use bpf_token::report::Check;
use bpf_token::Broker;
use bpf_token::Delegation;
use rustix::net::AddressFamily;
use rustix::net::SocketFlags;
use rustix::net::SocketType;

use self::seen::Seen;
use crate::check;
use crate::cli::WatchArgs;
use crate::exec;
use crate::output;
use crate::run;

/// The numbers of the sockets that the supervisor tells of calls on, and asks for perf events.
const OBSERVER: i32 = 3;
const BROKER: i32 = 4;

/// The initial process namespace, whose number never changes.
const INITIAL: &str = "pid:[4026531836]";

pub fn watch(args: WatchArgs) -> Result<ExitCode> {
    if !bpf_token::may_delegate() {
        bail!("to delegate everything takes CAP_SYS_ADMIN in the initial user namespace");
    }
    let namespace = fs::read_link("/proc/self/ns/pid").context("/proc/self/ns/pid")?;
    if args.container.pid || namespace.as_os_str() != INITIAL {
        bail!(
            "the kernel's trace events number processes as the host does: run it in the host's process \
             namespace, without --pid"
        );
    }
    let name = args.command.iter().map(|word| word.to_string_lossy());
    let name = name.collect::<Vec<_>>().join(" ");
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let broker = Arc::new(Broker::new("any".parse()?)?);
    let (opening, asking) = Broker::sockets()?;
    let opener = broker.clone();
    // It ends with this process.
    std::thread::spawn(move || opener.serve(opening));
    let numbers = [OBSERVER, BROKER].map(|number| number.to_string());
    let options = [
        "--quiet",
        "--observer",
        &numbers[0],
        "--broker",
        &numbers[1],
    ];
    let container = exec::container(&args.container.target, &options, args.command)?
        .pass_fd(theirs, OBSERVER)
        .pass_fd(asking, BROKER);
    let (stop, stopped) = UnixStream::pair()?;
    let mut seen = Seen::start()?;
    let watching = std::thread::spawn(move || -> Result<Seen> {
        seen.follow(&OwnedFd::from(stopped), &ours)?;
        Ok(seen)
    });
    let status = run::foreground(container, args.container, Delegation::any());
    drop(stop);
    let Ok(seen) = watching.join() else {
        bail!("the thread that follows the calls has ended");
    };
    let (status, seen) = (status?, seen?);

    let mut report = Check::default();
    report.version = report::VERSION;
    report.object = name;
    report.tried = true;
    report.needs = seen.used();
    report.note = seen.note().to_owned();
    let probes = broker.used();
    report.probes = (!probes.is_empty()).then(|| probes.to_string());
    check::add_options(&mut report)?;
    let text = check::written(&report, args.format, args.json, check::How::Exec)?;
    match args.output {
        Some(file) => {
            let plain = anstream::adapter::strip_str(&text).to_string();
            fs::write(&file, plain).with_context(|| file.display().to_string())?;
        }
        None => output::print(&text)?,
    }
    if report.needs.is_empty() {
        anstream::eprintln!(
            "bpftoken: warning: it used nothing of bpf(2) that takes a token, or all of it failed"
        );
    }
    Ok(status)
}
