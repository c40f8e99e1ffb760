// SPDX-License-Identifier: GPL-2.0
/* A socket filter that counts by protocol. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u64);
} packets SEC(".maps");

SEC("socket")
int count(struct __sk_buff *skb)
{
	__u32 protocol = skb->protocol & 0xff;
	__u64 *count = bpf_map_lookup_elem(&packets, &protocol);

	if (count)
		__sync_fetch_and_add(count, 1);
	return skb->len;
}

char LICENSE[] SEC("license") = "GPL";
