// SPDX-License-Identifier: GPL-2.0
//! `bpftoken run` and `bpftoken mount`.

use std::process::Command;
use std::process::Stdio;

use anyhow::ensure;
use anyhow::Result;

use crate::world::said;
use crate::world::Holder;
use crate::world::World;
use crate::Test;

pub const TESTS: &[(&str, Test)] = &[
    ("run::container", container),
    ("run::namespaces", namespaces),
    ("run::status", status),
    ("run::nothing_to_delegate", nothing_to_delegate),
    ("run::bad_lists", bad_lists),
    ("run::unknown_name", unknown_name),
    ("run::unknown_name_without_btf", unknown_name_without_btf),
    ("run::commas", commas),
    ("run::target", target),
    ("run::warnings", warnings),
    ("mount::running_container", mount),
    ("mount::refusals", mount_refusals),
];

const LEAST: &str = "--cmds map_create --maps hash";

/// The command sees a user namespace of its own, uid 1000 outside, and the delegated BPF FS.
fn container(world: &World) -> Result<()> {
    let script = "id -u; cat /proc/self/uid_map; grep ' bpf ' /proc/mounts";
    let options = "--cmds map_create:0x20 --maps hash:ringbuf --progs any --attachs 0x800000";
    let said = said(&mut world.contained(options, &["sh", "-c", script]))?.must(0)?;
    let lines: Vec<&str> = said.out.lines().collect();
    ensure!(lines.len() == 3, "{}", said.out);
    ensure!(lines[0] == "0", "{}", said.out);
    let map: Vec<&str> = lines[1].split_whitespace().collect();
    ensure!(map[..2] == ["0", "1000"], "{}", said.out);
    for option in [
        " /sys/fs/bpf ",
        "delegate_cmds=map_create:prog_load,",
        "delegate_maps=hash:ringbuf,",
        "delegate_progs=any,",
        "delegate_attachs=trace_raw_tp ",
    ] {
        ensure!(lines[2].contains(option), "no \"{option}\" in {}", lines[2]);
    }
    Ok(())
}

fn namespaces(world: &World) -> Result<()> {
    let script =
        "for n in user mnt net pid cgroup; do readlink /proc/self/ns/$n; done; ls /proc/1/fd >&2; \
                  echo $$; grep -c : /proc/net/dev";
    let ours: Vec<String> = ["user", "mnt", "net", "pid", "cgroup"]
        .iter()
        .map(|ns| {
            Ok(std::fs::read_link(format!("/proc/self/ns/{ns}"))?
                .display()
                .to_string())
        })
        .collect::<Result<_>>()?;
    for (options, own) in [
        (LEAST.to_owned(), [true, true, false, false, false]),
        (format!("{LEAST} --net --pid --cgroup"), [true; 5]),
    ] {
        let said = said(&mut world.contained(&options, &["sh", "-c", script]))?;
        let theirs: Vec<&str> = said.out.lines().collect();
        for (at, own) in own.into_iter().enumerate() {
            ensure!(
                (theirs[at] != ours[at]) == own,
                "{options}: {} and {}",
                theirs[at],
                ours[at]
            );
        }
        if own[3] {
            ensure!(theirs[5] == "2", "the command is pid {}", theirs[5]);
            ensure!(theirs[6] == "1", "{} links in a new namespace", theirs[6]);
        }
    }
    Ok(())
}

/// The exit status is the command's.
fn status(world: &World) -> Result<()> {
    let run = |command: &[&str]| said(&mut world.contained(LEAST, command));
    run(&["sh", "-c", "exit 42"])?.must(42)?;
    run(&["sh", "-c", "kill -TERM $$"])?.must(128 + 15)?;
    run(&["no-such-command"])?
        .must(127)?
        .explains(&["no-such-command", "ENOENT"])?;
    run(&["/etc/passwd"])?
        .must(126)?
        .explains(&["/etc/passwd", "EACCES"])
}

fn nothing_to_delegate(world: &World) -> Result<()> {
    world.run(&["run", "--", "true"])?.must(125)?.explains(&[
        "nothing to delegate",
        "--cmds",
        "bpftoken check --obj FILE",
    ])?;
    world
        .run(&["mount", "--pid", "1"])?
        .must(1)?
        .explains(&["nothing to delegate"])
}

fn bad_lists(world: &World) -> Result<()> {
    for (list, words) in [
        (
            "map_create;prog_load",
            ["map_create;prog_load", "separate items by \":\" or \",\""],
        ),
        ("map-create", ["map-create", "is \"map_create\" meant?"]),
        (
            "BPF_MAP_CREATE",
            ["names go without BPF_", "\"map_create\""],
        ),
        ("0x1:0xg", ["0xg", "decimal, 0x hex or 0 octal"]),
        ("common_attrs", ["common_attrs", "not a command"]),
    ] {
        world
            .run(&["run", "--cmds", list, "--", "true"])?
            .must(2)?
            .tells(&words)?;
    }
    Ok(())
}

/// A name that the running kernel does not have is refused, with what may be meant.
fn unknown_name(world: &World) -> Result<()> {
    for (options, words) in [
        (
            "--maps hash:teleport",
            ["this kernel has", "no map type \"teleport\""],
        ),
        (
            "--progs xpd",
            ["no program type \"xpd\"", "is \"xdp\" meant?"],
        ),
    ] {
        let said = said(&mut world.contained(options, &["true"]))?.must(125)?;
        said.explains(&words)?;
    }
    Ok(())
}

/// Also where the kernel's BTF can't tell its names: then it is the kernel that refuses one.
fn unknown_name_without_btf(world: &World) -> Result<()> {
    let script = format!(
        "mount --bind /dev/null /sys/kernel/btf/vmlinux && exec {} run --cmds prog_lod --maps hash \
         -- true",
        world.bpftoken()
    );
    let args = ["--mount", "--propagation", "private", "sh", "-c", &script];
    said(Command::new("unshare").args(args))?
        .must(125)?
        .explains(&[
            "delegate_cmds",
            "EINVAL",
            "\"prog_lod\"",
            "is \"prog_load\" meant?",
        ])
}

/// Lists are separated by commas as well.
fn commas(world: &World) -> Result<()> {
    let options = "--cmds map_create,prog_load:btf_load --maps hash,array";
    let found = said(&mut world.contained(options, &["grep", "/sys/fs/bpf bpf", "/proc/mounts"]))?;
    let found = found.must(0)?.out;
    for words in [
        "delegate_cmds=map_create:prog_load:btf_load,",
        "delegate_maps=hash:array ",
    ] {
        ensure!(found.contains(words), "no {words} in {found}");
    }
    Ok(())
}

/// A delegation that is of no use comes with a warning, and one that is of use with none.
fn warnings(world: &World) -> Result<()> {
    for (options, words) in [
        (
            "--cmds prog_load --progs xdp",
            "program types without attach types",
        ),
        (
            "--cmds map_create:link_create --maps hash",
            "to delegate link_create changes nothing",
        ),
        ("--maps hash", "map types without the command map_create"),
    ] {
        let said = said(&mut world.contained(options, &["true"]))?.must(0)?;
        said.tells(&["bpftoken: warning: ", words])?;
    }
    let said = said(&mut world.contained(LEAST, &["true"]))?.must(0)?;
    ensure!(said.err.is_empty(), "{}", said.err);
    Ok(())
}

fn target(world: &World) -> Result<()> {
    let script = "grep -c '/mnt bpf .*delegate_maps=hash ' /proc/mounts";
    let options = format!("{LEAST} --target /mnt");
    let found = said(&mut world.contained(&options, &["sh", "-c", script]))?.must(0)?;
    ensure!(found.out == "1\n", "{}", found.out);
    let options = format!("{LEAST} --target /nowhere");
    said(&mut world.contained(&options, &["true"]))?
        .must(125)?
        .explains(&["open the target", "ENOENT"])?;
    ensure!(
        !std::fs::read_to_string("/proc/mounts")?.contains("delegate_maps=hash"),
        "the mount is outside of the container, too"
    );
    Ok(())
}

/// A running container gets another BPF FS, and can make tokens from it.
fn mount(world: &World) -> Result<()> {
    let holder = Holder::start(world, LEAST)?;
    let pid = holder.pid.to_string();
    world
        .run(&[
            "mount",
            "--pid",
            &pid,
            "--target",
            "/mnt",
            "--cmds",
            "prog_load",
            "--progs",
            "xdp",
        ])?
        .must(0)?;
    let mounts = std::fs::read_to_string(format!("/proc/{pid}/mounts"))?;
    let line = mounts.lines().find(|line| line.contains(" /mnt bpf "));
    ensure!(
        line.is_some_and(|line| line.contains("delegate_cmds=prog_load,delegate_progs=xdp ")),
        "{mounts}"
    );
    let probe = [
        "-t",
        &pid,
        "-U",
        "-m",
        world.bpftoken(),
        "probe",
        "--json",
        "--token",
        "/mnt",
    ];
    let probed = said(
        std::process::Command::new("nsenter")
            .args(probe)
            .stdin(Stdio::null()),
    )?
    .must(0)?;
    let probed: serde_json::Value = serde_json::from_str(&probed.out)?;
    ensure!(
        probed["grants"]["progs"] == serde_json::json!(["xdp"]),
        "{probed}"
    );
    Ok(())
}

fn mount_refusals(world: &World) -> Result<()> {
    let mount = |pid: &str| world.run(&["mount", "--pid", pid, "--cmds", "prog_load"]);
    mount("2147483647")?
        .must(1)?
        .explains(&["there is no process 2147483647"])?;
    mount(&std::process::id().to_string())?
        .must(1)?
        .explains(&["runs in this user namespace"])
}
