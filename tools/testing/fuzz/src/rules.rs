// SPDX-License-Identifier: GPL-2.0

//! The rows of section 5 of the design that can be seen in an outcome, and what is new in section 10, as rules that are in
//! force or not. Who uses nothing of what is new meets no rule of it.
//!
//! What is predicted with no rule in force is what C gives; with all of them, what Rust gives. D3 and D5, a leak and a
//! cost, make no difference to what a call returns.

use std::fmt;

use clap::ValueEnum;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
#[value(rename_all = "UPPER")]
pub enum Rule {
    /// A number adds to what its option said before
    D1,
    /// `common_attrs` is no command
    D2,
    /// A refusal says why
    D4,
    /// A token cannot be opened again
    D6,
    /// Section 10: flags and fields by which a token permits less, or is made of a token
    Restrict,
    /// Section 10: a cookie, which is a mount option and ends the info of a token
    Cookie,
    /// Section 10: a remount changes what is delegated
    Remount,
}

impl Rule {
    pub fn title(self) -> String {
        let value = self.to_possible_value();
        let help = value.as_ref().and_then(|value| value.get_help());
        help.map(ToString::to_string).unwrap_or_default()
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// Which rules are in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules(u8);

impl Rules {
    /// What the C kernel does.
    pub const NONE: Self = Self(0);

    /// What the Rust kernel does, if `without` were not among the differences.
    pub fn all_but(without: &[Rule]) -> Self {
        let all = Rule::value_variants().iter().copied();
        let rules = all.filter(|rule| !without.contains(rule));
        Self(rules.fold(0, |rules, rule| rules | (1 << rule as u8)))
    }

    pub fn has(self, rule: Rule) -> bool {
        self.0 & (1 << rule as u8) != 0
    }

    pub fn without(self, rule: Rule) -> Self {
        Self(self.0 & !(1 << rule as u8))
    }

    /// Those without which a prediction would be another one.
    pub fn that_matter<T: PartialEq>(self, predict: impl Fn(Self) -> T) -> Vec<Rule> {
        let all = predict(self);
        let every = Rule::value_variants().iter().copied();
        let in_force = every.filter(|rule| self.has(*rule));
        in_force
            .filter(|rule| predict(self.without(*rule)) != all)
            .collect()
    }
}
