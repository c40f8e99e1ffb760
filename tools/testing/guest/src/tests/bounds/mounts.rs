// SPDX-License-Identifier: GPL-2.0

//! A BPF FS that was moved, bound elsewhere, made read-only, shown to another namespace, or given other ids, and the
//! tokens of it from before and after.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;

use guest::bpf;
use guest::bpf::MapType;
use guest::bpf::Masks;
use guest::container;
use guest::container::open_directory;
use guest::container::Delegation;
use guest::container::Instance;
use guest::context::Context;
use guest::managed;
use guest::process;
use guest::process::Link;
use guest::sys;
use libtest_mimic::Trial;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mount;
use rustix::mount::MountFlags;
use rustix::mount::OpenTreeFlags;
use rustix::mount::UnmountFlags;

use super::Commands;
use crate::tests::tests;

pub fn tests() -> Vec<Trial> {
    tests![
        moved,
        bound_elsewhere,
        super_block_read_only,
        delegation_widened_from_inside,
        copied_to_a_child,
        attached_by_the_manager,
        id_mapped,
    ]
}

fn open(path: &str) -> OwnedFd {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
        .unwrap_or_else(|errno| panic!("{path}: {errno}"))
}

fn make_directory(path: &str) {
    rustix::fs::mkdir(path, Mode::RWXU).unwrap_or_else(|errno| panic!("{path}: {errno}"));
}

/// Rule 4: a token is of the instance, wherever that is mounted. What lies at the old place is none.
fn moved() {
    const ELSEWHERE: &str = "/tmp/elsewhere";
    let commands = Commands::new();
    container::run(&Delegation::ANY, |instance| {
        let path = container::attach(&instance);
        let token = instance.token();
        drop(instance);
        make_directory(ELSEWHERE);
        mount::mount_move(path, ELSEWHERE).expect("mount --move");
        commands.expect_granted("a token from before", &token);
        let token = bpf::token_create(&open(ELSEWHERE)).expect("the root is the root");
        commands.expect_granted("a token from after", &token);
        let at_old_place = bpf::token_create(&open(path));
        assert_eq!(at_old_place.err(), Some(Errno::INVAL));
    });
}

/// Rules 3 and 4: a second mount shows the same instance: no restriction of it is one of the token, nor does the
/// token need the first.
fn bound_elsewhere() {
    const ELSEWHERE: &str = "/tmp/elsewhere";
    let commands = Commands::new();
    container::run(&Delegation::ANY, |instance| {
        let path = container::attach(&instance);
        drop(instance);
        make_directory(ELSEWHERE);
        mount::mount_bind(path, ELSEWHERE).expect("mount --bind");
        let all = MountFlags::BIND
            | MountFlags::RDONLY
            | MountFlags::NOSUID
            | MountFlags::NODEV
            | MountFlags::NOEXEC;
        mount::mount_remount(ELSEWHERE, all, "").expect("mount -o remount,bind");
        let token = bpf::token_create(&open(ELSEWHERE)).expect("the root is the root");
        mount::unmount(path, UnmountFlags::empty()).expect("the token is of the other mount");
        commands.expect_granted("the mount that it was made on is left", &token);
        mount::unmount(ELSEWHERE, UnmountFlags::DETACH).expect("umount -l");
        commands.expect_granted("no mount is left", &token);
    });
}

/// Makes the whole instance `ro` or `rw`.
fn remount(instance: &Instance, mode: &str) -> Result<(), Errno> {
    let context = managed::pick(&instance.mount);
    context.set_flag(mode).expect("a flag of every file system");
    context.reconfigure()
}

/// Rules 3 and 4: neither making nor using a token writes to the file system. A token is an unlinked file, and as
/// such keeps it from becoming read-only.
fn super_block_read_only() {
    const MASKS: Masks = Masks {
        cmds: 1,
        maps: 2,
        progs: 0,
        attachs: 0,
    };
    container::run(&Delegation::of("0x1", "0x2", "", ""), |instance| {
        let token = instance.token();
        assert_eq!(remount(&instance, "ro"), Err(Errno::BUSY));
        drop(token);
        remount(&instance, "ro").expect("no token is left");
        let directory = rustix::fs::mkdirat(&instance.root, "directory", Mode::RWXU);
        assert_eq!(directory, Err(Errno::ROFS));

        let token = instance.token();
        assert_eq!(bpf::masks(&token), MASKS);
        bpf::map_create(MapType::Hash, Some(token.as_raw_fd())).expect("granted");
        remount(&instance, "rw").expect("that is no matter of open files");
        assert_eq!(bpf::masks(&token), MASKS);
        assert_eq!(bpf::masks(&instance.token()), MASKS);
    });
}

/// Rule 1: root of the container may change its BPF FS, but not what is delegated to it.
fn delegation_widened_from_inside() {
    container::run(&Delegation::of("0x1", "0x2", "", ""), |instance| {
        let before = bpf::masks(&instance.token());
        for option in [
            "delegate_cmds",
            "delegate_maps",
            "delegate_progs",
            "delegate_attachs",
        ] {
            let context = managed::pick(&instance.mount);
            let widened = managed::remount(&context, &[(option, "any")]);
            assert_eq!(widened, Err(Errno::PERM), "{option}");
        }
        let context = managed::pick(&instance.mount);
        assert_eq!(managed::remount(&context, &[("mode", "0755")]), Ok(()));
        assert_eq!(bpf::masks(&instance.token()), before);
    });
}

/// Rule 3: the copy of a mount that a child namespace gets is of an instance that does not belong to it.
fn copied_to_a_child() {
    const COPY: &str = "/tmp/copy";
    container::run(&Delegation::ANY, |instance| {
        let path = container::attach(&instance);
        make_directory(COPY);
        process::run(|| {
            container::enter_child();
            mount::mount_bind(path, COPY).expect("mount --bind");
            for path in [path, COPY] {
                let token = bpf::token_create(&open(path));
                assert_eq!(token.err(), Some(Errno::PERM), "{path}");
            }
        });
        bpf::token_create(&open(path)).expect("the container's own");
    });
}

/// Rule 3: an instance belongs to the namespace that it was made for, whoever attaches a mount of it.
fn attached_by_the_manager() {
    let inside = |instance: Instance, link: Link| {
        link.send_fd(&instance.mount);
        link.wait_for_end();
    };
    container::run_with(&Delegation::ANY, inside, |link| {
        let mount = link.recv_fd();
        process::run(|| {
            let root = open_directory(&mount, ".");
            container::isolate_mounts();
            let path = container::attach(&Instance { mount, root });
            assert_eq!(bpf::token_create(&open(path)).err(), Some(Errno::PERM));
        });
    });
}

/// A user namespace that is a child of the caller's.
fn child_namespace() -> OwnedFd {
    let child = |link: Link| {
        container::enter_child();
        link.send_fd(File::open("/proc/self/ns/user").expect("/proc/self/ns/user"));
    };
    process::run_beside(child, |_, link| link.recv_fd())
}

fn clone_mount(mount: &OwnedFd) -> OwnedFd {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    mount::open_tree(mount, "", flags).expect("open_tree")
}

/// Rule 4: whose a token is has no mapping between: BPF FS does not let a mount of it have other ids, neither inside
/// nor outside.
fn id_mapped() {
    let commands = Commands::new();
    let inside = |instance: Instance, link: Link| {
        let namespace = child_namespace();
        let tmpfs = Context::of("tmpfs");
        tmpfs.create();
        let mapped = sys::map_ids_of_mount(&tmpfs.mount(), &namespace);
        assert_eq!(mapped, Ok(()), "another file system");

        let clone = clone_mount(&instance.mount);
        let mapped = sys::map_ids_of_mount(&clone, &namespace);
        assert_eq!(mapped, Err(Errno::INVAL), "by the container");
        link.send_fd(&clone);
        link.wait();
        let token = bpf::token_create(&open_directory(&clone, ".")).expect("as before");
        commands.expect_granted("as before", &token);
    };
    container::run_with(&Delegation::ANY, inside, |link| {
        let mapped = sys::map_ids_of_mount(&link.recv_fd(), &child_namespace());
        assert_eq!(mapped, Err(Errno::INVAL), "by the manager");
        link.signal();
        link.wait_for_end();
    });
}
