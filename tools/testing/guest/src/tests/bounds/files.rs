// SPDX-License-Identifier: GPL-2.0

//! Files that pass for a token, and paths that lead to one.

use std::ffi::CStr;
use std::ffi::CString;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;

use guest::bpf;
use guest::bpf::MapType;
use guest::container;
use guest::container::Delegation;
use guest::container::Instance;
use guest::context::Context;
use libtest_mimic::Trial;
use rustix::fs::AtFlags;
use rustix::fs::MemfdFlags;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mount;
use rustix::mount::FsPickFlags;
use rustix::mount::MoveMountFlags;
use rustix::mount::OpenTreeFlags;

use super::Commands;
use crate::tests::tests;

pub fn tests() -> Vec<Trial> {
    tests![
        unlinked_file_of_that_name,
        memory_of_that_name,
        directory_of_that_name,
        map_of_that_name,
        tree_at_a_token,
        token_for_a_mount,
    ]
}

const NAME: &CStr = c"bpf-token";

fn proc_path(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Expects a file to be refused as any other that is no token.
fn expect_no_token(file: &OwnedFd, commands: &Commands) {
    commands.expect("no token", file, Err(Errno::INVAL));
    let info = bpf::info_by_fd(file, &mut [0; 32]);
    assert_eq!(info, Err(Errno::INVAL), "BPF_OBJ_GET_INFO_BY_FD");
}

/// Rule 6: a token is what the kernel made one: a file with the name, mode, owner, type and link count of one is none.
fn unlinked_file_of_that_name() {
    let commands = Commands::new();
    container::run(&Delegation::ANY, |instance| {
        let token = instance.token();
        let tmpfs = Context::of("tmpfs");
        tmpfs.create();
        let tmpfs = tmpfs.mount();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let forged = rustix::fs::openat(&tmpfs, NAME, flags, Mode::RUSR | Mode::WUSR);
        let forged = forged.expect("a new file");
        rustix::fs::unlinkat(&tmpfs, NAME, AtFlags::empty()).expect("unlink");

        let looks = |file: &OwnedFd| {
            let stat = rustix::fs::fstat(file).expect("fstat");
            let name = std::fs::read_link(proc_path(file)).expect("readlink");
            let owner = (stat.st_uid, stat.st_gid);
            (name, stat.st_mode, owner, stat.st_nlink, stat.st_size)
        };
        assert_eq!(looks(&forged), looks(&token));
        expect_no_token(&forged, &commands);
        commands.expect_granted("the real one", &token);
    });
}

/// Rule 6: nor is memory whose name its maker chose.
fn memory_of_that_name() {
    let commands = Commands::new();
    container::run(&Delegation::ANY, |_| {
        let forged = rustix::fs::memfd_create(NAME, MemfdFlags::CLOEXEC).expect("memfd_create");
        expect_no_token(&forged, &commands);
    });
}

/// Rule 6: nor is what has that name on the very file system that tokens are of.
fn directory_of_that_name() {
    let commands = Commands::new();
    container::run(&Delegation::ANY, |instance| {
        rustix::fs::mkdirat(&instance.root, NAME, Mode::RWXU).expect("mkdir");
        let forged = container::open_directory(&instance.root, "bpf-token");
        expect_no_token(&forged, &commands);
    });
}

/// Rule 6: nor is a BPF object of another kind that is pinned by that name.
fn map_of_that_name() {
    let commands = Commands::new();
    container::run(&Delegation::ANY, |instance| {
        let token = instance.token();
        let map = bpf::map_create(MapType::Hash, Some(token.as_raw_fd())).expect("granted");
        bpf::obj_pin(&map, &instance.root, NAME).expect("BPF_OBJ_PIN");
        commands.expect("the map", &map, Err(Errno::INVAL));
        let path = rustix::fs::openat(&instance.root, NAME, OFlags::PATH, Mode::empty());
        commands.expect("O_PATH", &path.expect("O_PATH"), Err(Errno::BADF));
        let opened = rustix::fs::openat(&instance.root, NAME, OFlags::RDONLY, Mode::empty());
        assert_eq!(opened.err(), Some(Errno::IO));
    });
}

/// Rule 4: a token is no file to be found by path: what names it is not it, and it is nothing that is pinned.
fn tree_at_a_token() {
    let commands = Commands::new();
    container::run(&Delegation::ANY, |instance| {
        let target = format!("{}/../target", container::attach(&instance));
        let token = instance.token();
        let open_tree = |more| {
            let flags = OpenTreeFlags::AT_EMPTY_PATH | OpenTreeFlags::OPEN_TREE_CLOEXEC | more;
            mount::open_tree(&token, "", flags)
        };
        let named = open_tree(OpenTreeFlags::empty()).expect("as O_PATH does");
        commands.expect("open_tree", &named, Err(Errno::BADF));
        let cloned = open_tree(OpenTreeFlags::OPEN_TREE_CLONE);
        assert_eq!(cloned.err(), Some(Errno::INVAL), "OPEN_TREE_CLONE");

        let path = CString::new(proc_path(&token)).expect("a path without zeros");
        assert_eq!(
            bpf::obj_get(&path).err(),
            Some(Errno::ACCESS),
            "BPF_OBJ_GET"
        );

        std::fs::write(&target, "").expect("a file");
        let bound = mount::mount_bind(proc_path(&token), &target);
        assert_eq!(bound, Err(Errno::INVAL), "mount --bind");
    });
}

/// Rules 3 and 4: from a token no way leads back to the mount, nor to another token.
fn token_for_a_mount() {
    container::run(&Delegation::ANY, |instance: Instance| {
        let token = instance.token();
        let token = token.as_fd();
        let flags = FsPickFlags::FSPICK_EMPTY_PATH;
        let picked = mount::fspick(token, "", flags);
        assert_eq!(picked.err(), Some(Errno::INVAL), "fspick");
        let up = rustix::fs::openat(token, "..", OFlags::RDONLY, Mode::empty());
        assert_eq!(up.err(), Some(Errno::NOTDIR), "openat");
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        let moved = mount::move_mount(token, "", token, "/tmp", flags);
        assert_eq!(moved, Err(Errno::INVAL), "move_mount");
        let again = bpf::token_create(&token);
        assert_eq!(again.err(), Some(Errno::INVAL), "BPF_TOKEN_CREATE");
    });
}
