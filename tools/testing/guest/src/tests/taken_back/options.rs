// SPDX-License-Identifier: GPL-2.0

//! The options of a remount: what they replace, what they leave, and what is shown afterwards.

use guest::bpf;
use guest::bpf::Masks;
use guest::container;
use guest::container::Delegation;
use guest::enums::MAPS;
use guest::managed;
use libtest_mimic::Trial;
use rustix::io::Errno;

use super::remount;
use super::DELEGATION;
use super::MASKS;
use super::NOTHING;
use crate::tests::tests;

pub fn tests() -> Vec<Trial> {
    tests![
        last_option_of_a_context_counts,
        wrong_value_changes_nothing,
        other_options_change_nothing,
        shown_by_the_mount,
    ]
}

/// Each mask becomes the last that is given for it in a context: mount(8) names what is there, and then what is wanted.
/// The items of one option add up, as ever.
fn last_option_of_a_context_counts() {
    managed::run(&DELEGATION, |instance, manager| {
        let token = instance.token();
        let options = [
            ("delegate_maps", "array"),
            ("delegate_maps", "0x8000000:hash"),
            ("delegate_cmds", "0x0"),
            ("delegate_cmds", "map_create"),
        ];
        remount(manager, &instance, &options);
        let expected = Masks {
            cmds: 1,
            maps: 0x0800_0002,
            ..MASKS
        };
        assert_eq!(bpf::masks(&token), expected);
        remount(manager, &instance, &[("delegate_maps", "hash")]);
        assert_eq!(
            bpf::masks(&token),
            Masks {
                maps: 2,
                ..expected
            },
            "a context of its own"
        );
    });
}

/// A context that has seen a wrong value was not reconfigured with.
fn wrong_value_changes_nothing() {
    managed::run(&DELEGATION, |instance, manager| {
        let token = instance.token();
        for (value, errno) in [
            ("array:ringbuff", Errno::INVAL),
            ("0x10000000000000000", Errno::RANGE),
            ("", Errno::INVAL),
        ] {
            let options = [("delegate_cmds", "0"), ("delegate_maps", value)];
            assert_eq!(manager.remount(&instance, &options), Err(errno), "{value}");
            assert_eq!(bpf::masks(&token), MASKS, "{value}");
        }
    });
}

fn other_options_change_nothing() {
    managed::run(&DELEGATION, |instance, manager| {
        let token = instance.token();
        remount(manager, &instance, &[]);
        remount(manager, &instance, &[("mode", "0750")]);
        assert_eq!(bpf::masks(&token), MASKS);
        let masks = MASKS.options();
        let masks = masks
            .each_ref()
            .map(|(option, mask)| (*option, mask.as_str()));
        remount(manager, &instance, &masks);
        assert_eq!(bpf::masks(&token), MASKS, "named as they are");
    });
}

/// The options that are shown of a mount.
pub(super) fn shown_at(path: &str) -> String {
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("/proc/self/mounts");
    let mut lines = mounts.lines().map(|line| line.split(' '));
    let mut line = lines
        .find(|line| line.clone().nth(1) == Some(path))
        .expect("mounted");
    line.nth(3).expect("options").to_owned()
}

fn shown_by_the_mount() {
    managed::run(
        &Delegation::of("0x1", "hash:array", "", ""),
        |instance, manager| {
            let path = container::attach(&instance);
            let shown = || {
                let shown = shown_at(path);
                let ours = shown
                    .split(',')
                    .filter(|option| option.starts_with("delegate_"));
                ours.collect::<Vec<_>>().join(",")
            };
            assert_eq!(shown(), "delegate_cmds=map_create,delegate_maps=hash:array");
            let ringbuf = MAPS.show(MAPS.bit("ringbuf")).expect("a name");
            remount(manager, &instance, &[("delegate_maps", "ringbuf")]);
            assert_eq!(shown(), format!("delegate_cmds=map_create,{ringbuf}"));
            remount(manager, &instance, &NOTHING);
            assert_eq!(shown(), "");
        },
    );
}
