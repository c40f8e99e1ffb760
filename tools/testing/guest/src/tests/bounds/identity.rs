// SPDX-License-Identifier: GPL-2.0

//! A token before and after its holder becomes somebody else: by system call, by a set-user-ID program, by dropping
//! capabilities.

use std::fs::Permissions;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use guest::container;
use guest::container::Delegation;
use guest::process;
use libtest_mimic::Trial;
use rustix::io::Errno;
use rustix::io::FdFlags;
use rustix::process::Uid;
use rustix::thread::CapabilitySet;

use super::Commands;
use super::USER;
use crate::tests::tests;

pub fn tests() -> Vec<Trial> {
    tests![
        change_of_ids,
        set_user_id_program,
        capabilities_dropped,
        capabilities_of_one_thread,
    ]
}

/// Rules 4 and 5: a token carries no task state: having made it counts for nothing once root is given up.
fn change_of_ids() {
    let commands = Commands::new();
    container::run(&Delegation::ANY, |instance| {
        let token = instance.token();
        let root = Uid::ROOT;
        let set_effective = |uid| {
            rustix::thread::set_thread_res_uid(root, uid, root).expect("setresuid");
        };
        set_effective(Uid::from_raw(USER));
        commands.expect_refused("another effective user", &token);
        set_effective(root);
        commands.expect_granted("root again", &token);
        process::become_user(USER);
        commands.expect_refused("root no more", &token);
    });
}

/// Rule 5: a token that an ordinary user brings serves a program that becomes root of the token's namespace by
/// set-user-ID, and no other: not one of root outside, not one under PR_SET_NO_NEW_PRIVS, not one whose bounding set
/// lacks the capabilities.
fn set_user_id_program() {
    const SET_USER_ID: u32 = 0o4755;
    let program = std::env::current_exe().expect("/proc/self/exe");
    let program = std::fs::read(program.with_file_name("use_token")).expect("use_token");
    let install = |path: &str, mode| {
        std::fs::write(path, &program).unwrap_or_else(|error| panic!("{path}: {error}"));
        std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("chmod");
    };
    process::run(|| {
        container::isolate_mounts();
        install("/tmp/of_root_outside", SET_USER_ID);
        container::run(&Delegation::ANY, |instance| {
            install("/tmp/ordinary", 0o755);
            install("/tmp/of_root", SET_USER_ID);
            let token = instance.token();
            rustix::io::fcntl_setfd(&token, FdFlags::empty()).expect("F_SETFD");
            let expect = |program: &str, expected: Option<Errno>| {
                let status = Command::new(program)
                    .arg(token.as_raw_fd().to_string())
                    .uid(USER)
                    .gid(USER)
                    .status()
                    .unwrap_or_else(|error| panic!("{program}: {error}"));
                let errno = expected.map_or(0, Errno::raw_os_error);
                assert_eq!(status.code(), Some(errno), "{program}");
            };
            expect("/tmp/ordinary", Some(Errno::PERM));
            expect("/tmp/of_root", None);
            expect("/tmp/of_root_outside", Some(Errno::PERM));
            process::run(|| {
                rustix::thread::set_no_new_privs(true).expect("PR_SET_NO_NEW_PRIVS");
                expect("/tmp/of_root", Some(Errno::PERM));
            });
            process::run(|| {
                for capability in [CapabilitySet::BPF, CapabilitySet::SYS_ADMIN] {
                    rustix::thread::remove_capability_from_bounding_set(capability)
                        .expect("PR_CAPBSET_DROP");
                }
                expect("/tmp/of_root", Some(Errno::PERM));
            });
        });
    });
}

/// Rule 5: capabilities are judged at every use: whoever drops them for good has dropped what the token stands for, and
/// nobody else has.
fn capabilities_dropped() {
    let commands = Commands::new();
    container::run(&Delegation::ANY, |instance| {
        let token = instance.token();
        process::run(|| {
            let mut sets = rustix::thread::capabilities(None).expect("capget");
            let before = sets;
            sets.permitted
                .remove(CapabilitySet::BPF | CapabilitySet::SYS_ADMIN);
            sets.effective &= sets.permitted;
            rustix::thread::set_capabilities(None, sets).expect("capset");
            commands.expect_refused("dropped", &token);
            let raised = rustix::thread::set_capabilities(None, before);
            assert_eq!(raised, Err(Errno::PERM));
        });
        commands.expect_granted("another process", &token);
    });
}

/// Rule 5: the capabilities of the thread count that makes the call.
fn capabilities_of_one_thread() {
    let commands = Commands::new();
    container::run(&Delegation::ANY, |instance| {
        let token = instance.token();
        let without = || {
            process::drop_capabilities(CapabilitySet::all());
            commands.expect_refused("a thread without capabilities", &token);
        };
        std::thread::scope(|scope| scope.spawn(without).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        commands.expect_granted("the other thread", &token);
    });
}
