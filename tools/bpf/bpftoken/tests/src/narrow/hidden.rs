// SPDX-License-Identifier: GPL-2.0
//! Narrowing where the BPF FS is not simply on its directory.

use std::fs;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use bpf_token::Delegation;
use bpf_token::Error;
use bpf_token::Feature;
use bpf_token::Process;
use bpf_token::Target;
use serde_json::json;

use super::grants;
use super::mount_line;
use super::narrow;
use super::ALL;
use super::CANNOT;
use super::KEEP;
use crate::world::inside;
use crate::world::Holder;
use crate::world::World;

/// Whatever the container mounts over its BPF FS or puts on the path, the BPF FS is reached, and the
/// container's mounts stay as they are.
pub(super) fn mounted_over(world: &World) -> Result<()> {
    for script in [
        "mount -t tmpfs none /sys/fs/bpf",
        "mount -t tmpfs none /sys/fs/bpf; mount -t tmpfs none /sys/fs/bpf",
        "mount -t tmpfs none /sys/fs; mkdir /sys/fs/bpf",
        "mount -t tmpfs none /sys/fs; ln -s /mnt /sys/fs/bpf; mount -t tmpfs none /mnt",
        "mount -t tmpfs none /sys; mkdir /sys/fs; mount -t tmpfs none /sys/fs; mkdir /sys/fs/bpf",
        // Where what is unmounted in one place is in others.
        "mount --make-rshared /; mount -t tmpfs none /sys/fs/bpf",
    ] {
        let holder = Holder::start(world, ALL)?;
        let pid = holder.pid;
        inside(pid, script)?.must(0).context(script)?;
        let mountinfo = || fs::read_to_string(format!("/proc/{pid}/mountinfo"));
        let before = mountinfo()?;
        let done = narrow(world, pid, &KEEP)?;
        if World::has_narrowing()? {
            done.must(0).context(script)?;
            let left = grants(world, pid)?;
            ensure!(left["maps"] == json!(["array"]), "{script}: {left}");
        } else {
            done.must(1)?.explains(&[CANNOT]).context(script)?;
        }
        let options = |text: String| -> String {
            let lines = text
                .lines()
                .map(|line| line.split(" - ").next().unwrap_or_default());
            lines.collect::<Vec<_>>().join("\n")
        };
        ensure!(
            options(mountinfo()?) == options(before),
            "{script}: the container's mounts changed"
        );
    }
    Ok(())
}

/// A BPF FS that the container unmounted can't be found any more, which is told; who kept it can
/// narrow it all the same.
pub(super) fn unmounted(world: &World) -> Result<()> {
    let holder = Holder::start(world, ALL)?;
    let pid = holder.pid;
    let process = Process::open(pid)?;
    let instance = Target::new(&process, "/sys/fs/bpf").instance()?;
    let device = instance.device()?;
    let report = world.json(&["show", "--json", "--pid", &pid.to_string()])?;
    ensure!(report["tokens"][0]["device"] == json!(device), "{report}");
    inside(pid, "umount --lazy /sys/fs/bpf")?.must(0)?;
    narrow(world, pid, &KEEP)?
        .must(1)?
        .explains(&["sees no BPF FS that delegates", "bpftoken show"])?;
    let text = world
        .run(&["show", "--pid", &pid.to_string()])?
        .must(0)?
        .out;
    ensure!(
        text.contains(&format!("BPF FS {device}, which nobody sees mounted")),
        "{text}"
    );
    let keep: Delegation = "delegate_cmds=map_create,delegate_maps=array".parse()?;
    let narrowed = instance.narrow(&keep);
    if !World::has_narrowing()? {
        let error = narrowed.err().context("narrowed")?;
        let expected = matches!(error, Error::Unsupported(Feature::Narrowing));
        ensure!(expected, "{error}");
        return Ok(());
    }
    ensure!(narrowed?.after == keep);
    ensure!(grants(world, pid)?["maps"] == json!(["array"]));
    Ok(())
}

/// A BPF FS that the container sees and that belongs to another is left alone.
pub(super) fn of_another(world: &World) -> Result<()> {
    let outer = Holder::start(world, ALL)?;
    let script = "mount -t tmpfs none /tmp; unshare --user --map-root-user --mount \
                  sh -c 'echo $$; exec sleep 1000' >/tmp/inner 2>&1 & sleep 1; cat /tmp/inner";
    let inner = inside(outer.pid, script)?.must(0)?.out;
    let inner: i32 = inner.trim().parse()?;
    let seen = mount_line(inner, "/sys/fs/bpf")?;
    let refused = narrow(world, inner, &KEEP);
    Process::open(inner)?.signal(9)?;
    ensure!(seen.contains("delegate_maps=hash:array"), "{seen}");
    refused?.must(1)?.tells(&[
        "belongs to another user namespace: not changed",
        "sees no BPF FS that delegates to its user namespace",
    ])?;
    ensure!(grants(world, outer.pid)?["maps"] == json!(["hash", "array"]));
    Ok(())
}
