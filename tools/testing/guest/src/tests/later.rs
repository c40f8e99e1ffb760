// SPDX-License-Identifier: GPL-2.0

//! Refusals after the token step of a command, where the kernel looks for a capability once more: with the token of the
//! map or program, and with the reason.

use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;
use std::os::unix::fs::MetadataExt;

use guest::bpf;
use guest::bpf::AttachType;
use guest::bpf::ProgType;
use guest::container;
use guest::container::Delegation;
use guest::kernel;
use guest::kernel::Sysctl;
use guest::log;
use guest::process::drop_capabilities;
use libtest_mimic::Trial;
use rustix::io::Errno;
use rustix::thread::CapabilitySet;

use super::tests;
use super::usage;
use crate::hooks::Hook;
use crate::hooks::Watch;
use crate::trace::Trace;

pub fn tests() -> Vec<Trial> {
    tests![
        map_with_fields_of_the_kernel,
        map_with_fields_of_the_kernel_and_a_token_put_aside,
        map_with_fields_of_the_kernel_refused_by_a_module,
        program_attached_without_capability,
        program_attached_without_capability_or_a_reader,
    ]
}

/// A value with a `bpf_spin_lock` needs CAP_BPF, also where anyone may create arrays.
fn map_with_fields_of_the_kernel() {
    const VALUE: u32 = 3;
    let _anyone = Sysctl::set("kernel/unprivileged_bpf_disabled", "0");
    container::run(&Delegation::ANY, |instance| {
        let token = instance.token();
        let btf =
            bpf::btf_load(&bpf::btf_of_spin_lock(), Some(token.as_raw_fd())).expect("granted");
        let create = |token, expected: Option<Errno>, reason: &str| {
            let mut buffer = log::Buffer::of(4096);
            let created =
                bpf::typed_array_create_logged(&btf, VALUE, token, &buffer.log(log::LEVEL));
            assert_eq!(created.err(), expected, "{reason}");
            let line = kernel::explains() && expected.is_some();
            assert_eq!(buffer.text(), line.then(|| format!("{reason}\n")));
        };
        let given = Some(token.as_raw_fd());
        create(given, None, "granted");
        create(
            None,
            Some(Errno::PERM),
            "a map value with fields of the kernel needs CAP_BPF in the initial user namespace, because no token was \
             given",
        );
        drop_capabilities(CapabilitySet::BPF | CapabilitySet::SYS_ADMIN);
        create(
            given,
            Some(Errno::PERM),
            "a map value with fields of the kernel needs CAP_BPF in the user namespace that owns the token",
        );
    });
}

/// Creates an array whose value has a lock, and expects `EPERM` and this reason.
fn refused_fields(btf: &OwnedFd, token: RawFd, reason: &str) {
    const VALUE: u32 = 3;
    let mut buffer = log::Buffer::of(4096);
    let log = buffer.log(log::LEVEL);
    let created = bpf::typed_array_create_logged(btf, VALUE, Some(token), &log);
    assert_eq!(created.err(), Some(Errno::PERM), "{reason}");
    let expected = kernel::explains().then(|| format!("{reason}\n"));
    let true_size = log.true_size.get() as usize;
    assert_eq!(
        true_size,
        expected.as_ref().map_or(0, |line| line.len() + 1)
    );
    assert_eq!(buffer.text(), expected);
}

/// The one event that there is, if the kernel has events, with these fields.
fn expect_event(trace: Option<&Trace>, expected: &[(&str, &str)]) {
    let Some(trace) = trace else { return };
    let events = trace.read();
    let [refused] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(refused.name, "bpf_token_refuse");
    for (key, value) in expected {
        assert_eq!(refused.field(key), *value, "{key} of {refused:?}");
    }
}

/// The token that was given is not forgotten: its masks, and what of them was not enough.
fn map_with_fields_of_the_kernel_and_a_token_put_aside() {
    let _anyone = Sysctl::set("kernel/unprivileged_bpf_disabled", "0");
    let trace = kernel::explains().then(Trace::start);
    container::run(&Delegation::of("0x40001", "hash", "", ""), |instance| {
        let token = instance.token();
        let btf = bpf::btf_of_spin_lock();
        let btf = bpf::btf_load(&btf, Some(token.as_raw_fd())).expect("granted");
        let _ = trace.as_ref().map(Trace::read);
        let reason = "a map value with fields of the kernel needs CAP_BPF in the initial user namespace, because the \
                      token does not delegate map type array (delegate_maps=hash)";
        refused_fields(&btf, token.as_raw_fd(), reason);
        let expected = [
            ("userns", user_namespace()),
            ("cmds", "0x40001".into()),
            ("maps", "0x2".into()),
            ("cmd", "0".into()),
            ("type", "2".into()),
            ("cap", "39".into()),
            ("err", "-1".into()),
            ("reason", reason.into()),
        ];
        let expected: Vec<(&str, &str)> = expected.iter().map(|(k, v)| (*k, v.as_str())).collect();
        expect_event(trace.as_ref(), &expected);
    });
}

fn user_namespace() -> String {
    let namespace = std::fs::metadata("/proc/self/ns/user").expect("/proc/self/ns/user");
    namespace.ino().to_string()
}

/// Who has the capability, and is denied it by a security module, is not told to lack it.
fn map_with_fields_of_the_kernel_refused_by_a_module() {
    let _anyone = Sysctl::set("kernel/unprivileged_bpf_disabled", "0");
    let watch = Watch::start();
    container::run(&Delegation::ANY, |instance| {
        let token = instance.token();
        let btf = bpf::btf_of_spin_lock();
        let btf = bpf::btf_load(&btf, Some(token.as_raw_fd())).expect("granted");
        let inum = user_namespace().parse().expect("a number");
        watch.look_at(inum, Some((Hook::TokenCapable, Errno::DOM)));
        refused_fields(
            &btf,
            token.as_raw_fd(),
            "a map value with fields of the kernel needs CAP_BPF, which a security module refused to the token",
        );
        assert_eq!(watch.seen(Hook::TokenCapable).count, 1, "asked once");
    });
}

/// A `cgroup_skb` program is asked for CAP_NET_ADMIN when it is attached: in the namespace of its token. The event
/// names the command, and the errno that the caller gets.
fn program_attached_without_capability() {
    const INGRESS: AttachType = AttachType::CgroupInetIngress;
    let reason = "to attach program type cgroup_skb needs CAP_NET_ADMIN in the user namespace that owns the token";
    let trace = kernel::explains().then(Trace::start);
    container::run(&Delegation::ANY, |instance| {
        let token = instance.token();
        let prog = usage::prog(ProgType::CgroupSkb, INGRESS);
        let prog = bpf::prog_load(&prog, Some(token.as_raw_fd())).expect("granted");
        // With the capability, it is the cgroup that is missed.
        assert_eq!(bpf::prog_attach(-1, &prog, INGRESS), Err(Errno::BADF));
        let linked = bpf::link_create(-1, &prog, INGRESS);
        assert_eq!(linked.err(), Some(Errno::BADF));
        drop_capabilities(CapabilitySet::NET_ADMIN | CapabilitySet::SYS_ADMIN);
        let _ = trace.as_ref().map(Trace::read);

        let event = |cmd, err| {
            let expected = [
                ("cmd", cmd),
                ("type", "8"),
                ("attach_type", "0"),
                ("cap", "12"),
                ("err", err),
            ];
            expect_event(
                trace.as_ref(),
                &[&expected[..], &[("reason", reason)]].concat(),
            );
        };
        // BPF_PROG_ATTACH makes one errno of all that the type of attachment is refused for.
        assert_eq!(bpf::prog_attach(-1, &prog, INGRESS), Err(Errno::INVAL));
        event("8", "-22");
        let linked = bpf::link_create(-1, &prog, INGRESS);
        assert_eq!(linked.err(), Some(Errno::PERM));
        event("28", "-1");
    });
}

/// The same where nobody reads the reason; and for a program that came without a token.
fn program_attached_without_capability_or_a_reader() {
    const INGRESS: AttachType = AttachType::CgroupInetIngress;
    let _anyone = Sysctl::set("kernel/unprivileged_bpf_disabled", "0");
    container::run(&Delegation::ANY, |instance| {
        let token = instance.token();
        let prog = usage::prog(ProgType::CgroupSkb, INGRESS);
        let by_token = bpf::prog_load(&prog, Some(token.as_raw_fd())).expect("granted");
        let by_anybody = bpf::prog_load(&prog, None).expect("anybody may");
        assert_eq!(bpf::prog_attach(-1, &by_token, INGRESS), Err(Errno::BADF));
        drop_capabilities(CapabilitySet::NET_ADMIN | CapabilitySet::SYS_ADMIN);
        for prog in [&by_token, &by_anybody] {
            assert_eq!(bpf::prog_attach(-1, prog, INGRESS), Err(Errno::INVAL));
            let linked = bpf::link_create(-1, prog, INGRESS);
            assert_eq!(linked.err(), Some(Errno::PERM));
        }
    });
}
