// SPDX-License-Identifier: GPL-2.0
/* fentry and fexit that time a function of the kernel; each task stores what is under way. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} started SEC(".maps");

struct task_struct;

SEC("fentry/vfs_read")
int BPF_PROG(enter)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 *start = bpf_task_storage_get(&started, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (start)
		*start = bpf_ktime_get_ns();
	return 0;
}

SEC("fexit/vfs_read")
int BPF_PROG(leave)
{
	bpf_task_storage_delete(&started, bpf_get_current_task_btf());
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
