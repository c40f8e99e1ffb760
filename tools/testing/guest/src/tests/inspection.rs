// SPDX-License-Identifier: GPL-2.0

//! Rule 7: what `/proc/<pid>/fdinfo` and `BPF_OBJ_GET_INFO_BY_FD` tell of a token.

use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;

use guest::bpf;
use guest::bpf::Masks;
use guest::btf;
use guest::container;
use guest::container::Delegation;
use guest::kernel;
use guest::process;
use libtest_mimic::Trial;
use rustix::io::Errno;

use super::tests;

pub fn tests() -> Vec<Trial> {
    tests![
        fdinfo_of_any,
        fdinfo_of_numbers,
        fdinfo_of_every_known_bit,
        fdinfo_of_one_known_bit_less,
        info_of_any,
        info_of_numbers,
        info_shorter,
        info_longer,
        info_longer_with_bytes_set,
        info_at_bad_address,
        info_of_no_token,
        info_needs_no_capability,
    ]
}

/// How many bits of each mask this kernel knows.
fn known_bits() -> [u32; 4] {
    [
        ("bpf_cmd", "__MAX_BPF_CMD"),
        ("bpf_map_type", "__MAX_BPF_MAP_TYPE"),
        ("bpf_prog_type", "__MAX_BPF_PROG_TYPE"),
        ("bpf_attach_type", "__MAX_BPF_ATTACH_TYPE"),
    ]
    .map(|(type_name, name)| btf::enumerator(type_name, name) as u32)
}

const NUMBERS: Delegation<'_> = Delegation::of("0x1", "0x20", "0x8000000000000000", "");

fn token_lines_of_fdinfo(token: &OwnedFd) -> Vec<String> {
    std::fs::read_to_string(format!("/proc/self/fdinfo/{}", token.as_raw_fd()))
        .expect("fdinfo")
        .lines()
        .skip_while(|line| !line.starts_with("allowed_"))
        .map(str::to_owned)
        .collect()
}

fn fdinfo(delegation: &Delegation<'_>, expected: [&str; 4]) {
    container::run(delegation, |instance| {
        let names = ["cmds", "maps", "progs", "attachs"];
        let expected = std::iter::zip(names, expected)
            .map(|(name, mask)| format!("allowed_{name}:\t{mask}"))
            .collect::<Vec<_>>();
        assert_eq!(token_lines_of_fdinfo(&instance.token()), expected);
    });
}

fn fdinfo_of_any() {
    fdinfo(&Delegation::ANY, ["any"; 4]);
}

fn fdinfo_of_numbers() {
    fdinfo(&NUMBERS, ["0x1", "0x20", "0x8000000000000000", "0x0"]);
}

fn fdinfo_of_every_known_bit() {
    let masks = known_bits().map(|bits| format!("{:#x}", (1_u64 << bits) - 1));
    let [cmds, maps, progs, attachs] = masks.each_ref().map(String::as_str);
    fdinfo(&Delegation::of(cmds, maps, progs, attachs), ["any"; 4]);
}

fn fdinfo_of_one_known_bit_less() {
    let masks = known_bits().map(|bits| format!("{:#x}", !(1_u64 << (bits - 1))));
    let masks = masks.each_ref().map(String::as_str);
    let [cmds, maps, progs, attachs] = masks;
    fdinfo(&Delegation::of(cmds, maps, progs, attachs), masks);
}

fn info_of_any() {
    container::run(&Delegation::ANY, |instance| {
        let any = Masks {
            cmds: u64::MAX,
            maps: u64::MAX,
            progs: u64::MAX,
            attachs: u64::MAX,
        };
        assert_eq!(bpf::masks(&instance.token()), any);
    });
}

fn info_of_numbers() {
    container::run(&NUMBERS, |instance| {
        let masks = Masks {
            cmds: 0x1,
            maps: 0x20,
            progs: 1 << 63,
            attachs: 0,
        };
        assert_eq!(bpf::masks(&instance.token()), masks);
    });
}

/// A buffer that ends early gets as much as it has room for.
fn info_shorter() {
    container::run(&Delegation::ANY, |instance| {
        let token = instance.token();
        for len in [0, 1, 8, 12, 31] {
            let mut buffer = [0x55; 40];
            assert_eq!(bpf::info_by_fd(&token, &mut buffer[..len]), Ok(len));
            assert!(
                buffer[..len].iter().all(|byte| *byte == 0xff),
                "{len} bytes of {buffer:x?}"
            );
            assert!(
                buffer[len..].iter().all(|byte| *byte == 0x55),
                "{len} bytes of {buffer:x?}"
            );
        }
        assert_eq!(bpf::info_by_fd_at_null(&token, 0), Ok(0));
    });
}

/// The size of the kernel's `struct bpf_token_info`, which ends with a cookie, or without one in C.
fn info_len() -> usize {
    if kernel::explains() {
        40
    } else {
        32
    }
}

fn info_longer() {
    container::run(&Delegation::ANY, |instance| {
        let token = instance.token();
        for len in [33, 40, 48, 4096] {
            let mut buffer = vec![0; len];
            let known = len.min(info_len());
            assert_eq!(bpf::info_by_fd(&token, &mut buffer), Ok(known));
            assert_eq!(buffer[..32], [0xff; 32]);
            assert!(buffer[32..].iter().all(|byte| *byte == 0), "{buffer:x?}");
        }
        assert_eq!(
            bpf::info_by_fd(&token, &mut [0; 4097]),
            Err(Errno::TOOBIG),
            "more than a page"
        );
    });
}

fn info_longer_with_bytes_set() {
    container::run(&Delegation::ANY, |instance| {
        let mut buffer = [0; 48];
        buffer[47] = 1;
        assert_eq!(
            bpf::info_by_fd(&instance.token(), &mut buffer),
            Err(Errno::TOOBIG)
        );
        assert_eq!(buffer[..47], [0; 47]);
    });
}

fn info_at_bad_address() {
    container::run(&Delegation::ANY, |instance| {
        let token = instance.token();
        for len in [1, 32, 40] {
            assert_eq!(
                bpf::info_by_fd_at_null(&token, len),
                Err(Errno::FAULT),
                "{len} bytes"
            );
        }
    });
}

fn info_of_no_token() {
    container::run(&Delegation::ANY, |instance| {
        assert_eq!(
            bpf::info_by_fd(&instance.root, &mut [0; 32]),
            Err(Errno::INVAL)
        );
        assert_eq!(bpf::info_by_fd(&-1, &mut [0; 32]), Err(Errno::BADFD));
    });
}

fn info_needs_no_capability() {
    container::run(&NUMBERS, |instance| {
        let token = instance.token();
        process::drop_capabilities(rustix::thread::CapabilitySet::all());
        assert_eq!(bpf::masks(&token).maps, 0x20);
        assert_eq!(token_lines_of_fdinfo(&token)[1], "allowed_maps:\t0x20");
    });
}
