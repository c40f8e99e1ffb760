// SPDX-License-Identifier: GPL-2.0
//! `bpftoken run --probes`: perf events of the host, as far as the list goes.

mod caller;
mod changing;
mod raw;
mod served;
mod socket;

use std::io::BufRead;
use std::io::BufReader;
use std::process::Command;
use std::process::Stdio;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;

pub use self::caller::role;
pub use self::caller::CALLER;
use crate::world::path;
use crate::world::said;
use crate::world::Said;
use crate::world::World;
use crate::Test;

pub const TESTS: &[(&str, Test)] = &[
    ("probes::listed", |world| fine(world, LIST, "listed")),
    ("probes::not_listed", |world| {
        fine(world, LIST, "not-listed")
    }),
    ("probes::refused_without", refused_without),
    ("probes::less_privileged", less_privileged),
    ("probes::no_more_than_attaching", |world| {
        fine(world, LIST, "fields")
    }),
    ("probes::lying_attributes", |world| {
        fine(world, LIST, "addresses")
    }),
    ("probes::files", |world| fine(world, "uprobe", "files")),
    ("probes::nothing_is_sampled", |world| {
        fine(world, LIST, "samples")
    }),
    ("probes::changing_names", changing_names),
    ("probes::threads", threads),
    ("probes::broker_is_lied_to", lied_to),
    ("probes::tracefs", tracefs),
    ("probes::token_by_itself", token_by_itself),
    ("probes::refusals", refusals),
    ("probes::served::listed", served::listed),
    ("probes::served::bpftrace", served::bpftrace),
    ("probes::served::less_privileged", served::less_privileged),
    (
        "probes::served::until_interrupted",
        served::until_interrupted,
    ),
    (
        "probes::served::until_the_process_ends",
        served::until_the_process_ends,
    ),
    (
        "probes::served::process_that_moves",
        served::process_that_moves,
    ),
    ("probes::served::killed", served::killed),
    ("probes::served::refusals", served::refusals),
];

/// What the callers load.
const ENOUGH: &str = "--cmds map_create:prog_load --maps hash --progs kprobe:tracepoint \
                      --attachs cgroup_inet_ingress";
const LIST: &str = "kprobe:vfs_*,uprobe:/bin/sh,tracepoint:sched:*";

/// A caller in a container with these probes.
fn probing(world: &World, list: &str, options: &str, command: &[&str]) -> Result<Said> {
    let options = format!("{ENOUGH} --exec --probes {list} {options}");
    said(&mut world.contained(&options, command))
}

/// A caller that finds nothing wrong. Its own program is on the list, too.
fn fine(world: &World, list: &str, what: &str) -> Result<()> {
    let own = path(&world.own);
    let list = format!("{list},uprobe:{own}");
    probing(world, &list, "", &[own, CALLER, what])?.must(0)?;
    Ok(())
}

/// The id of a tracepoint, read on the host.
fn id(tracepoint: &str) -> Result<String> {
    let script = format!("mount -t tracefs tracefs /mnt && cat /mnt/events/{tracepoint}/id");
    let args = ["--mount", "--propagation", "private", "sh", "-c", &script];
    Ok(said(Command::new("unshare").args(args))?
        .must(0)?
        .out
        .trim()
        .to_owned())
}

/// Without a broker, nobody gets an event.
fn refused_without(world: &World) -> Result<()> {
    let command = [
        path(&world.own),
        CALLER,
        "refused",
        &id("sched/sched_switch")?,
    ];
    for options in [ENOUGH.to_owned(), format!("{ENOUGH} --exec")] {
        said(&mut world.contained(&options, &command))?.must(0)?;
    }
    Ok(())
}

/// Nor does one that has given up its capabilities, or has them in a namespace of its own.
fn less_privileged(world: &World) -> Result<()> {
    let id = id("sched/sched_switch")?;
    let caller = [path(&world.own), CALLER, "refused", &id];
    for without in [
        &["setpriv", "--bounding-set=-all", "--inh-caps=-all"][..],
        &["unshare", "--user", "--map-root-user"],
    ] {
        probing(world, "any", "", &[without, &caller].concat())?
            .must(0)?
            .tells(&["the caller lacks capabilities that the supervisor has"])?;
    }
    Ok(())
}

/// The kernel is asked what the events are about that were opened under a name that changed.
fn changing_names(world: &World) -> Result<()> {
    let options = format!("{ENOUGH} --exec --probes kprobe:vfs_read");
    let mut command = world.contained(&options, &[path(&world.own), CALLER, "changes"]);
    let mut run = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut line = String::new();
    let out = run.stdout.take().context("no stdout")?;
    BufReader::new(out).read_line(&mut line)?;
    let numbers: Vec<i32> = line
        .split_whitespace()
        .map(|word| Ok(word.parse()?))
        .collect::<Result<_>>()?;
    let names = numbers.iter().skip(1).map(|&fd| probed(numbers[0], fd));
    let names: Result<Vec<_>> = names.collect();
    drop(run.stdin.take());
    ensure!(run.wait()?.success());
    let names = names?;
    ensure!(
        names.len() >= 20 && names.iter().all(|name| name == "vfs_read"),
        "{names:?}"
    );
    Ok(())
}

/// The function that an event of a process is about.
fn probed(pid: i32, fd: i32) -> Result<String> {
    let mut name = [0u8; 64];
    let mut length = name.len() as u32;
    let (mut id, mut kind, mut offset, mut address) = (0, 0, 0, 0);
    // SAFETY: There is room for as many bytes as it says, and for each of the numbers.
    let ret = unsafe {
        libbpf_sys::bpf_task_fd_query(
            pid,
            fd,
            0,
            name.as_mut_ptr().cast(),
            &mut length,
            &mut id,
            &mut kind,
            &mut offset,
            &mut address,
        )
    };
    ensure!(ret == 0, "bpf_task_fd_query: {ret}");
    let end = name.iter().position(|&byte| byte == 0);
    Ok(String::from_utf8_lossy(&name[..end.unwrap_or(0)]).into_owned())
}

fn threads(world: &World) -> Result<()> {
    let host = std::process::id().to_string();
    let caller = [path(&world.own), CALLER, "threads", &host];
    probing(world, "kprobe:vfs_read", "--pid", &caller)?.must(0)?;
    Ok(())
}

fn lied_to(world: &World) -> Result<()> {
    let list = "kprobe:vfs_read,uprobe,tracepoint:sched:*";
    for how in ["files", "long"] {
        let caller = [path(&world.own), CALLER, "socket", how];
        probing(world, list, "", &caller)?.must(0)?;
    }
    Ok(())
}

/// What stands in for tracefs has what is listed and no more, and can't be written.
fn tracefs(world: &World) -> Result<()> {
    let script = "cd /sys/kernel/tracing; ls; ls events; ls events/sched/sched_switch; \
                  cat available_events; cat available_filter_functions; \
                  touch x || echo 1 >events/sched/sched_switch/id || rm kprobe_events || \
                  mount -o remount,rw . || echo read-only";
    let list = "kprobe:vfs_read,tracepoint:sched:sched_switch";
    let said = probing(world, list, "", &["sh", "-c", script])?.must(0)?;
    let expected = "available_events\navailable_filter_functions\nevents\nkprobe_events\n\
                    uprobe_events\nsched\nformat\nid\nsched:sched_switch\nvfs_read\nread-only\n";
    ensure!(said.out == expected, "{}", said.out);
    let script =
        "cd /sys/kernel/tracing; ls events; cat available_events available_filter_functions";
    let said = probing(world, "uprobe", "", &["sh", "-c", script])?.must(0)?;
    ensure!(said.out.is_empty(), "{}", said.out);
    // The container can read it, whatever the manager's umask is.
    let script = format!(
        "umask 077; exec {} run --user 1000 {ENOUGH} --probes tracepoint:sched:sched_switch -- \
         cat /sys/kernel/tracing/available_events /sys/kernel/tracing/events/sched/sched_switch/id",
        world.bpftoken()
    );
    let said = crate::world::said(Command::new("sh").args(["-c", &script]))?.must(0)?;
    ensure!(said.out.starts_with("sched:sched_switch\n"), "{}", said.out);
    Ok(())
}

/// Without `--exec`, calls of bpf(2) are left alone.
fn token_by_itself(world: &World) -> Result<()> {
    let options = format!("{ENOUGH} --probes kprobe:vfs_read");
    let own = path(&world.own);
    let run = |command: &[&str]| said(&mut world.contained(&options, command));
    run(&[own, crate::exec::CALLER, "all-refused"])?.must(0)?;
    run(&[own, CALLER, "refused"])?
        .must(1)?
        .tells(&["kprobe: Ok("])?;
    run(&["sh", "-c", "exit 42"])?.must(42)?;
    run(&["no-such-command"])?
        .must(127)?
        .explains(&["no-such-command", "ENOENT"])
}

fn refusals(world: &World) -> Result<()> {
    let run = |list: &str| world.run(&["run", "--cmds", "any", "--probes", list, "--", "true"]);
    for (list, words) in [
        (
            "kprobe,teleport",
            ["teleport", "kprobe, uprobe, tracepoint or any"],
        ),
        ("uprobe:sh", ["uprobe:sh", "absolute path"]),
        ("tracepoint:sched", ["tracepoint:sched", "group and name"]),
    ] {
        run(list)?.must(2)?.tells(&words)?;
    }
    run("uprobe:/no/such/file")?
        .must(125)?
        .explains(&["/no/such/file", "No such file"])?;
    let user = ["--reuid", "1000", "--clear-groups", world.bpftoken(), "run"];
    let line = [
        &user,
        &["--cmds", "any", "--probes", "any", "--", "true"][..],
    ]
    .concat();
    said(Command::new("setpriv").args(line))?
        .must(125)?
        .explains(&["mount tracefs", "EPERM"])?;
    let options = format!("{ENOUGH} --probes kprobe:vfs_read");
    // What is not listed is told, once.
    let twice = "\"$0\" open-event refused; \"$0\" open-event refused";
    let twice = ["sh", "-c", twice, path(&world.own)];
    let said = said(&mut world.contained(&options.replace("vfs_read", "vfs_write"), &twice))?;
    said.tells(&["kprobe:vfs_read is not among the probes of this container (kprobe:vfs_write)"])?;
    let lines = said
        .err
        .lines()
        .filter(|line| line.contains("kprobe:vfs_read"));
    ensure!(lines.count() == 1, "{}", said.err);
    Ok(())
}
