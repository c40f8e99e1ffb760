// SPDX-License-Identifier: GPL-2.0

//! Refusals after the token step of a command, where the kernel looks for a capability once more: with the token of the
//! map or program, and with the reason.

use std::os::fd::AsRawFd;

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
use crate::trace::Trace;

pub fn tests() -> Vec<Trial> {
    tests![
        map_with_fields_of_the_kernel,
        program_attached_without_capability
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

/// A `cgroup_skb` program is asked for CAP_NET_ADMIN when it is attached: in the namespace of its token.
fn program_attached_without_capability() {
    const CAP_NET_ADMIN: i32 = 12;
    const INGRESS: AttachType = AttachType::CgroupInetIngress;
    let trace = kernel::explains().then(Trace::start);
    container::run(&Delegation::ANY, |instance| {
        let token = instance.token();
        let prog = usage::prog(ProgType::CgroupSkb, INGRESS);
        let prog = bpf::prog_load(&prog, Some(token.as_raw_fd())).expect("granted");
        // With the capability, it is the cgroup that is missed.
        assert_eq!(bpf::prog_attach(-1, &prog, INGRESS), Err(Errno::BADF));
        drop_capabilities(CapabilitySet::NET_ADMIN | CapabilitySet::SYS_ADMIN);
        let _ = trace.as_ref().map(Trace::read);
        // BPF_PROG_ATTACH makes one errno of all that the type of attachment is refused for.
        assert_eq!(bpf::prog_attach(-1, &prog, INGRESS), Err(Errno::INVAL));

        let Some(trace) = &trace else { return };
        let events = trace.read();
        let [refused] = events.as_slice() else {
            panic!("{events:?}");
        };
        assert_eq!(refused.name, "bpf_token_refuse");
        for (key, expected) in [
            ("cmd", "8"),
            ("type", "8"),
            ("attach_type", "0"),
            ("cap", &CAP_NET_ADMIN.to_string()),
            ("err", "-1"),
            (
                "reason",
                "to attach program type cgroup_skb needs CAP_NET_ADMIN in the user namespace that owns the token",
            ),
        ] {
            assert_eq!(refused.field(key), expected, "{key} of {refused:?}");
        }
    });
}
