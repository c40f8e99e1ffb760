// SPDX-License-Identifier: GPL-2.0
//! `bpftoken restrict`, narrower tokens of the library, and who else takes up a token that was passed
//! on.

mod escape;

use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::process::Command;
use std::process::ExitCode;
use std::process::Stdio;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use bpf_token::Delegation;
use bpf_token::Errno;
use bpf_token::Error;
use bpf_token::Feature;
use bpf_token::MapAttr;
use bpf_token::MapType;
use bpf_token::Process;
use bpf_token::Token;
use serde_json::json;
use serde_json::Value;

use crate::check::OBJECTS;
use crate::world::ended;
use crate::world::path;
use crate::world::said;
use crate::world::Said;
use crate::world::World;
use crate::Test;

pub const TESTS: &[(&str, Test)] = &[
    ("restrict::worker", worker),
    ("restrict::no_way_back", escape::no_way_back),
    ("restrict::bpffs_that_is_hidden", escape::hidden),
    ("restrict::status", status),
    ("restrict::signals", signals),
    ("restrict::load", load),
    ("restrict::refusals", refusals),
    ("restrict::library", library),
    ("restrict::passed_descriptor", passed_descriptor),
];

const ALL: &str = "--cmds any --maps any --progs any --attachs any";
/// What a kernel that can't says.
const CANNOT: &str = "this kernel has no restricted tokens";

/// The first argument of this program when it makes narrower tokens with the library.
const LIBRARY: &str = "restrict-library";

/// What this program does when a test starts it again.
pub fn role() -> Option<ExitCode> {
    let done = match std::env::args().nth(1)?.as_str() {
        LIBRARY => narrower_tokens(),
        escape::ESCAPE => escape::escape(),
        _ => return None,
    };
    Some(ended(done))
}

/// The command line of `bpftoken restrict` in a container to which all is delegated.
fn restricted(world: &World, options: &str, command: &[&str]) -> Command {
    let mut args = vec![world.bpftoken(), "restrict"];
    args.extend(options.split_whitespace());
    args.push("--");
    args.extend(command);
    world.contained(&format!("{ALL} {COOKIE}"), &args)
}

/// A cookie, which the narrower token has as well.
const COOKIE: &str = "--cookie 0x10";

/// The same on a kernel that has neither.
fn refused(world: &World) -> Result<Said> {
    let command = [world.bpftoken(), "restrict", "--cmds", "any", "--", "true"];
    said(&mut world.contained(ALL, &command))
}

/// The command has the narrower token, by descriptor and by its variable, and nothing else of BPF.
fn worker(world: &World) -> Result<()> {
    if !World::has_narrowing()? {
        return refused(world)?.must(125)?.explains(&[CANNOT]);
    }
    let options = "--cmds map_create:prog_load --maps array:hash";
    let probe = [world.bpftoken(), "probe", "--json"];
    let said_ = said(&mut restricted(world, options, &probe))?.must(0)?;
    let probe: Value = serde_json::from_str(&said_.out)?;
    ensure!(
        probe["token"] == "passed on as descriptor 3",
        "{}",
        probe["token"]
    );
    ensure!(
        probe["grants"]
            == json!({ "cmds": ["map_create", "prog_load"], "maps": ["hash", "array"], "progs": [],
                       "attachs": [], "cookie": 16 }),
        "{}",
        probe["grants"]
    );
    for (name, outcome) in [("array", "works"), ("ringbuf", "refused")] {
        let maps = probe["maps"].as_array().context("no maps")?;
        let found = maps.iter().find(|it| it["name"] == name);
        ensure!(
            found.is_some_and(|it| it["outcome"] == outcome),
            "{found:?}"
        );
    }
    let script =
        "echo $BPF_TOKEN_FD/$LIBBPF_BPF_TOKEN_PATH; ls /proc/self/fd | tr '\\n' ' '; id -u; \
                  grep -c ' bpf ' /proc/mounts; exec 2>/dev/null; readlink /proc/self/fd/3";
    let said = said(&mut restricted(world, options, &["sh", "-c", script]))?.must(0)?;
    ensure!(
        said.out == "3/\n0 1 2 3 4 0\n0\n/bpf-token (deleted)\n",
        "{}",
        said.out
    );
    Ok(())
}

fn status(world: &World) -> Result<()> {
    if !World::has_narrowing()? {
        return Ok(());
    }
    let run = |command: &[&str]| said(&mut restricted(world, "--cmds map_create", command));
    run(&["sh", "-c", "exit 42"])?.must(42)?;
    run(&["sh", "-c", "kill -TERM $$"])?.must(128 + 15)?;
    run(&["no-such-command"])?
        .must(127)?
        .tells(&["no-such-command", "ENOENT"])?;
    run(&["/etc/passwd"])?
        .must(126)?
        .tells(&["/etc/passwd", "EACCES"])
}

/// A signal to `bpftoken restrict` is one to its command, and its end is the command's.
fn signals(world: &World) -> Result<()> {
    if !World::has_narrowing()? {
        return Ok(());
    }
    let script = "trap 'echo got; exit 7' TERM; echo ready; while :; do sleep 0.1; done";
    let mut command = restricted(world, "--cmds map_create", &["sh", "-c", script]);
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut out = BufReader::new(child.stdout.take().context("no stdout")?).lines();
    ensure!(
        out.next().transpose()?.as_deref() == Some("ready"),
        "not ready"
    );
    Process::open(child.id().try_into()?)?.signal(15)?;
    ensure!(out.next().transpose()?.as_deref() == Some("got"), "not got");
    let status = child.wait()?;
    ensure!(status.code() == Some(7), "{status}");

    let script = "echo ready; sleep 1000";
    let mut command = restricted(world, "--cmds map_create", &["sh", "-c", script]);
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut out = BufReader::new(child.stdout.take().context("no stdout")?).lines();
    ensure!(
        out.next().transpose()?.as_deref() == Some("ready"),
        "not ready"
    );
    child.kill()?;
    child.wait()?;
    // The pipe ends with the last who has it.
    ensure!(out.next().is_none(), "it lives on");
    Ok(())
}

/// `bpftoken load` has libbpf use the token that was passed on, and no more than that permits.
fn load(world: &World) -> Result<()> {
    let object = OBJECTS.iter().find(|(name, _)| *name == "xdp_redirect");
    let file = world.dir.path().join("restricted.bpf.o");
    fs::write(&file, object.context("no object")?.1)?;
    if !World::has_narrowing()? {
        return Ok(());
    }
    let load = [world.bpftoken(), "load", path(&file)];
    let json = [world.bpftoken(), "load", "--json", path(&file)];
    let options = format!("--for {}", path(&file));
    let loaded = said(&mut restricted(world, &options, &load))?.must(0)?;
    ensure!(
        loaded
            .out
            .contains("loaded through the token that is descriptor 3"),
        "{}",
        loaded.out
    );
    let loaded = said(&mut restricted(world, &options, &json))?.must(0)?;
    let loaded: Value = serde_json::from_str(&loaded.out)?;
    ensure!(
        loaded["token"].is_null() && loaded["descriptor"] == 3,
        "{loaded}"
    );
    let less = "--cmds map_create:prog_load:btf_load --maps array:devmap --progs socket_filter --attachs any";
    said(&mut restricted(world, less, &load))?
        .must(1)?
        .tells(&["of type xdp", "does not delegate program type xdp"])
}

fn refusals(world: &World) -> Result<()> {
    let inside = |args: &[&str]| {
        let command = [&[world.bpftoken(), "restrict"], args].concat();
        said(&mut world.contained("--cmds map_create --maps array", &command))
    };
    inside(&["--", "true"])?
        .must(125)?
        .explains(&["nothing is named that the command may do"])?;
    inside(&["--cmds", "any", "--maps", "teleport", "--", "true"])?
        .must(125)?
        .explains(&["no map type \"teleport\""])?;
    inside(&["--cmds", "any", "--token", "/tmp", "--", "true"])?
        .must(125)?
        .explains(&["/tmp", "EINVAL"])?;
    world
        .run(&["restrict", "--cmds", "map_create", "--", "true"])?
        .must(125)?
        .explains(&["no token here to make a narrower one of"])?;
    if !World::has_narrowing()? {
        return refused(world)?
            .must(125)?
            .explains(&[CANNOT, "BPF_F_TOKEN_RESTRICT"]);
    }
    inside(&["--progs", "xdp", "--", "true"])?
        .must(125)?
        .tells(&[
            "create restricted BPF token",
            "ENOENT",
            "nothing is delegated",
        ])?;
    // Its command may not make namespaces.
    let again = [world.bpftoken(), "restrict", "--cmds", "any", "--", "true"];
    said(&mut restricted(world, "--cmds map_create", &again))?
        .must(125)?
        .tells(&["make the process and its namespaces", "EPERM"])
}

/// By the library, in a container.
fn library(world: &World) -> Result<()> {
    let command = [path(&world.own), LIBRARY];
    let cookie = if World::has_narrowing()? { COOKIE } else { "" };
    let options = format!("--cmds any --maps hash:array:ringbuf {cookie}");
    let done = said(&mut world.contained(&options, &command))?.must(0)?;
    let expected = if World::has_narrowing()? {
        "16\n"
    } else {
        "cannot\n"
    };
    ensure!(done.out == expected, "{}", done.out);
    Ok(())
}

fn narrower_tokens() -> Result<()> {
    let root = fs::File::open("/sys/fs/bpf")?;
    let token = Token::create(&root)?;
    let keep = |text: &str| text.parse::<Delegation>();
    let array = keep("delegate_cmds=map_create,delegate_maps=array:ringbuf:lru_hash")?;
    let narrower = match token.restrict(&array) {
        Err(Error::Unsupported(Feature::Restriction)) => {
            let other = Token::create_restricted(&root, &array).err();
            ensure!(matches!(other, Some(Error::Unsupported(_))), "{other:?}");
            println!("cannot");
            return Ok(());
        }
        made => made?,
    };
    let info = narrower.info()?;
    ensure!(info.maps.to_string() == "array:ringbuf", "{}", info.maps);
    ensure!(info.cmds.to_string() == "map_create", "{}", info.cmds);
    ensure!(token.info()?.maps.to_string() == "hash:array:ringbuf");
    let from_root = Token::create_restricted(&root, &array)?;
    ensure!(from_root.info()? == info);
    // From the narrower one there is no way up.
    let all = narrower.restrict(&Delegation::any())?;
    ensure!(all.info()? == info, "{:?}", all.info()?);
    let least = narrower.restrict(&keep("delegate_cmds=any,delegate_maps=array")?)?;
    drop(narrower);
    let map = |map_type| {
        let attr = MapAttr::new(map_type, 4, 8, 1);
        attr.create(Some(&least))
    };
    map(MapType::ARRAY)?;
    let error = map(MapType::HASH).err().context("a hash")?;
    ensure!(
        error
            .to_string()
            .contains("does not delegate map type hash"),
        "{error}"
    );
    let error = least
        .restrict(&keep("delegate_progs=any")?)
        .err()
        .context("a token of nothing")?;
    ensure!(error.errno() == Some(Errno::ENOENT), "{error}");
    ensure!(
        error.to_string().contains("nothing is delegated"),
        "{error}"
    );
    let error = least
        .restrict(&array.clone().cookie(7))
        .err()
        .context("a cookie")?;
    ensure!(matches!(error, Error::Invalid(_)), "{error}");
    let null = fs::File::open("/dev/null")?;
    let error = Token::create_restricted(null, &array)
        .err()
        .context("no BPF FS")?;
    ensure!(error.errno() == Some(Errno::EINVAL), "{error}");
    println!("{}", info.cookie);
    Ok(())
}

/// A descriptor that is named and is no token is an error, on every kernel; a token that is passed on
/// is used.
fn passed_descriptor(world: &World) -> Result<()> {
    let probe = |number: &str| {
        said(
            world
                .command(&["probe", "--json"])
                .env("BPF_TOKEN_FD", number),
        )
    };
    probe("x")?
        .must(1)?
        .explains(&["BPF_TOKEN_FD is \"x\"", "not the number of a descriptor"])?;
    probe("1")?.must(1)?.explains(&["is not a BPF token"])?;
    probe("999")?
        .must(1)?
        .explains(&["descriptor 999", "EBADF"])?;
    // A path that is given comes first.
    let said = said(
        world
            .command(&["probe", "--json", "--token", ""])
            .env("BPF_TOKEN_FD", "x"),
    )?;
    said.must(0).map(drop)
}
