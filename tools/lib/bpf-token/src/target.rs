// SPDX-License-Identifier: MIT OR Apache-2.0
//! A delegated BPF FS for a container that runs.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Gid;
use rustix::process::Uid;

use crate::child::Place;
use crate::child::Plan;
use crate::child::Work;
use crate::delegation::Delegation;
use crate::error::Error;
use crate::error::Result;
use crate::handshake::Deadline;
use crate::handshake::LIMIT;
use crate::launch;
use crate::process::Process;

/// A directory of a running container, to mount a delegated BPF FS on.
///
/// ```no_run
/// use bpf_token::{Process, Target};
/// let delegation = "delegate_cmds=prog_load,delegate_progs=socket_filter,delegate_attachs=any";
/// let process = Process::open(4711)?;
/// Target::new(&process, "/sys/fs/bpf").mount(&delegation.parse()?)?;
/// # Ok::<(), bpf_token::Error>(())
/// ```
#[derive(Debug)]
pub struct Target<'a> {
    process: &'a Process,
    path: PathBuf,
    replace: bool,
    limit: Duration,
}

impl<'a> Target<'a> {
    /// The directory with this absolute path in the mount namespace that the process is in.
    ///
    /// No part of the path may be a symbolic link.
    pub fn new(process: &'a Process, path: impl Into<PathBuf>) -> Self {
        Self {
            process,
            path: path.into(),
            replace: false,
            limit: LIMIT,
        }
    }

    /// Whether a BPF FS there that delegates to the container is replaced by the new one. Otherwise
    /// it is in the way.
    #[must_use]
    pub fn replace(mut self, replace: bool) -> Self {
        self.replace = replace;
        self
    }

    /// How long it may take, 30 seconds if not said here. A container can make it take any time, by
    /// stopping the process that enters it.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Mounts a BPF FS with this delegation on the directory.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the process has ended or is in no other user and mount namespace, or
    /// `fs.suid_dumpable` is 1; [`Error::Container`] with the step that failed: `EBUSY` if a BPF FS
    /// that delegates is there already, `ELOOP` for a symbolic link on the path;
    /// [`Error::TimedOut`]; those of [`Delegation::apply`].
    pub fn mount(&self, delegation: &Delegation) -> Result<()> {
        let work = Work::Mount {
            target: launch::target(&self.path)?,
            replace: self.replace,
        };
        self.enter(work, Some(delegation))
    }

    /// Unmounts the BPF FS on the directory that delegates to the container.
    ///
    /// Tokens made from it, and what was loaded with them, go on to work.
    ///
    /// # Errors
    ///
    /// As [`mount`](Self::mount); `EINVAL` if there is none.
    pub fn unmount(&self) -> Result<()> {
        let target = launch::target(&self.path)?;
        self.enter(Work::Unmount { target }, None)
    }

    fn enter(&self, work: Work, delegation: Option<&Delegation>) -> Result<()> {
        self.check()?;
        let pidfd = self.process.try_clone()?.into_pidfd();
        let place = Place::Existing { pidfd };
        let (ours, setup) = launch::socket_pair()?;
        let plan = Plan {
            keep: Vec::with_capacity(Plan::needs(&place)),
            setup,
            place,
            uid: Uid::from_raw(self.first_inside("uid_map")?),
            gid: Gid::from_raw(self.first_inside("gid_map")?),
            work,
        };
        let mut process = launch::start(plan, 0)?;
        let deadline = Deadline::new(self.limit);
        launch::manage(&ours, delegation, self.limit)?;
        process.reap(deadline);
        Ok(())
    }

    fn check(&self) -> Result<()> {
        let pid = self.process.pid();
        let ours = Process::current()?;
        if ours.namespace("user")? == self.process.namespace("user")? {
            return Err(Error::Invalid(format!(
                "process {pid} runs in this user namespace; a token only works in another one"
            )));
        }
        if ours.namespace("mnt")? == self.process.namespace("mnt")? {
            return Err(Error::Invalid(format!(
                "process {pid} has no mount namespace of its own to mount a BPF FS in"
            )));
        }
        check_suid_dumpable()
    }

    /// The first id inside the map of the process, which is root in all but odd containers.
    fn first_inside(&self, map: &str) -> Result<u32> {
        self.process
            .read(map)?
            .split_whitespace()
            .next()
            .and_then(|inside| inside.parse().ok())
            .ok_or_else(|| {
                let pid = self.process.pid();
                Error::Invalid(format!("the {map} of process {pid} is empty"))
            })
    }
}

/// Refuses to enter a container where the kernel would open the process that does to the container,
/// with its copy of the caller's memory: for debugging, this value makes a process dumpable when it
/// changes its user namespace.
fn check_suid_dumpable() -> Result<()> {
    let path = Path::new("/proc/sys/fs/suid_dumpable");
    match fs::read_to_string(path) {
        Ok(text) if text.trim() == "1" => Err(Error::Invalid(
            "the sysctl fs.suid_dumpable is 1, which would let the container look into the process \
             that enters it; set it to 0 or 2"
                .to_owned(),
        )),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file(path, error)),
        _ => Ok(()),
    }
}
