// SPDX-License-Identifier: GPL-2.0
//! Users that are not root: as far as the kernel lets them, and a clear error beyond.

use std::fs;
use std::process::Command;
use std::process::Stdio;

use anyhow::ensure;
use anyhow::Result;

use crate::world::path;
use crate::world::said;
use crate::world::Said;
use crate::world::World;
use crate::Test;

pub const TESTS: &[(&str, Test)] = &[
    ("user::may_not_delegate", may_not_delegate),
    ("user::subordinate_ids", subordinate_ids),
    ("user::of_root", of_root),
    ("user::no_such_user", no_such_user),
];

/// Runs a script as root in a mount namespace where `tester` (uid 4321) has the subordinate ids
/// from 200000.
fn with_tester(world: &World, script: &str) -> Result<Said> {
    let dir = world.dir.path();
    let passwd = fs::read_to_string("/etc/passwd")?;
    fs::write(
        dir.join("passwd"),
        format!("{passwd}tester:x:4321:4321::/:/bin/sh\n"),
    )?;
    fs::write(dir.join("subuid"), "tester:200000:65536\n")?;
    let (dir, tool) = (path(dir), world.bpftoken());
    let script = format!(
        "set -e\n\
         for file in passwd subuid subgid; do\n\
         [ -e /etc/$file ] || touch /etc/$file\n\
         [ -e {dir}/$file ] || cp {dir}/subuid {dir}/$file\n\
         mount --bind {dir}/$file /etc/$file\n\
         done\n\
         tool={tool}\n\
         tester() {{ setpriv --reuid 4321 --regid 4321 --clear-groups \"$@\"; }}\n\
         {script}"
    );
    said(
        Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", &script])
            .stdin(Stdio::null()),
    )
}

/// The container can be made, but the kernel keeps delegation for CAP_SYS_ADMIN.
fn may_not_delegate(world: &World) -> Result<()> {
    with_tester(
        world,
        "tester $tool run --cmds map_create --maps hash -- true",
    )?
    .must(125)?
    .explains(&[
        "delegate_cmds",
        "EPERM",
        "only CAP_SYS_ADMIN in the initial user namespace may delegate",
    ])
}

/// With a range of subordinate ids, it is newuidmap(1) that writes the maps; without, it says no.
fn subordinate_ids(world: &World) -> Result<()> {
    let delegate = "--cmds map_create --maps hash -- true";
    with_tester(world, &format!("tester $tool run --user tester {delegate}"))?
        .must(125)?
        .explains(&["only CAP_SYS_ADMIN in the initial user namespace may delegate"])?;
    with_tester(world, &format!("tester $tool run --user 1 {delegate}"))?
        .must(125)?
        .tells(&["newuidmap"])
}

/// Root delegates to the user, who gets the subordinate ids as well.
fn of_root(world: &World) -> Result<()> {
    let script = "$tool run --user tester --cmds map_create --maps hash -- cat /proc/self/uid_map /proc/self/gid_map";
    let said = with_tester(world, script)?.must(0)?;
    let numbers: Vec<&str> = said.out.split_whitespace().collect();
    let one = ["0", "4321", "1", "1", "200000", "65536"];
    ensure!(numbers == [one, one].concat(), "{}", said.out);
    Ok(())
}

fn no_such_user(world: &World) -> Result<()> {
    world
        .run(&[
            "run",
            "--user",
            "nobody-of-this-name",
            "--cmds",
            "any",
            "--",
            "true",
        ])?
        .must(125)?
        .explains(&["nobody-of-this-name", "/etc/passwd", "or a uid"])
}
