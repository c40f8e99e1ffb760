// SPDX-License-Identifier: GPL-2.0
//! A worker of the container, which gets a token that permits one thing, by descriptor.

use std::fs;

use anyhow::ensure;
use anyhow::Result;
use bpf_token::Cmd;
use bpf_token::Container;
use bpf_token::Delegation;
use bpf_token::MapAttr;
use bpf_token::MapType;
use bpf_token::Token;
use bpf_token::DEFAULT_BPFFS;

use crate::story;
use crate::WORKER;

/// The number that the worker has the token by.
const TOKEN: i32 = 3;

/// Starts the worker with a token that permits array maps, and waits for its end.
pub fn start(token: &Token) -> Result<()> {
    let keep = Delegation::new().cmds(Cmd::MAP_CREATE).maps(MapType::ARRAY);
    let narrower = token.restrict(&keep)?;
    story::act(
        "container",
        "makes a token of its token, with less, and starts a worker with it:",
    );
    for option in keep.to_string().split(',') {
        story::evidence(&option.replace("delegate_", "allowed_"));
    }
    let mut worker = Container::new("demo")
        .file(fs::File::open("/proc/self/exe")?.into())
        .args([WORKER])
        .user(false)
        .without_bpffs()
        .pass_fd(narrower.into(), TOKEN)
        .spawn()?;
    let status = worker.wait()?;
    ensure!(status.success(), "the worker ended with {status}");
    Ok(())
}

/// The worker: does its one thing, and can do nothing else.
pub fn run() -> Result<()> {
    let token = Token::inherited(TOKEN)?;
    let create = |map_type| MapAttr::new(map_type, 4, 8, 1).create(Some(&token));
    let made = create(MapType::ARRAY);
    story::outcome(
        made.is_ok(),
        &made.map_or_else(
            |error| error.to_string(),
            |_| "the worker creates an array map".to_owned(),
        ),
    );
    refused(create(MapType::LRU_HASH).err());
    refused(Token::from_bpffs(DEFAULT_BPFFS).err());
    let all = token.restrict(&Delegation::any())?.info()?;
    story::outcome(
        Delegation::from(all) == Delegation::from(token.info()?),
        "a token that it makes of its own permits no more than that",
    );
    Ok(())
}

fn refused(error: Option<bpf_token::Error>) {
    let refused = error.is_some();
    let text = error.map_or("what it may not do worked".to_owned(), |error| {
        error.to_string()
    });
    story::outcome(refused, &text);
}
