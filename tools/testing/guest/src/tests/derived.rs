// SPDX-License-Identifier: GPL-2.0

//! Section 10.2 of the design: a token made from a token.

use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;

use guest::bpf;
use guest::bpf::MapType;
use guest::bpf::Masks;
use guest::container;
use guest::container::Delegation;
use guest::container::Instance;
use guest::process;
use guest::process::Link;
use guest::restrict;
use guest::sys;
use guest::sys::Command;
use libtest_mimic::Trial;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mount;
use rustix::mount::UnmountFlags;
use rustix::thread::CapabilitySet;

use super::leak;
use super::tests;
use super::usage;
use crate::hooks::Hook;
use crate::hooks::Seen;
use crate::hooks::Watch;

/// Of the Rust kernel alone.
pub fn tests() -> Vec<Trial> {
    tests![
        narrower_at_each_step,
        never_more_than_the_source,
        needs_the_flag,
        of_the_same_instance,
        source_closed_before_use,
        instance_unmounted_before,
        from_another_user_namespace,
        by_root_of_the_parent,
        capability_needed,
        by_a_worker_without_a_bpf_fs,
        after_a_trip_through_another_namespace,
        descriptor_of_path,
        opened_again,
        modules_see_it,
        creation_and_close_leave_nothing,
        refused_creation_leaves_nothing,
    ]
}

fn derive(source: &OwnedFd, masks: Masks) -> OwnedFd {
    restrict::token(source, &masks).expect("a token")
}

fn narrower_at_each_step() {
    container::run(&Delegation::ANY, |instance| {
        let mut chain = vec![instance.token()];
        for step in 1..=16 {
            let source = chain.last().expect("the first is there");
            let masks = Masks::each(u64::MAX << (2 * step));
            chain.push(derive(source, masks));
        }
        for (step, token) in chain.iter().enumerate() {
            assert_eq!(
                bpf::masks(token),
                Masks::each(u64::MAX << (2 * step)),
                "{step}"
            );
        }
        let (hash, array) = (MapType::Hash, MapType::Array);
        let create = |step: usize, map_type| {
            bpf::map_create(map_type, Some(chain[step].as_raw_fd())).map(drop)
        };
        assert_eq!(create(0, hash), Ok(()));
        // From the first step on, there is no command 0.
        assert_eq!(create(1, array), Err(Errno::PERM));
    });
}

fn never_more_than_the_source() {
    let delegation = Delegation::of("any", "hash:array", "socket_filter", "any");
    container::run(&delegation, |instance| {
        let maps = 1 << MapType::Hash as u32;
        let source = derive(&instance.root, Masks { maps, ..Masks::ALL });
        let derived = derive(&source, Masks::ALL);
        assert_eq!(bpf::masks(&derived), bpf::masks(&source));
        let create = |map_type| bpf::map_create(map_type, Some(derived.as_raw_fd())).map(drop);
        assert_eq!(create(MapType::Hash), Ok(()));
        assert_eq!(
            create(MapType::Array),
            Err(Errno::PERM),
            "the instance has it"
        );
        assert_eq!(create(MapType::Ringbuf), Err(Errno::PERM));
        let others = Masks {
            maps: !maps,
            ..Masks::NONE
        };
        let nothing = restrict::token(&source, &others);
        assert_eq!(
            nothing.err(),
            Some(Errno::NOENT),
            "nothing that the source has"
        );
    });
}

fn needs_the_flag() {
    container::run(&Delegation::ANY, |instance| {
        let token = bpf::token_create(&instance.token());
        assert_eq!(token.err(), Some(Errno::INVAL));
    });
}

fn of_the_same_instance() {
    container::run(&Delegation::ANY, |instance| {
        let source = instance.token();
        let token = derive(&source, Masks::each(1));
        let stat = |fd: &OwnedFd| rustix::fs::fstat(fd).expect("fstat");
        let (of_token, of_source) = (stat(&token), stat(&source));
        assert_eq!(of_token.st_dev, of_source.st_dev);
        assert_ne!(of_token.st_ino, of_source.st_ino);
        assert_eq!(
            (of_token.st_mode, of_token.st_nlink),
            (of_source.st_mode, 0)
        );
        let name = std::fs::read_link(format!("/proc/self/fd/{}", token.as_raw_fd()));
        assert_eq!(
            name.expect("readlink").to_str(),
            Some("/bpf-token (deleted)")
        );
    });
}

fn source_closed_before_use() {
    let loaded = usage::LoadedBtf::new();
    let id = loaded.id();
    container::run(&Delegation::ANY, |instance| {
        let source = instance.token();
        let derived = derive(&source, Masks::ALL);
        drop(source);
        for command in usage::COMMANDS {
            let result = usage::attempt(command, id, Some(derived.as_raw_fd()));
            assert_eq!(result, Ok(()), "{command:?}");
        }
        derive(&derived, Masks::each(1));
    });
}

/// A token keeps its file system: one made from it does not need a mount that anybody sees.
fn instance_unmounted_before() {
    container::run(&Delegation::ANY, |instance| {
        let path = container::attach(&instance);
        let source = instance.token();
        drop(instance);
        mount::unmount(path, UnmountFlags::DETACH).expect("umount -l");
        let derived = derive(&source, Masks::ALL);
        drop(source);
        bpf::map_create(MapType::Hash, Some(derived.as_raw_fd())).expect("granted");
    });
}

fn refused(token: &OwnedFd, what: &str) {
    let derived = restrict::token(token, &Masks::ALL);
    assert_eq!(derived.err(), Some(Errno::PERM), "{what}");
}

fn from_another_user_namespace() {
    container::run(&Delegation::ANY, |instance| {
        let token = instance.token();
        process::run(|| {
            container::enter_child();
            refused(&token, "in a child");
        });
    });
    let send = |instance: Instance, link: Link| link.send_fd(instance.token());
    let token = container::run_with(&Delegation::ANY, send, |link| link.recv_fd());
    let inside = |_: Instance, link: Link| refused(&link.recv_fd(), "in a sibling");
    container::run_with(&Delegation::ANY, inside, |link| link.send_fd(&token));
}

/// Root outside has every capability in the token's namespace, and stands in another one.
fn by_root_of_the_parent() {
    let send = |instance: Instance, link: Link| link.send_fd(instance.token());
    let token = container::run_with(&Delegation::ANY, send, |link| link.recv_fd());
    refused(&token, "in the initial namespace");
}

/// CAP_SYS_ADMIN does not stand in for CAP_BPF, here as with a BPF FS.
fn capability_needed() {
    container::run(&Delegation::ANY, |instance| {
        let token = instance.token();
        process::run(|| {
            process::drop_capabilities(CapabilitySet::BPF);
            refused(&token, "all but CAP_BPF");
        });
        process::drop_capabilities(!CapabilitySet::BPF);
        derive(&token, Masks::ALL);
    });
}

/// What it is for: a supervisor gives a worker in its namespaces just what that needs, and the worker can get no more of
/// it, nor a token of its own.
fn by_a_worker_without_a_bpf_fs() {
    container::run(&Delegation::ANY, |instance| {
        let supervisor = instance.token();
        let masks = Masks {
            cmds: 1,
            maps: 1 << MapType::Array as u32,
            ..Masks::NONE
        };
        let worker = |link: Link| {
            let token = link.recv_fd();
            let create = |token: &OwnedFd, map_type| {
                bpf::map_create(map_type, Some(token.as_raw_fd())).map(drop)
            };
            let again = derive(&token, Masks::ALL);
            for token in [&token, &again] {
                assert_eq!(bpf::masks(token), masks);
                assert_eq!(create(token, MapType::Array), Ok(()));
                assert_eq!(create(token, MapType::Hash), Err(Errno::PERM));
            }
        };
        process::run_beside(worker, |_, link| link.send_fd(derive(&supervisor, masks)));
    });
}

/// A token that came back from another namespace is a source where it is at home, and only there.
fn after_a_trip_through_another_namespace() {
    let inside = |instance: Instance, link: Link| {
        link.send_fd(instance.token());
        let token = link.recv_fd();
        assert_eq!(bpf::masks(&derive(&token, Masks::each(6))), Masks::each(6));
    };
    container::run_with(&Delegation::ANY, inside, |link| {
        let token = link.recv_fd();
        refused(&token, "outside");
        link.send_fd(&token);
        link.wait_for_end();
    });
}

/// The hooks are called as for any token, with the masks of this one, and decide as over any.
fn modules_see_it() {
    let watch = Watch::start();
    container::run(&Delegation::ANY, |instance| {
        let userns = super::security::user_namespace();
        let source = instance.token();
        for (source, masks) in [(&instance.root, Masks::each(7)), (&source, Masks::each(3))] {
            watch.look_at(userns, None);
            let token = derive(source, masks);
            let once = |args| Seen {
                count: 1,
                args,
                masks,
            };
            assert_eq!(watch.seen(Hook::TokenCreate), once(1));
            bpf::map_create(MapType::Hash, Some(token.as_raw_fd())).expect("granted");
            assert_eq!(
                watch.seen(Hook::TokenCmd),
                once(1 << Command::MapCreate as u32)
            );
            assert_eq!(watch.seen(Hook::MapCreate), once(1));
            watch.look_at(userns, Some((Hook::TokenCreate, Errno::DOM)));
            let refused = restrict::token(source, &masks);
            assert_eq!(refused.err(), Some(Errno::DOM));
        }
    });
}

fn creation_and_close_leave_nothing() {
    let part = |instance: &Instance| {
        let source = instance.token();
        drop(derive(&source, Masks::each(1)));
        drop(derive(&instance.root, Masks::each(1)));
    };
    leak::look_for(|| (), || (), part).expect("nothing is left");
}

fn refused_creation_leaves_nothing() {
    let nothing = |instance: &Instance| {
        let source = instance.token();
        for source in [&source, &instance.root] {
            let token = restrict::token(source, &Masks::NONE);
            assert_eq!(token.err(), Some(Errno::NOENT));
        }
    };
    leak::look_for(|| (), || (), nothing).expect("nothing is left");
    let no_descriptor = |instance: &Instance| {
        let token = restrict::token(&instance.root, &Masks::ALL);
        assert_eq!(token.err(), Some(Errno::MFILE));
    };
    leak::look_for(process::exhaust_descriptors, || (), no_descriptor).expect("nothing is left");
}

fn proc_path(token: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", token.as_raw_fd())
}

fn descriptor_of_path() {
    container::run(&Delegation::ANY, |instance| {
        let token = instance.token();
        let path = rustix::fs::open(proc_path(&token), OFlags::PATH, Mode::empty());
        let derived = restrict::token(&path.expect("O_PATH"), &Masks::ALL);
        assert_eq!(derived.err(), Some(Errno::BADF));
        let attr = restrict::attr(restrict::BPF_F_TOKEN_RESTRICT, -1, &Masks::ALL);
        assert_eq!(
            sys::token_create(&attr).err(),
            Some(Errno::BADF),
            "not open"
        );
        let (pipe, _writer) = rustix::pipe::pipe().expect("pipe");
        let derived = restrict::token(&pipe, &Masks::ALL);
        assert_eq!(derived.err(), Some(Errno::INVAL), "a pipe");
    });
}

/// D6 holds for these, too.
fn opened_again() {
    container::run(&Delegation::ANY, |instance| {
        let token = derive(&instance.token(), Masks::each(1));
        let again = rustix::fs::open(proc_path(&token), OFlags::RDWR, Mode::empty());
        assert_eq!(again.err(), Some(Errno::NXIO));
    });
}
