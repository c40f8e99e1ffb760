// SPDX-License-Identifier: GPL-2.0
//! Every example of the documentation is run by a test: one that none claims is an error here.
//!
//! The pages are those of the checkout that this program was built in.

use std::collections::hash_map::Entry;
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use bpf_token::AttachType;
use bpf_token::Cmd;
use bpf_token::Delegation;
use bpf_token::Format;
use bpf_token::Insn;
use bpf_token::Process;
use bpf_token::ProgAttr;
use bpf_token::ProgType;
use bpf_token::Target;
use bpf_token::Token;

use crate::managers::blocks;
use crate::oci::object;
use crate::world::path;
use crate::world::said;
use crate::world::Holder;
use crate::world::Said;
use crate::world::World;
use crate::Test;

pub const TESTS: &[(&str, Test)] = &[
    ("examples::blocks_are_claimed", claimed),
    ("examples::commands", commands),
    ("examples::lists_of_the_help", lists_of_the_help),
    ("examples::readme_of_the_library", readme_of_the_library),
    ("examples::unit", unit),
];

/// The first argument of this program when it loads what the library's README loads.
pub const ROLE: &str = "readme-load";

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../..");
const LIBRARY: &str = include_str!("../../../../lib/bpf-token/README.md");
const TOKEN: &str = include_str!("../../../../../Documentation/bpf/token.rst");

/// What runs a block.
enum By {
    /// A test that `tools/testing/expected/` lists.
    Test(&'static str),
    /// A command of `.ci/run`.
    Ci(&'static str),
    /// Nothing: it is a picture.
    Picture,
}

/// Who runs which blocks: the page's end, the language, what the block begins with.
const CLAIMS: &[(&str, &str, &str, By)] = &[
    ("/README.md", "", "make run ", By::Ci("make run")),
    (
        "/README.md",
        "",
        "1. Without a delegated BPF FS",
        By::Ci("make run"),
    ),
    ("/README.md", "", "userspace ", By::Picture),
    // That the series makes the tree that make kernel builds, and make test boots.
    ("/README.md", "", "make series ", By::Ci("make lint")),
    (
        "lib/bpf-token/README.md",
        "toml",
        "",
        By::Test("examples::readme_of_the_library"),
    ),
    (
        "lib/bpf-token/README.md",
        "rust,no_run",
        "",
        By::Test("examples::readme_of_the_library"),
    ),
    (
        "lib/bpf-token/README.md",
        "text",
        "",
        By::Test("examples::readme_of_the_library"),
    ),
    (
        "Documentation/bpf/token.rst",
        "ini",
        "[Service]",
        By::Test("examples::unit"),
    ),
    (
        "doc/systemd.md",
        "",
        "",
        By::Test("integration::managers::systemd"),
    ),
    (
        "doc/incus.md",
        "",
        "",
        By::Test("integration::managers::incus"),
    ),
    ("doc/lxd.md", "", "", By::Test("integration::managers::lxd")),
    (
        "doc/oci.md",
        "",
        "",
        By::Test("integration::managers::crun"),
    ),
    (
        "doc/podman.md",
        "",
        "",
        By::Test("integration::managers::podman"),
    ),
    (
        "doc/kubernetes.md",
        "",
        "",
        By::Test("integration::managers::kubernetes"),
    ),
];

/// The languages of blocks that the tests of a manager's page follow.
const FOLLOWED: [&str; 4] = ["sh", "text", "toml", "yaml"];

/// The pages below a directory, but for what is hidden.
fn pages(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| path(dir).to_owned())? {
        let entry = entry?;
        let file = entry.path();
        let extension = file.extension().unwrap_or_default();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if entry.file_type()?.is_dir() {
            pages(&file, found)?;
        } else if extension == "md" || extension == "rst" {
            found.push(file);
        }
    }
    Ok(())
}

fn all_pages() -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    pages(Path::new(REPOSITORY), &mut found)?;
    ensure!(found.len() >= 12, "only {} pages", found.len());
    let read = |file: &PathBuf| Ok((path(file).to_owned(), fs::read_to_string(file)?));
    found.iter().map(read).collect()
}

/// The blocks of a page: their language, and their text. A block is fenced, follows a directive
/// of reStructuredText, or is indented.
fn code(page: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut open: Option<(String, String)> = None;
    let mut before = "";
    let mut directive: Option<String> = None;
    let mut fenced = false;
    for line in page.lines() {
        let indented = line.starts_with("   ");
        if let Some(language) = line.strip_prefix("```") {
            match (fenced, open.take()) {
                (true, Some(block)) => found.push(block),
                (_, _) => open = Some((language.to_owned(), String::new())),
            }
            fenced = !fenced;
        } else if let (true, Some((_, text))) = (fenced, &mut open) {
            text.push_str(line);
            text.push('\n');
        } else if let Some(language) = line.strip_prefix(".. code-block::") {
            directive = Some(language.trim().to_owned());
        } else if line.ends_with("::") && !line.starts_with("..") {
            directive = Some(String::new());
        } else if indented && (before.is_empty() || open.is_some()) {
            let four = line.starts_with("    ");
            if open.is_none() && (directive.is_some() || four) {
                open = Some((directive.take().unwrap_or_default(), String::new()));
            }
            if let Some((_, text)) = &mut open {
                text.push_str(line.trim_start());
                text.push('\n');
            }
        } else if !line.is_empty() {
            found.extend(open.take());
        }
        before = line;
    }
    found.extend(open);
    found
}

/// Fails for a block that nothing runs, and for a claim of what there is not.
fn claimed(_: &World) -> Result<()> {
    let mut expected = String::new();
    for suite in ["bpftoken-rust", "integration-rust"] {
        let path = Path::new(REPOSITORY)
            .join("tools/testing/expected")
            .join(suite);
        expected.push_str(&fs::read_to_string(path)?);
    }
    let ci = fs::read_to_string(Path::new(REPOSITORY).join(".ci/run"))?;
    for (page, _, _, by) in CLAIMS {
        let (list, line) = match by {
            By::Test(name) => (&expected, *name),
            By::Ci(command) => (&ci, *command),
            By::Picture => continue,
        };
        ensure!(
            list.lines().any(|it| it == line),
            "{page}: there is no {line}"
        );
    }
    let mut used = vec![false; CLAIMS.len()];
    let mut unclaimed = Vec::new();
    for (page, text) in all_pages()? {
        for (language, block) in code(&text) {
            let claim = CLAIMS.iter().position(|(end, of, begin, _)| {
                let manager = end.starts_with("doc/") && FOLLOWED.contains(&&*language);
                page.ends_with(end) && (manager || *of == language) && block.starts_with(begin)
            });
            match claim {
                Some(at) => used[at] = true,
                None => unclaimed.push(format!("{page}: ```{language}\n{block}")),
            }
        }
    }
    ensure!(
        unclaimed.is_empty(),
        "no test runs {}",
        unclaimed.join("\n")
    );
    let unused = CLAIMS.iter().zip(used).find(|(_, used)| !used);
    ensure!(
        unused.is_none(),
        "there is no block of {:?}",
        unused.map(|((page, language, begin, _), _)| (page, language, begin))
    );
    Ok(())
}

/// The commands within the text of a page, between backquotes.
fn spans(page: &str) -> Vec<String> {
    let text = page.replace("``", "`");
    let mut paragraphs = Vec::new();
    for paragraph in text.split("\n\n") {
        let parts = paragraph.split('`').skip(1).step_by(2);
        let words = parts.map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "));
        paragraphs.extend(words.filter(|words| words.starts_with("bpftoken ")));
    }
    paragraphs
}

/// How a command of the text is run, `$`-variables for what it leaves open.
const RUN: &[(&str, &str)] = &[
    (
        "bpftoken restrict --cmds map_create --maps array -- COMMAND",
        "bpftoken run --user nobody --cmds any --maps any -- bpftoken restrict --cmds map_create --maps array -- true",
    ),
    (
        "bpftoken narrow --pid PID ...",
        "bpftoken narrow --pid $PID --maps array",
    ),
    ("bpftoken revoke --pid PID", "bpftoken revoke --pid $PID"),
    (
        "bpftoken run --cookie 7 ...",
        "bpftoken run --user nobody --cookie 7 --cmds map_create --maps array -- true",
    ),
    (
        "bpftoken run --cmds map_create:prog_load:btf_load --maps array --progs socket_filter:xdp --attachs any -- COMMAND",
        "bpftoken run --cmds map_create:prog_load:btf_load --maps array --progs socket_filter:xdp --attachs any -- true",
    ),
    ("bpftoken check --obj FILE", "bpftoken check --obj xdp.bpf.o"),
    (
        "bpftoken run --probes LIST",
        "bpftoken run --user nobody --exec --like trace --probes 'kprobe:vfs_*' -- true",
    ),
    (
        "bpftoken mount --probes LIST",
        "bpftoken mount --pid $PID --target /mnt --like trace --probes 'kprobe:vfs_*' 2>said & \
         while kill -0 $! && ! grep -q 'probes are served' said; do sleep 0.1; done; \
         cat said >&2; kill $!; wait $!",
    ),
    (
        "bpftoken mount --pid PID",
        "bpftoken mount --pid $PID --target /mnt --like xdp",
    ),
    (
        "bpftoken load --pin DIR",
        "mount -t bpf bpf /sys/fs/bpf; bpftoken load --token '' --pin /sys/fs/bpf/examples xdp.bpf.o",
    ),
];

/// A script in the directory of the programs and the object, in mounts of its own.
fn script(world: &World, script: &str, pid: i32) -> Result<Said> {
    let dir = path(world.dir.path());
    said(
        Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-ec", script])
            .env("PATH", format!("{dir}:/usr/bin:/bin:/usr/sbin:/sbin"))
            .env("PID", pid.to_string())
            .current_dir(dir)
            .stdin(Stdio::null()),
    )
}

/// Each command that a sentence has: it and its options exist, and where it is more than a name,
/// it does its work.
fn commands(world: &World) -> Result<()> {
    fs::write(world.dir.path().join("xdp.bpf.o"), object("xdp_redirect")?)?;
    let is_rust = World::has_narrowing()?;
    let mut ran = vec![false; RUN.len()];
    let mut helps = HashMap::new();
    let mut count = 0;
    for (page, text) in all_pages()? {
        for span in spans(&text) {
            count += 1;
            exists(world, &span, &mut helps).with_context(|| format!("{page}: {span}"))?;
            let words = span.split_whitespace().count();
            if words <= 3 && !span.contains(" PID") {
                continue;
            }
            let at = RUN.iter().position(|(line, _)| *line == span);
            let at = at.with_context(|| format!("{page}: no test runs \"{span}\""))?;
            if std::mem::replace(&mut ran[at], true) {
                continue;
            }
            let line = RUN[at].1;
            let holder = match line.contains("$PID") {
                true => Some(Holder::start(world, "--cmds map_create --maps hash:array")?),
                false => None,
            };
            let said = script(world, line, holder.as_ref().map_or(0, |it| it.pid))?;
            let beyond = ["restrict", "narrow", "revoke", "--cookie"];
            if !is_rust && beyond.iter().any(|word| span.contains(word)) {
                ensure!(said.code != Some(0), "{span}: succeeded");
                said.tells(&["CONFIG_BPF_TOKEN_RUST"])?;
            } else {
                said.must(0).with_context(|| span)?;
            }
        }
    }
    ensure!(count >= 20, "only {count} commands");
    let unused = RUN.iter().zip(ran).find(|(_, ran)| !ran);
    ensure!(unused.is_none(), "no page has {unused:?}");
    Ok(())
}

/// The command is one of bpftoken's, and so are the options up to its own command; `helps` has what was read of them.
fn exists(world: &World, span: &str, helps: &mut HashMap<String, String>) -> Result<()> {
    let mut words = span.split_whitespace().skip(1).peekable();
    let command = words.next_if(|word| !word.starts_with("--"));
    let options: Vec<&str> = words
        .take_while(|word| *word != "--")
        .filter(|word| word.starts_with("--"))
        .collect();
    let Some(command) = command else {
        ensure!(options == ["--json"], "options of no command: {options:?}");
        return Ok(());
    };
    let help = match helps.entry(command.to_owned()) {
        Entry::Occupied(help) => help.into_mut(),
        Entry::Vacant(help) => help.insert(world.run(&[command, "--help"])?.must(0)?.out),
    };
    let known: Vec<&str> = help.split([' ', '\n', '=']).collect();
    for option in options {
        ensure!(known.contains(&option), "no option {option}");
    }
    Ok(())
}

/// The lists that `--help` has for examples delegate what they say.
fn lists_of_the_help(world: &World) -> Result<()> {
    let help = world.run(&["run", "--help"])?.must(0)?.out;
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut options = String::new();
    for kind in ["cmds", "maps", "progs", "attachs"] {
        let after = help.split(&format!("--{kind} <LIST>")).nth(1);
        let list = after.and_then(|text| text.split("such as ").nth(1));
        let list = list.and_then(|text| text.split_whitespace().next());
        let list = list.with_context(|| format!("--{kind} has no example"))?;
        options.push_str(&format!("--{kind} {} ", list.trim_end_matches('.')));
    }
    let show = ["grep", "-o", "delegate_[^ ]*", "/proc/mounts"];
    let shown = said(&mut world.contained(&options, &show))?.must(0)?;
    ensure!(shown.err.is_empty(), "{}", shown.err);
    let given: Delegation = shown.out.trim().parse()?;
    ensure!(Format::Run.read(&options)? == given, "{options}: {given}");
    Ok(())
}

/// What the library's README has the program in the container do.
pub fn load() -> Result<()> {
    let token = Token::from_bpffs("/sys/fs/bpf")?;
    let program = [Insn::mov64_imm(0, 2), Insn::exit()];
    let program = ProgAttr::new(ProgType::XDP, &program).loaded_for(AttachType::XDP);
    let _program = program.load(Some(&token))?;
    Ok(())
}

/// The manager's and the container's part of the README, line by line; the refusal that it shows;
/// and that the dependency is of this version.
fn readme_of_the_library(world: &World) -> Result<()> {
    let block = |language: &str| -> Result<&str> {
        let blocks = blocks(LIBRARY, language);
        ensure!(blocks.len() == 1, "{} blocks of {language}", blocks.len());
        Ok(blocks[0])
    };
    let program = block("rust,no_run")?;
    let own = include_str!("examples.rs");
    for line in program.lines().filter(|line| !line.starts_with("//")) {
        let statement = line.trim().trim_end_matches(';');
        let replaced = statement
            .replace("4711", "holder.pid")
            .replace("let program = program", "let _program = program");
        let part = replaced.trim_start_matches("# ");
        let imported = part.starts_with("use ") || part.starts_with("Ok::");
        ensure!(
            imported || own.contains(part),
            "no test runs the line \"{line}\""
        );
    }
    // A process that waits, with a BPF FS that another one hides.
    let holder = Holder::start(world, "--cmds map_create --maps hash")?;
    let delegation = Delegation::new()
        .cmds(Cmd::PROG_LOAD)
        .progs(ProgType::XDP)
        .attachs(AttachType::XDP);
    let unmount = [
        "-t",
        &holder.pid.to_string(),
        "-U",
        "-m",
        "umount",
        "-l",
        "/sys/fs/bpf",
    ]
    .map(str::to_owned);
    said(Command::new("nsenter").args(unmount))?.must(0)?;
    Target::new(&Process::open(holder.pid)?, "/sys/fs/bpf").mount(&delegation)?;
    let pid = holder.pid.to_string();
    let inside = ["-t", &pid, "-U", "-m", path(&world.own), ROLE];
    said(Command::new("nsenter").args(inside))?.must(0)?;

    let refused = world.contained("--cmds prog_load --progs xdp", &[path(&world.own), ROLE]);
    let mut refused = refused;
    let refused = said(&mut refused)?.must(1)?;
    let wanted = block("text")?.replace('\n', " ");
    ensure!(
        refused.err.lines().any(|line| line == wanted),
        "{}",
        refused.err
    );

    let manifest = fs::read_to_string(Path::new(REPOSITORY).join("tools/Cargo.toml"))?;
    let dependency = block("toml")?.lines().last().unwrap_or_default();
    let Some(version) = dependency.strip_prefix("bpf-token = \"") else {
        bail!("no dependency line: {dependency}");
    };
    let version = format!("version = \"{}.", version.trim_end_matches('"'));
    ensure!(
        manifest.contains(&version),
        "{dependency}: not this version"
    );
    Ok(())
}

/// The unit of the kernel's documentation: what it delegates is enough for what it is said to be for.
fn unit(world: &World) -> Result<()> {
    let found = code(TOKEN)
        .into_iter()
        .find(|(language, _)| language == "ini");
    let (_, unit) = found.context("no unit")?;
    let delegation = Format::Systemd.read(&unit)?;
    let written = Format::Systemd.write(&delegation)?;
    ensure!(unit == format!("[Service]\n{written}"), "{unit}{written}");
    let file = world.dir.path().join("unit.bpf.o");
    fs::write(&file, crate::profile::example("xdp")?)?;
    let options = Format::Run.write(&delegation)?;
    let load = [world.bpftoken(), "load", path(&file)];
    said(&mut world.contained(&options, &load))?.must(0)?;
    Ok(())
}
