// SPDX-License-Identifier: GPL-2.0
//! `bpftoken oci-hook`, called by crun and by runc: what a program in the container can then load, and
//! why a container does not start.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::process::Stdio;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use libtest_mimic::Trial;
use serde_json::json;
use serde_json::Value;
use tempfile::TempDir;

use crate::check::OBJECTS;
use crate::world::path;
use crate::world::said;
use crate::world::Said;
use crate::world::World;

const RUNTIMES: [&str; 2] = ["crun", "runc"];

/// What the object xdp_redirect needs.
pub const ENOUGH: [(&str, &str); 4] = [
    ("org.bpf-token.delegate_cmds", "map_create,prog_load"),
    ("org.bpf-token.delegate_maps", "array:devmap"),
    ("org.bpf-token.delegate_progs", "socket_filter:xdp"),
    ("org.bpf-token.delegate_attachs", "any"),
];

type RuntimeTest = fn(&World, &str) -> Result<()>;

pub fn trials() -> Vec<Trial> {
    let tests: [(&str, RuntimeTest); 6] = [
        ("loads", loads),
        ("without_annotations", without_annotations),
        ("without_user_namespace", without_user_namespace),
        ("targets", targets),
        ("limit", limit),
        ("bad_annotations", bad_annotations),
    ];
    let mut trials = Vec::new();
    for runtime in RUNTIMES {
        for (name, test) in tests {
            let name = format!("oci::{runtime}::{name}");
            trials.push(crate::trial(&name, move |world| test(world, runtime)));
        }
    }
    trials.push(crate::trial("oci::states", states));
    trials
}

/// The root file system of a container that has the guest's programs, and the tests' at /w.
pub fn root_file_system(world: &World) -> Result<TempDir> {
    let dir = tempfile::tempdir_in("/tmp")?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
    for name in ["proc", "sys", "dev", "tmp", "usr", "w", "mnt", "etc"] {
        fs::create_dir(dir.path().join(name))?;
    }
    for name in ["bin", "lib", "lib64"] {
        symlink(format!("usr/{name}"), dir.path().join(name))?;
    }
    // What Podman mounts on, which a container's root can't make in a directory of the host's root.
    fs::create_dir_all(dir.path().join("run/secrets"))?;
    for name in [
        "etc/hosts",
        "etc/hostname",
        "etc/resolv.conf",
        "run/.containerenv",
    ] {
        fs::write(dir.path().join(name), "")?;
    }
    let object = object("xdp_redirect")?;
    fs::write(world.dir.path().join("xdp.bpf.o"), object)?;
    Ok(dir)
}

/// The object of this name.
pub fn object(name: &str) -> Result<&'static [u8]> {
    let found = OBJECTS.iter().find(|(found, _)| *found == name);
    let (_, object) = found.context("no object")?;
    Ok(object)
}

/// A bundle of the runtime's own specification, changed as little as may be.
struct Bundle {
    dir: TempDir,
    runtime: String,
    config: Value,
}

impl Bundle {
    fn new(world: &World, runtime: &str, hook: &[&str]) -> Result<Self> {
        let dir = tempfile::tempdir_in("/tmp")?;
        said(Command::new(runtime).arg("spec").current_dir(dir.path()))?.must(0)?;
        let text = fs::read_to_string(dir.path().join("config.json"))?;
        let mut config: Value = serde_json::from_str(&text)?;
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["/w/bpftoken", "load", "/w/xdp.bpf.o"]);
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] = json!(["CAP_BPF", "CAP_NET_ADMIN"]);
        }
        config["root"] = json!({ "path": "rootfs" });
        let mounts = config["mounts"].as_array_mut().context("no mounts")?;
        for (from, to) in [("/usr", "/usr"), (path(world.dir.path()), "/w")] {
            mounts.push(json!({ "source": from, "destination": to, "options": ["rbind", "ro"] }));
        }
        let namespaces = config["linux"]["namespaces"].as_array_mut();
        namespaces
            .context("no namespaces")?
            .push(json!({ "type": "user" }));
        for map in ["uidMappings", "gidMappings"] {
            config["linux"][map] = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
        }
        let args = [&["bpftoken", "oci-hook"], hook].concat();
        let hook = json!([{ "path": world.bpftoken(), "args": args }]);
        config["hooks"] = json!({ "createRuntime": hook });
        // Where crun's hooks are heard; runc passes it over.
        config["annotations"] = json!({ "run.oci.hooks.stderr": "/proc/self/fd/2" });
        Ok(Self {
            dir,
            runtime: runtime.to_owned(),
            config,
        })
    }

    fn annotate(&mut self, annotations: &[(&str, &str)]) {
        for (key, value) in annotations {
            self.config["annotations"][*key] = json!(value);
        }
    }

    fn run(&self, world: &World) -> Result<Said> {
        let root = root_file_system(world)?;
        symlink("/etc", root.path().join("link"))?;
        self.run_in(&root)
    }

    fn run_in(&self, root: &TempDir) -> Result<Said> {
        let mut config = self.config.clone();
        config["root"]["path"] = json!(root.path());
        let file = self.dir.path().join("config.json");
        fs::write(file, serde_json::to_vec(&config)?)?;
        let id = format!("c{}", std::process::id());
        let said = said(
            Command::new(&self.runtime)
                .args(["run", "--bundle", path(self.dir.path()), &id])
                .stdin(Stdio::null()),
        )?;
        ensure!(
            !fs::read_to_string("/proc/mounts")?.contains("delegate_"),
            "the BPF FS is mounted on the host"
        );
        Ok(said)
    }
}

fn loads(world: &World, runtime: &str) -> Result<()> {
    let mut bundle = Bundle::new(world, runtime, &[])?;
    bundle.annotate(&ENOUGH);
    let out = bundle.run(world)?.must(0)?.out;
    ensure!(
        out.contains("loaded through a token from /sys/fs/bpf"),
        "{out}"
    );
    // It is as much as was asked for.
    bundle.annotate(&[("org.bpf-token.delegate_maps", "array")]);
    let said = bundle.run(world)?.must(1)?;
    said.tells(&["does not delegate map type devmap"])
}

/// It starts, with nothing, and the log says which annotation would have given it something.
fn without_annotations(world: &World, runtime: &str) -> Result<()> {
    let bundle = Bundle::new(world, runtime, &[])?;
    let said = bundle.run(world)?.must(1)?;
    said.tells(&["no token was given", "EPERM"])?;
    // runc drops what a hook says that does not fail; --log has it for both.
    let log = world.dir.path().join(format!("{runtime}.log"));
    let mut bundle = Bundle::new(world, runtime, &["--log", path(&log)])?;
    bundle.run(world)?.must(1)?;
    let text = fs::read_to_string(&log)?;
    ensure!(
        text.contains("gets no BPF FS: it has none of the annotations org.bpf-token.delegate_cmds"),
        "{text}"
    );
    // One that asks for some, but lacks what makes it of use.
    bundle.annotate(&ENOUGH[..3]);
    bundle.run(world)?.must(1)?;
    let text = fs::read_to_string(&log)?;
    ensure!(
        text.contains("annotation org.bpf-token.delegate_attachs is missing"),
        "{text}"
    );
    Ok(())
}

/// The container does not start, and the runtime says why.
fn refused(world: &World, bundle: &Bundle, words: &[&str]) -> Result<()> {
    let said = bundle.run(world)?;
    ensure!(said.code != Some(0), "it started: {}", said.out);
    ensure!(!said.out.contains("loaded"), "it ran: {}", said.out);
    said.tells(words)
}

fn without_user_namespace(world: &World, runtime: &str) -> Result<()> {
    let mut bundle = Bundle::new(world, runtime, &[])?;
    bundle.annotate(&ENOUGH);
    let linux = bundle.config["linux"].as_object_mut().context("linux")?;
    linux.remove("uidMappings");
    linux.remove("gidMappings");
    let namespaces = linux["namespaces"].as_array_mut().context("namespaces")?;
    namespaces.retain(|namespace| namespace["type"] != "user");
    refused(
        world,
        &bundle,
        &["runs in this user namespace", "--userns=auto"],
    )
}

/// A container chooses a directory of its own, and no other.
fn targets(world: &World, runtime: &str) -> Result<()> {
    let mut bundle = Bundle::new(world, runtime, &[])?;
    bundle.annotate(&ENOUGH);
    bundle.annotate(&[("org.bpf-token.target", "/mnt")]);
    bundle.config["process"]["args"] = json!(["/usr/bin/grep", " bpf ", "/proc/mounts"]);
    let out = bundle.run(world)?.must(0)?.out;
    ensure!(
        out.contains(" /mnt bpf ") && out.lines().count() == 1,
        "{out}"
    );
    for (target, words) in [
        ("/mnt/../../etc", "not an absolute path without .."),
        ("mnt", "not the absolute path"),
        ("/link", "ELOOP"),
        ("/nowhere", "ENOENT"),
    ] {
        bundle.annotate(&[("org.bpf-token.target", target)]);
        refused(world, &bundle, &[words])?;
    }
    Ok(())
}

fn limit(world: &World, runtime: &str) -> Result<()> {
    let some = "--cmds map_create,prog_load --maps array --progs any --attachs any";
    let mut bundle = Bundle::new(world, runtime, &["--at-most", some])?;
    bundle.annotate(&ENOUGH);
    refused(
        world,
        &bundle,
        &["asks for more than --at-most allows: delegate_maps=devmap"],
    )?;
    let all = "delegate_cmds=any,delegate_maps=any,delegate_progs=any,delegate_attachs=any";
    let mut bundle = Bundle::new(world, runtime, &["--at-most", all])?;
    bundle.annotate(&ENOUGH);
    bundle.run(world)?.must(0).map(drop)
}

fn bad_annotations(world: &World, runtime: &str) -> Result<()> {
    for (key, value, words) in [
        (
            "org.bpf-token.delegate_map",
            "any",
            "is \"org.bpf-token.delegate_maps\" meant?",
        ),
        ("org.bpf-token.delegate_maps", "aray", "is \"array\" meant?"),
        ("org.bpf-token.delegate_maps", "\u{1b}[2J", "u{1b}[2J"),
    ] {
        let mut bundle = Bundle::new(world, runtime, &[])?;
        bundle.annotate(&[(key, value)]);
        // A runtime may quote what it shows; the words are the hook's.
        let said = bundle.run(world)?;
        ensure!(said.code != Some(0), "{key}={value}: it started");
        let text = said.err.replace("\\\"", "\"");
        ensure!(text.contains(words), "{key}={value}: {text}");
        ensure!(!said.err.contains('\u{1b}'), "{}", said.err);
    }
    Ok(())
}

/// What no runtime says, or not at this stage.
fn states(world: &World) -> Result<()> {
    let hook = |text: &str| {
        let script = format!("echo '{text}' | {} oci-hook", world.bpftoken());
        said(Command::new("sh").args(["-c", &script]))
    };
    hook("")?.must(1)?.explains(&["no state of a container"])?;
    hook("{}")?
        .must(1)?
        .explains(&["no state of a container", "missing field"])?;
    let state = |status: &str, pid: i32| {
        format!(
            "{{ \"id\": \"c\", \"status\": \"{status}\", \"pid\": {pid}, \"bundle\": \"/nowhere\", \
             \"annotations\": {{ \"org.bpf-token.delegate_cmds\": \"map_create\" }} }}"
        )
    };
    hook(&state("running", 1))?
        .must(1)?
        .explains(&["is running", "createRuntime"])?;
    hook(&state("created", 1))?
        .must(1)?
        .explains(&["/nowhere/config.json", "No such file"])?;
    // As root of a user namespace, which is how rootless runtimes call it.
    let script = format!(
        "echo '{}' | {} oci-hook",
        state("created", 1),
        world.bpftoken()
    );
    said(Command::new("unshare").args(["--user", "--map-root-user", "sh", "-c", &script]))?
        .must(1)?
        .explains(&[
            "a hook that runs as a user",
            "a unit of systemd",
            "bpftoken mount",
        ])
}
