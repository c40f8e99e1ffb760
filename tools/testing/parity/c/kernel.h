/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What upstream's policy uses of the rest of the kernel, as far as it does: its code is cut out of the tree when this is
 * built (see build.rs). Who asks is a struct world, and every question about a privilege is written down.
 */
#ifndef KERNEL_H
#define KERNEL_H

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

typedef uint64_t u64;
typedef uint32_t u32;
typedef unsigned short umode_t;
typedef struct { u32 val; } kuid_t, kgid_t;
typedef struct { void *user; } bpfptr_t;

#define CONFIG_SECURITY
#define CONFIG_BPF_SYSCALL
#define CONFIG_BPF_JIT
#define CONFIG_BPF_LSM
#define CONFIG_CGROUPS
#define CONFIG_CGROUP_BPF
#define CONFIG_INET
#define CONFIG_NET
#define CONFIG_PERF_EVENTS
#define CONFIG_XDP_SOCKETS

/* No architecture of the tests' own: BPF_F_ANY_ALIGNMENT means something here. */
#define CONFIG_HAVE_EFFICIENT_UNALIGNED_ACCESS 0
#define IS_ENABLED(option) option

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
#define BIT_ULL(bit) (1ULL << (bit))
#define min(a, b) ((a) < (b) ? (a) : (b))
#define unlikely(condition) (condition)
#define noinline
#define __user
#define check_mul_overflow __builtin_mul_overflow
#define check_add_overflow __builtin_add_overflow
#undef _tolower
#define _tolower(c) ((char)((c) | 0x20))
#define array_index_nospec(index, size) (index)
#define CHECK_ATTR(command) 0

/* Each of these says that what cannot happen has happened: the test fails. */
void broken(const char *what);
#define WARN(condition, ...) broken("a WARN")
#define BUILD_BUG_ON(condition) _Static_assert(!(condition), #condition)

#define MAX_ERRNO 4095
static inline void *ERR_PTR(long err) { return (void *)err; }
static inline long PTR_ERR(const void *ptr) { return (long)ptr; }
static inline bool IS_ERR(const void *ptr) { return (unsigned long)ptr >= (unsigned long)-MAX_ERRNO; }

/* lib/kstrtox.h, without the macros for its further arguments. */
#define KSTRTOX_OVERFLOW (1U << 31)
#define _parse_integer(s, base, res) _parse_integer_limit(s, base, res, INT_MAX, 0)
static inline int kstrtou64(const char *s, unsigned int base, u64 *res);

/* The user namespaces: the initial one, and that of the token. */
struct user_namespace { u64 caps; };
extern _Thread_local struct user_namespace init_user_ns;
bool ns_capable(struct user_namespace *ns, int cap);
#define capable(cap) ns_capable(&init_user_ns, cap)
#define current_user_ns() (&init_user_ns)

struct bpf_token {
	int refs;
	struct user_namespace *userns;
	u64 allowed_cmds;
	u64 allowed_maps;
	u64 allowed_progs;
	u64 allowed_attachs;
};
#define bpf_token_inc(token) ((token)->refs++)
static inline void bpf_token_put(struct bpf_token *token)
{
	if (token)
		token->refs--;
}
int security_bpf_token_cmd(const struct bpf_token *token, enum bpf_cmd cmd);
int security_bpf_token_capable(const struct bpf_token *token, int cap);
extern int sysctl_unprivileged_bpf_disabled_of_world(void);
#define sysctl_unprivileged_bpf_disabled sysctl_unprivileged_bpf_disabled_of_world()

/* Descriptors. */
struct file_operations { int unused; };
struct file { const struct file_operations *f_op; void *private_data; };
struct fd { struct file *file; };
extern const struct file_operations bpf_token_fops;
struct fd fd_get(u32 number);
#define CLASS(type, name) struct type name = type##_get
#define fd_empty(fd) (!(fd).file)
#define fd_file(fd) ((fd).file)

/* The commands, up to where they make something. */
struct bpf_log_attr { int unused; };
struct bpf_verifier_log { int unused; };
struct bpf_map { int unused; };
struct bpf_map_ops {
	int (*map_alloc_check)(union bpf_attr *attr);
	u64 (*map_mem_usage)(const struct bpf_map *map);
};
struct bpf_prog_aux { struct bpf_token *token; };
struct bpf_prog {
	enum bpf_prog_type type;
	enum bpf_attach_type expected_attach_type;
	bool enforce_expected_attach_type;
	struct bpf_prog_aux *aux;
};
extern const struct bpf_map_ops bpf_map_offload_ops;
#define NUMA_NO_NODE (-1)
#define nr_node_ids 1
#define node_online(node) true
#define bpf_map_attr_numa_node(attr) NUMA_NO_NODE
#define bpf_log(log, ...) ((void)(log))
/* Runs before the token step on either side. */
#define bpf_prog_load_fixup_attach_type(attr) ((void)(attr))
#define btf_new_fd(attr, uattr, log) ((void)(attr), 0)
#define btf_get_fd_by_id(id) ((void)(id), 0)

/* BTF: the enums of linux/bpf.h, which build.rs lists. */
struct btf { int unused; };
struct btf_enum { u32 name_off; int val; };
struct btf_type { const char *name; const struct btf_enum *values; int count; };
extern const struct btf vmlinux_btf;
extern const struct btf_type btf_types[4];
extern const char *const btf_names[];
enum { BTF_KIND_ENUM };
#define bpf_get_btf_vmlinux() (&vmlinux_btf)
#define btf_vlen(type) ((type)->count)
#define btf_enum(type) ((type)->values)
#define btf_name_by_offset(btf, offset) (btf_names[offset])
#define btf_type_by_id(btf, id) (&btf_types[id])
int btf_find_by_name_kind(const struct btf *btf, const char *name, int kind);

/* The BPF file system. */
struct bpf_mount_opts {
	kuid_t uid;
	kgid_t gid;
	umode_t mode;
	u64 delegate_cmds;
	u64 delegate_maps;
	u64 delegate_progs;
	u64 delegate_attachs;
};
struct fs_context { void *s_fs_info; struct user_namespace *user_ns; };
struct fs_parameter { const char *key; char *string; int opt; };
struct fs_parse_result { u32 uint_32; };
#define fs_parse(fc, specs, param, result) ((result)->uint_32 = 0, (param)->opt)
#define vfs_parse_fs_param_source(fc, param) (-ENOPARAM)
#define ENOPARAM 519
#define make_kuid(ns, id) ((kuid_t){ id })
#define make_kgid(ns, id) ((kgid_t){ id })
#define uid_valid(uid) ((void)(uid), true)
#define gid_valid(gid) ((void)(gid), true)
#define kuid_has_mapping(ns, uid) true
#define kgid_has_mapping(ns, gid) true
#define S_IALLUGO 07777
#define invalfc(fc, ...) (-EINVAL)

/* What is shown goes to a buffer. */
struct seq_file { char *text; size_t size; size_t length; };
void seq_printf(struct seq_file *m, const char *format, ...);
#define seq_putc(m, c) seq_printf(m, "%c", c)

#endif
