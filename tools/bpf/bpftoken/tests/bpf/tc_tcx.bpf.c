// SPDX-License-Identifier: GPL-2.0
/* A tcx classifier with a hash, and a constant that user space sets before the load. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

const volatile __u32 limit = 1500;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u64);
} long_packets SEC(".maps");

SEC("tcx/ingress")
int count_long(struct __sk_buff *skb)
{
	__u32 key = skb->ifindex;
	__u64 one = 1, *count;

	if (skb->len <= limit)
		return -1;
	count = bpf_map_lookup_elem(&long_packets, &key);
	if (count)
		__sync_fetch_and_add(count, 1);
	else
		bpf_map_update_elem(&long_packets, &key, &one, BPF_NOEXIST);
	return -1;
}

char LICENSE[] SEC("license") = "GPL";
