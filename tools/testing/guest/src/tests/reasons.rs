// SPDX-License-Identifier: GPL-2.0

//! Section 10 of the design, D4: why a narrower token, or one of a delegation that was taken back, is of no use: in the
//! log that the caller gave, and in the trace event.

use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use guest::bpf;
use guest::bpf::AttachType;
use guest::bpf::MapType;
use guest::bpf::Masks;
use guest::bpf::ProgType;
use guest::container;
use guest::container::Delegation;
use guest::log;
use guest::log::Log;
use guest::managed;
use guest::restrict;
use guest::restrict::BPF_F_TOKEN_RESTRICT;
use libtest_mimic::Trial;
use rustix::io::Errno;

use super::tells_an_address;
use super::tests;
use super::usage;
use crate::trace::Trace;

/// Of the Rust kernel alone.
pub fn tests() -> Vec<Trial> {
    tests![
        creation,
        creation_after_everything_was_taken_back,
        what_the_token_itself_lacks,
        what_was_taken_back,
        what_is_lacking_twice,
        given_again_without_a_word,
    ]
}

/// Expects `errno`, and the reason in the log and in one event.
fn expect(
    trace: &Trace,
    errno: Errno,
    reason: &str,
    call: impl FnOnce(&Log<'_>) -> Result<OwnedFd, Errno>,
) {
    trace.read();
    let mut buffer = log::Buffer::of(4096);
    assert_eq!(call(&buffer.log(log::LEVEL)).err(), Some(errno), "{reason}");
    let text = buffer.text().unwrap_or_default();
    assert_eq!(text.trim_end(), reason);
    assert!(!tells_an_address(&text), "{text}");
    let events = trace.read();
    let [refused] = events.as_slice() else {
        panic!("{reason}: {events:?}");
    };
    assert_eq!(refused.name, "bpf_token_refuse");
    assert_eq!(refused.field("reason"), reason);
    assert_eq!(
        refused.field("err"),
        (-errno.raw_os_error()).to_string(),
        "{reason}"
    );
}

fn creation() {
    let trace = Trace::start();
    container::run(&Delegation::of("0x1", "0x2", "", ""), |instance| {
        let token = instance.token();
        let (root, token) = (instance.root.as_raw_fd(), token.as_raw_fd());
        let expect = |flags, source, masks: Masks, errno, reason: &str| {
            expect(&trace, errno, &format!("no token: {reason}"), |log| {
                restrict::token_logged(flags, source, &masks, log)
            });
        };
        for source in [root, token] {
            let nothing = "of what the allowed_ fields name, nothing is delegated";
            for masks in [
                Masks::NONE,
                Masks {
                    cmds: 0x2,
                    maps: 0x1,
                    ..Masks::ALL
                },
            ] {
                expect(BPF_F_TOKEN_RESTRICT, source, masks, Errno::NOENT, nothing);
            }
            for flags in [0x2_u32, 0x3, 0x8000_0000] {
                let unknown =
                    format!("flags {flags:#x} are unknown; there is BPF_F_TOKEN_RESTRICT (0x1)");
                expect(flags, source, Masks::NONE, Errno::INVAL, &unknown);
            }
            for masks in [
                Masks::ALL,
                Masks {
                    attachs: 1 << 63,
                    ..Masks::NONE
                },
            ] {
                let fields = "the allowed_ fields need the flag BPF_F_TOKEN_RESTRICT";
                expect(0, source, masks, Errno::INVAL, fields);
            }
        }
        let flag =
            "the descriptor is a token, and a token of it needs the flag BPF_F_TOKEN_RESTRICT";
        expect(0, token, Masks::NONE, Errno::INVAL, flag);
    });
}

fn creation_after_everything_was_taken_back() {
    managed::run(&Delegation::of("0x1", "", "", ""), |instance, manager| {
        let token = instance.token();
        assert_eq!(
            manager.remount(&instance, &[("delegate_cmds", "0")]),
            Ok(())
        );
        for (flags, source) in [
            (0, &instance.root),
            (BPF_F_TOKEN_RESTRICT, &instance.root),
            (BPF_F_TOKEN_RESTRICT, &token),
        ] {
            let masks = Masks::each(if flags == 0 { 0 } else { u64::MAX });
            let mut buffer = log::Buffer::of(4096);
            let log = buffer.log(log::LEVEL);
            let token = restrict::token_logged(flags, source.as_raw_fd(), &masks, &log);
            assert_eq!(token.err(), Some(Errno::NOENT));
            let text = buffer.text().unwrap_or_default();
            assert!(text.starts_with("no token: "), "{text}");
            assert!(text.contains("delegate"), "{text}");
            let wrong = text.contains("was mounted without any delegate_ option");
            assert!(!wrong, "it was mounted with one: {text}");
        }
    });
}

type Call = fn(RawFd, &Log<'_>) -> Result<OwnedFd, Errno>;

const MAP: Call = |token, log| bpf::map_create_logged(MapType::Hash, Some(token), log);
const FILTER: Call = |token, log| bpf::prog_load_logged(&usage::SOCKET_FILTER(), Some(token), log);
const XDP: Call = |token, log| {
    bpf::prog_load_logged(
        &usage::prog(ProgType::Xdp, AttachType::Xdp),
        Some(token),
        log,
    )
};
const BTF: Call = |token, log| bpf::btf_load_logged(&usage::btf(), Some(token), log);

const DISABLED: &str = "with kernel.unprivileged_bpf_disabled, the command";
const NEEDS: &str = "needs CAP_BPF in the initial user namespace, because";

/// A mask, what to make of it, the command that is refused then, and what of it the reason names and shows.
type Case = (
    &'static str,
    &'static str,
    Call,
    &'static str,
    &'static str,
    &'static str,
);

fn cases() -> [Case; 5] {
    [
        (
            "delegate_cmds",
            "btf_load",
            MAP,
            "map_create",
            "bpf() command map_create",
            "btf_load",
        ),
        (
            "delegate_cmds",
            "map_create",
            BTF,
            "btf_load",
            "bpf() command btf_load",
            "map_create",
        ),
        (
            "delegate_maps",
            "array",
            MAP,
            "map_create",
            "map type hash",
            "array",
        ),
        (
            "delegate_progs",
            "0",
            FILTER,
            "prog_load",
            "program type socket_filter",
            "0x0",
        ),
        (
            "delegate_attachs",
            "cgroup_inet_ingress",
            XDP,
            "prog_load",
            "attach type xdp",
            "cgroup_inet_ingress",
        ),
    ]
}

fn purpose(command: &str) -> String {
    match command {
        "btf_load" => format!("the command btf_load {NEEDS}"),
        other => format!("{DISABLED} {other} {NEEDS}"),
    }
}

/// A token that was restricted is told of as one that was not: by its masks.
fn what_the_token_itself_lacks() {
    let trace = Trace::start();
    container::run(&Delegation::ANY, |instance| {
        let source = instance.token();
        for (option, _, call, command, lacks, shown) in cases() {
            let masks = match (option, shown) {
                ("delegate_cmds", "btf_load") => Masks {
                    cmds: 1 << 18,
                    ..Masks::ALL
                },
                ("delegate_cmds", _) => Masks {
                    cmds: 1,
                    ..Masks::ALL
                },
                ("delegate_maps", _) => Masks {
                    maps: 1 << 2,
                    ..Masks::ALL
                },
                ("delegate_progs", _) => Masks {
                    progs: 0,
                    ..Masks::ALL
                },
                _ => Masks {
                    attachs: 1,
                    ..Masks::ALL
                },
            };
            let reason = format!(
                "{} the token does not delegate {lacks} ({option}={shown})",
                purpose(command)
            );
            for token in [&instance.root, &source] {
                let token = restrict::token(token, &masks).expect("a token");
                expect(&trace, Errno::PERM, &reason, |log| {
                    call(token.as_raw_fd(), log)
                });
            }
        }
    });
}

fn what_was_taken_back() {
    let trace = Trace::start();
    managed::run(&Delegation::ANY, |instance, manager| {
        let token = instance.token();
        for (option, value, call, command, lacks, shown) in cases() {
            assert_eq!(manager.remount(&instance, &[(option, value)]), Ok(()));
            let reason = format!(
                "{} the BPF file system does not delegate {lacks} any more (left to the token: {option}={shown})",
                purpose(command)
            );
            expect(&trace, Errno::PERM, &reason, |log| {
                call(token.as_raw_fd(), log)
            });
            assert_eq!(manager.remount(&instance, &[(option, "any")]), Ok(()));
        }
        assert_eq!(
            manager.remount(&instance, &[("delegate_maps", "0x0")]),
            Ok(())
        );
        let reason = format!(
            "{} the BPF file system does not delegate map type hash any more (left to the token: delegate_maps=0x0)",
            purpose("map_create")
        );
        expect(&trace, Errno::PERM, &reason, |log| {
            MAP(token.as_raw_fd(), log)
        });
    });
}

/// What the token never had was not taken back from it. What is shown is what it permits now, of both.
fn what_is_lacking_twice() {
    let trace = Trace::start();
    managed::run(&Delegation::ANY, |instance, manager| {
        let restricted =
            |maps| restrict::token(&instance.root, &Masks { maps, ..Masks::ALL }).expect("a token");
        let (without_hash, with_hash) = (restricted(0x0800_0004), restricted(0x0800_0006));
        assert_eq!(
            manager.remount(&instance, &[("delegate_maps", "array")]),
            Ok(())
        );
        let reason = format!(
            "{} the token does not delegate map type hash (delegate_maps=array)",
            purpose("map_create")
        );
        expect(&trace, Errno::PERM, &reason, |log| {
            MAP(without_hash.as_raw_fd(), log)
        });
        let reason = format!(
            "{} the BPF file system does not delegate map type hash any more (left to the token: delegate_maps=array)",
            purpose("map_create")
        );
        expect(&trace, Errno::PERM, &reason, |log| {
            MAP(with_hash.as_raw_fd(), log)
        });
    });
}

fn given_again_without_a_word() {
    managed::run(&Delegation::ANY, |instance, manager| {
        let token = instance.token();
        assert_eq!(
            manager.remount(&instance, &[("delegate_maps", "0")]),
            Ok(())
        );
        assert_eq!(
            manager.remount(&instance, &[("delegate_maps", "hash")]),
            Ok(())
        );
        let mut buffer = log::Buffer::of(4096);
        MAP(token.as_raw_fd(), &buffer.log(log::LEVEL)).expect("granted");
        assert_eq!(buffer.text(), None);
        let root = instance.root.as_raw_fd();
        let log = buffer.log(log::LEVEL);
        restrict::token_logged(BPF_F_TOKEN_RESTRICT, root, &Masks::ALL, &log).expect("granted");
        assert_eq!(buffer.text(), None);
    });
}
