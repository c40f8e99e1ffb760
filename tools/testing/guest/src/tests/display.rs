// SPDX-License-Identifier: GPL-2.0

//! Rule 2: what `/proc/mounts`, `/proc/<pid>/mountinfo` and `statmount()` show of the delegation.

use guest::container;
use guest::container::Instance;
use guest::context::Context;
use guest::enums;
use guest::enums::Kind;
use guest::process;
use guest::sys;
use libtest_mimic::Trial;
use rustix::fs::AtFlags;
use rustix::fs::StatxFlags;

use super::tests;

pub fn tests() -> Vec<Trial> {
    tests![every_enumerator, masks, all_four]
}

/// Mounts an instance for every list of options, and compares what is shown with what must be.
pub(super) fn compare(cases: &[(Vec<(&str, String)>, String)]) {
    process::run(|| {
        container::isolate_mounts();
        let mut ids = Vec::new();
        for (index, (options, _)) in cases.iter().enumerate() {
            let context = Context::of_bpffs();
            context.configure(options.iter().map(|(key, value)| (*key, value.as_str())));
            let instance = Instance::of_context(&context);
            container::attach_at(&instance, &path(index));
            ids.push(unique_id(&instance));
        }
        let mounts = std::fs::read_to_string("/proc/self/mounts").expect("/proc/self/mounts");
        let info = std::fs::read_to_string("/proc/self/mountinfo").expect("/proc/self/mountinfo");
        for (index, (options, shown)) in cases.iter().enumerate() {
            let comma = if shown.is_empty() { "" } else { "," };
            let path = path(index);
            let line = line_of(&mounts, 1, &path);
            let expected = format!("none {path} bpf rw,relatime{comma}{shown} 0 0");
            assert_eq!(line, expected, "/proc/mounts of {options:?}");
            let line = line_of(&info, 4, &path);
            let expected = format!(" - bpf none rw{comma}{shown}");
            assert!(
                line.ends_with(&expected),
                "mountinfo of {options:?}: {line}, not {expected}"
            );
            let answer = sys::mount_options(ids[index]).expect("statmount");
            assert_eq!(answer, *shown, "statmount of {options:?}");
        }
    });
}

fn path(index: usize) -> String {
    format!("/tmp/{index}")
}

fn line_of<'a>(table: &'a str, field: usize, path: &str) -> &'a str {
    let is_of_path = |line: &&str| line.split(' ').nth(field) == Some(path);
    table
        .lines()
        .find(is_of_path)
        .unwrap_or_else(|| panic!("{path} is not mounted"))
}

fn unique_id(instance: &Instance) -> u64 {
    const STATX_MNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);
    let stat = rustix::fs::statx(&instance.root, "", AtFlags::EMPTY_PATH, STATX_MNT_ID_UNIQUE);
    let stat = stat.expect("statx");
    assert!(
        stat.stx_mask & STATX_MNT_ID_UNIQUE.bits() != 0,
        "the id is unique"
    );
    stat.stx_mnt_id
}

/// `name` in a mix of cases.
fn mixed_case(name: &str) -> String {
    let case = |(index, letter): (usize, char)| {
        if index % 2 == 0 {
            letter.to_ascii_uppercase()
        } else {
            letter
        }
    };
    name.chars().enumerate().map(case).collect()
}

/// Every name of all four enums, aliases too, and every bit by its number.
fn every_enumerator() {
    for kind in enums::ALL {
        let mut cases = Vec::new();
        for (name, bit) in kind.names() {
            let shown = kind.show(bit).expect("an enumerator is shown");
            cases.push((vec![(kind.option, mixed_case(&name))], shown.clone()));
            cases.push((vec![(kind.option, name)], shown.clone()));
            cases.push((vec![(kind.option, format!("{bit:#x}"))], shown));
        }
        assert!(cases.len() > 90, "{} has names", kind.option);
        compare(&cases);
    }
}

fn case(kind: &Kind, mask: u64) -> (Vec<(&'static str, String)>, String) {
    let shown = kind.show(mask).unwrap_or_default();
    (vec![(kind.option, format!("{mask:#x}"))], shown)
}

fn masks() {
    for kind in enums::ALL {
        let known = kind.known();
        let mut cases = vec![
            case(kind, 0),
            case(kind, known),
            case(kind, u64::MAX),
            // What this kernel has no name for is neither shown, nor does it make `any` of less.
            case(kind, !known),
            case(kind, !known | 1),
            case(kind, u64::MAX ^ 1),
            case(kind, known ^ 1),
            case(kind, known >> 1),
            (
                vec![(kind.option, "any".to_owned())],
                format!("{}=any", kind.option),
            ),
        ];
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..16 {
            // xorshift64: dense masks, and sparse ones made of three.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            cases.push(case(kind, state));
            cases.push(case(
                kind,
                state & state.rotate_left(21) & state.rotate_left(42),
            ));
        }
        compare(&cases);
    }
}

/// The options stand in the order of `struct bpf_mount_opts`, whatever the order they were set in, and those
/// of which nothing is shown are left out.
fn all_four() {
    let [cmds, maps, progs, attachs] = enums::ALL;
    let show = |kinds: &[(&Kind, u64)]| {
        let shown: Vec<_> = kinds
            .iter()
            .filter_map(|(kind, mask)| kind.show(*mask))
            .collect();
        shown.join(",")
    };
    let set = |kinds: &[(&Kind, u64)]| {
        kinds
            .iter()
            .map(|(kind, mask)| (kind.option, format!("{mask:#x}")))
            .rev()
            .collect()
    };
    let lists = [
        [
            (cmds, 0x21),
            (maps, 0x8000_0006),
            (progs, 0x6),
            (attachs, 1),
        ],
        [
            (cmds, u64::MAX),
            (maps, u64::MAX),
            (progs, u64::MAX),
            (attachs, u64::MAX),
        ],
        [(cmds, 0), (maps, 2), (progs, 0), (attachs, 1 << 63)],
        [
            (cmds, !cmds.known()),
            (maps, 0),
            (progs, u64::MAX),
            (attachs, 0),
        ],
    ];
    let cases: Vec<_> = lists
        .iter()
        .map(|kinds| (set(kinds), show(kinds)))
        .collect();
    compare(&cases);
}
