// SPDX-License-Identifier: GPL-2.0
//! Loading a BPF object in throw-away containers, to learn what it can do without.
//!
//! What libbpf needs can't be told from the object alone: it tries what the kernel and the token
//! let it do, and loads the object accordingly.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use bpf_token::libbpf;
use bpf_token::libbpf::TokenPath;
use bpf_token::AnyMask;
use bpf_token::Container;
use bpf_token::Delegation;
use bpf_token::IdMap;
use bpf_token::TokenInfo;
use bpf_token::DEFAULT_BPFFS;
use rustix::pipe::PipeFlags;

use crate::explain::explain;
use crate::ids::NOBODY;
use crate::output;

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
            let smaller = smaller.intersection(&least);
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
    let masks = info.masks().into_iter().rev();
    let without = |mask: AnyMask| {
        mask.values()
            .map(move |value| info.without(mask.kind, value))
    };
    masks.flat_map(without).collect()
}

/// Loads the object in a container with this delegation; returns what libbpf said if that failed.
fn load(object: &Path, info: &TokenInfo) -> Result<Option<String>> {
    let (said, saying) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let delegation = Delegation::from(*info);
    let container = Container::new("bpftoken")
        .file(File::open("/proc/self/exe")?.into())
        .args(["try-load"])
        .ids([IdMap::root(NOBODY)], [IdMap::root(NOBODY)])
        .bpffs(delegation, DEFAULT_BPFFS)
        .pass_fd(File::open(object)?.into(), 0)
        .pass_fd(saying, 2);
    let status = container.spawn().map_err(explain)?.wait()?;
    match status.code() {
        Some(0) => Ok(None),
        Some(code) if code == i32::from(REFUSED) => {
            let mut text = String::new();
            // The container has ended, and nobody else has the other end.
            File::from(said).read_to_string(&mut text)?;
            Ok(Some(text.trim().to_owned()))
        }
        _ => bail!("the container of a trial ended with {status}"),
    }
}

/// `bpftoken try-load`: loads the object on standard input.
pub fn try_load() -> Result<ExitCode> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .read_to_end(&mut bytes)
        .context("read the object")?;
    let path = TokenPath::BpfFs(DEFAULT_BPFFS.as_ref());
    let loaded = libbpf::open_bytes(&bytes, path).and_then(|object| libbpf::load(object, path));
    let Err(error) = loaded else {
        return Ok(ExitCode::SUCCESS);
    };
    eprintln!("{}", output::with_log(&error));
    Ok(ExitCode::from(REFUSED))
}
