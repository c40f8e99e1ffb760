// SPDX-License-Identifier: GPL-2.0

#include <linux/security.h>

#ifndef CONFIG_SECURITY
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
