// SPDX-License-Identifier: GPL-2.0
//! The programs that are loaded.

use guest::insn;

/// `BPF_FUNC_get_current_pid_tgid`: a helper that everyone may call.
pub const GET_CURRENT_PID_TGID: i32 = 14;
/// `BPF_FUNC_get_current_cgroup_id`: a helper that the verifier asks for CAP_BPF.
pub const GET_CURRENT_CGROUP_ID: i32 = 80;

/// The helper calls of a program made by [`calls`].
pub const CALLS: usize = 1000;

/// `return 0`.
pub const RETURN_0: [u64; 2] = [insn::mov_imm(0, 0), insn::exit()];

/// A program of 2,002 instructions that calls `helper` [`CALLS`] times.
pub fn calls(helper: i32) -> Vec<u64> {
    let mut insns = [insn::call_helper(helper), insn::mov_imm(0, 0)].repeat(CALLS);
    insns.extend(RETURN_0);
    insns
}
