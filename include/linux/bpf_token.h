/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the BPF token in Rust (CONFIG_BPF_TOKEN_RUST) and kernel/bpf/ give each other, besides what
 * linux/bpf.h declares for both implementations.
 */
#ifndef _LINUX_BPF_TOKEN_H
#define _LINUX_BPF_TOKEN_H

#include <linux/bpf.h>

struct bpf_common_attr;
struct bpf_log_attr;
struct bpf_verifier_log;
struct fs_context;
struct fs_parameter;
struct seq_file;

/* What the trace event bpf_token_refuse tells. */
struct bpf_token_refusal {
	u32 userns;
	u64 cmds;
	u64 maps;
	u64 progs;
	u64 attachs;
	u32 cmd;
	u32 type;
	u32 attach_type;
	s32 cap;
	s32 err;
	const char *reason;
};

#ifdef CONFIG_BPF_TOKEN_RUST

int bpf_delegation_parse(struct fs_context *fc, u32 which, const struct fs_parameter *param);
void bpf_delegation_show(struct seq_file *m, struct bpf_mount_opts *opts);

int bpf_token_create_log(union bpf_attr *attr, struct bpf_common_attr *common, bpfptr_t ucommon,
			 u32 size);
struct bpf_token *bpf_admit_map_create(const union bpf_attr *attr, bool token_given,
				       struct bpf_verifier_log *log);
struct bpf_token *bpf_admit_prog_load(const union bpf_attr *attr, struct bpf_log_attr *log);
int bpf_admit_btf_load(const union bpf_attr *attr, struct bpf_log_attr *log);
int bpf_admit_btf_get_fd_by_id(const union bpf_attr *attr);

void bpf_refused_map_fields(const struct bpf_token *token, enum bpf_map_type map_type,
			    struct bpf_verifier_log *log);
int bpf_refused_attach(const struct bpf_token *token, enum bpf_prog_type prog_type,
		       enum bpf_attach_type attach_type);

#elif defined(CONFIG_BPF_SYSCALL)

static inline int bpf_token_create_log(union bpf_attr *attr, struct bpf_common_attr *common,
				       bpfptr_t ucommon, u32 size)
{
	return bpf_token_create(attr);
}

static inline void bpf_refused_map_fields(const struct bpf_token *token,
					  enum bpf_map_type map_type,
					  struct bpf_verifier_log *log)
{
}

static inline int bpf_refused_attach(const struct bpf_token *token,
				     enum bpf_prog_type prog_type,
				     enum bpf_attach_type attach_type)
{
	return -EPERM;
}

#endif

/* In kernel/bpf/syscall.c. */
bool is_net_admin_prog_type(enum bpf_prog_type prog_type);
bool is_perfmon_prog_type(enum bpf_prog_type prog_type);

#endif /* _LINUX_BPF_TOKEN_H */
