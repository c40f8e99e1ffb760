// SPDX-License-Identifier: GPL-2.0
/* Counts what each hook of a BPF token sees of the tokens of one user namespace, and refuses there. */
#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct ns_common {
	unsigned int inum;
} __attribute__((preserve_access_index));

struct user_namespace {
	struct ns_common ns;
} __attribute__((preserve_access_index));

struct bpf_token {
	struct user_namespace *userns;
	__u64 allowed_cmds;
	__u64 allowed_maps;
	__u64 allowed_progs;
	__u64 allowed_attachs;
} __attribute__((preserve_access_index));

struct bpf_map;
struct bpf_prog;
struct path;

enum hook { CREATE, FREE, CMD, CAPABLE, MAP_CREATE, PROG_LOAD, HOOKS };

/* Which tokens to look at, which hooks refuse with which errno, and for which second arguments. */
struct orders {
	__u64 args;
	__u32 userns;
	__s32 errno[HOOKS];
};

/* What a hook saw; args is the set of second arguments: commands or capabilities. */
struct seen {
	__u64 count;
	__u64 args;
	__u64 cmds;
	__u64 maps;
	__u64 progs;
	__u64 attachs;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct orders);
} orders SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, HOOKS);
	__type(key, __u32);
	__type(value, struct seen);
} seen SEC(".maps");

/* Notes a call of the hook, and tells what the hook is to return. */
static __always_inline int note(__u32 hook, __u32 userns, __u64 arg, __u64 cmds, __u64 maps,
				__u64 progs, __u64 attachs)
{
	__u32 zero = 0, key = hook;
	struct orders *given = bpf_map_lookup_elem(&orders, &zero);
	struct seen *entry = bpf_map_lookup_elem(&seen, &key);

	if (!given || !entry || !userns || userns != given->userns)
		return 0;
	__sync_fetch_and_add(&entry->count, 1);
	__sync_fetch_and_or(&entry->args, 1ULL << (arg & 63));
	entry->cmds = cmds;
	entry->maps = maps;
	entry->progs = progs;
	entry->attachs = attachs;
	if (!(given->args >> (arg & 63) & 1))
		return 0;
	return -(given->errno[hook] & 0xfff);
}

/* A hook that always has a token reads it as its type, which BTF gives. */
#define NOTE(hook, token, arg)                                                                     \
	note(hook, (token)->userns->ns.inum, arg, (token)->allowed_cmds, (token)->allowed_maps,    \
	     (token)->allowed_progs, (token)->allowed_attachs)

/* Without a token, all that is read is 0. */
#define NOTE_IF_ANY(hook, token)                                                                   \
	note(hook, BPF_CORE_READ(token, userns, ns.inum), 0, BPF_CORE_READ(token, allowed_cmds),   \
	     BPF_CORE_READ(token, allowed_maps), BPF_CORE_READ(token, allowed_progs),              \
	     BPF_CORE_READ(token, allowed_attachs))

SEC("lsm/bpf_token_create")
int BPF_PROG(token_create, struct bpf_token *token, union bpf_attr *attr, const struct path *path)
{
	return NOTE(CREATE, token, 0);
}

SEC("lsm/bpf_token_free")
int BPF_PROG(token_free, struct bpf_token *token)
{
	NOTE(FREE, token, 0);
	return 0;
}

SEC("lsm/bpf_token_cmd")
int BPF_PROG(token_cmd, const struct bpf_token *token, int cmd)
{
	return NOTE(CMD, token, cmd);
}

SEC("lsm/bpf_token_capable")
int BPF_PROG(token_capable, const struct bpf_token *token, int cap)
{
	return NOTE(CAPABLE, token, cap);
}

SEC("lsm/bpf_map_create")
int BPF_PROG(map_create, struct bpf_map *map, union bpf_attr *attr, struct bpf_token *token, _Bool kernel)
{
	return NOTE_IF_ANY(MAP_CREATE, token);
}

SEC("lsm/bpf_prog_load")
int BPF_PROG(prog_load, struct bpf_prog *prog, union bpf_attr *attr, struct bpf_token *token, _Bool kernel)
{
	return NOTE_IF_ANY(PROG_LOAD, token);
}

char LICENSE[] SEC("license") = "GPL";
