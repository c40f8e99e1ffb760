// SPDX-License-Identifier: MIT OR Apache-2.0
//! A delegated BPF FS for a container that runs.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
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
use crate::instance::Instance;
use crate::launch;
use crate::launch::Outcome;
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
    device: Option<String>,
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
            device: None,
            replace: false,
            limit: LIMIT,
        }
    }

    /// Has [`instance`](Self::instance) look for the BPF FS of this device, `major:minor`, only.
    #[must_use]
    pub fn device(mut self, device: impl Into<String>) -> Self {
        self.device = Some(device.into());
        self
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
        self.enter(work, Some(delegation)).map(drop)
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
        self.enter(Work::Unmount { target }, None).map(drop)
    }

    /// The BPF FS on the directory that belongs to the container, to take back what it delegates.
    ///
    /// It is found also below what the container has mounted over it, and not if the container has
    /// moved or unmounted it: keep the [`Instance`] of a container that is not trusted.
    ///
    /// # Errors
    ///
    /// As [`mount`](Self::mount); `EINVAL` with [`Step::NotThere`](crate::Step::NotThere) if there is
    /// none, and `EPERM` with that step if the one of the device that was asked for belongs to another
    /// user namespace.
    pub fn instance(&self) -> Result<Instance> {
        let target = launch::target(&self.path)?;
        let device = self.device.as_deref().map(device_number).transpose()?;
        match self.enter(Work::Reach { target, device }, None)? {
            Outcome::Reached(root) => {
                Ok(Instance::from_mount(root)?.seen_by(self.process.try_clone()?))
            }
            _ => Err(Error::Handshake(
                "the container ended before its BPF FS was reached".to_owned(),
            )),
        }
    }

    /// Mounts this file system there, for a broker of probes.
    pub(crate) fn place(&self, tree: &OwnedFd) -> Result<()> {
        let work = Work::Place {
            target: launch::target(&self.path)?,
            tree: duplicate(tree)?,
            replace: self.replace,
        };
        self.enter(work, None).map(drop)
    }

    /// Unmounts this file system, wherever the container has it now.
    pub(crate) fn displace(&self, tree: &OwnedFd) -> Result<()> {
        let tree = duplicate(tree)?;
        self.enter(Work::Displace { tree }, None).map(drop)
    }

    fn enter(&self, work: Work, delegation: Option<&Delegation>) -> Result<Outcome> {
        self.check()?;
        let pidfd = self.process.try_clone()?.into_pidfd();
        let place = Place::Existing { pidfd };
        let (ours, setup) = launch::socket_pair()?;
        let plan = Plan {
            keep: Vec::with_capacity(Plan::needs(&place)),
            setup,
            place,
            ids: Some((
                Uid::from_raw(self.process.first_ids("uid_map")?.0),
                Gid::from_raw(self.process.first_ids("gid_map")?.0),
            )),
            work,
        };
        let mut process = launch::start(plan, 0)?;
        let deadline = Deadline::new(self.limit);
        let outcome = launch::manage(&ours, delegation, self.limit)?;
        process.reap(deadline);
        Ok(outcome)
    }

    fn check(&self) -> Result<()> {
        let pid = self.process.pid();
        let ours = Process::current()?;
        if ours.namespace("user")? == self.process.namespace("user")? {
            return Err(Error::SameUserNamespace { pid });
        }
        if ours.namespace("mnt")? == self.process.namespace("mnt")? {
            return Err(Error::Invalid(format!(
                "process {pid} has no mount namespace of its own to mount a BPF FS in"
            )));
        }
        check_suid_dumpable()
    }
}

fn duplicate(fd: &OwnedFd) -> Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(fd, 3)
        .map_err(|errno| Error::sys("duplicate a descriptor", errno))
}

/// The two numbers of a device.
fn device_number(device: &str) -> Result<(u32, u32)> {
    let parsed = device
        .split_once(':')
        .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    parsed.ok_or_else(|| {
        Error::Invalid(format!(
            "\"{device}\" is no device; write its numbers as major:minor, such as 0:45"
        ))
    })
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
