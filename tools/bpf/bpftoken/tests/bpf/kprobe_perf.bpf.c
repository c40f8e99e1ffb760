// SPDX-License-Identifier: GPL-2.0
/* A kprobe that sends samples through a perf event array. */
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} samples SEC(".maps");

SEC("kprobe/do_exit")
int on_exit(struct pt_regs *ctx)
{
	__u64 id = bpf_get_current_pid_tgid();

	bpf_perf_event_output(ctx, &samples, BPF_F_CURRENT_CPU, &id, sizeof(id));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
