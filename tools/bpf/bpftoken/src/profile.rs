// SPDX-License-Identifier: GPL-2.0
//! Named delegations: each is the least that its example in `tests/bpf/` needs, and a test holds it to
//! that. Each has socket_filter and cgroup_inet_ingress: libbpf loads a socket filter first, to learn what
//! the kernel and the token let it do.

use anyhow::Result;
use bpf_token::Delegation;

/// A named delegation.
#[derive(Debug)]
pub struct Profile {
    pub name: &'static str,
    /// As mount options.
    options: &'static str,
}

impl Profile {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self {
            name: "observe",
            options: "delegate_cmds=map_create:prog_load,delegate_maps=ringbuf,\
                      delegate_progs=socket_filter:tracing,delegate_attachs=cgroup_inet_ingress:trace_raw_tp",
        },
        Self {
            name: "trace",
            options: "delegate_cmds=map_create:prog_load,delegate_maps=hash,\
                      delegate_progs=socket_filter:kprobe,delegate_attachs=cgroup_inet_ingress",
        },
        Self {
            name: "filter",
            options: "delegate_cmds=map_create:prog_load,delegate_maps=array,\
                      delegate_progs=socket_filter,delegate_attachs=cgroup_inet_ingress",
        },
        Self {
            name: "xdp",
            options: "delegate_cmds=map_create:prog_load,delegate_maps=array,\
                      delegate_progs=socket_filter:xdp,delegate_attachs=cgroup_inet_ingress",
        },
    ];

    /// The profile of this name.
    pub fn of(name: &str) -> Option<&'static Self> {
        const ALL: &[Profile] = &Profile::ALL;
        ALL.iter().find(|profile| profile.name == name)
    }

    /// What it delegates.
    pub fn delegation(&self) -> Result<Delegation> {
        Ok(self.options.parse()?)
    }
}
