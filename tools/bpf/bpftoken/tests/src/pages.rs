// SPDX-License-Identifier: GPL-2.0
//! The man pages and completions that `bpftoken` generates: they are whole, and what they show works.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;

use crate::check::OBJECTS;
use crate::world::path;
use crate::world::said;
use crate::world::Holder;
use crate::world::World;
use crate::Test;

pub const TESTS: &[(&str, Test)] = &[("pages::are_whole", whole), ("pages::examples", examples)];

fn generate(world: &World) -> Result<PathBuf> {
    let dir = world.dir.path().join("pages");
    world.run(&["generate", path(&dir)])?.must(0)?;
    Ok(dir)
}

/// The commands that `--help` names.
fn commands(world: &World) -> Result<Vec<String>> {
    let help = world.run(&["--help"])?.must(0)?.out;
    let list = help.split("Commands:\n").nth(1).context("no commands")?;
    let lines = list.lines().take_while(|line| line.starts_with("  "));
    // What a command does may go on in the next line.
    let lines = lines.filter(|line| !line.starts_with("   "));
    let names = lines.filter_map(|line| line.split_whitespace().next());
    Ok(names
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect())
}

fn whole(world: &World) -> Result<()> {
    let dir = generate(world)?;
    let commands = commands(world)?;
    ensure!(commands.len() >= 7, "{commands:?}");
    let pages = commands.iter().map(|name| format!("bpftoken-{name}.1"));
    for page in pages.chain(["bpftoken.1".to_owned()]) {
        let text = fs::read_to_string(dir.join(&page)).with_context(|| page.clone())?;
        for section in [
            "NAME",
            "SYNOPSIS",
            "OPTIONS",
            "ENVIRONMENT",
            "\"EXIT STATUS\"",
            "\"SEE ALSO\"",
        ] {
            ensure!(
                text.contains(&format!(".SH {section}\n")),
                "{page}: no {section}"
            );
        }
        let wanted = page != "bpftoken.1";
        ensure!(
            text.contains(".SH EXAMPLES\n") == wanted,
            "{page}: examples"
        );
    }
    for file in ["bpftoken.bash", "_bpftoken", "bpftoken.fish"] {
        let text = fs::read_to_string(dir.join(file)).context(file)?;
        ensure!(text.contains("attachs"), "{file}");
    }
    Ok(())
}

/// The command lines of a page's examples.
fn lines(page: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(page)?;
    let examples = text.split(".SH EXAMPLES\n").nth(1).unwrap_or_default();
    let examples = examples.split(".SH ").next().unwrap_or_default();
    let blocks = examples.split(".RS 4\n").skip(1);
    let lines = blocks.filter_map(|block| block.split("\n.RE").next());
    Ok(lines
        .map(|line| line.replace("\\*(Aq", "'").replace("\\-", "-"))
        .collect())
}

/// Each example does what the page says: it ends well, in a directory with an object, as root of a
/// host that has a BPF FS, with a container that runs.
fn examples(world: &World) -> Result<()> {
    let dir = generate(world)?;
    let object = OBJECTS.iter().find(|(name, _)| *name == "xdp_redirect");
    let (_, object) = object.context("no object")?;
    fs::write(world.dir.path().join("xdp.bpf.o"), object)?;
    let holder = Holder::start(world, "--cmds map_create --maps hash")?;
    let is_rust = World::has_reasons()?;
    let mut count = 0;
    for command in commands(world)? {
        for line in lines(&dir.join(format!("bpftoken-{command}.1")))? {
            let script = format!("mount -t bpf bpf /sys/fs/bpf\n{line}");
            let said = said(
                Command::new("unshare")
                    .args(["--mount", "--propagation", "private", "sh", "-ec", &script])
                    .env(
                        "PATH",
                        format!("{}:/usr/bin:/bin:/usr/sbin:/sbin", path(world.dir.path())),
                    )
                    .env("PID", holder.pid.to_string())
                    .current_dir(world.dir.path())
                    .stdin(Stdio::null()),
            )?;
            count += 1;
            // What C does not have is refused there, by its name.
            let beyond = ["trace", "narrow", "revoke", "restrict"].contains(&command.as_str());
            if beyond && !is_rust {
                ensure!(said.code != Some(0), "{line}: succeeded");
                said.tells(&["CONFIG_BPF_TOKEN_RUST"])
                    .with_context(|| line.clone())?;
            } else {
                said.must(0).with_context(|| line.clone())?;
            }
        }
    }
    ensure!(count >= 9, "only {count} examples");
    Ok(())
}
