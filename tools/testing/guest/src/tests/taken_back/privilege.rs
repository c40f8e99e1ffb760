// SPDX-License-Identifier: GPL-2.0

//! Who may change a delegation: who has CAP_SYS_ADMIN in the initial user namespace, when it sets the option as when it
//! reconfigures.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;

use guest::bpf;
use guest::bpf::MapType;
use guest::bpf::Masks;
use guest::container;
use guest::container::Delegation;
use guest::container::Instance;
use guest::context::Context;
use guest::managed;
use guest::process;
use libtest_mimic::Trial;
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::mount;
use rustix::mount::MountFlags;
use rustix::thread::CapabilitySet;
use rustix::thread::LinkNameSpaceType;

use super::DELEGATION;
use super::MASKS;
use crate::tests::tests;

pub fn tests() -> Vec<Trial> {
    tests![
        by_the_container,
        by_the_container_with_mount,
        read_only_by_the_container,
        as_it_is_by_the_container,
        by_the_manager_with_mount,
        by_the_manager_without_capability,
        option_of_the_container_applied_by_the_manager,
        nothing_named_by_the_container_applied_by_the_manager,
        option_of_the_manager_applied_by_the_container,
        option_of_the_manager_beside_one_of_the_container,
        one_context_twice,
        messages,
    ]
}

const MORE_AND_LESS: [(&str, &str); 12] = [
    ("delegate_cmds", "any"),
    ("delegate_cmds", "map_create"),
    ("delegate_cmds", "0"),
    ("delegate_maps", "any"),
    ("delegate_maps", "array"),
    ("delegate_maps", "0x0"),
    ("delegate_progs", "any"),
    ("delegate_progs", "0x2"),
    ("delegate_progs", "0"),
    ("delegate_attachs", "any"),
    ("delegate_attachs", "0x1"),
    ("delegate_attachs", "0"),
];

fn expect_unchanged(instance: &Instance, what: &str) {
    assert_eq!(bpf::masks(&instance.token()), MASKS, "{what}");
}

fn by_the_container() {
    container::run(&DELEGATION, |instance| {
        for option in MORE_AND_LESS {
            let result = managed::remount(&managed::pick(&instance.mount), &[option]);
            assert_eq!(result, Err(Errno::PERM), "{option:?}");
            expect_unchanged(&instance, option.0);
        }
    });
}

/// `mount -o remount,OPTIONS` by the system call.
fn mount_remount(path: &str, flags: MountFlags, options: &str) -> Result<(), Errno> {
    mount::mount_remount(path, flags, options)
}

fn by_the_container_with_mount() {
    container::run(&DELEGATION, |instance| {
        let path = container::attach(&instance);
        for (option, value) in MORE_AND_LESS {
            let options = format!("{option}={value}");
            let result = mount_remount(path, MountFlags::empty(), &options);
            assert_eq!(result, Err(Errno::PERM), "{options}");
            expect_unchanged(&instance, &options);
        }
    });
}

/// Nothing is named: as with C.
fn read_only_by_the_container() {
    container::run(&DELEGATION, |instance| {
        let path = container::attach(&instance);
        mount_remount(path, MountFlags::RDONLY, "").expect("mount -o remount,ro");
        let directory = rustix::fs::mkdirat(&instance.root, "directory", Mode::RWXU);
        assert_eq!(directory, Err(Errno::ROFS));
        mount_remount(path, MountFlags::empty(), "mode=0700").expect("mount -o remount,rw");
        expect_unchanged(&instance, "remount,ro");
        // mount(8) names all that is shown. As with C, who may not delegate may not name it.
        let shown = super::options::shown_at(path);
        let named = shown
            .split(',')
            .filter(|option| option.starts_with("delegate_"));
        let named: Vec<_> = named.collect();
        assert_eq!(named.len(), 4, "{shown}");
        let result = mount_remount(path, MountFlags::RDONLY, &named.join(","));
        assert_eq!(result, Err(Errno::PERM), "with all that is shown");
        expect_unchanged(&instance, "remount,ro with all that is shown");
    });
}

/// As with C, naming something is refused even where it is there already; naming nothing is not, where there is nothing.
fn as_it_is_by_the_container() {
    container::run(&DELEGATION, |instance| {
        for (option, mask) in MASKS.options() {
            let result = managed::remount(&managed::pick(&instance.mount), &[(option, &mask)]);
            assert_eq!(result, Err(Errno::PERM), "{option}={mask}");
            expect_unchanged(&instance, option);
        }
    });
    container::run(&Delegation::of("0x1", "", "", ""), |instance| {
        let remount =
            |options: &[(&str, &str)]| managed::remount(&managed::pick(&instance.mount), options);
        let nothing = ["delegate_maps", "delegate_progs", "delegate_attachs"].map(|it| (it, "0"));
        assert_eq!(remount(&nothing), Ok(()));
        assert_eq!(remount(&[("delegate_cmds", "0")]), Err(Errno::PERM));
        let token = instance.token();
        assert_eq!(
            bpf::masks(&token),
            Masks {
                cmds: 1,
                ..Masks::NONE
            }
        );
    });
}

/// In the container's mount namespace, with the manager's capabilities.
fn by_the_manager_with_mount() {
    let act = |namespace: OwnedFd| {
        process::run(|| {
            let kind = Some(LinkNameSpaceType::Mount);
            rustix::thread::move_into_link_name_space(namespace.as_fd(), kind).expect("setns");
            let options = "delegate_maps=array,delegate_maps=hash,delegate_progs=0";
            mount_remount("/tmp/bpf", MountFlags::empty(), options).expect("mount -o remount");
        });
        Ok(())
    };
    managed::run_with(
        &DELEGATION,
        |instance, manager| {
            container::attach(&instance);
            let token = instance.token();
            let own = File::open("/proc/self/ns/mnt").expect("/proc/self/ns/mnt");
            assert_eq!(manager.act(own), Ok(()));
            let expected = Masks {
                maps: 0x2,
                progs: 0,
                ..MASKS
            };
            assert_eq!(bpf::masks(&token), expected);
            assert_eq!(bpf::masks(&instance.token()), expected);
        },
        act,
    );
}

/// Root outside that has dropped CAP_SYS_ADMIN can't, though it owns the container's namespace.
fn by_the_manager_without_capability() {
    let act = |mount: OwnedFd| {
        let context = managed::pick(&mount);
        process::with_capabilities(!CapabilitySet::SYS_ADMIN, || {
            managed::remount(&context, &[("delegate_maps", "array")])
        })
    };
    managed::run_with(
        &DELEGATION,
        |instance, manager| {
            assert_eq!(manager.act(&instance.mount), Err(Errno::PERM));
            expect_unchanged(&instance, "without CAP_SYS_ADMIN");
        },
        act,
    );
}

/// A confused deputy: the manager reconfigures with a context that the container has set options on.
fn option_of_the_container_applied_by_the_manager() {
    managed::run(&DELEGATION, |instance, manager| {
        for (option, value) in MORE_AND_LESS {
            let context = managed::pick(&instance.mount);
            let set = context.set(option, value);
            let applied = manager.reconfigure(&context);
            // It is refused at once, or at the end.
            let refused = [set, applied].contains(&Err(Errno::PERM));
            assert!(refused, "{option}={value}: {set:?}, {applied:?}");
            expect_unchanged(&instance, option);
        }
    });
}

/// Nor with one on which the container has named nothing, when there was nothing: it does not take away what came since.
fn nothing_named_by_the_container_applied_by_the_manager() {
    managed::run(&Delegation::of("0x1", "", "", ""), |instance, manager| {
        let context = managed::pick(&instance.mount);
        assert_eq!(context.set("delegate_maps", "0"), Ok(()));
        assert_eq!(
            manager.remount(&instance, &[("delegate_maps", "any")]),
            Ok(())
        );
        assert_eq!(manager.reconfigure(&context), Ok(()));
        assert_eq!(bpf::masks(&instance.token()).maps, u64::MAX);
    });
}

fn option_of_the_manager_applied_by_the_container() {
    managed::run(&DELEGATION, |instance, manager| {
        for option in MORE_AND_LESS {
            let context = managed::pick(&instance.mount);
            assert_eq!(manager.set(&context, &[option]), Ok(()), "{option:?}");
            assert_eq!(context.reconfigure(), Err(Errno::PERM), "{option:?}");
            expect_unchanged(&instance, option.0);
        }
    });
}

/// What the container has added to the manager's words is not applied with them.
fn option_of_the_manager_beside_one_of_the_container() {
    managed::run(&DELEGATION, |instance, manager| {
        for (first, second) in [
            (("delegate_maps", "hash"), ("delegate_maps", "array")),
            (("delegate_maps", "hash"), ("delegate_maps", "any")),
            (("delegate_maps", "hash"), ("delegate_progs", "any")),
        ] {
            for container_first in [false, true] {
                let context = managed::pick(&instance.mount);
                let by_container = || context.set(second.0, second.1);
                let mut set = container_first.then(by_container);
                assert_eq!(manager.set(&context, &[first]), Ok(()), "{first:?}");
                set = set.or_else(|| Some(by_container()));
                let applied = manager.reconfigure(&context);
                let masks = bpf::masks(&instance.token());
                let only_the_managers = Masks { maps: 0x2, ..MASKS };
                match applied {
                    // The container was refused at once, or its word was replaced by the manager's.
                    Ok(()) => {
                        assert_eq!(masks, only_the_managers, "{first:?}, {second:?}: {set:?}")
                    }
                    Err(errno) => assert_eq!((errno, masks), (Errno::PERM, MASKS)),
                }
                let maps = format!("{:#x}", MASKS.maps);
                let back = manager.remount(&instance, &[("delegate_maps", &maps)]);
                assert_eq!(back, Ok(()));
            }
        }
    });
}

/// After `FSCONFIG_CMD_RECONFIGURE` a context can be used again, for what is set on it from then on.
fn one_context_twice() {
    managed::run(&DELEGATION, |instance, manager| {
        let token = instance.token();
        let context = managed::pick(&instance.mount);
        assert_eq!(manager.set(&context, &[("delegate_maps", "hash")]), Ok(()));
        assert_eq!(manager.reconfigure(&context), Ok(()));
        assert_eq!(bpf::masks(&token).maps, 0x2);
        // What another context does in between is not undone by this one.
        assert_eq!(
            manager.remount(&instance, &[("delegate_cmds", "0x1")]),
            Ok(())
        );
        assert_eq!(manager.set(&context, &[("delegate_progs", "0x2")]), Ok(()));
        assert_eq!(manager.reconfigure(&context), Ok(()));
        let expected = Masks {
            cmds: 0x1,
            maps: 0x2,
            progs: 0x2,
            ..MASKS
        };
        assert_eq!(bpf::masks(&token), expected);
        let map = bpf::map_create(MapType::Hash, Some(token.as_raw_fd()));
        assert!(map.is_ok(), "{map:?}");
    });
}

fn expect_message(context: &Context, expected: &str) {
    let mut messages = std::iter::from_fn(|| context.message());
    let found = messages.any(|message| message.trim_end() == format!("e bpf: {expected}"));
    assert!(found, "no message says: {expected}");
}

fn messages() {
    let delegation = Delegation::of("0x1", "array", "", "");
    managed::run(&delegation, |instance, manager| {
        for option in [
            "delegate_cmds",
            "delegate_maps",
            "delegate_progs",
            "delegate_attachs",
        ] {
            let context = managed::pick(&instance.mount);
            let result = managed::remount(&context, &[(option, "any")]);
            assert_eq!(result, Err(Errno::PERM));
            let expected =
                format!("{option}: to delegate needs CAP_SYS_ADMIN in the initial user namespace");
            expect_message(&context, &expected);

            let context = managed::pick(&instance.mount);
            assert_eq!(manager.set(&context, &[(option, "any")]), Ok(()));
            assert_eq!(context.reconfigure(), Err(Errno::PERM));
            expect_message(&context, &expected);
        }
    });
}
