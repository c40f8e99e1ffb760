// SPDX-License-Identifier: GPL-2.0
//! The container: root in its own user namespace and nobody outside, with BPF to load.

use std::fs;
use std::net::UdpSocket;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use bpf_token::Container;
use bpf_token::IdMap;
use bpf_token::Request;
use bpf_token::Token;
use bpf_token::DEFAULT_BPFFS;
use libbpf_rs::MapCore;
use libbpf_rs::MapFlags;
use libbpf_rs::Object;
use rustix::net::AddressFamily;
use rustix::net::SocketType;

use crate::client;
use crate::load;
use crate::story;
use crate::tracing;
use crate::worker;
use crate::CLIENT;
use crate::STDIN;

/// The container's end of the link to the client.
const LINK: &str = "eth0";

pub fn run() -> Result<()> {
    let manager = rustix::stdio::stdin();
    let mut start = [0];
    rustix::io::read(manager, &mut start).context("wait for the manager")?;
    network()?;

    story::chapter("1. Without a delegated BPF FS");
    let error = Token::from_bpffs(DEFAULT_BPFFS).err();
    story::outcome(
        error.is_some(),
        &error.map_or("there is a token".to_owned(), |error| error.to_string()),
    );
    load::load_refused(load::EXEC);
    load::load_refused(load::PACKETS);

    story::chapter("2. With one that delegates the two programs, set up as systemd does");
    delegated(manager)?;
    let token = Token::from_bpffs(DEFAULT_BPFFS)?;
    rustix::io::write(manager, b"t")?;
    rustix::io::read(manager, &mut start).context("wait for the manager")?;
    drop(token);
    drop(tracing::three_commands()?);
    networking()?;

    story::chapter("3. With one that leaves out the types of the two programs");
    rustix::mount::unmount(DEFAULT_BPFFS, rustix::mount::UnmountFlags::empty())
        .context("unmount the BPF FS")?;
    delegated(manager)?;
    load::load_refused(load::EXEC);
    load::load_refused(load::PACKETS);

    story::chapter("4. Tracing is taken back from the running container");
    rustix::mount::unmount(DEFAULT_BPFFS, rustix::mount::UnmountFlags::empty())
        .context("unmount the BPF FS")?;
    delegated(manager)?;
    let tracer = tracing::Tracer::load()?;
    let token = Token::from_bpffs(DEFAULT_BPFFS)?;
    rustix::io::write(manager, b"n")?;
    rustix::io::read(manager, &mut start).context("wait for the manager")?;
    tracing::goes_on(&tracer)?;
    tracing::taken_back(&token);
    drop(token);
    load::load_refused(load::EXEC);

    story::chapter("5. A worker gets a narrower token, and no BPF FS");
    worker::start(&Token::from_bpffs(DEFAULT_BPFFS)?)
}

/// Gets a BPF FS from the manager.
fn delegated(manager: BorrowedFd<'_>) -> Result<()> {
    story::act(
        "container",
        "opens an fs context and sends it to the manager",
    );
    let granted = Request::send(&manager)?.wait()?;
    granted.mount(DEFAULT_BPFFS)?;
    story::act("container", "mounts it; /proc/mounts:");
    let mounts = fs::read_to_string("/proc/mounts")?;
    let line = mounts
        .lines()
        .rfind(|line| line.split(' ').nth(2) == Some("bpf"))
        .context("no BPF FS in /proc/mounts")?;
    story::evidence(line);
    Ok(())
}

fn networking() -> Result<()> {
    let object = load::load(load::PACKETS).context("load packets.bpf.o")?;
    story::outcome(true, "packets.bpf.o loads: XDP, with an array");

    let ifindex = if_index(LINK)?;
    let link = object
        .progs_mut()
        .next()
        .context("no program")?
        .attach_xdp(ifindex)
        .context("attach XDP")?;
    story::act(
        "container",
        &format!("attached it to {LINK} (ifindex {ifindex}) of its network namespace"),
    );
    let received = receive_from_client()?;
    let count = map(&object, "counts")?
        .lookup(&0u32.to_ne_bytes(), MapFlags::ANY)?
        .context("no count")?;
    let number =
        |at: usize| -> Result<u64> { Ok(u64::from_ne_bytes(count[at..at + 8].try_into()?)) };
    let (packets, bytes) = (number(0)?, number(8)?);
    drop(link);
    story::evidence(&format!(
        "sent {} packets, received {received}, counted by XDP {packets} ({bytes} bytes)",
        client::PACKETS
    ));
    // Ethernet, IPv4 and UDP headers take 14, 20 and 8 bytes.
    let length = 14 + 20 + 8 + client::PAYLOAD.len() as u64;
    story::outcome(
        packets == client::PACKETS && received == packets && bytes == packets * length,
        "every packet was counted, with its length",
    );
    Ok(())
}

/// Lets the client send, and returns how many packets came.
fn receive_from_client() -> Result<u64> {
    let receiver = UdpSocket::bind(client::TO).context("bind")?;
    receiver.set_read_timeout(Some(Duration::from_millis(200)))?;
    let (ours, theirs) = UnixStream::pair()?;
    let mut client = Container::new("demo")
        .file(fs::File::open("/proc/self/exe")?.into())
        .args([CLIENT])
        .ids([IdMap::root(0)], [IdMap::root(0)])
        .network(true)
        .pass_fd(OwnedFd::from(theirs), STDIN)
        .spawn()?;
    let pid = client.pid().to_string();
    story::act(
        "client",
        &format!(
            "sends {} UDP packets from {} through {LINK}'s peer",
            client::PACKETS,
            client::FROM
        ),
    );
    ip(&["link", "set", client::LINK, "netns", &pid])?;
    rustix::io::write(&ours, b"s")?;

    let mut received = 0;
    let mut buffer = [0; 64];
    let end = Instant::now() + Duration::from_secs(10);
    while received < client::PACKETS && Instant::now() < end {
        if let Ok(length) = receiver.recv(&mut buffer) {
            ensure!(&buffer[..length] == client::PAYLOAD, "a strange packet");
            received += 1;
        }
    }
    let status = client.wait()?;
    ensure!(status.success(), "the client ended with {status}");
    Ok(received)
}

/// A pair of links, one end of which the client will get.
fn network() -> Result<()> {
    ip(&[
        "link",
        "add",
        LINK,
        "type",
        "veth",
        "peer",
        "name",
        client::LINK,
    ])?;
    ip(&["addr", "add", &format!("{}/24", client::TO.0), "dev", LINK])?;
    ip(&["link", "set", LINK, "up"])
}

/// Runs ip(8).
pub fn ip(args: &[&str]) -> Result<()> {
    let output = Command::new("ip")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .context("run ip(8) of iproute2")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("ip {}: {}", args.join(" "), said.trim());
    }
    Ok(())
}

fn if_index(name: &str) -> Result<i32> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    let index = rustix::net::netdevice::name_to_index(&socket, name)?;
    Ok(index.try_into()?)
}

pub fn map<'a>(object: &'a Object, name: &str) -> Result<libbpf_rs::Map<'a>> {
    object
        .maps()
        .find(|map| map.name() == name)
        .with_context(|| format!("no map {name}"))
}
