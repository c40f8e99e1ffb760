// SPDX-License-Identifier: GPL-2.0
//! The macros of the kernel crate that the policy uses, for its build on the host.

use proc_macro::TokenStream;

/// Makes unit tests of a suite of KUnit tests.
#[proc_macro_attribute]
pub fn kunit_tests(_name: TokenStream, suite: TokenStream) -> TokenStream {
    let mut tests: TokenStream = "#[cfg(test)]".parse().expect("an attribute");
    tests.extend(suite);
    tests
}
