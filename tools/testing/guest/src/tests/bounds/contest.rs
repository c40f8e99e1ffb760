// SPDX-License-Identifier: GPL-2.0

//! Memory and descriptors that another thread changes during the call: what comes of it is what comes of one or the
//! other, never of a mixture.

use std::fmt::Debug;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use guest::bpf;
use guest::bpf::MapType;
use guest::bpf::Masks;
use guest::bpf::ProgType;
use guest::bpf::BPF_F_TOKEN_FD;
use guest::container;
use guest::container::Delegation;
use guest::container::Instance;
use guest::contested::Contested;
use guest::contested::Word;
use libtest_mimic::Trial;
use rustix::io::Errno;

use crate::tests::tests;
use crate::tests::usage;

pub fn tests() -> Vec<Trial> {
    tests![
        map_type,
        map_flags,
        map_token,
        map_token_or_none,
        prog_type,
        prog_token,
        bpffs,
        token_replaced,
    ]
}

/// Sets a flag when it goes, be it by a panic.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Calls again and again while another thread changes between two states. Each call must come to what is expected of
/// one state or the other, and if these differ, some to each.
fn contest<T: Debug + PartialEq>(
    expected: [T; 2],
    mut change: impl FnMut(usize) + Send,
    call: impl Fn() -> T,
) {
    const CALLS: usize = 100;
    const TIME: Duration = Duration::from_millis(200);
    const PATIENCE: Duration = Duration::from_secs(60);
    for (state, expected) in expected.iter().enumerate() {
        change(state);
        assert_eq!(call(), *expected, "while nothing changes");
    }
    let mut times = [0; 2];
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for state in [0, 1].into_iter().cycle() {
                if done.load(Ordering::Relaxed) {
                    return;
                }
                change(state);
            }
        });
        let _done = SetOnDrop(&done);
        let start = Instant::now();
        let enough = |times: &[usize; 2]| {
            let both = expected[0] == expected[1] || !times.contains(&0);
            both && times.iter().sum::<usize>() >= CALLS && start.elapsed() >= TIME
        };
        while !enough(&times) {
            let outcome = call();
            let state = expected.iter().position(|expected| *expected == outcome);
            let state = state.unwrap_or_else(|| panic!("{outcome:?}, neither of {expected:?}"));
            times[state] += 1;
            assert!(start.elapsed() < PATIENCE, "{expected:?}: {times:?} times");
        }
    });
}

/// Contests one word of an attr, and looks at what a call makes.
fn contest_word<T: Debug + PartialEq>(
    contested: &Contested,
    values: [u32; 2],
    look: impl Fn(OwnedFd) -> T,
    expected: [Result<T, Errno>; 2],
) {
    contest(
        expected,
        |state| contested.set(values[state]),
        || contested.call().map(&look),
    );
}

fn number(fd: &OwnedFd) -> u32 {
    fd.as_raw_fd() as u32
}

/// The type in a `struct bpf_map_info` or `struct bpf_prog_info`.
fn type_of(object: OwnedFd) -> u32 {
    let mut info = [0; 4];
    bpf::info_by_fd(&object, &mut info).expect("an object has an info");
    u32::from_ne_bytes(info)
}

fn flags_of_map(map: OwnedFd) -> u32 {
    let mut info = [0; 24];
    bpf::info_by_fd(&map, &mut info).expect("a map has an info");
    u32::from_ne_bytes(info[20..].try_into().expect("four bytes"))
}

/// Runs `test` in a container with an instance of BPF FS for each delegation.
fn with_instances<const N: usize>(
    delegations: [Delegation<'static>; N],
    mut test: impl FnMut([Instance; N]),
) {
    let owned = |(key, value): (&'static str, &str)| (key, value.to_owned());
    let options: Vec<_> = delegations
        .iter()
        .map(|delegation| delegation.options().map(owned).collect())
        .collect();
    let mut instances = Vec::new();
    container::run_each(&options, |_, instance| {
        instances.push(instance);
        if instances.len() == N {
            let all = std::mem::take(&mut instances).try_into();
            test(all.unwrap_or_else(|_| unreachable!("as many as delegations")));
        }
    });
}

fn with_tokens<const N: usize>(delegations: [Delegation<'static>; N], test: impl Fn([OwnedFd; N])) {
    with_instances(delegations, |instances| {
        test(instances.map(|instance| instance.token()))
    });
}

/// Rule 6: a type is made that the token delegates, not one that came after the check.
fn map_type() {
    with_tokens([Delegation::of("any", "hash", "", "")], |[token]| {
        let call = Contested::map_create(
            MapType::Hash,
            BPF_F_TOKEN_FD,
            token.as_raw_fd(),
            Word::MapType,
        );
        let types = [MapType::Hash as u32, MapType::Array as u32];
        contest_word(&call, types, type_of, [Ok(types[0]), Err(Errno::PERM)]);
    });
}

/// Rule 6: the flag that says whether there is a token is that of the flags which the map is made with.
fn map_flags() {
    const BPF_F_NO_PREALLOC: u32 = 1;
    with_tokens([Delegation::of("any", "hash", "", "")], |[token]| {
        let call = Contested::map_create(MapType::Hash, 0, token.as_raw_fd(), Word::MapFlags);
        let flags = [BPF_F_TOKEN_FD | BPF_F_NO_PREALLOC, 0];
        let expected = [Ok(BPF_F_NO_PREALLOC), Err(Errno::PERM)];
        contest_word(&call, flags, flags_of_map, expected);
    });
}

/// Rule 6: one token grants all that a command needs: of two that grant a part of it each, neither does.
fn map_token() {
    let command_only = Delegation::of("map_create", "array", "", "");
    let type_only = Delegation::of("prog_load", "hash", "", "");
    with_tokens([command_only, type_only], |tokens| {
        let call = Contested::map_create(MapType::Hash, BPF_F_TOKEN_FD, 0, Word::MapToken);
        let tokens = tokens.each_ref().map(number);
        contest_word(&call, tokens, type_of, [Err(Errno::PERM); 2]);
    });
}

/// Rule 6: a descriptor is a token that grants, or fails the command.
fn map_token_or_none() {
    with_tokens([Delegation::of("any", "hash", "", "")], |[token]| {
        let call = Contested::map_create(MapType::Hash, BPF_F_TOKEN_FD, 0, Word::MapToken);
        let expected = [Ok(MapType::Hash as u32), Err(Errno::BADF)];
        contest_word(&call, [number(&token), u32::MAX], type_of, expected);
    });
}

/// Rule 6: a program is of the type that the token delegates, as a map is.
fn prog_type() {
    let delegation = Delegation::of("any", "", "socket_filter", "any");
    with_tokens([delegation], |[token]| {
        let prog = usage::SOCKET_FILTER();
        let call = Contested::prog_load(&prog, token.as_raw_fd(), Word::ProgType);
        let types = [ProgType::SocketFilter as u32, ProgType::Kprobe as u32];
        contest_word(&call, types, type_of, [Ok(types[0]), Err(Errno::PERM)]);
    });
}

/// Rule 6: one token grants both the command and the type, as for a map.
fn prog_token() {
    let command_only = Delegation::of("prog_load", "", "kprobe", "any");
    let type_only = Delegation::of("map_create", "", "socket_filter", "any");
    with_tokens([command_only, type_only], |tokens| {
        let call = Contested::prog_load(&usage::SOCKET_FILTER(), 0, Word::ProgToken);
        let tokens = tokens.each_ref().map(number);
        contest_word(&call, tokens, type_of, [Err(Errno::PERM); 2]);
    });
}

/// Rule 4: the four masks of a token are those of one instance.
fn bpffs() {
    let one = Delegation::of("0x1", "0x1", "0x1", "0x1");
    let other = Delegation::of("0x2", "0x2", "0x2", "0x2");
    let masks = |mask| Masks {
        cmds: mask,
        maps: mask,
        progs: mask,
        attachs: mask,
    };
    with_instances([one, other], |instances| {
        let roots = instances.each_ref().map(|instance| number(&instance.root));
        let look = |token| bpf::masks(&token);
        let expected = [Ok(masks(1)), Ok(masks(2))];
        contest_word(&Contested::token_create(-1), roots, look, expected);
    });
}

/// Rule 4: a command holds the token that it has found, also when its last descriptor comes to mean another one.
fn token_replaced() {
    container::run(&Delegation::ANY, |instance| {
        let mut token = instance.token();
        let fd = token.as_raw_fd();
        let replace = |_| {
            rustix::io::dup2(instance.token(), &mut token).expect("dup2");
        };
        contest([Ok(()), Ok(())], replace, || {
            bpf::map_create(MapType::Hash, Some(fd)).map(drop)
        });
    });
}
