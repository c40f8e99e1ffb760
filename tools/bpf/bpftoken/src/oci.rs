// SPDX-License-Identifier: GPL-2.0
//! `bpftoken oci-hook`: a createRuntime hook of an OCI runtime.
//!
//! At that stage the container's namespaces and mounts are made, and its root is still a directory of
//! the host's tree, seen in the container's mount namespace; nothing of the container runs yet. The
//! hook runs in the host's namespaces, with root's capabilities, which later stages do not.
//!
//! The annotations and what is in the root directory are the container's word.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use bpf_token::Delegation;
use bpf_token::Process;
use bpf_token::Target;
use serde::Deserialize;

use crate::annotations;
use crate::annotations::Annotations;
use crate::cli::OciHookArgs;
use crate::explain::explain;
use crate::log::printable;
use crate::log::Log;

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
    annotations: Annotations,
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

fn run(args: &OciHookArgs, log: &Log) -> Result<()> {
    let mut text = String::new();
    std::io::stdin()
        .take(STATE_SIZE)
        .read_to_string(&mut text)
        .context("read the state from standard input")?;
    let state: State = serde_json::from_str(&text).context(
        "standard input is no state of a container: an OCI runtime calls this as a createRuntime hook",
    )?;
    let container = format!("container {}", state.id);
    let limit = args.at_most.as_deref();
    let wanted = annotations::wanted(&state.annotations, limit, &container, log)
        .with_context(|| container.clone())?;
    match wanted {
        Some(delegation) => give(&state, &delegation).context(container),
        None => Ok(()),
    }
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
    let target = annotations::target(&state.annotations)?;
    let process = Process::open(state.pid)?;
    Target::new(&process, root.join(target))
        .mount(delegation)
        .map_err(|error| match error {
            error @ bpf_token::Error::SameUserNamespace { .. } => {
                anyhow!(
                    "{error}: give the container one of its own, with \"user\" among the namespaces \
                     of config.json, or podman's --userns=auto"
                )
            }
            error => explain(error),
        })
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
