// SPDX-License-Identifier: GPL-2.0
/*
 * What an unmodified libbpf tells of a refusal. Runs in a container with a delegated BPF FS on /sys/fs/bpf; built with
 * the libbpf of the kernel tree.
 *
 *	reasons load FILE TEXT	loading the object fails, and libbpf prints TEXT
 *	reasons map TEXT	creating a ring buffer by a token fails, with TEXT in the log
 *	reasons btf TEXT	loading BTF by a token fails, with TEXT in the log
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

static char told[1 << 16];

static int collect(enum libbpf_print_level level, const char *format, va_list args)
{
	size_t len = strlen(told);

	(void)level;
	return vsnprintf(told + len, sizeof(told) - len, format, args);
}

static int token(void)
{
	int bpffs = open("/sys/fs/bpf", O_DIRECTORY | O_CLOEXEC);

	return bpffs < 0 ? -errno : bpf_token_create(bpffs, NULL);
}

static int load(const char *file)
{
	struct bpf_object *object = bpf_object__open(file);

	return object ? bpf_object__load(object) : -errno;
}

static int map(int token_fd)
{
	LIBBPF_OPTS(bpf_log_opts, log, .buf = told, .size = sizeof(told), .level = 1);
	LIBBPF_OPTS(bpf_map_create_opts, opts, .token_fd = token_fd, .map_flags = BPF_F_TOKEN_FD, .log_opts = &log);
	int fd = bpf_map_create(BPF_MAP_TYPE_RINGBUF, "refused", 0, 0, 4096, &opts);

	if (log.true_size != strlen(told) + 1)
		fprintf(stderr, "true_size is %u, and the log has %zu bytes\n", log.true_size, strlen(told) + 1);
	return fd;
}

static int btf(int token_fd)
{
	LIBBPF_OPTS(bpf_btf_load_opts, opts, .token_fd = token_fd, .btf_flags = BPF_F_TOKEN_FD,
		    .log_buf = told, .log_size = sizeof(told), .log_level = 1);
	struct btf *btf = btf__new_empty();
	const void *data;
	__u32 size;

	btf__add_int(btf, "int", 4, BTF_INT_SIGNED);
	data = btf__raw_data(btf, &size);
	return bpf_btf_load(data, size, &opts);
}

int main(int argc, char **argv)
{
	const char *text = argv[argc - 1];
	int result;

	if (argc == 4 && !strcmp(argv[1], "load")) {
		libbpf_set_print(collect);
		result = load(argv[2]);
	} else if (argc == 3 && !strcmp(argv[1], "map")) {
		result = map(token());
	} else if (argc == 3 && !strcmp(argv[1], "btf")) {
		result = btf(token());
	} else {
		fprintf(stderr, "usage: reasons load FILE TEXT | map TEXT | btf TEXT\n");
		return 2;
	}
	if (result == -EPERM && strstr(told, text)) {
		printf("ok: %s: %s\n", argv[1], text);
		return 0;
	}
	printf("not ok: %s: %d, without \"%s\"; libbpf told:\n%s\n", argv[1], result, text, told);
	return 1;
}
