// SPDX-License-Identifier: GPL-2.0

//! Rule 4: a token as a file, and what it holds.

use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::sync::mpsc;

use guest::bpf;
use guest::bpf::MapType;
use guest::bpf::Masks;
use guest::container;
use guest::container::Delegation;
use guest::container::Instance;
use guest::kernel;
use guest::process;
use guest::process::Link;
use guest::sys;
use guest::sys::Command;
use libtest_mimic::Trial;
use rustix::fs::AtFlags;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::Stat;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::io::FdFlags;
use rustix::mount;
use rustix::mount::UnmountFlags;
use rustix::thread::CapabilitySet;

use super::leak;
use super::tests;
use super::usage::attempt;
use super::usage::LoadedBtf;
use super::usage::COMMANDS;
use crate::lsm;

pub fn tests() -> Vec<Trial> {
    tests![
        name,
        inode,
        mode_less_the_umask,
        owner_is_the_creator,
        closed_on_exec,
        opened_for_reading_and_writing,
        no_reading_no_writing,
        no_other_file_operation,
        cannot_be_linked,
        cannot_be_pinned,
        tokens_are_independent,
        masks_do_not_change,
        keeps_the_mount_busy,
        no_use_keeps_it,
        outlives_the_container,
        carries_no_task_state,
        travels_to_another_container,
        creation_refused_by_lsm_leaves_nothing,
        creation_and_close_leave_nothing,
    ]
}

fn with_token(test: impl FnOnce(&Instance, OwnedFd)) {
    container::run(&Delegation::ANY, |instance| {
        let token = instance.token();
        test(&instance, token);
    });
}

fn stat(fd: &OwnedFd) -> Stat {
    rustix::fs::fstat(fd).expect("fstat")
}

fn proc_path(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn name() {
    with_token(|_, token| {
        let name = std::fs::read_link(proc_path(&token)).expect("readlink");
        assert_eq!(name.to_str(), Some("/bpf-token (deleted)"));
    });
}

fn inode() {
    with_token(|instance, token| {
        let stat_of_root = stat(&instance.root);
        let stat = stat(&token);
        assert_eq!(FileType::from_raw_mode(stat.st_mode), FileType::RegularFile);
        assert_eq!(stat.st_nlink, 0);
        assert_eq!(stat.st_size, 0);
        assert_eq!(
            stat.st_dev, stat_of_root.st_dev,
            "the device of the BPF FS instance"
        );
        assert_ne!(stat.st_ino, stat_of_root.st_ino);
        let statfs = rustix::fs::fstatfs(&token).expect("fstatfs");
        assert_eq!(statfs.f_type, 0xcafe_4a11, "BPF_FS_MAGIC");
    });
}

fn mode_less_the_umask() {
    container::run(&Delegation::ANY, |instance| {
        for (umask, mode) in [
            (0, 0o600),
            (0o022, 0o600),
            (0o200, 0o400),
            (0o400, 0o200),
            (0o777, 0),
        ] {
            rustix::process::umask(Mode::from_raw_mode(umask));
            let token = instance.token();
            assert_eq!(stat(&token).st_mode & 0o7777, mode, "umask {umask:o}");
        }
    });
}

fn owner_is_the_creator() {
    container::run(&Delegation::ANY, |instance| {
        let (uid, gid) = (
            rustix::process::Uid::from_raw(7),
            rustix::process::Gid::from_raw(8),
        );
        rustix::thread::set_keep_capabilities(true).expect("PR_SET_KEEPCAPS");
        rustix::thread::set_thread_res_gid(gid, gid, gid).expect("setresgid");
        rustix::thread::set_thread_res_uid(uid, uid, uid).expect("setresuid");
        let mut sets = rustix::thread::capabilities(None).expect("capget");
        sets.effective = CapabilitySet::BPF;
        rustix::thread::set_capabilities(None, sets).expect("capset");

        let stat = stat(&instance.token());
        assert_eq!((stat.st_uid, stat.st_gid), (7, 8));
    });
}

fn closed_on_exec() {
    with_token(|_, token| {
        assert_eq!(rustix::io::fcntl_getfd(&token), Ok(FdFlags::CLOEXEC));
    });
}

fn opened_for_reading_and_writing() {
    with_token(|_, token| {
        let flags = rustix::fs::fcntl_getfl(&token).expect("F_GETFL");
        assert_eq!(flags, OFlags::RDWR);
    });
}

fn no_reading_no_writing() {
    with_token(|_, token| {
        let mut buffer = [0; 8];
        let read = rustix::io::read(&token, &mut buffer);
        assert_eq!(read, Err(Errno::INVAL), "read");
        let write = rustix::io::write(&token, &buffer);
        assert_eq!(write, Err(Errno::INVAL), "write");
        let pread = rustix::io::pread(&token, &mut buffer, 0);
        assert_eq!(pread, Err(Errno::SPIPE), "pread");
        let pwrite = rustix::io::pwrite(&token, &buffer, 0);
        assert_eq!(pwrite, Err(Errno::SPIPE), "pwrite");
        assert_eq!(sys::mmap(token.as_raw_fd()), Err(Errno::NODEV), "mmap");
    });
}

fn no_other_file_operation() {
    with_token(|_, token| {
        let start = rustix::fs::SeekFrom::Start(0);
        assert_eq!(rustix::fs::seek(&token, start), Err(Errno::SPIPE), "lseek");
        assert_eq!(rustix::fs::fsync(&token), Err(Errno::INVAL), "fsync");
        assert_eq!(
            rustix::process::fchdir(&token),
            Err(Errno::NOTDIR),
            "fchdir"
        );
        let below = rustix::fs::openat(&token, "below", OFlags::RDONLY, Mode::empty());
        assert_eq!(below.err(), Some(Errno::NOTDIR), "openat");
        let allocate = rustix::fs::fallocate(&token, rustix::fs::FallocateFlags::empty(), 0, 1);
        assert_eq!(allocate, Err(Errno::OPNOTSUPP), "fallocate");
    });
}

fn cannot_be_linked() {
    with_token(|instance, token| {
        let flags = AtFlags::SYMLINK_FOLLOW;
        let link = rustix::fs::linkat(CWD, proc_path(&token), &instance.root, "link", flags);
        assert_eq!(link, Err(Errno::NOENT));
    });
}

fn cannot_be_pinned() {
    with_token(|instance, token| {
        assert_eq!(
            bpf::obj_pin(&token, &instance.root, c"pin"),
            Err(Errno::INVAL)
        );
    });
}

fn tokens_are_independent() {
    container::run(&Delegation::ANY, |instance| {
        let (one, other) = (instance.token(), instance.token());
        assert_ne!(stat(&one).st_ino, stat(&other).st_ino);
        drop(one);
        bpf::map_create(MapType::Hash, Some(other.as_raw_fd())).expect("the other token grants");
    });
}

/// Neither the mount's root nor a wider delegation can change what a token was made with.
fn masks_do_not_change() {
    let delegation = Delegation::of("0x1", "0x2", "0x4", "0x8");
    let masks = Masks {
        cmds: 1,
        maps: 2,
        progs: 4,
        attachs: 8,
    };
    // D7: in C, the remount has no effect.
    let cmds = if kernel::explains() {
        u64::MAX
    } else {
        masks.cmds
    };
    let inside = |instance: Instance, link: Link| {
        let token = instance.token();
        link.send_fd(&instance.mount);
        link.wait();
        assert_eq!(bpf::masks(&token), masks);
        let after = Masks { cmds, ..masks };
        assert_eq!(bpf::masks(&instance.token()), after);
    };
    container::run_with(&delegation, inside, |link| {
        let flags = mount::FsPickFlags::FSPICK_EMPTY_PATH | mount::FsPickFlags::FSPICK_CLOEXEC;
        let context = mount::fspick(link.recv_fd(), "", flags).expect("fspick");
        mount::fsconfig_set_string(&context, "delegate_cmds", "any").expect("delegate_cmds");
        mount::fsconfig_reconfigure(&context).expect("FSCONFIG_CMD_RECONFIGURE");
        link.signal();
        link.wait_for_end();
    });
}

fn keeps_the_mount_busy() {
    container::run(&Delegation::ANY, |instance| {
        let path = container::attach(&instance);
        let token = instance.token();
        drop(instance);
        assert_eq!(
            mount::unmount(path, UnmountFlags::empty()),
            Err(Errno::BUSY)
        );
        drop(token);
        assert_eq!(mount::unmount(path, UnmountFlags::empty()), Ok(()));
    });
}

/// Where threads share the descriptors, a lookup counts a reference to the file: each use gives it back, and so that to
/// the mount.
fn no_use_keeps_it() {
    let loaded = LoadedBtf::new();
    let id = loaded.id();
    container::run(&Delegation::ANY, |instance| {
        let path = container::attach(&instance);
        let (end, ended) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || ended.recv());
            let token = instance.token();
            drop(instance);
            for command in COMMANDS {
                attempt(command, id, Some(token.as_raw_fd())).expect("the token grants");
            }
            let other = bpf::map_create(MapType::Hash, Some(token.as_raw_fd())).expect("a map");
            let wrong = attempt(Command::BtfLoad, id, Some(other.as_raw_fd()));
            assert_eq!(wrong, Err(Errno::INVAL));
            assert_eq!(bpf::masks(&token).cmds, u64::MAX);
            drop(token);
            assert_eq!(mount::unmount(path, UnmountFlags::empty()), Ok(()));
            drop(end);
        });
    });
}

/// With its creator gone, the mount detached and no other process in the user namespace, a token still
/// grants: here to the manager without a capability of its own, who owns that user namespace and so has
/// every capability there, for as long as it exists.
fn outlives_the_container() {
    let inside = |instance: Instance, link: Link| {
        let path = container::attach(&instance);
        let token = instance.token();
        drop(instance);
        mount::unmount(path, UnmountFlags::DETACH).expect("umount -l");
        link.send_fd(token);
    };
    let token = container::run_with(&Delegation::ANY, inside, |link| link.recv_fd());

    assert_eq!(bpf::masks(&token).cmds, u64::MAX);
    assert_eq!(stat(&token).st_nlink, 0);
    process::run(|| {
        process::drop_capabilities(CapabilitySet::all());
        assert_eq!(
            bpf::map_create(MapType::Hash, None).err(),
            Some(Errno::PERM)
        );
        bpf::map_create(MapType::Hash, Some(token.as_raw_fd())).expect("the token grants");
    });
}

/// A token made by one process of the container serves another one, after the first has ended.
fn carries_no_task_state() {
    container::run(&Delegation::ANY, |instance| {
        let (near, far) = Link::pair();
        process::run(|| far.send_fd(instance.token()));
        let token = near.recv_fd();
        bpf::map_create(MapType::Hash, Some(token.as_raw_fd())).expect("the token grants");
    });
}

/// A token goes anywhere, but the capabilities that it stands for are judged in its own user namespace.
fn travels_to_another_container() {
    let send = |instance: Instance, link: Link| link.send_fd(instance.token());
    let token = container::run_with(&Delegation::ANY, send, |link| link.recv_fd());

    let inside = |_: Instance, link: Link| {
        let token = link.recv_fd();
        assert_eq!(bpf::masks(&token).cmds, u64::MAX);
        let map = bpf::map_create(MapType::Hash, Some(token.as_raw_fd()));
        assert_eq!(map.err(), Some(Errno::PERM));
    };
    container::run_with(&Delegation::ANY, inside, |link| link.send_fd(&token));
}

fn creation_refused_by_lsm_leaves_nothing() {
    let _refuse = lsm::refuse_token_create(Errno::ACCESS);
    leaves_nothing(|instance| {
        assert_eq!(bpf::token_create(&instance.root).err(), Some(Errno::ACCESS));
    });
}

fn creation_and_close_leave_nothing() {
    leaves_nothing(|instance| drop(instance.token()));
}

fn leaves_nothing(part: impl Fn(&Instance)) {
    leak::look_for(|| (), || (), part).unwrap_or_else(|found| panic!("{found}"));
}
