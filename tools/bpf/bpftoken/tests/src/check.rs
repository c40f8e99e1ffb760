// SPDX-License-Identifier: GPL-2.0
//! `bpftoken check`: each object loads under exactly what it prints, and fails with any single item
//! of it removed.

use std::fs::File;
use std::path::Path;

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
