// SPDX-License-Identifier: GPL-2.0

//! Section 10.4 of the design: the number by which a policy knows whom a token was given to.

use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;

use guest::bpf;
use guest::bpf::Masks;
use guest::container;
use guest::container::Delegation;
use guest::container::Instance;
use guest::context::Context;
use guest::kernel;
use guest::managed;
use guest::restrict;
use libtest_mimic::Trial;
use rustix::io::Errno;
use rustix::mount;
use rustix::mount::MountFlags;

use super::display;
use super::tests;

/// Of the Rust kernel alone.
pub fn tests() -> Vec<Trial> {
    tests![
        values,
        malformed,
        last_value_counts,
        shown_by_mounts,
        of_tokens,
        delegates_nothing,
        info_of_each_length,
        info_at_bad_address,
        privilege_needed,
        container_cannot_change_it_before_the_mount,
        remount_cannot_change_it,
    ]
}

/// Of every kernel.
pub fn tests_of_both() -> Vec<Trial> {
    tests![unknown_to_c]
}

const OPTION: &str = "delegate_cookie";

fn cookie_of(value: &str) -> Delegation<'_> {
    Delegation::ANY.with_cookie(value)
}

/// C ignores the option, as any that it does not know, and has no field for it.
fn unknown_to_c() {
    container::run(&cookie_of("7"), |instance| {
        let token = instance.token();
        let mut info = [0; 40];
        let known = if kernel::explains() { 40 } else { 32 };
        assert_eq!(bpf::info_by_fd(&token, &mut info), Ok(known));
        assert_eq!(info[32], if kernel::explains() { 7 } else { 0 });
        let cookies = restrict::fdinfo(&token)
            .into_iter()
            .filter(|line| line.contains("cookie"));
        assert_eq!(cookies.count(), usize::from(kernel::explains()));
    });
    container::run(&Delegation::ANY, |_| {
        let expected = if kernel::explains() {
            Err(Errno::PERM)
        } else {
            Ok(())
        };
        assert_eq!(Context::of_bpffs().set(OPTION, "7"), expected);
    });
}

fn values() {
    for (value, cookie) in [
        ("0", 0),
        ("7", 7),
        ("0x7", 7),
        ("0XfF", 255),
        ("017", 15),
        ("18446744073709551615", u64::MAX),
        ("0xffffffffffffffff", u64::MAX),
        ("01777777777777777777777", u64::MAX),
        ("0x8000000000000000", 1 << 63),
    ] {
        container::run(&cookie_of(value), |instance| {
            assert_eq!(restrict::cookie(&instance.token()), cookie, "{value}");
        });
    }
}

fn malformed() {
    let context = Context::of_bpffs();
    for (value, errno) in [
        ("", Errno::INVAL),
        ("any", Errno::INVAL),
        ("seven", Errno::INVAL),
        ("-1", Errno::INVAL),
        ("0x", Errno::INVAL),
        ("08", Errno::INVAL),
        ("7:8", Errno::INVAL),
        ("7 ", Errno::INVAL),
        (" 7", Errno::INVAL),
        ("18446744073709551616", Errno::RANGE),
        ("0x10000000000000000", Errno::RANGE),
    ] {
        assert_eq!(context.set(OPTION, value), Err(errno), "{value:?}");
        let message = context.message().unwrap_or_default();
        assert!(
            message.contains("delegate_cookie"),
            "{value:?}: {message:?}"
        );
    }
    assert_eq!(
        context.set_flag(OPTION),
        Err(Errno::INVAL),
        "without a value"
    );
    context.create();
}

fn last_value_counts() {
    let inside = |instance: Instance, _: &managed::Manager| {
        assert_eq!(restrict::cookie(&instance.token()), 0);
    };
    managed::run(&cookie_of("0"), inside);
    managed::run(&Delegation::ANY, |_, manager| {
        let any = ("delegate_cmds", "any");
        for (options, cookie) in [
            ([(OPTION, "7"), (OPTION, "8"), any], 8),
            ([(OPTION, "7"), any, (OPTION, "0")], 0),
        ] {
            let token = manager.instance(&options).token();
            assert_eq!(restrict::cookie(&token), cookie, "{options:?}");
        }
    });
}

/// In decimal, behind the masks, and not at all where it is 0.
fn shown_by_mounts() {
    let case = |options: &[(&'static str, &str)], shown: &str| {
        let options = options
            .iter()
            .map(|(key, value)| (*key, (*value).to_owned()));
        (options.collect::<Vec<_>>(), shown.to_owned())
    };
    display::compare(&[
        case(&[(OPTION, "7")], "delegate_cookie=7"),
        case(&[(OPTION, "0")], ""),
        case(
            &[(OPTION, "0xff"), ("delegate_maps", "array")],
            "delegate_maps=array,delegate_cookie=255",
        ),
        case(
            &[
                (OPTION, "0xffffffffffffffff"),
                ("delegate_attachs", "any"),
                ("delegate_cmds", "1"),
            ],
            "delegate_cmds=map_create,delegate_attachs=any,delegate_cookie=18446744073709551615",
        ),
        case(
            &[(OPTION, "0"), ("delegate_progs", "xdp")],
            "delegate_progs=xdp",
        ),
    ]);
}

fn cookie_line(token: &OwnedFd) -> Option<String> {
    let lines = restrict::fdinfo(token);
    assert!(lines.len() <= 5, "{lines:?}");
    lines.get(4).cloned()
}

/// Every token of the instance has it, whichever way it was made, and no other.
fn of_tokens() {
    managed::run(&cookie_of("0xfedcba9876543210"), |instance, manager| {
        const COOKIE: u64 = 0xfedc_ba98_7654_3210;
        let plain = instance.token();
        let restricted = restrict::token(&instance.root, &Masks::each(7)).expect("a token");
        let derived = restrict::token(&restricted, &Masks::each(3)).expect("a token");
        let again = restrict::token(&derived, &Masks::each(1)).expect("a token");
        let other = manager
            .instance(&[("delegate_cmds", "any"), (OPTION, "2")])
            .token();
        let without = manager.instance(&[("delegate_cmds", "any")]).token();
        drop(restricted);
        for token in [&plain, &derived, &again] {
            assert_eq!(restrict::cookie(token), COOKIE);
            let line = format!("cookie:\t{COOKIE}");
            assert_eq!(cookie_line(token), Some(line));
        }
        assert_eq!(
            (restrict::cookie(&other), restrict::cookie(&without)),
            (2, 0)
        );
        assert_eq!(cookie_line(&other).as_deref(), Some("cookie:\t2"));
        assert_eq!(cookie_line(&without), None);
    });
}

fn delegates_nothing() {
    container::run(&Delegation::NOTHING.with_cookie("7"), |instance| {
        assert_eq!(bpf::token_create(&instance.root).err(), Some(Errno::NOENT));
    });
}

/// As with every `info_len`: as much as both sides know, and nothing but zeros behind it.
fn info_of_each_length() {
    container::run(&cookie_of("0x1122334455667788"), |instance| {
        let token = instance.token();
        let mut whole = [0xff; 40];
        whole[32..].copy_from_slice(&0x1122_3344_5566_7788_u64.to_ne_bytes());
        for len in [0, 1, 31, 32, 33, 39, 40] {
            let mut buffer = [0x55; 64];
            assert_eq!(
                bpf::info_by_fd(&token, &mut buffer[..len]),
                Ok(len),
                "{len} bytes"
            );
            assert_eq!(buffer[..len], whole[..len], "{len} bytes");
            assert_eq!(buffer[len..], [0x55; 64][len..], "behind {len} bytes");
        }
        for len in [41, 48, 4096] {
            let mut buffer = vec![0; len];
            assert_eq!(bpf::info_by_fd(&token, &mut buffer), Ok(40), "{len} bytes");
            assert_eq!(buffer[..40], whole, "{len} bytes");
            assert!(buffer[40..].iter().all(|byte| *byte == 0), "{len} bytes");
            buffer[len - 1] = 1;
            let refused = bpf::info_by_fd(&token, &mut buffer);
            assert_eq!(refused, Err(Errno::TOOBIG), "{len} bytes, the last is set");
        }
    });
}

fn info_at_bad_address() {
    container::run(&cookie_of("7"), |instance| {
        let token = instance.token();
        for len in [33, 40, 48] {
            let info = bpf::info_by_fd_at_null(&token, len);
            assert_eq!(info, Err(Errno::FAULT), "{len} bytes");
        }
    });
}

fn privilege_needed() {
    container::run(&Delegation::NOTHING, |_| {
        let context = Context::of_bpffs();
        for value in ["1", "0xffffffffffffffff"] {
            assert_eq!(context.set(OPTION, value), Err(Errno::PERM), "{value}");
            let message = context.message().unwrap_or_default();
            let says = message.contains("delegate_cookie: ")
                && message.contains("CAP_SYS_ADMIN in the initial user namespace");
            assert!(says, "{message:?}");
        }
        assert_eq!(context.set(OPTION, "0"), Ok(()), "what it is");
        assert_eq!(context.set(OPTION, "nope"), Err(Errno::INVAL));
    });
}

/// The container has the context, too, and may give back the manager's word only as it is.
fn container_cannot_change_it_before_the_mount() {
    managed::run(&Delegation::NOTHING, |_, manager| {
        let context = Context::of_bpffs();
        let options = [("delegate_cmds", "any"), (OPTION, "7")];
        assert_eq!(manager.set(&context, &options), Ok(()));
        for value in ["0", "8", "0x0", "18446744073709551615"] {
            assert_eq!(context.set(OPTION, value), Err(Errno::PERM), "{value}");
        }
        assert_eq!(context.set(OPTION, "0x7"), Ok(()), "what it is");
        manager.create(&context);
        let instance = Instance::of_context(&context);
        assert_eq!(restrict::cookie(&instance.token()), 7);
    });
}

fn remount_cannot_change_it() {
    let delegation = Delegation::of("0x1", "any", "", "").with_cookie("7");
    managed::run(&delegation, |instance, manager| {
        let path = container::attach(&instance);
        let before = instance.token();
        let expect = |what: &str| {
            for token in [&before, &instance.token()] {
                assert_eq!(restrict::cookie(token), 7, "{what}");
                assert_eq!(bpf::masks(token).cmds, 1, "{what}");
            }
        };
        for value in ["0", "8", "0x700000000"] {
            let context = managed::pick(&instance.mount);
            let options = [("delegate_cmds", "any"), (OPTION, value)];
            let set = manager.set(&context, &options);
            let result = set.and_then(|()| manager.reconfigure(&context));
            assert_eq!(result, Err(Errno::INVAL), "{value}");
            let mut messages = std::iter::from_fn(|| context.message());
            let wanted = "e bpf: delegate_cookie: a remount cannot change it, it is 7";
            assert!(
                messages.any(|message| message.trim_end() == wanted),
                "{value}"
            );
            expect(value);

            let result = managed::remount(&managed::pick(&instance.mount), &[(OPTION, value)]);
            let refused = [Err(Errno::PERM), Err(Errno::INVAL)].contains(&result);
            assert!(refused, "{value} by the container: {result:?}");
            let options = format!("{OPTION}={value}");
            let result = mount::mount_remount(path, MountFlags::empty(), options);
            assert!(result.is_err(), "{value} by the container, mount(2)");
            expect(value);
        }
        assert_eq!(
            manager.remount(&instance, &[(OPTION, "7")]),
            Ok(()),
            "what it is"
        );
        let same = managed::remount(&managed::pick(&instance.mount), &[(OPTION, "0x7")]);
        assert_eq!(same, Ok(()), "what it is, by the container");
        assert_eq!(
            manager.remount(&instance, &[("delegate_maps", "array")]),
            Ok(())
        );
        expect("a remount that does not name it");
        bpf::map_create(bpf::MapType::Array, Some(before.as_raw_fd())).expect("granted");
    });
}
