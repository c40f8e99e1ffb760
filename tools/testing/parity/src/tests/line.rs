// SPDX-License-Identifier: GPL-2.0
//! Lines: what does not fit is left out, and a zero follows.

use crate::line::Line;

/// The longest line.
const MOST: usize = 399;

#[test]
fn lines_end_where_there_is_no_more_room() {
    for length in [0, 1, MOST - 1, MOST, MOST + 1, 2 * MOST] {
        let text = "x".repeat(length);
        let line = Line::new(&text);
        let fits = length.min(MOST);
        assert_eq!(line.as_str(), &text[..fits]);
        assert_eq!(
            line.as_c_bytes(),
            [&text.as_bytes()[..fits], b"\0"].concat()
        );
    }
}

/// Text comes in parts; what follows the first part that does not fit is left out, too.
#[test]
fn lines_are_made_of_parts() {
    struct Parts(usize);
    impl core::fmt::Display for Parts {
        fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
            f.write_str(&"a".repeat(self.0))?;
            f.write_str("bc")?;
            f.write_str("d")
        }
    }
    for (first, tail) in [
        (0, "bcd"),
        (MOST - 3, "bcd"),
        (MOST - 2, "bc"),
        (MOST - 1, "b"),
        (MOST, ""),
    ] {
        let line = Line::new(&Parts(first));
        assert_eq!(line.as_str(), "a".repeat(first) + tail);
    }
}
