// SPDX-License-Identifier: GPL-2.0
//! Who root of a container is outside.

use std::fs;
use std::path::Path;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use bpf_token::IdMap;

use crate::cli::ContainerArgs;

/// The overflow id of Linux, which owns nothing.
pub const NOBODY: u32 = 65534;

/// The maps of user and of group ids.
pub type Maps = (Vec<IdMap>, Vec<IdMap>);

/// The id maps that the options ask for; none where they are the library's own, of a caller that is
/// not root.
pub fn maps(args: &ContainerArgs) -> Result<Option<Maps>> {
    if args.host_root {
        return Ok(Some((vec![IdMap::root(0)], vec![IdMap::root(0)])));
    }
    let Some(wanted) = &args.user else {
        let root = rustix::process::geteuid().is_root();
        return root.then(roots_own).transpose();
    };
    let user = User::find(wanted)?;
    if user.uid == 0 {
        bail!(
            "--user {wanted}: root of the container would be root of the host, who owns its files; \
             give another user, or --host-root if that is meant"
        );
    }
    let uids = with_subordinate(user.uid, subordinate("/etc/subuid", &user)?);
    let gids = with_subordinate(user.gid, subordinate("/etc/subgid", &user)?);
    Ok(Some((uids, gids)))
}

/// What root maps if he does not say: the subordinate ids that he has for this, else nobody.
fn roots_own() -> Result<Maps> {
    let root = User {
        name: Some("root".to_owned()),
        uid: 0,
        gid: 0,
    };
    let uids = subordinate("/etc/subuid", &root)?;
    let gids = subordinate("/etc/subgid", &root)?;
    let (Some(uids), Some(gids)) = (uids, gids) else {
        return Ok((vec![IdMap::root(NOBODY)], vec![IdMap::root(NOBODY)]));
    };
    let all = |(outside, count)| {
        vec![IdMap {
            inside: 0,
            outside,
            count,
        }]
    };
    Ok((all(uids), all(gids)))
}

/// A user, as /etc/passwd has it.
struct User {
    name: Option<String>,
    uid: u32,
    gid: u32,
}

impl User {
    /// By name, or by a uid, which needs no entry.
    fn find(wanted: &str) -> Result<Self> {
        let passwd = read("/etc/passwd")?;
        let number: Option<u32> = wanted.parse().ok();
        for line in passwd.lines() {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, uid, gid, ..] = fields[..] else {
                continue;
            };
            let (Ok(uid), Ok(gid)) = (uid.parse(), gid.parse()) else {
                continue;
            };
            if name == wanted || number == Some(uid) {
                let name = Some(name.to_owned());
                return Ok(Self { name, uid, gid });
            }
        }
        let uid = number.with_context(|| {
            format!(
                "--user {wanted}: no such name in /etc/passwd; give one that is there, or a uid"
            )
        })?;
        Ok(Self {
            name: None,
            uid,
            gid: uid,
        })
    }
}

/// The first range of subordinate ids that a user has, as start and count.
fn subordinate(file: &str, user: &User) -> Result<Option<(u32, u32)>> {
    if !Path::new(file).exists() {
        return Ok(None);
    }
    let text = read(file)?;
    let uid = user.uid.to_string();
    Ok(text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let owner = fields.next()?;
        let start = fields.next()?.parse().ok()?;
        let count = fields.next()?.parse().ok()?;
        (owner == uid || Some(owner) == user.name.as_deref()).then_some((start, count))
    }))
}

/// Root inside is the user; the ids from 1 are subordinate ones.
fn with_subordinate(id: u32, subordinate: Option<(u32, u32)>) -> Vec<IdMap> {
    let rest = subordinate.map(|(outside, count)| IdMap {
        inside: 1,
        outside,
        count,
    });
    std::iter::once(IdMap::root(id)).chain(rest).collect()
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| path.to_owned())
}
