// SPDX-License-Identifier: GPL-2.0

#include <linux/fs.h>

__rust_helper int rust_helper_path_permission(const struct path *path, int mask)
{
	return path_permission(path, mask);
}
