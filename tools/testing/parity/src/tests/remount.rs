// SPDX-License-Identifier: GPL-2.0
//! Remounts and the cookie, which upstream does not have: who may change what, in every world.

use super::options::{context_with, masks_of, take};
use crate::{
    bindings::bpf_mount_opts,
    bpffs::{BpfFs, SuperBlock},
    capability::Capability,
    fs_context::FsContext,
    options::Options,
    remount::reconfigure,
    world::{bit, World, ALL_CAPS},
};

const EPERM: i32 = -1;
const EINVAL: i32 = -22;
const COOKIE: u32 = 4;

fn mounted(masks: [u64; 4], cookie: u64) -> FsContext {
    let opts = bpf_mount_opts {
        delegate_cookie: cookie,
        ..context_with(masks)
    };
    FsContext {
        mounted: Some(SuperBlock(opts.into())),
        ..FsContext::default()
    }
}

fn enter(privileged: bool) {
    let others = ALL_CAPS & !bit(Capability::SYS_ADMIN);
    let world = World {
        init_caps: if privileged { ALL_CAPS } else { others },
        own_caps: ALL_CAPS,
        ..World::NOTHING
    };
    world.enter();
}

/// Applies what a context says to its instance. Returns the errno, and what is delegated then.
fn apply(fc: &FsContext, opts: &mut bpf_mount_opts) -> (i32, [u64; 4]) {
    // SAFETY: The layout is that of the options.
    let options = unsafe { &*Options::in_opts(opts) };
    let present = fc
        .reconfigured()
        .and_then(BpfFs::from_super_block)
        .expect("a remount")
        .present();
    let err = reconfigure(fc, options, present).map_or_else(|err| err.to_errno(), |()| 0);
    let left = present.load();
    let masks = [
        left.cmds.bits(),
        left.maps.bits(),
        left.progs.bits(),
        left.attachs.bits(),
    ];
    (err, masks)
}

/// One option, set and applied each by somebody privileged or not, over what was there.
#[test]
fn one_mask_is_replaced() {
    for which in 0..4u32 {
        for before in [0, 0b110] {
            for value in [0, 0b110, 0b011] {
                for (sets, applies) in [(true, true), (true, false), (false, true), (false, false)]
                {
                    let all = [before; 4];
                    let fc = mounted(all, 0);
                    let mut opts = context_with([0; 4]);
                    enter(sets);
                    let set = take(&mut opts, &fc, which, format!("{value:#x}").as_bytes());
                    let may_set = sets || (value == 0 && before == 0);
                    assert_eq!(set, if may_set { 0 } else { EPERM });
                    let masks = masks_of(&opts);
                    assert_eq!(masks[which as usize], if may_set { value } else { 0 });
                    enter(applies);
                    let (err, now) = apply(&fc, &mut opts);
                    // What nobody privileged has set is not applied, whoever applies.
                    let replaces = sets && value != before;
                    let mut then = all;
                    if replaces && applies {
                        then[which as usize] = value;
                    }
                    assert_eq!(
                        (err, now),
                        (if replaces && !applies { EPERM } else { 0 }, then)
                    );
                    let refusals = usize::from(!may_set) + usize::from(err != 0);
                    assert_eq!(fc.log.borrow().len(), refusals);
                }
            }
        }
    }
}

/// As `mount(8)` gives the options that are there before those of its user.
#[test]
fn the_last_value_of_a_remount_counts() {
    enter(true);
    let values = [&b"0x7"[..], b"0x4:0x1", b"0x3"];
    for (count, last) in [(1, 0b111), (2, 0b101), (3, 0b011)] {
        let fc = mounted([0b111; 4], 0);
        let mut opts = context_with([0; 4]);
        for value in &values[..count] {
            assert_eq!(take(&mut opts, &fc, 1, value), 0);
        }
        assert_eq!(apply(&fc, &mut opts), (0, [0b111, last, 0b111, 0b111]));
    }
}

/// All or nothing: the first may be replaced by anybody, as it does not change, and the others not.
#[test]
fn a_refused_remount_changes_nothing() {
    for last in 1..4 {
        enter(true);
        let fc = mounted([1; 4], 0);
        let mut opts = context_with([0; 4]);
        assert_eq!(take(&mut opts, &fc, 0, b"0x1"), 0);
        assert_eq!(take(&mut opts, &fc, last, b"0x3"), 0);
        enter(false);
        assert_eq!(apply(&fc, &mut opts), (EPERM, [1; 4]));
        let log = fc.log.borrow();
        let option = super::options::kinds()[last as usize].1;
        assert_eq!(
            log[..],
            [format!(
                "{option}: to delegate needs CAP_SYS_ADMIN in the initial user namespace"
            )]
        );
    }
}

#[test]
fn a_cookie_is_the_managers() {
    for (privileged, before, value, err) in [
        (true, 0, 7, 0),
        (true, 7, 8, 0),
        (true, 7, 0, 0),
        (false, 0, 0, 0),
        (false, 7, 7, 0),
        (false, 0, 7, EPERM),
        (false, 7, 0, EPERM),
        (false, 7, 8, EPERM),
    ] {
        enter(privileged);
        let fc = FsContext::default();
        let mut opts = context_with([0; 4]);
        opts.delegate_cookie = before;
        assert_eq!(
            take(&mut opts, &fc, COOKIE, format!("{value}").as_bytes()),
            err
        );
        assert_eq!(opts.delegate_cookie, if err == 0 { value } else { before });
        assert_eq!(fc.log.borrow().len(), usize::from(err != 0));
    }
}

#[test]
fn a_remount_cannot_change_the_cookie() {
    for privileged in [true, false] {
        enter(privileged);
        for (present, value) in [(0, 0), (7, 7), (7, 8), (7, 0), (0, 7)] {
            let fc = mounted([0; 4], present);
            let err = take(
                &mut context_with([0; 4]),
                &fc,
                COOKIE,
                format!("{value}").as_bytes(),
            );
            assert_eq!(err, if present == value { 0 } else { EINVAL });
            let told = format!("delegate_cookie: a remount cannot change it, it is {present}");
            assert_eq!(*fc.log.borrow(), if err == 0 { vec![] } else { vec![told] });
        }
    }
}

#[test]
fn a_cookie_that_is_no_number_is_refused_with_its_reason() {
    enter(true);
    for (value, told) in [
        (&b""[..], "it is empty"),
        (b"any", "'any' is not a number"),
        (
            b"18446744073709551616",
            "'18446744073709551616' does not fit into 64 bits",
        ),
    ] {
        let fc = FsContext::default();
        assert!(take(&mut context_with([0; 4]), &fc, COOKIE, value) < 0);
        let accepted = "(accepted: a number, decimal or hexadecimal after 0x)";
        assert_eq!(
            *fc.log.borrow(),
            [format!("delegate_cookie: {told} {accepted}")]
        );
    }
}
