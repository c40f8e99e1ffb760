// SPDX-License-Identifier: GPL-2.0

//! Section 10.4 of the design: a BPF LSM policy that decides by the cookie of a token, and answers two containers of one
//! host in two ways.

use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::time::Duration;
use std::time::Instant;

use ::policy::Policy;
use ::policy::Target;
use guest::bpf;
use guest::bpf::AttachType;
use guest::bpf::MapType;
use guest::bpf::Masks;
use guest::bpf::Prog;
use guest::bpf::ProgType;
use guest::container;
use guest::container::Delegation;
use guest::container::Instance;
use guest::insn;
use guest::log;
use guest::process::Link;
use guest::restrict;
use libtest_mimic::Trial;
use rustix::io::Errno;

use super::tests;
use super::usage;

/// Of the Rust kernel alone: there is no cookie in C's `struct bpf_token`.
pub fn tests() -> Vec<Trial> {
    tests![
        number_of_maps,
        maps_that_are_gone_count_no_more,
        targets,
        limits_change_while_the_container_runs,
        who_is_not_limited,
    ]
}

const ONE: Delegation<'_> = Delegation::ANY.with_cookie("1");
const OTHER: Delegation<'_> = Delegation::ANY.with_cookie("0x8000000000000001");
const COOKIE_OF_OTHER: u64 = 0x8000_0000_0000_0001;

fn start() -> Policy {
    Policy::start().expect("a policy")
}

fn limit(policy: &Policy, cookie: u64, maps: u64) {
    policy.limit_maps(cookie, maps).expect("a limit");
}

fn create(token: &OwnedFd) -> Result<OwnedFd, Errno> {
    bpf::map_create(MapType::Hash, Some(token.as_raw_fd()))
}

/// Makes as many maps as the policy lets it, of at most ten.
fn create_all(token: &OwnedFd) -> Vec<OwnedFd> {
    let mut maps = Vec::new();
    while maps.len() < 10 {
        match create(token) {
            Ok(map) => maps.push(map),
            Err(errno) => {
                assert_eq!(errno, Errno::DQUOT);
                break;
            }
        }
    }
    maps
}

/// Both containers are there at the same time, and each is counted for itself, by all tokens that it has.
fn number_of_maps() {
    let policy = start();
    limit(&policy, 1, 3);
    limit(&policy, COOKIE_OF_OTHER, 5);
    let inside = |instance: Instance, link: Link| {
        let token = instance.token();
        let maps = create_all(&token);
        assert_eq!(maps.len(), 3);
        let narrow = restrict::token(&token, &Masks::ALL).expect("a token");
        for token in [&instance.token(), &narrow] {
            assert_eq!(create(token).err(), Some(Errno::DQUOT));
        }
        let mut buffer = log::Buffer::of(4096);
        let log = buffer.log(log::LEVEL);
        let map = bpf::map_create_logged(MapType::Hash, Some(token.as_raw_fd()), &log);
        assert_eq!(map.err(), Some(Errno::DQUOT));
        let said = buffer.text();
        assert_eq!(said.as_deref(), Some("a security module refused the map\n"));
        link.signal();
        link.wait_for_end();
    };
    container::run_with(&ONE, inside, |link| {
        link.wait();
        container::run(&OTHER, |instance| {
            assert_eq!(create_all(&instance.token()).len(), 5);
        });
    });
}

fn maps_that_are_gone_count_no_more() {
    let policy = start();
    limit(&policy, 1, 2);
    container::run(&ONE, |instance| {
        let token = instance.token();
        assert_eq!(create_all(&token).len(), 2);
        // Maps are freed after all that could still look at them.
        let end = Instant::now() + Duration::from_secs(10);
        let mut again = Vec::new();
        while again.len() < 2 && Instant::now() < end {
            again.extend(create(&token).ok());
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(again.len(), 2, "as many as before");
        assert_eq!(create(&token).err(), Some(Errno::DQUOT), "and no more");
    });
}

fn load(token: Option<&OwnedFd>, attach_btf_id: u32) -> Result<(), Errno> {
    let prog = Prog {
        prog_type: ProgType::Tracing,
        attach_type: AttachType::TraceRawTp,
        attach_btf_id,
        insns: &insn::RETURN_0,
    };
    bpf::prog_load(&prog, token.map(AsRawFd::as_raw_fd)).map(drop)
}

/// The token delegates tracing; the policy says of what.
fn targets() {
    const EXEC: Target<'_> = Target::Tracepoint("sched_process_exec");
    const FORK: Target<'_> = Target::Tracepoint("sched_process_fork");
    let [exec, fork] = [EXEC, FORK].map(|target| target.btf_id().expect("a tracepoint"));
    let policy = start();
    for (cookie, target) in [(1, EXEC), (COOKIE_OF_OTHER, FORK)] {
        limit(&policy, cookie, 1);
        policy.allow_target(cookie, target).expect("a target");
    }
    const PERM: Result<(), Errno> = Err(Errno::PERM);
    for (delegation, of_exec, of_fork) in [(ONE, Ok(()), PERM), (OTHER, PERM, Ok(()))] {
        container::run(&delegation, |instance| {
            let token = instance.token();
            assert_eq!(load(Some(&token), exec), of_exec, "sched_process_exec");
            assert_eq!(load(Some(&token), fork), of_fork, "sched_process_fork");
            let kprobe = usage::prog(ProgType::Kprobe, AttachType::CgroupInetIngress);
            let kprobe = bpf::prog_load(&kprobe, Some(token.as_raw_fd()));
            assert_eq!(
                kprobe.err(),
                Some(Errno::PERM),
                "a target that nobody knows yet"
            );
            let filter = bpf::prog_load(&usage::SOCKET_FILTER(), Some(token.as_raw_fd()));
            assert!(filter.is_ok(), "it has no target: {filter:?}");
        });
    }
}

fn limits_change_while_the_container_runs() {
    let policy = start();
    limit(&policy, 1, 1);
    let inside = |instance: Instance, link: Link| {
        let token = instance.token();
        let mut maps = create_all(&token);
        assert_eq!(maps.len(), 1);
        link.signal();
        link.wait();
        maps.extend(create_all(&token));
        assert_eq!(maps.len(), 4, "those from before count");
        link.signal();
        link.wait();
        assert_eq!(
            create(&token).err(),
            Some(Errno::DQUOT),
            "more than there may be now"
        );
    };
    container::run_with(&ONE, inside, |link| {
        for maps in [4, 2] {
            link.wait();
            limit(&policy, 1, maps);
            link.signal();
        }
        link.wait_for_end();
    });
}

/// No token, no cookie, and a cookie that the policy knows nothing of.
fn who_is_not_limited() {
    let exec = Target::Tracepoint("sched_process_exec")
        .btf_id()
        .expect("a tracepoint");
    let policy = start();
    limit(&policy, 1, 0);
    let map = bpf::map_create(MapType::Hash, None);
    assert!(map.is_ok(), "without a token: {map:?}");
    assert_eq!(load(None, exec), Ok(()), "without a token");
    for delegation in [Delegation::ANY, OTHER] {
        container::run(&delegation, |instance| {
            let token = instance.token();
            assert_eq!(create_all(&token).len(), 10);
            assert_eq!(load(Some(&token), exec), Ok(()));
        });
    }
    container::run(&ONE, |instance| {
        assert_eq!(create(&instance.token()).err(), Some(Errno::DQUOT));
    });
}
