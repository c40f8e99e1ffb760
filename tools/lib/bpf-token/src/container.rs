// SPDX-License-Identifier: MIT OR Apache-2.0
//! Containers: a command in new namespaces, with a delegated BPF FS.

use std::env;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Gid;
use rustix::process::Resource;
use rustix::process::Uid;

use crate::child::NewContainer;
use crate::child::Place;
use crate::child::Plan;
use crate::child::Work;
use crate::child::MAPPED;
use crate::delegation::Delegation;
use crate::error::Error;
use crate::error::Result;
use crate::handshake::LIMIT;
use crate::idmap;
use crate::idmap::IdMap;
use crate::launch;
use crate::launch::Outcome;
use crate::process::Process;
use crate::running::Running;
use crate::step::Step;
use crate::sys;

/// A command to run in new user and mount namespaces, and others as asked.
///
/// It has the caller's controlling terminal, and can't type into it (TIOCSTI). Where the kernel has
/// neither seccomp nor `dev.tty.legacy_tiocsti` at 0, it is without that terminal, in a session of
/// its own.
///
/// ```no_run
/// use bpf_token::{Container, IdMap};
/// let status = Container::new("sh")
///     .args(["-c", "bpftool prog show"])
///     .ids([IdMap::root(1000)], [IdMap::root(1000)])
///     .network(true)
///     .bpffs("delegate_cmds=any,delegate_progs=xdp,delegate_attachs=xdp".parse()?, "/sys/fs/bpf")
///     .spawn()?
///     .wait()?;
/// assert!(status.success());
/// # Ok::<(), bpf_token::Error>(())
/// ```
#[derive(Debug)]
pub struct Container {
    program: OsString,
    file: Option<OwnedFd>,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    uids: Vec<IdMap>,
    gids: Vec<IdMap>,
    namespaces: i32,
    bpffs: Option<(Delegation, PathBuf)>,
    no_bpffs: bool,
    fds: Vec<(OwnedFd, i32)>,
    limit: Duration,
}

impl Container {
    /// A container that runs this program, found through `PATH` if its name has no slash.
    ///
    /// Without [`ids`](Self::ids), root inside is the caller outside.
    pub fn new(program: impl Into<OsString>) -> Self {
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        Self {
            program: program.into(),
            file: None,
            args: Vec::new(),
            env: env::vars_os().collect(),
            uids: vec![IdMap::root(uid)],
            gids: vec![IdMap::root(gid)],
            namespaces: libc::CLONE_NEWUSER | libc::CLONE_NEWNS,
            bpffs: None,
            no_bpffs: false,
            fds: Vec::new(),
            limit: LIMIT,
        }
    }

    /// Executes this open file, which the container may be unable to reach by a path; the program
    /// is only a name then.
    #[must_use]
    pub fn file(mut self, file: OwnedFd) -> Self {
        self.file = Some(file);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<I: IntoIterator<Item: Into<OsString>>>(mut self, args: I) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of the environment, which is the caller's otherwise.
    #[must_use]
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        let key = key.into();
        self.env.retain(|(other, _)| *other != key);
        self.env.push((key, value.into()));
        self
    }

    /// The id maps of the user namespace. The command runs as the first id inside each.
    #[must_use]
    pub fn ids(
        mut self,
        uids: impl IntoIterator<Item = IdMap>,
        gids: impl IntoIterator<Item = IdMap>,
    ) -> Self {
        self.uids = uids.into_iter().collect();
        self.gids = gids.into_iter().collect();
        self
    }

    /// Whether the container has its own user namespace, as it has if nothing is said here.
    ///
    /// Without one, the command has the caller's ids, groups and capabilities, and a token of the
    /// caller's works for it. Namespaces of its own take CAP_SYS_ADMIN in the caller's.
    #[must_use]
    pub fn user(self, own: bool) -> Self {
        self.namespace(libc::CLONE_NEWUSER, own)
    }

    /// Keeps the command from each BPF FS that there is, but for that of [`bpffs`](Self::bpffs): they
    /// are unmounted in its mount namespace.
    ///
    /// So that it does not find them again by way of other processes, it gets a process namespace and
    /// a `/proc` of its own, and not CAP_SYS_ADMIN, which could unmount that.
    #[must_use]
    pub fn without_bpffs(mut self) -> Self {
        self.no_bpffs = true;
        self.pid(true)
    }

    /// Whether the container has its own network namespace.
    #[must_use]
    pub fn network(self, own: bool) -> Self {
        self.namespace(libc::CLONE_NEWNET, own)
    }

    /// Whether the container has its own process namespace, and /proc.
    #[must_use]
    pub fn pid(self, own: bool) -> Self {
        self.namespace(libc::CLONE_NEWPID, own)
    }

    /// Whether the container has its own cgroup namespace.
    #[must_use]
    pub fn cgroup(self, own: bool) -> Self {
        self.namespace(libc::CLONE_NEWCGROUP, own)
    }

    fn namespace(mut self, flag: i32, own: bool) -> Self {
        if own {
            self.namespaces |= flag;
        } else {
            self.namespaces &= !flag;
        }
        self
    }

    /// Mounts a BPF FS with this delegation on a directory of the container.
    #[must_use]
    pub fn bpffs(mut self, delegation: Delegation, target: impl Into<PathBuf>) -> Self {
        self.bpffs = Some((delegation, target.into()));
        self
    }

    /// Passes a descriptor on, as this number. Of others, the command only gets the standard ones.
    #[must_use]
    pub fn pass_fd(mut self, fd: OwnedFd, number: i32) -> Self {
        self.fds.push((fd, number));
        self
    }

    /// How long the set-up may take, 30 seconds if not said here.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Starts the container and returns once its command is executed.
    ///
    /// # Errors
    ///
    /// [`Error::Exec`] if the program could not be executed; [`Error::Container`] with another step
    /// that failed; [`Error::TimedOut`]; [`Error::Invalid`] for a number to pass a descriptor on as;
    /// those of [`Delegation::apply`] for the delegation.
    pub fn spawn(self) -> Result<Running> {
        let first = |maps: &[IdMap], what: &str| {
            maps.first()
                .map(|map| map.inside)
                .ok_or_else(|| Error::Invalid(format!("a container needs a map of {what} ids")))
        };
        check_numbers(&self.fds)?;
        let ids = if self.namespaces & libc::CLONE_NEWUSER == 0 {
            None
        } else {
            let uid = Uid::from_raw(first(&self.uids, "user")?);
            Some((uid, Gid::from_raw(first(&self.gids, "group")?)))
        };
        let (delegation, work) = match self.bpffs {
            Some((delegation, target)) => {
                let target = launch::target(&target)?;
                let replace = false;
                (Some(delegation), Work::Mount { target, replace })
            }
            None => (None, Work::Nothing),
        };
        let program = self.program.clone();
        let (life, theirs) = launch::socket_pair()?;
        let own_pids = self.namespaces & libc::CLONE_NEWPID != 0;
        let place = Place::New(NewContainer {
            own_pids,
            no_bpffs: self.no_bpffs,
            may_type: may_type(),
            new_session: false,
            arguments: Process::current()?.arguments()?,
            life: theirs,
            fds: self.fds,
            exec: exec_of(self.program, self.file, self.args, self.env)?,
        });
        let (ours, setup) = launch::socket_pair()?;
        // The command's process is known by who sends its message.
        rustix::net::sockopt::set_socket_passcred(&ours, true)
            .map_err(|errno| Error::sys("SO_PASSCRED", errno))?;
        let plan = Plan {
            keep: Vec::with_capacity(Plan::needs(&place)),
            setup,
            place,
            ids,
            work,
        };
        let process = launch::start(plan, self.namespaces)?;
        if ids.is_some() {
            idmap::write(&process.process()?, &self.uids, &self.gids)?;
        }
        launch::tell(&ours, MAPPED)?;
        match launch::manage(&ours, delegation.as_ref(), self.limit) {
            Ok(Outcome::Executed(command)) => Ok(Running::new(process, command, life, own_pids)),
            Ok(Outcome::Done | Outcome::Reached(_)) => {
                Err(Error::Handshake("the container has no command".to_owned()))
            }
            Err(Error::Container {
                step: Step::Exec,
                errno,
                ..
            }) => {
                let program = program.into();
                Err(Error::Exec { program, errno })
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether a command of ours would be able to type what others then read from our terminal: without
/// a controlling terminal, there is no such device, and a kernel may keep this for CAP_SYS_ADMIN.
fn may_type() -> bool {
    let sysctl = fs::read_to_string("/proc/sys/dev/tty/legacy_tiocsti");
    let refused = sysctl.is_ok_and(|value| value.trim() == "0");
    !refused && File::open("/dev/tty").is_ok()
}

/// The numbers that descriptors are passed on as: each can be one, and none twice.
fn check_numbers(fds: &[(OwnedFd, i32)]) -> Result<()> {
    let limit = rustix::process::getrlimit(Resource::Nofile).current;
    for (at, (_, number)) in fds.iter().enumerate() {
        let number_is =
            |what: &str| Error::Invalid(format!("pass on a descriptor as {number}: {what}"));
        let Ok(wanted) = u64::try_from(*number) else {
            return Err(number_is("no descriptor has a negative number"));
        };
        if limit.is_some_and(|limit| wanted >= limit) {
            return Err(number_is("not below the limit of open files (ulimit -n)"));
        }
        if fds[..at].iter().any(|(_, other)| other == number) {
            return Err(number_is("so is another one"));
        }
    }
    Ok(())
}

fn exec_of(
    program: OsString,
    file: Option<OwnedFd>,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
) -> Result<sys::Exec> {
    let candidates = if program.as_bytes().contains(&b'/') {
        vec![launch::c_string(program.clone())?]
    } else {
        let path = env.iter().find(|(key, _)| key == "PATH");
        let path = path.map_or(OsStr::new("/usr/bin:/bin"), |(_, value)| value);
        env::split_paths(path)
            .map(|dir| launch::c_string(dir.join(&program)))
            .collect::<Result<_>>()?
    };
    let argv = std::iter::once(program)
        .chain(args)
        .map(launch::c_string)
        .collect::<Result<_>>()?;
    let envp = env
        .into_iter()
        .map(|(mut key, value)| {
            key.push("=");
            key.push(value);
            launch::c_string(key)
        })
        .collect::<Result<_>>()?;
    Ok(sys::Exec::new(candidates, file, argv, envp))
}
