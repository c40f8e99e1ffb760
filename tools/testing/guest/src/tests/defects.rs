// SPDX-License-Identifier: GPL-2.0

//! The defects of the C implementation that the Rust one has not: section 5 of the design.

use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;

use guest::bpf;
use guest::bpf::MapType;
use guest::container;
use guest::container::Delegation;
use guest::container::Instance;
use guest::context::Context;
use guest::kernel::Sysctl;
use guest::log;
use guest::log::Log;
use guest::managed;
use guest::process;
use guest::process::Child;
use guest::process::Link;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::leak;

/// A check for one defect.
pub struct Defect {
    id: &'static str,
    title: &'static str,
    /// Tells how the kernel shows the defect. Panics if it does neither right nor what the defect is.
    pub check: fn() -> Result<(), String>,
}

impl Defect {
    pub fn name(&self) -> String {
        format!("defects::{}::{}", self.id, self.title)
    }
}

pub const ALL: &[Defect] = &[
    Defect {
        id: "D1",
        title: "number_wipes_what_came_before",
        check: number_wipes,
    },
    Defect {
        id: "D2",
        title: "common_attrs_is_no_command",
        check: common_attrs,
    },
    Defect {
        id: "D4",
        title: "option_refused_without_a_word",
        check: silent_option,
    },
    Defect {
        id: "D4",
        title: "command_refused_without_a_word",
        check: silent_command,
    },
    Defect {
        id: "D4",
        title: "token_refused_without_a_word",
        check: silent_token,
    },
    Defect {
        id: "D3",
        title: "no_descriptor_left",
        check: no_descriptor_left,
    },
    Defect {
        id: "D3",
        title: "no_file_left",
        check: no_file_left,
    },
    Defect {
        id: "D6",
        title: "opened_again",
        check: opened_again,
    },
    Defect {
        id: "D7",
        title: "remount_says_done_and_changes_nothing",
        check: remount_without_effect,
    },
];

/// Items and what they come to: on this side their union, on the C kernel the number alone.
fn number_wipes() -> Result<(), String> {
    let cases = [
        ("map_create:0x20", 0x21, 0x20),
        ("any:0x1", u64::MAX, 0x1),
        ("0x1:0x2", 0x3, 0x2),
        ("map_create:0:prog_load", 0x21, 0x20),
    ];
    let mut wiped = Vec::new();
    for (value, union, last) in cases {
        let delegation = Delegation::of(value, "any", "", "");
        let send = |instance: Instance, link: Link| link.send_fd(instance.token());
        let token = container::run_with(&delegation, send, |link| link.recv_fd());
        match bpf::masks(&token).cmds {
            cmds if cmds == union => (),
            cmds if cmds == last => wiped.push(format!("{value} grants {cmds:#x}")),
            cmds => panic!("{value} grants {cmds:#x}, neither {union:#x} nor {last:#x}"),
        }
    }
    if wiped.is_empty() {
        return Ok(());
    }
    assert_eq!(wiped.len(), cases.len(), "all of them or none: {wiped:?}");
    Err(wiped.join(", "))
}

/// `BPF_COMMON_ATTRS` is a flag of bpf(2) that stands among the commands.
fn common_attrs() -> Result<(), String> {
    let context = Context::of_bpffs();
    match context.set("delegate_cmds", "common_attrs") {
        Err(errno) => {
            assert_eq!(errno, Errno::INVAL);
            Ok(())
        }
        Ok(()) => Err("delegate_cmds=common_attrs is accepted".to_owned()),
    }
}

fn silent_option() -> Result<(), String> {
    let context = Context::of_bpffs();
    assert_eq!(context.set("delegate_maps", "ringbuff"), Err(Errno::INVAL));
    match context.message() {
        Some(message) if message.contains("'ringbuff'") => Ok(()),
        Some(message) => panic!("{message}"),
        None => Err("nothing can be read from the fsopen descriptor".to_owned()),
    }
}

/// Whether a call that is refused leaves `expected` in its log.
fn look_for_reason(
    errno: Errno,
    expected: &str,
    call: impl FnOnce(&Log<'_>) -> Result<OwnedFd, Errno>,
) -> Result<(), String> {
    let mut buffer = log::Buffer::of(4096);
    let result = call(&buffer.log(log::LEVEL));
    assert_eq!(result.err(), Some(errno));
    match buffer.text() {
        Some(text) if text.contains(expected) => Ok(()),
        Some(text) => panic!("{text}"),
        None => Err("the log stays empty".to_owned()),
    }
}

/// Tells in the manager what was found in the container, whose word is `Ok` or an empty log.
fn in_container(
    delegation: &Delegation<'_>,
    check: impl Fn(&Instance) -> Result<(), String>,
) -> Result<(), String> {
    let inside = |instance: Instance, link: Link| {
        if check(&instance).is_ok() {
            link.signal();
        }
    };
    container::run_with(delegation, inside, |link| {
        if link.wait_or_end() {
            Ok(())
        } else {
            Err("the log stays empty".to_owned())
        }
    })
}

fn silent_command() -> Result<(), String> {
    in_container(&Delegation::of("any", "array", "", ""), |instance| {
        let token = instance.token();
        let expected = "the token does not delegate map type hash (delegate_maps=array)";
        look_for_reason(Errno::PERM, expected, |log| {
            bpf::map_create_logged(MapType::Hash, Some(token.as_raw_fd()), log)
        })
    })
}

fn silent_token() -> Result<(), String> {
    in_container(&Delegation::NOTHING, |instance| {
        look_for_reason(
            Errno::NOENT,
            "the BPF file system delegates nothing",
            |log| bpf::token_create_logged(0, instance.root.as_raw_fd(), log),
        )
    })
}

fn no_descriptor_left() -> Result<(), String> {
    let part = |instance: &Instance| fails_with(instance, Errno::MFILE);
    leak::look_for(process::exhaust_descriptors, || (), part)
}

/// Only holders of CAP_SYS_ADMIN in the initial user namespace may go beyond fs.file-max.
fn no_file_left() -> Result<(), String> {
    let part = |instance: &Instance| fails_with(instance, Errno::NFILE);
    leak::look_for(|| (), || Sysctl::set("fs/file-max", "0"), part)
}

fn fails_with(instance: &Instance, errno: Errno) {
    assert_eq!(bpf::token_create(&instance.root).err(), Some(errno));
}

/// Opening a token again, through /proc/self/fd, is refused or gives a file that is no token. What the C
/// kernel opens there passes for a token but has none, and any use of it dereferences NULL.
fn opened_again() -> Result<(), String> {
    // What ends a process that the kernel has made such a mistake for.
    const KILLED: &str = if cfg!(target_arch = "aarch64") {
        "killed by signal 11 "
    } else {
        "killed by signal 9 "
    };
    let outcome = Child::spawn(|| {
        container::run(&Delegation::ANY, |instance| {
            let token = instance.token();
            let path = format!("/proc/self/fd/{}", token.as_raw_fd());
            match rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
                Ok(again) => is_no_token(&again),
                Err(errno) => assert_eq!(errno, Errno::NXIO),
            }
            bpf::map_create(MapType::Hash, Some(token.as_raw_fd()))
                .expect("the token still grants");
        });
    })
    .wait();
    match outcome {
        Err(message) if message.contains(KILLED) => {
            Err(format!("using the file opened again: {message}"))
        }
        Err(message) => panic!("{message}"),
        Ok(()) => Ok(()),
    }
}

fn is_no_token(file: &OwnedFd) {
    let info = bpf::info_by_fd(file, &mut [0; 32]);
    assert_eq!(info, Err(Errno::INVAL), "BPF_OBJ_GET_INFO_BY_FD");
    let map = bpf::map_create(MapType::Hash, Some(file.as_raw_fd()));
    assert_eq!(map.err(), Some(Errno::INVAL), "BPF_MAP_CREATE");
    let fdinfo = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()));
    let fdinfo = fdinfo.expect("fdinfo");
    assert!(!fdinfo.contains("allowed_"), "{fdinfo}");
}

/// A manager that takes a delegation back by a remount has done so, or is told that it has not.
fn remount_without_effect() -> Result<(), String> {
    let send = |instance: Instance, link: Link| {
        link.send_fd(instance.token());
        link.send_fd(&instance.mount);
    };
    let sent = container::run_with(&Delegation::ANY, send, |link| {
        [link.recv_fd(), link.recv_fd()]
    });
    let [token, mount] = sent;
    let options = [("delegate_cmds", "0"), ("delegate_maps", "hash")];
    let remounted = managed::remount(&managed::pick(&mount), &options);
    let masks = bpf::masks(&token);
    match (remounted, masks.cmds, masks.maps) {
        (Ok(()), 0, 2) => Ok(()),
        (Ok(()), u64::MAX, u64::MAX) => Err("it succeeds, and the token permits all".to_owned()),
        other => panic!("{other:x?}"),
    }
}
