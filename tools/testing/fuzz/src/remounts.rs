// SPDX-License-Identifier: GPL-2.0

//! What a remount must come to: section 10 of the design. C reads its options as those of a mount, and lets them be.

use rustix::io::Errno;

use crate::case;
use crate::names::Names;
use crate::options;
use crate::options::Expected;
use crate::rules::Rule;
use crate::rules::Rules;

pub const COOKIE: &str = "delegate_cookie";

/// An instance after a mount and a remount, and what the remount gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    pub errno: case::Errno,
    pub masks: [u64; 4],
    pub cookie: u64,
}

/// What the options of one of the two come to: each mask that is named, and the cookie if it is.
struct Named {
    errno: case::Errno,
    masks: [Option<u64>; 4],
    cookie: Option<u64>,
}

/// Masks that are named more than once add up in a mount; in a remount, the last value counts. `None` if an option is not
/// ours, or the mount is refused.
pub fn outcome(names: &Names, data: &[u8], again: &[u8], rules: Rules) -> Option<Outcome> {
    let mount = read(names, data, rules, None)?;
    if mount.errno != 0 {
        return None;
    }
    let before = Outcome {
        errno: 0,
        masks: mount.masks.map(Option::unwrap_or_default),
        cookie: mount.cookie.unwrap_or_default(),
    };
    let remount = read(names, again, rules, Some(before.cookie))?;
    let errno = remount.errno;
    let mut after = Outcome { errno, ..before };
    if errno == 0 && rules.has(Rule::Remount) {
        let masks = after.masks.iter_mut().zip(remount.masks);
        for (mask, named) in masks {
            *mask = named.unwrap_or(*mask);
        }
    }
    Some(after)
}

/// Reads the options up to the first that is refused: those of a mount, or of a remount of what has this cookie.
fn read(names: &Names, data: &[u8], rules: Rules, present: Option<u64>) -> Option<Named> {
    let mut named = Named {
        errno: 0,
        masks: [None; 4],
        cookie: None,
    };
    for option in data.split(|byte| *byte == b',') {
        let Some(at) = option.iter().position(|byte| *byte == b'=') else {
            // A word without a value: no kernel knows it, or it is one of ours, which need one.
            if option == COOKIE.as_bytes() || options::kind_of(option).is_some() {
                return None;
            }
            continue;
        };
        let (key, value) = (&option[..at], &option[at + 1..]);
        if key == COOKIE.as_bytes() {
            if rules.has(Rule::Cookie) {
                let cookie = options::number(value).ok()?;
                if present.is_some_and(|present| present != cookie) {
                    named.errno = Errno::INVAL.raw_os_error();
                    return Some(named);
                }
                named.cookie = Some(cookie);
            }
            continue;
        }
        let kind = options::kind_of(key).filter(|_| !value.is_empty())?;
        let mut masks = [0; 4];
        if let Some(before) = named.masks[kind].filter(|_| present.is_none()) {
            masks[kind] = before;
        }
        match options::set(names, kind, value, true, rules, &mut masks) {
            Expected::Accepted => named.masks[kind] = Some(masks[kind]),
            Expected::Refused(errno, _) => {
                named.errno = errno;
                return Some(named);
            }
            Expected::Same => return None,
        }
    }
    Some(named)
}
