// SPDX-License-Identifier: GPL-2.0
//! The tracing program: attached to the tracepoint sched_process_exec, it tells of each exec in the
//! container's pid namespace.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::process::Stdio;
use std::sync::Mutex;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use bpf_token::AttachType;
use bpf_token::Insn;
use bpf_token::ProgAttr;
use bpf_token::ProgType;
use bpf_token::Token;
use libbpf_rs::Link;
use libbpf_rs::MapCore;
use libbpf_rs::MapFlags;
use libbpf_rs::Object;
use libbpf_rs::RingBufferBuilder;

use crate::container::map;
use crate::load;
use crate::story;

/// An exec, as the program in the kernel or the container itself tells it.
#[derive(Debug, PartialEq, Eq)]
struct Exec {
    pid: u32,
    comm: String,
    filename: String,
}

/// The program, loaded and attached.
pub struct Tracer {
    object: Object,
    _link: Link,
}

impl Tracer {
    pub fn load() -> Result<Self> {
        let object = load::load(load::EXEC).context("load exec.bpf.o")?;
        story::outcome(true, "exec.bpf.o loads: tracing, with a ring buffer");
        let namespace = fs::metadata("/proc/self/ns/pid")?;
        let id = [namespace.dev(), namespace.ino()].map(u64::to_ne_bytes);
        map(&object, "namespace")?.update(&0u32.to_ne_bytes(), &id.concat(), MapFlags::ANY)?;
        let link = object
            .progs_mut()
            .next()
            .context("no program")?
            .attach()
            .context("attach to sched_process_exec")?;
        Ok(Self {
            object,
            _link: link,
        })
    }

    /// Executes commands, shows what the program tells of them, and returns whether it told of just
    /// these.
    fn tells_of(&self, commands: &[(&str, &str)]) -> Result<bool> {
        let seen: Mutex<Vec<(Exec, u32)>> = Mutex::default();
        let events = map(&self.object, "events")?;
        let mut ring = RingBufferBuilder::new();
        ring.add(&events, |bytes| {
            if let (Some(event), Ok(mut seen)) = (parse(bytes), seen.lock()) {
                seen.push(event);
            }
            0
        })?;
        let ring = ring.build()?;
        let done = commands
            .iter()
            .map(|(path, argument)| execute(path, argument))
            .collect::<Result<Vec<_>>>()?;
        ring.consume()?;
        drop(ring);

        let seen = seen.into_inner().expect("nobody panics with it");
        for (exec, host_pid) in &seen {
            let Exec {
                pid,
                comm,
                filename,
            } = exec;
            story::evidence(&format!(
                "exec  pid {pid:<3} (host {host_pid})  comm {comm:<9}  {filename}"
            ));
        }
        Ok(seen.into_iter().map(|(exec, _)| exec).eq(done))
    }
}

/// Loads the program, and has it tell of three commands.
pub fn three_commands() -> Result<Tracer> {
    let tracer = Tracer::load()?;
    story::act(
        "container",
        "attached it to the tracepoint sched_process_exec and executes three commands:",
    );
    let commands = [
        ("/usr/bin/true", ""),
        ("/usr/bin/basename", "/a/path"),
        ("/usr/bin/id", "-u"),
    ];
    story::outcome(
        tracer.tells_of(&commands)?,
        "these are the pids and names of the three processes, and no others",
    );
    Ok(tracer)
}

/// What was loaded before tracing was taken back still tells of a command.
pub fn goes_on(tracer: &Tracer) -> Result<()> {
    story::act("container", "executes a command:");
    story::outcome(
        tracer.tells_of(&[("/usr/bin/true", "")])?,
        "the program that was loaded before goes on",
    );
    Ok(())
}

/// A token from before loads no tracing program any more.
pub fn taken_back(token: &Token) {
    let insns = [Insn::mov64_imm(0, 0), Insn::exit()];
    let program = ProgAttr::new(ProgType::TRACING, &insns).loaded_for(AttachType::TRACE_RAW_TP);
    let error = program.load(Some(token)).err();
    story::act(
        "container",
        "loads a tracing program with a token from before:",
    );
    story::outcome(
        error.is_some(),
        &error.map_or("it loaded".to_owned(), |error| error.to_string()),
    );
}

fn execute(path: &str, argument: &str) -> Result<Exec> {
    let child = Command::new(path)
        .arg(argument)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let exec = Exec {
        pid: child.id(),
        comm: path.rsplit('/').next().unwrap_or(path).to_owned(),
        filename: path.to_owned(),
    };
    ensure!(child.wait_with_output()?.status.success(), "{path} failed");
    Ok(exec)
}

/// Reads `struct exec_event` of exec.bpf.c.
fn parse(bytes: &[u8]) -> Option<(Exec, u32)> {
    let number = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let text = |bytes: &[u8]| {
        let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    };
    let exec = Exec {
        pid: number(0)?,
        comm: text(bytes.get(8..24)?),
        filename: text(bytes.get(24..88)?),
    };
    Some((exec, number(4)?))
}
