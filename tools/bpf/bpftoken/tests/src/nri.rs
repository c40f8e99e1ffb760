// SPDX-License-Identifier: GPL-2.0
//! `bpftoken nri-plugin` and a runtime that speaks to it by containerd's own library.

use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Child;
use std::process::ChildStdin;
use std::process::ChildStdout;
use std::process::Command;
use std::process::Stdio;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use serde_json::json;
use serde_json::Value;
use tempfile::TempDir;

use crate::world::path;
use crate::world::World;
use crate::Test;

pub const TESTS: &[(&str, Test)] = &[
    ("nri::adjusts", adjusts),
    ("nri::refuses", refuses),
    ("nri::long_messages", long_messages),
    ("nri::started_by_the_runtime", started_by_the_runtime),
    ("nri::ends_with_the_runtime", ends_with_the_runtime),
    ("nri::other_sockets", other_sockets),
];

const MAPS: &str = "org.bpf-token.delegate_maps";
const LIMIT: &str = "--cmds any --maps array:hash --progs any --attachs any";

/// A runtime, of which this is the node.
struct Runtime {
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    dir: TempDir,
}

impl Runtime {
    /// It starts the plugins of this script, or waits for one.
    fn start(plugin: Option<&str>) -> Result<Self> {
        let dir = tempfile::tempdir_in("/tmp")?;
        let program = dir.path().join("nri-runtime");
        fs::write(&program, clients::NRI_RUNTIME)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        let plugins = dir.path().join("plugins");
        fs::create_dir(&plugins)?;
        if let Some(script) = plugin {
            let file = plugins.join("07-token");
            fs::write(&file, script)?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
        }
        let mut child = Command::new(&program)
            .args([&dir.path().join("nri.sock"), &plugins])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(dir.path().join("log"))?)
            .spawn()?;
        let requests = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().context("no stdout")?);
        Ok(Self {
            child,
            requests,
            answers,
            dir,
        })
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("nri.sock")
    }

    /// A plugin that connects, with these options.
    fn plugin(&self, world: &World, options: &[&str]) -> Result<Plugin> {
        for _ in 0..100 {
            if self.socket().exists() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        let mut command = world.command(&["nri-plugin", "--socket", path(&self.socket())]);
        let child = command.args(options).stderr(Stdio::piped()).spawn()?;
        Ok(Plugin(child))
    }

    /// What the plugins make of a container.
    fn create(&mut self, pod: &Value, container: &Value) -> Result<Value> {
        let request = json!({
            "pod": { "name": "p", "namespace": "n", "annotations": pod },
            "container": {
                "name": "c",
                "annotations": container,
                "linux": { "namespaces": [{ "type": "mount" }, { "type": "user", "path": "/x" }] },
            },
        });
        self.ask(&request)
    }

    fn ask(&mut self, request: &Value) -> Result<Value> {
        let requests = self.requests.as_mut().context("it has ended")?;
        writeln!(requests, "{request}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let log = || fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        serde_json::from_str(&line).with_context(|| format!("\"{line}\": {}", log()))
    }

    /// Has it end.
    fn stop(&mut self) -> Result<()> {
        drop(self.requests.take());
        ensure!(self.child.wait()?.success(), "the runtime failed");
        Ok(())
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Plugin(Child);

impl Plugin {
    /// Waits for its end; returns its exit status and what it said.
    fn end(mut self) -> Result<(Option<i32>, String)> {
        let mut text = String::new();
        let mut err = self.0.stderr.take().context("no stderr")?;
        err.read_to_string(&mut text)?;
        Ok((self.0.wait()?.code(), text))
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn hook(answer: &Value) -> &Value {
    &answer["adjust"]["hooks"]["createRuntime"][0]
}

fn adjusts(world: &World) -> Result<()> {
    let mut runtime = Runtime::start(None)?;
    let options = ["--at-most", LIMIT, "--log", "/tmp/nri.log", "--index", "3"];
    let _plugin = runtime.plugin(world, &options)?;
    let answer = runtime.create(&json!({ MAPS: "array", "other": "x" }), &json!({}))?;
    ensure!(hook(&answer)["path"] == world.bpftoken(), "{answer}");
    let limit = format!("--at-most={LIMIT}");
    let args = json!(["bpftoken", "oci-hook", limit, "--log=/tmp/nri.log"]);
    ensure!(hook(&answer)["args"] == args, "{answer}");
    let annotations = json!({ MAPS: "array" });
    ensure!(answer["adjust"]["annotations"] == annotations, "{answer}");
    // The container's own come before those for it, and these before the pod's.
    let named = json!({ format!("c/{MAPS}"): "hash", MAPS: "array" });
    let answer = runtime.create(&named, &json!({}))?;
    ensure!(answer["adjust"]["annotations"][MAPS] == "hash", "{answer}");
    let answer = runtime.create(&named, &json!({ MAPS: "array:hash" }))?;
    ensure!(
        answer["adjust"]["annotations"][MAPS] == "array:hash",
        "{answer}"
    );
    // One that asks for nothing is left alone.
    let answer = runtime.create(&json!({ format!("d/{MAPS}"): "hash" }), &json!({}))?;
    ensure!(hook(&answer).is_null(), "{answer}");
    runtime.stop()?;
    let log = fs::read_to_string(runtime.dir.path().join("log"))?;
    ensure!(log.contains("registered as \"03-bpftoken\""), "{log}");
    Ok(())
}

/// A container is not created that can't have what it asks for, with the reason; the next is.
fn refuses(world: &World) -> Result<()> {
    let mut runtime = Runtime::start(None)?;
    let _plugin = runtime.plugin(world, &["--at-most", LIMIT])?;
    for (key, value, words) in [
        (
            MAPS,
            "ringbuf",
            "asks for more than --at-most allows: delegate_maps=ringbuf",
        ),
        (MAPS, "aray", "is \"array\" meant?"),
        (
            "org.bpf-token.delegate_map",
            "array",
            "is \"org.bpf-token.delegate_maps\" meant?",
        ),
        (MAPS, "\u{1b}[2J", "\\u{1b}[2J"),
    ] {
        let answer = runtime.create(&json!({ key: value }), &json!({}))?;
        let error = answer["error"].as_str().context("it was created")?;
        ensure!(error.contains(words), "{error}");
        ensure!(
            error.contains("bpftoken: container c of pod n/p: "),
            "{error}"
        );
    }
    let without = json!({
        "pod": { "name": "p", "namespace": "n", "annotations": { MAPS: "array" } },
        "container": { "name": "c", "linux": { "namespaces": [{ "type": "mount" }] } },
    });
    let answer = runtime.ask(&without)?;
    let error = answer["error"].as_str().context("it was created")?;
    ensure!(error.contains("\"hostUsers: false\""), "{error}");
    let answer = runtime.create(&json!({ MAPS: "array" }), &json!({}))?;
    ensure!(!hook(&answer).is_null(), "{answer}");
    Ok(())
}

/// Longer than what the library reads at once, both ways.
fn long_messages(world: &World) -> Result<()> {
    let mut runtime = Runtime::start(None)?;
    let _plugin = runtime.plugin(world, &[])?;
    let long = vec!["array"; 20_000].join(":");
    let other = "x".repeat(500_000);
    for _ in 0..3 {
        let answer = runtime.create(&json!({ MAPS: long, "other": other }), &json!({}))?;
        ensure!(
            answer["adjust"]["annotations"] == json!({ MAPS: long }),
            "another answer of {} bytes",
            answer.to_string().len()
        );
    }
    Ok(())
}

/// It gets its socket, name and number from the runtime, and nothing else.
fn started_by_the_runtime(world: &World) -> Result<()> {
    let script = format!(
        "#!/bin/sh\nexec {} nri-plugin --hook /elsewhere/bpftoken\n",
        world.bpftoken()
    );
    let mut runtime = Runtime::start(Some(&script))?;
    let answer = runtime.create(&json!({ MAPS: "array" }), &json!({}))?;
    ensure!(hook(&answer)["path"] == "/elsewhere/bpftoken", "{answer}");
    ensure!(
        hook(&answer)["args"] == json!(["bpftoken", "oci-hook"]),
        "{answer}"
    );
    Ok(())
}

fn ends_with_the_runtime(world: &World) -> Result<()> {
    let mut runtime = Runtime::start(None)?;
    let plugin = runtime.plugin(world, &[])?;
    runtime.create(&json!({}), &json!({}))?;
    runtime.stop()?;
    let (code, text) = plugin.end()?;
    ensure!(code == Some(1), "{code:?}: {text}");
    ensure!(text.contains("has closed the connection"), "{text}");
    Ok(())
}

/// What is no runtime's, and what says nothing that a runtime would.
fn other_sockets(world: &World) -> Result<()> {
    world
        .run(&["nri-plugin", "--socket", "/nowhere/nri.sock"])?
        .must(1)?
        .explains(&["connect to /nowhere/nri.sock", "No such file"])?;
    world
        .run(&["nri-plugin", "--at-most", "nonsense"])?
        .must(1)?
        .explains(&["--at-most: no delegation in any format"])?;
    world
        .run(&["nri-plugin", "--at-most", "--maps aray"])?
        .must(1)?
        .tells(&["warning: --at-most: ", "is \"array\" meant?"])?;
    let dir = tempfile::tempdir_in("/tmp")?;
    let socket = dir.path().join("socket");
    let listener = UnixListener::bind(&socket)?;
    let huge = [&1u32.to_be_bytes()[..], &u32::MAX.to_be_bytes()].concat();
    // A header of ttrpc: length, stream, kind, flags; and a message that is none.
    let answer = |data: &[u8]| {
        let header = [&(data.len() as u32).to_be_bytes()[..], &[0, 0, 0, 1, 2, 0]].concat();
        let text = [&header, data].concat();
        [
            &2u32.to_be_bytes(),
            &(text.len() as u32).to_be_bytes(),
            &*text,
        ]
        .concat()
    };
    for (says, words) in [
        (huge, "is no frame"),
        (Vec::new(), "did not take up the plugin"),
        (answer(&[0xff; 3]), "failed to decode"),
        // A status of code 3 with the message "no".
        (
            answer(&[0x0a, 6, 0x08, 3, 0x12, 2, b'n', b'o']),
            "refuses the plugin: no",
        ),
    ] {
        let mut command = world.command(&["nri-plugin", "--socket", path(&socket)]);
        let plugin = Plugin(command.stderr(Stdio::piped()).spawn()?);
        let (mut other, _) = listener.accept()?;
        other.read_exact(&mut [0; 8])?;
        other.write_all(&says)?;
        // All that it has to say is read first: an end is then no reset.
        other.set_read_timeout(Some(std::time::Duration::from_millis(300)))?;
        let _ = other.read_to_end(&mut Vec::new());
        drop(other);
        let (code, text) = plugin.end()?;
        ensure!(code == Some(1) && text.contains(words), "{words}: {text}");
    }
    Ok(())
}
