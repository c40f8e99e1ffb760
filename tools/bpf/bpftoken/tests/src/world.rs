// SPDX-License-Identifier: GPL-2.0
//! What the tests share: the programs under test, where a container can reach them, and how their
//! output is read.

use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitCode;
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use bpf_token::Token;
use serde_json::Value;
use tempfile::TempDir;

/// The first argument of this program when it holds a token until its standard input ends.
const HOLD: &str = "hold-token";

/// The programs, copied to where every user may execute them.
pub struct World {
    pub bpftoken: PathBuf,
    pub example: PathBuf,
    pub own: PathBuf,
    pub dir: TempDir,
}

/// How a process ends that a test started this program as: it says what failed.
pub fn ended(done: Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What came of a command.
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl World {
    pub fn get() -> Result<&'static Self> {
        static WORLD: OnceLock<std::result::Result<World, String>> = OnceLock::new();
        let world = WORLD.get_or_init(|| Self::new().map_err(|error| format!("{error:#}")));
        world.as_ref().map_err(|error| anyhow::anyhow!("{error}"))
    }

    fn new() -> Result<Self> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "the tests delegate BPF, which takes root"
        );
        let dir = tempfile::tempdir_in("/tmp")?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        let here = std::env::current_exe()?;
        let place = |name: &str| -> Result<PathBuf> {
            let from = here.with_file_name(name);
            let to = dir.path().join(name);
            fs::copy(&from, &to).with_context(|| format!("{}: not built?", from.display()))?;
            fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
            Ok(to)
        };
        place("aya-client")?;
        Ok(Self {
            bpftoken: place("bpftoken")?,
            example: place("bpf-token-example")?,
            own: place("bpftoken-tests")?,
            dir,
        })
    }

    /// The command line of `bpftoken`.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.bpftoken);
        command.args(args).stdin(Stdio::null());
        command
    }

    /// Runs `bpftoken`.
    pub fn run(&self, args: &[&str]) -> Result<Said> {
        said(&mut self.command(args))
    }

    /// Runs `bpftoken --json`, which must succeed, and reads what it prints.
    pub fn json(&self, args: &[&str]) -> Result<Value> {
        let said = self.run(args)?.must(0)?;
        serde_json::from_str(&said.out).with_context(|| format!("no JSON: {}", said.out))
    }

    /// `bpftoken run` as uid 1000 with these options, and this command.
    pub fn contained(&self, options: &str, command: &[&str]) -> Command {
        let mut args = vec!["run", "--user", "1000"];
        args.extend(options.split_whitespace());
        args.push("--");
        args.extend(command);
        self.command(&args)
    }

    /// Whether the running kernel tells reasons: then it also has trace events.
    pub fn has_reasons() -> Result<bool> {
        let script = "mount -t tracefs tracefs /mnt && test -e /mnt/events/bpf_token";
        let args = ["--mount", "--propagation", "private", "sh", "-c", script];
        Ok(said(Command::new("unshare").args(args))?.code == Some(0))
    }

    /// Whether the running kernel has what the C implementation of Linux 7.3 has not: narrower tokens,
    /// taking back, cookies, an inventory. They came with this event.
    pub fn has_narrowing() -> Result<bool> {
        let event = "events/bpf_token/bpf_token_use";
        let script = format!("mount -t tracefs tracefs /mnt && test -e /mnt/{event}");
        let args = ["--mount", "--propagation", "private", "sh", "-c", &script];
        Ok(said(Command::new("unshare").args(args))?.code == Some(0))
    }

    pub fn bpftoken(&self) -> &str {
        path(&self.bpftoken)
    }
}

pub fn path(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

/// Waits until something is so, for ten seconds at most.
pub fn until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(10);
    while !is_so()? {
        ensure!(Instant::now() < end, "after ten seconds, not yet: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Runs a command to its end.
pub fn said(command: &mut Command) -> Result<Said> {
    let output = command
        .output()
        .with_context(|| format!("run {command:?}"))?;
    Ok(Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout)?,
        err: String::from_utf8(output.stderr)?,
    })
}

impl Said {
    /// Fails unless this was the exit status.
    pub fn must(self, code: i32) -> Result<Self> {
        let Self {
            code: got,
            out,
            err,
        } = &self;
        if *got != Some(code) {
            bail!("exit status {got:?} instead of {code}; stdout: {out}; stderr: {err}");
        }
        Ok(self)
    }

    /// Fails unless the error is one line, after warnings, that holds all of these.
    pub fn explains(&self, words: &[&str]) -> Result<()> {
        let warning = |line: &&str| line.starts_with("bpftoken: warning: ");
        ensure!(
            self.err.lines().skip_while(warning).count() == 1,
            "not one line of error: {}",
            self.err
        );
        self.tells(words)
    }

    /// Fails unless standard error holds all of these.
    pub fn tells(&self, words: &[&str]) -> Result<()> {
        for word in words {
            ensure!(self.err.contains(word), "no \"{word}\" in: {}", self.err);
        }
        Ok(())
    }
}

/// What this program does when a test starts it again.
pub fn role() -> Option<ExitCode> {
    match std::env::args().nth(1).as_deref() {
        Some(HOLD) => {}
        Some(crate::inventory::LOADED) => return Some(ended(crate::inventory::loaded())),
        Some(crate::reasons::ROLE) => return Some(crate::reasons::role()),
        Some(crate::library::NO_INFO) => return Some(ended(crate::library::without_info())),
        Some(crate::examples::ROLE) => return Some(ended(crate::examples::load())),
        _ => return None,
    }
    let held = Token::from_bpffs("/sys/fs/bpf").and_then(|token| {
        println!("{}", std::process::id());
        // The other end stays open until the test has seen enough.
        std::io::stdin()
            .read_to_end(&mut Vec::new())
            .map_err(|error| bpf_token::Error::Invalid(format!("standard input: {error}")))?;
        drop(token);
        Ok(())
    });
    Some(ended(held.map_err(Into::into)))
}

/// A container that holds a token until this is dropped.
pub struct Holder {
    run: Child,
    /// The process that holds the token, a child of `bpftoken run`.
    pub pid: i32,
}

impl Holder {
    pub fn start(world: &World, options: &str) -> Result<Self> {
        Self::start_as(world, HOLD, options)
    }

    /// This program with another first argument, of which it prints its number and goes on until its
    /// standard input ends.
    pub fn start_as(world: &World, role: &str, options: &str) -> Result<Self> {
        let mut command = world.contained(options, &[path(&world.own), role]);
        let mut run = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let out = run.stdout.take().context("no stdout")?;
        BufReader::new(out).read_line(&mut line)?;
        let pid = line.trim().parse();
        let pid = pid.context("the container does not get a token")?;
        Ok(Self { run, pid })
    }
}

/// Runs a script as root of the container of a process, in its user and mount namespaces.
pub fn inside(pid: i32, script: &str) -> Result<Said> {
    let pid = pid.to_string();
    let args = ["-t", &pid, "-U", "-m", "sh", "-ec", script];
    said(Command::new("nsenter").args(args).stdin(Stdio::null()))
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.run.stdin.take());
        // It ends with its input; a failure to wait leaves nothing to do.
        let _ = self.run.wait();
    }
}
