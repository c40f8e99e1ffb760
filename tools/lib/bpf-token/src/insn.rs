// SPDX-License-Identifier: MIT OR Apache-2.0
//! BPF instructions.

/// One BPF instruction, `struct bpf_insn`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insn {
    /// The operation.
    pub code: u8,
    /// Destination register in the low, source register in the high four bits (on little endian
    /// machines).
    pub regs: u8,
    /// A signed offset.
    pub off: i16,
    /// A signed immediate.
    pub imm: i32,
}

impl Insn {
    /// `r<dst> = imm`.
    pub const fn mov64_imm(dst: u8, imm: i32) -> Self {
        Self {
            code: 0xb7,
            regs: dst,
            off: 0,
            imm,
        }
    }

    /// `exit`.
    pub const fn exit() -> Self {
        Self {
            code: 0x95,
            regs: 0,
            off: 0,
            imm: 0,
        }
    }
}
