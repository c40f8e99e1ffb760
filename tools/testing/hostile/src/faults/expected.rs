// SPDX-License-Identifier: GPL-2.0

//! What an operation must come to when one of its allocations fails: `ENOMEM`, but for what stands here.
//!
//! A place is a part of the chain of callers, the innermost first.

use rustix::io::Errno;

/// Places that make do without the memory, and how.
const FALLBACKS: &[(&str, &str)] = &[
    ("__create_object", "kmemleak takes one from its pool"),
    ("kmemleak_scan_area", "kmemleak scans the whole object"),
    ("stack_depot_save_flags", "goes without the stack trace"),
    ("debug_object", "takes an object from its pool"),
    ("allocate_slab", "tries again with the smallest order"),
    (
        "alloc_pages_bulk_noprof < __vmalloc_node_range_noprof",
        "takes them one by one",
    ),
    (
        "__kmalloc_large_node_noprof < __kvmalloc_node_noprof",
        "tries vmalloc",
    ),
    (
        "krealloc_node_align_noprof < kvrealloc_node_align_noprof",
        "tries kvmalloc",
    ),
    (
        "__kvmalloc_node_noprof < btf_check_all_metas",
        "tries vmalloc",
    ),
    ("preload_this_cpu_lock", "may have to wait later"),
    ("idr_preload", "leaves it to the allocation to come"),
    ("xas_alloc", "tries again, and may sleep then"),
    ("ida_alloc_range", "tries again, and may sleep then"),
    ("bpf_map_area_alloc", "tries vmalloc after kmalloc"),
    ("logfc", "logs that there was no memory for the message"),
    (
        "bpf_int_jit_compile",
        "leaves the program to the interpreter",
    ),
    ("LogAttr", "goes without the log, whose lack is no error"),
];

/// Places that do not say `ENOMEM`, and what they say.
const OTHERS: &[(&str, Errno)] = &[
    ("bpf_get_inode", Errno::NOSPC),
    ("new_inode < bpf_fill_super", Errno::NOSPC),
    ("bpf_prog_alloc < bpf_prog_load", Errno::INVAL),
    ("sock_alloc_send_pskb", Errno::NOBUFS),
    ("proc_pid_make_inode", Errno::NOENT),
];

/// The errno, given the callers of the allocation that failed and the errno when none fails.
pub fn errno(callers: &str, otherwise: Option<Errno>) -> Option<Errno> {
    if FALLBACKS.iter().any(|(place, _)| callers.contains(place)) {
        return otherwise;
    }
    let other = OTHERS.iter().find(|(place, _)| callers.contains(place));
    Some(other.map_or(Errno::NOMEM, |(_, errno)| *errno))
}
