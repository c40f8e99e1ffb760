// SPDX-License-Identifier: GPL-2.0
//! Two containers, which a BPF LSM policy knows apart by the cookies that their manager gave them.

use std::fs;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use bpf_token::Cmd;
use bpf_token::Container;
use bpf_token::Delegation;
use bpf_token::IdMap;
use bpf_token::MapAttr;
use bpf_token::MapType;
use bpf_token::Token;
use bpf_token::DEFAULT_BPFFS;
use policy::Policy;

use crate::story;
use crate::NEIGHBOUR;

/// The cookie of a container, its user on the host, and how many maps the policy lets it have.
const CONTAINERS: [(u64, u32, u64); 2] = [(7, 1000, 2), (8, 1001, 4)];

/// The manager's part: the policy, and both containers with the same delegation.
pub fn start() -> Result<()> {
    let policy = Policy::start().context("start the BPF LSM policy")?;
    story::act(
        "manager",
        "attaches a BPF LSM policy that limits maps by token->cookie, and starts two containers:",
    );
    for (cookie, host_id, maps) in CONTAINERS {
        policy.limit_maps(cookie, maps)?;
        let delegation = Delegation::new()
            .cmds(Cmd::MAP_CREATE)
            .maps(MapType::ARRAY)
            .cookie(cookie);
        story::evidence(&format!("{delegation}: at most {maps} maps"));
        let mut container = Container::new("demo")
            .file(fs::File::open("/proc/self/exe")?.into())
            .args([NEIGHBOUR.to_owned(), maps.to_string()])
            .ids([IdMap::root(host_id)], [IdMap::root(host_id)])
            .bpffs(delegation, DEFAULT_BPFFS)
            .spawn()?;
        let status = container.wait()?;
        ensure!(status.success(), "the container ended with {status}");
    }
    Ok(())
}

/// A container's part: makes maps until it is refused one.
pub fn run(expected: Option<String>) -> Result<()> {
    let expected: usize = expected.context("no number of maps")?.parse()?;
    let token = Token::from_bpffs(DEFAULT_BPFFS)?;
    let cookie = token.info()?.cookie;
    let mut maps = Vec::new();
    let error = loop {
        match MapAttr::new(MapType::ARRAY, 4, 8, 1).create(Some(&token)) {
            Ok(map) => maps.push(map),
            Err(error) => break error,
        }
        ensure!(maps.len() <= 64, "no map was refused");
    };
    story::outcome(
        maps.len() == expected,
        &format!(
            "container {cookie} has {} maps. The next one: {error}",
            maps.len()
        ),
    );
    Ok(())
}
