// SPDX-License-Identifier: GPL-2.0

//! D4: the trace events `bpf_token:*`. Those of refused commands are checked by the matrix, too.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

use guest::bpf;
use guest::bpf::MapType;
use guest::bpf::Masks;
use guest::container;
use guest::container::Delegation;
use guest::container::Instance;
use guest::insn;
use guest::kernel;
use guest::sys::Command;
use libtest_mimic::Trial;
use rustix::io::Errno;

use super::tests;
use super::usage;
use crate::trace;
use crate::trace::Event;
use crate::trace::Trace;

pub fn tests() -> Vec<Trial> {
    tests![
        only_the_rust_kernel_has_them,
        life_of_a_token,
        program_keeps_its_token,
        token_refused,
        nothing_for_what_is_granted,
        tracefs_perf_and_programs_at_once,
    ]
}

fn only_the_rust_kernel_has_them() {
    assert_eq!(trace::has_events(), kernel::explains());
}

/// Runs `inside` in a container while events are traced, on a kernel that has them.
fn traced(delegation: &Delegation<'_>, inside: impl FnOnce(&Trace, Instance)) {
    if kernel::explains() {
        let trace = Trace::start();
        container::run(delegation, |instance| inside(&trace, instance));
    }
}

fn user_namespace() -> String {
    let namespace = std::fs::metadata("/proc/self/ns/user").expect("/proc/self/ns/user");
    namespace.ino().to_string()
}

/// The fields that every event has.
fn expect_token(event: &Event, masks: &Masks) {
    for (key, expected) in [
        ("userns", user_namespace()),
        ("cmds", format!("{:#x}", masks.cmds)),
        ("maps", format!("{:#x}", masks.maps)),
        ("progs", format!("{:#x}", masks.progs)),
        ("attachs", format!("{:#x}", masks.attachs)),
        ("cookie", "0".to_owned()),
    ] {
        assert_eq!(event.field(key), expected, "{key} of {event:?}");
    }
}

const MASKS: Masks = Masks {
    cmds: 0x21,
    maps: 0x4,
    progs: 0x8000_0000_0000_0002,
    attachs: 0,
};
const DELEGATION: Delegation<'_> = Delegation::of("0x21", "0x4", "0x8000000000000002", "");

fn life_of_a_token() {
    traced(&DELEGATION, |trace, instance| {
        let token = instance.token();
        let events = trace.read();
        let [created] = events.as_slice() else {
            panic!("{events:?}");
        };
        assert_eq!(created.name, "bpf_token_create");
        assert_eq!(created.fields.len(), 6, "{created:?}");
        expect_token(created, &MASKS);

        let copy = token.try_clone().expect("dup");
        drop(token);
        assert!(trace.read().is_empty(), "the token is still in use");
        drop(copy);
        let freed = trace.wait_for(|event| event.name != "bpf_token_create");
        assert_eq!(freed.name, "bpf_token_free");
        assert_eq!(freed.fields.len(), 6, "{freed:?}");
        expect_token(&freed, &MASKS);
    });
}

fn program_keeps_its_token() {
    traced(&Delegation::ANY, |trace, instance| {
        let token = instance.token();
        let prog = usage::SOCKET_FILTER();
        let prog = bpf::prog_load(&prog, Some(token.as_raw_fd())).expect("granted");
        drop(token);
        // What would have freed the token had it no other user: a token made and freed after it.
        drop(bpf::token_create(&instance.root).expect("a second token"));
        trace.wait_for(|event| event.name == "bpf_token_free");
        assert!(trace.read().is_empty(), "the program still has its token");
        drop(prog);
        trace.wait_for(|event| event.name == "bpf_token_free");
    });
}

/// `BPF_TOKEN_CREATE` has no token yet: no masks, and the caller's user namespace.
fn token_refused() {
    traced(&Delegation::NOTHING, |trace, instance| {
        const CAP_BPF: i32 = 39;
        let none = Masks::default();
        let root = instance.root.as_raw_fd();
        let closed = instance.root.try_clone().expect("dup").as_raw_fd();
        let expect = |fd, errno: Errno, cap: i32, reason: &str| {
            let attr = bpf::token_create_attr(0, fd);
            assert_eq!(
                guest::sys::token_create(&attr).err(),
                Some(errno),
                "{reason}"
            );
            let events = trace.read();
            let [refused] = events.as_slice() else {
                panic!("{reason}: {events:?}");
            };
            assert_eq!(refused.name, "bpf_token_refuse");
            assert_eq!(refused.fields.len(), 12, "{refused:?}");
            expect_token(refused, &none);
            for (key, expected) in [
                ("cmd", (Command::TokenCreate as i32).to_string()),
                ("type", "0".to_owned()),
                ("attach_type", "0".to_owned()),
                ("cap", cap.to_string()),
                ("err", (-errno.raw_os_error()).to_string()),
                ("reason", format!("no token: {reason}")),
            ] {
                assert_eq!(refused.field(key), expected, "{key} of {refused:?}");
            }
        };
        let not_open = format!("descriptor {closed} is not open, or was opened with O_PATH");
        expect(closed, Errno::BADF, -1, &not_open);
        let nothing = "the BPF file system delegates nothing";
        expect(root, Errno::NOENT, -1, nothing);
        guest::process::drop_capabilities(rustix::thread::CapabilitySet::BPF);
        let unprivileged = "this needs CAP_BPF in the user namespace";
        expect(root, Errno::PERM, CAP_BPF, unprivileged);
    });
}

fn nothing_for_what_is_granted() {
    traced(&Delegation::ANY, |trace, instance| {
        let token = instance.token();
        trace.read();
        bpf::map_create(MapType::Hash, Some(token.as_raw_fd())).expect("granted");
        bpf::prog_load(&usage::SOCKET_FILTER(), Some(token.as_raw_fd())).expect("granted");
        bpf::btf_load(&usage::btf(), Some(token.as_raw_fd())).expect("granted");
        assert!(trace.read().is_empty());
    });
}

/// Who looks at one event in two more ways.
struct Watched {
    name: &'static std::ffi::CStr,
    prog: OwnedFd,
    _attached: OwnedFd,
    counts: Vec<OwnedFd>,
}

impl Watched {
    fn new(name: &'static std::ffi::CStr) -> Self {
        const RAW_TRACEPOINT: u32 = 17;
        let insns = [insn::mov_imm(0, 0), insn::exit()];
        let prog = bpf::prog_of_type(RAW_TRACEPOINT, &insns, None).expect("a program");
        let attached = bpf::attach_raw_tracepoint(name, &prog).expect("a raw tracepoint");
        let id = trace::event_id(name.to_str().expect("ASCII"));
        let cpus = std::thread::available_parallelism().expect("processors");
        let counts = (0..cpus.get() as i32)
            .map(|cpu| guest::sys::count_tracepoint(id, cpu).expect("perf"))
            .collect();
        Self {
            name,
            prog,
            _attached: attached,
            counts,
        }
    }

    /// How often the program ran, and how often perf counted the event.
    fn seen(self) -> (u64, u64) {
        let fdinfo = format!("/proc/self/fdinfo/{}", self.prog.as_raw_fd());
        let fdinfo = std::fs::read_to_string(fdinfo).expect("fdinfo");
        let runs = fdinfo
            .lines()
            .find_map(|line| line.strip_prefix("run_cnt:\t"));
        let runs = runs.expect("run_cnt").parse().expect("a number");
        let counts = self.counts.into_iter().map(|fd| {
            let mut count = [0; 8];
            File::from(fd).read_exact(&mut count).expect("a count");
            u64::from_ne_bytes(count)
        });
        (runs, counts.sum())
    }
}

/// All events, each with three who want it.
fn tracefs_perf_and_programs_at_once() {
    if !kernel::explains() {
        return;
    }
    let _counted = kernel::Sysctl::set("kernel/bpf_stats_enabled", "1");
    let trace = Trace::with_uses();
    let watched = [
        c"bpf_token_create",
        c"bpf_token_use",
        c"bpf_token_refuse",
        c"bpf_token_free",
    ]
    .map(Watched::new);
    container::run(&Delegation::ANY, |instance| {
        let token = instance.token();
        bpf::map_create(MapType::Hash, Some(token.as_raw_fd())).expect("granted");
        let attr = bpf::token_create_attr(0, -1);
        assert_eq!(guest::sys::token_create(&attr).err(), Some(Errno::BADF));
    });
    let names: Vec<String> = trace.read().into_iter().map(|event| event.name).collect();
    for watched in watched {
        let name = watched.name.to_str().expect("ASCII");
        let traced = names.iter().filter(|other| *other == name).count() as u64;
        assert!(traced > 0, "{name}: {names:?}");
        assert_eq!(watched.seen(), (traced, traced), "{name}");
    }
}
