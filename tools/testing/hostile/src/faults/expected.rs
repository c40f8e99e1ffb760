// SPDX-License-Identifier: GPL-2.0

//! What an operation must come to when one of its allocations fails: `ENOMEM`, but for what stands here.

use rustix::io::Errno;

/// Functions that make do without the memory, and how. All of a line are among the callers.
const FALLBACKS: &[(&[&str], &str)] = &[
    (
        &["__create_object"],
        "kmemleak takes an object from its pool",
    ),
    (&["stack_depot_save_flags"], "goes without the stack trace"),
    (&["debug_object"], "takes an object from its pool"),
    (&["allocate_slab"], "tries again with the smallest order"),
    (&["idr_preload"], "there is no need for what is preloaded"),
    (&["idr_alloc_cyclic"], "takes what was preloaded"),
    (&["xas_alloc"], "tries again, and may sleep then"),
    (&["ida_alloc_range"], "tries again, and may sleep then"),
    (&["proc_thread_self_get_link"], "tries again outside of RCU"),
    (&["bpf_map_area_alloc"], "tries vmalloc after kmalloc"),
    (&["logfc"], "logs that there was no memory for the message"),
    (&["bpf_int_jit_compile"], "leaves it to the interpreter"),
    (&["LogAttr"], "goes without the log, whose lack is no error"),
];

/// Functions that do not say `ENOMEM`, and what they say. All of a line are among the callers.
const OTHERS: &[(&[&str], Errno)] = &[
    (&["bpf_get_inode"], Errno::NOSPC),
    (&["new_inode", "bpf_fill_super"], Errno::NOSPC),
    (&["sock_alloc_send_pskb"], Errno::NOBUFS),
    (&["proc_pid_make_inode"], Errno::NOENT),
];

/// The errno, given the functions in which the allocation failed and the errno when none fails.
pub fn errno(stack: &[String], otherwise: Option<Errno>) -> Option<Errno> {
    let passes = |function: &&str| stack.iter().any(|caller| caller.contains(function));
    let all = |functions: &[&str]| functions.iter().all(passes);
    if FALLBACKS.iter().any(|(functions, _)| all(functions)) {
        return otherwise;
    }
    let other = OTHERS.iter().find(|(functions, _)| all(functions));
    Some(other.map_or(Errno::NOMEM, |(_, errno)| *errno))
}
