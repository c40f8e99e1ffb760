// SPDX-License-Identifier: GPL-2.0
//! `bpftoken exec`: programs that know nothing of tokens use one.

mod caller;
mod clients;
pub mod raw;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use bpf_token::Cmd;
use bpf_token::Container;
use bpf_token::Delegation;
use bpf_token::IdMap;
use bpf_token::MapType;
use bpf_token::Observed;
use bpf_token::DEFAULT_BPFFS;
use libtest_mimic::Trial;

pub use self::caller::role;
pub use self::caller::CALLER;
use crate::world::path;
use crate::world::said;
use crate::world::Said;
use crate::world::World;
use crate::Test;

const TESTS: &[(&str, Test)] = &[
    ("exec::refused_without_it", refused_without),
    ("exec::all_commands", |world| fine(world, "all")),
    ("exec::short_attributes", |world| fine(world, "short")),
    ("exec::read_only_attributes", |world| {
        fine(world, "read-only")
    }),
    ("exec::a_hundred_threads", |world| fine(world, "threads")),
    ("exec::children_and_programs", |world| {
        fine(world, "processes")
    }),
    ("exec::callers_with_a_token", |world| {
        fine(world, "own-token")
    }),
    ("exec::closed_and_used_again", |world| fine(world, "closed")),
    ("exec::full_table", |world| fine(world, "full")),
    ("exec::no_descriptors", |world| fine(world, "limit")),
    ("exec::killed_at_any_time", |world| fine(world, "killed")),
    ("exec::changing_attributes", |world| fine(world, "changes")),
    ("exec::signals", |world| fine(world, "signals")),
    ("exec::held_while_signals_come", held),
    ("exec::supervisor_is_killed", |world| fine(world, "orphan")),
    ("exec::what_is_left_behind", left_behind),
    ("exec::status", status),
    ("exec::run_with_exec", run_with),
    ("exec::two_supervisors", two),
    ("exec::no_more_privilege", no_more_privilege),
    ("exec::without_sys_admin", without_sys_admin),
    ("exec::refusals", refusals),
    ("exec::no_token", no_token),
];

pub fn trials() -> Vec<Trial> {
    let own = TESTS.iter().map(|(name, test)| crate::trial(name, test));
    own.chain(clients::trials()).collect()
}

/// What the callers need.
const ENOUGH: &str = "--cmds map_create:prog_load:btf_load:btf_get_fd_by_id \
                      --maps hash:hash_of_maps --progs xdp --attachs xdp";

/// `bpftoken exec` of a command in a container.
fn exec(world: &World, options: &str, command: &[&str]) -> Result<Said> {
    let line = [&[world.bpftoken(), "exec", "--"], command].concat();
    said(&mut world.contained(options, &line))
}

/// A caller under `bpftoken exec` that finds nothing wrong.
fn fine(world: &World, what: &str) -> Result<()> {
    let command = [path(&world.own), CALLER, what];
    let said = exec(world, ENOUGH, &command)?.must(0)?;
    let silent = said.err.is_empty() || ["full", "limit", "changes"].contains(&what);
    ensure!(silent, "it says: {}", said.err);
    Ok(())
}

fn refused_without(world: &World) -> Result<()> {
    let command = [path(&world.own), CALLER, "all-refused"];
    said(&mut world.contained(ENOUGH, &command))?.must(0)?;
    Ok(())
}

/// A call that the supervisor makes in the caller's stead gives nothing to a caller that has given
/// up its capabilities, nor to one that has them in a namespace of its own.
fn no_more_privilege(world: &World) -> Result<()> {
    let own = path(&world.own);
    for without in [
        &["setpriv", "--bounding-set=-all", "--inh-caps=-all"][..],
        &["unshare", "--user", "--map-root-user"],
    ] {
        let command = [without, &[own, CALLER, "short-refused"]].concat();
        exec(world, ENOUGH, &command)?
            .must(0)?
            .tells(&["the caller lacks capabilities that the supervisor has"])?;
    }
    Ok(())
}

fn left_behind(world: &World) -> Result<()> {
    let script = format!("{} {CALLER} daemon; echo ended", path(&world.own));
    let said = exec(world, ENOUGH, &["sh", "-c", &script])?.must(0)?;
    ensure!(
        said.out == "ended\nloaded by what was left behind\n",
        "{} {}",
        said.out,
        said.err
    );
    Ok(())
}

/// The status is the command's, which has the place of bpftoken.
fn status(world: &World) -> Result<()> {
    let run = |command: &[&str]| exec(world, ENOUGH, command);
    run(&["sh", "-c", "exit 42"])?.must(42)?;
    run(&["sh", "-c", "kill -TERM $$"])?.must(128 + 15)?;
    run(&["no-such-command"])?
        .must(127)?
        .explains(&["no-such-command", "ENOENT"])?;
    run(&["/etc/passwd"])?
        .must(126)?
        .explains(&["/etc/passwd", "EACCES"])?;
    let script = format!(
        "echo $$; exec {} exec -- sh -c 'echo $$; grep -c bpf-token-exec /proc/*/comm'",
        world.bpftoken()
    );
    let options = format!("{ENOUGH} --pid");
    let said = said(&mut world.contained(&options, &["sh", "-c", &script]))?;
    let pids: Vec<&str> = said.out.lines().take(2).collect();
    ensure!(pids.len() == 2 && pids[0] == pids[1], "{}", said.out);
    let supervisors = said.out.lines().filter(|line| line.ends_with(":1"));
    ensure!(supervisors.count() == 1, "{}", said.out);
    Ok(())
}

/// `bpftoken run --exec`, with namespaces of its own and another directory.
fn run_with(world: &World) -> Result<()> {
    let own = path(&world.own);
    for options in ["", "--pid --net --cgroup", "--target /mnt"] {
        let options = format!("{ENOUGH} {options} --exec");
        said_of(world, &options, &[own, CALLER, "all"])?
            .must(0)
            .with_context(|| options.clone())?;
        let said = said_of(world, &options, &["sh", "-c", "exit 42"])?.must(42)?;
        ensure!(said.err.is_empty(), "{}", said.err);
        said_of(world, &options, &["no-such-command"])?
            .must(127)?
            .explains(&["no-such-command", "ENOENT"])?;
    }
    Ok(())
}

fn said_of(world: &World, options: &str, command: &[&str]) -> Result<Said> {
    said(&mut world.contained(options, command))
}

fn two(world: &World) -> Result<()> {
    let inner = [world.bpftoken(), "exec", "--", "true"];
    exec(world, ENOUGH, &inner)?
        .must(125)?
        .explains(&["EBUSY", "supervises system calls here already"])
}

/// Set-user-ID programs keep working where they can.
fn without_sys_admin(world: &World) -> Result<()> {
    let script = format!(
        "grep NoNewPrivs /proc/self/status; {} {CALLER} all",
        path(&world.own)
    );
    let exec = [world.bpftoken(), "exec", "--", "sh", "-c", &script];
    let with = said(&mut world.contained(ENOUGH, &exec))?.must(0)?;
    ensure!(with.out == "NoNewPrivs:\t0\n", "{}", with.out);
    // CAP_SYS_ADMIN is also what lets BTF be had by id.
    let script = script.replace(" all", " map-only");
    let exec = [
        "setpriv",
        "--bounding-set",
        "-sys_admin",
        world.bpftoken(),
        "exec",
        "--",
        "sh",
        "-c",
        &script,
    ];
    let without = said(&mut world.contained(ENOUGH, &exec))?.must(0)?;
    ensure!(without.out == "NoNewPrivs:\t1\n", "{}", without.out);
    Ok(())
}

/// A call that the supervisor has taken is not interrupted by signals, however long it takes.
fn held(world: &World) -> Result<()> {
    let (ours, theirs) = rustix::net::socketpair(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::SEQPACKET,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    let mut running = Container::new("bpftoken")
        .file(fs::File::open(&world.bpftoken)?.into())
        .args(["exec", "--observer", "3", "--", path(&world.own), CALLER])
        .args(["held"])
        .ids([IdMap::root(1000)], [IdMap::root(1000)])
        .bpffs(
            Delegation::new().cmds(Cmd::MAP_CREATE).maps(MapType::HASH),
            DEFAULT_BPFFS,
        )
        .pass_fd(theirs, 3)
        .spawn()?;
    let call = Observed::receive(&ours)?.context("no call")?;
    std::thread::sleep(Duration::from_millis(1500));
    call.proceed(&ours)?;
    let again = Observed::receive(&ours)?;
    ensure!(again.is_none(), "it was interrupted: {again:?}");
    let status = running.wait()?;
    ensure!(status.success(), "{status}");
    Ok(())
}

/// What the delegation lacks is told, once, and not with `--quiet`.
fn refusals(world: &World) -> Result<()> {
    let script = format!("{0} {CALLER} all; {0} {CALLER} all", path(&world.own));
    let said = exec(
        world,
        &ENOUGH.replace("--progs xdp", "--progs tracing"),
        &["sh", "-c", &script],
    )?
    .must(1)?;
    said.tells(&[
        "bpftoken exec: process ",
        "because the token does not delegate program type xdp",
    ])?;
    let lines = said
        .err
        .lines()
        .filter(|line| line.starts_with("bpftoken exec:"));
    ensure!(lines.count() == 1, "{}", said.err);
    let line = [
        world.bpftoken(),
        "exec",
        "--quiet",
        "--",
        path(&world.own),
        CALLER,
        "all",
    ];
    let options = ENOUGH.replace("--maps hash", "--maps array");
    let quiet = crate::world::said(&mut world.contained(&options, &line))?.must(1)?;
    ensure!(!quiet.err.contains("bpftoken exec"), "{}", quiet.err);
    // A descriptor 2 that is something else is not written to.
    let other = world.dir.path().join("other");
    fs::write(&other, "")?;
    fs::set_permissions(&other, fs::Permissions::from_mode(0o666))?;
    let script = format!("{} {CALLER} all 2>{}", path(&world.own), path(&other));
    exec(world, &options, &["sh", "-c", &script])?.must(1)?;
    let text = fs::read_to_string(&other)?;
    ensure!(text.starts_with("map: Err(1)"), "{text}");
    Ok(())
}

fn no_token(world: &World) -> Result<()> {
    world
        .run(&["exec", "--", "true"])?
        .must(125)?
        .explains(&["no token to use"])?;
    world
        .run(&["exec", "--token", "/nowhere", "--", "true"])?
        .must(125)?
        .explains(&["/nowhere", "ENOENT"])?;
    // Without the /proc that it needs.
    let script = "mount -t tmpfs none /proc; exec \"$0\" exec -- true";
    said(&mut world.contained(ENOUGH, &["sh", "-c", script, world.bpftoken()]))?
        .must(125)?
        .explains(&["/proc"])
}
