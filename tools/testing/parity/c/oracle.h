/* SPDX-License-Identifier: GPL-2.0 */
/* What upstream's policy answers. */
#ifndef ORACLE_H
#define ORACLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Who asks, and what there is. */
struct world {
	/* The capabilities of the caller, a bit each: in the initial user namespace, and in that of the token. */
	uint64_t init_caps;
	uint64_t own_caps;
	/* What the token delegates: commands, maps, programs, attach types. */
	uint64_t allowed[4];
	/* What descriptors are: 0 a token, 1 another file, 2 closed. */
	uint32_t descriptor;
	/* kernel.unprivileged_bpf_disabled. */
	uint32_t disabled;
	/* Whether the security modules agree to the command, and to capabilities. */
	bool cmd_agreed;
	bool cap_agreed;
};

struct question {
	uint32_t cmd;
	bool token_given;
	uint32_t object_type;
	uint32_t attach_type;
	uint32_t insn_cnt;
	uint32_t prog_flags;
};

struct answer {
	int32_t err;
	/* Whether the command used the token in the end. */
	bool used;
	/* The capability that was missing last, or -1, and whether only a security module denied it. */
	int32_t missing;
	bool by_module;
};

#endif
