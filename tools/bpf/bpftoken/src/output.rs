// SPDX-License-Identifier: GPL-2.0
//! What people read: tables that line up, in colour on a terminal; and JSON.

use std::io::Write;

use anstyle::AnsiColor;
use anstyle::Style;
use anyhow::Result;
use bpf_token::AnyMask;
use bpf_token::Delegation;
use bpf_token::Kernel;
use bpf_token::Kind;
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

/// The four masks, a line each, under a heading; an empty one says so.
pub fn masks(info: &TokenInfo) -> String {
    let row = |mask: AnyMask| {
        let text = if mask.is_empty() {
            (FAINT, "nothing".to_owned())
        } else {
            (Style::new(), Kernel::running().show(mask))
        };
        vec![(FAINT, format!("  {}", mask.kind.key)), text]
    };
    table(&info.masks().map(row))
}

/// A delegation as the options of `bpftoken run`.
pub fn options(info: &TokenInfo) -> String {
    let options = Delegation::from(*info).named_options();
    let option = |(kind, value): (&Kind, String)| format!("--{} {value}", kind.key);
    options
        .into_iter()
        .map(option)
        .collect::<Vec<_>>()
        .join(" ")
}

/// A delegation as lines of a systemd unit, whose names are the enumerators' in another spelling.
pub fn unit_lines(info: &TokenInfo) -> Vec<String> {
    let settings = [
        "BPFDelegateCommands",
        "BPFDelegateMaps",
        "BPFDelegatePrograms",
        "BPFDelegateAttachments",
    ];
    let mut lines: Vec<String> = [
        "PrivateUsers=yes",
        "PrivateMounts=yes",
        "DelegateNamespaces=mnt",
        "PrivateBPF=yes",
    ]
    .map(str::to_owned)
    .to_vec();
    for (setting, mask) in settings.iter().zip(info.masks()) {
        if mask.is_empty() {
            continue;
        }
        let names = if mask.bits == u64::MAX {
            "any".to_owned()
        } else {
            let names: Vec<String> = mask
                .values()
                .map(|value| unit_name(mask.kind, value))
                .collect();
            names.join(",")
        };
        lines.push(format!("{setting}={names}"));
    }
    lines
}

/// `BPF_PROG_TYPE_XDP` as `BPFProgTypeXdp`.
fn unit_name(kind: &Kind, value: u32) -> String {
    let name = format!("{}{}", kind.prefix, kind.label(value)).to_ascii_lowercase();
    let words = name.split('_').filter(|word| !word.is_empty());
    let capital = |word: &str| format!("{}{}", word[..1].to_ascii_uppercase(), &word[1..]);
    let name: String = words.map(capital).collect();
    name.replacen("Bpf", "BPF", 1)
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

#[cfg(test)]
mod tests {
    use super::*;
    use bpf_token::AttachType;
    use bpf_token::Enumerator;
    use bpf_token::MapType;

    #[test]
    fn units_have_their_own_spelling() {
        assert_eq!(unit_name(MapType::KIND, 2), "BPFMapTypeArray");
        assert_eq!(unit_name(AttachType::KIND, 37), "BPFXdp");
        let info = TokenInfo::from_bits([0x21, 0, 0, u64::MAX]);
        assert_eq!(
            unit_lines(&info)[4..],
            [
                "BPFDelegateCommands=BPFMapCreate,BPFProgLoad",
                "BPFDelegateAttachments=any"
            ]
        );
    }
}
