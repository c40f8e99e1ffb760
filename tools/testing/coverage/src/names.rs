// SPDX-License-Identifier: GPL-2.0

//! Names of functions.

/// The name of a function without its path, its generic arguments and the closures in it.
pub fn short(path: &str) -> String {
    let mut depth = 0;
    let mut before = ' ';
    let mut parts = vec![String::new()];
    for letter in path.chars() {
        match letter {
            '<' | '(' | '{' | '[' => depth += 1,
            // The arrow of a function's type closes nothing.
            '>' if before == '-' => {}
            '>' | ')' | '}' | ']' => depth -= 1,
            ':' if depth == 0 => {
                if before != ':' {
                    parts.push(String::new());
                }
            }
            letter if depth == 0 => parts.last_mut().expect("there is a part").push(letter),
            _ => {}
        }
        before = letter;
    }
    parts
        .into_iter()
        .rev()
        .find(|part| !part.is_empty())
        .unwrap_or_else(|| path.into())
}

/// Whether a function is a part of KUnit's tests: those are no code of the token.
pub fn is_test(path: &str) -> bool {
    path.contains("::tests::") || path.contains("kunit_rust_wrapper_")
}

/// Whether a function is one that a Rust program panics by: of an index or a value that is not what it must be.
pub fn panics(path: &str) -> bool {
    path.starts_with("core::panicking::") || path.starts_with("core::") && path.contains("_fail")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short() {
        assert_eq!(short("bpf_token_capable"), "bpf_token_capable");
        assert_eq!(
            short("bpf_token::mount::show::<bpf_token::kind::Cmd>"),
            "show"
        );
        assert_eq!(
            short("<bpf_token::mask::Mask<K> as core::fmt::Display>::fmt"),
            "fmt"
        );
        assert_eq!(
            short("bpf_token::create::try_create::{closure#0}"),
            "try_create"
        );
        assert_eq!(short("a::b::<fn(u32) -> u64>"), "b");
    }

    #[test]
    fn what_panics() {
        assert!(panics("core::panicking::panic_fmt"));
        assert!(panics("core::slice::index::slice_end_index_len_fail"));
        assert!(panics("core::option::unwrap_failed"));
        assert!(!panics("core::fmt::write") && !panics("bpf_token::create::must_fail"));
    }
}
