// SPDX-License-Identifier: GPL-2.0

//! Section 10.1 of the design: tokens that permit less than their BPF FS delegates.

use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;

use guest::bpf;
use guest::bpf::MapType;
use guest::bpf::Masks;
use guest::bpf::ProgType;
use guest::container;
use guest::container::Delegation;
use guest::container::Instance;
use guest::kernel;
use guest::managed;
use guest::process;
use guest::process::Link;
use guest::restrict;
use guest::restrict::BPF_F_TOKEN_RESTRICT;
use guest::sys;
use guest::sys::Command;
use libtest_mimic::Trial;
use rustix::fs::AtFlags;
use rustix::io::Errno;
use rustix::thread::CapabilitySet;

use super::tests;
use super::usage;
use crate::lsm;

/// Of the Rust kernel alone.
pub fn tests() -> Vec<Trial> {
    tests![
        intersection_of_each_mask,
        permits_no_more_in_use,
        nothing_left,
        fields_may_be_cut_short,
        attr_may_be_longer,
        a_token_like_any_other,
        order_of_checks,
        source_goes_on_as_before,
    ]
}

/// Of every kernel: C knows neither the flag nor the fields.
pub fn tests_of_both() -> Vec<Trial> {
    tests![unknown_flags, fields_without_flag, bytes_behind_the_fields]
}

/// A source with something of everything, and not all of anything.
const MASKS: Masks = Masks {
    cmds: 0xc0021,
    maps: 0x0800_0006,
    progs: 0x8000_0000_0000_0042,
    attachs: 0x20_0000_0001,
};
const DELEGATION: Delegation<'_> =
    Delegation::of("0xc0021", "0x8000006", "0x8000000000000042", "0x2000000001");

fn intersection_of_each_mask() {
    container::run(&DELEGATION, |instance| {
        let cases = [
            Masks::ALL,
            MASKS,
            Masks::each(1),
            Masks::each(!1),
            Masks::each(1 << 63),
            Masks::each(0x0f0f_0f0f_0f0f_0f0f),
            Masks {
                cmds: 0,
                ..Masks::ALL
            },
            Masks {
                maps: 0,
                ..Masks::ALL
            },
            Masks {
                progs: 0,
                ..Masks::ALL
            },
            Masks {
                attachs: 0,
                ..Masks::ALL
            },
            Masks {
                cmds: 0x20,
                ..Masks::NONE
            },
            Masks {
                maps: 0x4,
                ..Masks::NONE
            },
            Masks {
                progs: 0x2,
                ..Masks::NONE
            },
            Masks {
                attachs: 0x1,
                ..Masks::NONE
            },
        ];
        for wanted in cases {
            let token = restrict::token(&instance.root, &wanted)
                .unwrap_or_else(|errno| panic!("{wanted:x?}: {errno}"));
            assert_eq!(bpf::masks(&token), wanted & MASKS, "{wanted:x?}");
        }
        let token = restrict::token(&instance.root, &Masks::each(0x21)).expect("a token");
        let shown = ["cmds:\t0x21", "maps:\t0x0", "progs:\t0x0", "attachs:\t0x1"];
        assert_eq!(
            restrict::fdinfo(&token),
            shown.map(|line| format!("allowed_{line}"))
        );
    });
}

/// The masks that permit all of `command` but one thing, and what is then refused.
fn permits_no_more_in_use() {
    let loaded = usage::LoadedBtf::new();
    let id = loaded.id();
    container::run(&Delegation::ANY, |instance| {
        let restricted = |masks| restrict::token(&instance.root, &masks).expect("a token");
        for left_out in usage::COMMANDS {
            let cmds = !(1 << left_out as u32);
            let token = restricted(Masks { cmds, ..Masks::ALL });
            for command in usage::COMMANDS {
                let expected = if command == left_out {
                    Err(Errno::PERM)
                } else {
                    Ok(())
                };
                let result = usage::attempt(command, id, Some(token.as_raw_fd()));
                assert_eq!(result, expected, "{command:?} without {left_out:?}");
            }
        }
        let expect = |token: &OwnedFd, command, expected: Result<(), Errno>, what: &str| {
            let result = usage::attempt(command, id, Some(token.as_raw_fd()));
            assert_eq!(result, expected, "{command:?} without {what}");
        };
        let maps = !(1 << MapType::Hash as u32);
        let token = restricted(Masks { maps, ..Masks::ALL });
        expect(&token, Command::MapCreate, Err(Errno::PERM), "hash");
        expect(&token, Command::ProgLoad, Ok(()), "hash");
        bpf::map_create(MapType::Array, Some(token.as_raw_fd())).expect("granted");
        let progs = !(1 << ProgType::SocketFilter as u32);
        let token = restricted(Masks {
            progs,
            ..Masks::ALL
        });
        expect(&token, Command::ProgLoad, Err(Errno::PERM), "socket_filter");
        expect(&token, Command::MapCreate, Ok(()), "socket_filter");
        let token = restricted(Masks {
            attachs: !1,
            ..Masks::ALL
        });
        expect(&token, Command::ProgLoad, Err(Errno::PERM), "attach type 0");
        expect(&token, Command::BtfLoad, Ok(()), "attach type 0");
    });
}

fn nothing_left() {
    container::run(&DELEGATION, |instance| {
        for wanted in [
            Masks::NONE,
            Masks {
                cmds: !MASKS.cmds,
                maps: !MASKS.maps,
                progs: !MASKS.progs,
                attachs: !MASKS.attachs,
            },
        ] {
            let token = restrict::token(&instance.root, &wanted);
            assert_eq!(token.err(), Some(Errno::NOENT), "{wanted:x?}");
        }
    });
    container::run(&Delegation::NOTHING, |instance| {
        let token = restrict::token(&instance.root, &Masks::ALL);
        assert_eq!(token.err(), Some(Errno::NOENT), "of nothing");
    });
}

/// What is not passed is zero, as with every command.
fn fields_may_be_cut_short() {
    container::run(&DELEGATION, |instance| {
        let whole = restrict::attr(BPF_F_TOKEN_RESTRICT, instance.root.as_raw_fd(), &Masks::ALL);
        for len in [9, 12, 15, 16, 20, 24, 31, 32, 39, 40] {
            let mut wanted = [0_u8; 32];
            wanted[..len - 8].fill(0xff);
            let word = |n: usize| u64::from_ne_bytes(wanted[8 * n..][..8].try_into().expect("8"));
            let wanted = Masks::from([0, 1, 2, 3].map(word));
            let token = sys::token_create(&whole[..len]);
            let masks = token.map(|token| bpf::masks(&token));
            assert_eq!(masks, Ok(wanted & MASKS), "{len} bytes");
        }
        let none = sys::token_create(&whole[..8]);
        assert_eq!(none.err(), Some(Errno::NOENT), "8 bytes");
    });
}

fn attr_may_be_longer() {
    container::run(&DELEGATION, |instance| {
        let root = instance.root.as_raw_fd();
        let mut attr = restrict::attr(BPF_F_TOKEN_RESTRICT, root, &Masks::each(1)).to_vec();
        for len in [44, 64, 256, 4096] {
            attr.resize(len, 0);
            let token = sys::token_create(&attr);
            let token = token.unwrap_or_else(|errno| panic!("{len} bytes: {errno}"));
            assert_eq!(bpf::masks(&token), Masks::each(1) & MASKS);
        }
    });
}

fn a_token_like_any_other() {
    container::run(&Delegation::ANY, |instance| {
        let plain = rustix::fs::fstat(instance.token()).expect("fstat");
        let token = restrict::token(&instance.root, &Masks::each(1)).expect("a token");
        let name = std::fs::read_link(format!("/proc/self/fd/{}", token.as_raw_fd()));
        assert_eq!(
            name.expect("readlink").to_str(),
            Some("/bpf-token (deleted)")
        );
        let stat = rustix::fs::statat(&token, "", AtFlags::EMPTY_PATH).expect("stat");
        assert_eq!(
            (stat.st_mode, stat.st_nlink, stat.st_dev, stat.st_uid),
            (plain.st_mode, plain.st_nlink, plain.st_dev, plain.st_uid)
        );
        let flags = rustix::io::fcntl_getfd(&token);
        assert_eq!(flags, Ok(rustix::io::FdFlags::CLOEXEC));
    });
}

/// What restriction leaves counts as what is delegated: it is looked at after the caller, and before what makes the file.
fn order_of_checks() {
    let none = Masks::NONE;
    let expect = |root: &OwnedFd, masks: &Masks, errno: Errno, what: &str| {
        assert_eq!(restrict::token(root, masks).err(), Some(errno), "{what}");
    };
    container::run(&Delegation::ANY, |instance| {
        let token = instance.token();
        process::run(|| {
            process::drop_capabilities(CapabilitySet::BPF);
            for source in [&instance.root, &token] {
                expect(source, &none, Errno::PERM, "without CAP_BPF");
                expect(source, &Masks::ALL, Errno::PERM, "without CAP_BPF");
            }
        });
        process::run(|| {
            process::exhaust_descriptors();
            for source in [&instance.root, &token] {
                expect(source, &none, Errno::NOENT, "nothing, and no descriptor");
                expect(source, &Masks::ALL, Errno::MFILE, "no descriptor");
            }
        });
        process::run(|| {
            container::enter_child();
            for source in [&instance.root, &token] {
                expect(source, &none, Errno::PERM, "in a child namespace");
                expect(source, &Masks::ALL, Errno::PERM, "in a child namespace");
            }
        });
    });
    let refused = lsm::refuse_token_create(Errno::DOM);
    container::run(&Delegation::ANY, |instance| {
        expect(&instance.root, &none, Errno::NOENT, "nothing, and a module");
        expect(&instance.root, &Masks::ALL, Errno::DOM, "a module");
    });
    drop(refused);
    let own = Instance::new("bpf", &Delegation::ANY);
    expect(&own.root, &none, Errno::OPNOTSUPP, "the initial namespace");
    expect(
        &own.root,
        &Masks::ALL,
        Errno::OPNOTSUPP,
        "the initial namespace",
    );
    let send = |instance: Instance, link: Link| {
        link.send_fd(&instance.root);
        link.wait_for_end();
    };
    container::run_with(&Delegation::ANY, send, |link| {
        expect(&link.recv_fd(), &none, Errno::PERM, "of a container");
    });
}

/// Neither the instance nor its other tokens are any narrower afterwards.
fn source_goes_on_as_before() {
    managed::run(&DELEGATION, |instance, _| {
        let before = instance.token();
        let token = restrict::token(&instance.root, &Masks::each(0x2)).expect("a token");
        for other in [&before, &instance.token()] {
            assert_eq!(bpf::masks(other), MASKS);
        }
        drop(before);
        assert_eq!(bpf::masks(&token), Masks::each(0x2) & MASKS);
    });
}

fn each_source(test: impl Fn(&OwnedFd, &str)) {
    container::run(&Delegation::ANY, |instance| {
        test(&instance.root, "a BPF FS");
        test(&instance.token(), "a token");
    });
}

/// Flags that are not known are refused, whatever else is right or wrong.
fn unknown_flags() {
    each_source(|source, what| {
        for bit in 0..32 {
            let flags = 1_u32 << bit;
            if flags == BPF_F_TOKEN_RESTRICT && kernel::explains() {
                continue;
            }
            for flags in [flags, flags | BPF_F_TOKEN_RESTRICT] {
                for masks in [Masks::NONE, Masks::ALL] {
                    let attr = restrict::attr(flags, source.as_raw_fd(), &masks);
                    let token = sys::token_create(&attr);
                    assert_eq!(token.err(), Some(Errno::INVAL), "{flags:#x} with {what}");
                }
                let attr = restrict::attr(flags, -1, &Masks::ALL);
                assert_eq!(
                    sys::token_create(&attr).err(),
                    Some(Errno::INVAL),
                    "{flags:#x}"
                );
            }
        }
    });
}

/// Each byte of the fields must be zero then.
fn fields_without_flag() {
    each_source(|source, what| {
        for at in 8..40 {
            for fd in [source.as_raw_fd(), -1] {
                let mut attr = restrict::attr(0, fd, &Masks::NONE);
                attr[at] = 0x10;
                let token = sys::token_create(&attr);
                assert_eq!(token.err(), Some(Errno::INVAL), "byte {at} with {what}");
            }
        }
    });
}

fn bytes_behind_the_fields() {
    each_source(|source, what| {
        for flags in [0, BPF_F_TOKEN_RESTRICT] {
            for at in 40..48 {
                let mut attr = restrict::attr(flags, source.as_raw_fd(), &Masks::NONE).to_vec();
                attr.resize(48, 0);
                attr[at] = 1;
                let token = sys::token_create(&attr);
                assert_eq!(token.err(), Some(Errno::INVAL), "byte {at} with {what}");
                attr[4..8].copy_from_slice(&(-1_i32).to_ne_bytes());
                let token = sys::token_create(&attr);
                assert_eq!(token.err(), Some(Errno::INVAL), "byte {at}, not open");
            }
        }
    });
}
