// SPDX-License-Identifier: GPL-2.0

//! Section 10.3 of the design: a delegation that the manager takes back, or gives again, by a remount.

mod options;
mod privilege;

use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;

use guest::bpf;
use guest::bpf::MapType;
use guest::bpf::Masks;
use guest::bpf::ProgType;
use guest::container::Delegation;
use guest::container::Instance;
use guest::filter;
use guest::managed;
use guest::managed::Manager;
use guest::restrict;
use guest::struct_ops;
use guest::sys::Command;
use libtest_mimic::Trial;
use rustix::io::Errno;

use super::tests;
use super::usage;
use super::usage::LoadedBtf;

/// Of the Rust kernel alone.
pub fn tests() -> Vec<Trial> {
    let mut trials = tests![
        each_mask_by_its_name,
        all_tokens_of_the_instance,
        tokens_of_other_instances,
        each_command,
        types_of_a_command,
        everything,
        given_again,
        never_more_than_the_token_has,
        what_was_made_stays,
    ];
    trials.extend(options::tests());
    trials.extend(privilege::tests());
    trials
}

const MASKS: Masks = Masks {
    cmds: 0xc0021,
    maps: 0x0800_0006,
    progs: 0x42,
    attachs: 0x20_0000_0001,
};
const DELEGATION: Delegation<'_> = Delegation::of("0xc0021", "0x8000006", "0x42", "0x2000000001");

fn remount(manager: &Manager, instance: &Instance, options: &[(&str, &str)]) {
    let result = manager.remount(instance, options);
    assert_eq!(result, Ok(()), "{options:?}");
}

/// Rule 3: who has a token of the delegation that is now in force.
fn each_mask_by_its_name() {
    managed::run(&DELEGATION, |instance, manager| {
        let before = instance.token();
        let mut expected = MASKS;
        type Mask = fn(&mut Masks) -> &mut u64;
        let steps: [(&str, &str, u64, Mask); 5] = [
            ("delegate_cmds", "map_create:prog_load", 0x21, |it| {
                &mut it.cmds
            }),
            ("delegate_maps", "array", 0x4, |it| &mut it.maps),
            ("delegate_progs", "0x2", 0x2, |it| &mut it.progs),
            ("delegate_attachs", "xdp", 1 << 37, |it| &mut it.attachs),
            ("delegate_maps", "0", 0, |it| &mut it.maps),
        ];
        for (option, value, mask, place) in steps {
            remount(manager, &instance, &[(option, value)]);
            *place(&mut expected) = mask;
            assert_eq!(
                bpf::masks(&before),
                expected,
                "from before {option}={value}"
            );
            let after = instance.token();
            assert_eq!(bpf::masks(&after), expected, "from after {option}={value}");
        }
    });
}

/// Without any of them being found or closed: the plain ones, the restricted ones, the ones made from tokens.
fn all_tokens_of_the_instance() {
    managed::run(&Delegation::ANY, |instance, manager| {
        let mut tokens = vec![instance.token(), instance.token()];
        let restricted = |source: &OwnedFd| restrict::token(source, &Masks::each(0x27));
        tokens.push(restricted(&instance.root).expect("a token"));
        tokens.push(restricted(&tokens[0]).expect("a token"));
        tokens.push(restricted(&tokens[3]).expect("a token"));
        let create =
            |token: &OwnedFd| bpf::map_create(MapType::Hash, Some(token.as_raw_fd())).map(drop);
        for token in &tokens {
            assert_eq!(create(token), Ok(()));
        }
        remount(manager, &instance, &[("delegate_maps", "array")]);
        for (index, token) in tokens.iter().enumerate() {
            assert_eq!(create(token), Err(Errno::PERM), "token {index}");
            assert_eq!(bpf::masks(token).maps, 0x4, "token {index}");
            let array = bpf::map_create(MapType::Array, Some(token.as_raw_fd()));
            assert!(array.is_ok(), "token {index}: {array:?}");
        }
        let late = restricted(&tokens[4]).expect("a token");
        assert_eq!(
            bpf::masks(&late),
            Masks {
                maps: 0x4,
                ..Masks::each(0x27)
            }
        );
    });
}

fn tokens_of_other_instances() {
    managed::run(&Delegation::ANY, |instance, manager| {
        let other = manager.instance(&[("delegate_cmds", "any"), ("delegate_maps", "any")]);
        let (token, of_other) = (instance.token(), other.token());
        remount(manager, &instance, &[("delegate_cmds", "0")]);
        let create = |token: &OwnedFd| bpf::map_create(MapType::Hash, Some(token.as_raw_fd()));
        assert_eq!(create(&token).err(), Some(Errno::PERM));
        create(&of_other).expect("granted");
        assert_eq!(bpf::masks(&of_other).cmds, u64::MAX);
        create(&other.token()).expect("granted");
    });
}

fn each_command() {
    let loaded = LoadedBtf::new();
    let id = loaded.id();
    managed::run(&Delegation::ANY, |instance, manager| {
        let token = instance.token();
        for taken in usage::COMMANDS {
            let cmds = format!("{:#x}", !(1_u64 << taken as u32));
            remount(manager, &instance, &[("delegate_cmds", &cmds)]);
            for command in usage::COMMANDS {
                let expected = if command == taken {
                    Err(Errno::PERM)
                } else {
                    Ok(())
                };
                let result = usage::attempt(command, id, Some(token.as_raw_fd()));
                assert_eq!(result, expected, "{command:?} without {taken:?}");
            }
        }
    });
}

fn types_of_a_command() {
    managed::run(&Delegation::ANY, |instance, manager| {
        let token = instance.token();
        let load = || usage::attempt(Command::ProgLoad, 0, Some(token.as_raw_fd()));
        let progs = format!("{:#x}", !(1_u64 << ProgType::SocketFilter as u32));
        for (option, value) in [
            ("delegate_progs", progs.as_str()),
            ("delegate_attachs", "xdp"),
        ] {
            assert_eq!(load(), Ok(()), "before {option}={value}");
            remount(manager, &instance, &[(option, value)]);
            assert_eq!(load(), Err(Errno::PERM), "{option}={value}");
            remount(manager, &instance, &[(option, "any")]);
        }
        assert_eq!(load(), Ok(()), "given again");
    });
}

const NOTHING: [(&str, &str); 4] = [
    ("delegate_cmds", "0x0"),
    ("delegate_maps", "0x0"),
    ("delegate_progs", "0x0"),
    ("delegate_attachs", "0x0"),
];

fn everything() {
    let loaded = LoadedBtf::new();
    let id = loaded.id();
    managed::run(&Delegation::ANY, |instance, manager| {
        let token = instance.token();
        remount(manager, &instance, &NOTHING);
        assert_eq!(bpf::masks(&token), Masks::NONE);
        let shown = ["cmds", "maps", "progs", "attachs"].map(|it| format!("allowed_{it}:\t0x0"));
        assert_eq!(restrict::fdinfo(&token), shown);
        for command in usage::COMMANDS {
            let result = usage::attempt(command, id, Some(token.as_raw_fd()));
            assert_eq!(result, Err(Errno::PERM), "{command:?}");
        }
        for token in [
            bpf::token_create(&instance.root),
            restrict::token(&instance.root, &Masks::ALL),
            restrict::token(&token, &Masks::ALL),
        ] {
            assert_eq!(token.err(), Some(Errno::NOENT));
        }
    });
}

/// It is the manager's to give it again, also what there was no delegation of before.
fn given_again() {
    managed::run(
        &Delegation::of("any", "array", "", ""),
        |instance, manager| {
            let token = instance.token();
            remount(manager, &instance, &NOTHING);
            remount(
                manager,
                &instance,
                &[("delegate_cmds", "any"), ("delegate_maps", "array")],
            );
            assert_eq!(bpf::masks(&token).maps, 0x4);
            bpf::map_create(MapType::Array, Some(token.as_raw_fd())).expect("granted");
            remount(
                manager,
                &instance,
                &[("delegate_maps", "any"), ("delegate_progs", "any")],
            );
            let wide = instance.token();
            let all_but_attachs = Masks {
                attachs: 0,
                ..Masks::ALL
            };
            assert_eq!(bpf::masks(&wide), all_but_attachs, "a new token");
        },
    );
}

fn never_more_than_the_token_has() {
    managed::run(
        &Delegation::of("0x1", "0x4", "", ""),
        |instance, manager| {
            let plain = instance.token();
            let all = NOTHING.map(|(option, _)| (option, "any"));
            remount(manager, &instance, &all);
            let narrow = restrict::token(&instance.root, &Masks::each(0x3)).expect("a token");
            remount(manager, &instance, &NOTHING);
            remount(manager, &instance, &all);
            let expected = Masks {
                cmds: 0x1,
                maps: 0x4,
                ..Masks::NONE
            };
            assert_eq!(bpf::masks(&plain), expected, "made when there was less");
            assert_eq!(bpf::masks(&narrow), Masks::each(0x3), "restricted");
            let create = |token: &OwnedFd, map_type| {
                bpf::map_create(map_type, Some(token.as_raw_fd())).map(drop)
            };
            assert_eq!(create(&plain, MapType::Array), Ok(()));
            assert_eq!(create(&plain, MapType::Hash), Err(Errno::PERM));
            assert_eq!(create(&narrow, MapType::Hash), Ok(()));
            assert_eq!(create(&narrow, MapType::Array), Err(Errno::PERM));
        },
    );
}

/// A program that was loaded runs on, and is attached where it was not; a map goes on; BTF can be referred to.
fn what_was_made_stays() {
    managed::run(&Delegation::ANY, |instance, manager| {
        let token = instance.token();
        let fd = Some(token.as_raw_fd());
        let prog = bpf::prog_load(&usage::SOCKET_FILTER(), fd).expect("granted");
        let map = bpf::map_create(MapType::Hash, fd).expect("granted");
        struct_ops::update(&map, &1_u32.to_ne_bytes()).expect("a map");
        let filtered = filter::Filtered::by(&prog);
        assert!(filtered.drops(), "the program drops everything");

        remount(manager, &instance, &NOTHING);
        assert_eq!(
            bpf::prog_load(&usage::SOCKET_FILTER(), fd).err(),
            Some(Errno::PERM)
        );
        assert!(filtered.drops(), "still");
        assert!(filter::Filtered::by(&prog).drops(), "attached afterwards");
        struct_ops::update(&map, &2_u32.to_ne_bytes()).expect("a map");
        drop(token);
        drop(instance);
        assert!(filtered.drops(), "without the token");
    });
}
