// SPDX-License-Identifier: GPL-2.0
/* Lets a cgroup connect only to the networks of a trie. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct prefix {
	__u32 length;
	__u32 address;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 64);
	__type(key, struct prefix);
	__type(value, __u32);
} allowed SEC(".maps");

SEC("cgroup/connect4")
int connect(struct bpf_sock_addr *ctx)
{
	struct prefix key = { .length = 32, .address = ctx->user_ip4 };

	return bpf_map_lookup_elem(&allowed, &key) != 0;
}

char LICENSE[] SEC("license") = "GPL";
