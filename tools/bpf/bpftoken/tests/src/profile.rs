// SPDX-License-Identifier: GPL-2.0
//! `--like` and `--for`: each profile is just what its example needs.

use std::path::PathBuf;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use bpf_token::Delegation;
use libtest_mimic::Trial;

use crate::world::path;
use crate::world::said;
use crate::world::World;

macro_rules! examples {
    ($($name:literal),*) => {
        const EXAMPLES: &[(&str, &[u8])] = &[
            $(($name, include_bytes!(concat!(env!("OUT_DIR"), "/profile_", $name, ".bpf.o")))),*
        ];
    };
}

examples!("observe", "trace", "filter", "xdp");

pub fn trials() -> Vec<Trial> {
    let profile = |&(name, bytes): &(&'static str, &'static [u8])| {
        crate::trial(&format!("profile::{name}"), move |world| {
            let file = world.dir.path().join(format!("profile_{name}.bpf.o"));
            std::fs::write(&file, bytes)?;
            least(world, name, &file)
        })
    };
    let mut trials: Vec<Trial> = EXAMPLES.iter().map(profile).collect();
    trials.push(crate::trial("profile::of_an_object", of_an_object));
    trials.push(crate::trial("profile::of_no_object", of_no_object));
    trials
}

/// The object of the profile of this name.
pub fn example(name: &str) -> Result<&'static [u8]> {
    let found = EXAMPLES.iter().find(|(found, _)| *found == name);
    Ok(found.context("no example")?.1)
}

/// What a container with these options is given.
fn given(world: &World, options: &str) -> Result<Delegation> {
    let command = ["grep", " /sys/fs/bpf bpf ", "/proc/mounts"];
    let line = said(&mut world.contained(options, &command))?.must(0)?.out;
    let options = line.split_whitespace().nth(3).context("no options")?;
    let ours = options.split(',').filter(|it| it.starts_with("delegate_"));
    Ok(ours.collect::<Vec<_>>().join(",").parse()?)
}

fn least(world: &World, name: &str, file: &std::path::Path) -> Result<()> {
    let check = ["check", "--format", "mount", "--obj", path(file)];
    let needs: Delegation = world.run(&check)?.must(0)?.out.trim().parse()?;
    let given = given(world, &format!("--like {name}"))?;
    ensure!(
        given == needs,
        "the profile has {given}; its example needs {needs}"
    );
    let load = [world.bpftoken(), "load", path(file)];
    let out = said(&mut world.contained(&format!("--like {name}"), &load))?
        .must(0)?
        .out;
    ensure!(
        out.contains("loaded through a token from /sys/fs/bpf"),
        "{out}"
    );
    Ok(())
}

/// What the object needs, and what is given beside it.
fn of_an_object(world: &World) -> Result<()> {
    let file: PathBuf = world.dir.path().join("for.bpf.o");
    let (_, bytes) = EXAMPLES.last().context("no example")?;
    std::fs::write(&file, bytes)?;
    let options = format!("--for {}", path(&file));
    let load = [world.bpftoken(), "load", path(&file)];
    said(&mut world.contained(&options, &load))?.must(0)?;
    ensure!(given(world, &options)? == given(world, "--like xdp")?);
    let both = given(world, &format!("{options} --maps lpm_trie --like filter"))?;
    for item in ["lpm_trie", "xdp", "socket_filter"] {
        ensure!(both.to_string().contains(item), "no {item} in {both}");
    }
    Ok(())
}

fn of_no_object(world: &World) -> Result<()> {
    let run = |options: &str| said(&mut world.contained(options, &["true"]));
    run("--for /nowhere.bpf.o")?
        .must(125)?
        .explains(&["/nowhere.bpf.o", "No such file"])?;
    run("--like observing")?
        .must(2)?
        .tells(&["observing", "observe", "trace", "filter", "xdp"])
}
