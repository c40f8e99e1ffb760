// SPDX-License-Identifier: GPL-2.0
//! A restricted command that wants more than its token.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use anyhow::ensure;
use anyhow::Result;
use bpf_token::Delegation;
use bpf_token::Token;
use rustix::mount::MountFlags;
use rustix::mount::UnmountFlags;
use rustix::process::Pid;
use rustix::process::PidfdFlags;
use rustix::process::PidfdGetfdFlags;

use super::restricted;
use crate::world::inside;
use crate::world::path;
use crate::world::said;
use crate::world::Holder;
use crate::world::World;

/// The first argument of this program when it goes for another token.
pub(super) const ESCAPE: &str = "restrict-escape";

/// All that it tries comes to nothing.
pub(super) fn no_way_back(world: &World) -> Result<()> {
    if !World::has_narrowing()? {
        return Ok(());
    }
    let command = [path(&world.own), ESCAPE];
    let said = said(&mut restricted(
        world,
        "--cmds map_create --maps array",
        &command,
    ))?
    .must(0)?;
    ensure!(said.out == "kept\n", "{}", said.out);
    Ok(())
}

pub(super) fn escape() -> Result<()> {
    let mut found = Vec::new();
    search(&mut found);
    // What a mount hides.
    for _ in 0..100 {
        let mut changed = false;
        for line in fs::read_to_string("/proc/self/mounts")
            .unwrap_or_default()
            .lines()
        {
            let point = line.split(' ').nth(1).unwrap_or_default();
            let flags = UnmountFlags::DETACH;
            if point != "/" && rustix::mount::unmount(point, flags).is_ok() {
                changed = true;
                found.push(format!("unmounted {point}"));
                search(&mut found);
            }
        }
        if !changed {
            break;
        }
    }
    // Mounts of its own.
    for (kind, point) in [("bpf", "/mnt"), ("proc", "/mnt")] {
        let none = None::<&std::ffi::CStr>;
        if rustix::mount::mount(kind, point, kind, MountFlags::empty(), none).is_ok() {
            found.push(format!("mounted {kind}"));
            search(&mut found);
        }
    }
    // The first process of the container, which made this one's mounts.
    if let Some(first) = Pid::from_raw(1) {
        if let Ok(pidfd) = rustix::process::pidfd_open(first, PidfdFlags::empty()) {
            for number in 0..64 {
                let fd = rustix::process::pidfd_getfd(&pidfd, number, PidfdGetfdFlags::empty());
                if let Ok(fd) = fd {
                    let link = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
                    let name = link.unwrap_or_default().display().to_string();
                    if name.contains("bpf") || Token::from_fd(fd).is_ok() {
                        found.push(format!("a descriptor of the first process: {name}"));
                    }
                }
            }
        }
    }
    // The token that it has.
    let own = Token::inherited(3)?;
    let more = own.restrict(&Delegation::any())?.info()?;
    if more != own.info()? {
        found.push(format!("a wider token: {more:?}"));
    }
    ensure!(found.is_empty(), "{found:?}");
    println!("kept");
    Ok(())
}

/// Looks for a BPF FS wherever a path may lead.
fn search(found: &mut Vec<String>) {
    let mut places: Vec<PathBuf> = vec![".".into(), "/sys/fs/bpf".into(), "/mnt".into()];
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let dir = entry.path();
        for below in ["root/sys/fs/bpf", "cwd", "root/mnt/bpf"] {
            places.push(dir.join(below));
        }
        for fd in fs::read_dir(dir.join("fd")).into_iter().flatten().flatten() {
            places.push(fd.path());
        }
    }
    for place in places {
        if place.is_dir() && Token::from_bpffs(&place).is_ok() {
            found.push(format!("a token from {}", place.display()));
        }
    }
}

/// A BPF FS with something else over it is unmounted as well, and one that another user namespace
/// mounted is in the way only if it gives tokens.
pub(super) fn hidden(world: &World) -> Result<()> {
    if !World::has_narrowing()? {
        return Ok(());
    }
    let command = format!(
        "{} restrict --token /dev/shm/bpf --cmds map_create --maps array -- {} {ESCAPE}",
        world.bpftoken(),
        path(&world.own)
    );
    for hide in [
        "mount -t tmpfs none /sys/fs/bpf",
        "mount -t tmpfs none /sys/fs",
        "mount --bind /sys/fs/bpf /mnt; mkdir /mnt/below; cd /mnt/below",
    ] {
        let holder = Holder::start(world, "--cmds any --maps any")?;
        let place = "mkdir -p /dev/shm/bpf; mount --bind /sys/fs/bpf /dev/shm/bpf";
        let said = inside(holder.pid, &format!("{place}; {hide}; {command}"))?;
        let kept = said.code == Some(0) && said.out == "kept\n";
        // One below a directory that is hidden can't be unmounted: it is refused, not passed over.
        let refused = said.code == Some(125) && said.err.contains("out of reach");
        ensure!(
            kept || refused,
            "{hide}: {:?} {} {}",
            said.code,
            said.out,
            said.err
        );
        ensure!(kept || hide.ends_with("/sys/fs"), "{hide}: {}", said.err);
    }
    Ok(())
}
