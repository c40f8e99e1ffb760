// SPDX-License-Identifier: GPL-2.0

//! What `BPF_OBJ_GET_INFO_BY_FD` tells of a token: `struct bpf_token_info` is longer by a cookie than C's, whose length is
//! told back, and behind which there may be nothing but zeros.

use guest::attr::info;
use rustix::io::Errno;

use crate::attributes::Attributes;
use crate::layout::memory;
use crate::layout::PAGE;
use crate::model::Masks;
use crate::outcome::Outcome;

/// `sizeof(struct bpf_token_info)`, of C and of Rust.
const OF_C: usize = 32;
const OF_RUST: usize = 40;

/// What Rust leaves of a call for a token that permits `masks`, where C leaves `saw`.
pub fn with_cookie(masks: Masks, call: &Attributes, saw: &Outcome) -> Outcome {
    let mut saw = saw.clone();
    let length = call.u32(info::info_len) as usize;
    let address = call.get(info::info) as usize;
    let buffer = memory::INFO..memory::INFO + PAGE;
    if !(OF_C + 1..=PAGE).contains(&length) || !buffer.contains(&address) {
        return saw;
    }
    if saw.errno == Errno::TOOBIG.raw_os_error() && length <= OF_RUST {
        // There is a field of Rust's where C wants zeros.
        saw.errno = 0;
        let masks = masks.map(u64::to_le_bytes);
        let bytes = masks
            .as_flattened()
            .iter()
            .copied()
            .chain([0; 8])
            .take(length);
        for (place, byte) in saw
            .info
            .0
            .iter_mut()
            .skip(address - memory::INFO)
            .zip(bytes)
        {
            *place = byte;
        }
    } else if saw.errno == 0 {
        let told = length.min(OF_RUST);
        saw.written
            .retain(|(at, _)| *at as usize != info::info_len.at);
        if told != length {
            saw.written.push((info::info_len.at as u32, told as u32));
            saw.written.sort_unstable();
        }
    }
    saw
}
