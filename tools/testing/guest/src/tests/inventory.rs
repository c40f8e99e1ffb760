// SPDX-License-Identifier: GPL-2.0

//! Section 10.5 of the design: which programs were loaded through tokens, and each use of a token.

use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

use guest::bpf;
use guest::bpf::AttachType;
use guest::bpf::MapType;
use guest::bpf::Masks;
use guest::bpf::ProgType;
use guest::container;
use guest::container::Delegation;
use guest::container::Instance;
use guest::process;
use guest::process::Link;
use guest::restrict;
use guest::sys::Command;
use libtest_mimic::Trial;
use rustix::io::Errno;
use rustix::thread::CapabilitySet;

use super::tests;
use super::usage;
use super::usage::LoadedBtf;
use crate::trace::Event;
use crate::trace::Trace;

/// Of the Rust kernel alone.
pub fn tests() -> Vec<Trial> {
    tests![
        program_tells_its_token,
        program_without_token_tells_none,
        program_of_a_token_put_aside_tells_none,
        program_seen_from_outside,
        use_of_each_command,
        use_of_restricted_tokens,
        nothing_is_used_where_no_token_is,
        events_have_the_cookie,
    ]
}

const COOKIE: u64 = 0x8000_0000_0000_0007;
const DELEGATION: Delegation<'_> = Delegation::ANY.with_cookie("0x8000000000000007");

fn user_namespace() -> u64 {
    let namespace = std::fs::metadata("/proc/self/ns/user").expect("/proc/self/ns/user");
    namespace.ino()
}

fn lines(userns: u64, cookie: u64) -> Vec<String> {
    vec![
        format!("token_userns:\t{userns}"),
        format!("token_cookie:\t{cookie}"),
    ]
}

fn load(token: Option<&OwnedFd>) -> OwnedFd {
    let token = token.map(AsRawFd::as_raw_fd);
    bpf::prog_load(&usage::SOCKET_FILTER(), token).expect("granted")
}

/// Two lines, the last ones; also when the token is closed, and when the cookie is 0.
fn program_tells_its_token() {
    for (delegation, cookie) in [(DELEGATION, COOKIE), (Delegation::ANY, 0)] {
        container::run(&delegation, |instance| {
            let token = instance.token();
            let narrow = restrict::token(&token, &Masks::ALL).expect("a token");
            let progs = [load(Some(&token)), load(Some(&narrow))];
            drop((token, narrow));
            for prog in progs {
                let expected = lines(user_namespace(), cookie);
                assert_eq!(restrict::fdinfo_of_prog(&prog), expected);
            }
        });
    }
}

const NO_LINES: Vec<String> = Vec::new();

fn program_without_token_tells_none() {
    assert_eq!(restrict::fdinfo_of_prog(&load(None)), NO_LINES);
}

/// The caller stood on its own capabilities, so the token is no part of the program.
fn program_of_a_token_put_aside_tells_none() {
    let delegation = Delegation::of("map_create", "any", "any", "any").with_cookie("7");
    let send = |instance: Instance, link: Link| link.send_fd(instance.token());
    let token = container::run_with(&delegation, send, |link| link.recv_fd());
    assert_eq!(restrict::fdinfo_of_prog(&load(Some(&token))), NO_LINES);
}

/// The number is that of the token's namespace, whoever looks.
fn program_seen_from_outside() {
    let inside = |instance: Instance, link: Link| {
        link.send(&user_namespace().to_ne_bytes());
        link.send_fd(load(Some(&instance.token())));
        link.wait_for_end();
    };
    container::run_with(&DELEGATION, inside, |link| {
        let userns = link
            .receive()
            .expect("a number")
            .try_into()
            .expect("eight bytes");
        let prog = link.recv_fd();
        assert_eq!(
            restrict::fdinfo_of_prog(&prog),
            lines(u64::from_ne_bytes(userns), COOKIE)
        );
    });
}

fn expect_use(trace: &Trace, cookie: u64, command: Command, object: u32, attach: u32) {
    let events = trace.read();
    let [used] = events.as_slice() else {
        panic!("{command:?}: {events:?}");
    };
    assert_eq!(used.name, "bpf_token_use");
    assert_eq!(used.fields.len(), 5, "{used:?}");
    for (key, expected) in [
        ("userns", user_namespace().to_string()),
        ("cookie", cookie.to_string()),
        ("cmd", (command as u32).to_string()),
        ("type", object.to_string()),
        ("attach_type", attach.to_string()),
    ] {
        assert_eq!(used.field(key), expected, "{key} of {used:?}");
    }
}

fn use_of_each_command() {
    let trace = Trace::with_uses();
    let loaded = LoadedBtf::new();
    let id = loaded.id();
    container::run(&DELEGATION, |instance| {
        let token = instance.token();
        let fd = Some(token.as_raw_fd());
        trace.read();
        for map_type in [MapType::Hash, MapType::Ringbuf, MapType::Devmap] {
            bpf::map_create(map_type, fd).expect("granted");
            expect_use(&trace, COOKIE, Command::MapCreate, map_type as u32, 0);
        }
        for (prog_type, attach_type) in [
            (ProgType::SocketFilter, AttachType::CgroupInetIngress),
            (ProgType::Xdp, AttachType::Xdp),
        ] {
            let prog = usage::prog(prog_type, attach_type);
            drop(bpf::prog_load(&prog, fd).expect("granted"));
            let (object, attach) = (prog_type as u32, attach_type as u32);
            expect_use(&trace, COOKIE, Command::ProgLoad, object, attach);
        }
        bpf::btf_load(&usage::btf(), fd).expect("granted");
        expect_use(&trace, COOKIE, Command::BtfLoad, 0, 0);
        bpf::btf_get_fd_by_id(id, fd).expect("granted");
        expect_use(&trace, COOKIE, Command::BtfGetFdById, 0, 0);
        // What else fails the command has no part in this.
        assert_eq!(
            bpf::btf_get_fd_by_id(u32::MAX, fd).err(),
            Some(Errno::NOENT)
        );
        expect_use(&trace, COOKIE, Command::BtfGetFdById, 0, 0);
    });
}

fn use_of_restricted_tokens() {
    let trace = Trace::with_uses();
    container::run(&Delegation::ANY, |instance| {
        let token = restrict::token(&instance.root, &Masks::each(7)).expect("a token");
        let derived = restrict::token(&token, &Masks::each(3)).expect("a token");
        trace.read();
        for token in [&token, &derived] {
            bpf::map_create(MapType::Hash, Some(token.as_raw_fd())).expect("granted");
            expect_use(&trace, 0, Command::MapCreate, MapType::Hash as u32, 0);
        }
    });
}

fn uses(trace: &Trace) -> Vec<Event> {
    let events = trace.read().into_iter();
    events
        .filter(|event| event.name == "bpf_token_use")
        .collect()
}

/// Where there is no token, or it is put aside, or does not help.
fn nothing_is_used_where_no_token_is() {
    let trace = Trace::with_uses();
    let expect_none = |what: &str| {
        let uses = uses(&trace);
        assert!(uses.is_empty(), "{what}: {uses:?}");
    };
    let loaded = LoadedBtf::new();
    let id = loaded.id();
    let attempt = |command, token| usage::attempt(command, id, token);
    for command in usage::COMMANDS {
        assert_eq!(attempt(command, None), Ok(()), "{command:?}");
        expect_none("by own capabilities");
    }
    let little = Delegation::of("0x8000000000000000", "any", "any", "any");
    let send = |instance: Instance, link: Link| link.send_fd(instance.token());
    let token = container::run_with(&little, send, |link| link.recv_fd());
    for command in usage::COMMANDS {
        assert_eq!(
            attempt(command, Some(token.as_raw_fd())),
            Ok(()),
            "{command:?}"
        );
        expect_none("by own capabilities, with a token put aside");
    }
    container::run(&little, |instance| {
        let token = instance.token();
        for command in usage::COMMANDS {
            let refused = attempt(command, Some(token.as_raw_fd()));
            assert_eq!(refused, Err(Errno::PERM), "{command:?}");
            expect_none("a token put aside");
        }
    });
    container::run(&Delegation::ANY, |instance| {
        let token = instance.token();
        for command in usage::COMMANDS {
            assert_eq!(attempt(command, None), Err(Errno::PERM), "{command:?}");
            assert_eq!(
                attempt(command, Some(instance.root.as_raw_fd())),
                Err(Errno::INVAL)
            );
            expect_none("no token");
        }
        process::with_capabilities(CapabilitySet::empty(), || {
            for command in usage::COMMANDS {
                let refused = attempt(command, Some(token.as_raw_fd()));
                assert_eq!(refused, Err(Errno::PERM), "{command:?}");
                expect_none("no capability");
            }
        });
    });
}

/// Create, refuse and free tell it beside the masks, and the token that was refused is told with what it permits now.
fn events_have_the_cookie() {
    let trace = Trace::start();
    let delegation = Delegation::of("any", "array", "", "").with_cookie("7");
    container::run(&delegation, |instance| {
        let token = restrict::token(&instance.token(), &Masks::each(5)).expect("a token");
        let events = trace.read();
        let created: Vec<_> = events
            .iter()
            .filter(|event| event.name == "bpf_token_create")
            .collect();
        assert_eq!(created.len(), 2, "{events:?}");
        for (event, cmds) in created.iter().zip(["0xffffffffffffffff", "0x5"]) {
            assert_eq!((event.field("cookie"), event.field("cmds")), ("7", cmds));
        }
        let map = bpf::map_create(MapType::Hash, Some(token.as_raw_fd()));
        assert_eq!(map.err(), Some(Errno::PERM));
        let refused = trace.wait_for(|event| event.name == "bpf_token_refuse");
        assert_eq!(
            (refused.field("cookie"), refused.field("maps")),
            ("7", "0x4")
        );
        drop(token);
        let freed = trace.wait_for(|event| event.name == "bpf_token_free");
        assert_eq!(freed.field("cookie"), "7");
    });
}
