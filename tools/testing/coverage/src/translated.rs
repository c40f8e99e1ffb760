// SPDX-License-Identifier: GPL-2.0

//! QEMU's log of what it translates (`-d in_asm`).

use std::collections::HashSet;

/// The addresses of the instructions that a guest came to.
///
/// QEMU translates up to the next branch when the first instruction is about to run. So an instruction behind one that raised
/// an exception counts as if it had run.
pub struct Translated(HashSet<u64>);

impl Translated {
    /// Reads a log: lines `0xADDRESS:  BYTES  INSTRUCTION` among others.
    pub fn parse(log: &str) -> Self {
        Self(
            log.lines()
                .filter_map(|line| line.strip_prefix("0x")?.split_once(':'))
                .filter_map(|(address, _)| u64::from_str_radix(address, 16).ok())
                .collect(),
        )
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the guest came to all of these.
    pub fn has_all(&self, addresses: &[u64]) -> bool {
        addresses.iter().all(|address| self.0.contains(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_instructions() {
        let log = "----------------\nIN: bpf_token_capable\n0xffffffff81000000:  55                       pushq    %rbp\n\n";
        let translated = Translated::parse(log);
        assert!(translated.has_all(&[0xffff_ffff_8100_0000]));
        assert!(!translated.has_all(&[0xffff_ffff_8100_0001]));
        assert!(Translated::parse("IN: x\n").is_empty());
    }
}
