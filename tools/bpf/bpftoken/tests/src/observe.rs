// SPDX-License-Identifier: GPL-2.0
//! `bpftoken show`, `probe`, `trace` and what all commands have in common.

use std::io::BufRead;
use std::io::BufReader;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use bpf_token::report;
use bpf_token::Delegation;
use serde_json::json;
use serde_json::Value;

use crate::world::said;
use crate::world::Holder;
use crate::world::Said;
use crate::world::World;
use crate::Test;

pub const TESTS: &[(&str, Test)] = &[
    ("show::mount_and_token", show),
    ("show::nothing", show_nothing),
    ("show::of_a_user", show_of_a_user),
    ("probe::summary", probe_summary),
    ("output::json_is_read_back", json_is_read_back),
    ("probe::with_a_token", probe_with_a_token),
    ("probe::without_a_token", probe_without_a_token),
    ("probe::discovery", probe_discovery),
    ("reasons::of_the_kernel", reasons),
    ("trace::events", trace),
    ("output::plain_when_piped", plain_when_piped),
];

const SOME: &str = "--cmds map_create:prog_load --maps hash:lpm_trie --progs xdp --attachs cgroup_inet_ingress:xdp";

fn show(world: &World) -> Result<()> {
    let holder = Holder::start(world, SOME)?;
    let pid = holder.pid;
    let report = world.json(&["show", "--json"])?;
    let find = |list: &str, pid: &dyn Fn(&Value) -> bool| -> Option<Value> {
        report[list]
            .as_array()?
            .iter()
            .find(|item| pid(item))
            .cloned()
    };
    let token = find("tokens", &|token| token["pid"] == pid).context("no token")?;
    ensure!(token["uid"] == 1000, "{token}");
    ensure!(
        token["grants"]
            == json!({
                "cmds": ["map_create", "prog_load"],
                "maps": ["hash", "lpm_trie"],
                "progs": ["xdp"],
                "attachs": ["cgroup_inet_ingress", "xdp"],
            }),
        "{token}"
    );
    let user_namespace = std::fs::read_link(format!("/proc/{pid}/ns/user"))?;
    let user_namespace = user_namespace.display().to_string();
    let number = token["user_namespace"].as_str().context("no namespace")?;
    ensure!(user_namespace == format!("user:[{number}]"), "{token}");
    let sees = |mount: &Value| {
        let processes = mount["processes"].as_array();
        processes.is_some_and(|processes| processes.iter().any(|it| it["pid"] == pid))
    };
    let mount = find("mounts", &sees).context("no mount")?;
    ensure!(mount["target"] == "/sys/fs/bpf", "{mount}");
    ensure!(
        mount["delegation"]["maps"] == json!(["hash", "lpm_trie"]),
        "{mount}"
    );

    let text = world
        .run(&["show", "--pid", &pid.to_string()])?
        .must(0)?
        .out;
    for line in [
        "BPF FS ",
        "  maps     hash:lpm_trie\n",
        "  attachs  cgroup_inet_ingress:xdp\n",
        &format!(" of {pid} (bpftoken-tests, uid 1000), user namespace {number}\n"),
    ] {
        ensure!(text.contains(line), "no \"{line}\" in {text}");
    }
    Ok(())
}

fn show_nothing(world: &World) -> Result<()> {
    let own = std::process::id().to_string();
    let said = world.run(&["show", "--pid", &own])?.must(0)?;
    ensure!(said.out.starts_with("no BPF FS delegates"), "{}", said.out);
    world
        .run(&["show", "--pid", "2147483647"])?
        .must(1)?
        .explains(&["there is no process 2147483647"])
}

/// A user is told which processes it was that he may not look into.
fn show_of_a_user(world: &World) -> Result<()> {
    let user = ["--reuid", "4321", "--regid", "4321", "--clear-groups"];
    let said = said(
        Command::new("setpriv")
            .args(user)
            .args([world.bpftoken(), "show"]),
    )?
    .must(0)?;
    let line = said.out.lines().last().unwrap_or_default();
    ensure!(
        line.contains("could not be looked into, which takes root: 1 ("),
        "{line}"
    );
    ensure!(line.contains(" more"), "{line}");
    Ok(())
}

/// How much works comes first, and what it is fits on a screen; the reasons come if asked for.
fn probe_summary(world: &World) -> Result<()> {
    let probe = |args: &[&str]| -> Result<String> {
        let args = [&[world.bpftoken(), "probe"], args].concat();
        Ok(said(&mut world.contained(SOME, &args))?.must(0)?.out)
    };
    let short = probe(&[])?;
    ensure!(short.lines().count() < 30, "{short}");
    let counts: Vec<&str> = short.lines().skip(6).take(3).collect();
    ensure!(counts[0].starts_with("commands "), "{short}");
    ensure!(counts[1].contains("2 work"), "{short}");
    ensure!(counts[2].contains("1 work"), "{short}");
    ensure!(short.contains("hash:lpm_trie\n"), "{short}");
    let long = probe(&["--all"])?;
    ensure!(long.lines().count() > 90, "{long}");
    ensure!(long.contains("(delegate_progs=xdp)"), "{long}");
    Ok(())
}

/// What --json prints is read back by the library's types.
fn json_is_read_back(world: &World) -> Result<()> {
    let holder = Holder::start(world, SOME)?;
    let show = world.run(&["show", "--json"])?.must(0)?.out;
    let show: report::Show = serde_json::from_str(&show)?;
    ensure!(show.version == report::VERSION, "{}", show.version);
    let token = show
        .tokens
        .iter()
        .find(|token| token.holder.pid == holder.pid);
    let token = token.context("no token")?;
    ensure!(Delegation::from(token.grants)
        .to_string()
        .contains("delegate_maps=hash:lpm_trie"));
    let mount = show
        .mounts
        .iter()
        .find(|mount| mount.processes.iter().any(|it| it.pid == holder.pid));
    let mount = mount.context("no mount")?;
    ensure!(
        mount.delegation == Delegation::from(token.grants),
        "{}",
        mount.delegation
    );

    let probe = world.run(&["probe", "--token", "", "--json"])?.must(0)?.out;
    let probe: report::Probe = serde_json::from_str(&probe)?;
    ensure!(probe.version == report::VERSION, "{}", probe.version);
    let array = probe.maps.iter().find(|one| one.name == "array");
    ensure!(
        array.is_some_and(|array| array.outcome.is_allowed()),
        "no array"
    );
    Ok(())
}

fn outcome<'a>(report: &'a Value, kind: &str, name: &str) -> Result<&'a Value> {
    let items = report[kind].as_array().context("no list")?;
    items
        .iter()
        .find(|item| item["name"] == name)
        .with_context(|| format!("no {name} among {kind}"))
}

/// What the token grants works, and what it does not is refused, each by trying.
fn probe_with_a_token(world: &World) -> Result<()> {
    let said = said(&mut world.contained(SOME, &[world.bpftoken(), "probe", "--json"]))?.must(0)?;
    let report: Value = serde_json::from_str(&said.out)?;
    ensure!(report["token"] == "from /sys/fs/bpf", "{}", report["token"]);
    for (kind, name, expected) in [
        ("cmds", "map_create", "works"),
        ("cmds", "prog_load", "works"),
        ("cmds", "btf_load", "refused"),
        ("cmds", "prog_get_next_id", "refused"),
        ("cmds", "map_lookup_elem", "permitted"),
        ("maps", "hash", "works"),
        ("maps", "lpm_trie", "works"),
        ("maps", "array", "refused"),
        ("maps", "ringbuf", "refused"),
        ("progs", "xdp", "works"),
        ("progs", "sched_cls", "refused"),
        ("progs", "kprobe", "refused"),
    ] {
        let item = outcome(&report, kind, name)?;
        ensure!(item["outcome"] == expected, "{kind}: {item}");
        if expected == "refused" {
            let detail = item["detail"].as_str().unwrap_or_default();
            ensure!(detail.contains("(EPERM)"), "{kind}: {item}");
        }
    }
    for kind in ["cmds", "maps", "progs"] {
        let items = report[kind].as_array().context("no list")?;
        ensure!(items.len() >= 32, "only {} {kind}", items.len());
    }
    Ok(())
}

/// Root needs no token, and everything that this kernel has works or is permitted.
fn probe_without_a_token(world: &World) -> Result<()> {
    let report = world.json(&["probe", "--json", "--token", ""])?;
    let refused: Vec<&Value> = ["cmds", "maps", "progs"]
        .iter()
        .filter_map(|kind| report[kind].as_array())
        .flatten()
        .filter(|item| item["outcome"] == "refused")
        .collect();
    ensure!(refused.is_empty(), "{refused:?}");
    for (kind, names) in [
        (
            "maps",
            [
                "hash",
                "ringbuf",
                "lpm_trie",
                "array_of_maps",
                "task_storage",
                "arena",
                "stack_trace",
            ],
        ),
        (
            "progs",
            [
                "socket_filter",
                "xdp",
                "kprobe",
                "tracing",
                "lsm",
                "sk_lookup",
                "raw_tracepoint",
            ],
        ),
        (
            "cmds",
            [
                "map_create",
                "prog_load",
                "btf_load",
                "btf_get_fd_by_id",
                "prog_get_next_id",
                "map_get_next_id",
                "enable_stats",
            ],
        ),
    ] {
        for name in names {
            let item = outcome(&report, kind, name)?;
            ensure!(item["outcome"] == "works", "{kind}: {item}");
        }
    }
    ensure!(report["grants"] == Value::Null, "{report}");
    Ok(())
}

/// libbpf's rules: a path that was given must work, an empty one asks for none, and the default may
/// give none.
fn probe_discovery(world: &World) -> Result<()> {
    world
        .run(&["probe", "--token", "/tmp"])?
        .must(1)?
        .explains(&["/tmp", "no token: the descriptor is not", "EINVAL"])?;
    let from_env = |value: &str| {
        said(
            world
                .command(&["probe", "--json"])
                .env("LIBBPF_BPF_TOKEN_PATH", value),
        )
    };
    from_env("/nowhere")?
        .must(1)?
        .explains(&["/nowhere", "ENOENT"])?;
    let report: Value = serde_json::from_str(&from_env("")?.must(0)?.out)?;
    let token = report["token"].as_str().unwrap_or_default();
    ensure!(token.contains("LIBBPF_BPF_TOKEN_PATH is empty"), "{token}");
    let report: Value = serde_json::from_str(
        &said(
            world
                .command(&["probe", "--json"])
                .env_remove("LIBBPF_BPF_TOKEN_PATH"),
        )?
        .must(0)?
        .out,
    )?;
    let token = report["token"].as_str().unwrap_or_default();
    ensure!(
        token.starts_with("none: ") && token.contains("/sys/fs/bpf"),
        "{token}"
    );
    Ok(())
}

/// What the tool prints has the reason, on every kernel.
fn reasons(world: &World) -> Result<()> {
    let said = said(&mut world.contained(SOME, &[world.bpftoken(), "probe", "--json"]))?.must(0)?;
    let report: Value = serde_json::from_str(&said.out)?;
    for (kind, name, reason) in [
        (
            "maps",
            "array",
            "does not delegate map type array (delegate_maps=hash:lpm_trie)",
        ),
        (
            "progs",
            "sched_cls",
            "does not delegate program type sched_cls (delegate_progs=xdp)",
        ),
        (
            "cmds",
            "btf_load",
            "does not delegate bpf() command btf_load (delegate_cmds=map_create:prog_load)",
        ),
    ] {
        let item = outcome(&report, kind, name)?;
        let detail = item["detail"].as_str().unwrap_or_default();
        ensure!(detail.contains(reason), "no {reason} in {item}");
    }
    Ok(())
}

/// The events of a token's life, where the kernel has them; a clear word where it has not.
fn trace(world: &World) -> Result<()> {
    let mut command = world.command(&["trace", "--json"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut first = String::new();
    let mut err = BufReader::new(child.stderr.take().context("no stderr")?);
    err.read_line(&mut first)?;
    if !first.starts_with("following") {
        ensure!(first.contains("CONFIG_BPF_TOKEN_RUST"), "{first}");
        ensure!(child.wait()?.code() == Some(1), "another exit status");
        with_tracefs("test ! -e /mnt/events/bpf_token")?
            .must(0)
            .context("it says so of a kernel that has these events")?;
        return Ok(());
    }
    let holder = Holder::start(world, SOME)?;
    let holding = holder.pid;
    // The program names a process that is still there when it reads of it.
    std::thread::sleep(Duration::from_millis(500));
    drop(holder);
    // The last reference is dropped by a work item.
    std::thread::sleep(Duration::from_millis(500));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
    let out = BufReader::new(child.stdout.take().context("no stdout")?);
    let events = out
        .lines()
        .map(|line| Ok(serde_json::from_str(&line?)?))
        .collect::<Result<Vec<Value>>>()?;
    ensure!(child.wait()?.success(), "interrupted, it did not end well");
    for event in &events {
        let read: report::Event = serde_json::from_value(event.clone())?;
        ensure!(read.version == report::VERSION, "{event}");
    }
    let find = |name: &str| events.iter().find(|event| event["event"] == name);
    let made = find("bpf_token_create").with_context(|| format!("{events:?}"))?;
    ensure!(made["pid"] == holding, "{made}");
    ensure!(made["command"] == "bpftoken-tests", "{made}");
    ensure!(made["fields"]["maps"] == "0x802", "{made}");
    let freed = find("bpf_token_free").with_context(|| format!("{events:?}"))?;
    ensure!(
        freed["fields"]["userns"] == made["fields"]["userns"],
        "{freed}"
    );
    let gone = format!("test ! -e /mnt/instances/bpftoken-{}", child.id());
    with_tracefs(&gone)?
        .must(0)
        .context("its tracing instance is still there")?;
    Ok(())
}

/// Runs a script with tracefs on /mnt, in a mount namespace of its own.
fn with_tracefs(script: &str) -> Result<Said> {
    let script = format!("mount -t tracefs tracefs /mnt && {script}");
    let args = ["--mount", "--propagation", "private", "sh", "-c", &script];
    said(Command::new("unshare").args(args))
}

fn plain_when_piped(world: &World) -> Result<()> {
    let commands: [&[&str]; 3] = [&["probe", "--token", ""], &["show"], &["--help"]];
    for command in commands {
        let said = world.run(command)?.must(0)?;
        ensure!(!said.out.contains('\x1b'), "colour in a pipe: {command:?}");
        ensure!(!said.out.is_empty(), "{command:?} prints nothing");
    }
    Ok(())
}
