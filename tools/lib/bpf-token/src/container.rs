// SPDX-License-Identifier: MIT OR Apache-2.0
//! Containers: a command in new namespaces, with a delegated BPF FS; and a delegated BPF FS for one
//! that runs.

use std::env;
use std::ffi::CString;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::net::AddressFamily;
use rustix::net::SocketFlags;
use rustix::net::SocketType;
use rustix::process::Gid;
use rustix::process::Pid;
use rustix::process::PidfdFlags;
use rustix::process::Signal;
use rustix::process::Uid;
use rustix::process::WaitOptions;
use rustix::process::WaitStatus;

use crate::child::Place;
use crate::child::Plan;
use crate::child::Step;
use crate::child::FAILED;
use crate::child::MAPPED;
use crate::delegation::Delegation;
use crate::errno::IntoErrno;
use crate::error::Error;
use crate::error::Result;
use crate::fs_context::FsContext;
use crate::handshake;
use crate::handshake::Received;
use crate::idmap;
use crate::idmap::IdMap;
use crate::reason::Reason;
use crate::sys;

/// A command to run in new user and mount namespaces, and others as asked.
///
/// ```no_run
/// use bpf_token::{Container, IdMap};
/// let status = Container::new("sh")
///     .args(["-c", "bpftool prog show"])
///     .ids([IdMap::root(1000)], [IdMap::root(1000)])
///     .network(true)
///     .bpffs("delegate_cmds=any,delegate_progs=xdp".parse()?, "/sys/fs/bpf")
///     .spawn()?
///     .wait()?;
/// assert_eq!(status.exit_status(), Some(0));
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
    fds: Vec<(OwnedFd, i32)>,
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
            fds: Vec::new(),
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

    /// Passes a descriptor on, as this number.
    #[must_use]
    pub fn pass_fd(mut self, fd: OwnedFd, number: i32) -> Self {
        self.fds.push((fd, number));
        self
    }

    /// Starts the container and returns once its command is executed.
    ///
    /// # Errors
    ///
    /// [`Error::Container`] with the step that failed; those of [`Delegation::apply`] for the
    /// delegation.
    pub fn spawn(self) -> Result<Running> {
        let first = |maps: &[IdMap], what: &str| {
            maps.first()
                .map(|map| map.inside)
                .ok_or_else(|| Error::Invalid(format!("a container needs a map of {what} ids")))
        };
        let uid = Uid::from_raw(first(&self.uids, "user")?);
        let gid = Gid::from_raw(first(&self.gids, "group")?);
        let (delegation, target) = match self.bpffs {
            Some((delegation, target)) => (delegation, Some(c_string(target)?)),
            None => (Delegation::new(), None),
        };
        let exec = exec_of(self.program, self.file, self.args, self.env)?;
        let plan = Plan {
            place: Place::New {
                mount_proc: self.namespaces & libc::CLONE_NEWPID != 0,
            },
            uid,
            gid,
            bpffs: target,
            fds: self.fds,
            exec: Some(exec),
        };
        let (running, socket) = start(&plan, self.namespaces)?;
        idmap::write(running.pid(), &self.uids, &self.gids)?;
        tell(&socket, MAPPED)?;
        manage(&socket, plan.bpffs.is_some().then_some(&delegation))?;
        Ok(running)
    }
}

/// Gives the container that `pid` runs in a BPF FS with this delegation, mounted on a directory of
/// its own.
///
/// ```no_run
/// let delegation = "delegate_cmds=prog_load,delegate_progs=socket_filter".parse()?;
/// bpf_token::mount_into(4711, "/sys/fs/bpf", &delegation)?;
/// # Ok::<(), bpf_token::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Invalid`] if there is no such process, it runs in the caller's user namespace, or
/// `fs.suid_dumpable` is 1; [`Error::Container`] with the step that failed.
pub fn mount_into(pid: i32, target: impl AsRef<Path>, delegation: &Delegation) -> Result<()> {
    let no_process = || Error::Invalid(format!("there is no process {pid}"));
    let target_pid = Pid::from_raw(pid).ok_or_else(no_process)?;
    let pidfd =
        rustix::process::pidfd_open(target_pid, PidfdFlags::empty()).map_err(|_| no_process())?;
    if user_namespace("self")? == user_namespace(&pid.to_string())? {
        return Err(Error::Invalid(format!(
            "process {pid} runs in this user namespace; a token only works in another one"
        )));
    }
    check_suid_dumpable()?;
    let plan = Plan {
        place: Place::Existing { pidfd },
        uid: Uid::from_raw(first_inside(pid, "uid_map")?),
        gid: Gid::from_raw(first_inside(pid, "gid_map")?),
        bpffs: Some(c_string(target.as_ref().as_os_str())?),
        fds: Vec::new(),
        exec: None,
    };
    let (running, socket) = start(&plan, 0)?;
    manage(&socket, Some(delegation))?;
    running.wait().map(drop)
}

/// Makes the new process and the socket that leads to it.
fn start(plan: &Plan, namespaces: i32) -> Result<(Running, OwnedFd)> {
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|errno| Error::sys("socketpair", errno))?;
    let mut needs = plan.needs(theirs.as_fd());
    let pid = sys::clone(namespaces, || plan.run(theirs.as_fd(), &mut needs)).map_err(|errno| {
        Error::Container {
            step: "make the process and its namespaces",
            errno: errno.into_errno(),
            reason: Reason::default(),
        }
    })?;
    Ok((Running { pid: Some(pid) }, ours))
}

/// The manager's part, until the new process executes its command or ends.
fn manage(socket: &OwnedFd, delegation: Option<&Delegation>) -> Result<()> {
    let mut context: Option<FsContext> = None;
    loop {
        let mut message = [0; 6];
        let (length, fd) = handshake::recv_with_fd(socket.as_fd(), &mut message)
            .map_err(|errno| Error::sys("hear from the container", errno))?;
        match (&message[..length], fd, delegation) {
            ([], ..) if context.is_some() || delegation.is_none() => return Ok(()),
            ([], ..) => {
                return Err(Error::Handshake(
                    "the container ended during its set-up".to_owned(),
                ))
            }
            ([handshake::CONTEXT], Some(fd), Some(delegation)) => {
                context = Some(Received::new(socket.as_fd(), fd).grant(delegation)?);
            }
            ([FAILED, step, errno @ ..], ..) => {
                let errno = <[u8; 4]>::try_from(errno).map_or(0, i32::from_ne_bytes);
                return Err(Error::Container {
                    step: Step::text(*step),
                    errno: Errno::from_raw_os_error(errno).into_errno(),
                    reason: context
                        .as_ref()
                        .map(FsContext::take_log)
                        .unwrap_or_default(),
                });
            }
            _ => {
                return Err(Error::Handshake(
                    "the container sent an unexpected message".to_owned(),
                ))
            }
        }
    }
}

fn tell(socket: impl AsFd, word: u8) -> Result<()> {
    fn send(socket: BorrowedFd<'_>, word: u8) -> Result<()> {
        rustix::net::send(socket, &[word], rustix::net::SendFlags::NOSIGNAL)
            .map(drop)
            .map_err(|errno| Error::sys("talk to the container", errno))
    }
    send(socket.as_fd(), word)
}

fn exec_of(
    program: OsString,
    file: Option<OwnedFd>,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
) -> Result<sys::Exec> {
    let candidates = if program.as_bytes().contains(&b'/') {
        vec![c_string(program.clone())?]
    } else {
        let path = env.iter().find(|(key, _)| key == "PATH");
        let path = path.map_or(OsStr::new("/usr/bin:/bin"), |(_, value)| value);
        env::split_paths(path)
            .map(|dir| c_string(dir.join(&program)))
            .collect::<Result<_>>()?
    };
    let argv = std::iter::once(program)
        .chain(args)
        .map(c_string)
        .collect::<Result<_>>()?;
    let envp = env
        .into_iter()
        .map(|(mut key, value)| {
            key.push("=");
            key.push(value);
            c_string(key)
        })
        .collect::<Result<_>>()?;
    Ok(sys::Exec::new(candidates, file, argv, envp))
}

fn c_string(text: impl Into<OsString>) -> Result<CString> {
    let text = text.into();
    CString::new(text.into_vec()).map_err(|error| {
        let text = String::from_utf8_lossy(&error.into_vec()).into_owned();
        Error::Invalid(format!("{text:?}: holds a NUL byte"))
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
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::File {
            path: path.to_path_buf(),
            source,
        }),
        _ => Ok(()),
    }
}

fn user_namespace(pid: &str) -> Result<PathBuf> {
    let path = Path::new("/proc").join(pid).join("ns/user");
    fs::read_link(&path).map_err(|error| Error::file(path, error))
}

/// The first id inside the map of a process, which is root in all but odd containers.
fn first_inside(pid: i32, map: &str) -> Result<u32> {
    let path = Path::new("/proc").join(pid.to_string()).join(map);
    let text = fs::read_to_string(&path).map_err(|error| Error::file(path, error))?;
    text.split_whitespace()
        .next()
        .and_then(|inside| inside.parse().ok())
        .ok_or_else(|| Error::Invalid(format!("the {map} of process {pid} is empty")))
}

/// A container that runs. Dropping it kills the command (and, with its own process namespace, all
/// in it).
#[derive(Debug)]
pub struct Running {
    pid: Option<Pid>,
}

impl Running {
    /// The command's process id, as the caller sees it.
    pub fn pid(&self) -> Pid {
        self.pid.expect("only `wait` and `drop` take the pid")
    }

    /// Waits until the command ends.
    ///
    /// # Errors
    ///
    /// Those of waitpid(2).
    pub fn wait(mut self) -> Result<WaitStatus> {
        let pid = self.pid();
        let status = wait(pid).map_err(|errno| Error::sys("wait for the container", errno))?;
        self.pid = None;
        Ok(status)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(pid) = self.pid.take() {
            // Both fail only if the process is gone already.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
            let _ = wait(pid);
        }
    }
}

fn wait(pid: Pid) -> rustix::io::Result<WaitStatus> {
    let waited = handshake::retry(|| rustix::process::waitpid(Some(pid), WaitOptions::empty()))?;
    waited.map(|(_, status)| status).ok_or(Errno::CHILD)
}
