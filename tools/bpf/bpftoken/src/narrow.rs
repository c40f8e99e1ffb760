// SPDX-License-Identifier: GPL-2.0
//! `bpftoken narrow` and `bpftoken revoke`.

use std::process::ExitCode;

use anyhow::anyhow;
use anyhow::bail;
use anyhow::Result;
use bpf_token::Delegation;
use bpf_token::Errno;
use bpf_token::Error;
use bpf_token::Instance;
use bpf_token::Process;
use bpf_token::Step;
use bpf_token::Target;

use crate::cli::Lists;
use crate::cli::NarrowArgs;
use crate::explain::explain;
use crate::output;

/// How often the mounts of a container are read anew, which it may change meanwhile.
const ROUNDS: usize = 8;

pub fn narrow(at: &NarrowArgs, keep: &Lists) -> Result<ExitCode> {
    let keep = keep.delegation()?;
    if keep.is_empty() {
        bail!(
            "nothing is named that stays: give --cmds, --maps, --progs and --attachs, of which what is \
             delegated now and named stays; \"bpftoken revoke\" takes all of it back"
        );
    }
    change(at, &keep)
}

pub fn revoke(at: &NarrowArgs) -> Result<ExitCode> {
    change(at, &Delegation::new())
}

fn change(at: &NarrowArgs, keep: &Delegation) -> Result<ExitCode> {
    let process = Process::open(at.pid)?;
    match &at.target {
        Some(target) => {
            let instance = Target::new(&process, target).instance().map_err(explain)?;
            let name = format!("BPF FS {} on {}", instance.device()?, target.display());
            narrow_one(&instance, &name, keep)?;
        }
        None => narrow_all(&process, keep)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Narrows each BPF FS that gives tokens to the container, until none is left that it sees.
fn narrow_all(process: &Process, keep: &Delegation) -> Result<()> {
    let mut narrowed: Vec<String> = Vec::new();
    let mut others: Vec<String> = Vec::new();
    let mut failed = None;
    for _ in 0..ROUNDS {
        let mut mounts = bpf_token::delegated_mounts(process)?;
        mounts.retain(|it| !narrowed.contains(&it.device) && !others.contains(&it.device));
        if mounts.is_empty() {
            return match narrowed.is_empty() {
                false => Ok(()),
                true => bail!(
                    "process {} sees no BPF FS that delegates to its user namespace; \"bpftoken \
                     show\" tells who holds tokens",
                    process.pid()
                ),
            };
        }
        for mount in mounts {
            if narrowed.contains(&mount.device) || others.contains(&mount.device) {
                continue;
            }
            let name = format!("BPF FS {} on {}", mount.device, mount.target.display());
            let target = Target::new(process, &mount.target).device(&mount.device);
            match target.instance() {
                Ok(instance) => {
                    narrow_one(&instance, &name, keep)?;
                    narrowed.push(mount.device);
                }
                Err(error) => match (&error, error.errno()) {
                    (Error::Container { step, .. }, Some(errno)) if *step == Step::NotThere => {
                        if errno == Errno::EPERM {
                            anstream::eprintln!(
                                "bpftoken: {name} belongs to another user namespace: not changed"
                            );
                            others.push(mount.device);
                        } else {
                            failed = Some(anyhow!("{name}: {error}"));
                        }
                    }
                    // The container moved it meanwhile, or does something else with the path.
                    (Error::Container { step, .. }, _) if *step == Step::Target => {
                        failed = Some(anyhow!("{name}: {error}"));
                    }
                    _ => return Err(explain(error)),
                },
            }
        }
    }
    let failed = failed.unwrap_or_else(|| anyhow!("new ones appear all the time"));
    Err(failed.context(
        "the container changes its mounts meanwhile: freeze its cgroup, or stop its processes, and \
         try again",
    ))
}

fn narrow_one(instance: &Instance, name: &str, keep: &Delegation) -> Result<()> {
    let change = instance.narrow(keep).map_err(explain)?;
    let left = if change.after.is_empty() {
        "nothing".to_owned()
    } else {
        change.after.to_string()
    };
    output::print(&format!("{name} delegates now: {left}\n"))
}
