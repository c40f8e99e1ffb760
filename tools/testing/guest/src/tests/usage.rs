// SPDX-License-Identifier: GPL-2.0

//! Rules 5 and 6: the four commands that take a token, and the capabilities that it stands for.

use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use guest::bpf;
pub(super) use guest::bpf::btf_of_int as btf;
use guest::bpf::AttachType;
use guest::bpf::MapType;
use guest::bpf::Prog;
use guest::bpf::ProgType;
use guest::container;
use guest::container::Delegation;
use guest::container::Instance;
use guest::insn;
use guest::process;
use guest::process::Link;
use guest::sys::Command;
use libtest_mimic::Trial;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::thread::CapabilitySet;

use super::tests;

pub fn tests() -> Vec<Trial> {
    tests![
        granted,
        refused_without_token,
        token_without_flag_is_ignored,
        descriptor_not_open,
        descriptor_of_path,
        descriptor_of_another_kind,
        wrong_descriptor_fails_whoever_needs_none,
        command_not_delegated,
        map_type_not_delegated,
        prog_type_not_delegated,
        attach_type_not_delegated,
        caller_stands_on_own_capabilities,
        capabilities_needed,
        btf_id_unknown,
        program_outlives_token,
    ]
}

pub(super) fn prog(prog_type: ProgType, attach_type: AttachType) -> Prog<'static> {
    Prog {
        prog_type,
        attach_type,
        attach_btf_id: 0,
        insns: &insn::RETURN_0,
    }
}

pub(super) const SOCKET_FILTER: fn() -> Prog<'static> =
    || prog(ProgType::SocketFilter, AttachType::CgroupInetIngress);

/// Tries one of the four commands, with arguments that nothing else is wrong about.
pub(super) fn attempt(command: Command, btf_id: u32, token: Option<RawFd>) -> Result<(), Errno> {
    match command {
        Command::MapCreate => bpf::map_create(MapType::Hash, token),
        Command::ProgLoad => bpf::prog_load(&SOCKET_FILTER(), token),
        Command::BtfLoad => bpf::btf_load(&btf(), token),
        Command::BtfGetFdById => bpf::btf_get_fd_by_id(btf_id, token),
        other => panic!("{other:?} takes no token"),
    }
    .map(drop)
}

pub(super) const COMMANDS: [Command; 4] = [
    Command::MapCreate,
    Command::ProgLoad,
    Command::BtfLoad,
    Command::BtfGetFdById,
];

/// A BTF object to be found by its id for as long as it is held.
pub(super) struct LoadedBtf(OwnedFd);

impl LoadedBtf {
    pub(super) fn new() -> Self {
        Self(bpf::btf_load(&btf(), None).expect("root loads BTF"))
    }

    pub(super) fn id(&self) -> u32 {
        bpf::btf_id(&self.0)
    }
}

/// Tries each of the four commands in a container, each with the same descriptor as token.
fn each_command(
    delegation: &Delegation<'_>,
    descriptor: impl FnOnce(&Instance) -> (Option<RawFd>, OwnedFd),
    expected: Result<(), Errno>,
) {
    let loaded = LoadedBtf::new();
    let id = loaded.id();
    container::run(delegation, |instance| {
        let (fd, _held) = descriptor(&instance);
        for command in COMMANDS {
            assert_eq!(attempt(command, id, fd), expected, "{command:?}");
        }
    });
}

fn granted() {
    let descriptor = |instance: &Instance| {
        let token = instance.token();
        (Some(token.as_raw_fd()), token)
    };
    each_command(&Delegation::ANY, descriptor, Ok(()));
}

fn refused_without_token() {
    each_command(
        &Delegation::ANY,
        |instance| (None, instance.token()),
        Err(Errno::PERM),
    );
}

fn token_without_flag_is_ignored() {
    container::run(&Delegation::ANY, |instance| {
        let token = instance.token();
        let map = bpf::map_create_with(MapType::Hash, 0, token.as_raw_fd());
        assert_eq!(map.err(), Some(Errno::PERM));
    });
}

fn descriptor_not_open() {
    for fd in [-1, i32::MAX] {
        let descriptor = |instance: &Instance| (Some(fd), instance.token());
        each_command(&Delegation::ANY, descriptor, Err(Errno::BADF));
    }
}

fn descriptor_of_path() {
    let descriptor = |instance: &Instance| {
        let token = instance.token();
        let path = format!("/proc/self/fd/{}", token.as_raw_fd());
        let path = rustix::fs::open(path, OFlags::PATH, Mode::empty()).expect("O_PATH");
        (Some(path.as_raw_fd()), path)
    };
    each_command(&Delegation::ANY, descriptor, Err(Errno::BADF));
}

fn descriptor_of_another_kind() {
    let root = |instance: &Instance| instance.root.try_clone().expect("dup");
    let pipe = |_: &Instance| rustix::pipe::pipe().expect("pipe").0;
    let file = |_: &Instance| {
        std::fs::File::open("/proc/self/exe")
            .expect("/proc/self/exe")
            .into()
    };
    let map = |instance: &Instance| {
        bpf::map_create(MapType::Hash, Some(instance.token().as_raw_fd())).expect("granted")
    };
    let kinds: [fn(&Instance) -> OwnedFd; 4] = [root, pipe, file, map];
    for kind in kinds {
        let descriptor = |instance: &Instance| {
            let fd = kind(instance);
            (Some(fd.as_raw_fd()), fd)
        };
        each_command(&Delegation::ANY, descriptor, Err(Errno::INVAL));
    }
}

fn wrong_descriptor_fails_whoever_needs_none() {
    let loaded = LoadedBtf::new();
    let stdin = std::io::stdin().as_raw_fd();
    for command in COMMANDS {
        assert_eq!(attempt(command, loaded.id(), None), Ok(()), "{command:?}");
        for (fd, errno) in [(-1, Errno::BADF), (stdin, Errno::INVAL)] {
            assert_eq!(
                attempt(command, loaded.id(), Some(fd)),
                Err(errno),
                "{command:?}"
            );
        }
    }
}

/// A mask of everything but one bit, as an option's value.
fn all_but(bit: u32) -> String {
    format!("{:#x}", !(1_u64 << bit))
}

fn command_not_delegated() {
    let loaded = LoadedBtf::new();
    let id = loaded.id();
    for left_out in COMMANDS {
        let cmds = all_but(left_out as u32);
        container::run(&Delegation::of(&cmds, "any", "any", "any"), |instance| {
            let token = instance.token();
            for command in COMMANDS {
                let expected = if command == left_out {
                    Err(Errno::PERM)
                } else {
                    Ok(())
                };
                let result = attempt(command, id, Some(token.as_raw_fd()));
                assert_eq!(result, expected, "{command:?} without {left_out:?}");
            }
        });
    }
}

fn map_type_not_delegated() {
    let maps = all_but(MapType::Hash as u32);
    container::run(&Delegation::of("any", &maps, "any", "any"), |instance| {
        let token = instance.token();
        let create = |map_type| bpf::map_create(map_type, Some(token.as_raw_fd())).map(drop);
        assert_eq!(create(MapType::Hash), Err(Errno::PERM));
        assert_eq!(create(MapType::Array), Ok(()));
        assert_eq!(create(MapType::Ringbuf), Ok(()));
    });
}

fn prog_type_not_delegated() {
    let progs = all_but(ProgType::Xdp as u32);
    container::run(&Delegation::of("any", "any", &progs, "any"), |instance| {
        let token = instance.token();
        let load = |prog_type, attach_type| {
            bpf::prog_load(&prog(prog_type, attach_type), Some(token.as_raw_fd())).map(drop)
        };
        assert_eq!(load(ProgType::Xdp, AttachType::Xdp), Err(Errno::PERM));
        assert_eq!(
            load(ProgType::SchedCls, AttachType::CgroupInetIngress),
            Ok(())
        );
    });
}

fn attach_type_not_delegated() {
    let attachs = all_but(AttachType::Xdp as u32);
    container::run(&Delegation::of("any", "any", "any", &attachs), |instance| {
        let token = instance.token();
        let load = |attach_type| {
            bpf::prog_load(&prog(ProgType::Xdp, attach_type), Some(token.as_raw_fd())).map(drop)
        };
        assert_eq!(load(AttachType::Xdp), Err(Errno::PERM));
        // No attach type given is type 0, and judged as that.
        assert_eq!(load(AttachType::CgroupInetIngress), Ok(()));
    });
}

/// A token that does not grant is as none at all, for those who need none.
fn caller_stands_on_own_capabilities() {
    // A command that no kernel knows.
    let delegation = Delegation::of("0x8000000000000000", "any", "any", "any");
    let send = |instance: Instance, link: Link| link.send_fd(instance.token());
    let token = container::run_with(&delegation, send, |link| link.recv_fd());
    let loaded = LoadedBtf::new();
    for command in COMMANDS {
        let result = attempt(command, loaded.id(), Some(token.as_raw_fd()));
        assert_eq!(result, Ok(()), "{command:?}");
    }
}

/// Which capabilities, in the user namespace of the token, each use needs; each but CAP_SYS_ADMIN itself has
/// CAP_SYS_ADMIN as a substitute.
fn capabilities_needed() {
    type Use = fn(u32, Option<RawFd>) -> Result<OwnedFd, Errno>;
    const BPF: CapabilitySet = CapabilitySet::BPF;
    const NET_ADMIN: CapabilitySet = CapabilitySet::NET_ADMIN;
    const PERFMON: CapabilitySet = CapabilitySet::PERFMON;
    const SYS_ADMIN: CapabilitySet = CapabilitySet::SYS_ADMIN;
    let uses: [(&str, CapabilitySet, Use); 9] = [
        ("hash", BPF, |_, token| {
            bpf::map_create(MapType::Hash, token)
        }),
        ("stack", BPF, |_, token| {
            bpf::map_create(MapType::Stack, token)
        }),
        ("devmap", BPF.union(NET_ADMIN), |_, token| {
            bpf::map_create(MapType::Devmap, token)
        }),
        ("socket filter", BPF, |_, token| {
            bpf::prog_load(&SOCKET_FILTER(), token)
        }),
        ("XDP", BPF.union(NET_ADMIN), |_, token| {
            bpf::prog_load(&prog(ProgType::Xdp, AttachType::Xdp), token)
        }),
        ("tc", BPF.union(NET_ADMIN), |_, token| {
            bpf::prog_load(
                &prog(ProgType::SchedCls, AttachType::CgroupInetIngress),
                token,
            )
        }),
        ("kprobe", BPF.union(PERFMON), |_, token| {
            bpf::prog_load(
                &prog(ProgType::Kprobe, AttachType::CgroupInetIngress),
                token,
            )
        }),
        ("BTF load", BPF, |_, token| bpf::btf_load(&btf(), token)),
        ("BTF by id", SYS_ADMIN, bpf::btf_get_fd_by_id),
    ];

    let loaded = LoadedBtf::new();
    let id = loaded.id();
    container::run(&Delegation::ANY, |instance| {
        let token = instance.token();
        for bits in 0..16 {
            let held = [BPF, NET_ADMIN, PERFMON, SYS_ADMIN]
                .into_iter()
                .enumerate()
                .filter(|(index, _)| bits & (1 << index) != 0)
                .fold(CapabilitySet::empty(), |held, (_, capability)| {
                    held | capability
                });
            process::run(|| {
                process::drop_capabilities(!held);
                for (name, needed, use_token) in &uses {
                    let enough = held.contains(*needed) || held.contains(SYS_ADMIN);
                    let expected = if enough { Ok(()) } else { Err(Errno::PERM) };
                    let result = use_token(id, Some(token.as_raw_fd())).map(drop);
                    assert_eq!(result, expected, "{name} with {held:?}");
                }
            });
        }
    });
}

fn btf_id_unknown() {
    container::run(&Delegation::ANY, |instance| {
        let token = instance.token();
        let btf = bpf::btf_get_fd_by_id(u32::MAX, Some(token.as_raw_fd()));
        assert_eq!(btf.err(), Some(Errno::NOENT));
    });
}

fn program_outlives_token() {
    container::run(&Delegation::ANY, |instance| {
        let token = instance.token();
        let prog = bpf::prog_load(&SOCKET_FILTER(), Some(token.as_raw_fd())).expect("granted");
        drop(token);
        let mut info = [0; 8];
        bpf::info_by_fd(&prog, &mut info).expect("the program is there");
        assert_eq!(info[..4], (ProgType::SocketFilter as u32).to_ne_bytes());
    });
}
