// SPDX-License-Identifier: GPL-2.0

#include <linux/fs_struct.h>

__rust_helper int rust_helper_current_umask(void)
{
	return current_umask();
}
