// SPDX-License-Identifier: GPL-2.0

//! Rule 3: what `BPF_TOKEN_CREATE` requires, the errno of each requirement, and the order of the checks.

use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;

use guest::bpf;
use guest::bpf::MapType;
use guest::container;
use guest::container::open_directory;
use guest::container::Delegation;
use guest::container::Instance;
use guest::kernel;
use guest::log;
use guest::process;
use guest::process::Link;
use guest::restrict;
use guest::sys;
use libtest_mimic::Trial;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mount;
use rustix::thread::CapabilitySet;

use super::tests;
use super::trial;
use crate::lsm;

pub fn tests() -> Vec<Trial> {
    let mut trials = tests![
        everything_in_place,
        any_one_mask_suffices,
        attr_may_be_longer,
        attr_beyond_the_kernels,
        attr_at_bad_address,
        descriptor_not_open,
        descriptor_of_no_directory,
        root_of_other_file_system,
        bind_mount,
        read_only_mount,
        mode_of_root_is_no_matter,
        only_cap_bpf,
        all_capabilities_but_cap_bpf,
        root_of_child_user_namespace,
    ];
    trials.extend(violations());
    trials
}

/// A requirement of `BPF_TOKEN_CREATE` that is not met, in the order in which they are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Violation {
    TrailingBytes,
    Flags,
    PathDescriptor,
    NotRootDirectory,
    OtherFileSystem,
    NoAccess,
    OtherUserNamespace,
    NoCapBpf,
    InitialUserNamespace,
    NothingDelegated,
    NoDescriptorLeft,
    RefusedByLsm,
}

use Violation::*;

impl Violation {
    const ALL: [Self; 12] = [
        TrailingBytes,
        Flags,
        PathDescriptor,
        NotRootDirectory,
        OtherFileSystem,
        NoAccess,
        OtherUserNamespace,
        NoCapBpf,
        InitialUserNamespace,
        NothingDelegated,
        NoDescriptorLeft,
        RefusedByLsm,
    ];

    fn errno(self) -> Errno {
        match self {
            TrailingBytes | Flags | NotRootDirectory | OtherFileSystem => Errno::INVAL,
            PathDescriptor => Errno::BADF,
            NoAccess => Errno::ACCESS,
            OtherUserNamespace | NoCapBpf => Errno::PERM,
            InitialUserNamespace => Errno::OPNOTSUPP,
            NothingDelegated => Errno::NOENT,
            NoDescriptorLeft => Errno::MFILE,
            // Any errno that nothing else gives: the LSM's own reaches the caller.
            RefusedByLsm => Errno::DOM,
        }
    }
}

impl Violation {
    /// The reason in the log, if the token is what the call fails for.
    fn reason(self, fd: i32) -> Option<String> {
        let reason = match self {
            TrailingBytes => return None,
            Flags => "flags 0x2 are unknown; there is BPF_F_TOKEN_RESTRICT (0x1)",
            PathDescriptor => {
                return Some(format!(
                    "no token: descriptor {fd} is not open, or was opened with O_PATH\n"
                ))
            }
            NotRootDirectory => "the descriptor is not the root of a file system",
            OtherFileSystem => "the descriptor is not that of a BPF file system",
            NoAccess => "no permission to access the BPF file system",
            OtherUserNamespace => "the BPF file system belongs to another user namespace",
            NoCapBpf => "this needs CAP_BPF in the user namespace",
            InitialUserNamespace => {
                "the initial user namespace has none: there, CAP_BPF does what a token does"
            }
            NothingDelegated => "the BPF file system delegates nothing",
            NoDescriptorLeft => "no descriptor is left (RLIMIT_NOFILE)",
            RefusedByLsm => "a security module refused it",
        };
        Some(format!("no token: {reason}\n"))
    }
}

/// A trial for every violation, and for every two of them at once, of which the earlier one's errno is due.
fn violations() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (index, first) in Violation::ALL.into_iter().enumerate() {
        trials.push(trial(&format!("creation::{first:?}"), move || {
            violate(&[first])
        }));
        for second in Violation::ALL.into_iter().skip(index + 1) {
            let name = format!("creation::order::{first:?}_before_{second:?}");
            trials.push(trial(&name, move || violate(&[first, second])));
        }
    }
    trials
}

fn violate(violations: &[Violation]) {
    let has = |violation| violations.contains(&violation);
    let delegation = if has(NothingDelegated) || has(OtherFileSystem) {
        Delegation::NOTHING
    } else {
        Delegation::ANY
    };
    let fs = if has(OtherFileSystem) { "tmpfs" } else { "bpf" };
    let target = |instance: &Instance| target(instance, violations);
    let create = |target: OwnedFd| create(&target, violations);

    let _no_access = has(NoAccess).then(|| lsm::refuse_access(NoAccess.errno()));
    let _no_token = has(RefusedByLsm).then(|| lsm::refuse_token_create(RefusedByLsm.errno()));

    match (has(InitialUserNamespace), has(OtherUserNamespace)) {
        (false, false) => {
            let inside = |instance: Instance, _: Link| create(target(&instance));
            container::run_on(fs, &delegation, inside, |_| ());
        }
        (true, false) => process::run(|| create(target(&Instance::new(fs, &delegation)))),
        // The caller is in the container, the instance the manager's.
        (false, true) => {
            let foreign = Instance::new(fs, &delegation);
            let inside = |_: Instance, link: Link| create(link.recv_fd());
            container::run_with(&Delegation::ANY, inside, |link| {
                link.send_fd(target(&foreign))
            });
        }
        // The caller is the manager, the instance the container's.
        (true, true) => {
            let inside = |instance: Instance, link: Link| link.send_fd(target(&instance));
            let foreign = container::run_on(fs, &delegation, inside, |link| link.recv_fd());
            process::run(|| create(foreign));
        }
    }
}

const EVERYBODY: Mode = Mode::RWXU.union(Mode::RWXG).union(Mode::RWXO);

/// The descriptor to give to `BPF_TOKEN_CREATE`, as far as it depends on the instance.
fn target(instance: &Instance, violations: &[Violation]) -> OwnedFd {
    if violations.contains(&NotRootDirectory) {
        rustix::fs::mkdirat(&instance.root, "directory", EVERYBODY).expect("mkdir");
        open_directory(&instance.root, "directory")
    } else {
        instance.root.try_clone().expect("dup")
    }
}

/// Calls `BPF_TOKEN_CREATE`, and expects the errno of the first of the violations.
fn create(target: &OwnedFd, violations: &[Violation]) {
    let has = |violation| violations.contains(&violation);
    let path = rustix::fs::openat(target, ".", OFlags::PATH, Mode::empty()).expect("O_PATH");
    let fd = if has(PathDescriptor) { &path } else { target };
    let flags = if has(Flags) { 2 } else { 0 };
    let mut attr = bpf::token_create_attr(flags, fd.as_raw_fd()).to_vec();
    if has(TrailingBytes) {
        attr.resize(restrict::ATTR_LEN, 0);
        attr.extend([1, 0, 0, 0]);
    }
    if has(NoCapBpf) {
        process::drop_capabilities(CapabilitySet::BPF);
    }
    if has(NoDescriptorLeft) {
        process::exhaust_descriptors();
    }
    let first = violations.iter().min();
    let expected = first.map(|violation| violation.errno());
    assert_eq!(sys::token_create(&attr).err(), expected);

    if has(TrailingBytes) {
        return;
    }
    let mut buffer = log::Buffer::of(4096);
    let log = buffer.log(log::LEVEL);
    let logged = bpf::token_create_logged(flags, fd.as_raw_fd(), &log);
    assert_eq!(logged.err(), expected, "with a log");
    let reason = first.and_then(|violation| violation.reason(fd.as_raw_fd()));
    assert_eq!(buffer.text(), reason.filter(|_| kernel::explains()));
}

fn everything_in_place() {
    violate(&[]);
}

fn any_one_mask_suffices() {
    for delegation in [
        Delegation::of("0x1", "", "", ""),
        Delegation::of("", "0x1", "", ""),
        Delegation::of("", "", "0x1", ""),
        // A bit that no attach type has.
        Delegation::of("", "", "", "0x8000000000000000"),
    ] {
        container::run(&delegation, |instance| drop(instance.token()));
    }
}

/// A caller built against later headers passes more than this kernel knows, all of it zero.
fn attr_may_be_longer() {
    container::run(&Delegation::ANY, |instance| {
        let mut attr = bpf::token_create_attr(0, instance.root.as_raw_fd()).to_vec();
        for len in [12, 64, 256, 4096] {
            attr.resize(len, 0);
            sys::token_create(&attr).unwrap_or_else(|errno| panic!("{len} bytes: {errno}"));
        }
        attr.resize(4097, 0);
        assert_eq!(
            sys::token_create(&attr).err(),
            Some(Errno::TOOBIG),
            "more than a page"
        );
    });
}

fn attr_beyond_the_kernels() {
    container::run(&Delegation::ANY, |instance| {
        let mut attr = bpf::token_create_attr(0, instance.root.as_raw_fd()).to_vec();
        attr.resize(4096, 0);
        attr[4095] = 1;
        assert_eq!(sys::token_create(&attr).err(), Some(Errno::TOOBIG));
    });
}

fn attr_at_bad_address() {
    container::run(&Delegation::ANY, |_| {
        assert_eq!(sys::token_create_at_null(8).err(), Some(Errno::FAULT));
    });
}

fn descriptor_not_open() {
    container::run(&Delegation::ANY, |instance| {
        let closed = instance.root.try_clone().expect("dup").as_raw_fd();
        for fd in [closed, -1, i32::MIN, i32::MAX] {
            let attr = bpf::token_create_attr(0, fd);
            assert_eq!(
                sys::token_create(&attr).err(),
                Some(Errno::BADF),
                "descriptor {fd}"
            );
        }
    });
}

fn descriptor_of_no_directory() {
    let map = bpf::map_create(MapType::Array, None).expect("root makes maps");
    container::run(&Delegation::ANY, |instance| {
        let (pipe, _writer) = rustix::pipe::pipe().expect("pipe");
        let token = instance.token();
        let executable = std::fs::File::open("/proc/self/exe").expect("/proc/self/exe");
        for (kind, fd) in [
            ("BPF map", map.as_raw_fd()),
            ("pipe", pipe.as_raw_fd()),
            ("BPF token", token.as_raw_fd()),
            ("regular file", executable.as_raw_fd()),
        ] {
            let attr = bpf::token_create_attr(0, fd);
            assert_eq!(sys::token_create(&attr).err(), Some(Errno::INVAL), "{kind}");
        }
    });
}

fn root_of_other_file_system() {
    container::run(&Delegation::ANY, |_| {
        for path in ["/proc", "/sys"] {
            let root = open_directory(&open_directory_at_root(), &path[1..]);
            assert_eq!(bpf::token_create(&root).err(), Some(Errno::INVAL), "{path}");
        }
    });
}

fn open_directory_at_root() -> OwnedFd {
    rustix::fs::open("/", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).expect("/")
}

/// What counts is the root of the file system, not of the mount.
fn bind_mount() {
    container::run(&Delegation::ANY, |instance| {
        rustix::fs::mkdirat(&instance.root, "directory", Mode::RWXU).expect("mkdir");
        let clone = |path: &str| {
            let flags =
                mount::OpenTreeFlags::OPEN_TREE_CLONE | mount::OpenTreeFlags::OPEN_TREE_CLOEXEC;
            let tree = mount::open_tree(&instance.root, path, flags).expect("open_tree");
            open_directory(&tree, ".")
        };
        bpf::token_create(&clone(".")).expect("the root of a second mount");
        assert_eq!(
            bpf::token_create(&clone("directory")).err(),
            Some(Errno::INVAL)
        );
    });
}

fn read_only_mount() {
    container::run(&Delegation::ANY, |instance| {
        let path = container::attach(&instance);
        let flags = mount::MountFlags::BIND | mount::MountFlags::RDONLY;
        mount::mount_remount(path, flags, "").expect("remount");
        assert_eq!(
            rustix::fs::mkdirat(&instance.root, "directory", Mode::RWXU),
            Err(Errno::ROFS)
        );
        instance.token();
    });
}

/// The access asked for is none of read, write and search: only a security module can refuse it.
fn mode_of_root_is_no_matter() {
    container::run(&Delegation::ANY, |instance| {
        rustix::fs::fchmod(&instance.root, Mode::empty()).expect("fchmod");
        process::drop_capabilities(CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH);
        assert_eq!(
            rustix::fs::openat(&instance.root, ".", OFlags::RDONLY, Mode::empty()).err(),
            Some(Errno::ACCESS)
        );
        instance.token();
    });
}

fn only_cap_bpf() {
    container::run(&Delegation::ANY, |instance| {
        process::drop_capabilities(!CapabilitySet::BPF);
        instance.token();
    });
}

/// CAP_SYS_ADMIN stands in for CAP_BPF when a token is used, not when it is made.
fn all_capabilities_but_cap_bpf() {
    container::run(&Delegation::ANY, |instance| {
        process::drop_capabilities(CapabilitySet::BPF);
        assert_eq!(bpf::token_create(&instance.root).err(), Some(Errno::PERM));
    });
}

fn root_of_child_user_namespace() {
    container::run(&Delegation::ANY, |instance| {
        sys::unshare(rustix::thread::UnshareFlags::NEWUSER).expect("unshare");
        assert_eq!(bpf::token_create(&instance.root).err(), Some(Errno::PERM));
    });
}
