// SPDX-License-Identifier: GPL-2.0

//! The few BPF instructions that the programs of these tests are made of: `struct bpf_insn` of
//! include/uapi/linux/bpf.h as a number, for a little-endian machine.

const fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> u64 {
    let off = (off as u16).to_le_bytes();
    let imm = imm.to_le_bytes();
    u64::from_le_bytes([
        code,
        (src << 4) | dst,
        off[0],
        off[1],
        imm[0],
        imm[1],
        imm[2],
        imm[3],
    ])
}

/// `dst = imm`
pub const fn mov_imm(dst: u8, imm: i32) -> u64 {
    insn(0xb7, dst, 0, 0, imm)
}

/// `dst += imm`
pub const fn add_imm(dst: u8, imm: i32) -> u64 {
    insn(0x07, dst, 0, 0, imm)
}

/// `dst += src`
pub const fn add_reg(dst: u8, src: u8) -> u64 {
    insn(0x0f, dst, src, 0, 0)
}

/// `dst &= imm`
pub const fn and_imm(dst: u8, imm: i32) -> u64 {
    insn(0x57, dst, 0, 0, imm)
}

/// `dst = src`
pub const fn mov_reg(dst: u8, src: u8) -> u64 {
    insn(0xbf, dst, src, 0, 0)
}

/// `r0 = helper(...)`, by the number of the helper.
pub const fn call_helper(helper: i32) -> u64 {
    insn(0x85, 0, 0, 0, helper)
}

/// `r0 = function(...)`, by the distance to another function of the program.
pub const fn call_function(distance: i32) -> u64 {
    insn(0x85, 0, 1, 0, distance)
}

/// `r0 = kfunc(...)`, by the id of its type in the kernel's BTF.
pub const fn call_kfunc(id: i32) -> u64 {
    insn(0x85, 0, 2, 0, id)
}

/// `dst = map`, by a descriptor, in two instructions.
pub const fn load_map(dst: u8, fd: i32) -> [u64; 2] {
    [insn(0x18, dst, 1, 0, fd), 0]
}

/// `dst = *(u8 *)(src + off)`
pub const fn load_u8(dst: u8, src: u8, off: i16) -> u64 {
    insn(0x71, dst, src, off, 0)
}

/// `dst = *(u32 *)(src + off)`
pub const fn load_u32(dst: u8, src: u8, off: i16) -> u64 {
    insn(0x61, dst, src, off, 0)
}

/// `*(u32 *)(dst + off) = imm`
pub const fn store_imm_u32(dst: u8, imm: i32, off: i16) -> u64 {
    insn(0x62, dst, 0, off, imm)
}

/// `*(u64 *)(dst + off) = src`
pub const fn store_u64(dst: u8, src: u8, off: i16) -> u64 {
    insn(0x7b, dst, src, off, 0)
}

/// `dst = *(u64 *)(src + off)`
pub const fn load_u64(dst: u8, src: u8, off: i16) -> u64 {
    insn(0x79, dst, src, off, 0)
}

/// `if ((u32)dst == imm) goto +off`
pub const fn jump_if_equal_u32(dst: u8, imm: i32, off: i16) -> u64 {
    insn(0x16, dst, 0, off, imm)
}

/// `if (dst == imm) goto +off`
pub const fn jump_if_equal(dst: u8, imm: i32, off: i16) -> u64 {
    insn(0x15, dst, 0, off, imm)
}

/// `if (dst < imm) goto +off`
pub const fn jump_if_less(dst: u8, imm: i32, off: i16) -> u64 {
    insn(0xa5, dst, 0, off, imm)
}

pub const fn exit() -> u64 {
    insn(0x95, 0, 0, 0, 0)
}

/// A program that returns 0.
pub const RETURN_0: [u64; 2] = [mov_imm(0, 0), exit()];
