// SPDX-License-Identifier: GPL-2.0
/* Reports every exec in one pid namespace through a ring buffer. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct task_struct {
	int tgid;
	char comm[16];
} __attribute__((preserve_access_index));

struct linux_binprm {
	const char *filename;
} __attribute__((preserve_access_index));

/* Which pid namespace to report, as stat(2) tells of /proc/self/ns/pid. */
struct pid_namespace_id {
	__u64 dev;
	__u64 ino;
};

struct exec_event {
	__u32 pid;
	__u32 host_pid;
	char comm[16];
	char filename[64];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pid_namespace_id);
} namespace SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} events SEC(".maps");

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	struct bpf_pidns_info ids;
	struct pid_namespace_id *ns;
	struct exec_event *event;
	__u32 zero = 0;

	ns = bpf_map_lookup_elem(&namespace, &zero);
	if (!ns || bpf_get_ns_current_pid_tgid(ns->dev, ns->ino, &ids, sizeof(ids)))
		return 0;

	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event)
		return 0;
	event->pid = ids.tgid;
	event->host_pid = task->tgid;
	bpf_probe_read_kernel(event->comm, sizeof(event->comm), task->comm);
	bpf_probe_read_kernel_str(event->filename, sizeof(event->filename), bprm->filename);
	bpf_ringbuf_submit(event, 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
