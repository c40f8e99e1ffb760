// SPDX-License-Identifier: GPL-2.0

//! Delegated mounting, step by step.

use std::os::fd::OwnedFd;

use guest::bpf;
use guest::bpf::Masks;
use guest::container;
use guest::container::Delegation;
use guest::context::Context;
use guest::managed;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount;
use rustix::mount::FsMountFlags;
use rustix::mount::FsOpenFlags;
use rustix::mount::FsPickFlags;
use rustix::mount::MountAttrFlags;
use rustix::mount::MoveMountFlags;
use rustix::mount::UnmountFlags;

use super::By;
use super::Injector;
use super::Makes;
use super::Operation;

pub fn operations() -> Vec<Operation> {
    let mut operations = making();
    operations.extend(remounting());
    operations
}

fn making() -> Vec<Operation> {
    vec![
        Operation::new(
            "fsopen",
            Makes::File,
            By::container(Delegation::ANY, |_, injector| {
                let flags = FsOpenFlags::FSOPEN_CLOEXEC;
                let _ = injector.inject(|| mount::fsopen(c"bpf", flags));
            }),
        ),
        option("delegate_cmds", |context, injector| {
            set(
                context,
                injector,
                "delegate_cmds",
                "map_create:prog_load:btf_load",
            );
        }),
        option("delegate_maps", |context, injector| {
            set(context, injector, "delegate_maps", "hash:array:0x80");
        }),
        option("delegate_progs", |context, injector| {
            set(context, injector, "delegate_progs", "xdp:kprobe");
        }),
        option("delegate_attachs", |context, injector| {
            set(context, injector, "delegate_attachs", "any");
        }),
        option("delegate_cookie", |context, injector| {
            set(context, injector, "delegate_cookie", "0x7fffffffffffffff");
        }),
        Operation::refused(
            "delegate_maps refused",
            Errno::INVAL,
            By::manager(|context, injector| {
                set(context, injector, "delegate_maps", "hash:ringbuff");
                match context.message() {
                    Some(message) if message.contains("'ringbuff'") => (),
                    message => assert!(injector.met(), "no fault, and a message of {message:?}"),
                }
            }),
        ),
        Operation::refused(
            "delegate_maps unprivileged",
            Errno::PERM,
            By::container(Delegation::ANY, |_, injector| {
                let context = Context::of_bpffs();
                set(&context, injector, "delegate_maps", "hash");
            }),
        ),
        Operation::new(
            "FSCONFIG_CMD_CREATE",
            Makes::Nothing,
            By::manager(|context, injector| {
                context.set("delegate_cmds", "any").expect("privileged");
                let _ = injector.inject(|| mount::fsconfig_create(context));
            }),
        ),
        Operation::new(
            "fsmount",
            Makes::File,
            By::mounter(|contexts, injector| {
                // A context from which no mount could be made cannot be used again. The others' descriptors have
                // high numbers, so as not to be among those that a limit allows.
                let contexts: Vec<_> = (0..injector.calls())
                    .map(|_| rustix::io::fcntl_dupfd_cloexec(contexts.next(), HIGH).expect("dup"))
                    .collect();
                let mut contexts = contexts.iter();
                let _ = injector.inject(|| {
                    let context = contexts.next().expect("one for each call");
                    let flags = FsMountFlags::FSMOUNT_CLOEXEC;
                    mount::fsmount(context, flags, MountAttrFlags::empty())
                });
            }),
        ),
        Operation::new(
            "move_mount",
            Makes::Nothing,
            By::mounter(|contexts, injector| {
                let mount = contexts.next().mount();
                make_directory();
                let _ = injector.inject(|| {
                    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
                    mount::move_mount(&mount, c"", CWD, DIRECTORY, flags)
                });
            }),
        ),
        Operation::new(
            "umount",
            Makes::Nothing,
            By::container(Delegation::ANY, |instance, injector| {
                make_directory();
                let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
                mount::move_mount(&instance.mount, c"", CWD, DIRECTORY, flags).expect("move_mount");
                let _ = injector.inject(|| mount::unmount(DIRECTORY, UnmountFlags::DETACH));
            }),
        ),
        Operation::new(
            "open of the root directory",
            Makes::File,
            By::container(Delegation::ANY, |instance, injector| {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let _ = injector
                    .inject(|| rustix::fs::openat(&instance.mount, c".", flags, Mode::empty()));
            }),
        ),
        Operation::new(
            "mountinfo",
            Makes::File,
            By::container(Delegation::ANY, |instance, injector| {
                let proc = super::own_proc();
                // Of a line that is not the first of a read, an error ends that read, and the next one tries again. So the
                // process sees the two mounts of the container only, in one read.
                container::attach(instance);
                rustix::process::chroot("/tmp").expect("chroot");
                if let Some(text) = super::inject_reading(injector, &proc, "mountinfo") {
                    assert!(text.contains("delegate_cmds=any"), "{text}");
                }
            }),
        ),
    ]
}

/// Changes of what is delegated.
fn remounting() -> Vec<Operation> {
    vec![
        Operation::new(
            "fspick",
            Makes::File,
            By::container(Delegation::ANY, |instance, injector| {
                let flags = FsPickFlags::FSPICK_EMPTY_PATH | FsPickFlags::FSPICK_CLOEXEC;
                let _ = injector.inject(|| mount::fspick(&instance.mount, c"", flags));
            }),
        ),
        Operation::new(
            "FSCONFIG_CMD_RECONFIGURE",
            Makes::Nothing,
            By::manager(|context, injector| {
                context.configure([("delegate_cmds", "any"), ("delegate_maps", "any")]);
                let mount = context.mount();
                reconfigure(&mount, injector, "array");
                // Whatever came of it, another one can follow.
                let again = managed::remount(&managed::pick(&mount), &[("delegate_cmds", "0")]);
                assert_eq!(again, Ok(()));
            }),
        ),
        Operation::refused(
            "delegate_maps of a remount, unprivileged",
            Errno::PERM,
            By::container(Delegation::ANY, |instance, injector| {
                let token = instance.token();
                set(
                    &managed::pick(&instance.mount),
                    injector,
                    "delegate_maps",
                    "array",
                );
                assert_eq!(bpf::masks(&token), Masks::ALL, "the container changed it");
            }),
        ),
    ]
}

/// Makes a remount that names the map types meet the fault. A context with which it has failed cannot be used again.
fn reconfigure(mount: &OwnedFd, injector: &mut Injector, maps: &str) {
    let contexts: Vec<_> = (0..injector.calls())
        .map(|_| {
            let context = managed::pick(mount);
            context.set("delegate_maps", maps).expect("a name");
            context
        })
        .collect();
    let mut contexts = contexts.iter();
    let _ = injector.inject(|| contexts.next().expect("one for each call").reconfigure());
}

fn option(name: &'static str, part: fn(&Context, &mut Injector)) -> Operation {
    Operation::new(name, Makes::Nothing, By::manager(part))
}

fn set(context: &Context, injector: &mut Injector, option: &str, value: &str) {
    let _ = injector.inject(|| context.set(option, value));
}

const HIGH: i32 = 100;

const DIRECTORY: &std::ffi::CStr = c"/tmp/bpf";

/// Makes the directory, on a file system of the container's own.
fn make_directory() {
    container::mount_tmpfs();
    rustix::fs::mkdirat(CWD, DIRECTORY, Mode::RWXU).expect("mkdir");
}
