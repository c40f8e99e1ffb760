// SPDX-License-Identifier: GPL-2.0

#include <linux/file.h>

__rust_helper void rust_helper_fdput(struct fd fd)
{
	fdput(fd);
}

__rust_helper struct file *rust_helper_fd_file(struct fd fd)
{
	return fd_file(fd);
}
