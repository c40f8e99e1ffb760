// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs that were loaded through tokens.

use std::os::fd::AsFd;
use std::os::fd::AsRawFd;

use rustix::io::Errno;

use crate::error::Error;
use crate::error::Feature;
use crate::error::Result;
use crate::names::ProgType;
use crate::process::Process;
use crate::sys;

/// A loaded program that was loaded through a token.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadedProgram {
    /// Its id.
    pub id: u32,
    /// Its type.
    pub prog_type: ProgType,
    /// Its name; empty if it has none, or it was not asked for.
    pub name: String,
    /// The number of the user namespace of the token.
    pub user_namespace: u64,
    /// The cookie of the token.
    pub cookie: u64,
}

impl LoadedProgram {
    /// What `/proc/<pid>/fdinfo/<fd>` of a program says; `None` for any other descriptor, and for a
    /// program that was loaded without a token, or by a kernel that does not tell.
    ///
    /// ```
    /// use bpf_token::{LoadedProgram, ProgType};
    /// let text = "prog_type:\t6\nprog_id:\t42\ntoken_userns:\t4026532200\ntoken_cookie:\t7\n";
    /// let program = LoadedProgram::from_fdinfo(text).unwrap();
    /// assert_eq!((program.id, program.prog_type), (42, ProgType::XDP));
    /// assert_eq!((program.user_namespace, program.cookie), (4026532200, 7));
    /// assert_eq!(LoadedProgram::from_fdinfo("prog_type:\t6\nprog_id:\t42\n"), None);
    /// ```
    pub fn from_fdinfo(text: &str) -> Option<Self> {
        let field = |key: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(key))?;
            value.strip_prefix(":\t")
        };
        Some(Self {
            id: field("prog_id")?.parse().ok()?,
            prog_type: ProgType::new(field("prog_type")?.parse().ok()?),
            name: String::new(),
            user_namespace: field("token_userns")?.parse().ok()?,
            cookie: field("token_cookie")?.parse().ok()?,
        })
    }
}

/// Every program of the system that was loaded through a token, by id.
///
/// # Errors
///
/// [`Error::Unsupported`] if the kernel does not tell; `EPERM` without CAP_SYS_ADMIN in the initial
/// user namespace.
pub fn loaded_programs() -> Result<Vec<LoadedProgram>> {
    if !sys::can_restrict() {
        return Err(Error::Unsupported(Feature::Inventory));
    }
    let own = Process::current()?;
    let mut programs = Vec::new();
    let mut id = 0;
    loop {
        id = match sys::prog_next_id(id) {
            Ok(id) => id,
            Err(Errno::NOENT) => return Ok(programs),
            Err(errno) => return Err(Error::sys("list the programs of the system", errno)),
        };
        let program = match sys::prog_get_fd_by_id(id) {
            Ok(program) => program,
            // It was unloaded meanwhile.
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(Error::sys(format!("get program {id}"), errno)),
        };
        let text = own.read(&format!("fdinfo/{}", program.as_raw_fd()))?;
        let Some(mut found) = LoadedProgram::from_fdinfo(&text) else {
            continue;
        };
        if let Ok(info) = sys::prog_info(program.as_fd()) {
            let name = info.name.split(|byte| *byte == 0).next();
            found.name = String::from_utf8_lossy(name.unwrap_or_default()).into_owned();
        }
        programs.push(found);
    }
}
