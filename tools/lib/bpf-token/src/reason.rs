// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why something failed: what the kernel wrote into its log, or what was found out in its place.

use std::fmt;

/// Texts up to this length are told whole in one line, in bytes.
const ONE_LINE: usize = 400;

/// What the verifier of Linux 7.3 begins its verdict with.
const VERDICT: &str = "Verification failed: ";

/// Why something failed.
///
/// Of the lines of a log, the last ones tell: a verifier's log begins with the program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reason {
    text: String,
    from_kernel: bool,
}

impl Reason {
    pub(crate) const NONE: Self = Self {
        text: String::new(),
        from_kernel: false,
    };

    /// What the kernel wrote into a log.
    pub(crate) fn new(log: &str) -> Self {
        Self {
            text: log.trim().to_owned(),
            from_kernel: true,
        }
    }

    /// What was found out in place of the kernel, or said by a library.
    pub(crate) fn found(text: impl fmt::Display) -> Self {
        Self {
            text: text.to_string().trim().to_owned(),
            from_kernel: false,
        }
    }

    /// The same with a line more.
    pub(crate) fn and(mut self, line: &str) -> Self {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(line);
        self
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Whether the kernel said it. The C implementation says nothing of refusals.
    pub fn is_from_kernel(&self) -> bool {
        self.from_kernel && !self.is_empty()
    }

    /// The text, lines separated by line feeds.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The lines of the log, first to last.
    pub fn lines(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.text.lines()
    }

    /// The line that tells the cause: the verifier's verdict (Linux 7.3 has one), else the last line
    /// but for statistics.
    ///
    /// ```
    /// # let token: Option<&bpf_token::Token> = None;
    /// use bpf_token::{Insn, ProgAttr, ProgType};
    /// // It returns without a return value, which the verifier refuses.
    /// if let Err(error) = ProgAttr::new(ProgType::XDP, &[Insn::exit()]).load(token) {
    ///     println!("{}", error.reason().summary());
    /// }
    /// ```
    pub fn summary(&self) -> &str {
        let last = |wanted: fn(&str) -> bool| self.lines().map(str::trim).rfind(|it| wanted(it));
        let verdict = last(|line| line.starts_with(VERDICT));
        verdict.or_else(|| last(tells)).unwrap_or_default()
    }

    /// What to show of a long log: these many lines from the verdict on, or the last ones if there is
    /// no verdict.
    pub fn excerpt(&self, most: usize) -> Vec<&str> {
        let lines: Vec<&str> = self.lines().collect();
        let verdict = lines.iter().rposition(|line| line.starts_with(VERDICT));
        let start = verdict.unwrap_or(lines.len().saturating_sub(most));
        lines[start..].iter().copied().take(most).collect()
    }
}

/// Whether a line is more than what every verifier's log ends with.
fn tells(line: &str) -> bool {
    const STATISTICS: [&str; 4] = [
        "processed ",
        "verification time",
        "stack depth",
        "insns processed",
    ];
    !line.is_empty() && !STATISTICS.iter().any(|word| line.starts_with(word))
}

impl fmt::Display for Reason {
    /// In one line, after `: `; a long text by its [`summary`](Self::summary).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return Ok(());
        }
        let lines: Vec<&str> = self
            .lines()
            .map(str::trim)
            .filter(|line| tells(line))
            .collect();
        let whole = lines.join("; ");
        if whole.len() <= ONE_LINE {
            return write!(f, ": {whole}");
        }
        write!(f, ": {}", self.summary())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_log_is_told_by_its_end() {
        let insns = "0: (b7) r0 = 0\n".repeat(2000);
        let log = format!("{insns}R0 !read_ok\nprocessed 2000 insns (limit 1000000)\n");
        let reason = Reason::new(&log);
        assert_eq!(reason.to_string(), ": R0 !read_ok");
        assert_eq!(reason.lines().count(), 2002);
        assert!(reason.is_from_kernel());
        let short = Reason::new("first\nsecond\nprocessed 1 insns\n");
        assert_eq!(short.to_string(), ": first; second");
        assert_eq!(Reason::default().to_string(), "");
        let verdict =
            "\nVerification failed: Out of bounds: no\n\nSuggestion:\n  Look.\n\nprocessed 1";
        let reason = Reason::new(&format!("{log}{verdict}"));
        assert_eq!(
            reason.to_string(),
            ": Verification failed: Out of bounds: no"
        );
        assert_eq!(reason.excerpt(20).len(), 6);
        assert!(!Reason::new("\n").is_from_kernel());
    }
}
