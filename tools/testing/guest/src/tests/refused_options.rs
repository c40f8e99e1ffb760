// SPDX-License-Identifier: GPL-2.0

//! Rule 1 and D4: which values of the delegation options are refused, and how the context's log says why.

use guest::container;
use guest::container::Delegation;
use guest::context::Context;
use guest::enums;
use guest::enums::Kind;
use guest::enums::CMDS;
use guest::enums::MAPS;
use guest::kernel;
use libtest_mimic::Trial;
use rustix::io::Errno;

use super::tests;

pub fn tests() -> Vec<Trial> {
    tests![
        every_malformed_value,
        names_of_every_option,
        every_option_explains_all_that_it_refuses,
        every_name_is_proposed_for_what_is_near,
        echo_is_bounded_and_printable,
        log_keeps_every_message,
    ]
}

/// What the log of a context says of a refused value.
struct Message<'a> {
    kind: &'a Kind,
    /// What is named as the cause.
    says: String,
    /// The name that was probably meant.
    proposes: Option<&'a str>,
}

impl Message<'_> {
    /// The message is there and tells all that it must, or on the C kernel there is none.
    fn expect_in(&self, context: &Context, value: &str) {
        let message = context.message();
        if !kernel::explains() {
            assert_eq!(message, None, "C explains {value:?}");
            return;
        }
        let message = message.unwrap_or_else(|| panic!("no message for {value:?}"));
        let Kind { option, prefix, .. } = self.kind;
        let one = self.kind.one();
        let start = format!("e bpf: {option}: {}", self.says);
        assert!(
            message.starts_with(&start),
            "{message:?} for {value:?}, expected {start:?}"
        );
        let proposal = self
            .proposes
            .map_or(String::new(), |name| format!(", did you mean '{name}'?"));
        assert_eq!(
            message[start.len()..].trim_end_matches('\n'),
            format!(
                "{proposal} (accepted: 'any', {one} without {prefix}, or a mask such as 0x3; several are \
                 separated by ':')"
            ),
            "{value:?}"
        );
        assert_eq!(context.message(), None, "a second message for {value:?}");
    }
}

/// Values that are wrong, the errno, what the message names, and what it proposes.
fn every_malformed_value() {
    const INVAL: Errno = Errno::INVAL;
    const RANGE: Errno = Errno::RANGE;
    let unknown = |item: &str| format!("'{item}' is not a bpf() command");
    let empty = || "an item is empty".to_owned();
    let overflow = |item: &str| format!("'{item}' does not fit into 64 bits");
    let cases: Vec<(&str, Errno, String, Option<&str>)> = vec![
        ("nope", INVAL, unknown("nope"), None),
        ("map_creat", INVAL, unknown("map_creat"), Some("map_create")),
        (
            "MAP_CRAETE",
            INVAL,
            unknown("MAP_CRAETE"),
            Some("map_create"),
        ),
        (
            "bpf_prog_load",
            INVAL,
            unknown("bpf_prog_load"),
            Some("prog_load"),
        ),
        (
            "BPF_MAP_CREATE",
            INVAL,
            unknown("BPF_MAP_CREATE"),
            Some("map_create"),
        ),
        (
            "map_create:prog_laod",
            INVAL,
            unknown("prog_laod"),
            Some("prog_load"),
        ),
        ("nope:map_create", INVAL, unknown("nope"), None),
        ("map_create:nope:prog_load", INVAL, unknown("nope"), None),
        (
            "map_create,prog_load",
            INVAL,
            unknown("map_create,prog_load"),
            None,
        ),
        (
            " map_create",
            INVAL,
            unknown(" map_create"),
            Some("map_create"),
        ),
        (
            "map_create ",
            INVAL,
            unknown("map_create "),
            Some("map_create"),
        ),
        (
            "map_create\n",
            INVAL,
            unknown("map_create\\x0a"),
            Some("map_create"),
        ),
        (
            "map_create: prog_load",
            INVAL,
            unknown(" prog_load"),
            Some("prog_load"),
        ),
        ("__max_bpf_cmd", INVAL, unknown("__max_bpf_cmd"), None),
        (":", INVAL, empty(), None),
        ("map_create:", INVAL, empty(), None),
        (":map_create", INVAL, empty(), None),
        ("map_create::prog_load", INVAL, empty(), None),
        ("any:", INVAL, empty(), None),
        ("-1", INVAL, unknown("-1"), None),
        (" 1", INVAL, unknown(" 1"), None),
        ("1 ", INVAL, unknown("1 "), None),
        ("++1", INVAL, unknown("++1"), None),
        ("+", INVAL, unknown("+"), None),
        ("0x", INVAL, unknown("0x"), None),
        ("0xg", INVAL, unknown("0xg"), None),
        ("08", INVAL, unknown("08"), None),
        ("0b1", INVAL, unknown("0b1"), None),
        ("1.0", INVAL, unknown("1.0"), None),
        ("1\n\n", INVAL, unknown("1\\x0a\\x0a"), None),
        ("0x1:0x", INVAL, unknown("0x"), None),
        (
            "18446744073709551616",
            RANGE,
            overflow("18446744073709551616"),
            None,
        ),
        (
            "0x10000000000000000",
            RANGE,
            overflow("0x10000000000000000"),
            None,
        ),
        (
            "02000000000000000000000",
            RANGE,
            overflow("02000000000000000000000"),
            None,
        ),
        (
            "map_create:0x10000000000000000",
            RANGE,
            overflow("0x10000000000000000"),
            None,
        ),
        // The digits are judged before what follows them.
        (
            "99999999999999999999 and",
            RANGE,
            overflow("99999999999999999999 and"),
            None,
        ),
    ];
    let context = Context::of_bpffs();
    for (value, errno, says, proposes) in cases {
        assert_eq!(context.set("delegate_cmds", value), Err(errno), "{value:?}");
        let kind = &CMDS;
        Message {
            kind,
            says,
            proposes,
        }
        .expect_in(&context, value);
    }
    // The VFS itself refuses a string without a character.
    assert_eq!(context.set("delegate_cmds", ""), Err(INVAL));
    let message = context.message().expect("a message of the VFS");
    assert!(message.contains("delegate_cmds"), "{message}");
}

/// Each option names itself, its enum and its own names.
fn names_of_every_option() {
    let cases = [
        (&CMDS, "btf_loaf", "btf_load"),
        (&MAPS, "ringbuff", "ringbuf"),
        (&enums::PROGS, "BPF_PROG_TYPE_XDPP", "xdp"),
        (&enums::ATTACHS, "trace_fentri", "trace_fentry"),
    ];
    let context = Context::of_bpffs();
    for (kind, item, nearest) in cases {
        assert_eq!(context.set(kind.option, item), Err(Errno::INVAL), "{item}");
        let says = format!("'{item}' is not {}", kind.one());
        let proposes = Some(nearest);
        Message {
            kind,
            says,
            proposes,
        }
        .expect_in(&context, item);
    }
    // A name of one enum is none of another.
    for (kind, name) in [
        (&CMDS, "ringbuf"),
        (&MAPS, "map_create"),
        (&enums::PROGS, "trace_fentry"),
        (&enums::ATTACHS, "kprobe"),
    ] {
        assert_eq!(context.set(kind.option, name), Err(Errno::INVAL), "{name}");
    }
}

/// The same mistakes with each option, whose messages are each made of the enum's own names.
fn every_option_explains_all_that_it_refuses() {
    let long = "y".repeat(60);
    let shown = format!("'{}...'", "y".repeat(48));
    let context = Context::of_bpffs();
    for (kind, name, almost) in [
        (&CMDS, "map_create", "map_creaet"),
        (&MAPS, "ringbuf", "ringubf"),
        (&enums::PROGS, "sched_cls", "shced_cls"),
        (&enums::ATTACHS, "trace_fentry", "trace_fentyr"),
    ] {
        let unknown = |item: &str| format!("'{item}' is not {}", kind.one());
        let with_prefix = format!("{}{name}", kind.prefix);
        let prefix = kind.prefix.to_owned();
        let second = format!("{name}:{almost}:{name}");
        let too_large = format!("{name}:0x10000000000000000");
        let cases = [
            ("", Errno::INVAL, None, None),
            (":", Errno::INVAL, Some("an item is empty".into()), None),
            (almost, Errno::INVAL, Some(unknown(almost)), Some(name)),
            (&second, Errno::INVAL, Some(unknown(almost)), Some(name)),
            (
                &with_prefix,
                Errno::INVAL,
                Some(unknown(&with_prefix)),
                Some(name),
            ),
            (&prefix, Errno::INVAL, Some(unknown(&prefix)), None),
            (
                &long,
                Errno::INVAL,
                Some(format!("{shown} is not {}", kind.one())),
                None,
            ),
            (
                &too_large,
                Errno::RANGE,
                Some("'0x10000000000000000' does not fit into 64 bits".into()),
                None,
            ),
        ];
        for (value, errno, says, proposes) in cases {
            assert_eq!(context.set(kind.option, value), Err(errno), "{value:?}");
            match says {
                Some(says) => Message {
                    kind,
                    says,
                    proposes,
                }
                .expect_in(&context, value),
                // The VFS itself refuses it, and says so.
                None => assert!(context.message().is_some(), "{value:?}"),
            }
        }
    }
}

/// How many characters must be added, removed or changed to make one text of the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = match (i, j) {
                (0, other) | (other, 0) => other,
                _ => {
                    let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                    changed.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1)
                }
            };
        }
    }
    rows[a.len()][b.len()]
}

/// Each name without one of its characters, with two changed, and without its last third: the proposal is as near as any.
fn every_name_is_proposed_for_what_is_near() {
    if !kernel::explains() {
        return;
    }
    let context = Context::of_bpffs();
    for kind in enums::ALL {
        let names: Vec<String> = kind.names().map(|(name, _)| name).collect();
        let mut tried = 0;
        for name in &names {
            let mut items = vec![name[..name.len() - name.len() / 3].to_owned()];
            // One byte less and one more, by turns.
            for at in 0..name.len() {
                let instead = if at % 2 == 0 { "" } else { "zq" };
                items.push(format!("{}{instead}{}", &name[..at], &name[at + 1..]));
            }
            for item in items {
                if item.is_empty() || item == "any" || names.contains(&item) {
                    continue;
                }
                tried += 1;
                assert_eq!(
                    context.set(kind.option, &*item),
                    Err(Errno::INVAL),
                    "{item}"
                );
                let message = context.message().expect("a message");
                let near = |name: &String| {
                    let most = 1 + name.len() / 5;
                    // No distance is below the difference of the lengths.
                    let may_be_near = name.len().abs_diff(item.len()) <= most;
                    let distance = may_be_near.then(|| distance(name, &item));
                    distance.filter(|distance| *distance <= most)
                };
                let proposed = message.split_once(", did you mean '");
                let proposed = proposed.and_then(|(_, rest)| rest.split_once("'?"));
                let proposed =
                    proposed.map(|(name, _)| near(&name.to_owned()).unwrap_or(usize::MAX));
                assert_eq!(
                    proposed,
                    names.iter().filter_map(near).min(),
                    "{item}: {message}"
                );
            }
        }
        assert!(tried > 300, "{}: {tried}", kind.option);
    }
}

/// Whatever bytes a container puts into a value, the message stays short, on one line and ASCII.
fn echo_is_bounded_and_printable() {
    const LONGEST: usize = 255;
    let every_byte: Vec<u8> = (1..=255).filter(|byte| *byte != b':').collect();
    let values: Vec<Vec<u8>> = vec![
        every_byte,
        vec![b'x'; LONGEST],
        vec![b'9'; LONGEST],
        vec![0xff; LONGEST],
        vec![b'\x1b'; LONGEST],
        b"%s%n%p%pK%x \\ ' \r\t\x7f".to_vec(),
        [vec![b'n'; 120], b":".to_vec(), vec![b'm'; 120]].concat(),
    ];
    container::run(&Delegation::NOTHING, |_| {
        let context = Context::of_bpffs();
        for value in values {
            let errno = if value[0] == b'9' {
                Errno::RANGE
            } else {
                Errno::INVAL
            };
            assert_eq!(context.set("delegate_maps", value.as_slice()), Err(errno));
            let message = context.message();
            if !kernel::explains() {
                assert_eq!(message, None);
                continue;
            }
            let message = message.expect("a message");
            let line = message.strip_suffix('\n').expect("a line");
            assert!(
                line.bytes().all(|byte| matches!(byte, b' '..=b'~')),
                "{line:?}"
            );
            // 48 bytes of the value, each as \x and two digits at worst, and the text around them.
            assert!(line.len() <= 48 * 4 + 200, "{} bytes: {line}", line.len());
            let (_, own_words) = line.rsplit_once("' ").expect("the value is quoted");
            assert!(!super::tells_an_address(own_words), "{line}");
        }
    });
}

/// A reader may come after several refusals.
fn log_keeps_every_message() {
    let context = Context::of_bpffs();
    for item in ["one", "two", "three"] {
        assert_eq!(context.set("delegate_maps", item), Err(Errno::INVAL));
    }
    for item in ["one", "two", "three"] {
        let message = context.message();
        assert_eq!(message.is_some(), kernel::explains(), "{item}");
        assert!(
            message.is_none_or(|message| message.contains(&format!("'{item}'"))),
            "{item}"
        );
    }
    assert_eq!(context.message(), None);
}
