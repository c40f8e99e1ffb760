// SPDX-License-Identifier: MIT OR Apache-2.0
//! The id maps of a user namespace, user_namespaces(7).

use std::fmt;
use std::process::Command;

use rustix::thread::CapabilitySet;

use crate::error::Error;
use crate::error::Result;
use crate::process::Process;

/// A range of user or group ids: `count` ids from `inside` in the namespace are those from
/// `outside` in its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdMap {
    /// First id inside.
    pub inside: u32,
    /// First id outside.
    pub outside: u32,
    /// How many ids, at least 1.
    pub count: u32,
}

impl IdMap {
    /// Root inside is this one id outside.
    pub const fn root(outside: u32) -> Self {
        Self {
            inside: 0,
            outside,
            count: 1,
        }
    }
}

impl fmt::Display for IdMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.inside, self.outside, self.count)
    }
}

/// The kind of ids, and how each is written.
struct Ids {
    file: &'static str,
    helper: &'static str,
    capability: CapabilitySet,
    own: u32,
}

/// Writes the maps of a new user namespace in which the process runs.
///
/// With CAP_SETUID and CAP_SETGID, or for the caller's own ids alone, the kernel takes the maps;
/// else newuidmap(1) and newgidmap(1) do, within the caller's subordinate ids.
pub(crate) fn write(process: &Process, uids: &[IdMap], gids: &[IdMap]) -> Result<()> {
    let user = Ids {
        file: "uid_map",
        helper: "newuidmap",
        capability: CapabilitySet::SETUID,
        own: rustix::process::geteuid().as_raw(),
    };
    let group = Ids {
        file: "gid_map",
        helper: "newgidmap",
        capability: CapabilitySet::SETGID,
        own: rustix::process::getegid().as_raw(),
    };
    write_one(process, &user, uids)?;
    if is_own(&group, gids) && !capable(&group) {
        // Without CAP_SETGID a group map is only taken once setgroups(2) can no longer drop groups.
        process.write("setgroups", "deny")?;
    }
    write_one(process, &group, gids)
}

fn capable(ids: &Ids) -> bool {
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(ids.capability))
}

fn is_own(ids: &Ids, maps: &[IdMap]) -> bool {
    matches!(maps, [map] if map.count == 1 && map.outside == ids.own)
}

fn write_one(process: &Process, ids: &Ids, maps: &[IdMap]) -> Result<()> {
    if capable(ids) || is_own(ids, maps) {
        let lines: Vec<String> = maps.iter().map(IdMap::to_string).collect();
        return process.write(ids.file, &lines.join("\n"));
    }
    let numbers = maps
        .iter()
        .flat_map(|map| [map.inside, map.outside, map.count]);
    let output = Command::new(ids.helper)
        .arg(process.pid().to_string())
        .args(numbers.map(|number| number.to_string()))
        .output()
        .map_err(|error| Error::file(ids.helper, error))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "{}: {}",
        ids.helper,
        String::from_utf8_lossy(&output.stderr).trim()
    )))
}
