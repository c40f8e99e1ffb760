// SPDX-License-Identifier: GPL-2.0
/* A tracepoint that counts by stack, in a stack trace map and a per-CPU hash. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 128);
	__uint(key_size, 4);
	__uint(value_size, 8 * 20);
} stacks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 128);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

SEC("tracepoint/sched/sched_switch")
int on_switch(void *ctx)
{
	__u64 one = 1, *count;
	int found = bpf_get_stackid(ctx, &stacks, 0);
	__u32 stack;

	if (found < 0)
		return 0;
	stack = found;
	count = bpf_map_lookup_elem(&counts, &stack);
	if (count)
		*count += 1;
	else
		bpf_map_update_elem(&counts, &stack, &one, BPF_ANY);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
