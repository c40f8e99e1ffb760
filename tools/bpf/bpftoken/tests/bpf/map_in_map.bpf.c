// SPDX-License-Identifier: GPL-2.0
/* A cgroup filter with an array of queues: the type of the inner maps counts, too. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct inner {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 16);
	__type(value, __u32);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 4);
	__type(key, __u32);
	__array(values, struct inner);
} queues SEC(".maps");

SEC("cgroup_skb/egress")
int queue_length(struct __sk_buff *skb)
{
	__u32 key = skb->ifindex & 3, length = skb->len;
	void *queue = bpf_map_lookup_elem(&queues, &key);

	if (queue)
		bpf_map_push_elem(queue, &length, BPF_EXIST);
	return 1;
}

char LICENSE[] SEC("license") = "GPL";
