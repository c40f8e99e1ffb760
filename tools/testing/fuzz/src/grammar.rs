// SPDX-License-Identifier: GPL-2.0

//! Mount options made by chance: most of them nearly right.

use fastrand::Rng;

use crate::bytes::Bytes;
use crate::case::Case;
use crate::case::Setter;
use crate::case::Setting;
use crate::case::Value;
use crate::items::Items;
use crate::names::Names;
use crate::names::KINDS;
use crate::remounts::COOKIE;

/// Makes options.
pub struct Grammar<'a> {
    items: Items<'a>,
}

impl<'a> Grammar<'a> {
    pub fn new(names: &'a Names, rng: Rng) -> Self {
        Self {
            items: Items { names, rng },
        }
    }

    /// A case, and how many delegation options are in it.
    pub fn case(&mut self) -> (Case, usize) {
        if self.items.one_in(12) {
            self.data()
        } else if self.items.one_in(24) {
            self.remount()
        } else {
            self.context()
        }
    }

    fn context(&mut self) -> (Case, usize) {
        let most = if self.items.one_in(2) { 8 } else { 80 };
        let count = self.items.rng.usize(1..=most);
        let all_allowed = self.items.one_in(2);
        let mut settings: Vec<_> = (0..count).map(|_| self.setting(all_allowed)).collect();
        // What the container sets comes first.
        settings.sort_by_key(|setting| setting.by != Setter::Container);
        let is_option = |setting: &&Setting| crate::options::kind_of(&setting.key).is_some();
        let options = settings.iter().filter(is_option).count();
        (Case::Context(settings), options)
    }

    fn setting(&mut self, all_allowed: bool) -> Setting {
        let by = match self.items.rng.u8(..20) {
            0..3 => Setter::Container,
            3..5 => Setter::Unprivileged,
            _ => Setter::Manager,
        };
        let (key, value) = if self.items.one_in(14) {
            (self.other_key(), self.other_value())
        } else {
            let kind = self.items.rng.usize(..KINDS.len());
            (
                KINDS[kind].option.into(),
                self.items.value(kind, all_allowed),
            )
        };
        let value = Bytes(without_zeros(value));
        let value = match self.items.rng.u8(..100) {
            0 => Value::Flag,
            1 => Value::Blob(value),
            _ => Value::Text(value),
        };
        let key = Bytes(without_zeros(key));
        Setting { by, key, value }
    }

    fn data(&mut self) -> (Case, usize) {
        let count = self.items.rng.usize(1..=8);
        let mut options = Vec::new();
        let mut made = 0;
        for _ in 0..count {
            if self.items.one_in(20) {
                options.push(
                    self.items
                        .pick(&["", "=", "=x", "delegate", "delegate_maps", "hash"])
                        .into(),
                );
                continue;
            }
            let kind = self.items.rng.usize(..KINDS.len());
            let value = match self.items.rng.u8(..20) {
                0 => self.items.long_value(kind, 4200),
                // Most must be accepted, as the first that is not is the last.
                1..4 => self.items.value(kind, true),
                _ => self.items.good_value(kind, false),
            };
            options.push([KINDS[kind].option.as_bytes(), b"=", &value].concat());
            made += 1;
        }
        (Case::Mount(Bytes(without_zeros(options.join(&b',')))), made)
    }

    fn remount(&mut self) -> (Case, usize) {
        let (mount, made) = self.valid_data(0);
        let (remount, changed) = self.valid_data(6);
        (Case::Remount(mount, remount), made + changed)
    }

    /// Options that are ours, all of which are accepted, but for one in so many.
    fn valid_data(&mut self, wrong: u32) -> (Bytes, usize) {
        let count = self.items.rng.usize(1..=5);
        let mut options = Vec::new();
        for _ in 0..count {
            if self.items.one_in(6) {
                let cookie = self.items.pick(&["0", "7", "0x7", "8"]);
                options.push(format!("{COOKIE}={cookie}").into_bytes());
                continue;
            }
            let kind = self.items.rng.usize(..KINDS.len());
            let value = match wrong {
                1.. if self.items.one_in(wrong) => self.items.value(kind, true),
                _ if self.items.one_in(6) => b"0".to_vec(),
                _ => self.items.good_value(kind, true),
            };
            options.push([KINDS[kind].option.as_bytes(), b"=", &value].concat());
        }
        (Bytes(without_zeros(options.join(&b','))), count)
    }

    /// A key that is not one of the four.
    fn other_key(&mut self) -> Vec<u8> {
        let key = self.items.pick(&[
            "delegate",
            "delegate_cmd",
            "DELEGATE_CMDS",
            "delegate_cmds ",
            "nodelegate_maps",
            "uid",
            "gid",
            "mode",
            "source",
            "",
        ]);
        if self.items.one_in(8) {
            return (0..self.items.rng.usize(1..300))
                .map(|_| self.items.rng.u8(..))
                .collect();
        }
        key.into()
    }

    fn other_value(&mut self) -> Vec<u8> {
        let values = [
            "0",
            "100000",
            "100001",
            "4294967295",
            "0700",
            "1777",
            "0x1ff",
            "x8",
            "",
            "any",
        ];
        self.items.pick(&values).into()
    }
}

/// System calls take strings that end with a zero.
fn without_zeros(mut bytes: Vec<u8>) -> Vec<u8> {
    for byte in &mut bytes {
        *byte = (*byte).max(1);
    }
    bytes
}
