// SPDX-License-Identifier: GPL-2.0
//! The story as it is printed: who does what, the evidence, and whether it came out as it should.

use std::io::Write;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

/// The width to print for, in columns.
const WIDTH: usize = 100;

static UNEXPECTED: AtomicUsize = AtomicUsize::new(0);

/// A heading.
pub fn chapter(text: &str) {
    print(&format!("\n{text}\n"));
}

/// `who` does something.
pub fn act(who: &str, text: &str) {
    print(&wrapped(&format!("  {who:<10} "), text));
}

/// What somebody else (the kernel, libbpf) said, word for word.
pub fn evidence(text: &str) {
    for line in text.lines() {
        print(&wrapped("             | ", line));
    }
}

/// An outcome, and whether it is the expected one. The program fails if any is not.
pub fn outcome(expected: bool, text: &str) {
    let mark = if expected { "ok" } else { "UNEXPECTED" };
    if !expected {
        UNEXPECTED.fetch_add(1, Ordering::Relaxed);
    }
    print(&wrapped(&format!("  {mark:>10} "), text));
}

/// How many outcomes were not as expected.
pub fn unexpected() -> usize {
    UNEXPECTED.load(Ordering::Relaxed)
}

/// Manager and container share one terminal: every line goes out at once and whole.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    // Nothing is left to tell a reader who has gone.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Breaks at blanks, commas and colons; lines after the first are indented as deep as `head` is
/// long.
fn wrapped(head: &str, text: &str) -> String {
    let mut result = String::new();
    let mut line = head.to_owned();
    for word in text.split_inclusive([' ', ',', ':']) {
        let used = line.chars().count();
        if used + word.trim_end().chars().count() > WIDTH && used > head.len() {
            result.push_str(line.trim_end());
            result.push('\n');
            line = head
                .chars()
                .map(|c| if c == '|' { '|' } else { ' ' })
                .collect();
        }
        line.push_str(word);
    }
    result.push_str(line.trim_end());
    result.push('\n');
    result
}
