// SPDX-License-Identifier: GPL-2.0
//! Option strings: what upstream makes of them is what is made of them here, but for two differences.
//!
//! - A number wipes what the same string said before it (D1): upstream makes of a string what is made here of its end,
//!   from its last number on.
//! - `delegate_cmds=common_attrs` gives `map_create` (D2), where it is refused here.

use super::in_parallel;
use crate::{
    bindings::bpf_mount_opts,
    capability::Capability,
    fs_context::FsContext,
    kind::{AttachType, Cmd, Kind, MapType, ProgType},
    mask::Mask,
    options::Options,
    oracle,
    parse::parse_cookie,
    world::{bit, World, ALL_CAPS},
};
use proptest::prelude::*;
use std::mem;

const EPERM: i32 = -1;
const EINVAL: i32 = -22;

/// The names and the option of each kind.
pub(crate) fn kinds() -> [(&'static [&'static str], &'static str); 4] {
    [
        (Cmd::NAMES.as_slice(), Cmd::OPTION),
        (MapType::NAMES.as_slice(), MapType::OPTION),
        (ProgType::NAMES.as_slice(), ProgType::OPTION),
        (AttachType::NAMES.as_slice(), AttachType::OPTION),
    ]
}

/// The options of a context with these masks.
pub(crate) fn context_with(masks: [u64; 4]) -> bpf_mount_opts {
    let [delegate_cmds, delegate_maps, delegate_progs, delegate_attachs] = masks;
    bpf_mount_opts {
        delegate_cmds,
        delegate_maps,
        delegate_progs,
        delegate_attachs,
        // SAFETY: Zeros are options.
        ..unsafe { mem::zeroed() }
    }
}

/// Their masks.
pub(crate) fn masks_of(opts: &bpf_mount_opts) -> [u64; 4] {
    [
        opts.delegate_cmds,
        opts.delegate_maps,
        opts.delegate_progs,
        opts.delegate_attachs,
    ]
}

/// Takes one option as the kernel does. Returns the errno as C has it.
pub(crate) fn take(opts: &mut bpf_mount_opts, fc: &FsContext, which: u32, value: &[u8]) -> i32 {
    // SAFETY: The layout is that of the options.
    let options = unsafe { &mut *Options::in_opts(opts) };
    options
        .parse(fc, which, value)
        .map_or_else(|err| err.to_errno(), |()| 0)
}

fn ours(which: u32, value: &[u8], before: [u64; 4]) -> (i32, [u64; 4]) {
    let (mut opts, fc) = (context_with(before), FsContext::default());
    let err = take(&mut opts, &fc, which, value);
    let log = fc.log.into_inner();
    // Who is refused is told so, once, and by which option.
    assert_eq!(log.len(), usize::from(err != 0));
    assert!(log
        .iter()
        .all(|line| line.starts_with(kinds()[which as usize].1)));
    (err, masks_of(&opts))
}

fn theirs(which: u32, value: &[u8], mut masks: [u64; 4]) -> (i32, [u64; 4]) {
    let caps = crate::world::now().init_caps;
    let err = oracle::option(caps, which, value, &mut masks);
    (err, masks)
}

fn is_number(item: &[u8]) -> bool {
    matches!(item, [b'0'..=b'9' | b'+', ..])
}

/// `value` from its last number on.
fn from_last_number(value: &[u8]) -> Vec<u8> {
    let items: Vec<&[u8]> = value.split(|&byte| byte == b':').collect();
    let last = items.iter().rposition(|item| is_number(item)).unwrap_or(0);
    items[last..].join(&b':')
}

/// Compares one string, in the world of this thread. Returns whether the differences played a part.
fn compare(which: u32, value: &[u8], before: [u64; 4]) -> bool {
    let shown = || {
        format!(
            "{} {:?}",
            kinds()[which as usize].1,
            String::from_utf8_lossy(value)
        )
    };
    let c = theirs(which, value, before);
    let rust = ours(which, value, before);

    let items = || value.split(|&byte| byte == b':');
    let no_command = |item: &[u8]| which == 0 && item.eq_ignore_ascii_case(b"common_attrs");
    if let Some(at) = items().position(no_command) {
        let replaced: Vec<&[u8]> = items()
            .map(|item| {
                if no_command(item) {
                    b"map_create"
                } else {
                    item
                }
            })
            .collect();
        assert_eq!(
            c,
            theirs(which, &replaced.join(&b':'), before),
            "{}",
            shown()
        );
        let earlier = items().take(at).collect::<Vec<_>>().join(&b':');
        let refused = match at {
            0 => (EINVAL, before),
            // Of refusals, the first counts; EPERM is the whole string's.
            _ => match ours(which, &earlier, before) {
                (0 | EPERM, _) => (EINVAL, before),
                earlier => earlier,
            },
        };
        assert_eq!(rust, refused, "{}", shown());
        return true;
    }

    let end = from_last_number(value);
    if c.0 == 0 || c.0 == EPERM {
        assert_eq!(c, ours(which, &end, before), "{}", shown());
        // And the whole is the union of its items.
        let union = items().fold(0, |union, item| union | ours_alone(which, item));
        let mut masks = before;
        masks[which as usize] |= union;
        let refused = union != 0 && crate::world::now().init_caps & bit(Capability::SYS_ADMIN) == 0;
        let whole = if refused { (EPERM, before) } else { (0, masks) };
        assert_eq!(rust, whole, "{}", shown());
    } else {
        assert_eq!(c, rust, "{}", shown());
    }
    end != value
}

/// What one item stands for.
fn ours_alone(which: u32, item: &[u8]) -> u64 {
    let parsed = match which {
        0 => Mask::<Cmd>::parse(item).map(Mask::bits),
        1 => Mask::<MapType>::parse(item).map(Mask::bits),
        2 => Mask::<ProgType>::parse(item).map(Mask::bits),
        _ => Mask::<AttachType>::parse(item).map(Mask::bits),
    };
    parsed.expect("upstream took it")
}

/// The manager, or somebody with every other capability.
fn worlds() -> [World; 2] {
    [ALL_CAPS, ALL_CAPS & !bit(Capability::SYS_ADMIN)].map(|init_caps| World {
        init_caps,
        ..World::NOTHING
    })
}

/// All texts of at most `most` parts, of which `first` is the first.
fn texts(first: &[u8], parts: &[&[u8]], most: usize, work: &mut impl FnMut(&[u8])) {
    work(first);
    if most > 1 {
        for part in parts {
            texts(&[first, part].concat(), parts, most - 1, work);
        }
    }
}

/// What digits, signs, bases, separators, names and what is none of these are made of.
const ALPHABET: [&[u8]; 19] = [
    b":", b"a", b"n", b"y", b"x", b"X", b"d", b"p", b"0", b"1", b"7", b"8", b"f", b"+", b"-",
    b"\n", b" ", b"_", b"\xe4",
];

#[test]
fn all_short_strings() {
    in_parallel(&ALPHABET, |first| {
        worlds()[0].enter();
        texts(first, &ALPHABET, 4, &mut |value| {
            for which in 0..4 {
                compare(which, value, [0; 4]);
            }
        });
    });
}

/// Each name in each case; beside each other, beside numbers, and a byte off.
#[test]
fn all_names() {
    for world in worlds() {
        world.enter();
        for (which, (names, _)) in (0..).zip(kinds()) {
            for (value, name) in names.iter().enumerate() {
                let upper = name.to_uppercase();
                let capital = name[..1].to_uppercase() + &name[1..];
                assert!(!compare(which, name.as_bytes(), [0; 4]));
                for other in [upper.as_str(), &capital, &format!("{name}:{upper}")] {
                    assert!(!compare(which, other.as_bytes(), [1 << 9; 4]));
                    assert_eq!(ours_alone(which, other.as_bytes()), 1 << value);
                }
                for other in [
                    &name[1..],
                    &name[..name.len() - 1],
                    &format!("{name}_"),
                    &format!("BPF_{name}"),
                ] {
                    compare(which, other.as_bytes(), [0; 4]);
                }
                assert!(compare(which, format!("{name}:0x10").as_bytes(), [2; 4]));
            }
        }
    }
}

/// Items where the rules meet, up to three in a row.
const ITEMS: [&str; 27] = [
    "",
    "any",
    "ANY",
    "any ",
    "map_create",
    "MAP_CREATE",
    "btf_load",
    "prog_run",
    "hash",
    "Hash",
    "cgroup_storage",
    "xdp",
    "common_attrs",
    "COMMON_ATTRS",
    "__max_bpf_cmd",
    "0",
    "0x0",
    "0x1",
    "010",
    "08",
    "+5",
    "+",
    "-1",
    "0x",
    "18446744073709551615",
    "18446744073709551616",
    "7\n",
];

#[test]
fn items_in_a_row() {
    let parts: Vec<Vec<u8>> = ITEMS
        .iter()
        .map(|item| format!(":{item}").into_bytes())
        .collect();
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    in_parallel(&ITEMS, |first| {
        for world in worlds() {
            world.enter();
            let mut differ = 0;
            texts(first.as_bytes(), &parts, 3, &mut |value| {
                for which in 0..4 {
                    differ += u32::from(compare(which, value, [0; 4]));
                    compare(which, value, [1 << 3; 4]);
                }
            });
            assert!(differ > 0);
        }
    });
}

/// Numbers, as upstream reads them for masks, are the cookie's.
#[test]
fn cookies_are_upstreams_numbers() {
    let digits: [&[u8]; 12] = [
        b"0", b"1", b"7", b"8", b"9", b"f", b"x", b"X", b"+", b"-", b"\n", b" ",
    ];
    worlds()[0].enter();
    for first in digits {
        texts(first, &digits, 4, &mut |value| {
            let (err, [_, _, _, cookie]) = theirs(3, value, [0; 4]);
            match parse_cookie(value) {
                Ok(ours) => assert_eq!((err, cookie), (0, ours), "{value:?}"),
                Err(refusal) => assert_eq!(
                    err,
                    crate::error::Error::from(&refusal).to_errno(),
                    "{value:?}"
                ),
            }
        });
    }
}

/// One item of a string: a name of some kind, a number near or far from what fits, or something like these.
fn item() -> impl Strategy<Value = String> {
    let names: Vec<&str> = kinds()
        .iter()
        .flat_map(|(names, _)| names.iter().copied())
        .collect();
    let name = prop::sample::select(names);
    prop_oneof![
        4 => name.clone().prop_map(str::to_owned),
        1 => name.clone().prop_map(str::to_uppercase),
        2 => any::<u64>().prop_map(|number| format!("{number}")),
        2 => any::<u64>().prop_map(|number| format!("{number:#x}")),
        2 => any::<u64>().prop_map(|number| format!("0{number:o}")),
        1 => (0u64..1 << 40, any::<u64>()).prop_map(|(high, low)| format!("{high}{low}")),
        1 => "[+]?0[xX]0{0,20}[0-9a-fA-F]{0,18}\n?",
        1 => "[+]?[0-9]{18,22}",
        1 => Just("any".to_owned()),
        1 => name.prop_map(|name| format!("BPF_{name}")),
        1 => "[a-z0-9_+x]{0,8}",
        // C strings have no zero in them.
        1 => "[^\0:]{1,4}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn strings_by_grammar(
        which in 0..4u32,
        before in any::<[u64; 4]>(),
        items in prop::collection::vec(item(), 1..6),
        privileged in any::<bool>(),
    ) {
        worlds()[usize::from(!privileged)].enter();
        compare(which, items.join(":").as_bytes(), before);
    }
}
