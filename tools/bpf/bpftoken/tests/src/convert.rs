// SPDX-License-Identifier: GPL-2.0
//! `bpftoken convert` and `--format`: what one manager's words ask for, in another's.

use std::io::Write;
use std::process::Stdio;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use bpf_token::Format;

use crate::check::OBJECTS;
use crate::world::path;
use crate::world::World;
use crate::Test;

pub const TESTS: &[(&str, Test)] = &[
    ("convert::all_to_all", all_to_all),
    ("convert::what_is_wrong", what_is_wrong),
    ("convert::of_check", of_check),
];

const OPTIONS: &str = "--cmds map_create,prog_load,btf_load --maps array,ringbuf --progs \
                       socket_filter,xdp --attachs any";

/// `bpftoken convert` with this text on its standard input; what it prints.
fn convert(world: &World, format: Format, text: &str) -> Result<String> {
    let mut child = world
        .command(&["convert", "--format", format.name()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut input = child.stdin.take().context("no standard input")?;
    input.write_all(text.as_bytes())?;
    drop(input);
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success(),
        "{format}: {text}: {}",
        output.status
    );
    Ok(String::from_utf8(output.stdout)?)
}

fn all_to_all(world: &World) -> Result<()> {
    let mut args = vec!["convert", "--format", "run"];
    args.extend(OPTIONS.split_whitespace());
    let options = world.run(&args)?.must(0)?.out;
    ensure!(
        options == format!("{}\n", OPTIONS.replace(',', ":")),
        "{options}"
    );
    for from in Format::ALL {
        let text = convert(world, from, &options)?;
        ensure!(
            Format::of(&text) == Some(from),
            "not as {from} has it: {text}"
        );
        for to in Format::ALL {
            let other = convert(world, to, &text)?;
            let again = convert(world, Format::Run, &other)?;
            ensure!(again == options, "{from}, {to}: {text}{other}{again}");
        }
    }
    Ok(())
}

fn what_is_wrong(world: &World) -> Result<()> {
    let wrong = |args: &[&str]| world.run(&[&["convert", "--format"], args].concat());
    wrong(&["sytemd", "--maps", "any"])?
        .must(2)?
        .tells(&["sytemd", "systemd", "incus"])?;
    wrong(&["run", "map_create"])?
        .must(1)?
        .explains(&["no word of a delegation", "--from"])?;
    // --from is what it is read as, whatever it looks like.
    wrong(&["run", "--from", "systemd", "delegate_maps=array"])?
        .must(1)?
        .explains(&["that of systemd, delegates nothing"])?;
    wrong(&["run", "security.bpffs.path=/mnt"])?
        .must(1)?
        .explains(&["that of incus, delegates nothing"])?;
    wrong(&["systemd", "--maps", "0x4000000000000000"])?
        .must(1)?
        .explains(&["delegate_maps", "systemd has names only"])?;
    wrong(&["run", "BPFDelegateMaps=BPFMapTypeAray"])?
        .must(0)?
        .tells(&["warning: ", "no map type \"aray\" (is \"array\" meant?)"])
}

/// What `check` found out, in the words of a manager: they delegate the same.
fn of_check(world: &World) -> Result<()> {
    let file = world.dir.path().join("format.bpf.o");
    let (_, object) = OBJECTS.first().context("no object")?;
    std::fs::write(&file, object)?;
    let check = |more: &[&str]| {
        let args = [&["check", "--no-trial", "--obj", path(&file)], more].concat();
        world.run(&args)?.must(0)
    };
    let options = check(&["--format", "run"])?.out;
    ensure!(options.starts_with("--cmds map_create"), "{options}");
    for format in Format::ALL {
        let text = check(&["--format", format.name()])?.out;
        ensure!(
            Format::of(&text) == Some(format),
            "not as {format} has it: {text}"
        );
        ensure!(convert(world, Format::Run, &text)? == options, "{text}");
    }
    Ok(())
}
