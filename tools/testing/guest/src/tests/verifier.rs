// SPDX-License-Identifier: GPL-2.0

//! Programs that the verifier rejects where a capability is missing: the last line of its log says which, and where it
//! was looked for.

use std::os::fd::AsRawFd;
use std::os::fd::RawFd;

use guest::bpf;
use guest::bpf::Prog;
use guest::bpf::ProgType;
use guest::container;
use guest::container::Delegation;
use guest::insn;
use guest::kernel;
use guest::kernel::Sysctl;
use guest::log;
use guest::process;
use libtest_mimic::Trial;
use rustix::io::Errno;
use rustix::thread::CapabilitySet;

use super::tests;
use crate::hooks::Hook;
use crate::hooks::Watch;

pub fn tests() -> Vec<Trial> {
    tests![
        rejected_without_capability,
        rejected_without_a_usable_token,
        rejected_by_a_module,
        rejected_for_several_causes,
        rejected_in_the_initial_namespace,
        rejected_with_all_capabilities,
        last_line_of_a_log_too_small,
    ]
}

const BPF: CapabilitySet = CapabilitySet::BPF;
const PERFMON: CapabilitySet = CapabilitySet::PERFMON;

/// `return ctx;`: a pointer leaves the kernel.
const LEAK: [u64; 2] = [insn::mov_reg(0, 1), insn::exit()];
/// Returns what nobody wrote to the stack.
const UNINITIALISED: [u64; 2] = [insn::load_u64(0, 10, -8), insn::exit()];
/// A function of its own.
const FUNCTION: [u64; 4] = [
    insn::call_function(1),
    insn::exit(),
    insn::mov_imm(0, 0),
    insn::exit(),
];
/// `bpf_get_current_task()`, which needs CAP_PERFMON in a socket filter.
const CURRENT_TASK: [u64; 3] = [insn::call_helper(35), insn::mov_imm(0, 0), insn::exit()];
/// `bpf_jiffies64()`, which needs CAP_BPF.
const JIFFIES: [u64; 3] = [insn::call_helper(118), insn::mov_imm(0, 0), insn::exit()];
/// Returns what nobody wrote to the register.
const NO_RETURN_VALUE: [u64; 1] = [insn::exit()];
/// `bpf_probe_write_user()`, which needs CAP_SYS_ADMIN.
const WRITE_USER: [u64; 6] = [
    insn::mov_imm(1, 0),
    insn::mov_reg(2, 10),
    insn::mov_imm(3, 0),
    insn::call_helper(36),
    insn::mov_imm(0, 0),
    insn::exit(),
];

fn filter(insns: &[u64]) -> Prog<'_> {
    Prog::new(ProgType::SocketFilter, insns)
}

/// Expects a program to be rejected with `errno`, and `last` to be the last line of the log, if there is one to expect.
fn rejected(prog: &Prog<'_>, token: Option<RawFd>, errno: Errno, last: Option<&str>) {
    let mut buffer = log::Buffer::of(1 << 16);
    let log = buffer.log(log::LEVEL);
    let loaded = bpf::prog_load_logged(prog, token, &log);
    let true_size = log.true_size.get() as usize;
    let text = buffer.text().expect("the verifier's log");
    assert_eq!(loaded.err(), Some(errno), "{text}");
    assert_eq!(true_size, text.len() + 1, "{text}");
    let (before, found) = text.trim_end().rsplit_once('\n').expect("lines");
    match last.filter(|_| kernel::explains()) {
        Some(last) => {
            assert_eq!(found, last, "{text}");
            assert!(!before.contains("verified without"), "told once: {text}");
        }
        None => assert!(!text.contains("verified without"), "{text}"),
    }
}

fn rejected_without_capability() {
    let _anyone = Sysctl::set("kernel/unprivileged_bpf_disabled", "0");
    let perfmon =
        "the program was verified without CAP_PERFMON in the user namespace that owns the token";
    let both = "the program was verified without CAP_BPF and CAP_PERFMON in the user namespace that owns the token";
    container::run(&Delegation::ANY, |instance| {
        let token = instance.token();
        let fd = Some(token.as_raw_fd());
        let tried = [
            (filter(&LEAK), BPF, Errno::ACCESS, perfmon),
            (filter(&UNINITIALISED), BPF, Errno::ACCESS, perfmon),
            (filter(&CURRENT_TASK), BPF, Errno::INVAL, perfmon),
            (filter(&FUNCTION), CapabilitySet::empty(), Errno::PERM, both),
            (filter(&JIFFIES), CapabilitySet::empty(), Errno::INVAL, both),
            (
                Prog::new(ProgType::Kprobe, &WRITE_USER),
                BPF | PERFMON,
                Errno::INVAL,
                "the program was verified without CAP_SYS_ADMIN in the user namespace that owns the token",
            ),
        ];
        for (prog, held, errno, last) in tried {
            process::with_capabilities(held, || rejected(&prog, fd, errno, Some(last)));
        }
        // With the capability, all of them load.
        for insns in [
            &LEAK[..],
            &UNINITIALISED,
            &CURRENT_TASK,
            &FUNCTION,
            &JIFFIES,
        ] {
            process::with_capabilities(BPF | PERFMON, || {
                bpf::prog_load(&filter(insns), fd).expect("loads");
            });
        }
    });
}

/// Without a token, and with one that is of no use: why the initial user namespace was asked.
fn rejected_without_a_usable_token() {
    let _anyone = Sysctl::set("kernel/unprivileged_bpf_disabled", "0");
    let delegation = Delegation::of("prog_load", "", "xdp", "any");
    container::run(&delegation, |instance| {
        let token = instance.token();
        let without = "the program was verified without CAP_BPF and CAP_PERFMON in the initial user namespace, because";
        let none = format!("{without} no token was given");
        rejected(&filter(&LEAK), None, Errno::ACCESS, Some(&none));
        let unfit = format!(
            "{without} the token does not delegate program type socket_filter (delegate_progs=xdp)"
        );
        let fd = Some(token.as_raw_fd());
        rejected(&filter(&LEAK), fd, Errno::ACCESS, Some(&unfit));
    });
}

fn rejected_by_a_module() {
    let _anyone = Sysctl::set("kernel/unprivileged_bpf_disabled", "0");
    let watch = Watch::start();
    container::run(&Delegation::ANY, |instance| {
        let token = instance.token();
        watch.look_at(
            super::security::user_namespace(),
            Some((Hook::TokenCapable, Errno::DOM)),
        );
        rejected(
            &filter(&LEAK),
            Some(token.as_raw_fd()),
            Errno::ACCESS,
            Some(
                "the program was verified without CAP_BPF and CAP_PERFMON, which a security module refused to the \
                 token",
            ),
        );
    });
}

/// Capabilities with their numbers and names, in the order in which they are told.
const CAPS: [(CapabilitySet, u32, &str); 3] = [
    (BPF, 39, "CAP_BPF"),
    (PERFMON, 38, "CAP_PERFMON"),
    (CapabilitySet::SYS_ADMIN, 21, "CAP_SYS_ADMIN"),
];

/// The bits of `held` as capabilities, in the order of `CAPS`.
fn capabilities(held: u64) -> CapabilitySet {
    let of_bit = CAPS.iter().enumerate();
    let of_bit = of_bit.filter(|(at, _)| held & (1 << at) != 0);
    of_bit.fold(CapabilitySet::empty(), |set, (_, (cap, ..))| set | *cap)
}

/// The last line of the log for who holds some of the capabilities, where a module refuses some: bits, in the order of
/// `CAPS`. `namespace` is where they are looked for.
fn line(
    asked: &[(CapabilitySet, u32, &str)],
    held: u64,
    refused: u64,
    namespace: &str,
) -> Option<String> {
    const MODULE: &str = ", which a security module refused to the token";
    let mut parts: Vec<(Vec<&str>, &str)> = Vec::new();
    for (at, (_, _, name)) in asked.iter().enumerate() {
        let cause = match (held & (4 | (1 << at)) != 0, refused & (1 << at) != 0) {
            (true, false) => continue,
            (true, true) => MODULE,
            (false, _) => namespace,
        };
        match parts.last_mut() {
            Some((names, last)) if *last == cause => names.push(name),
            _ => parts.push((vec![name], cause)),
        }
    }
    let parts: Vec<_> = parts
        .iter()
        .map(|(names, cause)| format!("{}{cause}", names.join(" and ")))
        .collect();
    let parts = parts.join(", and without ");
    (!parts.is_empty()).then(|| format!("the program was verified without {parts}"))
}

/// Programs that are rejected whoever loads them, and how many of `CAPS` they are asked for.
const REJECTED: [(&[u64], Errno, usize); 2] = [
    (&WRITE_USER, Errno::INVAL, 3),
    (&NO_RETURN_VALUE, Errno::ACCESS, 2),
];

/// Each capability that is missing is named with its own cause; those of one cause together.
fn rejected_for_several_causes() {
    let _anyone = Sysctl::set("kernel/unprivileged_bpf_disabled", "0");
    let watch = Watch::start();
    let namespace = " in the user namespace that owns the token";
    container::run(&Delegation::ANY, |instance| {
        let token = instance.token();
        let fd = Some(token.as_raw_fd());
        for held in 0..8 {
            for refused in 0..8 {
                let args = (0..3).fold(0, |args, at| args | (((refused >> at) & 1) << CAPS[at].1));
                let userns = super::security::user_namespace();
                watch.refuse_args(userns, Hook::TokenCapable, Errno::DOM, args);
                for (insns, errno, asked) in REJECTED {
                    let line = line(&CAPS[..asked], held, refused, namespace);
                    process::with_capabilities(capabilities(held), || {
                        rejected(&filter(insns), fd, errno, line.as_deref());
                    });
                }
            }
        }
    });
}

/// Without a token, the capabilities are those of the initial user namespace.
fn rejected_in_the_initial_namespace() {
    let _anyone = Sysctl::set("kernel/unprivileged_bpf_disabled", "0");
    let namespace = " in the initial user namespace, because no token was given";
    for held in 0..8 {
        for (insns, errno, asked) in REJECTED {
            let line = line(&CAPS[..asked], held, 0, namespace);
            process::with_capabilities(capabilities(held), || {
                rejected(&filter(insns), None, errno, line.as_deref());
            });
        }
    }
}

/// A program that is wrong whoever loads it: nothing is said of capabilities that are there.
fn rejected_with_all_capabilities() {
    container::run(&Delegation::ANY, |instance| {
        let token = instance.token();
        let fd = Some(token.as_raw_fd());
        rejected(&filter(&NO_RETURN_VALUE), fd, Errno::ACCESS, None);
    });
    rejected(&filter(&NO_RETURN_VALUE), None, Errno::ACCESS, None);
}

/// A log that keeps the last lines has this one; the errno is that of a log too small, as ever.
fn last_line_of_a_log_too_small() {
    let line =
        "the program was verified without CAP_PERFMON in the user namespace that owns the token\n";
    container::run(&Delegation::ANY, |instance| {
        let token = instance.token();
        let mut buffer = log::Buffer::of(line.len() + 10);
        let loaded = process::with_capabilities(BPF, || {
            let fd = Some(token.as_raw_fd());
            bpf::prog_load_logged(&filter(&LEAK), fd, &buffer.log(log::LEVEL))
        });
        assert_eq!(loaded.err(), Some(Errno::NOSPC));
        let text = buffer.text().expect("the verifier's log");
        assert_eq!(text.ends_with(line), kernel::explains(), "{text}");
    });
}
