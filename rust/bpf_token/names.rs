// SPDX-License-Identifier: GPL-2.0

//! Tables of the names of an enum's enumerators, and looking a name up in one.

#![forbid(unsafe_code)]

use kernel::{
    macros::kunit_tests,
    nospec::array_index_nospec, //
};

/// The names of one enum.
pub(crate) struct Names {
    /// The name of each enumerator, at the index of its value: the one shown.
    by_value: &'static [&'static str],
    /// The values, shortest name first.
    by_length: &'static [u8],
    /// Where in `by_length` the names of each length begin.
    begin: [u8; Names::LONGEST + 2],
    /// Further names of enumerators, with their values: understood, never shown.
    aliases: &'static [(&'static str, u32)],
}

impl Names {
    /// No name is longer.
    const LONGEST: usize = 40;

    /// The table of `by_value`, whose indices `by_length` has in the order of [`Self::by_length`].
    pub(crate) const fn new(
        by_value: &'static [&'static str],
        by_length: &'static [u8],
        aliases: &'static [(&'static str, u32)],
    ) -> Self {
        Self {
            by_value,
            by_length,
            begin: Self::begin(by_value),
            aliases,
        }
    }

    /// The names in the order of the enum.
    pub(crate) const fn as_slice(&self) -> &'static [&'static str] {
        self.by_value
    }

    /// The name of the enumerator `value`, which may come from userspace.
    pub(crate) fn name_of(&self, value: u32) -> Option<&'static str> {
        let len = self.by_value.len();
        let index = value as usize;
        if index >= len {
            return None;
        }
        self.by_value.get(array_index_nospec(index, len)).copied()
    }

    /// How many enumerators the enum has; they are numbered from 0.
    pub(crate) const fn len(&self) -> u32 {
        self.by_value.len() as u32
    }

    /// All names: those shown, then the further ones.
    pub(crate) fn all(&self) -> impl Iterator<Item = &'static str> {
        let aliases = self.aliases.iter().map(|&(name, _)| name);
        self.by_value.iter().copied().chain(aliases)
    }

    /// The value of the enumerator that is called `name`, in whatever case.
    pub(crate) fn value_of(&self, name: &[u8]) -> Option<u32> {
        self.value_as_shown(name)
            .or_else(|| self.value_in_other_words(name))
    }

    /// As [`Names::value_of`], for a name that is written as it is shown, as most are.
    #[inline]
    fn value_as_shown(&self, name: &[u8]) -> Option<u32> {
        let begin = usize::from(*self.begin.get(name.len())?);
        let end = usize::from(*self.begin.get(name.len() + 1)?);
        let last = name.last()?;
        // Names of one length mostly differ in the last byte.
        for &value in self.by_length.get(begin..end)? {
            let candidate = self.by_value.get(usize::from(value))?.as_bytes();
            if candidate.last() == Some(last) && candidate == name {
                return Some(value.into());
            }
        }
        None
    }

    /// As [`Names::value_of`], for a name that has capital letters or is not the one shown.
    #[cold]
    fn value_in_other_words(&self, name: &[u8]) -> Option<u32> {
        let is_name = |candidate: &str| candidate.as_bytes().eq_ignore_ascii_case(name);
        let shown = self.by_value.iter().zip(0..);
        shown
            .map(|(&name, value)| (name, value))
            .chain(self.aliases.iter().copied())
            .find_map(|(candidate, value)| is_name(candidate).then_some(value))
    }

    /// How many of `names` are shorter than each length.
    const fn begin(names: &[&str]) -> [u8; Self::LONGEST + 2] {
        let mut begin = [0; Self::LONGEST + 2];
        let mut length = 0;
        while length < begin.len() {
            let mut i = 0;
            while i < names.len() {
                begin[length] += (names[i].len() < length) as u8;
                i += 1;
            }
            length += 1;
        }
        begin
    }

    /// The indices of `names`, shortest name first.
    pub(crate) const fn by_length<const N: usize>(names: &[&str; N]) -> [u8; N] {
        let mut next = Self::begin(names);
        let mut sorted = [0; N];
        let mut i = 0;
        while i < N {
            let length = names[i].len();
            sorted[next[length] as usize] = i as u8;
            next[length] += 1;
            i += 1;
        }
        sorted
    }
}

#[kunit_tests(bpf_token_names)]
mod tests {
    use crate::kind::{
        AttachType,
        Cmd,
        Kind,
        MapType,
        ProgType, //
    };

    /// The first name that is not found by its length, which only takes longer otherwise.
    fn lost<K: Kind>() -> Option<&'static str> {
        let names = K::NAMES.as_slice().iter().copied();
        names
            .zip(0..)
            .find(|(name, value)| K::NAMES.value_as_shown(name.as_bytes()) != Some(*value))
            .map(|(name, _)| name)
    }

    #[test]
    fn each_name_is_found_by_its_length() {
        assert_eq!(lost::<Cmd>(), None);
        assert_eq!(lost::<MapType>(), None);
        assert_eq!(lost::<ProgType>(), None);
        assert_eq!(lost::<AttachType>(), None);
        for name in [
            &b""[..],
            b"x",
            b"Array",
            &[b'a'; 40],
            &[b'a'; 41],
            &[b'a'; 42],
        ] {
            assert!(MapType::NAMES.value_as_shown(name).is_none());
        }
    }
}
