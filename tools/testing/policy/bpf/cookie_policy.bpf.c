// SPDX-License-Identifier: GPL-2.0
/*
 * Limits what a container may do with its tokens, by the cookie that its manager gave it: how many maps it has at a
 * time, and which functions and tracepoints of the kernel its programs name as targets. Who has no entry in the map
 * `limits` is not limited.
 */
#include <linux/bpf.h>
#include <linux/errno.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct bpf_token {
	__u64 cookie;
} __attribute__((preserve_access_index));

struct btf {
	struct btf *base_btf;
} __attribute__((preserve_access_index));

struct bpf_prog_aux {
	__u32 attach_btf_id;
	struct btf *attach_btf;
} __attribute__((preserve_access_index));

struct bpf_prog {
	enum bpf_prog_type type;
	struct bpf_prog_aux *aux;
} __attribute__((preserve_access_index));

struct bpf_map;

struct target {
	__u64 cookie;
	__u64 btf_id;
};

/* How many maps a container may have, by its cookie. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, __u64);
} limits SEC(".maps");

/* How many it has. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, __u64);
} counts SEC(".maps");

/* The cookie that a map is counted for, by the address of the map. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, __u64);
} owners SEC(".maps");

/* The targets that it may name. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct target);
	__type(value, __u8);
} targets SEC(".maps");

SEC("lsm/bpf_map_create")
int BPF_PROG(map_create, struct bpf_map *map, union bpf_attr *attr, struct bpf_token *token, _Bool kernel)
{
	__u64 cookie = BPF_CORE_READ(token, cookie), address = (__u64)map;
	__u64 *limit = bpf_map_lookup_elem(&limits, &cookie);
	__u64 *count = bpf_map_lookup_elem(&counts, &cookie);

	if (!limit)
		return 0;
	if (!count)
		return -EPERM;
	if (__sync_fetch_and_add(count, 1) < *limit &&
	    !bpf_map_update_elem(&owners, &address, &cookie, BPF_ANY))
		return 0;
	__sync_fetch_and_add(count, -1);
	return -EDQUOT;
}

/* Also of a map that was not made in the end. */
SEC("lsm/bpf_map_free")
int BPF_PROG(map_free, struct bpf_map *map)
{
	__u64 address = (__u64)map;
	__u64 *cookie = bpf_map_lookup_elem(&owners, &address);
	__u64 *count = cookie ? bpf_map_lookup_elem(&counts, cookie) : NULL;

	if (count)
		__sync_fetch_and_add(count, -1);
	if (cookie)
		bpf_map_delete_elem(&owners, &address);
	return 0;
}

SEC("lsm/bpf_prog_load")
int BPF_PROG(prog_load, struct bpf_prog *prog, union bpf_attr *attr, struct bpf_token *token, _Bool kernel)
{
	struct target target = {
		.cookie = BPF_CORE_READ(token, cookie),
		.btf_id = prog->aux->attach_btf_id,
	};

	if (!bpf_map_lookup_elem(&limits, &target.cookie))
		return 0;
	switch (prog->type) {
	case BPF_PROG_TYPE_KPROBE:
	case BPF_PROG_TYPE_TRACEPOINT:
	case BPF_PROG_TYPE_PERF_EVENT:
	case BPF_PROG_TYPE_RAW_TRACEPOINT:
	case BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE:
		/* Their target is only named when they are attached. */
		return -EPERM;
	default:
		break;
	}
	if (!target.btf_id)
		return 0;
	/* The number is one of the kernel's own BTF, and not of a module's or a program's. */
	if (!prog->aux->attach_btf || BPF_CORE_READ(prog, aux, attach_btf, base_btf))
		return -EPERM;
	return bpf_map_lookup_elem(&targets, &target) ? 0 : -EPERM;
}

char LICENSE[] SEC("license") = "GPL";
