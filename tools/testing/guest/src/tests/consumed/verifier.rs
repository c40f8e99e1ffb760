// SPDX-License-Identifier: GPL-2.0

//! What the verifier and the helpers ask for.

use std::os::fd::OwnedFd;

use guest::bpf;
use guest::bpf::Prog;
use guest::bpf::ProgType;
use guest::insn;
use guest::kernel;
use guest::kernel::Sysctl;
use guest::log;
use libtest_mimic::Trial;
use rustix::io::Errno;
use rustix::thread::CapabilitySet;

use super::trial;
use super::with_value;
use super::Standing;
use super::BPF;
use super::PERFMON;
use super::SYS_ADMIN;
use crate::btf;

/// A trial for each program that needs a capability.
pub fn tests() -> Vec<Trial> {
    let named = |need: &'static Need| {
        let name = format!("consumed::verifier::{}", need.name);
        trial(&name, move || need.check())
    };
    NEEDS.iter().map(named).collect()
}

/// A program that needs a capability.
struct Need {
    name: &'static str,
    prog_type: ProgType,
    /// Makes the program around a map of eight bytes.
    insns: fn(&OwnedFd) -> Vec<u64>,
    cap: CapabilitySet,
    cap_name: &'static str,
    /// What the verifier says without it.
    errno: Errno,
}

static NEEDS: [Need; 13] = [
    Need {
        name: "pointer_returned",
        prog_type: ProgType::SocketFilter,
        insns: |_| vec![insn::mov_reg(0, 1), insn::exit()],
        cap: PERFMON,
        cap_name: "CAP_PERFMON",
        errno: Errno::ACCESS,
    },
    Need {
        name: "pointer_in_map",
        prog_type: ProgType::SocketFilter,
        insns: |map| with_value(map, &[insn::store_u64(0, 6, 0)]),
        cap: PERFMON,
        cap_name: "CAP_PERFMON",
        errno: Errno::ACCESS,
    },
    Need {
        name: "uninitialised_stack",
        prog_type: ProgType::SocketFilter,
        insns: |_| vec![insn::load_u64(0, 10, -8), insn::exit()],
        cap: PERFMON,
        cap_name: "CAP_PERFMON",
        errno: Errno::ACCESS,
    },
    Need {
        name: "get_current_task",
        prog_type: ProgType::SocketFilter,
        insns: |_| vec![insn::call_helper(35), insn::mov_imm(0, 0), insn::exit()],
        cap: PERFMON,
        cap_name: "CAP_PERFMON",
        errno: Errno::INVAL,
    },
    Need {
        name: "probe_read_kernel",
        prog_type: ProgType::SocketFilter,
        insns: |_| {
            vec![
                insn::mov_reg(1, 10),
                insn::add_imm(1, -8),
                insn::mov_imm(2, 8),
                insn::mov_imm(3, 0),
                insn::call_helper(113),
                insn::mov_imm(0, 0),
                insn::exit(),
            ]
        },
        cap: PERFMON,
        cap_name: "CAP_PERFMON",
        errno: Errno::INVAL,
    },
    Need {
        name: "skc_to_tcp_sock",
        prog_type: ProgType::SchedCls,
        insns: |_| {
            const SK: i16 = 168;
            vec![
                insn::load_u64(1, 1, SK),
                insn::jump_if_equal(1, 0, 1),
                insn::call_helper(137),
                insn::mov_imm(0, 0),
                insn::exit(),
            ]
        },
        cap: PERFMON,
        cap_name: "CAP_PERFMON",
        errno: Errno::INVAL,
    },
    Need {
        name: "kfunc_of_perfmon",
        prog_type: ProgType::SocketFilter,
        insns: |_| {
            vec![
                insn::mov_imm(2, 0),
                insn::call_kfunc(btf::function("bpf_rdonly_cast") as i32),
                insn::mov_imm(0, 0),
                insn::exit(),
            ]
        },
        cap: PERFMON,
        cap_name: "CAP_PERFMON",
        errno: Errno::PERM,
    },
    Need {
        name: "kfunc",
        prog_type: ProgType::SocketFilter,
        insns: |_| {
            vec![
                insn::call_kfunc(btf::function("bpf_rcu_read_lock") as i32),
                insn::call_kfunc(btf::function("bpf_rcu_read_unlock") as i32),
                insn::mov_imm(0, 0),
                insn::exit(),
            ]
        },
        cap: BPF,
        cap_name: "CAP_BPF",
        errno: Errno::PERM,
    },
    Need {
        name: "function",
        prog_type: ProgType::SocketFilter,
        insns: |_| {
            vec![
                insn::call_function(1),
                insn::exit(),
                insn::mov_imm(0, 0),
                insn::exit(),
            ]
        },
        cap: BPF,
        cap_name: "CAP_BPF",
        errno: Errno::PERM,
    },
    Need {
        name: "loop",
        prog_type: ProgType::SocketFilter,
        insns: |_| {
            vec![
                insn::mov_imm(0, 0),
                insn::add_imm(0, 1),
                insn::jump_if_less(0, 3, -2),
                insn::exit(),
            ]
        },
        cap: BPF,
        cap_name: "CAP_BPF",
        errno: Errno::INVAL,
    },
    Need {
        name: "jiffies64",
        prog_type: ProgType::SocketFilter,
        insns: |_| vec![insn::call_helper(118), insn::mov_imm(0, 0), insn::exit()],
        cap: BPF,
        cap_name: "CAP_BPF",
        errno: Errno::INVAL,
    },
    Need {
        name: "packet_of_cgroup",
        prog_type: ProgType::CgroupSkb,
        insns: |_| {
            const DATA: i16 = 76;
            vec![
                insn::load_u32(2, 1, DATA),
                insn::mov_imm(0, 1),
                insn::exit(),
            ]
        },
        cap: BPF,
        cap_name: "CAP_BPF",
        errno: Errno::ACCESS,
    },
    Need {
        name: "probe_write_user",
        prog_type: ProgType::Kprobe,
        insns: |_| {
            vec![
                insn::mov_imm(1, 0),
                insn::store_u64(10, 1, -8),
                insn::mov_reg(2, 10),
                insn::add_imm(2, -8),
                insn::mov_imm(3, 8),
                insn::call_helper(36),
                insn::mov_imm(0, 0),
                insn::exit(),
            ]
        },
        cap: SYS_ADMIN,
        cap_name: "CAP_SYS_ADMIN",
        errno: Errno::INVAL,
    },
];

impl Need {
    fn check(&self) {
        let _anyone = Sysctl::set("kernel/unprivileged_bpf_disabled", "0");
        for standing in Standing::ALL {
            let load = |token| {
                let map = bpf::map_of_u64(token).expect("anyone may have an array");
                let insns = (self.insns)(&map);
                let mut buffer = log::Buffer::of(1 << 16);
                let log = buffer.log(log::LEVEL);
                let loaded = bpf::prog_load_logged(&Prog::new(self.prog_type, &insns), token, &log);
                let text = buffer.text().unwrap_or_default();
                let errno = (!standing.has_it()).then_some(self.errno);
                assert_eq!(
                    loaded.as_ref().err().copied(),
                    errno,
                    "{standing:?}: {text}"
                );
                let without = format!(
                    "the program was verified without {}{}",
                    self.cap_name,
                    standing.told()
                );
                let told = errno.is_some() && kernel::explains();
                let last = text.trim_end().lines().last();
                assert_eq!(last == Some(&without), told, "{standing:?}: {text}");
                assert_eq!(
                    text.matches("verified without").count(),
                    usize::from(told),
                    "{text}"
                );
                None
            };
            standing.run(self.cap, load, |_| ());
        }
    }
}
