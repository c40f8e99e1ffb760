// SPDX-License-Identifier: GPL-2.0
//! What is shown of a mask: as upstream shows it in `/proc/mounts`.

use crate::{
    kind::{AttachType, Cmd, Kind, MapType, ProgType},
    mask::Mask,
    oracle,
};

fn compare<K: Kind>(bits: u64) {
    let known = Mask::<K>::from_bits(bits).known();
    // Upstream leaves out what is empty.
    let shown = match known.is_empty() {
        true => String::new(),
        false => format!(",{}={known}", K::OPTION),
    };
    assert_eq!(shown, oracle::show(K::INDEX, bits), "{bits:#x}");
}

fn compare_masks<K: Kind>() {
    for first in 0..64 {
        for second in 0..64 {
            let pair = 1 << first | 1 << second;
            compare::<K>(pair);
            compare::<K>(!pair);
            compare::<K>((1 << K::NAMES.len()) - 1 & !pair);
            compare::<K>(u64::MAX.rotate_left(first) << second);
        }
    }
    compare::<K>(0);
    compare::<K>(u64::MAX);
}

#[test]
fn masks_are_shown_as_upstream_shows_them() {
    compare_masks::<Cmd>();
    compare_masks::<MapType>();
    compare_masks::<ProgType>();
    compare_masks::<AttachType>();
}

/// What upstream leaves out, a message tells.
#[test]
fn unnamed_bits_and_nothing_are_told() {
    assert_eq!(Mask::<Cmd>::EMPTY.to_string(), "0x0");
    assert_eq!(
        Mask::<Cmd>::from_bits(1 << 63 | 1).to_string(),
        "map_create:0x8000000000000000"
    );
    assert_eq!(Mask::<Cmd>::ALL.to_string(), "any");
}
