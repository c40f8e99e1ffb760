// SPDX-License-Identifier: GPL-2.0

//! Whether what was seen on both kernels is the same, but for what the rules account for.

use crate::bytes::Bytes;
use crate::case;
use crate::case::Call;
use crate::case::CallSaw;
use crate::case::Case;
use crate::case::Command;
use crate::case::ContextSaw;
use crate::case::MountSaw;
use crate::case::Mounted;
use crate::case::Reopen;
use crate::case::Saw;
use crate::case::Setting;
use crate::case::SettingSaw;
use crate::case::Token;
use crate::command;
use crate::creation;
use crate::info;
use crate::layout::Descriptor;
use crate::log;
use crate::log::Addition;
use crate::names;
use crate::names::Names;
use crate::options;
use crate::options::Expected;
use crate::remounts;
use crate::rules::Rule;
use crate::rules::Rules;

/// Which rules explain that two sights differ; or why they must not.
pub type Verdict = Result<Vec<Rule>, String>;

/// A comparison.
pub struct Comparison<'a> {
    pub names: &'a Names,
    /// What holds on the Rust kernel.
    pub rules: Rules,
}

impl Comparison<'_> {
    pub fn compare(&self, case: &Case, c: &Saw, rust: &Saw) -> Verdict {
        match (case, c, rust) {
            (Case::Context(settings), Saw::Context(c), Saw::Context(rust)) => {
                self.context(settings, c, rust)
            }
            (Case::Mount(data), Saw::Mount(c), Saw::Mount(rust)) => self.mount(data, c, rust),
            (Case::Remount(data, again), Saw::Mount(c), Saw::Mount(rust)) => {
                self.remount(data, again, c, rust)
            }
            (Case::Call(call), Saw::Call(c), Saw::Call(rust)) => self.call(call, c, rust),
            (Case::Reopen(reopen), Saw::Reopen(c), Saw::Reopen(rust)) => {
                self.reopen(reopen, *c, *rust)
            }
            _ => Err("what was seen is not of this case".to_owned()),
        }
    }

    fn context(&self, settings: &[Setting], c: &ContextSaw, rust: &ContextSaw) -> Verdict {
        let predict = |rules| options::context(self.names, settings, rules);
        let (of_c, of_rust) = (predict(Rules::NONE), predict(self.rules));
        let count = settings.len();
        if [c.settings.len(), rust.settings.len()] != [count, count] {
            return Err("not all settings were made".to_owned());
        }
        for index in 0..count {
            let (seen_c, seen_rust) = (&c.settings[index], &rust.settings[index]);
            let (of_c, of_rust) = (&of_c.settings[index], &of_rust.settings[index]);
            self.setting(of_c, seen_c, of_rust, seen_rust)
                .map_err(|why| format!("setting {}: {why}", index + 1))?;
        }
        if c.create != rust.create {
            return Err("FSCONFIG_CMD_CREATE differs".to_owned());
        }
        match (&c.mount, &rust.mount) {
            (None, None) => (),
            (Some(c), Some(rust)) => self.mounted(of_c.masks, c, of_rust.masks, rust)?,
            _ => return Err("mounted on one of them only".to_owned()),
        }
        Ok(self.rules.that_matter(predict))
    }

    fn setting(
        &self,
        of_c: &Expected,
        c: &SettingSaw,
        of_rust: &Expected,
        rust: &SettingSaw,
    ) -> Result<(), String> {
        if of_c == of_rust && c != rust {
            return Err("must be the same".to_owned());
        }
        self.one("C", of_c, b"e ", c.errno, &c.messages)?;
        self.one("Rust", of_rust, b"e ", rust.errno, &rust.messages)
    }

    /// Whether one kernel does with an option as it must.
    fn one(
        &self,
        who: &str,
        expected: &Expected,
        before: &[u8],
        errno: case::Errno,
        messages: &[Bytes],
    ) -> Result<(), String> {
        let (expected, reason) = match expected {
            Expected::Same => return Ok(()),
            Expected::Accepted => (0, None),
            Expected::Refused(errno, reason) => (*errno, reason.as_ref()),
        };
        if errno != expected {
            return Err(format!("{who} gives errno {errno}, not {expected}"));
        }
        let matches = match (reason, messages) {
            (None, []) => true,
            (Some(reason), [message]) => {
                let message = message.strip_prefix(before);
                let message = message.map(|rest| rest.strip_suffix(b"\n").unwrap_or(rest));
                message.is_some_and(|message| reason.matches(self.names, message))
            }
            _ => false,
        };
        if !matches {
            return Err(format!(
                "{who} says {messages:?}, but was to say {reason:?}"
            ));
        }
        Ok(())
    }

    fn mounted(
        &self,
        of_c: [u64; 4],
        c: &Mounted,
        of_rust: [u64; 4],
        rust: &Mounted,
    ) -> Result<(), String> {
        self.shown("mountinfo", of_c, &c.mountinfo, of_rust, &rust.mountinfo)?;
        self.shown("statmount", of_c, &c.statmount, of_rust, &rust.statmount)?;
        self.token("C", of_c, &c.token)?;
        self.token("Rust", of_rust, &rust.token)?;
        match (&c.token, &rust.token) {
            (Ok(c), Ok(rust)) if others_of(c) != others_of(rust) => {
                Err("the fdinfo of the token differs".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Whether a mount is shown with the masks it has, and otherwise the same.
    fn shown(
        &self,
        place: &str,
        of_c: [u64; 4],
        c: &Bytes,
        of_rust: [u64; 4],
        rust: &Bytes,
    ) -> Result<(), String> {
        let mut others = Vec::new();
        for (who, masks, shown) in [("C", of_c, c), ("Rust", of_rust, rust)] {
            let words = shown.split(|byte| *byte == b',');
            let is_ours = |word: &&[u8]| {
                let key = word.split(|byte| *byte == b'=').next();
                key.and_then(options::kind_of).is_some()
            };
            let (ours, other): (Vec<_>, Vec<_>) = words.partition(is_ours);
            let expected = names::shown(self.names, masks);
            if ours != expected.iter().map(String::as_bytes).collect::<Vec<_>>() {
                return Err(format!("{place}: {who} does not show {expected:?}"));
            }
            others.push(other.join(&b','));
        }
        if others[0] != others[1] {
            return Err(format!("{place} differs"));
        }
        Ok(())
    }

    fn token(
        &self,
        who: &str,
        masks: [u64; 4],
        token: &Result<Token, case::Errno>,
    ) -> Result<(), String> {
        let is_expected = match token {
            Ok(token) => {
                let shown: Vec<_> = token.fdinfo.lines().filter(is_mask).collect();
                masks != [0; 4] && token.info == masks && shown == names::fdinfo(self.names, masks)
            }
            Err(errno) => masks == [0; 4] && *errno == libc::ENOENT,
        };
        if !is_expected {
            return Err(format!("{who}'s token is not one of {masks:x?}"));
        }
        Ok(())
    }

    fn mount(&self, data: &Bytes, c: &MountSaw, rust: &MountSaw) -> Verdict {
        let predict = |rules| options::data(self.names, data, rules);
        let same = || {
            if c == rust {
                Ok(Vec::new())
            } else {
                Err("must be the same".to_owned())
            }
        };
        let (of_c, of_rust) = match (predict(Rules::NONE), predict(self.rules)) {
            (Some(of_c), Some(of_rust)) => (of_c, of_rust),
            (None, None) => return same(),
            // The VFS refuses an option behind one that only Rust refuses.
            (None, Some((of_rust, _))) if matches!(of_rust, Expected::Refused(..)) => {
                self.one("Rust", &of_rust, b"", rust.errno, &rust.messages)?;
                return Ok(self.rules.that_matter(predict));
            }
            _ => return Err("C does not come to the same option".to_owned()),
        };
        if of_c == of_rust {
            same()?;
        }
        self.one("C", &of_c.0, b"", c.errno, &c.messages)?;
        self.one("Rust", &of_rust.0, b"", rust.errno, &rust.messages)?;
        for (who, (expected, masks), saw) in [("C", &of_c, c), ("Rust", &of_rust, rust)] {
            let is_mounted = *expected == Expected::Accepted;
            if saw.mountinfo.is_some() != is_mounted {
                return Err(format!("{who} has mounted, or not"));
            }
            if let Some(shown) = &saw.mountinfo {
                self.shown("mountinfo", *masks, shown, *masks, shown)?;
                let expected = names::shown(self.names, *masks);
                let expected: Vec<_> = ["bpf none rw".to_owned()]
                    .into_iter()
                    .chain(expected)
                    .collect();
                if **shown != *expected.join(",").as_bytes() {
                    return Err(format!("{who}'s line of mountinfo is not {expected:?}"));
                }
            }
        }
        Ok(self.rules.that_matter(predict))
    }

    fn remount(&self, data: &Bytes, again: &Bytes, c: &MountSaw, rust: &MountSaw) -> Verdict {
        let predict = |rules| remounts::outcome(self.names, data, again, rules);
        let (of_c, of_rust) = (predict(Rules::NONE), predict(self.rules));
        if let (None, None) = (of_c, of_rust) {
            return if c.errno == rust.errno {
                Ok(Vec::new())
            } else {
                Err("must be the same errno".to_owned())
            };
        }
        for (who, expected, saw) in [("C", of_c, c), ("Rust", of_rust, rust)] {
            let Some(expected) = expected else { continue };
            let mut words = vec!["bpf none rw".to_owned()];
            words.extend(names::shown(self.names, expected.masks));
            if expected.cookie != 0 {
                words.push(format!("{}={}", remounts::COOKIE, expected.cookie));
            }
            let words = words.join(",").into_bytes();
            let expected = (expected.errno, Some(Bytes(words)), Vec::new());
            if (saw.errno, saw.mountinfo.clone(), saw.messages.clone()) != expected {
                return Err(format!("{who} must give {expected:?}"));
            }
        }
        Ok(self.rules.that_matter(predict))
    }

    fn call(&self, call: &Call, c: &CallSaw, rust: &CallSaw) -> Verdict {
        match call.command {
            Command::TokenCreate if command::well_formed(call) && creation::is_beyond_c(call) => {
                let refused = CallSaw {
                    errno: libc::EINVAL,
                    token: None,
                    log: None,
                    ..c.clone()
                };
                if *c != refused || !c.common_written.is_empty() {
                    return Err("C must not take it".to_owned());
                }
                let predict = |rules| creation::beyond_c(self.names, call, c, rules);
                return self.predicted(rust, predict);
            }
            Command::ObjGetInfoByFd if command::well_formed(call) => {
                let predict = |rules| info::with_cookie(self.names, call, c, rules);
                return self.predicted(rust, predict);
            }
            _ => (),
        }
        let refusal = command::refusal(self.names, call);
        if refusal.is_none() && call.command == Command::ProgLoad && rust != c {
            let full = command::verified_without(self.names, call)
                .and_then(|line| log::behind_a_full_log(call, &line, c));
            if let Some(full) = full {
                let predict = |rules: Rules| match rules.has(Rule::D4) {
                    true => full.clone(),
                    false => c.clone(),
                };
                return self.predicted(rust, predict);
            }
        }
        let addition = match refusal {
            Some(refusal) => log::addition(call, &refusal),
            None if call.command == Command::ProgLoad => {
                command::verified_without(self.names, call)
                    .and_then(|line| log::behind_the_verifier(call, &line, c))
            }
            None => None,
        };
        let predict = |rules: Rules| -> Option<&Addition> {
            let visible = addition.as_ref().filter(|addition| addition.is_visible());
            visible.filter(|_| rules.has(Rule::D4))
        };
        if let Some(addition) = &addition {
            addition.check_c(c)?;
        }
        let expected = predict(self.rules).map_or_else(|| c.clone(), |it| it.apply(call, c));
        if *rust != expected {
            return Err(format!("Rust must give {expected:?}"));
        }
        Ok(self.rules.that_matter(predict))
    }

    fn predicted(&self, rust: &CallSaw, predict: impl Fn(Rules) -> CallSaw) -> Verdict {
        let expected = predict(self.rules);
        if *rust != expected {
            return Err(format!("Rust must give {expected:?}"));
        }
        Ok(self.rules.that_matter(predict))
    }

    fn reopen(&self, reopen: &Reopen, c: case::Errno, rust: case::Errno) -> Verdict {
        let is_token = Descriptor::of(reopen.fd).is_some_and(|descriptor| {
            descriptor.delegated().is_some() || descriptor == Descriptor::TokenPath
        });
        let has = |flags: i32| reopen.flags & flags as u32 == flags as u32;
        let is_valid = !has(libc::O_PATH) && !has(libc::O_CREAT | libc::O_DIRECTORY);
        // C opens it; that it cannot be used with O_DIRECT, it finds afterwards.
        let opened = if has(libc::O_DIRECT) { libc::EINVAL } else { 0 };
        let is_opened = is_token && is_valid && c == opened;
        let predict = |rules: Rules| {
            if is_opened && rules.has(Rule::D6) {
                libc::ENXIO
            } else {
                c
            }
        };
        let expected = predict(self.rules);
        if rust != expected {
            return Err(format!("Rust gives errno {rust}, not {expected}"));
        }
        Ok(self.rules.that_matter(predict))
    }
}

fn is_mask(line: &&str) -> bool {
    line.starts_with("allowed_")
}

/// What an fdinfo has besides the masks.
fn others_of(token: &Token) -> Vec<&str> {
    let lines = token.fdinfo.lines();
    lines.filter(|line| !is_mask(line)).collect()
}
