// SPDX-License-Identifier: GPL-2.0
//! `bpftoken run` on a terminal, as a job of an interactive shell.

use std::fs;
use std::fs::File;
use std::io::Read;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::process::Child;
use std::process::Command;
use std::process::ExitCode;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Result;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::pty::OpenptFlags;

use crate::world::until;
use crate::world::World;
use crate::Test;

pub const TESTS: &[(&str, Test)] = &[
    ("terminal::job", job),
    ("terminal::shell_inside", shell_inside),
    ("terminal::no_input_is_pushed", no_input_is_pushed),
];

const CTRL_C: &str = "\x03";
const CTRL_Z: &str = "\x1a";

/// Whether the kernel lets everybody type into his terminal.
fn allow_typing(allow: bool) -> Result<()> {
    let value = if allow { "1" } else { "0" };
    Ok(std::fs::write("/proc/sys/dev/tty/legacy_tiocsti", value)?)
}

/// Waits until a process sleeps as no other test has one sleep: the shell has become it, and it is not stopped.
fn sleeps() -> Result<()> {
    until("sleep 1234 sleeps", || {
        let mut found = fs::read_dir("/proc")?.filter_map(|entry| {
            let process = entry.ok()?.path();
            let line = fs::read_to_string(process.join("cmdline")).ok()?;
            let stat = fs::read_to_string(process.join("stat")).ok()?;
            Some(line == "sleep\x001234\0" && stat.contains(") S "))
        });
        Ok(found.any(|it| it))
    })
}

/// An interactive shell on a terminal of its own.
struct Terminal {
    master: File,
    shell: Child,
    /// What the terminal has shown and nobody has looked for yet.
    shown: String,
    /// All that it has shown.
    all: String,
}

impl Terminal {
    fn start(world: &World) -> Result<Self> {
        let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        rustix::pty::grantpt(&master)?;
        rustix::pty::unlockpt(&master)?;
        let name = rustix::pty::ptsname(&master, Vec::new())?;
        let name = std::ffi::OsStr::from_bytes(name.to_bytes());
        let slave = File::options().read(true).write(true).open(name)?;
        let shell = Command::new("setsid")
            .args([
                "--ctty",
                "--wait",
                "bash",
                "--norc",
                "--noprofile",
                "--noediting",
                "-i",
            ])
            .env("PS1", "PROMPT>")
            .env(
                "RUN",
                format!("{} run --user 1000 --cmds map_create", world.bpftoken()),
            )
            .env("OWN", &world.own)
            .stdin(slave.try_clone()?)
            .stdout(slave.try_clone()?)
            .stderr(slave)
            .spawn()?;
        let mut terminal = Self {
            master: File::from(master),
            shell,
            shown: String::new(),
            all: String::new(),
        };
        terminal.expect("PROMPT>")?;
        terminal.enter("stty -echo")?;
        terminal.expect("PROMPT>")?;
        Ok(terminal)
    }

    fn press(&mut self, keys: &str) -> Result<()> {
        Ok(self.master.write_all(keys.as_bytes())?)
    }

    fn enter(&mut self, line: &str) -> Result<()> {
        self.press(&format!("{line}\n"))
    }

    /// Waits until the terminal shows this; returns what came before.
    fn expect(&mut self, text: &str) -> Result<String> {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(at) = self.shown.find(text) {
                let before = self.shown[..at].to_owned();
                self.shown.drain(..at + text.len());
                return Ok(before);
            }
            let left = end.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(&self.master, PollFlags::IN)];
            if rustix::event::poll(&mut fds, Some(&Timespec::try_from(left)?))? == 0 {
                bail!("no \"{text}\" at the end of: {}", self.all);
            }
            let mut bytes = [0; 4096];
            let length = self.master.read(&mut bytes)?;
            let text = String::from_utf8_lossy(&bytes[..length]);
            self.shown.push_str(&text);
            self.all.push_str(&text);
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A hang-up is what ends all that is on it; that there may be nothing left is fine.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// Ctrl-Z stops the command and bpftoken, `fg` continues both, Ctrl-C ends both.
fn job(world: &World) -> Result<()> {
    for own in ["", "--pid"] {
        allow_typing(false)?;
        let mut terminal = Terminal::start(world)?;
        terminal.enter(&format!(
            "$RUN {own} -- sh -c 'echo sta\"\"rted; exec sleep 1234'"
        ))?;
        terminal.expect("started")?;
        sleeps()?;
        terminal.press(CTRL_Z)?;
        terminal.expect("Stopped")?;
        terminal.expect("PROMPT>")?;
        terminal.enter(
            "echo \"states: $(ps -o stat= -C sleep,bpftoken | cut -c1 | tr -d '\\n') end\"",
        )?;
        terminal.expect("states: ")?;
        let states = terminal.expect(" end")?;
        ensure!(states == "TT", "{own}: {states}");
        terminal.enter("fg")?;
        terminal.expect("$RUN")?;
        sleeps()?;
        terminal.press(CTRL_C)?;
        terminal.expect("PROMPT>")?;
        terminal.enter("echo \"status $?.\"")?;
        terminal.expect("status ")?;
        let status = terminal.expect(".")?;
        ensure!(status == "130", "{own}: {status}");
    }
    Ok(())
}

/// A shell in the container has jobs of its own, and can be stopped and continued itself.
fn shell_inside(world: &World) -> Result<()> {
    for own in ["", "--pid"] {
        allow_typing(false)?;
        let mut terminal = Terminal::start(world)?;
        terminal.enter(&format!(
            "PS1='INSIDE>' $RUN {own} -- bash --norc --noprofile --noediting -i"
        ))?;
        let before = terminal.expect("INSIDE>")?;
        ensure!(!before.contains("job control"), "{own}: {before}");
        terminal.enter("sleep 1234")?;
        sleeps()?;
        terminal.press(CTRL_C)?;
        terminal.expect("INSIDE>")?;
        terminal.enter("echo \"inner $?.\"")?;
        terminal.expect("inner 130.")?;
        terminal.expect("INSIDE>")?;
        terminal.enter("suspend")?;
        terminal.expect("Stopped")?;
        terminal.expect("PROMPT>")?;
        terminal.enter("fg")?;
        terminal.expect("$RUN")?;
        terminal.enter("echo \"back $((40 + 2)).\"")?;
        terminal.expect("back 42.")?;
        terminal.expect("INSIDE>")?;
        terminal.enter("exit 5")?;
        terminal.expect("PROMPT>")?;
        terminal.enter("echo \"outer $?.\"")?;
        terminal.expect("outer 5.")?;
    }
    Ok(())
}

/// The first argument of this program when it types into its terminal; the second is added to the request.
const TYPE: &str = "terminal-type";

/// What this program does when a test starts it again.
pub fn role() -> Option<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    arguments.next().filter(|name| name == TYPE)?;
    let more: libc::Ioctl = arguments.next()?.parse().ok()?;
    for byte in b"echo pus''hed\n" {
        // SAFETY: The request reads a byte.
        unsafe { libc::ioctl(0, libc::TIOCSTI | more, byte) };
    }
    Some(ExitCode::SUCCESS)
}

/// What a container types into the terminal (TIOCSTI) would be read by the shell of root.
fn no_input_is_pushed(world: &World) -> Result<()> {
    allow_typing(true)?;
    let mut terminal = Terminal::start(world)?;
    // The kernel takes the lower half of the request.
    for more in [0, 1_u64 << 32] {
        for (run, expected) in [("", true), ("$RUN -- ", false)] {
            terminal.enter(&format!("{run}$OWN {TYPE} {more}; echo \"done $?.\""))?;
            terminal.expect("done 0.")?;
            terminal.enter("echo \"looked for $((20 + 3)).\"")?;
            let before = terminal.expect("looked for 23.")?;
            let typed = before.contains("pushed");
            ensure!(typed == expected, "{run}{more}: {before}");
        }
    }
    // What it needs of its terminal works.
    terminal.enter("$RUN -- stty size >/dev/null; echo \"stty $?.\"")?;
    terminal.expect("stty 0.")?;
    // So does Ctrl-C, also where the command has a session of its own.
    terminal.enter("$RUN -- sh -c 'echo sta\"\"rted; exec sleep 1000'")?;
    terminal.expect("started")?;
    terminal.press(CTRL_C)?;
    terminal.expect("PROMPT>")?;
    terminal.enter("echo \"status $?.\"")?;
    terminal.expect("status 130.")?;
    allow_typing(false)
}
