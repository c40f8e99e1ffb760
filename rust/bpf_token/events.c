// SPDX-License-Identifier: GPL-2.0
/* The bodies of the trace events that the token in Rust emits. */

#include <linux/bpf.h>
#include <linux/bpf_token.h>
#include <linux/user_namespace.h>

#define CREATE_TRACE_POINTS
#define CREATE_RUST_TRACE_POINTS
#include <trace/events/bpf_token.h>
