// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tracepoints by their ids, and what a container gets in place of tracefs.

use std::collections::HashMap;
use std::fs;
use std::fs::Permissions;
use std::io::BufRead;
use std::io::BufReader;
use std::io::ErrorKind;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::mount::FsPickFlags;
use rustix::mount::MountAttrFlags;

use crate::error::Error;
use crate::error::Result;
use crate::probes::Probes;
use crate::tracefs;
use crate::tracefs::Tracefs;

/// Events that the function tracer makes for itself; programs can't be attached to them.
const OWN: &str = "ftrace";

/// A group and a name.
type Tracepoint = (String, String);

/// What adds to the file system that a container gets.
type Addition<'a> = &'a dyn Fn(&Path) -> Result<()>;

/// The tracepoints that a list has, which were there when this was made.
#[derive(Debug)]
pub(super) struct Tracing {
    tracefs: Tracefs,
    ids: HashMap<u64, Tracepoint>,
}

impl Tracing {
    pub(super) fn new(probes: &Probes) -> Result<Self> {
        let tracefs = Tracefs::open()?;
        let mut ids = HashMap::new();
        if probes.have_tracepoints() {
            let events = tracefs.path().join("events");
            for group in names(&events)?.into_iter().filter(|group| group != OWN) {
                for name in names(&events.join(&group))? {
                    if !probes.allow_tracepoint(&group, &name) {
                        continue;
                    }
                    if let Some(id) = id(&events.join(&group).join(&name)) {
                        ids.insert(id, (group.clone(), name));
                    }
                }
            }
        }
        Ok(Self { tracefs, ids })
    }

    /// The tracepoint that had this id.
    pub(super) fn of(&self, id: u64) -> Option<&Tracepoint> {
        self.ids.get(&id)
    }

    /// Whether it has that id now.
    pub(super) fn is(&self, (group, name): &Tracepoint, wanted: u64) -> bool {
        id(&self.tracefs.path().join("events").join(group).join(name)) == Some(wanted)
    }

    /// A read-only file system with what the list has of tracefs: ids and formats of tracepoints, and
    /// the functions that can be probed; and with what `add` adds.
    pub(super) fn tree(&self, probes: &Probes, add: Option<Addition<'_>>) -> Result<OwnedFd> {
        let flags = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let failed = |errno| Error::sys("make a file system for tracepoints", errno);
        let tree = tracefs::detached(c"tmpfs", flags).map_err(failed)?;
        let (from, to) = (self.tracefs.path(), tracefs::path_of(&tree));
        let mut all = String::new();
        let events = to.join("events");
        make_dir(&events)?;
        for (group, name) in self.ids.values() {
            let place = |root: &Path| root.join("events").join(group).join(name);
            make_dir(&events.join(group))?;
            make_dir(&place(&to))?;
            for file in ["id", "format"] {
                copy(&place(&from).join(file), &place(&to).join(file))?;
            }
            all.push_str(&format!("{group}:{name}\n"));
        }
        write(&to.join("available_events"), all.as_bytes())?;
        // Loaders look here for probes that they made before there were perf events for them.
        for file in ["kprobe_events", "uprobe_events"] {
            write(&to.join(file), b"")?;
        }
        // bpftrace looks for this before it attaches to BTF functions, too, which takes no kprobe.
        let functions = "available_filter_functions";
        let listed = listed_functions(&from.join(functions), probes)?;
        write(&to.join(functions), &listed)?;
        add.map_or(Ok(()), |add| add(&to))?;
        let context = rustix::mount::fspick(&tree, c"", FsPickFlags::FSPICK_EMPTY_PATH);
        context
            .and_then(|context| {
                rustix::mount::fsconfig_set_flag(&context, c"ro")?;
                rustix::mount::fsconfig_reconfigure(&context)
            })
            .map_err(failed)?;
        Ok(tree)
    }
}

/// The lines of functions that the list has.
fn listed_functions(path: &Path, probes: &Probes) -> Result<Vec<u8>> {
    let error = |error| Error::file(path, error);
    // A kernel without the function tracer does not tell them.
    let Ok(file) = fs::File::open(path) else {
        return Ok(Vec::new());
    };
    let mut listed = Vec::new();
    for line in BufReader::new(file).lines() {
        let line = line.map_err(error)?;
        let name = line.split(' ').next().unwrap_or_default();
        if probes.allow_kprobe(name, 0) {
            writeln!(listed, "{line}").map_err(error)?;
        }
    }
    Ok(listed)
}

fn id(dir: &Path) -> Option<u64> {
    fs::read_to_string(dir.join("id")).ok()?.trim().parse().ok()
}

/// The directories in a directory.
fn names(dir: &Path) -> Result<Vec<String>> {
    let error = |error| Error::file(dir, error);
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(error)? {
        let entry = entry.map_err(error)?;
        if entry.file_type().map_err(error)?.is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

/// Makes the directory unless it is there. Whatever the manager's umask is, the container may read.
fn make_dir(path: &Path) -> Result<()> {
    let made = match fs::create_dir(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(0o755)),
        failed => failed,
    };
    made.map_err(|error| Error::file(path, error))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let text = fs::read(from).map_err(|error| Error::file(from, error))?;
    write(to, &text)
}

fn write(path: &Path, text: &[u8]) -> Result<()> {
    fs::write(path, text)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o444)))
        .map_err(|error| Error::file(path, error))
}
