// SPDX-License-Identifier: GPL-2.0
//! `bpftoken oci-hook`: a createRuntime hook of an OCI runtime.
//!
//! At that stage the container's namespaces and mounts are made, and its root is still a directory of
//! the host's tree, seen in the container's mount namespace; nothing of the container runs yet. The
//! hook runs in the host's namespaces, with root's capabilities, which later stages do not.
//!
//! The annotations and what is in the root directory are the container's word.

use std::collections::BTreeMap;
use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use bpf_token::Delegation;
use bpf_token::Format;
use bpf_token::Kind;
use bpf_token::Process;
use bpf_token::Target;
use bpf_token::Warning;
use bpf_token::ANNOTATION_PREFIX;
use bpf_token::DEFAULT_BPFFS;
use bpf_token::TARGET_ANNOTATION;
use serde::Deserialize;

use crate::cli::OciHookArgs;
use crate::explain::explain;

/// The most that is read of a state, in bytes.
const STATE_SIZE: u64 = 1 << 20;

/// Of the state that the runtime specification defines, what is needed here.
#[derive(Deserialize)]
struct State {
    id: String,
    status: String,
    #[serde(default)]
    pid: i32,
    bundle: PathBuf,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// Of a bundle's `config.json`, what is needed here: the state does not tell the root.
#[derive(Deserialize)]
struct Config {
    root: Root,
}

#[derive(Deserialize)]
struct Root {
    path: PathBuf,
}

pub fn hook(args: &OciHookArgs) -> Result<ExitCode> {
    let log = Log::open(args.log.as_deref())?;
    run(args, &log).map_err(|error| {
        // It may quote the container's words.
        let error = printable(&format!("{error:#}"));
        log.append(&error);
        anyhow!(error)
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Where what the hook has to say goes, besides standard error: crun has that for /dev/null, unless
/// the container's annotation run.oci.hooks.stderr names a file.
struct Log(Option<File>);

impl Log {
    fn open(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else {
            return Ok(Self(None));
        };
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .with_context(|| format!("--log {}", path.display()))?;
        Ok(Self(Some(file)))
    }

    /// Says a line that is no error.
    fn say(&self, text: &str) {
        let text = printable(text);
        eprintln!("bpftoken: {text}");
        self.append(&text);
    }

    fn append(&self, text: &str) {
        if let Some(mut file) = self.0.as_ref() {
            // A full disk is no reason to start a container, or not to.
            let _ = file.write_all(format!("bpftoken: {text}\n").as_bytes());
        }
    }
}

fn run(args: &OciHookArgs, log: &Log) -> Result<()> {
    let mut text = String::new();
    std::io::stdin()
        .take(STATE_SIZE)
        .read_to_string(&mut text)
        .context("read the state from standard input")?;
    let state: State = serde_json::from_str(&text).context(
        "standard input is no state of a container: an OCI runtime calls this as a createRuntime hook",
    )?;
    let annotations = state.annotations.iter();
    let of_container = || format!("container {}", state.id);
    let mut delegation =
        bpf_token::from_annotations(annotations.map(|(key, value)| (&**key, &**value)))
            .with_context(of_container)?;
    if delegation.is_empty() {
        let names = Kind::ALL.map(|kind| format!("{ANNOTATION_PREFIX}{}", kind.option));
        log.say(&format!(
            "container {} gets no BPF FS: it has none of the annotations {}",
            state.id,
            names.join(", ")
        ));
        return Ok(());
    }
    for warning in delegation.warnings() {
        log.say(&format!("warning: {}{warning}", annotation_of(&warning)));
    }
    if let Some(limit) = &args.at_most {
        // Who writes annotations does not choose for whom he is taken.
        delegation.cookie = check_limit(&delegation, limit)?;
    }
    give(&state, &delegation).with_context(of_container)
}

/// Gives the container its BPF FS.
fn give(state: &State, delegation: &Delegation) -> Result<()> {
    // Rootless, the hook is root of a user namespace only.
    ensure!(
        bpf_token::may_delegate(),
        "a hook that runs as a user cannot delegate BPF, as only CAP_SYS_ADMIN in the initial user \
         namespace may; a unit of systemd with BPFDelegateCommands= can, and so can root with \
         \"bpftoken mount --pid PID\" once the container runs"
    );
    ensure!(
        matches!(&*state.status, "creating" | "created"),
        "the container is {}: this hook is for the stage createRuntime",
        state.status
    );
    let root = root(&state.bundle)?;
    let target = target(state.annotations.get(TARGET_ANNOTATION))?;
    let process = Process::open(state.pid)?;
    Target::new(&process, root.join(target))
        .mount(delegation)
        .map_err(|error| match error {
            bpf_token::Error::Invalid(why) if why.contains("runs in this user namespace") => {
                anyhow!(
                    "{why}: give the container one of its own, with \"user\" among the namespaces \
                     of config.json, or podman's --userns=auto"
                )
            }
            error => explain(error),
        })
}

/// Which annotation a warning is about.
fn annotation_of(warning: &Warning) -> String {
    let option = |option: &str| format!("{ANNOTATION_PREFIX}{option}");
    match warning {
        Warning::NoAttachTypes => {
            format!("annotation {} is missing: ", option("delegate_attachs"))
        }
        Warning::WithoutCommand { cmd, .. } => {
            format!("annotation {} lacks {cmd}: ", option("delegate_cmds"))
        }
        _ => String::new(),
    }
}

/// Refuses what is beyond the limit; returns the cookie of that, which is the container's.
fn check_limit(delegation: &Delegation, limit: &str) -> Result<u64> {
    let format = Format::of(limit).context("--at-most: no delegation in any format")?;
    let limit = format.read(limit).context("--at-most")?;
    let beyond = delegation.difference(&limit);
    ensure!(
        beyond.is_empty() && beyond.cookie == 0,
        "the container asks for more than --at-most allows: {beyond}"
    );
    Ok(limit.cookie)
}

/// The container's root, as the host names it: so it is named in the container's mount namespace,
/// too, until the runtime makes it the root there.
fn root(bundle: &Path) -> Result<PathBuf> {
    let path = bundle.join("config.json");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let config: Config = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    let root = bundle.join(config.root.path);
    fs::canonicalize(&root).with_context(|| root.display().to_string())
}

/// The directory to mount on, below the root.
fn target(annotation: Option<&String>) -> Result<PathBuf> {
    let path = Path::new(annotation.map_or(DEFAULT_BPFFS, String::as_str));
    let mut parts = path.components();
    let mut below = PathBuf::new();
    let absolute = parts.next() == Some(Component::RootDir);
    for part in parts {
        match part {
            Component::Normal(name) if absolute => below.push(name),
            _ => bail!(
                "{TARGET_ANNOTATION}={}: not an absolute path without ..",
                path.display()
            ),
        }
    }
    ensure!(
        absolute && below != Path::new(""),
        "{TARGET_ANNOTATION}={}: not the absolute path of a directory in the container",
        path.display()
    );
    Ok(below)
}

/// A text in one line that moves no cursor.
fn printable(text: &str) -> String {
    let shown = |c: char| -> String {
        if c.is_control() {
            c.escape_default().collect()
        } else {
            c.into()
        }
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_has_the_cookie_of_the_limit() {
        let check = |asked: &str, limit: &str| {
            let asked: Delegation = asked.parse().unwrap();
            check_limit(&asked, limit).map_err(|error| error.to_string())
        };
        let limit = "delegate_maps=array:hash,delegate_cookie=7";
        assert_eq!(check("delegate_maps=array", limit), Ok(7));
        assert_eq!(check("delegate_maps=array,delegate_cookie=7", limit), Ok(7));
        let error = check("delegate_maps=array,delegate_cookie=8", limit).unwrap_err();
        assert!(error.ends_with("allows: delegate_cookie=8"), "{error}");
        let none = "delegate_maps=array";
        assert!(check("delegate_maps=array,delegate_cookie=8", none).is_err());
        assert_eq!(check("delegate_maps=array", none), Ok(0));
    }

    #[test]
    fn targets_stay_below_the_root() {
        let target = |path: &str| target(Some(&path.to_owned())).map_err(|error| error.to_string());
        assert_eq!(target("/sys/fs/bpf"), Ok("sys/fs/bpf".into()));
        assert_eq!(target("//mnt/./bpf/"), Ok("mnt/bpf".into()));
        for path in ["/", "", "mnt", "/../etc", "/mnt/../../etc", "../etc", "/."] {
            let error = target(path).expect_err(path);
            assert!(error.contains("org.bpf-token.target="), "{error}");
        }
        assert_eq!(super::target(None).unwrap(), Path::new("sys/fs/bpf"));
    }

    #[test]
    fn words_of_a_container_move_no_cursor() {
        assert_eq!(printable("a\n\x1b[2J"), "a\\n\\u{1b}[2J");
    }
}
