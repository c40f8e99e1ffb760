/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the BPF token in Rust (CONFIG_BPF_TOKEN_RUST) gives to kernel/bpf/, besides what linux/bpf.h
 * declares for both implementations.
 */
#ifndef _LINUX_BPF_TOKEN_H
#define _LINUX_BPF_TOKEN_H

#include <linux/types.h>

struct bpf_mount_opts;
struct fs_context;
struct seq_file;

int bpf_delegation_parse(struct fs_context *fc, u32 which, const char *value);
void bpf_delegation_show(struct seq_file *m, struct bpf_mount_opts *opts);

#endif /* _LINUX_BPF_TOKEN_H */
