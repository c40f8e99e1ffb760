// SPDX-License-Identifier: GPL-2.0
//! Callers that come and go, many at a time.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;

use super::all_succeed;
use super::raw;
use super::raw::Attr;
use super::raw::BTF_LOAD;
use super::raw::MAP_CREATE;
use super::raw::TOKEN_FLAG;
use super::tokens;
use super::CALLER;
use super::SHORT;
use super::WHOLE;

/// A hundred threads at once get one descriptor.
pub fn threads() -> Result<()> {
    let threads: Vec<_> = (0..100)
        .map(|_| std::thread::spawn(|| (0..5).try_for_each(|_| all_succeed(WHOLE))))
        .collect();
    for thread in threads {
        thread.join().ok().context("a thread panicked")??;
    }
    ensure!(tokens()? == 1, "{} descriptors of a token", tokens()?);
    Ok(())
}

/// What comes from the program has the token, too, and each program that is executed a new one.
pub fn processes() -> Result<()> {
    all_succeed(WHOLE)?;
    // SAFETY: This process has a single thread.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let done = all_succeed(WHOLE).is_ok() && all_succeed(SHORT).is_ok();
        // SAFETY: Always sound.
        unsafe { libc::_exit(i32::from(!done)) };
    }
    let mut status = -1;
    // SAFETY: The status is writable.
    unsafe { libc::waitpid(child, &mut status, 0) };
    ensure!(status == 0, "a child: {status}");
    // The supervisor is no child of this process.
    // SAFETY: As above.
    let other = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) };
    ensure!(
        other == -1,
        "a child that this process did not start: {other}"
    );
    let again = std::env::current_exe()?;
    let status = Command::new(&again).args([CALLER, "all"]).status()?;
    ensure!(status.success(), "a program started from here: {status}");
    let script = "\"$0\" \"$1\" all && exec \"$0\" \"$1\" all";
    let error = Command::new("sh")
        .args(["-c", script])
        .arg(&again)
        .arg(CALLER)
        .exec();
    Err(error.into())
}

/// Processes that are killed at any time, also in the middle of a call and of one of its forks.
pub fn killed() -> Result<()> {
    for round in 0..40 {
        // SAFETY: This process has a single thread.
        let child = unsafe { libc::fork() };
        if child == 0 {
            std::thread::spawn(|| loop {
                // SAFETY: The child of a process with threads only ends.
                unsafe {
                    if libc::fork() == 0 {
                        libc::_exit(0);
                    }
                    libc::waitpid(-1, std::ptr::null_mut(), 0);
                }
            });
            loop {
                raw::one_of_each(WHOLE);
                raw::one_of_each(SHORT);
            }
        }
        std::thread::sleep(Duration::from_micros(700 * round));
        // SAFETY: It is a child of this process, not waited for yet.
        unsafe {
            libc::kill(child, libc::SIGKILL);
            libc::waitpid(child, std::ptr::null_mut(), 0);
        }
    }
    all_succeed(WHOLE)
}

/// Attributes that change while the call is looked at: nothing that the token does not give.
pub fn changes() -> Result<()> {
    struct Shared(*mut u8);
    // SAFETY: Memory that stays for good, and that only system calls and volatile writes access.
    unsafe impl Send for Shared {}
    let mut attr = raw::map(80, 1);
    let (address, end) = (
        attr.bytes.as_mut_ptr(),
        Instant::now() + Duration::from_millis(800),
    );
    let shared = Shared(address);
    std::mem::forget(attr);
    let changer = std::thread::spawn(move || {
        let shared = shared;
        let mut count = 0u32;
        while Instant::now() < end {
            for (at, value) in [
                (0, 27u32),
                (16, 0),
                (76, count % 8),
                (0, 1),
                (16, TOKEN_FLAG),
            ] {
                // SAFETY: Within the attributes; see above.
                unsafe { shared.0.add(at).cast::<u32>().write_volatile(value) };
            }
            count = count.wrapping_add(1);
        }
    });
    let mut outcomes = std::collections::BTreeMap::new();
    while Instant::now() < end {
        let outcome = raw::call_at(MAP_CREATE, address, 80);
        if let Ok(fd) = outcome {
            let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))?;
            ensure!(info.contains("map_type:\t1\n"), "not delegated: {info}");
            raw::close(fd);
        }
        *outcomes.entry(outcome.err()).or_insert(0) += 1;
    }
    changer.join().ok().context("panicked")?;
    ensure!(outcomes.values().sum::<i32>() > 20, "{outcomes:?}");
    all_succeed(WHOLE)
}

/// Signals with a handler, all the time: no call is interrupted.
pub fn signals() -> Result<()> {
    extern "C" fn nothing(_: i32) {}
    let every = libc::itimerval {
        it_interval: libc::timeval {
            tv_sec: 0,
            tv_usec: 500,
        },
        it_value: libc::timeval {
            tv_sec: 0,
            tv_usec: 500,
        },
    };
    // SAFETY: The handler does nothing, and the timer is readable.
    unsafe {
        libc::signal(libc::SIGALRM, nothing as *const () as usize);
        libc::syscall(libc::SYS_setitimer, libc::ITIMER_REAL, &every, 0);
    }
    for sizes in [WHOLE, SHORT] {
        for _ in 0..60 {
            for (name, outcome) in raw::one_of_each(sizes) {
                // What the verifier says when a signal comes.
                let fine = outcome.is_ok() || outcome == Err(libc::EAGAIN);
                ensure!(fine, "{name}: {outcome:?}");
            }
        }
    }
    Ok(())
}

/// Signals that interrupt calls, while the supervisor holds one for long: it is made all the same.
pub fn held() -> Result<()> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    extern "C" fn count(_: i32) {
        COUNT.fetch_add(1, Ordering::Relaxed);
    }
    // The supervisor has got it before the first comes.
    let every = libc::itimerval {
        it_interval: libc::timeval {
            tv_sec: 0,
            tv_usec: 20_000,
        },
        it_value: libc::timeval {
            tv_sec: 1,
            tv_usec: 0,
        },
    };
    // SAFETY: The handler only counts; all zeros is an action without flags, so without SA_RESTART; both
    // are readable.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = count as *const () as usize;
        libc::sigaction(libc::SIGALRM, &action, std::ptr::null_mut());
        libc::syscall(libc::SYS_setitimer, libc::ITIMER_REAL, &every, 0);
    }
    let outcome = raw::map(80, 1).call(MAP_CREATE);
    ensure!(outcome.is_ok(), "{outcome:?}");
    ensure!(COUNT.load(Ordering::Relaxed) > 0, "no signal has come");
    Ok(())
}

fn supervisors() -> Result<Vec<i32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
        if name.trim() == "bpf-token-exec" {
            let pid = path.file_name().and_then(|name| name.to_str());
            found.extend(pid.and_then(|pid| pid.parse::<i32>().ok()));
        }
    }
    Ok(found)
}

/// Calls fail once there is no supervisor, and none waits for ever.
pub fn orphan() -> Result<()> {
    all_succeed(WHOLE)?;
    let found = supervisors()?;
    let [supervisor] = found[..] else {
        bail!("supervisors: {found:?}");
    };
    let waiting = std::thread::spawn(|| {
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            let outcome = raw::map(80, 1).call(MAP_CREATE);
            outcome.iter().for_each(|&fd| raw::close(fd));
            if outcome == Err(libc::ENOSYS) {
                return true;
            }
        }
        false
    });
    // SAFETY: It only has effect on the supervisor, in a container of its own.
    ensure!(unsafe { libc::kill(supervisor, libc::SIGKILL) } == 0);
    ensure!(waiting.join().ok() == Some(true), "no ENOSYS");
    let outcome = raw::btf(40).call(BTF_LOAD);
    ensure!(outcome == Err(libc::ENOSYS), "{outcome:?}");
    // Other commands are none of its business.
    let outcome = Attr::new(16).call(12);
    ensure!(outcome != Err(libc::ENOSYS), "{outcome:?}");
    Ok(())
}

/// Goes on after the command has ended: tells on standard output when it has loaded something then.
pub fn daemon() -> Result<()> {
    let parent = i32::try_from(std::process::id())?;
    // SAFETY: This process has a single thread.
    if unsafe { libc::fork() } != 0 {
        return Ok(());
    }
    // SAFETY: Always sound.
    while unsafe { libc::getppid() } == parent {
        std::thread::sleep(Duration::from_millis(10));
    }
    all_succeed(WHOLE)?;
    println!("loaded by what was left behind");
    Ok(())
}
