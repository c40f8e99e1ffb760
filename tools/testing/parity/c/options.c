// SPDX-License-Identifier: GPL-2.0
/* Asks upstream's delegation options, whose functions build.rs has cut out of the tree into cut-*.h. */
#include "kernel.h"
#include <stdlib.h>

int btf_find_by_name_kind(const struct btf *btf, const char *name, int kind)
{
	for (int id = 0; id < 4; id++)
		if (!strcmp(btf_types[id].name, name))
			return id;
	return -ENOENT;
}

void seq_printf(struct seq_file *m, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	m->length += vsnprintf(m->text + m->length, m->size - m->length, format, args);
	va_end(args);
	if (m->length >= m->size)
		broken("more text than there is room for");
}

#include "cut-kstrtox.h"

static inline int kstrtou64(const char *s, unsigned int base, u64 *res)
{
	return kstrtoull(s, base, (unsigned long long *)res);
}

#include "cut-inode.h"

/* Takes one option of a mount, 0 for commands to 3 for attach types. `masks` are those of the context. */
int oracle_option(uint64_t init_caps, int which, char *value, uint64_t masks[4])
{
	struct bpf_mount_opts opts = {
		.delegate_cmds = masks[0],
		.delegate_maps = masks[1],
		.delegate_progs = masks[2],
		.delegate_attachs = masks[3],
	};
	struct fs_context fc = { .s_fs_info = &opts };
	struct fs_parameter param = { .string = value, .opt = OPT_DELEGATE_CMDS + which };
	int err;

	init_user_ns.caps = init_caps;
	err = bpf_parse_param(&fc, &param);
	masks[0] = opts.delegate_cmds;
	masks[1] = opts.delegate_maps;
	masks[2] = opts.delegate_progs;
	masks[3] = opts.delegate_attachs;
	return err;
}

/* Shows a mask of one kind as /proc/mounts does. Returns the length of the text. */
size_t oracle_show(int which, uint64_t mask, char *text, size_t size)
{
	static const struct { const char *option, *prefix; int count; } kinds[] = {
		{ "delegate_cmds", "BPF_", __MAX_BPF_CMD },
		{ "delegate_maps", "BPF_MAP_TYPE_", __MAX_BPF_MAP_TYPE },
		{ "delegate_progs", "BPF_PROG_TYPE_", __MAX_BPF_PROG_TYPE },
		{ "delegate_attachs", "BPF_", __MAX_BPF_ATTACH_TYPE },
	};
	struct seq_file m = { .text = text, .size = size };

	seq_print_delegate_opts(&m, kinds[which].option, &vmlinux_btf, &btf_types[which], kinds[which].prefix, mask,
				(1ULL << kinds[which].count) - 1);
	return m.length;
}
