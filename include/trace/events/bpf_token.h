/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Creation, use and freeing of BPF tokens, and commands refused with or for want of a token.
 * Emitted by the token in Rust (CONFIG_BPF_TOKEN_RUST).
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM bpf_token

#if !defined(_TRACE_BPF_TOKEN_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_BPF_TOKEN_H

#include <linux/bpf.h>
#include <linux/bpf_token.h>
#include <linux/cred.h>
#include <linux/tracepoint.h>
#include <linux/user_namespace.h>

DECLARE_EVENT_CLASS(bpf_token,

	TP_PROTO(const struct bpf_token *token),

	TP_ARGS(token),

	TP_STRUCT__entry(
		__field(u32, userns)
		__field(u64, cmds)
		__field(u64, maps)
		__field(u64, progs)
		__field(u64, attachs)
		__field(u64, cookie)
	),

	TP_fast_assign(
		__entry->userns = token->userns->ns.inum;
		__entry->cmds = token->allowed_cmds;
		__entry->maps = token->allowed_maps;
		__entry->progs = token->allowed_progs;
		__entry->attachs = token->allowed_attachs;
		__entry->cookie = bpf_token_cookie(token);
	),

	TP_printk("userns=%u cmds=0x%llx maps=0x%llx progs=0x%llx attachs=0x%llx cookie=%llu",
		  __entry->userns, __entry->cmds, __entry->maps, __entry->progs,
		  __entry->attachs, __entry->cookie)
);

DEFINE_EVENT(bpf_token, bpf_token_create,
	TP_PROTO(const struct bpf_token *token),
	TP_ARGS(token)
);

DEFINE_EVENT(bpf_token, bpf_token_free,
	TP_PROTO(const struct bpf_token *token),
	TP_ARGS(token)
);

/* A command that uses a token: its token step, and the privileges that it needs by its types. */
TRACE_EVENT(bpf_token_use,

	TP_PROTO(const struct bpf_token *token, u32 cmd, u32 type, u32 attach_type),

	TP_ARGS(token, cmd, type, attach_type),

	TP_STRUCT__entry(
		__field(u32, userns)
		__field(u64, cookie)
		__field(u32, cmd)
		__field(u32, type)
		__field(u32, attach_type)
	),

	TP_fast_assign(
		__entry->userns = token->userns->ns.inum;
		__entry->cookie = bpf_token_cookie(token);
		__entry->cmd = cmd;
		__entry->type = type;
		__entry->attach_type = attach_type;
	),

	TP_printk("userns=%u cookie=%llu cmd=%u type=%u attach_type=%u",
		  __entry->userns, __entry->cookie, __entry->cmd, __entry->type,
		  __entry->attach_type)
);

/*
 * cap is the number of the capability that was missing, or -1. The masks are those of the token
 * that was given, used or not, or 0 without one; userns is that of the token, or the caller's.
 */
TRACE_EVENT(bpf_token_refuse,

	TP_PROTO(const struct bpf_token_refusal *refusal),

	TP_ARGS(refusal),

	TP_STRUCT__entry(
		__field(u32, userns)
		__field(u64, cmds)
		__field(u64, maps)
		__field(u64, progs)
		__field(u64, attachs)
		__field(u64, cookie)
		__field(u32, cmd)
		__field(u32, type)
		__field(u32, attach_type)
		__field(s32, cap)
		__field(s32, err)
		__string(reason, refusal->reason)
	),

	TP_fast_assign(
		__entry->userns = refusal->userns ?: current_user_ns()->ns.inum;
		__entry->cmds = refusal->cmds;
		__entry->maps = refusal->maps;
		__entry->progs = refusal->progs;
		__entry->attachs = refusal->attachs;
		__entry->cookie = refusal->cookie;
		__entry->cmd = refusal->cmd;
		__entry->type = refusal->type;
		__entry->attach_type = refusal->attach_type;
		__entry->cap = refusal->cap;
		__entry->err = refusal->err;
		__assign_str(reason);
	),

	TP_printk("userns=%u cmds=0x%llx maps=0x%llx progs=0x%llx attachs=0x%llx cookie=%llu cmd=%u type=%u attach_type=%u cap=%d err=%d reason=\"%s\"",
		  __entry->userns, __entry->cmds, __entry->maps, __entry->progs,
		  __entry->attachs, __entry->cookie, __entry->cmd, __entry->type,
		  __entry->attach_type, __entry->cap, __entry->err, __get_str(reason))
);

#endif /* _TRACE_BPF_TOKEN_H */

/* This part must be outside protection */
#include <trace/define_trace.h>
