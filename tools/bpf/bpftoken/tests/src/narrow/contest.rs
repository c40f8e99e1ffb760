// SPDX-License-Identifier: GPL-2.0
//! Narrowing while mounts change.

use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use bpf_token::Delegation;
use bpf_token::Error;
use bpf_token::Process;
use bpf_token::Target;
use serde_json::json;

use super::grants;
use super::narrow;
use super::ALL;
use super::CANNOT;
use super::KEEP;
use crate::world::inside;
use crate::world::Holder;
use crate::world::World;

/// Kills what a test started.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The container has two, and moves them in and out of each other's places: to narrow says that it
/// worked only if it did, for both.
pub(super) fn mounts_that_move(world: &World) -> Result<()> {
    let (mut narrowed, mut refused) = (0, 0);
    for round in 0..6 {
        let holder = Holder::start(world, ALL)?;
        let pid = holder.pid;
        let second = Process::open(pid)?;
        let delegation: Delegation = "delegate_cmds=any,delegate_maps=hash".parse()?;
        inside(pid, "mount -t tmpfs none /mnt; mkdir /mnt/a /mnt/b /mnt/c")?.must(0)?;
        Target::new(&second, "/mnt/a").mount(&delegation)?;
        let script = "mount --make-rprivate /; while :; do mount --move /sys/fs/bpf /mnt/c; \
                      mount --move /mnt/a /sys/fs/bpf; mount --move /sys/fs/bpf /mnt/a; \
                      mount --move /mnt/c /sys/fs/bpf; sleep 0.0$1; done";
        let pause = (round % 3 * 4).to_string();
        let args = [
            "-t",
            &pid.to_string(),
            "-U",
            "-m",
            "sh",
            "-c",
            script,
            "sh",
            &pause,
        ];
        let mut mover = Command::new("nsenter");
        let mover = Killed(mover.args(args).stdin(Stdio::null()).spawn()?);
        let done = narrow(world, pid, &KEEP)?;
        drop(mover);
        let mounts = bpf_token::delegated_mounts(&second)?;
        ensure!(mounts.len() == 2, "{mounts:?}");
        let beyond = |text: &str| text.contains("hash");
        let left: Vec<String> = mounts.iter().map(|it| it.delegation.to_string()).collect();
        if done.code == Some(0) {
            narrowed += 1;
            ensure!(!left.iter().any(|it| beyond(it)), "left: {left:?}");
            ensure!(grants(world, pid)?["maps"] == json!(["array"]));
        } else {
            refused += 1;
            let words = if World::has_narrowing()? {
                "the container changes its mounts meanwhile"
            } else {
                CANNOT
            };
            let known = [words, "changes its mounts"];
            let told = known.iter().any(|words| done.err.contains(words));
            ensure!(told, "{}", done.err);
        }
    }
    if !World::has_narrowing()? {
        ensure!(narrowed == 0, "{narrowed} narrowed by a kernel that can't");
    }
    ensure!(narrowed + refused == 6);
    Ok(())
}

/// Another manager gives the container new ones at the same time: each that is there in the end was
/// made after, or is narrowed.
pub(super) fn new_instances(world: &World) -> Result<()> {
    if !World::has_narrowing()? {
        return Ok(());
    }
    let holder = Holder::start(world, ALL)?;
    let pid = holder.pid;
    let process = Process::open(pid)?;
    let other = process.try_clone()?;
    let delegation: Delegation = ALL_OPTIONS.parse()?;
    let manager = std::thread::spawn(move || -> Result<()> {
        for _ in 0..8 {
            Target::new(&other, "/sys/fs/bpf")
                .replace(true)
                .mount(&delegation)?;
        }
        Ok(())
    });
    let mut tries = 0;
    while !manager.is_finished() {
        let done = narrow(world, pid, &KEEP)?;
        tries += 1;
        if done.code != Some(0) {
            let known = ["changes its mounts meanwhile", "sees no BPF FS"];
            let told = known.iter().any(|words| done.err.contains(words));
            ensure!(told, "{}", done.err);
        }
    }
    let made = manager.join();
    made.ok().context("the other manager panicked")??;
    ensure!(tries > 0, "no contest");
    narrow(world, pid, &KEEP)?.must(0)?;
    for mount in bpf_token::delegated_mounts(&process)? {
        let left = mount.delegation.to_string();
        ensure!(!left.contains("hash"), "left: {left}");
    }
    // The first one is mounted nowhere any more, and was narrowed or not, as its last word was.
    grants(world, pid).map(drop)
}

const ALL_OPTIONS: &str = "delegate_cmds=map_create,delegate_maps=hash:array";

/// A container that stops the process which enters it is not waited for.
pub(super) fn stopped_process(world: &World) -> Result<()> {
    let hostile = crate::hostile::Hostile::start(world, crate::hostile::STOP)?;
    let mut stopped = 0;
    for _ in 0..5 {
        let begin = Instant::now();
        let target = Target::new(hostile.running.command(), "/mnt/0");
        let found = target.limit(Duration::from_secs(1)).instance();
        ensure!(
            begin.elapsed() < Duration::from_secs(20),
            "it was waited for"
        );
        match found {
            Err(Error::TimedOut { .. }) => stopped += 1,
            // It was faster, and there is none.
            Err(Error::Container { .. }) => {}
            other => ensure!(false, "{other:?}"),
        }
        if stopped == crate::hostile::ENOUGH {
            break;
        }
    }
    ensure!(stopped > 0, "no process was stopped");
    hostile.loot().map(drop)
}
