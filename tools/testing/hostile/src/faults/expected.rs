// SPDX-License-Identifier: GPL-2.0

//! What an operation must come to when one of its allocations fails.

use rustix::io::Errno;

/// Functions that make do without the memory, and how.
const FALLBACKS: &[(&str, &str)] = &[
    ("kmemleak_alloc", "takes an object from its pool"),
    ("kasan_save_stack", "goes without a stack trace"),
    ("set_track_prepare", "goes without a stack trace"),
    ("debug_object_activate", "has objects in its pool"),
    ("debug_object_init", "has objects in its pool"),
    ("allocate_slab", "tries again with the smallest order"),
    ("logfc", "logs that there was no memory for the message"),
    (
        "bpf_int_jit_compile",
        "leaves the program to the interpreter",
    ),
    ("LogAttr", "goes without a log: the refusal is what matters"),
];

/// The errno, given the functions in which the allocation failed and the errno when none fails.
pub fn errno(stack: &[String], otherwise: Option<Errno>) -> Option<Errno> {
    let gets_by = FALLBACKS
        .iter()
        .any(|(function, _)| stack.iter().any(|caller| caller.contains(function)));
    if gets_by {
        otherwise
    } else {
        Some(Errno::NOMEM)
    }
}
