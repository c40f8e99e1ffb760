/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The interface between kernel/bpf/ and the BPF token in Rust (CONFIG_BPF_TOKEN_RUST), beyond what
 * linux/bpf.h declares for both implementations.
 */
#ifndef _LINUX_BPF_TOKEN_H
#define _LINUX_BPF_TOKEN_H

#include <linux/bpf.h>

struct bpf_common_attr;
struct bpf_log_attr;
struct bpf_verifier_env;
struct bpf_verifier_log;
struct file;
struct fs_context;
struct fs_parameter;
struct seq_file;

/*
 * The decision about a command: which token it uses, and why it is refused. Kept on the stack of
 * the command. Only @made is initialised, and only kernel/bpf/token/ reads the rest.
 */
struct bpf_token_decision {
#ifdef CONFIG_BPF_TOKEN_RUST
	bool made;
	u64 opaque[9];
#endif
};

static inline void bpf_token_decision_init(struct bpf_token_decision *decision)
{
#ifdef CONFIG_BPF_TOKEN_RUST
	decision->made = false;
#endif
}

/* struct bpf_token_info as the implementation in C has it, without a cookie. */
struct bpf_token_info_c {
	u64 allowed_cmds;
	u64 allowed_maps;
	u64 allowed_progs;
	u64 allowed_attachs;
};

#define BPF_TOKEN_INFO_SIZE							\
	(IS_ENABLED(CONFIG_BPF_TOKEN_RUST) ? sizeof(struct bpf_token_info) :	\
					     sizeof(struct bpf_token_info_c))

static inline u64 bpf_token_cookie(const struct bpf_token *token)
{
#ifdef CONFIG_BPF_TOKEN_RUST
	return token->cookie;
#else
	return 0;
#endif
}

/* The fields of the trace event bpf_token_refuse. */
struct bpf_token_refusal {
	u32 userns;		/* of the token that was given; 0: the caller's */
	u64 cmds;
	u64 maps;
	u64 progs;
	u64 attachs;
	u64 cookie;
	u32 cmd;
	u32 type;
	u32 attach_type;
	s32 cap;
	s32 err;
	const char *reason;
};

/*
 * kernel/bpf/ calls these under IS_ENABLED(CONFIG_BPF_TOKEN_RUST), so they need no stubs for a
 * kernel without the option.
 */
int bpf_delegation_parse(struct fs_context *fc, u32 which, const struct fs_parameter *param);
int bpf_delegation_reconfigure(struct fs_context *fc);
void bpf_delegation_show(struct seq_file *m, struct bpf_mount_opts *opts);

int bpf_token_create_log(union bpf_attr *attr, struct bpf_common_attr *common, bpfptr_t ucommon,
			 u32 size);
struct bpf_token *bpf_admit_map_create(const union bpf_attr *attr, bool token_given,
				       struct bpf_token_decision *decision,
				       struct bpf_verifier_log *log);
struct bpf_token *bpf_admit_prog_load(const union bpf_attr *attr,
				      struct bpf_token_decision *decision,
				      struct bpf_log_attr *attr_log);
int bpf_admit_btf_load(const union bpf_attr *attr, struct bpf_log_attr *attr_log);
int bpf_admit_btf_get_fd_by_id(const union bpf_attr *attr);
int bpf_token_info_by_file(struct file *file, const union bpf_attr *attr,
			   union bpf_attr __user *uattr);

#ifdef CONFIG_BPF_TOKEN_RUST

bool bpf_admit_map_fields(const struct bpf_token *token, struct bpf_token_decision *decision);
bool bpf_admit_attach(const struct bpf_prog *prog, enum bpf_attach_type attach_type,
		      enum bpf_cmd cmd);

void bpf_token_map_refused(const struct bpf_token *token, struct bpf_token_decision *decision);
void bpf_token_prog_refused(struct bpf_verifier_env *env, struct bpf_log_attr *attr_log);
void bpf_token_verified(struct bpf_verifier_env *env, const union bpf_attr *attr,
			struct bpf_log_attr *attr_log, int ret);
void bpf_token_tell_map_create(const union bpf_attr *attr, struct bpf_token_decision *decision,
			       struct bpf_log_attr *attr_log, const struct bpf_common_attr *common,
			       int err);
void bpf_token_tell_prog_load(const union bpf_attr *attr, struct bpf_token_decision *decision,
			      int err);
void bpf_token_show_prog(struct seq_file *m, const struct bpf_prog *prog);

#elif defined(CONFIG_BPF_SYSCALL)

static inline bool bpf_admit_map_fields(const struct bpf_token *token,
					struct bpf_token_decision *decision)
{
	return bpf_token_capable(token, CAP_BPF);
}

static inline bool bpf_admit_attach(const struct bpf_prog *prog,
				    enum bpf_attach_type attach_type, enum bpf_cmd cmd)
{
	return bpf_token_capable(prog->aux->token, CAP_NET_ADMIN);
}

static inline void bpf_token_map_refused(const struct bpf_token *token,
					 struct bpf_token_decision *decision)
{
}

static inline void bpf_token_prog_refused(struct bpf_verifier_env *env,
					  struct bpf_log_attr *attr_log)
{
}

static inline void bpf_token_verified(struct bpf_verifier_env *env, const union bpf_attr *attr,
				      struct bpf_log_attr *attr_log, int ret)
{
}

static inline void bpf_token_tell_map_create(const union bpf_attr *attr,
					     struct bpf_token_decision *decision,
					     struct bpf_log_attr *attr_log,
					     const struct bpf_common_attr *common, int err)
{
}

static inline void bpf_token_tell_prog_load(const union bpf_attr *attr,
					    struct bpf_token_decision *decision, int err)
{
}

static inline void bpf_token_show_prog(struct seq_file *m, const struct bpf_prog *prog)
{
}

#endif

#endif /* _LINUX_BPF_TOKEN_H */
