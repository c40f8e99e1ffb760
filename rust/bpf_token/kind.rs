// SPDX-License-Identifier: GPL-2.0

//! The four kinds of enum that can be delegated: commands, map, program and attach types.
//!
//! Their names are here, and not only in the kernel's BTF, so that a look-up is cheap and names
//! work in a kernel without BTF. The build compares each table with bindgen's constants: a table
//! that lacks an enumerator of [`include/uapi/linux/bpf.h`](srctree/include/uapi/linux/bpf.h), or
//! has one out of order, does not compile.

#![forbid(unsafe_code)]

use crate::names::Names;
use kernel::{
    bindings,
    macros::paste, //
};

/// An enum whose enumerators can be delegated.
pub(crate) trait Kind {
    /// The place of its option among those of all kinds.
    const INDEX: u32;
    /// The mount option that sets it.
    const OPTION: &'static str;
    /// The article of the noun.
    const ARTICLE: &'static str;
    /// The noun for one enumerator.
    const NOUN: &'static str;
    /// The prefix of the enumerators in C.
    const PREFIX: &'static str;
    /// The names of its enumerators.
    const NAMES: &'static Names;
}

/// `enum bpf_cmd`.
pub(crate) enum Cmd {}
/// `enum bpf_map_type`.
pub(crate) enum MapType {}
/// `enum bpf_prog_type`.
pub(crate) enum ProgType {}
/// `enum bpf_attach_type`.
pub(crate) enum AttachType {}

/// Implements [`Kind`] for an enum: the place of its mount option, the option, a noun with its
/// article, the prefix that C has before each name here, the enumerator behind the last, the names
/// in the order of the enum, and the further names.
macro_rules! kind {
    (
        $kind:ident: $index:literal, $option:literal, $article:literal, $noun:literal, $enum:ident,
        $prefix:ident, $max:ident,
        [$($name:ident),* $(,)?],
        aliases [$($alias:ident),* $(,)?]
    ) => {
        paste! {
            impl Kind for $kind {
                const INDEX: u32 = $index;
                const OPTION: &'static str = $option;
                const ARTICLE: &'static str = $article;
                const NOUN: &'static str = $noun;
                const PREFIX: &'static str = stringify!($prefix);
                const NAMES: &'static Names = &Names::new(
                    &[$(stringify!($name)),*],
                    &Names::by_length(&[$(stringify!($name)),*]),
                    &[$((stringify!($alias), bindings::[<$enum _ $prefix $alias:upper>])),*],
                );
            }

            const _: () = {
                let values = [$(bindings::[<$enum _ $prefix $name:upper>]),*];
                let max = bindings::[<$enum _ $max>] as usize;
                let mut i = 0;
                while i < values.len() {
                    assert!(
                        values[i] as usize == i,
                        concat!(
                            "the table of ", stringify!($enum), " names in kind.rs lacks an ",
                            "enumerator, or has one out of order"
                        )
                    );
                    i += 1;
                }
                assert!(
                    values.len() == max,
                    concat!(
                        "the table of ", stringify!($enum), " names in kind.rs does not end ",
                        "where the enum ends"
                    )
                );
                assert!(
                    max < 64,
                    concat!(stringify!($enum), " no longer fits into a mask of 64 bits")
                );
            };
        }
    };
}

kind! {
    Cmd: 0, "delegate_cmds", "a", "bpf() command", bpf_cmd, BPF_, __MAX_BPF_CMD,
    [
        map_create, map_lookup_elem, map_update_elem, map_delete_elem, map_get_next_key, prog_load,
        obj_pin, obj_get, prog_attach, prog_detach, prog_test_run, prog_get_next_id,
        map_get_next_id, prog_get_fd_by_id, map_get_fd_by_id, obj_get_info_by_fd, prog_query,
        raw_tracepoint_open, btf_load, btf_get_fd_by_id, task_fd_query, map_lookup_and_delete_elem,
        map_freeze, btf_get_next_id, map_lookup_batch, map_lookup_and_delete_batch,
        map_update_batch, map_delete_batch, link_create, link_update, link_get_fd_by_id,
        link_get_next_id, enable_stats, iter_create, link_detach, prog_bind_map, token_create,
        prog_stream_read_by_fd, prog_assoc_struct_ops,
    ],
    aliases [prog_run]
}

kind! {
    MapType: 1, "delegate_maps", "a", "map type", bpf_map_type, BPF_MAP_TYPE_, __MAX_BPF_MAP_TYPE,
    [
        unspec, hash, array, prog_array, perf_event_array, percpu_hash, percpu_array, stack_trace,
        cgroup_array, lru_hash, lru_percpu_hash, lpm_trie, array_of_maps, hash_of_maps, devmap,
        sockmap, cpumap, xskmap, sockhash, cgroup_storage_deprecated, reuseport_sockarray,
        percpu_cgroup_storage_deprecated, queue, stack, sk_storage, devmap_hash, struct_ops,
        ringbuf, inode_storage, task_storage, bloom_filter, user_ringbuf, cgrp_storage, arena,
        insn_array, rhash,
    ],
    aliases [cgroup_storage, percpu_cgroup_storage]
}

kind! {
    ProgType: 2, "delegate_progs", "a", "program type", bpf_prog_type, BPF_PROG_TYPE_,
    __MAX_BPF_PROG_TYPE,
    [
        unspec, socket_filter, kprobe, sched_cls, sched_act, tracepoint, xdp, perf_event,
        cgroup_skb, cgroup_sock, lwt_in, lwt_out, lwt_xmit, sock_ops, sk_skb, cgroup_device,
        sk_msg, raw_tracepoint, cgroup_sock_addr, lwt_seg6local, lirc_mode2, sk_reuseport,
        flow_dissector, cgroup_sysctl, raw_tracepoint_writable, cgroup_sockopt, tracing,
        struct_ops, ext, lsm, sk_lookup, syscall, netfilter,
    ],
    aliases []
}

kind! {
    AttachType: 3, "delegate_attachs", "an", "attach type", bpf_attach_type, BPF_,
    __MAX_BPF_ATTACH_TYPE,
    [
        cgroup_inet_ingress, cgroup_inet_egress, cgroup_inet_sock_create, cgroup_sock_ops,
        sk_skb_stream_parser, sk_skb_stream_verdict, cgroup_device, sk_msg_verdict,
        cgroup_inet4_bind, cgroup_inet6_bind, cgroup_inet4_connect, cgroup_inet6_connect,
        cgroup_inet4_post_bind, cgroup_inet6_post_bind, cgroup_udp4_sendmsg, cgroup_udp6_sendmsg,
        lirc_mode2, flow_dissector, cgroup_sysctl, cgroup_udp4_recvmsg, cgroup_udp6_recvmsg,
        cgroup_getsockopt, cgroup_setsockopt, trace_raw_tp, trace_fentry, trace_fexit,
        modify_return, lsm_mac, trace_iter, cgroup_inet4_getpeername, cgroup_inet6_getpeername,
        cgroup_inet4_getsockname, cgroup_inet6_getsockname, xdp_devmap, cgroup_inet_sock_release,
        xdp_cpumap, sk_lookup, xdp, sk_skb_verdict, sk_reuseport_select,
        sk_reuseport_select_or_migrate, perf_event, trace_kprobe_multi, lsm_cgroup, struct_ops,
        netfilter, tcx_ingress, tcx_egress, trace_uprobe_multi, cgroup_unix_connect,
        cgroup_unix_sendmsg, cgroup_unix_recvmsg, cgroup_unix_getpeername,
        cgroup_unix_getsockname, netkit_primary, netkit_peer, trace_kprobe_session,
        trace_uprobe_session, trace_fsession, trace_fentry_multi, trace_fexit_multi,
        trace_fsession_multi,
    ],
    aliases []
}
