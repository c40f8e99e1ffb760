// SPDX-License-Identifier: GPL-2.0

//! A token in another user namespace than its own, and in the hands of those that it was not made for.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use guest::container;
use guest::container::Delegation;
use guest::container::Instance;
use guest::process;
use guest::process::Link;
use libtest_mimic::Trial;
use rustix::io::Errno;
use rustix::mount;
use rustix::mount::UnmountFlags;
use rustix::process::Pid;
use rustix::process::PidfdFlags;
use rustix::process::PidfdGetfdFlags;
use rustix::thread::CapabilitySet;
use rustix::thread::LinkNameSpaceType;

use super::Commands;
use super::USER;
use crate::tests::tests;

pub fn tests() -> Vec<Trial> {
    tests![
        child,
        parent,
        sibling,
        initial,
        owner,
        taken_from_its_holder,
        left_in_a_socket,
    ]
}

/// Rule 5: a child namespace gives its root no capability in the token's, and no way back there.
fn child() {
    let commands = Commands::new();
    container::run(&Delegation::ANY, |instance| {
        let token = instance.token();
        commands.expect_granted("root of its own namespace", &token);
        let own = File::open("/proc/self/ns/user").expect("/proc/self/ns/user");
        container::enter_child();
        commands.expect_refused("root of a child", &token);
        let back =
            rustix::thread::move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::User));
        assert_eq!(back, Err(Errno::PERM));
    });
}

/// Gives `test`, as root of a container, the token of a child of the container's user namespace.
fn with_token_of_child(test: impl FnOnce(&OwnedFd)) {
    let inside = |manager: Link| {
        let nested = |link: Link| {
            container::enter_child();
            let instance = container::take_instance("bpf", &manager);
            link.send_fd(instance.token());
            link.wait_for_end();
        };
        process::run_beside(nested, |_, link| test(&link.recv_fd()));
    };
    container::two_sides(inside, |link| {
        container::give_instance(Delegation::ANY.options(), &link);
        link.wait_for_end();
    });
}

/// Rule 5: who has capabilities in the parent has them in the token's namespace, its owner has all, others have none.
fn parent() {
    let commands = Commands::new();
    with_token_of_child(|token| {
        commands.expect_granted("root of the parent", token);
        process::run(|| {
            process::drop_capabilities(CapabilitySet::all());
            commands.expect_granted("the owner, without capabilities", token);
        });
        process::run(|| {
            process::become_user(USER);
            commands.expect_refused("another user of the parent", token);
        });
    });
}

/// Rule 5: capabilities are judged by namespace: that two have one owner and one user as root is no matter.
fn sibling() {
    let commands = Commands::new();
    with_token_of_child(|token| {
        process::run(|| {
            container::enter_child();
            commands.expect_refused("root of a sibling", token);
        });
    });
}

fn token_of_a_container() -> OwnedFd {
    let send = |instance: Instance, link: Link| link.send_fd(instance.token());
    container::run_with(&Delegation::ANY, send, |link| link.recv_fd())
}

/// Rule 5: outside, root needs no token and others gain nothing by one, even the user that is root inside.
fn initial() {
    let commands = Commands::new();
    let token = token_of_a_container();
    let root_inside = rustix::fs::fstat(&token).expect("fstat").st_uid;
    commands.expect_granted("root", &token);
    for user in [USER, root_inside] {
        process::run(|| {
            process::become_user(user);
            commands.expect_refused(&format!("user {user}"), &token);
        });
    }
}

/// Rule 5: the owner of the token's namespace has every capability there, if it stands in the parent itself.
fn owner() {
    const OTHER: u32 = USER + 1;
    let commands = Commands::new();
    let rootless = |link: Link| {
        process::become_user(USER);
        container::enter_child();
        let instance = container::take_instance("bpf", &link);
        link.send_fd(instance.token());
        link.wait_for_end();
    };
    process::run_beside(rootless, |_, link| {
        container::give_instance(Delegation::ANY.options(), &link);
        let token = link.recv_fd();
        process::run(|| {
            process::become_user(USER);
            commands.expect_granted("the owner", &token);
            container::enter_child();
            commands.expect_refused("the owner, as root of another child", &token);
        });
        process::run(|| {
            process::become_user(OTHER);
            commands.expect_refused("another user", &token);
        });
    });
}

/// The descriptor number of the one token that a process has.
fn number_of_token(pid: Pid) -> RawFd {
    let directory = format!("/proc/{}/fd", pid.as_raw_nonzero());
    let mut descriptors = std::fs::read_dir(&directory).expect("the descriptors of a process");
    let token = descriptors.find_map(|entry| {
        let path = entry.expect("an entry").path();
        let name = std::fs::read_link(&path).ok()?;
        (name.to_str() == Some("/bpf-token (deleted)"))
            .then(|| path.file_name()?.to_str()?.parse().ok())
            .flatten()
    });
    token.unwrap_or_else(|| panic!("no token in {directory}"))
}

/// Rule 4: the holder decides who gets a token. It is as hard to take from it as its memory.
fn taken_from_its_holder() {
    let commands = Commands::new();
    container::run(&Delegation::ANY, |instance| {
        let hold = |link: Link| {
            let _token = instance.token();
            link.signal();
            link.wait_for_end();
        };
        process::run_beside(hold, |holder, link| {
            link.wait();
            let number = number_of_token(holder);
            let take = || {
                let pidfd = rustix::process::pidfd_open(holder, PidfdFlags::empty());
                let pidfd = pidfd.expect("pidfd_open");
                rustix::process::pidfd_getfd(&pidfd, number, PidfdGetfdFlags::empty())
            };
            let taken = take().expect("root of the same namespace may");
            commands.expect_granted("taken by root", &taken);
            process::run(|| {
                process::become_user(USER);
                assert_eq!(take().err(), Some(Errno::PERM), "another user");
            });
            process::run(|| {
                container::enter_child();
                assert_eq!(take().err(), Some(Errno::PERM), "root of a child");
            });
        });
    });
}

/// Rule 4: the token itself is all that is left of its creator, mount and namespace, and grants what it did.
fn left_in_a_socket() {
    let commands = Commands::new();
    let (near, far) = Link::pair();
    container::run(&Delegation::ANY, |instance| {
        let path = container::attach(&instance);
        let token = instance.token();
        drop(instance);
        mount::unmount(path, UnmountFlags::DETACH).expect("umount -l");
        far.send_fd(token);
    });
    drop(far);

    let token = near.recv_fd();
    process::run(|| {
        process::drop_capabilities(CapabilitySet::all());
        commands.expect_granted("the owner of the namespace, without capabilities", &token);
    });
    process::run(|| {
        process::become_user(USER);
        commands.expect_refused("another user", &token);
    });
}
