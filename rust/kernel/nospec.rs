// SPDX-License-Identifier: GPL-2.0

//! Barriers against speculation out of bounds.
//!
//! C header: [`include/linux/nospec.h`](srctree/include/linux/nospec.h).
//!
//! Reference: [Speculation](srctree/Documentation/staging/speculation.rst).

use crate::bindings;

/// Returns `index`, or 0 where the processor speculates that `index` is below `size` and it is not.
///
/// For an index that was compared with `size` and comes from userspace.
///
/// # Examples
///
/// ```
/// use kernel::nospec::array_index_nospec;
///
/// assert_eq!(array_index_nospec(2, 3), 2);
/// assert_eq!(array_index_nospec(3, 3), 0);
/// ```
#[inline]
pub fn array_index_nospec(index: usize, size: usize) -> usize {
    // SAFETY: The function only computes.
    index & unsafe { bindings::array_index_mask_nospec(index, size) }
}
