// SPDX-License-Identifier: GPL-2.0

//! The basic blocks of machine code for x86-64.

use std::collections::BTreeSet;

use iced_x86::Decoder;
use iced_x86::DecoderOptions;
use iced_x86::FlowControl;
use iced_x86::Instruction;
use iced_x86::Mnemonic;

/// Instructions that run one after another, but for what a call or an exception among them does.
#[derive(Debug, PartialEq, Eq)]
pub struct Block {
    /// The addresses of its instructions. No-operations are left out: the kernel joins them as it boots.
    pub instructions: Vec<u64>,
    /// What it calls.
    pub calls: Vec<u64>,
}

/// Splits the function that starts at `start`. A call does not end a block: it returns, or the compiler has nothing behind it.
pub fn split(start: u64, code: &[u8]) -> Vec<Block> {
    let instructions: Vec<Instruction> = Decoder::with_ip(64, code, start, DecoderOptions::NONE)
        .into_iter()
        .collect();
    let leaders: BTreeSet<u64> = instructions
        .iter()
        .filter(|instruction| {
            matches!(
                instruction.flow_control(),
                FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch
            )
        })
        .map(Instruction::near_branch_target)
        .collect();
    let mut blocks = Vec::new();
    let mut block = Block {
        instructions: Vec::new(),
        calls: Vec::new(),
    };
    for instruction in &instructions {
        let mut end = |block: &mut Block| {
            let done = std::mem::replace(
                block,
                Block {
                    instructions: Vec::new(),
                    calls: Vec::new(),
                },
            );
            if !done.instructions.is_empty() {
                blocks.push(done);
            }
        };
        if leaders.contains(&instruction.ip()) {
            end(&mut block);
        }
        // What fills the space between functions and behind a jump is of these two.
        if !matches!(instruction.mnemonic(), Mnemonic::Nop | Mnemonic::Int3) {
            block.instructions.push(instruction.ip());
        }
        match instruction.flow_control() {
            FlowControl::Next | FlowControl::IndirectCall | FlowControl::Interrupt => {}
            FlowControl::Call => block.calls.push(instruction.near_branch_target()),
            _ => end(&mut block),
        }
    }
    if !block.instructions.is_empty() {
        blocks.push(block);
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(code: &[u8]) -> Vec<Vec<u64>> {
        split(0x1000, code)
            .into_iter()
            .map(|block| block.instructions)
            .collect()
    }

    #[test]
    fn a_branch_and_its_target() {
        // test edi, edi; je 0x1006; xor eax, eax; ret
        let code = [0x85, 0xff, 0x74, 0x02, 0x31, 0xc0, 0xc3];
        assert_eq!(
            starts(&code),
            [vec![0x1000, 0x1002], vec![0x1004], vec![0x1006]]
        );
    }

    #[test]
    fn a_call_stays_inside() {
        // call 0x2000; ret
        let code = [0xe8, 0xfb, 0x0f, 0, 0, 0xc3];
        assert_eq!(starts(&code), [vec![0x1000, 0x1005]]);
        assert_eq!(split(0x1000, &code)[0].calls, [0x2000]);
    }

    #[test]
    fn what_fills_space_is_no_block() {
        // ret; int3; nopl (%rax); ud2
        let code = [0xc3, 0xcc, 0x0f, 0x1f, 0x00, 0x0f, 0x0b];
        assert_eq!(starts(&code), [vec![0x1000], vec![0x1005]]);
    }
}
