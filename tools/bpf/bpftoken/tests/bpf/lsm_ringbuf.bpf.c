// SPDX-License-Identifier: GPL-2.0
/* An LSM program that reports each use of bpf(2). */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} uses SEC(".maps");

SEC("lsm/bpf")
int BPF_PROG(on_bpf, int cmd, union bpf_attr *attr, unsigned int size)
{
	bpf_ringbuf_output(&uses, &cmd, sizeof(cmd), 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
