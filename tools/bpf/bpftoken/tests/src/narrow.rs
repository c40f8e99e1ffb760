// SPDX-License-Identifier: GPL-2.0
//! `bpftoken narrow`, `bpftoken revoke` and what the library has for them, against containers that
//! would rather keep what they have.

mod contest;
mod hidden;

use std::fs;
use std::os::fd::AsFd;
use std::process::Command;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use bpf_token::Delegation;
use bpf_token::Errno;
use bpf_token::Error;
use bpf_token::Feature;
use bpf_token::FsContext;
use bpf_token::Instance;
use bpf_token::Process;
use bpf_token::Target;
use serde_json::json;
use serde_json::Value;

use crate::check::OBJECTS;
use crate::world::inside;
use crate::world::path;
use crate::world::said;
use crate::world::Holder;
use crate::world::Said;
use crate::world::World;
use crate::Test;

pub const TESTS: &[(&str, Test)] = &[
    ("narrow::takes_from_every_token", takes),
    ("narrow::never_adds", never_adds),
    ("narrow::programs_stay", programs_stay),
    ("narrow::refusals", refusals),
    ("narrow::of_a_user", of_a_user),
    ("narrow::mounted_over", hidden::mounted_over),
    ("narrow::unmounted", hidden::unmounted),
    ("narrow::of_another_user_namespace", hidden::of_another),
    ("narrow::by_mount", by_mount),
    ("narrow::remount_that_does_nothing", does_nothing),
    ("revoke::takes_all", revoke),
    ("narrow::mounts_that_move", contest::mounts_that_move),
    ("narrow::new_instances", contest::new_instances),
    (
        "hostile::narrowing_waits_for_no_process",
        contest::stopped_process,
    ),
];

const ALL: &str = "--cmds map_create:prog_load --maps hash:array --progs xdp --attachs any";
/// Leaves just array maps.
const KEEP: [&str; 4] = ["--cmds", "map_create", "--maps", "array:ringbuf"];
/// What a kernel that can't says.
const CANNOT: &str = "this kernel has no way to take a delegation back";

fn narrow(world: &World, pid: i32, options: &[&str]) -> Result<Said> {
    let pid = pid.to_string();
    world.run(&[&["narrow", "--pid", &pid][..], options].concat())
}

/// What the token that a process holds grants now.
fn grants(world: &World, pid: i32) -> Result<Value> {
    let report = world.json(&["show", "--json", "--pid", &pid.to_string()])?;
    let token = report["tokens"].get(0).context("no token")?;
    Ok(token["grants"].clone())
}

/// The line of /proc/mounts of the BPF FS on this directory.
fn mount_line(pid: i32, dir: &str) -> Result<String> {
    let mounts = fs::read_to_string(format!("/proc/{pid}/mounts"))?;
    let line = mounts
        .lines()
        .find(|line| line.contains(&format!(" {dir} bpf ")));
    Ok(line.unwrap_or_default().to_owned())
}

/// At once from a token that is held, from the BPF FS, and so from the next token.
fn takes(world: &World) -> Result<()> {
    let holder = Holder::start(world, ALL)?;
    let pid = holder.pid;
    let before = grants(world, pid)?;
    ensure!(before["maps"] == json!(["hash", "array"]), "{before}");
    let done = narrow(world, pid, &KEEP)?;
    if !World::has_narrowing()? {
        done.must(1)?.explains(&[CANNOT, "changed nothing"])?;
        ensure!(grants(world, pid)? == before, "{}", grants(world, pid)?);
        return Ok(());
    }
    let done = done.must(0)?.out;
    ensure!(
        done.ends_with(
            " on /sys/fs/bpf delegates now: delegate_cmds=map_create,delegate_maps=array\n"
        ),
        "{done}"
    );
    let left = json!({ "cmds": ["map_create"], "maps": ["array"], "progs": [], "attachs": [] });
    ensure!(grants(world, pid)? == left, "{}", grants(world, pid)?);
    let line = mount_line(pid, "/sys/fs/bpf")?;
    ensure!(
        line.contains("delegate_cmds=map_create,delegate_maps=array ") && !line.contains("progs"),
        "{line}"
    );
    let probe = format!("{} probe --json", world.bpftoken());
    let next: Value = serde_json::from_str(&inside(pid, &probe)?.must(0)?.out)?;
    ensure!(next["grants"] == left, "{}", next["grants"]);
    Ok(())
}

/// What was taken does not come back by being named, and no list is left by not being named.
fn never_adds(world: &World) -> Result<()> {
    let holder = Holder::start(world, ALL)?;
    let pid = holder.pid;
    // What changes nothing works on every kernel.
    let all: Vec<&str> = ALL.split_whitespace().collect();
    narrow(world, pid, &all)?.must(0)?;
    if !World::has_narrowing()? {
        return Ok(());
    }
    let keeps: [(&[&str], Value); 3] = [
        (
            &["--cmds", "any", "--maps", "hash"],
            json!({ "cmds": ["map_create", "prog_load"], "maps": ["hash"], "progs": [], "attachs": [] }),
        ),
        (
            &[
                "--cmds",
                "map_create:btf_load",
                "--maps",
                "any",
                "--progs",
                "any",
                "--attachs",
                "any",
            ],
            json!({ "cmds": ["map_create"], "maps": ["hash"], "progs": [], "attachs": [] }),
        ),
        (
            &[
                "--cmds",
                "0xffffffffffffffff",
                "--maps",
                "0x8000000000000002",
            ],
            json!({ "cmds": ["map_create"], "maps": ["hash"], "progs": [], "attachs": [] }),
        ),
    ];
    for (keep, left) in keeps {
        narrow(world, pid, keep)?.must(0)?;
        ensure!(
            grants(world, pid)? == left,
            "{keep:?}: {}",
            grants(world, pid)?
        );
    }
    Ok(())
}

/// What was loaded goes on; the next load is refused with the reason.
fn programs_stay(world: &World) -> Result<()> {
    if !World::has_narrowing()? {
        return Ok(());
    }
    let object = OBJECTS.iter().find(|(name, _)| *name == "xdp_redirect");
    let file = world.dir.path().join("stays.bpf.o");
    fs::write(&file, object.context("no object")?.1)?;
    let options = "--cmds any --maps any --progs any --attachs any --cookie 77";
    let holder = Holder::start(world, options)?;
    let pid = holder.pid;
    let load = format!("{} load --pin /sys/fs/bpf/", world.bpftoken());
    inside(pid, &format!("{load}one {}", path(&file)))?.must(0)?;
    world.run(&["revoke", "--pid", &pid.to_string()])?.must(0)?;
    let programs = || -> Result<Value> {
        let report = world.json(&["show", "--json", "--pid", &pid.to_string()])?;
        Ok(report["programs"].clone())
    };
    let stayed = programs()?;
    ensure!(
        stayed.as_array().is_some_and(|it| !it.is_empty()) && stayed[0]["cookie"] == 77,
        "{stayed}"
    );
    // Its own maps of the container work without a token, but no command does through it.
    let next = inside(pid, &format!("{load}two {}", path(&file)))?;
    ensure!(next.code != Some(0), "it loads: {}", next.out);
    ensure!(programs()? == stayed, "{}", programs()?);
    let narrower = Holder::start(world, options)?;
    narrow(
        world,
        narrower.pid,
        &[
            "--cmds",
            "any",
            "--maps",
            "array",
            "--progs",
            "any",
            "--attachs",
            "any",
        ],
    )?
    .must(0)?;
    let next = inside(narrower.pid, &format!("{load}two {}", path(&file)))?;
    ensure!(next.code == Some(1), "it loads: {}", next.out);
    next.tells(&["map type devmap"])
}

fn refusals(world: &World) -> Result<()> {
    let holder = Holder::start(world, ALL)?;
    let pid = holder.pid;
    narrow(world, pid, &[])?
        .must(1)?
        .explains(&["nothing is named that stays", "bpftoken revoke"])?;
    narrow(world, pid, &["--cmds", "any", "--cookie", "7"])?.must(2)?;
    narrow(world, pid, &["--maps", "teleport"])?
        .must(1)?
        .explains(&["this kernel has", "no map type \"teleport\""])?;
    narrow(world, pid, &[&["--target", "/mnt"][..], &KEEP].concat())?
        .must(1)?
        .explains(&["no delegated BPF FS is mounted on the target"])?;
    narrow(world, pid, &[&["--target", "/nowhere"][..], &KEEP].concat())?
        .must(1)?
        .explains(&["open the target", "ENOENT"])?;
    narrow(world, i32::MAX, &KEEP)?
        .must(1)?
        .explains(&["there is no process 2147483647"])?;
    let own = i32::try_from(std::process::id())?;
    let revoke = world.run(&["revoke", "--pid", &own.to_string()])?.must(1)?;
    revoke.explains(&["sees no BPF FS that delegates"])?;
    // One that ends while it is held does not turn into another.
    let process = Process::open(pid)?;
    drop(holder);
    let error = Target::new(&process, "/sys/fs/bpf").instance().err();
    let error = error.context("a BPF FS of a process that ended")?;
    ensure!(matches!(error, Error::File { .. }), "{error}");
    Ok(())
}

/// Only who may delegate may take back: not the container's root, nor a user of the host.
fn of_a_user(world: &World) -> Result<()> {
    let holder = Holder::start(world, ALL)?;
    let before = grants(world, holder.pid)?;
    let remount = inside(
        holder.pid,
        "mount -o remount,delegate_maps=hash /sys/fs/bpf",
    )?;
    if World::has_narrowing()? {
        ensure!(remount.code != Some(0), "the container remounted it");
    }
    let user = ["--reuid", "1000", "--regid", "1000", "--clear-groups"];
    let pid = holder.pid.to_string();
    let args = [&["narrow", "--pid", &pid][..], &KEEP].concat();
    let said = said(
        Command::new("setpriv")
            .args(user)
            .arg(world.bpftoken())
            .args(args),
    )?;
    ensure!(said.code == Some(1), "{}", said.out);
    ensure!(grants(world, holder.pid)? == before);
    Ok(())
}

/// By a mount that is attached nowhere; and more only if asked for.
fn by_mount(_: &World) -> Result<()> {
    let context = FsContext::open()?;
    let all: Delegation = "delegate_cmds=any,delegate_maps=hash:array".parse()?;
    all.apply(&context)?;
    context.create()?;
    let mount = context.mount()?;
    let instance = Instance::from_mount(&mount)?;
    ensure!(instance.delegation()? == all, "{}", instance.delegation()?);
    let keep: Delegation = "delegate_cmds=map_create,delegate_maps=array:ringbuf".parse()?;
    let narrowed = instance.narrow(&keep);
    if !World::has_narrowing()? {
        let error = narrowed.err().context("narrowed")?;
        ensure!(error.to_string().contains(CANNOT), "{error}");
        ensure!(instance.delegation()? == all);
        return Ok(());
    }
    let change = narrowed?;
    let left: Delegation = "delegate_cmds=map_create,delegate_maps=array".parse()?;
    ensure!(
        (&change.before, &change.after) == (&all, &left),
        "{change:?}"
    );
    ensure!(instance.redelegate(&all)?.after == all);
    ensure!(instance.revoke()?.after.is_empty());
    let error = instance.narrow(&keep.cookie(7)).err().context("narrowed")?;
    ensure!(
        error.to_string().contains("cannot change; it is 0"),
        "{error}"
    );
    for (what, file) in [
        ("a directory of it", {
            rustix::fs::mkdirat(mount.as_fd(), "below", 0o700.into())?;
            let flags = rustix::fs::OFlags::PATH;
            rustix::fs::openat(mount.as_fd(), "below", flags, rustix::fs::Mode::empty())?
        }),
        ("another file system", fs::File::open("/proc")?.into()),
    ] {
        let error = Instance::from_mount(file).err().context(what)?;
        ensure!(
            error.to_string().contains("is not that of a directory"),
            "{what}: {error}"
        );
    }
    Ok(())
}

/// D7: where a remount succeeds and changes nothing, who took back is not told that it worked.
fn does_nothing(_: &World) -> Result<()> {
    let context = FsContext::open()?;
    "delegate_maps=hash"
        .parse::<Delegation>()?
        .apply(&context)?;
    context.create()?;
    let mount = context.mount()?;
    let pick = FsContext::pick(&mount)?;
    pick.set("delegate_maps", "0x0")?;
    pick.reconfigure()?;
    let instance = Instance::from_mount(&mount)?;
    if World::has_narrowing()? {
        ensure!(instance.delegation()?.is_empty());
        return Ok(());
    }
    // The kernel said that it worked.
    ensure!(instance.delegation()?.to_string() == "delegate_maps=hash");
    let error = instance.revoke().err().context("revoked")?;
    ensure!(
        matches!(error, Error::Unsupported(Feature::Narrowing)),
        "{error}"
    );
    ensure!(error.errno() != Some(Errno::EPERM));
    Ok(())
}

fn revoke(world: &World) -> Result<()> {
    let holder = Holder::start(world, ALL)?;
    let pid = holder.pid;
    let revoke = || world.run(&["revoke", "--pid", &pid.to_string()]);
    if !World::has_narrowing()? {
        return revoke()?.must(1)?.explains(&[CANNOT]);
    }
    let done = revoke()?.must(0)?.out;
    ensure!(done.ends_with(" delegates now: nothing\n"), "{done}");
    let left = grants(world, pid)?;
    ensure!(
        left == json!({ "cmds": [], "maps": [], "progs": [], "attachs": [] }),
        "{left}"
    );
    let probe = format!("{} probe --token /sys/fs/bpf", world.bpftoken());
    inside(pid, &probe)?.must(1)?.explains(&["ENOENT"])
}
