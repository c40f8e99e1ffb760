// SPDX-License-Identifier: GPL-2.0
//! `bpftoken watch`: what it prints is what the command used.

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use bpf_token::report;
use bpf_token::Delegation;
use bpf_token::Format;
use serde_json::json;

use crate::check::OBJECTS;
use crate::exec::CALLER;
use crate::world::path;
use crate::world::said;
use crate::world::World;
use crate::Test;

pub const TESTS: &[(&str, Test)] = &[
    ("watch::what_succeeds", what_succeeds),
    ("watch::what_fails", what_fails),
    ("watch::is_exact", is_exact),
    ("watch::probes", probes),
    ("watch::output_and_status", output_and_status),
    ("watch::refusals", refusals),
];

/// Each command and type, of long attributes and of copied ones.
fn what_succeeds(world: &World) -> Result<()> {
    for what in ["all", "all-short", "threads"] {
        let own = path(&world.own);
        let seen = world.json(&["watch", "--json", "--user", "1000", "--", own, CALLER, what])?;
        let expected = json!({
            "cmds": ["map_create", "prog_load", "btf_load", "btf_get_fd_by_id"],
            "maps": ["hash"],
            "progs": ["xdp"],
            "attachs": ["xdp"],
        });
        ensure!(seen["needs"] == expected, "{what}: {seen}");
        let read: report::Check = serde_json::from_value(seen)?;
        ensure!(read.version == report::VERSION, "{}", read.version);
        ensure!(read.note.contains("with success"), "{}", read.note);
    }
    Ok(())
}

/// What fails even with everything delegated is not needed.
fn what_fails(world: &World) -> Result<()> {
    let own = path(&world.own);
    let line = [
        "watch", "--json", "--user", "1000", "--", own, CALLER, "in-vain",
    ];
    let seen = world.json(&line)?;
    let expected = json!({ "cmds": ["map_create"], "maps": ["array"], "progs": [], "attachs": [] });
    ensure!(seen["needs"] == expected, "{seen}");
    Ok(())
}

/// The command runs with what is printed, and not without any part of it.
fn is_exact(world: &World) -> Result<()> {
    let (_, object) = OBJECTS
        .iter()
        .find(|(name, _)| *name == "socket_filter")
        .context("no object")?;
    let file = world.dir.path().join("watched.bpf.o");
    std::fs::write(&file, object)?;
    let client = world.dir.path().join("aya-client");
    let command = [path(&client), path(&file)];
    let line = [
        &["watch", "--format", "run", "--user", "1000", "--"],
        &command[..],
    ]
    .concat();
    let seen = world.run(&line)?.must(0)?;
    let options = seen.out.lines().last().context("nothing printed")?;
    for word in ["array", "socket_filter", "cgroup_inet_ingress", "prog_load"] {
        ensure!(options.contains(word), "no {word} in {options}");
    }
    ensure!(
        !options.contains("any") && !options.contains("ringbuf"),
        "{options}"
    );
    said(&mut world.contained(&format!("--exec {options}"), &command))?.must(0)?;
    let less = options.replacen("socket_filter", "syscall", 1);
    said(&mut world.contained(&format!("--exec {less}"), &command))?.must(1)?;
    Ok(())
}

/// What was attached by perf events is printed, too, and is enough and no more than that.
fn probes(world: &World) -> Result<()> {
    let own = path(&world.own);
    let command = [own, crate::probes::CALLER, "listed"];
    let options = ["watch", "--format", "run", "--user", "1000", "--"];
    let seen = world.run(&[&options, &command[..]].concat())?.must(0)?;
    let printed = seen.out.trim();
    let shell = std::fs::canonicalize("/bin/sh")?;
    let list = format!(
        "kprobe:vfs_read,uprobe:{},tracepoint:sched:sched_switch,uprobe:{own}",
        shell.display()
    );
    let (_, probes) = printed.split_once("--probes ").context("no probes")?;
    ensure!(probes == format!("'{list}'"), "{probes}");
    let again = format!("--exec {}", printed.replace('\'', ""));
    said(&mut world.contained(&again, &command))?.must(0)?;
    for less in [",tracepoint:sched:sched_switch", "kprobe:vfs_read,"] {
        said(&mut world.contained(&again.replace(less, ""), &command))?.must(1)?;
    }
    let json = [
        "watch", "--json", "--user", "1000", "--", own, CALLER, "all",
    ];
    ensure!(world.json(&json)?["probes"].is_null());
    Ok(())
}

fn output_and_status(world: &World) -> Result<()> {
    let own = path(&world.own);
    let file = world.dir.path().join("watched");
    let script = format!("echo works; {own} {CALLER} map-only; exit 42");
    let used = "delegate_cmds=map_create,delegate_maps=hash".parse::<Delegation>()?;
    for format in Format::ALL {
        let options = [
            "watch",
            "--format",
            format.name(),
            "-o",
            path(&file),
            "--user",
            "1000",
            "--",
        ];
        let line = [&options, &["sh", "-c", &script][..]].concat();
        let seen = world.run(&line)?.must(42)?;
        ensure!(seen.out == "works\n", "{}", seen.out);
        let text = std::fs::read_to_string(&file)?;
        ensure!(
            Format::of(&text) == Some(format),
            "not as {format} has it: {text}"
        );
        ensure!(format.read(&text)? == used, "{format}: {text}");
    }
    // What is printed for people is a line to paste, that works.
    let script = format!("{own} {CALLER} map-only");
    let line = ["watch", "--user", "1000", "--", "sh", "-c", &script];
    let seen = world.run(&line)?.must(0)?;
    let paste = seen.out.lines().map(str::trim);
    let paste = paste.filter_map(|line| line.strip_prefix("bpftoken run --user USER "));
    let paste = paste.last().context("nothing to paste")?;
    let options = paste.strip_suffix("-- CMD").context("no command")?;
    said(&mut world.contained(options, &["sh", "-c", &script]))?.must(0)?;
    let seen = world.run(&["watch", "--user", "1000", "--", "sh", "-c", "kill -TERM $$"])?;
    seen.must(128 + 15)?.tells(&["it used nothing of bpf(2)"])?;
    Ok(())
}

fn refusals(world: &World) -> Result<()> {
    world
        .run(&["watch", "--pid", "--", "true"])?
        .must(125)?
        .explains(&["without --pid"])?;
    let inside = [world.bpftoken(), "watch", "--", "true"];
    said(&mut world.contained("--cmds any", &inside))?
        .must(125)?
        .explains(&["CAP_SYS_ADMIN in the initial user namespace"])?;
    world
        .run(&["watch", "--user", "1000", "--", "no-such-command"])?
        .must(127)?
        .tells(&["no-such-command", "ENOENT"])
}
