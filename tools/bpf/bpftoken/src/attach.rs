// SPDX-License-Identifier: GPL-2.0
//! What it takes to attach a program once it is loaded, by `kernel/bpf/syscall.c` and
//! `kernel/events/core.c` of Linux 7.3.

use bpf_token::AttachType;
use bpf_token::ProgType;

/// What attaching a program takes, beyond the link; nothing for a program that is not attached, or
/// of which there is nothing to say.
pub fn needs(prog_type: ProgType, attach_type: AttachType) -> Option<&'static str> {
    const CGROUP: &str = "an open cgroup";
    Some(match (prog_type, attach_type) {
        (
            ProgType::KPROBE,
            AttachType::TRACE_KPROBE_MULTI
            | AttachType::TRACE_KPROBE_SESSION
            | AttachType::TRACE_UPROBE_MULTI
            | AttachType::TRACE_UPROBE_SESSION,
        ) => return None,
        (ProgType::KPROBE | ProgType::TRACEPOINT | ProgType::PERF_EVENT, _) => {
            "a perf event, for which no token helps: bpftoken run --probes, or CAP_PERFMON in the initial \
             user namespace"
        }
        (ProgType::XDP | ProgType::SCHED_CLS, _) => {
            "a device of its own network namespace; through netlink also CAP_NET_ADMIN there"
        }
        (ProgType::SCHED_ACT, _) => "CAP_NET_ADMIN in the user namespace of its network namespace",
        (ProgType::CGROUP_SKB, _) => {
            "an open cgroup, and CAP_NET_ADMIN in the user namespace of the token"
        }
        (
            ProgType::CGROUP_SOCK
            | ProgType::CGROUP_SOCK_ADDR
            | ProgType::CGROUP_SOCKOPT
            | ProgType::CGROUP_SYSCTL
            | ProgType::CGROUP_DEVICE
            | ProgType::SOCK_OPS,
            _,
        )
        | (ProgType::LSM, AttachType::LSM_CGROUP) => CGROUP,
        (ProgType::SK_SKB | ProgType::SK_MSG, _) => "a sockmap or sockhash",
        (ProgType::SK_LOOKUP | ProgType::FLOW_DISSECTOR, _) => "an open network namespace",
        (ProgType::SOCKET_FILTER | ProgType::SK_REUSEPORT, _) => "a socket of its own",
        (ProgType::STRUCT_OPS, _) => "a struct_ops map with BPF_F_LINK, and a link to it",
        (ProgType::EXT, _) => "the program that it extends",
        _ => return None,
    })
}
