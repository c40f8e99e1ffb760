// SPDX-License-Identifier: GPL-2.0
//! Files and names that are not what they seem, or change.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use anyhow::ensure;
use anyhow::Result;

use super::caller::is;
use super::caller::works;
use super::raw;
use super::raw::Event;
use super::raw::Outcome;
use crate::exec::raw as bpf;

/// Files are those that the container can open, by whatever path.
pub fn files() -> Result<()> {
    let dir = Path::new("/mnt");
    // A file system of the container's own.
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "none", "/mnt"])
        .status()?;
    ensure!(mount.success(), "mount");
    fs::copy("/bin/sh", dir.join("sh"))?;
    symlink("/bin/sh", dir.join("link"))?;
    symlink("/etc/shadow", dir.join("shadow"))?;
    symlink("loop", dir.join("loop"))?;
    fs::create_dir(dir.join("dir"))?;
    let fifo = Command::new("mkfifo").arg("/mnt/fifo").status()?;
    ensure!(fifo.success(), "mkfifo");
    let open = |path: &str| -> Result<Outcome> { Ok(Event::uprobe(path)?.open()) };
    for path in [
        "/bin/sh",
        "/mnt/link",
        "/mnt/dir/../link",
        "/proc/self/root/bin/sh",
    ] {
        works(path, open(path)?)?;
    }
    std::env::set_current_dir("/bin")?;
    works("a relative path", open("sh")?)?;
    for (path, errno) in [
        ("/mnt/sh", libc::EACCES),
        ("/mnt/shadow", libc::EACCES),
        ("/mnt/loop", libc::ELOOP),
        ("/mnt/dir", libc::EINVAL),
        ("/mnt/fifo", libc::EINVAL),
        ("/dev/null", libc::EINVAL),
        ("/mnt/none", libc::ENOENT),
        ("", libc::EINVAL),
    ] {
        is(errno, path, open(path)?)?;
    }
    // A root of its own, in which the same paths lead elsewhere.
    fs::create_dir_all("/mnt/root/bin")?;
    symlink("../../../../mnt/link", "/mnt/root/bin/sh")?;
    symlink("/good", "/mnt/root/again")?;
    fs::write("/mnt/root/good", "")?;
    let bind = Command::new("mount")
        .args(["--bind", "/bin/sh", "/mnt/root/good"])
        .status()?;
    ensure!(bind.success(), "mount --bind");
    let [good, again, outside] = ["/good", "/again", "/bin/sh"].map(Event::uprobe);
    std::os::unix::fs::chroot("/mnt/root")?;
    std::env::set_current_dir("/")?;
    works("in its root", good?.open())?;
    works("a link in its root", again?.open())?;
    is(libc::ENOENT, "a link out of its root", outside?.open())
}

/// Another thread writes another name all the time; what is opened was on the list all the same. Leaves
/// the events with a program to the test, which asks the kernel what they are about.
pub fn changes() -> Result<()> {
    let program = bpf::program(148, 2, &[]).call(bpf::PROG_LOAD);
    let program = works("program", program)?;
    let mut name = *b"vfs_read\0";
    let address = name.as_mut_ptr() as usize;
    let stop = Arc::new(AtomicBool::new(false));
    let until = stop.clone();
    let writer = std::thread::spawn(move || {
        let names = [*b"vfs_read\0", *b"do_exit\0\0"];
        for at in (0..2).cycle() {
            if until.load(Ordering::Relaxed) {
                break;
            }
            // SAFETY: The array lives until this thread has ended.
            unsafe { std::ptr::copy(names[at].as_ptr(), address as *mut u8, 9) };
        }
    });
    let event = Event::kprobe("")?.u64(56, address as u64);
    let mut opened = Vec::new();
    let mut refused = 0;
    for _ in 0..2000 {
        match event.open() {
            Ok(fd) if opened.len() < 40 => {
                // 64 programs at most are on a probe.
                if raw::ioctl(fd, raw::SET_BPF, program as u64).is_ok() {
                    opened.push(fd);
                }
            }
            Ok(fd) => bpf::close(fd),
            Err(libc::EACCES) => refused += 1,
            // Half of one name and half of the other.
            Err(_) => {}
        }
        if opened.len() >= 20 && refused >= 20 {
            break;
        }
    }
    stop.store(true, Ordering::Relaxed);
    ensure!(writer.join().is_ok());
    ensure!(
        opened.len() >= 20 && refused >= 20,
        "{opened:?}, {refused} refused"
    );
    let numbers: Vec<String> = opened.iter().map(ToString::to_string).collect();
    println!("{} {}", std::process::id(), numbers.join(" "));
    std::io::Read::read_to_end(&mut std::io::stdin(), &mut Vec::new())?;
    Ok(())
}
