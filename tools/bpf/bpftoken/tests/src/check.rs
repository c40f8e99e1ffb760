// SPDX-License-Identifier: GPL-2.0
//! `bpftoken check`: each object loads under exactly what it prints, and fails with any single item
//! of it removed.

use std::fs::File;
use std::path::Path;
use std::path::PathBuf;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use libtest_mimic::Trial;
use serde_json::Value;

use crate::world::path;
use crate::world::said;
use crate::world::Said;
use crate::world::World;

macro_rules! objects {
    ($($name:literal),* $(,)?) => {
        /// The objects, compiled from `bpf/`.
        pub const OBJECTS: &[(&str, &[u8])] = &[
            $(($name, include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".bpf.o")))),*
        ];
    };
}

objects!(
    "socket_filter",
    "xdp_redirect",
    "tc_tcx",
    "kprobe_perf",
    "tracepoint_stack",
    "raw_tp_lru",
    "cgroup_connect",
    "fentry_storage",
    "sk_lookup",
    "lsm_ringbuf",
    "map_in_map",
);

const KINDS: [&str; 4] = ["cmds", "maps", "progs", "attachs"];

pub fn trials() -> Vec<Trial> {
    let object = |&(name, bytes): &(&'static str, &'static [u8])| {
        crate::trial(&format!("check::{name}"), move |world| {
            let file = world.dir.path().join(format!("{name}.bpf.o"));
            std::fs::write(&file, bytes)?;
            exact(world, &file)
        })
    };
    let mut trials: Vec<Trial> = OBJECTS.iter().map(object).collect();
    trials.push(crate::trial("check::token", token));
    trials.push(crate::trial("check::with_that_very_token", very_token));
    trials.push(crate::trial("check::does_not_load", does_not_load));
    trials.push(crate::trial("check::what_it_prints", prints));
    trials.push(crate::trial("load::through_a_token", load_object));
    trials.push(crate::trial("load::pin", pin));
    trials.push(crate::trial("check::no_object", no_object));
    trials
}

/// Loads the object in a container of `bpftoken run` with these options.
fn load(world: &World, file: &Path, options: &str) -> Result<Said> {
    let mut command = world.contained(options, &[world.bpftoken(), "try-load"]);
    said(command.stdin(File::open(file)?))
}

fn exact(world: &World, file: &Path) -> Result<()> {
    let report = world.json(&["check", "--json", "--obj", path(file)])?;
    ensure!(report["tried"] == true, "not tried: {report}");
    let options = report["run_options"].as_str().context("no options")?;
    load(world, file, options)?
        .must(0)
        .with_context(|| format!("with {options}"))?;

    let mut removed = 0;
    for kind in KINDS {
        let Value::Array(items) = &report["needs"][kind] else {
            anyhow::bail!("{kind} is no list: {report}");
        };
        for item in items {
            let options = without(&report, kind, item);
            load(world, file, &options)?
                .must(3)
                .with_context(|| format!("without {item} of {kind}: {options}"))?;
            removed += 1;
        }
    }
    ensure!(removed >= 3, "no object needs as little as {report}");
    Ok(())
}

/// The options without this one item.
fn without(report: &Value, kind: &str, item: &Value) -> String {
    let option = |other: &str| {
        let items = report["needs"][other].as_array()?;
        let left: Vec<&str> = items
            .iter()
            .filter(|left| other != kind || *left != item)
            .filter_map(Value::as_str)
            .collect();
        (!left.is_empty()).then(|| format!("--{other} {}", left.join(":")))
    };
    KINDS
        .into_iter()
        .filter_map(option)
        .collect::<Vec<_>>()
        .join(" ")
}

/// `--token` tells what is missing, and nothing else.
fn token(world: &World) -> Result<()> {
    let file = world.dir.path().join("token.bpf.o");
    std::fs::write(&file, OBJECTS[0].1)?;
    let check = |options: &str| {
        let args = [
            world.bpftoken(),
            "check",
            "--no-trial",
            "--json",
            "--obj",
            path(&file),
            "--token",
            "/sys/fs/bpf",
        ];
        said(&mut world.contained(options, &args))
    };
    let all = check("--cmds any --maps any --progs any --attachs any")?.must(0)?;
    let all: Value = serde_json::from_str(&all.out)?;
    ensure!(all["missing"]["cmds"] == serde_json::json!([]), "{all}");

    let some =
        check("--cmds prog_load:btf_load --maps array --progs xdp --attachs any")?.must(3)?;
    let some: Value = serde_json::from_str(&some.out)?;
    ensure!(
        some["missing"]
            == serde_json::json!({
                "cmds": ["map_create"], "maps": [], "progs": ["socket_filter"], "attachs": []
            }),
        "{some}"
    );
    Ok(())
}

fn no_object(world: &World) -> Result<()> {
    let file = world.dir.path().join("text");
    std::fs::write(&file, "no object")?;
    world
        .run(&["check", "--obj", path(&file)])?
        .must(1)?
        .explains(&[path(&file), "libbpf cannot read it"])?;
    world
        .run(&["check", "--obj", "/nowhere.o"])?
        .must(1)?
        .explains(&["/nowhere.o", "No such file"])
}

/// An object that the verifier refuses.
const REFUSED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/refused.bpf.o"));

fn object(world: &World, name: &str) -> Result<PathBuf> {
    let found = OBJECTS.iter().find(|(other, _)| *other == name);
    let bytes = found.map_or(REFUSED, |(_, bytes)| bytes);
    let file = world.dir.path().join(format!("{name}.bpf.o"));
    std::fs::write(&file, bytes)?;
    Ok(file)
}

/// As root of a container: what loads there with the token is not said to lack anything, whatever
/// can be read from the object.
fn very_token(world: &World) -> Result<()> {
    let file = object(world, "xdp_redirect")?;
    let least = world.json(&["check", "--json", "--obj", path(&file)])?;
    let least = least["run_options"].as_str().context("no options")?;
    ensure!(
        !least.contains("btf_load"),
        "it needs more than it did: {least}"
    );
    let tool = world.bpftoken();
    let check = [
        "check",
        "--json",
        "--obj",
        path(&file),
        "--token",
        "/sys/fs/bpf",
    ];
    let check = [&[tool], &check[..]].concat();
    let said = said(&mut world.contained(least, &check))?.must(0)?;
    let report: bpf_token::report::Check = serde_json::from_str(&said.out)?;
    ensure!(report.loads == Some(true), "{}", said.out);
    ensure!(
        report.missing.is_some_and(|missing| missing.is_empty()),
        "{}",
        said.out
    );
    ensure!(
        !report.tried && report.note.contains("initial user namespace"),
        "{}",
        report.note
    );

    let less = least.replace("--maps devmap", "--maps hash");
    ensure!(less != least, "{least}");
    let said = crate::world::said(&mut world.contained(&less, &check))?.must(3)?;
    let report: bpf_token::report::Check = serde_json::from_str(&said.out)?;
    ensure!(report.loads == Some(false), "{}", said.out);
    let why = report.why_not.context("no reason")?;
    ensure!(why.contains("does not delegate map type devmap"), "{why}");
    ensure!(why.contains("create map \""), "{why}");
    Ok(())
}

/// Why an object does not load is told: the verifier's last word, and the end of its log.
fn does_not_load(world: &World) -> Result<()> {
    let file = object(world, "refused")?;
    for args in [
        &["check", "--obj", path(&file)][..],
        &["load", "--token", "", path(&file)],
    ] {
        let said = world.run(args)?.must(1)?;
        let first = said.err.lines().next().unwrap_or_default();
        ensure!(first.len() < 600, "{first}");
        for word in ["load program \"no_bounds\" of type xdp", "EACCES"] {
            ensure!(first.contains(word), "{args:?}: no {word} in {first}");
        }
        said.tells(&["of the log, which has ", "\n  | ", "Verification failed: "])?;
        ensure!(!first.contains("Suggestion"), "{first}");
        ensure!(said.err.lines().count() < 40, "{}", said.err);
    }
    Ok(())
}

/// What it prints can be pasted, and tells what attaching takes.
fn prints(world: &World) -> Result<()> {
    let file = object(world, "kprobe_perf")?;
    let text = world.run(&["check", "--obj", path(&file)])?.must(0)?.out;
    ensure!(
        !text.contains("mount -t bpf"),
        "a mount that gives no token: {text}"
    );
    ensure!(
        text.contains("CAP_PERFMON in the initial user namespace"),
        "{text}"
    );
    ensure!(text.contains("BPFDelegatePrograms=BPFProgType"), "{text}");
    let line = text
        .lines()
        .find(|line| line.contains("bpftoken mount --pid PID "));
    let options = line
        .and_then(|line| line.split("PID ").nth(1))
        .context("no line")?;

    // In a container that was there before.
    let holder = crate::world::Holder::start(world, "--cmds map_create --maps hash")?;
    let pid = holder.pid.to_string();
    let mut mount = vec!["mount", "--pid", &pid, "--target", "/mnt"];
    mount.extend(options.split_whitespace());
    world.run(&mount)?.must(0)?;
    let load = [world.bpftoken(), "load", "--token", "/mnt", path(&file)];
    let enter = ["-t", &pid, "-U", "-m"];
    let loaded = said(std::process::Command::new("nsenter").args(enter).args(load))?.must(0)?;
    ensure!(
        loaded.out.contains("loaded through a token from /mnt"),
        "{}",
        loaded.out
    );
    Ok(())
}

const XDP: &str = "--cmds map_create:prog_load --maps any --progs any --attachs any";

fn load_object(world: &World) -> Result<()> {
    let file = object(world, "xdp_redirect")?;
    let load = |args: &[&str]| {
        let args = [&[world.bpftoken(), "load", path(&file)], args].concat();
        said(&mut world.contained(XDP, &args))
    };
    let text = load(&[])?.must(0)?.out;
    ensure!(
        text.contains("loaded through a token from /sys/fs/bpf"),
        "{text}"
    );
    ensure!(text.contains("--pin DIR keeps it"), "{text}");
    let json = load(&["--json"])?.must(0)?.out;
    let report: bpf_token::report::Load = serde_json::from_str(&json)?;
    ensure!(report.version == 1 && !report.programs.is_empty(), "{json}");
    load(&["--token", ""])?
        .must(1)?
        .explains(&["because no token was given", "EPERM"])
}

/// All is pinned, or nothing.
fn pin(world: &World) -> Result<()> {
    let file = object(world, "xdp_redirect")?;
    let script = |dir: &str, then: &str| {
        let (tool, file) = (world.bpftoken(), path(&file));
        let script = format!("{tool} load {file} --pin {dir} && {then}");
        said(&mut world.contained(XDP, &["sh", "-c", &script]))
    };
    let listed = script("/sys/fs/bpf/mine", "ls /sys/fs/bpf/mine")?
        .must(0)?
        .out;
    let pinned = listed
        .lines()
        .filter(|line| line.contains(" /sys/fs/bpf/mine/"))
        .count();
    let names: Vec<&str> = listed.lines().rev().take(pinned).collect();
    ensure!(
        pinned >= 2 && names.iter().all(|name| !name.contains(' ')),
        "{listed}"
    );
    let dir = tempfile::tempdir()?;
    std::fs::set_permissions(
        dir.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o777),
    )?;
    script(path(dir.path()), "true")?
        .must(1)?
        .tells(&["must be in a BPF FS", path(dir.path())])?;
    ensure!(
        std::fs::read_dir(dir.path())?.next().is_none(),
        "something is left"
    );
    Ok(())
}
