// SPDX-License-Identifier: GPL-2.0
//! Delegation options: setting and showing them, as root of the initial user namespace.

use std::ffi::CStr;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;

use anyhow::Context;
use anyhow::Result;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::CWD;
use rustix::mount::FsMountFlags;
use rustix::mount::FsOpenFlags;
use rustix::mount::FsPickFlags;
use rustix::mount::MountAttrFlags;
use rustix::mount::MountFlags;
use rustix::mount::MountPropagationFlags;
use rustix::mount::MoveMountFlags;
use rustix::thread::UnshareFlags;

use crate::measure::count;
use crate::measure::count_beside;
use crate::measure::Bench;
use crate::statmount::Statmount;

/// What an option by name, and the names in a mount line, may cost of what they cost in C.
const GOAL_OF_NAMES: f64 = 0.1;

const ITERATIONS: usize = 300;
const MOUNTS: usize = 100;

struct Delegated {
    key: &'static CStr,
    one: &'static CStr,
    four: &'static CStr,
    eight: &'static CStr,
}

const OPTIONS: [Delegated; 4] = [
    Delegated {
        key: c"delegate_cmds",
        one: c"prog_load",
        four: c"map_create:prog_load:btf_load:link_create",
        eight: c"map_create:map_lookup_elem:prog_load:obj_pin:prog_attach:btf_load:link_create:token_create",
    },
    Delegated {
        key: c"delegate_maps",
        one: c"lru_hash",
        four: c"hash:array:lru_hash:ringbuf",
        eight: c"hash:array:prog_array:percpu_array:lru_hash:lpm_trie:ringbuf:bloom_filter",
    },
    Delegated {
        key: c"delegate_progs",
        one: c"xdp",
        four: c"socket_filter:kprobe:xdp:cgroup_skb",
        eight: c"socket_filter:kprobe:sched_cls:tracepoint:xdp:cgroup_skb:tracing:sk_lookup",
    },
    Delegated {
        key: c"delegate_attachs",
        one: c"cgroup_device",
        four: c"cgroup_inet_ingress:cgroup_device:xdp:sk_lookup",
        eight: c"cgroup_inet_ingress:cgroup_inet_egress:cgroup_device:cgroup_inet4_bind:xdp:sk_lookup:perf_event:tcx_ingress",
    },
];

fn open() -> OwnedFd {
    rustix::mount::fsopen(c"bpf", FsOpenFlags::FSOPEN_CLOEXEC).expect("fsopen bpf")
}

fn set(context: &OwnedFd, key: &CStr, value: &CStr) {
    rustix::mount::fsconfig_set_string(context.as_fd(), key, value)
        .unwrap_or_else(|errno| panic!("{key:?}={value:?}: {errno}"));
}

fn mount(context: &OwnedFd) -> OwnedFd {
    rustix::mount::fsconfig_create(context.as_fd()).expect("create BPF FS");
    rustix::mount::fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )
    .expect("fsmount")
}

/// A mount that delegates four names by each option.
pub fn delegated() -> OwnedFd {
    let context = open();
    for option in &OPTIONS {
        set(&context, option.key, option.four);
    }
    mount(&context)
}

/// Reconfigures a BPF FS with less than it delegates, by the context that it was made and mounted from.
pub fn take_back(context: &impl AsFd) -> Result<()> {
    rustix::mount::fsconfig_set_string(context.as_fd(), c"delegate_maps", c"array")
        .context("delegate_maps")?;
    rustix::mount::fsconfig_reconfigure(context.as_fd()).context("FSCONFIG_CMD_RECONFIGURE")
}

/// Changing what a mount delegates; C does nothing of that but to read the options.
fn remount(bench: &Bench) -> Result<()> {
    let mount = delegated();
    bench.run("delegated remount, fspick to reconfigure", 100, |timer| {
        let context = timer.time(|| {
            let flags = FsPickFlags::FSPICK_EMPTY_PATH | FsPickFlags::FSPICK_CLOEXEC;
            let context = rustix::mount::fspick(&mount, c"", flags).expect("fspick");
            for option in &OPTIONS {
                set(&context, option.key, option.four);
            }
            rustix::mount::fsconfig_reconfigure(context.as_fd()).expect("reconfigure BPF FS");
            context
        });
        drop(context);
        6
    })?;
    Ok(())
}

/// A cookie beside a mask, which is a number, too; C ignores the option, as any that it does not know.
fn cookie(bench: &Bench) -> Result<()> {
    let context = open();
    let is_known = |value: &CStr| {
        rustix::mount::fsconfig_set_string(context.as_fd(), c"delegate_cookie", value).is_err()
    };
    if !is_known(c"no number") {
        return Ok(());
    }
    let value = bench.median(ITERATIONS, |timer| {
        timer.time(|| set(&context, c"delegate_cookie", c"0xdeadbeef"));
        1
    });
    count_beside(
        "delegate_cookie: a number",
        value,
        1.0,
        "delegate_cmds: a mask",
    )
}

/// Setting options, and the whole of a mount.
pub fn options(bench: &Bench) -> Result<()> {
    let context = open();
    let one = |key: &CStr, value: &CStr| {
        bench.median(ITERATIONS, |timer| {
            timer.time(|| set(&context, key, value));
            1
        })
    };
    let mode = one(c"mode", c"0777");
    count("option mode=0777", mode, 1.0)?;
    let mut sum = 0.0;
    for option in &OPTIONS {
        let name = option.key.to_string_lossy();
        let four = one(option.key, option.four) - mode;
        sum += four;
        count(&format!("{name}: any"), one(option.key, c"any"), 1.0)?;
        count(
            &format!("{name}: a mask"),
            one(option.key, c"0xdeadbeef"),
            1.0,
        )?;
        let one_name = one(option.key, option.one) - mode;
        count(
            &format!("{name}: one name, above mode="),
            one_name,
            GOAL_OF_NAMES,
        )?;
        count(
            &format!("{name}: four names, above mode="),
            four,
            GOAL_OF_NAMES,
        )?;
        let eight = one(option.key, option.eight) - mode;
        count(
            &format!("{name}: eight names, above mode="),
            eight,
            GOAL_OF_NAMES,
        )?;
    }
    let mean = sum / OPTIONS.len() as f64;
    count(
        "an option of four names, above mode= (mean)",
        mean,
        GOAL_OF_NAMES,
    )?;

    bench.run("delegated mount, fsopen to fsmount", 100, |timer| {
        let made = timer.time(|| {
            let context = open();
            for option in &OPTIONS {
                set(&context, option.key, option.four);
            }
            (mount(&context), context)
        });
        drop(made);
        7
    })?;
    remount(bench)?;
    cookie(bench)
}

/// Showing options: mountinfo(5) and statmount(2), where nothing but the mounts counted is in sight.
pub fn shown(bench: &Bench) -> Result<()> {
    let (proc, root) = enter_empty_root().context("make a root with nothing in it")?;
    let mountinfo = open_mountinfo(&proc)?;
    let mut buffer = vec![0; 1 << 16];
    let mut read_all = |iterations| {
        bench.median(iterations, |timer| {
            timer.time(|| {
                let mut offset = 0;
                let mut calls = 0;
                loop {
                    calls += 1;
                    match rustix::io::pread(&mountinfo, &mut *buffer, offset).expect("mountinfo") {
                        0 => return calls,
                        length => offset += length as u64,
                    }
                }
            })
        })
    };

    attach(&mount(&open()), 0)?;
    let undelegated = read_all(ITERATIONS);
    rustix::mount::unmount(place(0), rustix::mount::UnmountFlags::DETACH)?;
    attach(&delegated(), 0)?;
    let one = read_all(ITERATIONS);
    count(
        "mountinfo line of four masks of four names, above undelegated",
        one - undelegated,
        GOAL_OF_NAMES,
    )?;
    count("mountinfo, 1 delegated mount", one, 1.0)?;
    let mut mounts = vec![Statmount::of(&root, &place(0))?];
    bench.run(
        "statmount options, 1 delegated mount",
        ITERATIONS,
        |timer| {
            timer.time(|| mounts.iter_mut().for_each(Statmount::read));
            1
        },
    )?;
    for number in 1..MOUNTS {
        attach(&delegated(), number)?;
        mounts.push(Statmount::of(&root, &place(number))?);
    }
    count("mountinfo, 100 delegated mounts", read_all(30), 1.0)?;
    bench.run("statmount options, 100 delegated mounts", 30, |timer| {
        timer.time(|| mounts.iter_mut().for_each(Statmount::read));
        MOUNTS as u32
    })?;
    Ok(())
}

fn place(number: usize) -> String {
    format!("/{number}")
}

fn attach(mount: &OwnedFd, number: usize) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(rustix::mount::move_mount(
        mount,
        c"",
        CWD,
        place(number),
        flags,
    )?)
}

/// Makes a file system with [`MOUNTS`] directories the root of this process, in a mount namespace
/// of its own; returns /proc and the new root.
fn enter_empty_root() -> Result<(OwnedFd, OwnedFd)> {
    let directory = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let proc = rustix::fs::open("/proc", directory, Mode::empty())?;
    // SAFETY: This process has one thread, and the mounts are its only namespace that changes.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private)?;
    rustix::mount::mount("tmpfs", "/tmp", "tmpfs", MountFlags::empty(), None::<&CStr>)?;
    // With the same directory twice, the old root ends up on top of the new one.
    rustix::process::chdir("/tmp")?;
    rustix::process::pivot_root(".", ".")?;
    rustix::mount::unmount(".", rustix::mount::UnmountFlags::DETACH)?;
    for number in 0..MOUNTS {
        rustix::fs::mkdirat(CWD, place(number), Mode::RWXU)?;
    }
    let root = rustix::fs::open("/", directory, Mode::empty())?;
    Ok((proc, root))
}

fn open_mountinfo(proc: &OwnedFd) -> Result<OwnedFd> {
    let path = "self/mountinfo";
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::openat(proc, path, flags, Mode::empty())
        .with_context(|| format!("open /proc/{path}"))
}
