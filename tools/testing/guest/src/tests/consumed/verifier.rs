// SPDX-License-Identifier: GPL-2.0

//! What the verifier and the helpers ask for.

use std::os::fd::OwnedFd;

use guest::bpf;
use guest::bpf::Prog;
use guest::bpf::ProgType;
use guest::btf;
use guest::insn::*;
use guest::kernel;
use guest::kernel::Sysctl;
use guest::log;
use guest::rules::Cap;
use guest::rules::BPF;
use guest::rules::PERFMON;
use guest::rules::SYS_ADMIN;
use libtest_mimic::Trial;
use rustix::io::Errno;

use super::trial;
use super::with_value;
use super::Standing;

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
    cap: Cap,
    /// What the verifier says without it.
    errno: Errno,
}

const fn need(
    name: &'static str,
    (cap, errno): (Cap, Errno),
    prog_type: ProgType,
    insns: fn(&OwnedFd) -> Vec<u64>,
) -> Need {
    Need {
        name,
        prog_type,
        insns,
        cap,
        errno,
    }
}

static NEEDS: [Need; 13] = {
    use ProgType::*;
    [
        need(
            "pointer_returned",
            (PERFMON, Errno::ACCESS),
            SocketFilter,
            |_| vec![mov_reg(0, 1), exit()],
        ),
        need(
            "pointer_in_map",
            (PERFMON, Errno::ACCESS),
            SocketFilter,
            |map| with_value(map, &[store_u64(0, 6, 0)]),
        ),
        need(
            "uninitialised_stack",
            (PERFMON, Errno::ACCESS),
            SocketFilter,
            |_| vec![load_u64(0, 10, -8), exit()],
        ),
        need(
            "get_current_task",
            (PERFMON, Errno::INVAL),
            SocketFilter,
            |_| vec![call_helper(35), mov_imm(0, 0), exit()],
        ),
        need(
            "probe_read_kernel",
            (PERFMON, Errno::INVAL),
            SocketFilter,
            |_| {
                let to = [mov_reg(1, 10), add_imm(1, -8), mov_imm(2, 8)];
                let read = [mov_imm(3, 0), call_helper(113), mov_imm(0, 0), exit()];
                [&to[..], &read].concat()
            },
        ),
        need("skc_to_tcp_sock", (PERFMON, Errno::INVAL), SchedCls, |_| {
            const SK: i16 = 168;
            let load = [load_u64(1, 1, SK), jump_if_equal(1, 0, 1)];
            [&load[..], &[call_helper(137), mov_imm(0, 0), exit()]].concat()
        }),
        need(
            "kfunc_of_perfmon",
            (PERFMON, Errno::PERM),
            SocketFilter,
            |_| {
                let cast = btf::function("bpf_rdonly_cast") as i32;
                vec![mov_imm(2, 0), call_kfunc(cast), mov_imm(0, 0), exit()]
            },
        ),
        need("kfunc", (BPF, Errno::PERM), SocketFilter, |_| {
            let lock = ["bpf_rcu_read_lock", "bpf_rcu_read_unlock"];
            let [lock, unlock] = lock.map(|name| call_kfunc(btf::function(name) as i32));
            vec![lock, unlock, mov_imm(0, 0), exit()]
        }),
        need("function", (BPF, Errno::PERM), SocketFilter, |_| {
            vec![call_function(1), exit(), mov_imm(0, 0), exit()]
        }),
        need("loop", (BPF, Errno::INVAL), SocketFilter, |_| {
            vec![mov_imm(0, 0), add_imm(0, 1), jump_if_less(0, 3, -2), exit()]
        }),
        need("jiffies64", (BPF, Errno::INVAL), SocketFilter, |_| {
            vec![call_helper(118), mov_imm(0, 0), exit()]
        }),
        need("packet_of_cgroup", (BPF, Errno::ACCESS), CgroupSkb, |_| {
            const DATA: i16 = 76;
            vec![load_u32(2, 1, DATA), mov_imm(0, 1), exit()]
        }),
        need(
            "probe_write_user",
            (SYS_ADMIN, Errno::INVAL),
            Kprobe,
            |_| {
                let from = [mov_imm(1, 0), store_u64(10, 1, -8), mov_reg(2, 10)];
                let to = [add_imm(2, -8), mov_imm(3, 8), call_helper(36)];
                [&from[..], &to, &[mov_imm(0, 0), exit()]].concat()
            },
        ),
    ]
};

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
                    self.cap.name,
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
            standing.run(self.cap.set, load, |_| ());
        }
    }
}
