// SPDX-License-Identifier: GPL-2.0

//! What is asked for once a program is accepted: its translation, its name, its attachment.

use std::os::fd::OwnedFd;

use guest::bpf;
use guest::bpf::AttachType;
use guest::bpf::Prog;
use guest::bpf::ProgType;
use guest::insn;
use guest::kernel;
use guest::kernel::Sysctl;
use guest::prog_info::ProgInfo;
use libtest_mimic::Trial;
use rustix::io::Errno;
use rustix::thread::CapabilitySet;

use super::with_value;
use super::Standing;
use super::BPF;
use super::NET_ADMIN;
use super::PERFMON;
use crate::tests::tests;
use crate::trace::Trace;

pub fn tests() -> Vec<Trial> {
    tests![
        masks_against_spectre_v1,
        barriers_against_spectre_v4,
        names_in_kallsyms,
        constants_blinded_at_1,
        attached_with_net_admin,
    ]
}

/// Loads a program with each standing to `cap`, and lets `look` see what became of it: `has_it` is whether it was loaded
/// with the capability.
fn loaded(
    cap: CapabilitySet,
    insns: impl Fn(&OwnedFd) -> Vec<u64>,
    look: impl Fn(Standing, &ProgInfo),
) {
    let _anyone = Sysctl::set("kernel/unprivileged_bpf_disabled", "0");
    for standing in Standing::ALL {
        let load = |token| {
            let map = bpf::map_of_u64(token).expect("anyone may have an array");
            let insns = insns(&map);
            let loaded = bpf::prog_load(&Prog::new(ProgType::SocketFilter, &insns), token);
            Some(loaded.unwrap_or_else(|errno| panic!("{standing:?}: {errno}")))
        };
        standing.run(cap, load, |fd| look(standing, &ProgInfo::of(&fd)));
    }
}

/// An index that is masked before it is added to a pointer, or not. A kernel without CONFIG_CPU_MITIGATIONS masks for
/// nobody.
fn masks_against_spectre_v1() {
    let indexed = |map: &OwnedFd| {
        with_value(
            map,
            &[
                insn::load_u32(1, 6, 0),
                insn::and_imm(1, 3),
                insn::add_reg(0, 1),
                insn::load_u8(1, 0, 0),
            ],
        )
    };
    loaded(PERFMON, indexed, |standing, info| {
        // The mask is computed in a register that programs do not have: they have 0 to 10.
        let masked = info.xlated.iter().any(|insn| (insn >> 8) & 0xf > 10);
        let expected = !standing.has_it() && kernel::minds_speculation();
        assert_eq!(masked, expected, "{standing:?}: {:x?}", info.xlated);
    });
}

/// A barrier behind the first store to a slot of the stack, or none. On arm64, there is none for anybody: the firmware and
/// the processor see to that.
fn barriers_against_spectre_v4() {
    const NOSPEC: u64 = 0xc2;
    let spilled = |_: &OwnedFd| {
        vec![
            insn::store_u64(10, 1, -8),
            insn::mov_imm(0, 0),
            insn::exit(),
        ]
    };
    loaded(PERFMON, spilled, |standing, info| {
        let barriers = info.xlated.iter().filter(|&&insn| insn & 0xff == NOSPEC);
        let here = cfg!(not(target_arch = "aarch64")) && kernel::minds_speculation();
        let expected = here && !standing.has_it();
        let count = barriers.count();
        assert_eq!(
            count,
            usize::from(expected),
            "{standing:?}: {:x?}",
            info.xlated
        );
    });
}

/// A program of the privileged has its name in /proc/kallsyms.
fn names_in_kallsyms() {
    let _shown = Sysctl::set("net/core/bpf_jit_kallsyms", "1");
    let _not_hardened = Sysctl::set("net/core/bpf_jit_harden", "0");
    let unlike_any_other = |_: &OwnedFd| vec![insn::mov_imm(0, 0x6b61_6c6c), insn::exit()];
    loaded(BPF, unlike_any_other, |standing, info| {
        let symbols = std::fs::read_to_string("/proc/kallsyms").expect("/proc/kallsyms");
        let name = format!("bpf_prog_{}", info.tag);
        let named = symbols.lines().any(|line| line.contains(&name));
        assert_eq!(named, standing.has_it(), "{standing:?}: {name}");
    });
}

/// Whether machine code has an immediate.
#[cfg(not(target_arch = "aarch64"))]
fn moves(code: &[u8], immediate: i32) -> bool {
    code.windows(4)
        .any(|bytes| bytes == immediate.to_le_bytes())
}

/// Whether machine code has an immediate: in halves, of MOVZ and of MOVK behind it.
#[cfg(target_arch = "aarch64")]
fn moves(code: &[u8], immediate: i32) -> bool {
    // The instruction and what it shifts by, without register and width; and the half.
    const KIND: u32 = 0x7fe0_0000;
    const MOVZ: u32 = 0x5280_0000;
    const MOVK_HIGH: u32 = 0x72a0_0000;
    let instructions: Vec<u32> = code
        .chunks_exact(4)
        .map(|bytes| u32::from_le_bytes(bytes.try_into().expect("four bytes")))
        .collect();
    let half = |instruction: u32| (instruction >> 5) & 0xffff;
    let immediate = immediate as u32;
    instructions.windows(2).any(|pair| {
        (pair[0] & KIND, pair[1] & KIND) == (MOVZ, MOVK_HIGH)
            && half(pair[0]) == immediate & 0xffff
            && half(pair[1]) == immediate >> 16
    })
}

/// With `bpf_jit_harden` at 1, the constants of the unprivileged are blinded. Upstream looks when it allocates a program,
/// before that has its token: by a token, it is always unprivileged.
fn constants_blinded_at_1() {
    const CONSTANT: i32 = 0x5eed_1234;
    let _hardened = Sysctl::set("net/core/bpf_jit_harden", "1");
    // The code of a program is shown to those who see the kernel's addresses.
    let _shown = Sysctl::set("kernel/perf_event_paranoid", "1");
    let constant = |_: &OwnedFd| vec![insn::mov_imm(0, CONSTANT), insn::exit()];
    loaded(BPF, constant, |standing, info| {
        let code = info.jited.iter().any(|byte| *byte != 0);
        assert!(code, "the kernel compiles programs, and shows them");
        assert_eq!(
            moves(&info.jited, CONSTANT),
            standing == Standing::OwnHeld,
            "{standing:?}: {:x?}",
            info.jited
        );
    });
}

/// A `cgroup_skb` program needs CAP_NET_ADMIN when it is attached, by the token that it was loaded through.
fn attached_with_net_admin() {
    const INGRESS: AttachType = AttachType::CgroupInetIngress;
    let _anyone = Sysctl::set("kernel/unprivileged_bpf_disabled", "0");
    let trace = kernel::explains().then(Trace::start);
    for standing in Standing::ALL {
        let attach = |token| {
            let insns = [insn::mov_imm(0, 1), insn::exit()];
            let prog = bpf::prog_load(&Prog::new(ProgType::CgroupSkb, &insns), token);
            let prog = prog.expect("anyone may load it");
            let _ = trace.as_ref().map(Trace::read);
            // With the capability, it is the cgroup that is missed.
            let (attached, linked) = match standing.has_it() {
                true => (Errno::BADF, Errno::BADF),
                false => (Errno::INVAL, Errno::PERM),
            };
            assert_eq!(
                bpf::prog_attach(-1, &prog, INGRESS),
                Err(attached),
                "{standing:?}"
            );
            let link = bpf::link_create(-1, &prog, INGRESS);
            assert_eq!(link.err(), Some(linked), "{standing:?}");
            let Some(trace) = &trace else { return None };
            let events = trace.read();
            let refused: Vec<&str> = events
                .iter()
                .filter(|event| event.name == "bpf_token_refuse")
                .map(|event| event.field("reason"))
                .collect();
            let told = match standing {
                Standing::OwnMissing => {
                    " in the initial user namespace, because no token was given"
                }
                _ => standing.told(),
            };
            let reason = format!("to attach program type cgroup_skb needs CAP_NET_ADMIN{told}");
            let expected = if standing.has_it() {
                vec![]
            } else {
                vec![reason.as_str(); 2]
            };
            assert_eq!(refused, expected, "{standing:?}");
            None
        };
        standing.run(NET_ADMIN, attach, |_| ());
    }
}
