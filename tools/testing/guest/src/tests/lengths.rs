// SPDX-License-Identifier: GPL-2.0

//! Rule 6 for the length of a program: how many instructions it may have, and who may load more than anybody may. For
//! several types, some of them unknown to the kernel, with each subset of the four capabilities: by a token, by one that
//! is of no use, and without.

use std::os::fd::AsRawFd;
use std::os::fd::RawFd;

use guest::bpf;
use guest::container;
use guest::container::Delegation;
use guest::kernel;
use guest::kernel::Sysctl;
use guest::log;
use guest::process;
use guest::rules;
use guest::rules::Asked;
use guest::rules::BPF;
use guest::sys::Command;
use libtest_mimic::Trial;
use rustix::io::Errno;
use rustix::thread::CapabilitySet;

use super::model::capability_sets;
use super::tests;

pub fn tests() -> Vec<Trial> {
    tests![unprivileged_allowed, unprivileged_forbidden]
}

/// Types of a program and of its attachment, their names, and what the kernel does not have of them.
struct Types {
    prog: (u32, &'static str),
    attach: u32,
    unknown: Option<&'static str>,
}

const fn types(prog: (u32, &'static str), attach: u32, unknown: Option<&'static str>) -> Types {
    Types {
        prog,
        attach,
        unknown,
    }
}

const TYPES: [Types; 8] = [
    types((1, "socket_filter"), 0, None),
    types((8, "cgroup_skb"), 0, None),
    types((6, "xdp"), 37, None),
    types((2, "kprobe"), 0, None),
    types((28, "ext"), 0, None),
    types((64, "64"), 0, Some("program type 64")),
    types((1, "socket_filter"), 64, Some("attach type 64")),
    types(
        (4_294_967_295, "4294967295"),
        4_294_967_295,
        Some("program type 4294967295"),
    ),
];

const MOST_OF_ANYBODY: u32 = 4_096;
const MOST: u32 = 1_000_000;
const LENGTHS: [u32; 6] = [
    0,
    1,
    MOST_OF_ANYBODY,
    MOST_OF_ANYBODY + 1,
    MOST + 1,
    u32::MAX,
];

/// What is given for a token.
#[derive(Clone, Copy, Debug)]
enum Given {
    Nothing,
    /// A token that delegates all that there is.
    Token,
    /// A token without program types.
    Useless,
}

/// What the rules say: the errno, and the reason.
fn model(
    types: &Types,
    length: u32,
    disabled: bool,
    given: Given,
    held: CapabilitySet,
) -> Option<(Errno, String)> {
    let name = types.prog.1;
    let unused = match (given, types.unknown) {
        (Given::Nothing, _) => Some("no token was given".to_owned()),
        // The type of the program is looked at before that of its attachment.
        (Given::Useless, _) if types.prog.0 < 64 => Some(format!(
            "the token does not delegate program type {name} (delegate_progs=0x0)"
        )),
        (_, Some(unknown)) => Some(format!("this kernel has no {unknown}")),
        (_, None) => None,
    };
    let mut needs = rules::needs(
        Asked {
            command: Command::ProgLoad,
            command_name: "prog_load",
            object_type: types.prog.0,
            type_name: name,
        },
        disabled,
    )
    .into_iter()
    .map(|(cap, purpose)| (cap, purpose, Errno::PERM))
    .collect::<Vec<_>>();
    // After what the command itself needs, and before what the type does.
    let of_length = usize::from(disabled);
    if (MOST_OF_ANYBODY + 1..=MOST).contains(&length) {
        let purpose = format!("a program of {length} instructions");
        needs.insert(of_length, (BPF, purpose, Errno::TOOBIG));
    }
    for (at, (cap, purpose, errno)) in needs.iter().enumerate() {
        if at == of_length && !(1..=MOST).contains(&length) {
            break;
        }
        let cap_name = cap.name;
        let refused = match &unused {
            Some(unused) => {
                format!(
                    "{purpose} needs {cap_name} in the initial user namespace, because {unused}"
                )
            }
            None if rules::is_capable(held, *cap) => continue,
            None => format!("{purpose} needs {cap_name} in the user namespace that owns the token"),
        };
        return Some((*errno, refused));
    }
    let impossible = format!("a program cannot have {length} instructions");
    (!(1..=MOST).contains(&length)).then_some((Errno::TOOBIG, impossible))
}

/// Expects of each length of a program of each type what the model says.
fn check(disabled: bool, given: Given, token: Option<RawFd>) {
    let mut buffer = log::Buffer::of(4096);
    for types in &TYPES {
        for length in LENGTHS {
            for held in capability_sets() {
                let what = format!(
                    "{length} instructions of {} and {}, {given:?}, {held:?}",
                    types.prog.1, types.attach
                );
                let expected = model(types, length, disabled, given, held);
                let log = buffer.log(log::LEVEL);
                let loaded = process::with_capabilities(held, || {
                    bpf::prog_of_length((types.prog.0, types.attach), length, token, &log)
                });
                let errno = loaded.expect_err(&what);
                let text = buffer.text().unwrap_or_default();
                match expected {
                    Some((expected, reason)) => {
                        assert_eq!(errno, expected, "{what}");
                        let reason = if kernel::explains() { &reason } else { "" };
                        assert_eq!(text.trim_end(), reason, "{what}");
                    }
                    None => {
                        assert!(![Errno::PERM, Errno::TOOBIG].contains(&errno), "{what}");
                    }
                }
            }
        }
    }
}

fn check_each(disabled: bool) {
    let value = if disabled { "2" } else { "0" };
    let _sysctl = Sysctl::set("kernel/unprivileged_bpf_disabled", value);
    container::run(&Delegation::ANY, |instance| {
        let token = instance.token();
        check(disabled, Given::Nothing, None);
        check(disabled, Given::Token, Some(token.as_raw_fd()));
    });
    container::run(&Delegation::of("any", "any", "0", "any"), |instance| {
        let token = instance.token();
        check(disabled, Given::Useless, Some(token.as_raw_fd()));
    });
}

fn unprivileged_allowed() {
    check_each(false);
}

fn unprivileged_forbidden() {
    check_each(true);
}
