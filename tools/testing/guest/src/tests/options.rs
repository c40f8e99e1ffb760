// SPDX-License-Identifier: GPL-2.0

//! Rule 1: what the delegation options accept, what they come to, and which privilege they need.

use std::os::fd::AsRawFd;

use guest::bpf;
use guest::bpf::Masks;
use guest::container;
use guest::container::Delegation;
use guest::container::Instance;
use guest::context::Context;
use guest::enums;
use guest::enums::CMDS;
use guest::enums::MAPS;
use guest::kernel;
use guest::process;
use guest::process::Link;
use libtest_mimic::Trial;
use rustix::io::Errno;
use rustix::thread::CapabilitySet;

use super::tests;

pub fn tests() -> Vec<Trial> {
    tests![
        accepted,
        refused_value_changes_nothing,
        privilege_needed,
        privilege_of_the_manager,
    ]
}

const NOTHING: Masks = Masks {
    cmds: 0,
    maps: 0,
    progs: 0,
    attachs: 0,
};

fn cmds(cmds: u64) -> Masks {
    Masks { cmds, ..NOTHING }
}

fn maps(maps: u64) -> Masks {
    Masks { maps, ..NOTHING }
}

/// Options in the order in which they are set, and what they come to. A list with a number has it first:
/// what the C implementation makes of others is D1.
fn accepted() {
    let (map_create, prog_load) = (CMDS.bit("map_create"), CMDS.bit("prog_load"));
    let prog_run = CMDS.bit("prog_run");
    let (hash, array) = (MAPS.bit("hash"), MAPS.bit("array"));
    let storage = MAPS.bit("cgroup_storage");
    const ONLY_ABOVE: u64 = 1 << 63;
    let cases: Vec<(&[(&'static str, &str)], Masks)> = vec![
        (&[("delegate_cmds", "map_create")], cmds(map_create)),
        (&[("delegate_cmds", "MAP_CREATE")], cmds(map_create)),
        (&[("delegate_cmds", "Map_Create")], cmds(map_create)),
        (
            &[("delegate_cmds", "map_create:prog_load")],
            cmds(map_create | prog_load),
        ),
        (
            &[("delegate_cmds", "prog_load:map_create:prog_load")],
            cmds(map_create | prog_load),
        ),
        (&[("delegate_cmds", "prog_run")], cmds(prog_run)),
        (&[("delegate_cmds", "PROG_TEST_RUN")], cmds(prog_run)),
        (&[("delegate_cmds", "any")], cmds(u64::MAX)),
        (&[("delegate_cmds", "any:map_create")], cmds(u64::MAX)),
        (&[("delegate_cmds", "map_create:any")], cmds(u64::MAX)),
        (&[("delegate_cmds", "3")], cmds(3)),
        (&[("delegate_cmds", "+3")], cmds(3)),
        (&[("delegate_cmds", "0x1F")], cmds(0x1f)),
        (&[("delegate_cmds", "0X1f")], cmds(0x1f)),
        (&[("delegate_cmds", "017")], cmds(0o17)),
        (&[("delegate_cmds", "3\n")], cmds(3)),
        (&[("delegate_cmds", "0x8000000000000000")], cmds(ONLY_ABOVE)),
        (&[("delegate_cmds", "18446744073709551615")], cmds(u64::MAX)),
        (
            &[("delegate_cmds", "01777777777777777777777")],
            cmds(u64::MAX),
        ),
        (
            &[("delegate_cmds", "0x00000000000000000000000003")],
            cmds(3),
        ),
        (
            &[("delegate_cmds", "0x20:map_create")],
            cmds(0x20 | map_create),
        ),
        (&[("delegate_cmds", "0:map_create:any")], cmds(u64::MAX)),
        // Options repeated.
        (
            &[
                ("delegate_cmds", "map_create"),
                ("delegate_cmds", "prog_load"),
            ],
            cmds(map_create | prog_load),
        ),
        (
            &[
                ("delegate_cmds", "0x2"),
                ("delegate_cmds", "0x4"),
                ("delegate_cmds", "0x8"),
            ],
            cmds(0xe),
        ),
        (
            &[("delegate_cmds", "any"), ("delegate_cmds", "0x1")],
            cmds(u64::MAX),
        ),
        (
            &[("delegate_cmds", "map_create"), ("delegate_cmds", "0")],
            cmds(map_create),
        ),
        (
            &[
                ("delegate_maps", "hash"),
                ("delegate_cmds", "0x1"),
                ("delegate_maps", "ARRAY"),
            ],
            Masks {
                cmds: 1,
                maps: hash | array,
                ..NOTHING
            },
        ),
        // Aliases of map types.
        (&[("delegate_maps", "cgroup_storage")], maps(storage)),
        (
            &[("delegate_maps", "cgroup_storage_deprecated")],
            maps(storage),
        ),
        (
            &[("delegate_maps", "percpu_cgroup_storage")],
            maps(MAPS.bit("percpu_cgroup_storage_deprecated")),
        ),
        // One option has nothing to do with another.
        (
            &[("delegate_progs", "xdp"), ("delegate_attachs", "xdp")],
            Masks {
                progs: enums::PROGS.bit("xdp"),
                attachs: enums::ATTACHS.bit("xdp"),
                ..NOTHING
            },
        ),
        (
            &[
                ("delegate_progs", "any"),
                ("delegate_attachs", "any"),
                ("delegate_maps", "any"),
                ("delegate_cmds", "any"),
            ],
            Masks {
                cmds: u64::MAX,
                maps: u64::MAX,
                progs: u64::MAX,
                attachs: u64::MAX,
            },
        ),
        // Keys that are none of ours.
        (
            &[
                ("delegate_nothing", "nope"),
                ("delegate_cmds", "0x1"),
                ("delegate", ""),
            ],
            cmds(1),
        ),
    ];
    let options: Vec<Vec<_>> = cases
        .iter()
        .map(|(options, _)| {
            options
                .iter()
                .map(|(key, value)| (*key, (*value).to_owned()))
                .collect()
        })
        .collect();
    container::run_each(&options, |index, instance| {
        let (options, expected) = &cases[index];
        assert_eq!(bpf::masks(&instance.token()), *expected, "{options:?}");
    });
}

/// Neither the items before the wrong one are applied, nor is anything lost that was set before.
fn refused_value_changes_nothing() {
    let delegation = Delegation::of("", "hash", "", "");
    let masks = |wrong: &'static str| {
        let inside = |link: Link| {
            let context = Context::of_bpffs();
            link.send_fd(&context);
            link.wait();
            link.send_fd(Instance::of_context(&context).token());
        };
        container::two_sides(inside, |link| {
            let context = Context::from(link.recv_fd());
            context
                .set("delegate_maps", delegation.maps)
                .expect("a map type");
            let refusal = context.set("delegate_maps", wrong);
            assert!(
                matches!(refusal, Err(Errno::INVAL | Errno::RANGE)),
                "{wrong}: {refusal:?}"
            );
            context.create();
            link.signal();
            bpf::masks(&link.recv_fd())
        })
    };
    for wrong in [
        "array:nope",
        "any:nope",
        "0x1:array:",
        "array:0x10000000000000000",
        "nope:array",
    ] {
        assert_eq!(masks(wrong), maps(MAPS.bit("hash")), "after {wrong}");
    }
}

const NEEDS: &str = "to delegate needs CAP_SYS_ADMIN in the initial user namespace";

fn expect_unprivileged(context: &Context, option: &str, value: &str) {
    assert_eq!(
        context.set(option, value),
        Err(Errno::PERM),
        "{option}={value}"
    );
    let expected = kernel::explains().then(|| format!("e bpf: {option}: {NEEDS}\n"));
    assert_eq!(context.message(), expected, "{option}={value}");
}

/// Root of a container may set what delegates nothing, and learns of what is malformed first.
fn privilege_needed() {
    let inside = |link: Link| {
        let context = Context::of_bpffs();
        for kind in enums::ALL {
            for value in ["any", "0x1", "0x8000000000000000", "0:any"] {
                expect_unprivileged(&context, kind.option, value);
            }
            for value in ["0", "0x0", "00", "0:0x0"] {
                assert_eq!(
                    context.set(kind.option, value),
                    Ok(()),
                    "{}={value}",
                    kind.option
                );
                assert_eq!(context.message(), None);
            }
            for (value, errno) in [
                ("nope", Errno::INVAL),
                ("any:", Errno::INVAL),
                ("any:0x10000000000000000", Errno::RANGE),
            ] {
                assert_eq!(
                    context.set(kind.option, value),
                    Err(errno),
                    "{}={value}",
                    kind.option
                );
                let message = context.message();
                assert_eq!(message.is_some(), kernel::explains(), "{message:?}");
                assert!(message.is_none_or(|message| !message.contains("CAP_SYS_ADMIN")));
            }
        }
        expect_unprivileged(&context, "delegate_maps", "hash");
        link.send_fd(&context);
        link.wait();
        let instance = Instance::of_context(&context);
        let token = bpf::token_create(&instance.root).map(|token| token.as_raw_fd());
        assert_eq!(token, Err(Errno::NOENT), "nothing refused was applied");
    };
    container::two_sides(inside, |link| {
        Context::from(link.recv_fd()).create();
        link.signal();
        link.wait_for_end();
    });
}

/// In the initial user namespace it is CAP_SYS_ADMIN and no other capability that counts.
fn privilege_of_the_manager() {
    process::run(|| {
        process::drop_capabilities(!CapabilitySet::SYS_ADMIN);
        let context = Context::of_bpffs();
        assert_eq!(context.set("delegate_maps", "any"), Ok(()));
        process::drop_capabilities(CapabilitySet::SYS_ADMIN);
        expect_unprivileged(&context, "delegate_maps", "any");
    });
    process::run(|| {
        let context = Context::of_bpffs();
        process::drop_capabilities(CapabilitySet::SYS_ADMIN);
        expect_unprivileged(&context, "delegate_cmds", "any");
        assert_eq!(context.set("delegate_cmds", "0"), Ok(()));
    });
}
