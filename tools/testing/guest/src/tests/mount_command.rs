// SPDX-License-Identifier: GPL-2.0

//! The delegation options through `mount(8)` of util-linux: what it sets, and what it says when refused.

use std::process::Command;
use std::process::Output;

use guest::container;
use guest::container::Delegation;
use guest::enums::CMDS;
use guest::enums::MAPS;
use guest::kernel;
use guest::process;
use libtest_mimic::Trial;

use super::tests;

pub fn tests() -> Vec<Trial> {
    tests![
        sets_options,
        says_what_is_wrong,
        says_what_privilege_is_missing
    ]
}

/// Of the Rust kernel alone.
pub fn tests_of_remount() -> Vec<Trial> {
    tests![remount_replaces_what_it_names]
}

const TARGET: &str = "/tmp/bpf";

/// Calls `mount -t bpf -o OPTIONS` in a mount namespace of the caller's own.
fn mount(options: &str) -> Output {
    let mut command = Command::new("mount");
    command.args(["-t", "bpf", "-o", options, "bpf", TARGET]);
    command.output().expect("mount(8) is installed")
}

fn prepare_target() {
    std::fs::create_dir(TARGET).expect("mkdir");
}

fn shown() -> Option<String> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("/proc/self/mounts");
    let line = mounts
        .lines()
        .find(|line| line.split(' ').nth(1) == Some(TARGET))?;
    line.split(' ').nth(3).map(str::to_owned)
}

fn sets_options() {
    process::run(|| {
        container::isolate_mounts();
        prepare_target();
        let output = mount("delegate_cmds=MAP_CREATE:prog_load,delegate_maps=0x6,delegate_maps=ringbuf,delegate_progs=any");
        assert!(output.status.success(), "{output:?}");
        let cmds = CMDS.show(CMDS.bit("map_create") | CMDS.bit("prog_load"));
        let maps = MAPS.show(0x6 | MAPS.bit("ringbuf"));
        let (cmds, maps) = (cmds.expect("two commands"), maps.expect("three map types"));
        let expected = format!("rw,relatime,{cmds},{maps},delegate_progs=any");
        assert_eq!(shown(), Some(expected));
    });
}

/// `mount(8)` fails, and says `expected` if the kernel does.
fn expect_refused(options: &str, expected: &str) {
    let output = mount(options);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{options}: {output:?}");
    assert_eq!(
        said.contains(expected),
        kernel::explains(),
        "{options}: {said}, not {expected}"
    );
    assert_eq!(shown(), None, "{options}");
}

fn says_what_is_wrong() {
    process::run(|| {
        container::isolate_mounts();
        prepare_target();
        for (options, expected) in [
            (
                "delegate_maps=hash:ringbuff",
                "delegate_maps: 'ringbuff' is not a map type, did you mean 'ringbuf'?",
            ),
            (
                "delegate_cmds=any,delegate_progs=0x10000000000000000",
                "delegate_progs: '0x10000000000000000' does not fit into 64 bits",
            ),
            (
                "delegate_attachs=xdp::sk_lookup",
                "delegate_attachs: an item is empty",
            ),
        ] {
            expect_refused(options, expected);
        }
    });
}

fn says_what_privilege_is_missing() {
    container::run(&Delegation::NOTHING, |_| {
        container::mount_tmpfs();
        prepare_target();
        let expected =
            "delegate_cmds: to delegate needs CAP_SYS_ADMIN in the initial user namespace";
        expect_refused("delegate_cmds=map_create", expected);
    });
}

/// `mount -o remount,OPTIONS` names all that is shown, and then the options given: these count.
fn remount_replaces_what_it_names() {
    process::run(|| {
        container::isolate_mounts();
        prepare_target();
        let given =
            "delegate_cmds=any,delegate_maps=hash:array,delegate_progs=xdp,delegate_cookie=7";
        let output = mount(given);
        assert!(output.status.success(), "{output:?}");
        for (options, expected) in [
            (
                "delegate_maps=array",
                "rw,relatime,delegate_cmds=any,delegate_maps=array,delegate_progs=xdp,delegate_cookie=7",
            ),
            (
                "ro,delegate_cmds=map_create",
                "ro,relatime,delegate_cmds=map_create,delegate_maps=array,delegate_progs=xdp,delegate_cookie=7",
            ),
            (
                "rw,delegate_maps=ringbuf,delegate_progs=0x0",
                "rw,relatime,delegate_cmds=map_create,delegate_maps=ringbuf,delegate_cookie=7",
            ),
            (
                "delegate_cmds=0",
                "rw,relatime,delegate_maps=ringbuf,delegate_cookie=7",
            ),
        ] {
            let options = format!("remount,{options}");
            let mut command = Command::new("mount");
            let output = command.args(["-o", &options, TARGET]).output();
            let output = output.expect("mount(8) is installed");
            assert!(output.status.success(), "{options}: {output:?}");
            assert_eq!(shown().as_deref(), Some(expected), "{options}");
        }
    });
}
