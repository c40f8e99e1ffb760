// SPDX-License-Identifier: GPL-2.0
//! The documentation of each manager, followed literally: its commands are run, and what it says that
//! they print is what they print.

use std::fs;
use std::process::Command;
use std::process::Stdio;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;

use crate::oci::root_file_system;
use crate::world::path;
use crate::world::said;
use crate::world::World;
use crate::Test;

pub const TESTS: &[(&str, Test)] = &[
    ("managers::systemd", |world| {
        follow(world, include_str!("../../doc/systemd.md"), "")
    }),
    ("managers::incus", |world| {
        follow(world, include_str!("../../doc/incus.md"), "")
    }),
    ("managers::lxd", |world| {
        follow(world, include_str!("../../doc/lxd.md"), "")
    }),
    ("managers::crun", |world| {
        follow(world, include_str!("../../doc/oci.md"), "crun")
    }),
    ("managers::runc", |world| {
        follow(world, include_str!("../../doc/oci.md"), "runc")
    }),
    ("managers::podman", |world| {
        follow(world, include_str!("../../doc/podman.md"), "crun")
    }),
    ("managers::podman_otherwise", podman_otherwise),
];

/// The blocks of a page in this language.
pub fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let begin = format!("\n```{language}\n");
    let parts = page.split(&*begin).skip(1);
    parts
        .filter_map(|part| part.split("\n```").next())
        .collect()
}

/// What comes before a page's commands: the programs under test where the page has them, in mounts of
/// its own.
pub const BEFORE: &str = "set -e
mount --bind \"$PWD/bpftoken\" \"$(readlink -f /usr/local/bin/bpftoken)\"
";

fn follow(world: &World, page: &str, runtime: &str) -> Result<()> {
    let root = root_file_system(world)?;
    let commands = blocks(page, "sh");
    let expected = blocks(page, "text");
    ensure!(
        !commands.is_empty() && !expected.is_empty(),
        "nothing to follow"
    );
    let out = shell(
        world,
        &commands.join("\n"),
        &[("RUNTIME", runtime), ("ROOTFS", path(root.path()))],
    )?;
    let out = out.must(0)?.out;
    for line in expected.iter().flat_map(|block| block.lines()) {
        ensure!(
            out.lines().any(|said| said == line),
            "no \"{line}\" in: {out}"
        );
    }
    Ok(())
}

/// Runs commands in the directory that has the programs, the object and the example hook file.
fn shell(world: &World, commands: &str, env: &[(&str, &str)]) -> Result<crate::world::Said> {
    let dir = world.dir.path();
    fs::create_dir_all(dir.join("hooks.d"))?;
    fs::write(
        dir.join("hooks.d/bpf-token.json"),
        include_str!("../../hooks.d/bpf-token.json"),
    )?;
    // The guest's root is an overlay, on which Podman's overlays can't stand.
    let storage = format!(
        "[storage]\ndriver = \"vfs\"\ngraphroot = \"{0}/storage\"\nrunroot = \"/run/bpftoken-tests\"\n",
        path(dir)
    );
    fs::write(dir.join("storage.conf"), storage)?;
    let script = format!("{BEFORE}{commands}\n");
    said(
        Command::new("unshare")
            .args(["--mount", "--propagation", "private", "bash", "-c", &script])
            .env(
                "PATH",
                format!("{}:/usr/bin:/bin:/usr/sbin:/sbin", path(dir)),
            )
            .env("CONTAINERS_STORAGE_CONF", dir.join("storage.conf"))
            .envs(env.iter().copied())
            .current_dir(dir)
            .stdin(Stdio::null()),
    )
}

/// With --userns=auto, and the reason why a container does not start that asks for what there is not,
/// or has no user namespace.
fn podman_otherwise(world: &World) -> Result<()> {
    let root = root_file_system(world)?;
    let root = path(root.path());
    let page = include_str!("../../doc/podman.md");
    let all = blocks(page, "sh");
    let (install, run) = (all.first().context("install")?, all.get(1).context("run")?);
    let map = "--uidmap=0:100000:65536 --gidmap=0:100000:65536";
    ensure!(run.contains(map), "another id map: {run}");
    let subordinate = "echo containers:2147483647:2147483648 | tee -a /etc/subuid >>/etc/subgid";
    let podman = |userns: &str, more: &str| {
        let run = run
            .replace(map, userns)
            .replace("podman run", &format!("podman {more}"));
        shell(
            world,
            &format!("{install}\n{subordinate}\n{run}"),
            &[("ROOTFS", root)],
        )
    };
    for runtime in ["crun", "runc"] {
        let out = podman("--userns=auto", &format!("--runtime={runtime} run"))?
            .must(0)?
            .out;
        ensure!(
            out.contains("loaded through a token from /sys/fs/bpf"),
            "{out}"
        );
    }
    podman("", "--runtime=runc run")?
        .must(126)?
        .tells(&["runs in this user namespace", "--userns=auto"])?;
    podman("", "run")?
        .must(126)?
        .tells(&["error executing hook"])?;
    let log = fs::read_to_string("/var/log/bpftoken.log")?;
    ensure!(log.lines().count() >= 2, "{log}");
    podman(
        "--userns=auto",
        "run --annotation=org.bpf-token.delegate_prog=xdp",
    )?
    .must(126)?;
    let log = fs::read_to_string("/var/log/bpftoken.log")?;
    let last = log.lines().last().unwrap_or_default();
    ensure!(
        last.contains("is \"org.bpf-token.delegate_progs\" meant?"),
        "{log}"
    );
    Ok(())
}
