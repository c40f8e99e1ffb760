// SPDX-License-Identifier: GPL-2.0
//! Loaders as they are, that know nothing of tokens.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use libtest_mimic::Trial;

use crate::check::OBJECTS;
use crate::world::path;
use crate::world::said;
use crate::world::World;

pub fn trials() -> Vec<Trial> {
    vec![
        crate::trial("exec::aya", aya),
        crate::trial("exec::cilium", cilium),
        crate::trial("exec::bpftrace", bpftrace),
        crate::trial("exec::bpftrace_probes", bpftrace_probes),
        crate::trial("exec::bpftrace_multi", bpftrace_multi),
        crate::trial("exec::bpftrace_kprobe_multi", bpftrace_kprobe_multi),
        crate::trial("exec::bcc", bcc),
    ]
}

/// What a client needs, with items that can be left out and what is told then.
struct Client<'a> {
    command: &'a [&'a str],
    /// What is delegated.
    options: &'a str,
    /// What makes it work with that.
    help: &'a str,
    without: &'a [(&'a str, &'a str)],
}

impl Client<'_> {
    /// It works with help, not without, and not where an item is missing, which is told.
    fn check(&self, world: &World, shown: &[&str]) -> Result<()> {
        let options = format!("{} {}", self.options, self.help);
        let with = |options: &str| said(&mut world.contained(options, self.command));
        let good = with(&options)?.must(0)?;
        for shown in shown {
            ensure!(good.out.contains(shown), "{} {}", good.out, good.err);
        }
        let bare = with(self.options)?;
        ensure!(bare.code != Some(0), "it works without help: {}", bare.out);
        for (item, reason) in self.without {
            let less = options.replacen(item, "", 1);
            ensure!(less != options, "no {item}");
            let refused = with(&less)?;
            ensure!(refused.code != Some(0), "it works without {item}");
            refused.tells(&[reason]).with_context(|| less)?;
        }
        Ok(())
    }
}

/// A loader of the object of a socket filter.
fn loads(world: &World, program: &Path) -> Result<()> {
    let (_, object) = OBJECTS
        .iter()
        .find(|(name, _)| *name == "socket_filter")
        .context("no object")?;
    let file = world.dir.path().join("client.bpf.o");
    fs::write(&file, object)?;
    Client {
        command: &[path(program), path(&file)],
        options:
            "--cmds map_create:prog_load:btf_load --maps array:hash --progs socket_filter:xdp \
                  --attachs cgroup_inet_ingress:xdp",
        help: "--exec",
        without: &[
            ("array:", "does not delegate map type array"),
            (
                "socket_filter:",
                "does not delegate program type socket_filter",
            ),
            (
                "cgroup_inet_ingress:",
                "does not delegate attach type cgroup_inet_ingress",
            ),
            ("map_create:", "does not delegate bpf() command map_create"),
            (":prog_load", "does not delegate bpf() command prog_load"),
        ],
    }
    .check(world, &["loaded count"])
}

fn aya(world: &World) -> Result<()> {
    loads(world, &world.dir.path().join("aya-client"))
}

/// A static program whose attributes have no room for a token.
fn cilium(world: &World) -> Result<()> {
    let client = world.dir.path().join("go-client");
    fs::write(&client, clients::GO_CLIENT)?;
    fs::set_permissions(&client, fs::Permissions::from_mode(0o755))?;
    loads(world, &client)
}

/// Debian's bpftrace, with what needs no perf event to attach.
fn bpftrace(world: &World) -> Result<()> {
    let script = "BEGIN { printf(\"begun \"); } \
                  rawtracepoint:sched_switch { printf(\"traced\"); exit(); }";
    Client {
        command: &["bpftrace", "-e", script],
        options: "--cmds map_create:prog_load:btf_load --maps array:ringbuf \
                  --progs socket_filter:kprobe:raw_tracepoint --attachs cgroup_inet_ingress",
        help: "--exec",
        without: &[
            ("map_create:", "does not delegate bpf() command map_create"),
            (":ringbuf", "does not delegate map type ringbuf"),
            (":raw_tracepoint", "Loading BPF object(s) failed"),
        ],
    }
    .check(world, &["begun traced"])
}

/// The same with one of each that it attaches.
fn bpftrace_probes(world: &World) -> Result<()> {
    let script = "BEGIN { @b = 1 } kprobe:vfs_read { @k = 1 } kretprobe:vfs_read { @r = 1 } \
                  tracepoint:sched:sched_process_exec { @t = 1 } \
                  uprobe:/bin/bash:main { @u = 1 } fentry:vfs_open { @f = 1 }";
    Client {
        command: &["bpftrace", "-e", script, "-c", "/bin/bash -c true"],
        options: "--cmds map_create:prog_load:btf_load --maps array:ringbuf:percpu_hash:hash \
                  --progs socket_filter:kprobe:tracepoint:raw_tracepoint:tracing \
                  --attachs cgroup_inet_ingress:trace_fentry",
        help: "--exec --probes kprobe:vfs_*,tracepoint:sched:*,uprobe:/bin/bash",
        without: &[
            (
                "kprobe:vfs_*,",
                "kprobe:vfs_read is not among the probes of this container",
            ),
            (",uprobe:/bin/bash", "the file is not among the probes"),
            ("tracepoint:sched:*,", "sched:sched_process_exec"),
            (":tracing", "does not delegate program type tracing"),
            (
                ":trace_fentry",
                "does not delegate attach type trace_fentry",
            ),
        ],
    }
    .check(
        world,
        &["@b: 1", "@k: 1", "@r: 1", "@t: 1", "@u: 1", "@f: 1"],
    )
}

/// Several uprobes at once are a link that needs no perf event, and so no broker.
fn bpftrace_multi(world: &World) -> Result<()> {
    let script = "uprobe:/bin/bash:ma*n { @u = 1 }";
    Client {
        command: &["bpftrace", "-e", script, "-c", "/bin/bash -c true"],
        options: "--cmds map_create:prog_load:btf_load --maps array:ringbuf:hash \
                  --progs socket_filter:kprobe:raw_tracepoint \
                  --attachs cgroup_inet_ingress:trace_uprobe_multi",
        help: "--exec",
        without: &[(
            ":trace_uprobe_multi",
            "does not delegate attach type trace_uprobe_multi",
        )],
    }
    .check(world, &["@u: 1"])
}

/// Several kprobes at once, likewise: what is on no list can be had by who has the attach type.
/// bpftrace wants to read the names somewhere.
fn bpftrace_kprobe_multi(world: &World) -> Result<()> {
    let script = "mount -t tmpfs tmpfs /sys/kernel/tracing && cd /sys/kernel/tracing && \
                  printf 'vfs_read\\nvfs_readv\\n' >available_filter_functions && \
                  exec bpftrace -e 'kprobe:vfs_rea* { @k = 1 }' -c '/bin/cat /etc/passwd'";
    let options = "--exec --cmds map_create:prog_load:btf_load --maps array:ringbuf:hash \
                   --progs socket_filter:kprobe:raw_tracepoint --attachs cgroup_inet_ingress";
    let with = |attach_type: &str| {
        let options = format!("{options}{attach_type}");
        said(&mut world.contained(&options, &["sh", "-c", script]))
    };
    let good = with(":trace_kprobe_multi")?.must(0)?;
    ensure!(good.out.contains("@k: 1"), "{} {}", good.out, good.err);
    // bpftrace goes on with one perf event for each function, and warns that it gets none.
    let refused = with("")?;
    ensure!(!refused.out.contains("@k: 1"), "{}", refused.out);
    refused.tells(&["does not delegate attach type trace_kprobe_multi"])
}

/// Debian's bcc for Python: it compiles, against the running kernel's headers, and attaches a kprobe.
fn bcc(world: &World) -> Result<()> {
    let dir = world.dir.path().join("headers");
    fs::create_dir(&dir)?;
    let tar = ["-xf", "/sys/kernel/kheaders.tar.xz", "-C", path(&dir)];
    said(Command::new("tar").args(tar))?.must(0)?;
    said(Command::new("chmod").args(["-R", "a+rX", path(&dir)]))?.must(0)?;
    let script = world.dir.path().join("client.py");
    fs::write(&script, BCC)?;
    let headers = format!("BCC_KERNEL_SOURCE={}", path(&dir));
    Client {
        command: &["env", &headers, "python3", path(&script)],
        options: "--cmds map_create:prog_load:btf_load --maps array:hash --progs kprobe:xdp \
                  --attachs cgroup_inet_ingress",
        help: "--exec --probes kprobe:vfs_read,uprobe",
        without: &[
            (
                "kprobe:vfs_read,",
                "kprobe:vfs_read is not among the probes of this container",
            ),
            (":hash", "does not delegate map type hash"),
            ("kprobe:", "does not delegate program type kprobe"),
        ],
    }
    .check(world, &["counted: True"])
}

/// Counts what it does itself.
const BCC: &str = r#"
import ctypes
from bcc import BPF

program = BPF(text="""
#include <uapi/linux/ptrace.h>
BPF_HASH(counts, u32, u64);
int on_read(struct pt_regs *ctx)
{
    u32 key = 0;
    counts.increment(key);
    return 0;
}
""")
program.attach_kprobe(event="vfs_read", fn_name="on_read")
open("/etc/passwd").read()
print("counted:", program["counts"][ctypes.c_uint(0)].value > 0)
"#;
