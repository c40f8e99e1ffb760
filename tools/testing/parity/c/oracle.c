// SPDX-License-Identifier: GPL-2.0
/* Asks upstream's policy, whose functions build.rs has cut out of the tree into cut-*.h. */
#include "kernel.h"
#include "oracle.h"
#include <stdlib.h>

_Thread_local struct user_namespace init_user_ns;
static _Thread_local const struct world *world;
static _Thread_local struct answer *answer;
static _Thread_local struct user_namespace own_user_ns;

const struct file_operations bpf_token_fops, other_fops;
const struct bpf_map_ops bpf_map_offload_ops;
const struct btf vmlinux_btf;

void broken(const char *what)
{
	fprintf(stderr, "upstream's code came to %s\n", what);
	abort();
}

bool ns_capable(struct user_namespace *ns, int cap) { return ns->caps >> cap & 1; }
int security_bpf_token_cmd(const struct bpf_token *token, enum bpf_cmd cmd) { return world->cmd_agreed ? 0 : -EACCES; }
int security_bpf_token_capable(const struct bpf_token *token, int cap)
{
	answer->by_module = !world->cap_agreed;
	return world->cap_agreed ? 0 : -EPERM;
}
int sysctl_unprivileged_bpf_disabled_of_world(void) { return world->disabled; }

static _Thread_local struct bpf_token the_token;
static _Thread_local struct file the_file;
struct fd fd_get(u32 number)
{
	return (struct fd){ world->descriptor == 2 ? NULL : &the_file };
}

#include "cut-token.h"

/* Writes down what each question about a capability came to. */
static bool asked(const struct bpf_token *token, int cap)
{
	bool by_module = answer->by_module;

	answer->used = token;
	answer->by_module = false;
	if (bpf_token_capable(token, cap)) {
		answer->by_module = by_module;
		return true;
	}
	answer->missing = cap;
	return false;
}
#define bpf_token_capable asked

static u64 mem_usage(const struct bpf_map *map) { return 0; }
static const struct bpf_map_ops ops = { .map_mem_usage = mem_usage };
static const struct bpf_map_ops *const bpf_map_types[] = {
#define BPF_PROG_TYPE(...)
#define BPF_LINK_TYPE(...)
#define BPF_MAP_TYPE(type, its_ops) [type] = &ops,
#include "bpf_types.h"
};

#include "cut-syscall.h"

static void begin(const struct world *of, struct answer *to)
{
	*to = (struct answer){ .missing = -1 };
	world = of;
	answer = to;
	init_user_ns.caps = of->init_caps;
	own_user_ns.caps = of->own_caps;
	the_token = (struct bpf_token){
		.userns = &own_user_ns,
		.allowed_cmds = of->allowed[0],
		.allowed_maps = of->allowed[1],
		.allowed_progs = of->allowed[2],
		.allowed_attachs = of->allowed[3],
	};
	the_file = (struct file){ of->descriptor == 0 ? &bpf_token_fops : &other_fops, &the_token };
}

void oracle_answer(const struct world *of, const struct question *question, struct answer *to)
{
	union bpf_attr attr = {};
	struct bpf_token *token = NULL;
	u32 flag = question->token_given ? BPF_F_TOKEN_FD : 0;

	begin(of, to);
	switch (question->cmd) {
	case BPF_MAP_CREATE:
		attr.map_type = question->object_type;
		attr.map_flags = flag;
		to->err = map_create_alloc(&attr, (bpfptr_t){}, NULL, &(struct bpf_map *){ NULL }, &token);
		break;
	case BPF_PROG_LOAD:
		attr.prog_type = question->object_type;
		attr.expected_attach_type = question->attach_type;
		attr.insn_cnt = question->insn_cnt;
		attr.prog_flags = question->prog_flags | flag;
		to->err = bpf_prog_load(&attr, (bpfptr_t){}, NULL, &token);
		break;
	case BPF_BTF_LOAD:
		attr.btf_flags = flag;
		to->err = bpf_btf_load(&attr, (bpfptr_t){}, NULL);
		break;
	case BPF_BTF_GET_FD_BY_ID:
		attr.open_flags = flag;
		to->err = bpf_btf_get_fd_by_id(&attr);
		break;
	default:
		broken("a command without a token");
	}
	if (token)
		to->used = true;
}

/* Whether a map of this type can be made at all: upstream looks at that before it looks at a token. */
bool oracle_has_map_type(uint32_t type) { return type < ARRAY_SIZE(bpf_map_types) && bpf_map_types[type]; }

/* Asks for one capability, by a token that is used, or without. */
bool oracle_capable(const struct world *of, bool by_token, int cap, struct answer *to)
{
	begin(of, to);
	return asked(by_token ? &the_token : NULL, cap);
}

/* Whether a program may be attached: 0 or an errno. */
int oracle_attach(const struct world *of, bool by_token, uint32_t prog_type, uint32_t attach_type, struct answer *to)
{
	struct bpf_prog_aux aux = { .token = by_token ? &the_token : NULL };
	struct bpf_prog prog = { .type = prog_type, .aux = &aux };

	begin(of, to);
	return bpf_prog_attach_check_attach_type(&prog, attach_type);
}
