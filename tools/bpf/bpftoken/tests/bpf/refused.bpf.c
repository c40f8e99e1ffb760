// SPDX-License-Identifier: GPL-2.0
/* What the verifier refuses, after a long log: it reads a packet without looking how long that is. */

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int no_bounds(struct xdp_md *ctx)
{
	unsigned char *data = (void *)(long)ctx->data;
	int sum = 0;

	for (int i = 0; i < 64; i++)
		sum += bpf_get_prandom_u32();
	return data[100] + sum ? XDP_PASS : XDP_DROP;
}

char LICENSE[] SEC("license") = "GPL";
