// SPDX-License-Identifier: GPL-2.0

//! Rule 8: the LSM hooks of a token, seen and answered by BPF LSM programs.

use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;
use std::time::Instant;

use guest::bpf;
use guest::bpf::AttachType;
use guest::bpf::MapType;
use guest::bpf::Masks;
use guest::bpf::ProgType;
use guest::container;
use guest::container::Delegation;
use guest::container::Instance;
use guest::kernel;
use guest::kernel::Sysctl;
use guest::log;
use guest::process;
use guest::rules;
use guest::rules::Cap;
use guest::sys::Command;
use libtest_mimic::Trial;
use rustix::io::Errno;
use rustix::thread::CapabilitySet;

use super::tests;
use super::usage;
use super::usage::LoadedBtf;
use crate::hooks::Hook;
use crate::hooks::Seen;
use crate::hooks::Watch;
use crate::trace::Trace;

pub fn tests() -> Vec<Trial> {
    tests![
        hooks_see_the_token,
        hooks_refuse,
        each_capability_refused,
        refused_with_a_log_nowhere,
        refusals_of_modules_are_traced
    ]
}

const CAP_SYS_ADMIN: u32 = 21;
const CAP_BPF: u32 = 39;

/// No command but the four, no map but hashes, no program but socket filters.
const DELEGATION: Delegation<'_> = Delegation::of("0xc0021", "0x2", "0x2", "0x8000000000000001");
const MASKS: Masks = Masks {
    cmds: 0xc0021,
    maps: 0x2,
    progs: 0x2,
    attachs: 0x8000_0000_0000_0001,
};

pub(super) fn user_namespace() -> u32 {
    let namespace = std::fs::metadata("/proc/self/ns/user").expect("/proc/self/ns/user");
    namespace.ino().try_into().expect("an inode number of nsfs")
}

impl Watch {
    /// Expects a hook to have seen `count` calls, all with the token, and these arguments.
    fn expect(&self, hook: Hook, count: u64, args: u64, what: &str) {
        let masks = if count == 0 { Masks::default() } else { MASKS };
        let expected = Seen { count, args, masks };
        assert_eq!(self.seen(hook), expected, "{hook:?}: {what}");
    }

    fn start_over(&self) {
        self.look_at(user_namespace(), None);
    }
}

fn hooks_see_the_token() {
    let watch = Watch::start();
    // Hooks that have no token in the initial user namespace must not stumble over that.
    watch.start_over();
    let loaded = LoadedBtf::new();
    bpf::map_create(MapType::Hash, None).expect("root makes maps");
    bpf::prog_load(&usage::SOCKET_FILTER(), None).expect("root loads programs");
    for hook in Hook::ALL {
        watch.expect(hook, 0, 0, "without a token");
    }

    let id = loaded.id();
    container::run(&DELEGATION, |instance| {
        watch.start_over();
        let token = instance.token();
        watch.expect(Hook::TokenCreate, 1, 1, "a token");
        let fd = Some(token.as_raw_fd());

        watch.start_over();
        bpf::map_create(MapType::Hash, fd).expect("granted");
        watch.expect(Hook::TokenCmd, 1, 1 << Command::MapCreate as u32, "a map");
        watch.expect(Hook::TokenCapable, 1, 1 << CAP_BPF, "a map");
        watch.expect(Hook::MapCreate, 1, 1, "a map");

        watch.start_over();
        let prog = bpf::prog_load(&usage::SOCKET_FILTER(), fd).expect("granted");
        watch.expect(
            Hook::TokenCmd,
            1,
            1 << Command::ProgLoad as u32,
            "a program",
        );
        watch.expect(Hook::ProgLoad, 1, 1, "a program");
        let capable = watch.seen(Hook::TokenCapable);
        assert!(capable.count > 1, "the verifier asks, too: {capable:?}");
        assert!(capable.args & (1 << CAP_BPF) != 0, "{capable:?}");

        watch.start_over();
        bpf::btf_load(&usage::btf(), fd).expect("granted");
        watch.expect(Hook::TokenCmd, 1, 1 << Command::BtfLoad as u32, "BTF");
        watch.expect(Hook::TokenCapable, 1, 1 << CAP_BPF, "BTF");

        watch.start_over();
        bpf::btf_get_fd_by_id(id, fd).expect("granted");
        watch.expect(
            Hook::TokenCmd,
            1,
            1 << Command::BtfGetFdById as u32,
            "BTF by id",
        );
        watch.expect(Hook::TokenCapable, 1, 1 << CAP_SYS_ADMIN, "BTF by id");

        // What the token does not delegate is no matter of the modules: the map type is asked after the
        // command, the capability only of those who have it.
        watch.start_over();
        assert_eq!(bpf::map_create(MapType::Array, fd).err(), Some(Errno::PERM));
        watch.expect(Hook::TokenCmd, 1, 1, "a map type that is not delegated");
        watch.expect(Hook::TokenCapable, 0, 0, "a map type that is not delegated");
        watch.start_over();
        process::with_capabilities(CapabilitySet::empty(), || {
            assert_eq!(bpf::map_create(MapType::Hash, fd).err(), Some(Errno::PERM));
        });
        watch.expect(Hook::TokenCapable, 0, 0, "a capability that is missing");

        watch.start_over();
        drop(token);
        watch.expect(Hook::TokenFree, 0, 0, "the program has the token");
        drop(prog);
        let end = Instant::now() + Duration::from_secs(10);
        while watch.seen(Hook::TokenFree).count == 0 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        watch.expect(Hook::TokenFree, 1, 1, "the last user of the token is gone");
    });
    container::run(&Delegation::of("0x20", "any", "", ""), |instance| {
        let token = instance.token();
        watch.start_over();
        let map = bpf::map_create(MapType::Hash, Some(token.as_raw_fd()));
        assert_eq!(map.err(), Some(Errno::PERM));
        watch.expect(Hook::TokenCmd, 0, 0, "a command that is not delegated");
    });
}

/// Which hook refuses, what the caller sees of it, and the reason in the log.
fn hooks_refuse() {
    const DOM: Errno = Errno::DOM;
    const PERM: Errno = Errno::PERM;
    let watch = Watch::start();
    let id = LoadedBtf::new();
    let id = id.id();
    container::run(&DELEGATION, |instance| {
        let token = instance.token();
        let fd = Some(token.as_raw_fd());
        let refuse = |hook| watch.look_at(user_namespace(), Some((hook, DOM)));
        let log_of = |call: &dyn Fn(&log::Log<'_>) -> Option<Errno>, errno: Errno| {
            let mut buffer = log::Buffer::of(4096);
            assert_eq!(call(&buffer.log(log::LEVEL)), Some(errno));
            buffer.text().unwrap_or_default()
        };
        let said = |text: &str| {
            if kernel::explains() {
                format!("{text}\n")
            } else {
                String::new()
            }
        };
        let map = |log: &log::Log<'_>| bpf::map_create_logged(MapType::Hash, fd, log).err();
        let prog =
            |log: &log::Log<'_>| bpf::prog_load_logged(&usage::SOCKET_FILTER(), fd, log).err();
        let btf = |log: &log::Log<'_>| bpf::btf_load_logged(&usage::btf(), fd, log).err();
        let create =
            |log: &log::Log<'_>| bpf::token_create_logged(0, instance.root.as_raw_fd(), log).err();

        refuse(Hook::TokenCreate);
        let reason = "no token: a security module refused it";
        assert_eq!(log_of(&create, DOM), said(reason));

        refuse(Hook::TokenCmd);
        let because = |purpose: &str, command: &str| {
            said(&format!(
                "{purpose} needs CAP_BPF in the initial user namespace, because a security module refused the \
                 command {command} to the token"
            ))
        };
        let disabled = "with kernel.unprivileged_bpf_disabled, the command";
        let reason = because(&format!("{disabled} map_create"), "map_create");
        assert_eq!(log_of(&map, PERM), reason);
        let reason = because(&format!("{disabled} prog_load"), "prog_load");
        assert_eq!(log_of(&prog, PERM), reason);
        assert_eq!(
            log_of(&btf, PERM),
            because("the command btf_load", "btf_load")
        );
        assert_eq!(bpf::btf_get_fd_by_id(id, fd).err(), Some(PERM));
        watch.expect(Hook::TokenCapable, 0, 0, "a token that was put aside");

        refuse(Hook::TokenCapable);
        let reason = |purpose: &str| {
            said(&format!(
                "{purpose} needs CAP_BPF, which a security module refused to the token"
            ))
        };
        assert_eq!(
            log_of(&map, PERM),
            reason(&format!("{disabled} map_create"))
        );
        assert_eq!(
            log_of(&prog, PERM),
            reason(&format!("{disabled} prog_load"))
        );
        assert_eq!(log_of(&btf, PERM), reason("the command btf_load"));
        assert_eq!(bpf::btf_get_fd_by_id(id, fd).err(), Some(PERM));

        // Their own errno reaches the caller, and the token is given back.
        refuse(Hook::MapCreate);
        assert_eq!(bpf::map_create(MapType::Hash, fd).err(), Some(DOM));
        assert_eq!(log_of(&map, DOM), said("a security module refused the map"));
        refuse(Hook::MapCreate);
        assert_eq!(bpf::map_create(MapType::Hash, fd).err(), Some(DOM));
        watch.expect(Hook::MapCreate, 1, 1, "refused");
        refuse(Hook::ProgLoad);
        assert_eq!(
            log_of(&prog, DOM),
            said("a security module refused the program")
        );
        refuse(Hook::ProgLoad);
        assert_eq!(bpf::prog_load(&usage::SOCKET_FILTER(), fd).err(), Some(DOM));
        watch.expect(Hook::ProgLoad, 1, 1, "refused");

        refuse(Hook::TokenFree);
        still_granted(&instance, fd);
    });
}

/// A module refuses one capability to the token: what of a command needs that, and nothing else, is refused for it.
fn each_capability_refused() {
    type Call = fn(i32, &log::Log<'_>) -> Result<OwnedFd, Errno>;
    const STACK: Call = |fd, log| bpf::map_create_logged(MapType::Stack, Some(fd), log);
    const DEVMAP: Call = |fd, log| bpf::map_create_logged(MapType::Devmap, Some(fd), log);
    const KPROBE: Call =
        |fd, log| bpf::prog_load_logged(&usage::prog(ProgType::Kprobe, NO_ATTACH), Some(fd), log);
    const XDP: Call = |fd, log| {
        bpf::prog_load_logged(&usage::prog(ProgType::Xdp, AttachType::Xdp), Some(fd), log)
    };
    const LONG: Call = |fd, log| bpf::prog_of_length((1, 0), 4097, Some(fd), log);
    const BTF: Call = |fd, log| bpf::btf_load_logged(&usage::btf(), Some(fd), log);
    const NO_ATTACH: AttachType = AttachType::CgroupInetIngress;
    let cases: [(Call, &str, &[Cap]); 6] = [
        (STACK, "map type stack", &[rules::BPF]),
        (DEVMAP, "map type devmap", &[rules::NET_ADMIN]),
        (KPROBE, "program type kprobe", &[rules::BPF, rules::PERFMON]),
        (XDP, "program type xdp", &[rules::BPF, rules::NET_ADMIN]),
        (LONG, "a program of 4097 instructions", &[rules::BPF]),
        (BTF, "the command btf_load", &[rules::BPF]),
    ];
    let _anyone = Sysctl::set("kernel/unprivileged_bpf_disabled", "0");
    let watch = Watch::start();
    container::run(&Delegation::ANY, |instance| {
        let token = instance.token();
        for (call, purpose, needed) in cases {
            for cap in [rules::BPF, rules::PERFMON, rules::NET_ADMIN] {
                watch.refuse_args(
                    user_namespace(),
                    Hook::TokenCapable,
                    Errno::DOM,
                    1 << cap.number,
                );
                let mut buffer = log::Buffer::of(1 << 16);
                let errno = call(token.as_raw_fd(), &buffer.log(log::LEVEL)).err();
                let what = format!("{purpose} without {}: {errno:?}", cap.name);
                let is_long = purpose.contains("4097");
                if !needed.iter().any(|other| other.number == cap.number) {
                    let refused = [Some(Errno::PERM), Some(Errno::TOOBIG)].contains(&errno);
                    assert!(!refused, "{what}");
                    continue;
                }
                let expected = if is_long { Errno::TOOBIG } else { Errno::PERM };
                assert_eq!(errno, Some(expected), "{what}");
                let reason = kernel::explains().then(|| {
                    format!(
                        "{purpose} needs {}, which a security module refused to the token\n",
                        cap.name
                    )
                });
                assert_eq!(buffer.text(), reason, "{what}");
            }
        }
    });
}

/// The errno is the module's, also where the reason cannot be written.
fn refused_with_a_log_nowhere() {
    let watch = Watch::start();
    container::run(&DELEGATION, |instance| {
        let token = instance.token();
        let fd = Some(token.as_raw_fd());
        let log = log::Log::unmapped(log::LEVEL, 4096);
        watch.look_at(user_namespace(), Some((Hook::ProgLoad, Errno::DOM)));
        let prog = bpf::prog_load_logged(&usage::SOCKET_FILTER(), fd, &log);
        assert_eq!(prog.err(), Some(Errno::DOM));
        watch.look_at(user_namespace(), Some((Hook::MapCreate, Errno::DOM)));
        let map = bpf::map_create_logged(MapType::Hash, fd, &log);
        assert_eq!(map.err(), Some(Errno::DOM));
    });
}

/// Nothing is left of the refusals.
fn still_granted(instance: &Instance, fd: Option<i32>) {
    instance.token();
    bpf::map_create(MapType::Hash, fd).expect("granted");
    bpf::prog_load(&usage::SOCKET_FILTER(), fd).expect("granted");
    bpf::btf_load(&usage::btf(), fd).expect("granted");
}

/// The errno of the module, and the token whose use it refused; without one, the caller's namespace.
fn refusals_of_modules_are_traced() {
    if !kernel::explains() {
        return;
    }
    let watch = Watch::start();
    let trace = Trace::start();
    let expect = |maps: &str, cmd: Command, reason: &str| {
        let events = trace.read();
        let [refused] = events.as_slice() else {
            panic!("{reason}: {events:?}");
        };
        for (key, expected) in [
            ("userns", user_namespace().to_string()),
            ("maps", maps.to_owned()),
            ("cmd", (cmd as u32).to_string()),
            ("cap", "-1".to_owned()),
            ("err", (-Errno::DOM.raw_os_error()).to_string()),
            ("reason", reason.to_owned()),
        ] {
            assert_eq!(refused.field(key), expected, "{key} of {refused:?}");
        }
    };
    container::run(&DELEGATION, |instance| {
        let token = instance.token();
        let fd = Some(token.as_raw_fd());
        trace.read();
        watch.look_at(user_namespace(), Some((Hook::MapCreate, Errno::DOM)));
        assert_eq!(bpf::map_create(MapType::Hash, fd).err(), Some(Errno::DOM));
        expect(
            "0x2",
            Command::MapCreate,
            "a security module refused the map",
        );
        watch.look_at(user_namespace(), Some((Hook::ProgLoad, Errno::DOM)));
        let prog = bpf::prog_load(&usage::SOCKET_FILTER(), fd);
        assert_eq!(prog.err(), Some(Errno::DOM));
        expect(
            "0x2",
            Command::ProgLoad,
            "a security module refused the program",
        );
    });
}
