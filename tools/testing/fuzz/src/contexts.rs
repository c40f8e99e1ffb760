// SPDX-License-Identifier: GPL-2.0

//! Mount options in a guest: set on contexts of a container, and given to `mount(2)`.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use anyhow::Result;
use guest::container;
use guest::container::Instance;
use guest::context::Context;
use guest::kernel;
use guest::process;
use guest::process::Link;
use rustix::fs::Mode;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount;
use rustix::mount::MountFlags;
use rustix::thread::CapabilitySet;

use crate::bytes::Bytes;
use crate::case;
use crate::case::ContextSaw;
use crate::case::MountSaw;
use crate::case::Saw;
use crate::case::Setter;
use crate::case::Setting;
use crate::case::SettingSaw;
use crate::case::Value;
use crate::run::Output;
use crate::sights;

const PATH: &str = "/tmp/bpf";

/// What the manager tells the container: what came of its settings, and of `FSCONFIG_CMD_CREATE`.
type Answer = (Vec<SettingSaw>, case::Errno);

/// Sets options on contexts of a container, from both of its sides.
pub fn run(contexts: &[(usize, &[Setting])], output: &Output) {
    let (mine, theirs) = UnixStream::pair().expect("socketpair");
    let inside = |link: Link| {
        container::mount_tmpfs();
        rustix::fs::mkdirat(CWD, PATH, Mode::RWXU).expect("mkdir");
        let mut answers = BufReader::new(&theirs);
        let mut writer = output.writer();
        for (index, settings) in contexts {
            let saw = inside(settings, &link, &mut answers).expect("an answer of the manager");
            writer.saw(*index, Saw::Context(saw));
        }
    };
    container::two_sides(inside, |link| {
        for (_, settings) in contexts {
            outside(settings, &link, &mine).expect("the container listens");
        }
        link.wait_for_end();
    });
}

fn inside(settings: &[Setting], link: &Link, answers: &mut impl BufRead) -> Result<ContextSaw> {
    let context = Context::of_bpffs();
    let own = settings.iter().filter(|it| it.by == Setter::Container);
    let mut saw: Vec<_> = own.map(|setting| set(&context, setting)).collect();
    link.send_fd(&context);
    let mut answer = String::new();
    answers.read_line(&mut answer)?;
    let (others, create): Answer = serde_json::from_str(&answer)?;
    saw.extend(others);
    let mount = (create == 0).then(|| sights::of_mount(PATH, &Instance::of_context(&context)));
    Ok(ContextSaw {
        settings: saw,
        create,
        mount,
    })
}

fn outside(settings: &[Setting], link: &Link, mut answers: &UnixStream) -> Result<()> {
    let context = Context::from(link.recv_fd());
    let mut saw = Vec::new();
    for setting in settings {
        match setting.by {
            Setter::Container => (),
            Setter::Manager => saw.push(set(&context, setting)),
            Setter::Unprivileged => saw.push(process::with_capabilities(
                !CapabilitySet::SYS_ADMIN,
                || set(&context, setting),
            )),
        }
    }
    let answer: Answer = (saw, errno(mount::fsconfig_create(&context)));
    drop(context);
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    Ok(answers.write_all(&line)?)
}

fn set(context: &Context, setting: &Setting) -> SettingSaw {
    let key = setting.key.as_ref();
    let result = match &setting.value {
        Value::Text(value) => mount::fsconfig_set_string(context.as_fd(), key, value.as_ref()),
        Value::Flag => mount::fsconfig_set_flag(context.as_fd(), key),
        Value::Blob(value) => mount::fsconfig_set_binary(context.as_fd(), key, value),
    };
    SettingSaw {
        errno: errno(result),
        messages: messages(context),
    }
}

/// What the context's log says.
fn messages(context: &Context) -> Vec<Bytes> {
    let mut messages = Vec::new();
    let mut message = [0; 4096];
    loop {
        match rustix::io::read(context, &mut message) {
            Ok(length) => messages.push(Bytes(message[..length].to_vec())),
            Err(Errno::NODATA) => return messages,
            Err(errno) => panic!("read of an fsopen descriptor: {errno}"),
        }
    }
}

fn errno<T>(result: Result<T, Errno>) -> case::Errno {
    result.map_or_else(Errno::raw_os_error, |_| 0)
}

/// Gives options to `mount(2)`, and others to a remount.
pub fn run_mounts(mounts: &[(usize, &Bytes, Option<&Bytes>)], output: &Output) {
    process::run(|| {
        container::isolate_mounts();
        rustix::fs::mkdirat(CWD, PATH, Mode::RWXU).expect("mkdir");
        let mut log = kernel::Log::from_now_on();
        let mut writer = output.writer();
        for (index, data, again) in mounts {
            writer.saw(*index, Saw::Mount(mount_with(data, *again, &mut log)));
        }
    });
}

fn mount_with(data: &Bytes, again: Option<&Bytes>, log: &mut kernel::Log) -> MountSaw {
    let text =
        |data: &Bytes| std::ffi::CString::new(data.as_ref()).expect("no zero among the options");
    let flags = MountFlags::empty();
    let mut mounted = mount::mount("none", PATH, "bpf", flags, Some(&*text(data)));
    let at = mounted.is_ok().then(|| sights::At::made(PATH));
    if let Some(again) = again.filter(|_| at.is_some()) {
        mounted = mount::mount_remount(PATH, flags, &*text(again));
    }
    let mountinfo = at.map(|at| at.mountinfo());
    let messages = log.read().into_iter();
    MountSaw {
        errno: errno(mounted),
        messages: messages
            .filter(|message| message.starts_with("bpf: "))
            .map(|message| Bytes(unescaped(message.as_bytes())))
            .collect(),
        mountinfo,
    }
}

/// What /dev/kmsg shows as it was logged: there, a backslash and what cannot be printed are `\x` and two digits.
fn unescaped(message: &[u8]) -> Vec<u8> {
    let mut logged = Vec::new();
    let mut rest = message;
    while let [byte, tail @ ..] = rest {
        let escape = rest.strip_prefix(b"\\x").and_then(|rest| rest.get(..2));
        let code = escape
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        logged.push(code.unwrap_or(*byte));
        rest = if code.is_some() { &rest[4..] } else { tail };
    }
    logged
}
