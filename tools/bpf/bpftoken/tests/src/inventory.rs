// SPDX-License-Identifier: GPL-2.0
//! Cookies, the programs that were loaded through tokens, tokens by BPF FS, and the event of a use.

use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use bpf_token::report;
use bpf_token::AttachType;
use bpf_token::Error;
use bpf_token::Feature;
use bpf_token::Insn;
use bpf_token::ObjName;
use bpf_token::ProgAttr;
use bpf_token::ProgType;
use bpf_token::Token;
use serde_json::json;
use serde_json::Value;

use crate::check::OBJECTS;
use crate::world::inside;
use crate::world::path;
use crate::world::said;
use crate::world::until;
use crate::world::Holder;
use crate::world::World;
use crate::Test;

pub const TESTS: &[(&str, Test)] = &[
    ("cookie::is_seen", cookie),
    ("cookie::refusals", cookie_refusals),
    ("inventory::programs", programs),
    ("inventory::programs_of_a_user", programs_of_a_user),
    ("inventory::tokens_by_bpffs", tokens_by_bpffs),
    ("trace::uses", uses),
];

/// What a kernel that has none says.
const NO_COOKIES: &str = "this kernel has no cookies for delegations";
const MOST: u64 = u64::MAX;

/// By the container and by the host, in every place, up to the greatest; and by `mount` as by `run`.
fn cookie(world: &World) -> Result<()> {
    if !World::has_narrowing()? {
        return Ok(());
    }
    let least = "--cmds map_create --maps hash";
    let options = format!("{least} --cookie {MOST:#x}");
    let holder = Holder::start(world, &options)?;
    let pid = holder.pid.to_string();
    let found = world.run(&["show", "--pid", &pid])?.must(0)?.out;
    ensure!(
        found.matches(&format!("cookie   {MOST}\n")).count() == 2,
        "{found}"
    );
    let report: report::Show =
        serde_json::from_str(&world.run(&["show", "--json", "--pid", &pid])?.must(0)?.out)?;
    ensure!(report.tokens[0].grants.cookie == MOST);
    ensure!(report.mounts[0].delegation.cookie == MOST);
    let probe = inside(holder.pid, &format!("{} probe --json", world.bpftoken()))?.must(0)?;
    let probe: Value = serde_json::from_str(&probe.out)?;
    ensure!(probe["grants"]["cookie"] == json!(MOST), "{probe}");
    let at = ["mount", "--pid", &pid, "--target", "/mnt", "--cmds", "any"];
    world
        .run(&[&at[..], &["--cookie", "010"]].concat())?
        .must(0)?;
    let mounts = fs::read_to_string(format!("/proc/{pid}/mounts"))?;
    ensure!(
        mounts.contains("delegate_cmds=any,delegate_cookie=8"),
        "{mounts}"
    );
    // None is none.
    let holder = Holder::start(world, &format!("{least} --cookie 0"))?;
    let mounts = fs::read_to_string(format!("/proc/{}/mounts", holder.pid))?;
    ensure!(!mounts.contains("delegate_cookie"), "{mounts}");
    Ok(())
}

/// What is no number; and a kernel that would pass over the option makes no BPF FS.
fn cookie_refusals(world: &World) -> Result<()> {
    for text in ["x", "1x", "0x10000000000000000", ""] {
        let args = ["run", "--cmds", "any", "--cookie", text, "--", "true"];
        world
            .run(&args)?
            .must(2)?
            .tells(&["a cookie is a number of at most 64 bits"])?;
    }
    world
        .run(&[
            "convert", "--format", "systemd", "--cmds", "any", "--cookie", "7",
        ])?
        .must(1)?
        .explains(&["delegate_cookie", "systemd has no setting for it"])?;
    if World::has_narrowing()? {
        return Ok(());
    }
    let options = "--cmds map_create --maps hash --cookie 7";
    said(&mut world.contained(options, &["true"]))?
        .must(125)?
        .explains(&[NO_COOKIES, "no policy would see it"])?;
    let holder = Holder::start(world, "--cmds map_create --maps hash")?;
    let pid = holder.pid.to_string();
    let at = ["mount", "--pid", &pid, "--target", "/mnt", "--cmds", "any"];
    world
        .run(&[&at[..], &["--cookie", "7"]].concat())?
        .must(1)?
        .explains(&[NO_COOKIES])?;
    let mounts = fs::read_to_string(format!("/proc/{pid}/mounts"))?;
    ensure!(!mounts.contains(" /mnt bpf "), "{mounts}");
    Ok(())
}

/// The first argument of this program when it loads a program through a token and holds it.
pub const LOADED: &str = "inventory-loaded";
const NAME: &str = "drop_all";

/// Loads a program as long as the standard input is open.
pub fn loaded() -> Result<()> {
    let token = Token::from_bpffs("/sys/fs/bpf")?;
    let insns = [Insn::mov64_imm(0, 1), Insn::exit()];
    let mut attr = ProgAttr::new(ProgType::XDP, &insns).loaded_for(AttachType::XDP);
    attr.name = ObjName::new(NAME);
    let program = attr.load(Some(&token))?;
    drop(token);
    println!("{}", std::process::id());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    drop(program);
    Ok(())
}

/// Root of the host is told which programs were loaded through tokens, and of none that was not.
fn programs(world: &World) -> Result<()> {
    let object = OBJECTS.iter().find(|(name, _)| *name == "xdp_redirect");
    let file = world.dir.path().join("inventory.bpf.o");
    fs::write(&file, object.context("no object")?.1)?;
    let listed = bpf_token::loaded_programs();
    if !World::has_narrowing()? {
        let error = listed.err().context("listed")?;
        ensure!(
            matches!(error, Error::Unsupported(Feature::Inventory)),
            "{error}"
        );
        let report = world.json(&["show", "--json"])?;
        ensure!(report["programs"].is_null(), "{report}");
        return Ok(());
    }
    let options = "--cmds any --maps any --progs any --attachs any";
    let pin = format!(
        "{} load --pin /sys/fs/bpf/it {}",
        world.bpftoken(),
        path(&file)
    );
    // Without a token, by root.
    let script = format!(
        "mount -t bpf bpf /sys/fs/bpf; {}; {} show --json",
        pin,
        world.bpftoken()
    );
    let args = ["--mount", "--propagation", "private", "sh", "-ec", &script];
    let own = said(Command::new("unshare").args(args))?.must(0)?.out;
    let own: Value = serde_json::from_str(own.split_once("\n{").map_or("", |it| it.1).trim())
        .or_else(|_| serde_json::from_str(&own[own.find('{').unwrap_or(0)..]))?;
    let before = own["programs"].as_array().context("no list")?.len();
    let first = Holder::start_as(world, LOADED, &format!("{options} --cookie 5"))?;
    let second = Holder::start(world, options)?;
    inside(second.pid, &pin)?.must(0)?;
    let report = world.json(&["show", "--json"])?;
    let programs = report["programs"].as_array().context("no list")?;
    let here = |pid: i32, cookie: u64| -> Result<()> {
        let namespace = fs::read_link(format!("/proc/{pid}/ns/user"))?
            .display()
            .to_string();
        let number = namespace.trim_matches(|c: char| !c.is_ascii_digit());
        let found = programs.iter().filter(|it| it["user_namespace"] == number);
        let found: Vec<&Value> = found.collect();
        ensure!(!found.is_empty(), "{programs:?}");
        for program in found {
            ensure!(
                program["cookie"] == cookie && program["type"] == "xdp",
                "{program}"
            );
            ensure!(cookie == 0 || program["name"] == NAME, "{program}");
        }
        Ok(())
    };
    here(first.pid, 5)?;
    here(second.pid, 0)?;
    ensure!(programs.len() >= before + 2, "{programs:?}");
    // Those of one container.
    let text = world
        .run(&["show", "--pid", &first.pid.to_string()])?
        .must(0)?
        .out;
    ensure!(text.contains("through a token of user namespace"), "{text}");
    let lines = text.lines().filter(|line| line.starts_with("program"));
    ensure!(
        lines.clone().count() > 0 && lines.clone().all(|it| it.ends_with(", cookie 5")),
        "{text}"
    );
    // They are gone with the container.
    drop((first, second));
    until("all programs are gone", || {
        Ok(bpf_token::loaded_programs()?.len() == before)
    })
}

/// A user is not told, and gets no error.
fn programs_of_a_user(world: &World) -> Result<()> {
    let user = ["--reuid", "4321", "--regid", "4321", "--clear-groups"];
    let mut command = Command::new("setpriv");
    command
        .args(user)
        .args([world.bpftoken(), "show", "--json"]);
    let report: Value = serde_json::from_str(&said(&mut command)?.must(0)?.out)?;
    ensure!(report["programs"].is_null(), "{report}");
    Ok(())
}

/// Each token stands with the BPF FS that it was made from, on every kernel.
fn tokens_by_bpffs(world: &World) -> Result<()> {
    let options = "--cmds map_create --maps hash";
    let holders = [
        Holder::start(world, options)?,
        Holder::start(world, options)?,
    ];
    let report = world.json(&["show", "--json"])?;
    let text = world.run(&["show"])?.must(0)?.out;
    let mut devices = Vec::new();
    for holder in &holders {
        let find = |list: &str, of_it: &dyn Fn(&Value) -> bool| -> Option<String> {
            let found = report[list].as_array()?.iter().find(|it| of_it(it))?;
            Some(found["device"].as_str()?.to_owned())
        };
        let token = find("tokens", &|it| it["pid"] == holder.pid).context("no token")?;
        let sees = |it: &Value| {
            let processes = it["processes"].as_array();
            processes.is_some_and(|all| all.iter().any(|it| it["pid"] == holder.pid))
        };
        let mount = find("mounts", &sees).context("no mount")?;
        ensure!(token == mount, "{token} and {mount}");
        let mount = text
            .find(&format!("BPF FS {token} on"))
            .context("no mount")?;
        let line = format!("token of {token}, descriptor");
        let token_at = text.find(&line).with_context(|| text.clone())?;
        let between = &text[mount + 1..token_at];
        ensure!(!between.contains("BPF FS"), "{text}");
        devices.push(token);
    }
    ensure!(devices[0] != devices[1], "{devices:?}");
    Ok(())
}

/// Each use of a token, if asked for; a clear word where the kernel has no such event.
fn uses(world: &World) -> Result<()> {
    for uses in [true, false] {
        let mut args = vec!["trace", "--json"];
        args.extend(uses.then_some("--uses"));
        let mut child = world
            .command(&args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut first = String::new();
        BufReader::new(child.stderr.take().context("no stderr")?).read_line(&mut first)?;
        if !first.starts_with("following") {
            ensure!(child.wait()?.code() == Some(1), "another exit status");
            let words = [
                "has no bpf_token trace events",
                "has no trace event bpf_token_use",
            ];
            ensure!(words.iter().any(|it| first.contains(it)), "{first}");
            ensure!(!World::has_narrowing()?, "{first}");
            return Ok(());
        }
        let options = "--cmds any --maps array --cookie 6";
        let probe = [world.bpftoken(), "probe", "--json"];
        said(&mut world.contained(options, &probe))?.must(0)?;
        std::thread::sleep(Duration::from_millis(500));
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
        let out = BufReader::new(child.stdout.take().context("no stdout")?);
        let events = out
            .lines()
            .map(|line| Ok(serde_json::from_str(&line?)?))
            .collect::<Result<Vec<Value>>>()?;
        ensure!(child.wait()?.success(), "interrupted, it did not end well");
        let of = |name: &str| events.iter().filter(|it| it["event"] == name).count();
        ensure!(of("bpf_token_create") > 0, "{events:?}");
        ensure!((of("bpf_token_use") > 0) == uses, "{uses}: {events:?}");
        let array = events.iter().find(|it| {
            let fields = &it["fields"];
            it["event"] == "bpf_token_use" && fields["cmd"] == "0" && fields["type"] == "2"
        });
        ensure!(array.is_some() == uses, "{events:?}");
        ensure!(
            array.is_none_or(|it| it["fields"]["cookie"] == "6"),
            "{array:?}"
        );
    }
    Ok(())
}
