// SPDX-License-Identifier: GPL-2.0

//! Rule 6 for every type: which capabilities a map or program of each type needs, by a token and without, asked for by real
//! commands with each subset of the four capabilities. Both kernels pass it, so both need the same.

use std::os::fd::AsRawFd;
use std::os::fd::RawFd;

use guest::bpf;
use guest::btf;
use guest::container;
use guest::container::Delegation;
use guest::kernel::Sysctl;
use guest::process;
use guest::rules;
use guest::rules::Cap;
use libtest_mimic::Trial;
use rustix::io::Errno;
use rustix::thread::CapabilitySet;

use super::model::capability_sets;
use super::tests;

pub fn tests() -> Vec<Trial> {
    tests![maps_of_every_type, programs_of_every_type]
}

fn set(caps: &[Cap]) -> CapabilitySet {
    caps.iter()
        .fold(CapabilitySet::empty(), |set, cap| set | cap.set)
}

/// The types of an enum of the running kernel, but the first, which is none.
fn types(enum_name: &str, prefix: &str) -> Vec<(String, u32)> {
    let values = btf::enumerators(enum_name).into_iter();
    let types: Vec<(String, u32)> = values
        .filter(|(_, value)| *value != 0)
        .filter_map(|(name, value)| Some((name.strip_prefix(prefix)?.to_owned(), value as u32)))
        .collect();
    assert!(types.len() > 30, "{types:?}");
    types
}

/// With each subset of the capabilities, `command` gets `EPERM` just where `needed` is not there.
fn check(
    what: &str,
    needed: CapabilitySet,
    token: Option<RawFd>,
    command: impl Fn(Option<RawFd>) -> Option<Errno>,
) {
    // A descriptor in place of a token is looked at: nothing before the token step refuses.
    let reached = command(Some(RawFd::MAX)) == Some(Errno::BADF);
    assert!(reached, "{what} does not come to its token step");
    for held in capability_sets() {
        let has_it = held.contains(CapabilitySet::SYS_ADMIN) || held.contains(needed);
        let errno = process::with_capabilities(held, || command(token));
        assert_eq!(
            errno == Some(Errno::PERM),
            !has_it,
            "{what} with {held:?}: {errno:?}"
        );
    }
}

/// Checks the commands of all types, without a token, and by one that delegates all; with BPF for all, and for some.
fn check_all(
    types: &[(String, u32)],
    needed: fn(u32) -> &'static [Cap],
    command: fn(u32, Option<RawFd>) -> Option<Errno>,
) {
    for (disabled, always) in [("0", CapabilitySet::empty()), ("2", CapabilitySet::BPF)] {
        let _sysctl = Sysctl::set("kernel/unprivileged_bpf_disabled", disabled);
        let check_with = |token| {
            for (name, value) in types {
                check(name, set(needed(*value)) | always, token, |token| {
                    command(*value, token)
                });
            }
        };
        check_with(None);
        container::run(&Delegation::ANY, |instance| {
            let token = instance.token();
            check_with(Some(token.as_raw_fd()));
        });
    }
}

fn maps_of_every_type() {
    let types = types("bpf_map_type", "BPF_MAP_TYPE_");
    check_all(&types, rules::of_map, |map_type, token| {
        bpf::map_of_type(map_type, token).err()
    });
}

fn programs_of_every_type() {
    let types = types("bpf_prog_type", "BPF_PROG_TYPE_");
    // No verifier takes it: what is not EPERM came to the verifier, or to what the type itself needs.
    check_all(&types, rules::of_prog, |prog_type, token| {
        bpf::prog_of_type(prog_type, &[0], token).err()
    });
}
