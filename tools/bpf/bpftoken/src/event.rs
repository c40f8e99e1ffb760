// SPDX-License-Identifier: GPL-2.0
//! A trace event of tokens, as a line of trace_pipe tells it.

use std::collections::BTreeMap;
use std::fs;

use bpf_token::report;
use bpf_token::report::Event;
use bpf_token::AttachType;
use bpf_token::Cmd;
use bpf_token::Errno;
use bpf_token::Kernel;
use bpf_token::Kind;
use bpf_token::MapType;
use bpf_token::ProgType;
use bpf_token::TokenInfo;

use crate::output;

/// Reads a line of trace_pipe: `comm-pid [cpu] flags seconds: event: fields`.
pub fn parse(line: &str) -> Option<Event> {
    // The command may hold blanks, dashes and brackets: the first ` [` with digits and `]` ends it.
    let (at, cpu, rest) = line.match_indices(" [").find_map(|(at, open)| {
        let (cpu, rest) = line[at + open.len()..].split_once(']')?;
        Some((at, cpu.parse().ok()?, rest))
    })?;
    let (command, pid) = line[..at].trim().rsplit_once('-')?;
    // Flags may be off; the time is the first word that ends with a colon.
    let (mut time, mut rest) = rest.trim_start().split_once(' ')?;
    if !time.ends_with(':') {
        (time, rest) = rest.trim_start().split_once(' ')?;
    }
    let (name, text) = rest.trim_start().split_once(':')?;
    let mut event = Event::default();
    event.version = report::VERSION;
    event.seconds = time.strip_suffix(':')?.parse().ok()?;
    event.pid = pid.parse().ok()?;
    event.command = known(command, event.pid);
    event.cpu = cpu;
    event.event = name.to_owned();
    event.fields = fields(text);
    Some(event)
}

/// The order in which people read the fields; others follow.
const ORDER: [&str; 10] = [
    "userns",
    "cookie",
    "cmds",
    "maps",
    "progs",
    "attachs",
    "cmd",
    "type",
    "attach_type",
    "cap",
];

/// For people: masks and numbers in names, and without what is empty.
pub fn text(event: &Event) -> String {
    let mut text = format!(
        "{:.6}  {} ({})  {}",
        event.seconds,
        event.pid,
        event.command,
        output::styled(output::HEAD, &event.event)
    );
    let has_reason = event.fields.contains_key("reason");
    let mut fields: Vec<(&String, &String)> = event.fields.iter().collect();
    let place = |key: &str| ORDER.iter().position(|other| *other == key);
    // The reason, which is the longest, comes last.
    fields.sort_by_key(|(key, _)| (key.as_str() == "reason", place(key).unwrap_or(ORDER.len())));
    for (key, value) in fields {
        let value = match key.as_str() {
            // The reason says these in words.
            "type" | "attach_type" | "cap" if has_reason => continue,
            // There is none.
            "cookie" if value == "0" => continue,
            "type" | "attach_type" if type_of(event, key).is_none() => continue,
            "type" | "attach_type" => type_of(event, key).unwrap_or_default(),
            "err" => errno(value),
            "cmd" => value
                .parse()
                .map_or_else(|_| value.to_owned(), |cmd| Cmd::new(cmd).to_string()),
            _ => names(key, value).unwrap_or_else(|| value.to_owned()),
        };
        if !value.is_empty() {
            text.push_str(&format!("  {}={value}", output::styled(output::FAINT, key)));
        }
    }
    text.push('\n');
    text
}

/// The name of a type that a token is used for; none if the command has none.
fn type_of(event: &Event, key: &str) -> Option<String> {
    let number = |key: &str| -> Option<u32> { event.fields.get(key)?.parse().ok() };
    let value = number(key)?;
    match (Cmd::new(number("cmd")?), key) {
        (Cmd::MAP_CREATE, "type") => Some(MapType::new(value).to_string()),
        (Cmd::PROG_LOAD, "type") => Some(ProgType::new(value).to_string()),
        (Cmd::PROG_LOAD, "attach_type") => Some(AttachType::new(value).to_string()),
        _ => None,
    }
}

/// The kernel learns a command's name only when it next schedules; until then it says `<...>`.
fn known(command: &str, pid: i32) -> String {
    if command != "<...>" {
        return command.to_owned();
    }
    match fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(comm) => comm.trim_end().to_owned(),
        // It has ended.
        Err(_) => command.to_owned(),
    }
}

/// `key=value` pairs, separated by blanks; a value may be in double quotes, which end the text.
fn fields(text: &str) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    let mut rest = text.trim();
    while let Some((key, value)) = rest.split_once('=') {
        if let Some(quoted) = value.strip_prefix('"') {
            fields.insert(key.to_owned(), quoted.trim_end_matches('"').to_owned());
            break;
        }
        let (value, next) = value.split_once(' ').unwrap_or((value, ""));
        fields.insert(key.to_owned(), value.to_owned());
        rest = next.trim_start();
    }
    fields
}

/// `-1` as `EPERM`.
fn errno(value: &str) -> String {
    let number: Option<i32> = value.parse().ok();
    let name = number.and_then(|number| Errno::new(number.abs()).name());
    name.unwrap_or(value).to_owned()
}

/// A mask in names; none if this is no field of a mask.
fn names(key: &str, value: &str) -> Option<String> {
    let at = Kind::ALL.iter().position(|kind| kind.key == key)?;
    let hex = value.strip_prefix("0x").unwrap_or(value);
    let mut bits = [0; 4];
    bits[at] = u64::from_str_radix(hex, 16).ok()?;
    Some(Kernel::running().show(TokenInfo::from_bits(bits).masks()[at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: &str = "        a [b]-c-42      [001] ...1.   105.250000: bpf_token_refuse: \
                           userns=7 cmds=0x21 maps=0x0 cmd=5 cap=39 err=-1 reason=\"no xdp (a=b), \
                           sorry\"";

    #[test]
    fn lines_of_trace_pipe_are_read() {
        let event = parse(REFUSED).unwrap();
        assert_eq!(event.command, "a [b]-c");
        assert_eq!((event.pid, event.cpu), (42, 1));
        assert_eq!(event.event, "bpf_token_refuse");
        assert!((event.seconds - 105.25).abs() < 1e-9);
        assert_eq!(event.fields["userns"], "7");
        assert_eq!(event.fields["reason"], "no xdp (a=b), sorry");
        assert!(parse("CPU:1 [LOST 3 EVENTS]").is_none());
    }

    #[test]
    fn uses_have_the_names_of_their_types() {
        let shown = |fields: &str| {
            let line = format!("sh-42 [001] ...1. 105.25: bpf_token_use: userns=7 {fields}");
            let shown = text(&parse(&line).unwrap());
            let plain = anstream::adapter::strip_str(&shown).to_string();
            plain.split_once("userns=7").unwrap().1.trim().to_owned()
        };
        assert_eq!(
            shown("cookie=9 cmd=5 type=6 attach_type=37"),
            "cookie=9  cmd=prog_load  type=xdp  attach_type=xdp"
        );
        assert_eq!(
            shown("cookie=0 cmd=0 type=2 attach_type=0"),
            "cmd=map_create  type=array"
        );
        assert_eq!(
            shown("cookie=0 cmd=18 type=0 attach_type=0"),
            "cmd=btf_load"
        );
    }

    #[test]
    fn people_read_names() {
        let shown = text(&parse(REFUSED).unwrap());
        let plain = anstream::adapter::strip_str(&shown).to_string();
        assert_eq!(
            plain,
            "105.250000  42 (a [b]-c)  bpf_token_refuse  userns=7  cmds=map_create:prog_load  \
             cmd=prog_load  err=EPERM  reason=no xdp (a=b), sorry\n"
        );
    }
}
