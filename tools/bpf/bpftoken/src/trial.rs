// SPDX-License-Identifier: GPL-2.0
//! Loading a BPF object in throw-away containers, to learn what it can do without.
//!
//! What libbpf needs can't be told from the object alone: it tries what the kernel and the token
//! let it do, and loads the object accordingly.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use bpf_token::Container;
use bpf_token::Delegation;
use bpf_token::IdMap;
use bpf_token::Kind;
use bpf_token::Mask;
use bpf_token::TokenInfo;
use bpf_token::TokenPath;
use bpf_token::DEFAULT_BPFFS;
use libbpf_rs::PrintLevel;
use rustix::pipe::PipeFlags;

use crate::explain::explain;

/// The overflow id of Linux, which owns nothing: root of the container is nobody outside.
const NOBODY: u32 = 65534;

/// The exit status of a trial that could not load the object.
const REFUSED: u8 = 3;

/// Takes away one item after the other, as long as the object loads without it.
pub fn minimise(object: &Path, enough: TokenInfo) -> Result<TokenInfo> {
    let mut least = enough;
    if let Some(why) = load(object, &least)? {
        bail!("it does not load, even with all that it seems to need delegated: {why}");
    }
    loop {
        let before = least;
        for smaller in without_each(&before) {
            // Items that went meanwhile stay away.
            let smaller = intersection(&smaller, &least);
            if smaller != least && load(object, &smaller)?.is_none() {
                least = smaller;
            }
        }
        if least == before {
            return Ok(least);
        }
    }
}

/// Everything but one item, for each item.
fn without_each(info: &TokenInfo) -> Vec<TokenInfo> {
    fn each<K: Kind>(mask: Mask<K>) -> impl Iterator<Item = Mask<K>> {
        mask.iter()
            .map(move |value| mask.difference(Mask::EMPTY.with(value)))
    }
    let info = *info;
    let attachs = each(info.attachs).map(|attachs| TokenInfo { attachs, ..info });
    let progs = each(info.progs).map(|progs| TokenInfo { progs, ..info });
    let maps = each(info.maps).map(|maps| TokenInfo { maps, ..info });
    let cmds = each(info.cmds).map(|cmds| TokenInfo { cmds, ..info });
    attachs.chain(progs).chain(maps).chain(cmds).collect()
}

fn intersection(a: &TokenInfo, b: &TokenInfo) -> TokenInfo {
    a.difference(&a.difference(b))
}

/// Loads the object in a container with this delegation; returns what libbpf said if that failed.
fn load(object: &Path, info: &TokenInfo) -> Result<Option<String>> {
    let (said, saying) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let delegation = Delegation::from(*info);
    let container = Container::new("bpftoken")
        .file(File::open("/proc/self/exe")?.into())
        .args(["try-load"])
        .ids([IdMap::root(NOBODY)], [IdMap::root(NOBODY)])
        .bpffs(delegation.clone(), DEFAULT_BPFFS)
        .pass_fd(File::open(object)?.into(), 0)
        .pass_fd(saying, 2);
    let status = container
        .spawn()
        .map_err(|error| explain(error, &delegation))?
        .wait()?;
    match status.exit_status() {
        Some(0) => Ok(None),
        Some(code) if code == i32::from(REFUSED) => {
            let mut text = String::new();
            // The container has ended, and nobody else has the other end.
            File::from(said).read_to_string(&mut text)?;
            Ok(Some(text.trim().to_owned()))
        }
        _ => bail!("the container of a trial ended with {status:?}"),
    }
}

/// The first warning of libbpf that tells a cause.
static WARNING: Mutex<Option<String>> = Mutex::new(None);

fn keep_first(level: PrintLevel, text: String) {
    // Without BPF, libbpf takes the kernel for one that counts BPF memory as locked memory; that is
    // not the cause.
    if level == PrintLevel::Warn && !text.contains("bump RLIMIT_MEMLOCK") {
        if let Ok(mut warning) = WARNING.lock() {
            warning.get_or_insert(text);
        }
    }
}

/// `bpftoken try-load`: loads the object on standard input.
pub fn try_load() -> Result<ExitCode> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .read_to_end(&mut bytes)
        .context("read the object")?;
    libbpf_rs::set_print(Some((PrintLevel::Warn, keep_first)));
    let path = TokenPath::BpfFs(DEFAULT_BPFFS.as_ref());
    let result = bpf_token::open_object_bytes(&bytes, path)
        .and_then(|object| object.load().map_err(Into::into));
    let Err(error) = result else {
        return Ok(ExitCode::SUCCESS);
    };
    let warning = WARNING.lock().ok().and_then(|mut warning| warning.take());
    eprintln!("{}", warning.unwrap_or_else(|| error.to_string()).trim());
    Ok(ExitCode::from(REFUSED))
}
