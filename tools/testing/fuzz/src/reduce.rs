// SPDX-License-Identifier: GPL-2.0

//! Smaller cases of one that diverges.

use crate::attrs;
use crate::bytes::Bytes;
use crate::case::Call;
use crate::case::Caller;
use crate::case::Case;
use crate::case::Reopen;
use crate::case::Setting;
use crate::case::Value;

/// No more are tried at once.
const MOST: usize = 4000;

/// Cases that are each smaller than `case`, smallest first.
pub fn reductions(case: &Case) -> Vec<Case> {
    let mut smaller = match case {
        Case::Context(settings) => of_settings(settings),
        Case::Mount(data) => parts(data, b',').into_iter().map(Case::Mount).collect(),
        Case::Remount(data, again) => {
            let remount = |data: &Bytes, again: &Bytes| Case::Remount(data.clone(), again.clone());
            let of_mount = parts(data, b',')
                .into_iter()
                .map(|data| remount(&data, again));
            let of_remount = parts(again, b',')
                .into_iter()
                .map(|again| remount(data, &again));
            of_mount.chain(of_remount).collect()
        }
        Case::Call(call) => of_call(call),
        Case::Reopen(reopen) => of_reopen(reopen),
    };
    let whole = weight(case);
    smaller.retain(|case| weight(case) < whole);
    smaller.sort_by_cached_key(|case| (weight(case), format!("{case:?}")));
    smaller.dedup();
    smaller.truncate(MOST);
    smaller
}

/// How large a case is.
pub fn weight(case: &Case) -> usize {
    const OPTION: usize = 16;
    let of_caller = |caller: Caller| {
        caller.caps.count_ones() as usize
            + usize::from(caller.outside)
            + usize::from(!caller.disabled)
    };
    match case {
        Case::Context(settings) => settings
            .iter()
            .map(|setting| OPTION + setting.key.len() + setting.value.bytes().len())
            .sum(),
        Case::Mount(data) => data.len(),
        Case::Remount(data, again) => data.len() + again.len(),
        Case::Call(call) => {
            let size = call.size as usize;
            let common = call.common.as_ref();
            4 * used(&call.attr)
                + size.abs_diff(call.command.end())
                + common.map_or(0, |common| OPTION + 4 * used(&common.attr))
                + of_caller(call.caller)
                + usize::from(call.fill != 0)
        }
        Case::Reopen(reopen) => reopen.flags.count_ones() as usize + of_caller(reopen.caller),
    }
}

fn used(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte != 0).count()
}

impl Value {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Flag => &[],
            Self::Text(bytes) | Self::Blob(bytes) => bytes,
        }
    }

    fn with(&self, bytes: Bytes) -> Self {
        match self {
            Self::Flag => Self::Flag,
            Self::Text(_) => Self::Text(bytes),
            Self::Blob(_) => Self::Blob(bytes),
        }
    }
}

fn of_settings(settings: &[Setting]) -> Vec<Case> {
    let mut smaller = subsets(settings);
    for (index, setting) in settings.iter().enumerate() {
        for bytes in parts(setting.value.bytes(), b':') {
            let reduced = Setting {
                value: setting.value.with(bytes),
                ..setting.clone()
            };
            let mut others = settings.to_vec();
            others[index] = reduced.clone();
            smaller.extend([vec![reduced], others]);
        }
    }
    smaller.into_iter().map(Case::Context).collect()
}

/// Items alone and in pairs, halves, and all but one.
fn subsets<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
    let mut subsets = Vec::new();
    for (index, item) in items.iter().enumerate() {
        subsets.push(vec![item.clone()]);
        let mut others = items.to_vec();
        others.remove(index);
        subsets.push(others);
        let behind = items[index + 1..].iter();
        subsets.extend(behind.map(|other| vec![item.clone(), other.clone()]));
    }
    let (first, second) = items.split_at(items.len() / 2);
    subsets.extend([first.to_vec(), second.to_vec()]);
    subsets
}

/// Fewer items of a list, or fewer bytes.
fn parts(bytes: &[u8], separator: u8) -> Vec<Bytes> {
    let items: Vec<&[u8]> = bytes.split(|byte| *byte == separator).collect();
    let lists = subsets(&items).into_iter();
    let mut parts: Vec<_> = lists.map(|items| Bytes(items.join(&separator))).collect();
    // Of what is short, each range of bytes can go; of more, there are too many.
    const SHORT: usize = 64;
    let longest = if bytes.len() <= SHORT { SHORT } else { 1 };
    for start in 0..bytes.len() {
        for end in start + 1..=bytes.len().min(start + longest) {
            parts.push(Bytes([&bytes[..start], &bytes[end..]].concat()));
        }
    }
    parts
}

fn callers(caller: Caller) -> Vec<Caller> {
    let fewer = (0..4).map(|bit| Caller {
        caps: caller.caps & !(1 << bit),
        ..caller
    });
    let simpler = [
        Caller { caps: 0, ..caller },
        Caller {
            outside: false,
            ..caller
        },
        Caller {
            disabled: true,
            ..caller
        },
    ];
    fewer.chain(simpler).collect()
}

fn of_call(call: &Call) -> Vec<Case> {
    let mut smaller: Vec<Call> = Vec::new();
    for caller in callers(call.caller) {
        smaller.push(Call {
            caller,
            ..call.clone()
        });
    }
    smaller.push(Call {
        common: None,
        ..call.clone()
    });
    smaller.push(Call {
        fill: 0,
        ..call.clone()
    });
    for size in [call.command.end(), call.command.token_field() + 4] {
        let size = size as u32;
        smaller.push(Call {
            size,
            ..call.clone()
        });
    }
    for attr in with_zeros(&call.attr) {
        smaller.push(Call {
            attr,
            ..call.clone()
        });
    }
    if let Some(common) = &call.common {
        for attr in with_zeros(&common.attr) {
            let mut common = common.clone();
            common.attr = attr;
            smaller.push(Call {
                common: Some(common),
                ..call.clone()
            });
        }
    }
    for call in &mut smaller {
        attrs::repair(call.command, &mut call.attr);
    }
    smaller.into_iter().map(Case::Call).collect()
}

/// Zeros in place of a byte, of a word, and of two words.
fn with_zeros(bytes: &[u8]) -> Vec<Vec<u8>> {
    const WORD: usize = 4;
    let zero = |ranges: &[std::ops::Range<usize>]| {
        let mut zeroed = bytes.to_vec();
        for range in ranges {
            zeroed[range.clone()].fill(0);
        }
        zeroed
    };
    let is_used = |range: &std::ops::Range<usize>| used(&bytes[range.clone()]) != 0;
    let each = |width: usize| {
        let starts = (0..bytes.len()).step_by(width);
        let ranges = starts.map(move |start| start..(start + width).min(bytes.len()));
        ranges.filter(is_used).collect::<Vec<_>>()
    };
    let words = each(WORD);
    let mut zeroed: Vec<_> = each(1).into_iter().map(|range| zero(&[range])).collect();
    for (index, word) in words.iter().enumerate() {
        zeroed.push(zero(&[word.clone()]));
        let behind = words[index + 1..].iter();
        zeroed.extend(behind.map(|other| zero(&[word.clone(), other.clone()])));
    }
    zeroed
}

fn of_reopen(reopen: &Reopen) -> Vec<Case> {
    let fewer = (0..32).map(|bit| Reopen {
        flags: reopen.flags & !(1 << bit),
        ..reopen.clone()
    });
    let simpler = callers(reopen.caller).into_iter().map(|caller| Reopen {
        caller,
        ..reopen.clone()
    });
    fewer.chain(simpler).map(Case::Reopen).collect()
}
