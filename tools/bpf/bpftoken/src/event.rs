// SPDX-License-Identifier: GPL-2.0
//! A trace event of tokens, as a line of trace_pipe tells it.

use std::borrow::Cow;
use std::fs;

use bpf_token::Cmd;
use bpf_token::Errno;
use bpf_token::Kernel;
use bpf_token::Kind;
use bpf_token::TokenInfo;
use serde::ser::SerializeMap;
use serde::Serialize;
use serde::Serializer;

use crate::output;

/// A line of trace_pipe: `comm-pid [cpu] flags seconds: event: fields`.
#[derive(Serialize)]
pub struct Event<'a> {
    seconds: f64,
    command: Cow<'a, str>,
    pid: i32,
    cpu: u32,
    event: &'a str,
    #[serde(serialize_with = "as_map")]
    fields: Vec<(&'a str, &'a str)>,
}

impl<'a> Event<'a> {
    pub fn parse(line: &'a str) -> Option<Self> {
        // The command may hold blanks, dashes and brackets: the first ` [` with digits and `]` ends
        // it.
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
        let time = time.strip_suffix(':')?;
        let (event, text) = rest.trim_start().split_once(':')?;
        let pid = pid.parse().ok()?;
        Some(Self {
            seconds: time.parse().ok()?,
            command: known(command, pid),
            pid,
            cpu,
            event,
            fields: fields(text),
        })
    }

    /// For people: masks and numbers in names, and without what is empty.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{:.6}  {} ({})  {}",
            self.seconds,
            self.pid,
            self.command,
            output::styled(output::HEAD, self.event)
        );
        let has_reason = self.fields.iter().any(|(key, _)| *key == "reason");
        for &(key, value) in &self.fields {
            let value = match key {
                // The reason says these in words.
                "type" | "attach_type" | "cap" if has_reason => continue,
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
}

/// The kernel learns a command's name only when it next schedules; until then it says `<...>`.
fn known(command: &str, pid: i32) -> Cow<'_, str> {
    if command != "<...>" {
        return command.into();
    }
    match fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(comm) => comm.trim_end().to_owned().into(),
        // It has ended.
        Err(_) => command.into(),
    }
}

/// `key=value` pairs, separated by blanks; a value may be in double quotes, which end the text.
fn fields(text: &str) -> Vec<(&str, &str)> {
    let mut fields = Vec::new();
    let mut rest = text.trim();
    while let Some((key, value)) = rest.split_once('=') {
        if let Some(quoted) = value.strip_prefix('"') {
            fields.push((key, quoted.trim_end_matches('"')));
            break;
        }
        let (value, next) = value.split_once(' ').unwrap_or((value, ""));
        fields.push((key, value));
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

fn as_map<S: Serializer>(fields: &[(&str, &str)], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(fields.len()))?;
    for (key, value) in fields {
        map.serialize_entry(key, value)?;
    }
    map.end()
}

#[cfg(test)]
mod tests {
    use super::Event;

    const REFUSED: &str = "        a [b]-c-42      [001] ...1.   105.250000: bpf_token_refuse: \
                           userns=7 cmds=0x21 maps=0x0 cmd=5 cap=39 err=-1 reason=\"no xdp (a=b), \
                           sorry\"";

    #[test]
    fn lines_of_trace_pipe_are_read() {
        let event = Event::parse(REFUSED).unwrap();
        assert_eq!(event.command, "a [b]-c");
        assert_eq!((event.pid, event.cpu), (42, 1));
        assert_eq!(event.event, "bpf_token_refuse");
        assert!((event.seconds - 105.25).abs() < 1e-9);
        assert_eq!(event.fields[0], ("userns", "7"));
        assert_eq!(event.fields[6], ("reason", "no xdp (a=b), sorry"));
        assert!(Event::parse("CPU:1 [LOST 3 EVENTS]").is_none());
    }

    #[test]
    fn people_read_names() {
        let text = Event::parse(REFUSED).unwrap().text();
        let plain = anstream::adapter::strip_str(&text).to_string();
        assert_eq!(
            plain,
            "105.250000  42 (a [b]-c)  bpf_token_refuse  userns=7  cmds=map_create:prog_load  \
             cmd=prog_load  err=EPERM  reason=no xdp (a=b), sorry\n"
        );
    }
}
