// SPDX-License-Identifier: GPL-2.0

#include <linux/bpf.h>
#include <linux/security.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

__rust_helper struct bpf_token *rust_helper_bpf_token_alloc(gfp_t flags)
{
	return kmalloc_obj(struct bpf_token, flags);
}

__rust_helper int rust_helper_put_user_u32(u32 value, u32 __user *to)
{
	return put_user(value, to);
}

#if defined(CONFIG_BPF_SYSCALL) && !defined(CONFIG_SECURITY)
__rust_helper int rust_helper_security_bpf_token_create(struct bpf_token *token,
							union bpf_attr *attr,
							const struct path *path)
{
	return security_bpf_token_create(token, attr, path);
}

__rust_helper void rust_helper_security_bpf_token_free(struct bpf_token *token)
{
	security_bpf_token_free(token);
}

__rust_helper int
rust_helper_security_bpf_token_cmd(const struct bpf_token *token,
				   enum bpf_cmd cmd)
{
	return security_bpf_token_cmd(token, cmd);
}

__rust_helper int
rust_helper_security_bpf_token_capable(const struct bpf_token *token, int cap)
{
	return security_bpf_token_capable(token, cap);
}
#endif
