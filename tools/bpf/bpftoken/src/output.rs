// SPDX-License-Identifier: GPL-2.0
//! What people read: tables that line up, in colour on a terminal; and JSON.

use std::io::Write;

use anstyle::AnsiColor;
use anstyle::Style;
use anyhow::Result;
use bpf_token::AnyMask;
use bpf_token::Kernel;
use bpf_token::TokenInfo;
use serde::Serialize;

pub const HEAD: Style = Style::new().bold();
pub const GOOD: Style = AnsiColor::Green.on_default();
pub const BAD: Style = AnsiColor::Red.on_default();
pub const FAINT: Style = Style::new().dimmed();

/// Prints to standard output.
pub fn print(text: &str) -> Result<()> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

pub fn print_json(value: &impl Serialize) -> Result<()> {
    print(&format!("{}\n", serde_json::to_string_pretty(value)?))
}

pub fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// A table: every column but the last is as wide as its widest cell; each cell has a style.
pub fn table(rows: &[Vec<(Style, String)>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells
            .map(|(_, text)| text.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut result = String::new();
    for row in rows {
        for (column, (style, text)) in row.iter().enumerate() {
            if column + 1 == row.len() {
                result.push_str(&styled(*style, text));
            } else {
                let pad = widths[column].saturating_sub(text.chars().count()) + 2;
                result.push_str(&styled(*style, text));
                result.push_str(&" ".repeat(pad));
            }
        }
        result.push('\n');
    }
    result
}

/// The four masks, a line each, under a heading; an empty one says so. A cookie has a line, too.
pub fn masks(info: &TokenInfo) -> String {
    let row = |mask: AnyMask| {
        let text = if mask.is_empty() {
            (FAINT, "nothing".to_owned())
        } else {
            (Style::new(), Kernel::running().show(mask))
        };
        vec![(FAINT, format!("  {}", mask.kind.key)), text]
    };
    let mut rows: Vec<_> = info.masks().map(row).into();
    rows.extend(cookie(info.cookie));
    table(&rows)
}

/// The row of a cookie; none if there is none.
pub fn cookie(cookie: u64) -> Option<Vec<(Style, String)>> {
    let row = || {
        vec![
            (FAINT, "  cookie".to_owned()),
            (Style::new(), cookie.to_string()),
        ]
    };
    (cookie != 0).then(row)
}

/// How many lines of a log are shown.
const LOG_LINES: usize = 20;

/// An error, and what counts of the log that it has, if that is more than the error has in its line.
pub fn with_log(error: &bpf_token::Error) -> String {
    let mut text = error.to_string();
    text.push_str(&log(error));
    text
}

/// What counts of the log that an error has; nothing if all is in its line.
pub fn log(error: &bpf_token::Error) -> String {
    let reason = error.reason();
    let lines: Vec<&str> = reason.lines().collect();
    if lines.len() < 2 || error.to_string().contains(lines[0].trim()) {
        return String::new();
    }
    let mut text = format!("\nof the log, which has {} lines:", lines.len());
    for line in reason.excerpt(LOG_LINES) {
        text.push_str("\n  | ");
        text.push_str(line);
    }
    text
}
