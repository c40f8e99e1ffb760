// SPDX-License-Identifier: GPL-2.0
//! A loader that knows nothing of tokens: bpftrace, as Debian has it.

use std::path::PathBuf;
use std::process::Command;
use std::process::Output;

use anyhow::Context;
use anyhow::Result;

use crate::story;

/// What bpftrace and the script need.
const DELEGATION: &str = "--cmds map_create:prog_load:btf_load \
    --maps array:ringbuf:hash:percpu_hash:percpu_array \
    --progs socket_filter:raw_tracepoint:tracepoint:kprobe \
    --attachs cgroup_inet_ingress";
/// What it gets by that.
const HELP: &str = "--exec --probes kprobe:vfs_*,tracepoint:sched:*,uprobe:/bin/bash";

/// What it traces, which is all that has to do with this command.
const SCRIPT: [&str; 4] = [
    "tracepoint:sched:sched_process_exec { printf(\"exec of %s\\n\", comm); }",
    "uprobe:/bin/bash:main { printf(\"main() of %s\\n\", comm); }",
    "kprobe:vfs_read { @reads[comm] = count(); }",
    "END { printf(\"ended\\n\"); }",
];
const COMMAND: &str = "/bin/bash -c true";

pub fn start() -> Result<()> {
    story::act(
        "manager",
        "has the user with uid 1000 run this in a container, with bpftoken run:",
    );
    for line in SCRIPT {
        story::evidence(line);
    }
    let refused = bpftrace(DELEGATION)?;
    story::outcome(
        !refused.status.success(),
        "with the delegation alone, bpftrace fails. It says:",
    );
    let said = String::from_utf8_lossy(&refused.stderr);
    let last = said.lines().rfind(|line| line.contains("ERROR"));
    story::evidence(last.unwrap_or("(nothing)"));
    story::act("manager", &format!("adds {HELP}; bpftrace says:"));
    let traced = bpftrace(&format!("{DELEGATION} {HELP}"))?;
    let said = String::from_utf8_lossy(&traced.stdout);
    for line in said.lines().filter(|line| !line.is_empty()) {
        story::evidence(line);
    }
    let all = ["exec of bash", "main() of bash", "@reads[bash]", "ended"];
    story::outcome(
        traced.status.success() && all.iter().all(|it| said.contains(it)),
        "it attached a tracepoint, a uprobe and a kprobe, and saw the command",
    );
    Ok(())
}

/// Runs bpftrace in a container with these options.
fn bpftrace(options: &str) -> Result<Output> {
    // It stands beside this program.
    let bpftoken: PathBuf = std::env::current_exe()?.with_file_name("bpftoken");
    Command::new(&bpftoken)
        .args(["run", "--user", "1000"])
        .args(options.split_whitespace())
        .args(["--", "bpftrace", "-e", &SCRIPT.join(" "), "-c", COMMAND])
        .output()
        .with_context(|| bpftoken.display().to_string())
}
