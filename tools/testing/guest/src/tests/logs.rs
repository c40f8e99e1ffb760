// SPDX-License-Identifier: GPL-2.0

//! D4: the reason of a refusal in the log that the caller gave, and that a log never changes the outcome. The
//! errnos are those of the C kernel, whose log says nothing of tokens.

use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

use guest::bpf;
use guest::bpf::MapType;
use guest::container;
use guest::container::Delegation;
use guest::enums::MAPS;
use guest::kernel;
use guest::log;
use guest::log::Log;
use libtest_mimic::Trial;
use rustix::io::Errno;

use super::tells_an_address;
use super::tests;
use super::usage;

pub fn tests() -> Vec<Trial> {
    tests![
        reason_where_there_is_a_buffer,
        nothing_without_a_buffer,
        fixed_buffer,
        buffer_too_small,
        buffer_unmapped,
        buffer_malformed,
        wrong_descriptor_of_map_fails_by_its_log,
        granted_without_a_word,
        token_created_whatever_the_log,
        long_reason_is_cut,
        nothing_of_a_command_before,
    ]
}

type Refused = fn(RawFd, &Log<'_>) -> Result<OwnedFd, Errno>;

const DELEGATION: Delegation<'_> = Delegation::of("map_create", "array", "", "");

/// Commands that a token of `DELEGATION` is no good for, and the reason.
const REFUSED: [(&str, Refused, Errno, &str); 6] = [
    (
        "program load",
        |token, log| bpf::prog_load_logged(&usage::SOCKET_FILTER(), Some(token), log),
        Errno::PERM,
        "with kernel.unprivileged_bpf_disabled, the command prog_load needs CAP_BPF in the initial user \
         namespace, because the token does not delegate bpf() command prog_load (delegate_cmds=map_create)",
    ),
    (
        "program load, common attributes",
        |token, log| bpf::prog_load_commonly_logged(&usage::SOCKET_FILTER(), Some(token), log),
        Errno::PERM,
        "with kernel.unprivileged_bpf_disabled, the command prog_load needs CAP_BPF in the initial user \
         namespace, because the token does not delegate bpf() command prog_load (delegate_cmds=map_create)",
    ),
    (
        "BTF load",
        |token, log| bpf::btf_load_logged(&usage::btf(), Some(token), log),
        Errno::PERM,
        "the command btf_load needs CAP_BPF in the initial user namespace, because the token does not \
         delegate bpf() command btf_load (delegate_cmds=map_create)",
    ),
    (
        "BTF load, common attributes",
        |token, log| bpf::btf_load_commonly_logged(&usage::btf(), Some(token), log),
        Errno::PERM,
        "the command btf_load needs CAP_BPF in the initial user namespace, because the token does not \
         delegate bpf() command btf_load (delegate_cmds=map_create)",
    ),
    (
        "map creation",
        |token, log| bpf::map_create_logged(MapType::Hash, Some(token), log),
        Errno::PERM,
        "with kernel.unprivileged_bpf_disabled, the command map_create needs CAP_BPF in the initial user \
         namespace, because the token does not delegate map type hash (delegate_maps=array)",
    ),
    (
        "token creation",
        |token, log| bpf::token_create_logged(0, token, log),
        Errno::INVAL,
        "no token: the descriptor is a token, and a token of it needs the flag BPF_F_TOKEN_RESTRICT",
    ),
];

/// Tries each of the commands in a container.
fn each_refused(check: impl Fn(&str, &dyn Fn(&Log<'_>) -> Result<OwnedFd, Errno>, Errno, &str)) {
    container::run(&DELEGATION, |instance| {
        let token = instance.token();
        for (name, refused, errno, reason) in REFUSED {
            check(name, &|log| refused(token.as_raw_fd(), log), errno, reason);
        }
    });
}

/// What is to be read where the kernel gives `reason`.
fn line(reason: &str) -> Option<String> {
    kernel::explains().then(|| format!("{reason}\n"))
}

fn expect_in_log(level: u32) {
    each_refused(|name, refused, errno, reason| {
        let mut buffer = log::Buffer::of(4096);
        let log = buffer.log(level);
        assert_eq!(refused(&log).err(), Some(errno), "{name}");
        let true_size = log.true_size.get() as usize;
        assert_eq!(buffer.text(), line(reason), "{name}");
        let expected = line(reason).map_or(0, |line| line.len() + 1);
        assert_eq!(true_size, expected, "log_true_size of {name}");
        assert!(!tells_an_address(reason), "{name}");
    });
}

fn reason_where_there_is_a_buffer() {
    expect_in_log(log::LEVEL);
}

fn fixed_buffer() {
    const BPF_LOG_FIXED: u32 = 8;
    expect_in_log(log::LEVEL | BPF_LOG_FIXED);
}

fn nothing_without_a_buffer() {
    each_refused(|name, refused, errno, _| {
        for log in [Log::none(), Log::without_buffer(log::LEVEL, 0)] {
            assert_eq!(refused(&log).err(), Some(errno), "{name}");
            assert_eq!(log.true_size.get(), 0, "log_true_size of {name}");
        }
    });
}

/// What fits is there, ends with a line feed and a zero, and the errno is the same.
fn buffer_too_small() {
    each_refused(|name, refused, errno, reason| {
        let whole = reason.len() + 2;
        for size in (1..10)
            .chain((10..whole).step_by(7))
            .chain([whole - 1, whole, whole + 1])
        {
            let mut buffer = log::Buffer::of(size);
            let result = refused(&buffer.log(log::LEVEL)).err();
            assert_eq!(result, Some(errno), "{name} with {size} bytes");
            let text = buffer.text();
            if !kernel::explains() {
                assert_eq!(text, None, "{name} with {size} bytes");
                continue;
            }
            // One byte is for the line feed and one for the zero; without room for more there is no line.
            let fits = reason.len().min(size.saturating_sub(2));
            let expected = (fits > 0).then(|| format!("{}\n", &reason[..fits]));
            assert_eq!(text, expected, "{name} with {size} bytes");
        }
    });
}

fn buffer_unmapped() {
    each_refused(|name, refused, errno, _| {
        for size in [1, 64, 4096] {
            let result = refused(&Log::unmapped(log::LEVEL, size)).err();
            assert_eq!(result, Some(errno), "{name} with {size} bytes");
        }
    });
}

/// Arguments that make no log: an error of their own for the commands that have one, and no matter for token
/// creation, to which they are new.
fn buffer_malformed() {
    const NO_LEVEL: u32 = 1 << 20;
    each_refused(|name, refused, errno, _| {
        let logs = [
            ("a buffer without level", Log::unmapped(0, 64)),
            ("a buffer of no size", Log::unmapped(log::LEVEL, 0)),
            ("a size without buffer", Log::without_buffer(log::LEVEL, 64)),
            ("no such level", Log::unmapped(NO_LEVEL, 64)),
            (
                "more than a quarter of all",
                Log::unmapped(log::LEVEL, 1 << 30),
            ),
        ];
        for (what, log) in logs {
            let expected = if name == "token creation" {
                errno
            } else {
                Errno::INVAL
            };
            assert_eq!(refused(&log).err(), Some(expected), "{name} with {what}");
        }
    });
}

/// C writes a line of its own here, and makes the command fail by the log if that does not fit.
fn wrong_descriptor_of_map_fails_by_its_log() {
    const LINE: &str = "Invalid map_token_fd.\n";
    container::run(&DELEGATION, |instance| {
        let root = instance.root.as_raw_fd();
        let closed = instance.token().as_raw_fd();
        for (fd, errno, reason) in [
            (
                root,
                Errno::INVAL,
                format!("descriptor {root} is not a BPF token"),
            ),
            (
                closed,
                Errno::BADF,
                format!("descriptor {closed} is not open"),
            ),
        ] {
            let create = |log: &Log<'_>| bpf::map_create_logged(MapType::Hash, Some(fd), log).err();
            for size in 1..LINE.len() + reason.len() + 4 {
                let mut buffer = log::Buffer::of(size);
                let log = buffer.log(log::LEVEL);
                let fits = size > LINE.len();
                let expected = if fits { errno } else { Errno::NOSPC };
                assert_eq!(create(&log), Some(expected), "{size} bytes");
                if !fits {
                    assert_eq!(log.true_size.get() as usize, LINE.len() + 1, "{size} bytes");
                    continue;
                }
                let text = buffer.text().expect("C's line");
                let rest = text.strip_prefix(LINE).expect("C's line first");
                let room = (size - LINE.len()).saturating_sub(2);
                let fits = reason.len().min(room);
                let expected = if kernel::explains() && fits > 0 {
                    format!("{}\n", &reason[..fits])
                } else {
                    String::new()
                };
                assert_eq!(rest, expected, "{size} bytes");
            }
            assert_eq!(create(&Log::unmapped(log::LEVEL, 4096)), Some(Errno::FAULT));
            assert_eq!(create(&Log::none()), Some(errno));
        }
    });
}

fn granted_without_a_word() {
    container::run(&Delegation::ANY, |instance| {
        let held = instance.token();
        let token = Some(held.as_raw_fd());
        let mut buffer = log::Buffer::of(4096);
        bpf::map_create_logged(MapType::Hash, token, &buffer.log(log::LEVEL)).expect("granted");
        assert_eq!(buffer.text(), None, "map creation");
        let root = instance.root.as_raw_fd();
        bpf::token_create_logged(0, root, &buffer.log(log::LEVEL)).expect("granted");
        assert_eq!(buffer.text(), None, "token creation");
        let prog = usage::SOCKET_FILTER();
        bpf::prog_load_logged(&prog, token, &buffer.log(log::LEVEL)).expect("granted");
        let text = buffer.text().expect("the verifier's log");
        assert!(!text.contains("token"), "{text}");
    });
}

fn token_created_whatever_the_log() {
    container::run(&Delegation::ANY, |instance| {
        for log in [
            Log::none(),
            Log::unmapped(log::LEVEL, 4096),
            Log::unmapped(0, 64),
            Log::without_buffer(1 << 20, 64),
        ] {
            bpf::token_create_logged(0, instance.root.as_raw_fd(), &log).expect("created");
        }
    });
}

/// A reason that shows a mask of very many names is as long as a line may be, and no longer.
fn long_reason_is_cut() {
    const MOST: usize = 399;
    let all_but_hash = MAPS.known() & !MAPS.bit("hash");
    let shown = MAPS.show(all_but_hash).expect("many names");
    let whole = format!(
        "with kernel.unprivileged_bpf_disabled, the command map_create needs CAP_BPF in the initial user \
         namespace, because the token does not delegate map type hash ({shown})"
    );
    assert!(whole.len() > MOST);
    let value = format!("{all_but_hash:#x}");
    container::run(&Delegation::of("any", &value, "", ""), |instance| {
        let token = instance.token();
        let mut buffer = log::Buffer::of(4096);
        let log = buffer.log(log::LEVEL);
        let map = bpf::map_create_logged(MapType::Hash, Some(token.as_raw_fd()), &log);
        assert_eq!(map.err(), Some(Errno::PERM));
        assert_eq!(buffer.text(), line(&whole[..MOST]));
    });
}

/// A map that is refused before its token step has no reason to tell, and none of what the stack still has of another.
fn nothing_of_a_command_before() {
    container::run(&DELEGATION, |instance| {
        let mut buffer = log::Buffer::of(4096);
        for _ in 0..100 {
            let wrong = Some(instance.root.as_raw_fd());
            let before = bpf::map_create_logged(MapType::Hash, wrong, &buffer.log(log::LEVEL));
            assert_eq!(before.err(), Some(Errno::INVAL));
            let log = buffer.log(log::LEVEL);
            let malformed = bpf::typed_array_create_logged(&instance.root, 0, None, &log);
            assert_eq!(malformed.err(), Some(Errno::INVAL));
            let said = buffer.text();
            assert_eq!(said.as_deref(), Some("Invalid btf_value_type_id.\n"));
        }
    });
}
