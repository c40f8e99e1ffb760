// SPDX-License-Identifier: GPL-2.0
//! The documentation of Kubernetes, followed literally, with containerd, and what else a pod is told.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::process::Stdio;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;

use crate::managers::blocks;
use crate::managers::BEFORE;
use crate::oci::object;
use crate::world::said;
use crate::world::World;
use crate::Test;

pub const TESTS: &[(&str, Test)] = &[("managers::kubernetes", kubernetes)];

const PAGE: &str = include_str!("../../doc/kubernetes.md");
const NODE: &str = include_str!("../containerd/node.sh");

/// What a pod said, and its exit status.
fn of<'a>(out: &'a str, pod: &str) -> Result<(&'a str, &'a str)> {
    let begin = format!("pod {pod}\n");
    let rest = out.split(&*begin).nth(1).context(begin)?;
    let (text, rest) = rest.split_once("status ").context("no status")?;
    Ok((text, rest.lines().next().unwrap_or_default()))
}

fn kubernetes(world: &World) -> Result<()> {
    let dir = tempfile::tempdir_in("/tmp")?;
    let put = |name: &str, data: &[u8]| -> Result<()> {
        let to = dir.path().join(name);
        fs::write(&to, data)?;
        Ok(fs::set_permissions(to, fs::Permissions::from_mode(0o755))?)
    };
    let one = |language: &str| -> Result<&str> {
        let blocks = blocks(PAGE, language);
        ensure!(blocks.len() == 1, "{} blocks of {language}", blocks.len());
        Ok(blocks[0])
    };
    let pod = one("yaml")?;
    put("bpftoken", &fs::read(&world.bpftoken)?)?;
    put("kubelet", clients::KUBELET)?;
    put("xdp.bpf.o", object("xdp_redirect")?)?;
    put("nri.toml", one("toml")?.as_bytes())?;
    fs::create_dir(dir.path().join("pods"))?;
    let ours = |line: &&str| !line.contains("org.bpf-token.");
    let without: Vec<&str> = pod.lines().filter(ours).collect();
    for (name, pod) in [
        ("page", pod.to_owned()),
        (
            "host_users",
            pod.replace("hostUsers: false", "hostUsers: true"),
        ),
        (
            "beyond",
            pod.replace("progs: socket_filter", "progs: tracing"),
        ),
        ("other", pod.replace("loader/org", "sidecar/org")),
        ("all", pod.replace("loader/org", "org")),
        ("without", without.join("\n").replace("annotations:", "")),
    ] {
        put(&format!("pods/{name}.yaml"), pod.as_bytes())?;
    }
    // In namespaces of its own, with which all ends that containerd starts.
    let script = format!("{BEFORE}{}\n{NODE}", one("sh")?);
    let args = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let out = said(
        Command::new("unshare")
            .args(args)
            .args(["--net", "--propagation", "private"])
            .args(["bash", "-c", &script])
            .current_dir(dir.path())
            .stdin(Stdio::null()),
    )?;
    let log = &out.err;
    let out = &out.out;
    let (text, status) = of(out, "page")?;
    let [expected, refused] = *blocks(PAGE, "text") else {
        anyhow::bail!("not two texts to expect");
    };
    let refused = refused.replace('\n', " ");
    ensure!(
        status == "0" && text.lines().any(|line| line == expected),
        "{text}, status {status}; containerd: {log}"
    );
    let (text, status) = of(out, "all")?;
    ensure!(status == "0" && text.contains(expected), "{text}");
    for pod in ["other", "without"] {
        let (text, status) = of(out, pod)?;
        ensure!(status == "1", "{pod}: {text}, status {status}");
        ensure!(text.contains("no token was given"), "{pod}: {text}");
    }
    for (pod, words) in [
        ("host_users", &*refused),
        (
            "beyond",
            "asks for more than --at-most allows: delegate_progs=tracing",
        ),
    ] {
        let (text, status) = of(out, pod)?;
        let text = text.replace("\\\"", "\"");
        ensure!(status == "1" && text.contains(words), "{pod}: {text}");
        ensure!(
            text.contains("container loader of pod default/example: "),
            "{pod}: {text}"
        );
    }
    let log = fs::read_to_string("/var/log/bpftoken.log")?;
    ensure!(log.contains("bpftoken: plugin of containerd"), "{log}");
    Ok(())
}
