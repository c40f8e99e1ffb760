// SPDX-License-Identifier: GPL-2.0
//! Tokens and the commands that take them: in a container, and for comparison without a token as
//! root of the initial user namespace.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use anyhow::Context as _;
use anyhow::Result;
use guest::bpf::ProgType;

use crate::bpf;
use crate::bpf::Command;
use crate::measure::count;
use crate::measure::count_beside;
use crate::measure::Bench;
use crate::programs;

const ITERATIONS: usize = 300;
/// The goal of what tells the masks: it tells what the token permits now, and its cookie. That takes
/// four masks of the instance beside its own, and where they are: 12 instructions of 511. On arm64,
/// `and` and `cmp` take nothing from memory, and the address of a table of operations is made by two
/// instructions: the same is 22 of 406.
const INFO: f64 = if cfg!(target_arch = "aarch64") {
    1.05
} else {
    1.03
};
/// For programs of thousands of instructions.
const FEW: usize = 5;

/// Making and closing tokens, and looking at one.
pub fn objects(bench: &Bench, root: BorrowedFd<'_>) -> Result<()> {
    let mut create = Command::token_create(root);
    bench.run("token create", ITERATIONS, |timer| {
        drop(bpf::fd(timer.time(|| create.run())));
        1
    })?;
    bench.run("token close", ITERATIONS, |timer| {
        let token = bpf::fd(create.run());
        timer.time(|| drop(token));
        1
    })?;
    bench.run("token create and close", ITERATIONS, |timer| {
        timer.time(|| drop(bpf::fd(create.run())));
        2
    })?;
    // The mean of a loop has the work items in it that free what was closed.
    const LOOP: u32 = 100;
    let sum = bench.median(15, |timer| {
        timer.time(|| {
            for _ in 0..LOOP {
                drop(bpf::fd(create.run()));
            }
        });
        2 * LOOP
    });
    count("token create, close and free", sum / f64::from(LOOP), 1.0)?;

    let token = bpf::fd(create.run());
    let mut info = [0; 4];
    let mut command = Command::token_info(token.as_fd(), &mut info);
    bench.run_for("token info", INFO, ITERATIONS, |timer| {
        assert_eq!(timer.time(|| command.run()), 0);
        1
    })?;
    let fdinfo = std::fs::File::open(format!("/proc/self/fdinfo/{}", token.as_raw_fd()))?;
    let mut buffer = [0; 1024];
    bench.run("token fdinfo", ITERATIONS, |timer| {
        timer
            .time(|| rustix::io::pread(&fdinfo, &mut buffer, 0))
            .expect("fdinfo");
        1
    })?;
    Ok(())
}

/// The goal of a refusal: unlike C's, it keeps its reason until the errno is final.
const REFUSAL: f64 = 1.10;
/// The goal of the token step alone, where putting a token aside keeps what it permitted.
const PUT_ASIDE: f64 = 1.50;

/// The goal of what takes a token: unlike C's, it asks each time what is delegated now.
const USE: f64 = 1.01;

/// The commands that succeed; `how` says by what.
pub fn permitted(bench: &Bench, how: &str, token: Option<BorrowedFd<'_>>) -> Result<()> {
    let goal = if token.is_some() { USE } else { 1.0 };
    each(bench, how, goal, token, |returned| drop(bpf::fd(returned)))?;
    // The cost of one question for a capability: that of a helper which needs one, above that of a
    // helper which everyone may call.
    let free = programs::calls(programs::GET_CURRENT_PID_TGID);
    let asked = programs::calls(programs::GET_CURRENT_CGROUP_ID);
    let load = |insns: &[u64]| {
        let mut command = Command::prog_load(ProgType::SocketFilter, insns, token);
        bench.median(FEW, |timer| {
            drop(bpf::fd(timer.time(|| command.run())));
            1
        })
    };
    let (free, asked) = (load(&free), load(&asked));
    count(
        &format!("program load (2,002 instructions), {how}"),
        asked,
        1.0,
    )?;
    let one = (asked - free) / programs::CALLS as f64;
    count(
        &format!("permission checks of a helper call, {how}"),
        one,
        1.0,
    )
}

/// A use of a token whose instance was reconfigured: C lets that be and changes nothing.
pub fn after_remount(bench: &Bench, token: BorrowedFd<'_>) -> Result<()> {
    let mut command = Command::map_create(Some(token));
    bench.run_for(
        "map create, with token, after a remount",
        USE,
        ITERATIONS,
        |timer| {
            drop(bpf::fd(timer.time(|| command.run())));
            1
        },
    )?;
    Ok(())
}

/// What C does not have: beside what it is most like.
pub fn beyond_c(
    bench: &Bench,
    root: BorrowedFd<'_>,
    token: BorrowedFd<'_>,
    uses: &File,
) -> Result<()> {
    const LIKE_CREATION: f64 = 1.05;
    /// An event costs what it costs to write.
    const TRACED: f64 = 1.50;
    let measure = |operation: &str, goal, beside: &str, mut command: Command<'_>| {
        let value = bench.median(ITERATIONS, |timer| {
            drop(bpf::fd(timer.time(|| command.run())));
            1
        });
        count_beside(operation, value, goal, beside)
    };
    let masks = [!0x8000, !0x8000, !0x8000, !0x8000];
    for (operation, source) in [
        ("token create, restricted", root),
        ("token create, of a token", token),
    ] {
        let command = Command::token_restrict(source, masks);
        measure(operation, LIKE_CREATION, "token create", command)?;
    }
    let event = |value: &[u8]| rustix::io::pwrite(uses, value, 0).context("bpf_token_use");
    event(b"1")?;
    let command = Command::map_create(Some(token));
    measure(
        "map create, with token, each use traced",
        TRACED,
        "map create, with token",
        command,
    )?;
    event(b"0")?;
    Ok(())
}

/// The commands that are refused, for lack of a token and for lack of a grant by `token`.
///
/// Both end at the same question for a capability, so what one costs above the other is the token
/// step: taking the token from its descriptor, asking what it allows, and dropping it.
pub fn refused(bench: &Bench, token: BorrowedFd<'_>) -> Result<()> {
    let without = each(
        bench,
        "no token in a container",
        REFUSAL,
        None,
        bpf::refused,
    )?;
    let with = each(
        bench,
        "token does not grant it",
        REFUSAL,
        Some(token),
        bpf::refused,
    )?;
    let step = with[0] - without[0];
    count("token step of a refused map create", step, PUT_ASIDE)
}

/// The descriptor is one of something else. All of the command counts: C asks in a function that it calls, Rust in the
/// function that it is in, so that the step alone is not the same thing in both.
pub fn wrong_descriptor(bench: &Bench, other: BorrowedFd<'_>) -> Result<()> {
    let mut command = Command::btf_get_fd_by_id(Some(other));
    bench.run_for(
        "BTF by id, the descriptor is no token",
        REFUSAL,
        ITERATIONS,
        |timer| {
            bpf::invalid(timer.time(|| command.run()));
            1
        },
    )?;
    Ok(())
}

fn each(
    bench: &Bench,
    how: &str,
    goal: f64,
    token: Option<BorrowedFd<'_>>,
    check: impl Fn(i64),
) -> Result<[f64; 4]> {
    let btf = guest::bpf::btf_of_int();
    let insns = &programs::RETURN_0;
    let commands = [
        ("map create", Command::map_create(token)),
        ("BTF load", Command::btf_load(&btf, token)),
        ("BTF by id", Command::btf_get_fd_by_id(token)),
        (
            "program load (2 instructions)",
            Command::prog_load(ProgType::Kprobe, insns, token),
        ),
    ];
    let mut costs = [0.0; 4];
    for ((name, mut command), cost) in commands.into_iter().zip(&mut costs) {
        *cost = bench.run_for(&format!("{name}, {how}"), goal, ITERATIONS, |timer| {
            check(timer.time(|| command.run()));
            1
        })?;
    }
    Ok(costs)
}

/// A map type that the token does not grant, though it grants the command.
pub fn refused_map(bench: &Bench, token: &OwnedFd) -> Result<()> {
    let mut command = Command::map_create(Some(token.as_fd()));
    bench.run_for(
        "map create, token lacks the map type",
        REFUSAL,
        ITERATIONS,
        |timer| {
            bpf::refused(timer.time(|| command.run()));
            1
        },
    )?;
    Ok(())
}
