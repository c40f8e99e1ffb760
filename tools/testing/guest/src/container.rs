// SPDX-License-Identifier: GPL-2.0

//! The two sides of delegation, as a container manager such as systemd sets it up.
//!
//! The container, in a user and a mount namespace of its own, opens a BPF FS context and hands it to the
//! manager. The manager, root in the initial user namespace, sets the `delegate_*` options and creates the
//! instance, which the container then mounts.

use std::os::fd::OwnedFd;

use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::CWD;
use rustix::mount;
use rustix::mount::MountPropagationFlags;
use rustix::process::DumpableBehavior;
use rustix::process::Gid;
use rustix::process::Pid;
use rustix::process::Uid;
use rustix::thread::UnshareFlags;

use crate::bpf;
use crate::context::Context;
use crate::process;
use crate::process::Link;
use crate::sys;

/// Where the ids of a container start outside of it, and how many they are.
const SUBORDINATE_IDS: (u32, u32) = (100_000, 65_536);

/// What an instance of BPF FS delegates. An option with no value is not given at all.
#[derive(Clone, Copy, Debug)]
pub struct Delegation<'a> {
    pub cmds: &'a str,
    pub maps: &'a str,
    pub progs: &'a str,
    pub attachs: &'a str,
    pub cookie: &'a str,
}

impl Delegation<'_> {
    pub const NOTHING: Self = Self::of("", "", "", "");
    pub const ANY: Self = Self::of("any", "any", "any", "any");
}

impl<'a> Delegation<'a> {
    pub const fn of(cmds: &'a str, maps: &'a str, progs: &'a str, attachs: &'a str) -> Self {
        Self {
            cmds,
            maps,
            progs,
            attachs,
            cookie: "",
        }
    }

    pub const fn with_cookie(self, cookie: &'a str) -> Self {
        Self { cookie, ..self }
    }

    pub fn options(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        [
            ("delegate_cmds", self.cmds),
            ("delegate_maps", self.maps),
            ("delegate_progs", self.progs),
            ("delegate_attachs", self.attachs),
            ("delegate_cookie", self.cookie),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
    }
}

/// A mounted file system: the mount and its root directory.
pub struct Instance {
    pub mount: OwnedFd,
    pub root: OwnedFd,
}

impl Instance {
    /// Mounts `fs` in the user namespace of the calling process, which must be allowed to delegate.
    pub fn new(fs: &str, delegation: &Delegation<'_>) -> Self {
        let context = Context::of(fs);
        context.configure(delegation.options());
        Self::of_context(&context)
    }

    pub fn of_context(context: &Context) -> Self {
        let mount = context.mount();
        let root = open_directory(&mount, ".");
        Self { mount, root }
    }

    pub fn token(&self) -> OwnedFd {
        bpf::token_create(&self.root).expect("this instance gives tokens")
    }
}

/// Opens a directory in the way `BPF_TOKEN_CREATE` takes one.
pub fn open_directory(at: &OwnedFd, path: &str) -> OwnedFd {
    rustix::fs::openat(
        at,
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .expect("a directory that can be opened")
}

/// Runs `inside` in a container with an instance of BPF FS that delegates.
pub fn run(delegation: &Delegation<'_>, inside: impl FnOnce(Instance)) {
    run_with(delegation, |instance, _| inside(instance), |_| ());
}

/// Runs `inside` in a container, and `outside` in the manager at the same time.
///
/// Both ends of the link are closed when their side is done, so neither side waits for one that has failed.
pub fn run_with<T>(
    delegation: &Delegation<'_>,
    inside: impl FnOnce(Instance, Link),
    outside: impl FnOnce(Link) -> T,
) -> T {
    run_on("bpf", delegation, inside, outside)
}

/// The same with an instance of any file system that a user namespace may mount.
pub fn run_on<T>(
    fs: &str,
    delegation: &Delegation<'_>,
    inside: impl FnOnce(Instance, Link),
    outside: impl FnOnce(Link) -> T,
) -> T {
    let inside = |link: Link| inside(take_instance(fs, &link), link);
    two_sides(inside, |link| {
        give_instance(delegation.options(), &link);
        outside(link)
    })
}

/// Runs `inside` in one container with an instance of BPF FS for each list of options, in turn. `inside` is
/// told the index of the list.
pub fn run_each(
    instances: &[Vec<(&'static str, String)>],
    mut inside: impl FnMut(usize, Instance),
) {
    let inside = |link: Link| {
        for index in 0..instances.len() {
            inside(index, take_instance("bpf", &link));
        }
    };
    two_sides(inside, |link| {
        for options in instances {
            let options = options.iter().map(|(key, value)| (*key, value.as_str()));
            give_instance(options, &link);
        }
        link.wait_for_end();
    });
}

/// The container's part of making an instance.
pub fn take_instance(fs: &str, link: &Link) -> Instance {
    let context = Context::of(fs);
    link.send_fd(&context);
    link.wait();
    // The context goes at the end, as it would keep the super block after the unmount.
    Instance::of_context(&context)
}

/// The manager's part of it.
pub fn give_instance<'a>(options: impl IntoIterator<Item = (&'a str, &'a str)>, link: &Link) {
    Context::from(link.recv_fd()).configure(options);
    link.signal();
}

/// Runs `inside` in a container, and `outside` in the manager.
pub fn two_sides<T>(inside: impl FnOnce(Link), outside: impl FnOnce(Link) -> T) -> T {
    let inside = |link: Link| {
        enter(&link);
        inside(link);
    };
    process::run_beside(inside, |pid, link| {
        link.wait();
        map_ids(pid);
        link.signal();
        outside(link)
    })
}

/// Makes the calling process root of a new user namespace, with mounts of its own. Its manager, at the other end of the
/// link, calls [`map_ids`] in the meantime: after one turn, and before it gives one back.
pub fn enter(link: &Link) {
    sys::unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS).expect("unshare");
    link.signal();
    link.wait();

    rustix::thread::set_thread_groups(&[]).expect("setgroups");
    let (gid, uid) = (Gid::ROOT, Uid::ROOT);
    rustix::thread::set_thread_res_gid(gid, gid, gid).expect("setresgid");
    rustix::thread::set_thread_res_uid(uid, uid, uid).expect("setresuid");
    // The change of ids has given /proc/self to the global root.
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable).expect("PR_SET_DUMPABLE");

    keep_mounts_private();
}

/// Makes the calling process root of a new child of its user namespace, where nobody else is mapped.
pub fn enter_child() {
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    // An earlier change of ids has given /proc/self to the global root.
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable).expect("PR_SET_DUMPABLE");
    sys::unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS).expect("unshare");
    for (file, content) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {uid} 1")),
        ("gid_map", format!("0 {gid} 1")),
    ] {
        std::fs::write(format!("/proc/self/{file}"), content)
            .unwrap_or_else(|error| panic!("{file}: {error}"));
    }
}

fn keep_mounts_private() {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount::mount_change("/", private).expect("private mounts");
}

/// Gives the calling process mounts of its own, with a tmpfs at /tmp.
pub fn isolate_mounts() {
    sys::unshare(UnshareFlags::NEWNS).expect("unshare");
    keep_mounts_private();
    mount_tmpfs();
}

/// Mounts a tmpfs at /tmp.
pub fn mount_tmpfs() {
    let none: Option<&std::ffi::CStr> = None;
    mount::mount("tmpfs", "/tmp", "tmpfs", mount::MountFlags::empty(), none).expect("tmpfs");
}

/// The manager's part of it.
pub fn map_ids(pid: Pid) {
    let (first, count) = SUBORDINATE_IDS;
    for map in ["uid_map", "gid_map"] {
        let path = format!("/proc/{}/{map}", pid.as_raw_nonzero());
        std::fs::write(&path, format!("0 {first} {count}"))
            .unwrap_or_else(|error| panic!("{path}: {error}"));
    }
}

/// Mounts a tmpfs of the container's own at /tmp, and the instance in a directory there.
pub fn attach(instance: &Instance) -> &'static str {
    const PATH: &str = "/tmp/bpf";
    mount_tmpfs();
    attach_at(instance, PATH);
    PATH
}

/// Mounts the instance in a new directory.
pub fn attach_at(instance: &Instance, path: &str) {
    rustix::fs::mkdirat(CWD, path, Mode::RWXU).expect("mkdir");
    let flags = mount::MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    mount::move_mount(&instance.mount, "", CWD, path, flags).expect("move_mount");
}
