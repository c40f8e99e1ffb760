// SPDX-License-Identifier: GPL-2.0
//! The programs and the BTF that are loaded.

use bpf_token::Insn;

/// `BPF_FUNC_get_current_pid_tgid`: a helper that everyone may call.
pub const GET_CURRENT_PID_TGID: i32 = 14;
/// `BPF_FUNC_get_current_cgroup_id`: a helper that the verifier asks for CAP_BPF.
pub const GET_CURRENT_CGROUP_ID: i32 = 80;

/// The helper calls of a program made by [`calls`].
pub const CALLS: usize = 1000;

/// `return 0`.
pub const RETURN_0: [Insn; 2] = [Insn::mov64_imm(0, 0), Insn::exit()];

/// A program of 2,002 instructions that calls `helper` [`CALLS`] times.
pub fn calls(helper: i32) -> Vec<Insn> {
    let call = Insn {
        code: 0x85,
        regs: 0,
        off: 0,
        imm: helper,
    };
    let mut insns = Vec::new();
    for _ in 0..CALLS {
        insns.extend([call, Insn::mov64_imm(0, 0)]);
    }
    insns.extend(RETURN_0);
    insns
}

/// BTF with one type, `int`.
pub fn btf() -> Vec<u8> {
    const INT: [u32; 4] = [1, 1 << 24, 4, (1 << 24) | 32];
    const STRINGS: &[u8] = b"\0int\0";
    let types = INT.len() as u32 * 4;
    let header = [24, 0, types, types, STRINGS.len() as u32];
    let mut btf = vec![0x9f, 0xeb, 1, 0];
    btf.extend(
        header
            .iter()
            .chain(&INT)
            .flat_map(|word| word.to_le_bytes()),
    );
    btf.extend(STRINGS);
    btf
}
