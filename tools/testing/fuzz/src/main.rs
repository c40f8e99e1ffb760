// SPDX-License-Identifier: GPL-2.0

//! The same operations on the C and on the Rust kernel, and whether they come out the same.

fn main() {}
