// SPDX-License-Identifier: GPL-2.0

//! Where things are in memory: at fixed addresses, so that attributes are the same bytes in both guests.

pub use guest::attr::PAGE;

/// The memory that calls use, with nothing behind it.
pub mod memory {
    pub const START: usize = 0x2000_0000;
    pub const INSNS: usize = START;
    /// From one program to the next.
    pub const INSNS_STEP: usize = 0x100;
    pub const LICENSE: usize = START + 0x1000;
    pub const OTHER_LICENSE: usize = LICENSE + 0x100;
    pub const BTF: usize = START + 0x2000;
    pub const INFO: usize = START + 0x4000;
    pub const LOG: usize = START + 0x8000;
    pub const LOG_SIZE: usize = 0x2000;
    pub const ATTR: usize = START + 0xc000;
    pub const COMMON: usize = START + 0x1_0000;
    pub const END: usize = START + 0x1_4000;
    /// What a log is filled with.
    pub const UNTOUCHED: u8 = 0xa5;

    /// Programs, of which all but the first need a capability, at the verifier or after it.
    pub fn programs() -> [Vec<u64>; 7] {
        use guest::insn::*;
        const MAP: i32 = crate::step::FIRST as i32 + 4;
        const PROBE_READ_KERNEL: i32 = 113;
        const KTIME_GET_NS: i32 = 5;
        let map = load_map(1, MAP);
        [
            RETURN_0.to_vec(),
            // Returns an address.
            vec![mov_reg(0, 10), exit()],
            // Reads what was not written of its stack.
            vec![load_u64(0, 10, -8), and_imm(0, 0), exit()],
            // Reads a map that has a descriptor of ours.
            vec![map[0], map[1], mov_imm(0, 0), exit()],
            vec![call_helper(KTIME_GET_NS), mov_imm(0, 0), exit()],
            vec![
                mov_reg(1, 10),
                add_imm(1, -8),
                mov_imm(2, 8),
                mov_imm(3, 0),
                call_helper(PROBE_READ_KERNEL),
                mov_imm(0, 0),
                exit(),
            ],
            // Calls a function of its own.
            vec![call_function(1), exit(), mov_imm(0, 0), exit()],
        ]
    }
}
