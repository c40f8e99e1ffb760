// SPDX-License-Identifier: GPL-2.0
//! Loaders as they are, that know nothing of tokens.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use libtest_mimic::Trial;

use crate::check::OBJECTS;
use crate::world::path;
use crate::world::said;
use crate::world::Said;
use crate::world::World;

pub fn trials() -> Vec<Trial> {
    vec![
        crate::trial("exec::aya", aya),
        crate::trial("exec::cilium", cilium),
        crate::trial("exec::bpftrace", bpftrace),
    ]
}

/// What a client needs, a list each, with an item that can be left out and what is told then.
pub struct Client<'a> {
    pub command: &'a [&'a str],
    pub options: &'a str,
    pub without: &'a [(&'a str, &'a str)],
}

impl Client<'_> {
    /// It works with `exec`, not without, and not where an item is missing, which is told.
    pub fn check(&self, world: &World, loaded: &str) -> Result<()> {
        let with = |options: &str| -> Result<Said> {
            let exec = [&[world.bpftoken(), "exec", "--"], self.command].concat();
            said(&mut world.contained(options, &exec))
        };
        let good = with(self.options)?.must(0)?;
        ensure!(good.out.contains(loaded), "{} {}", good.out, good.err);
        let bare = said(&mut world.contained(self.options, self.command))?;
        ensure!(bare.code != Some(0), "it works without exec: {}", bare.out);
        for (item, reason) in self.without {
            let options = self.options.replacen(item, "", 1);
            ensure!(options != self.options, "no {item}");
            let refused = with(&options)?;
            ensure!(refused.code != Some(0), "it works without {item}");
            refused.tells(&[reason]).with_context(|| options.clone())?;
        }
        Ok(())
    }
}

fn object(world: &World, name: &str) -> Result<std::path::PathBuf> {
    let (_, bytes) = OBJECTS
        .iter()
        .find(|(other, _)| *other == name)
        .context("no object")?;
    let file = world.dir.path().join(format!("{name}.client.bpf.o"));
    fs::write(&file, bytes)?;
    Ok(file)
}

fn aya(world: &World) -> Result<()> {
    let file = object(world, "socket_filter")?;
    let client = world.dir.path().join("aya-client");
    Client {
        command: &[path(&client), path(&file)],
        options:
            "--cmds map_create:prog_load:btf_load --maps array:hash --progs socket_filter:xdp \
                  --attachs cgroup_inet_ingress:xdp",
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
    .check(world, "loaded count")
}

/// A static program whose attributes have no room for a token.
fn cilium(world: &World) -> Result<()> {
    let file = object(world, "socket_filter")?;
    let client = world.dir.path().join("go-client");
    fs::write(&client, clients::GO_CLIENT)?;
    fs::set_permissions(&client, fs::Permissions::from_mode(0o755))?;
    Client {
        command: &[path(&client), path(&file)],
        options:
            "--cmds map_create:prog_load:btf_load --maps array:hash --progs socket_filter:xdp \
                  --attachs cgroup_inet_ingress:xdp",
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
    .check(world, "loaded count")
}

/// Debian's bpftrace, with what needs no perf event to attach.
fn bpftrace(world: &World) -> Result<()> {
    let script = "BEGIN { printf(\"begun \"); } \
                  rawtracepoint:sched_switch { printf(\"traced\"); exit(); }";
    Client {
        command: &["bpftrace", "-e", script],
        options: "--cmds map_create:prog_load:btf_load --maps array:ringbuf \
                  --progs socket_filter:kprobe:raw_tracepoint --attachs cgroup_inet_ingress",
        without: &[
            ("map_create:", "does not delegate bpf() command map_create"),
            (":ringbuf", "does not delegate map type ringbuf"),
            (":raw_tracepoint", "Loading BPF object(s) failed"),
        ],
    }
    .check(world, "begun traced")
}
