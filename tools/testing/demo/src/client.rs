// SPDX-License-Identifier: GPL-2.0
//! The client: in a network namespace of its own, sends the packets that the container counts.

use std::net::UdpSocket;

use anyhow::Context;
use anyhow::Result;

use crate::container::ip;

/// How many packets it sends.
pub const PACKETS: u64 = 5;
/// What is in each.
pub const PAYLOAD: &[u8] = b"counted by XDP";

/// Where it sends from, and where to.
pub const FROM: &str = "192.0.2.2";
pub const TO: (&str, u16) = ("192.0.2.1", 4242);

/// The client's end of the link.
pub const LINK: &str = "client0";

pub fn run() -> Result<()> {
    let mut start = [0];
    rustix::io::read(rustix::stdio::stdin(), &mut start).context("wait for the link")?;
    ip(&["addr", "add", &format!("{FROM}/24"), "dev", LINK])?;
    ip(&["link", "set", LINK, "up"])?;
    let sender = UdpSocket::bind((FROM, 0)).context("bind")?;
    for _ in 0..PACKETS {
        sender.send_to(PAYLOAD, TO).context("send")?;
    }
    Ok(())
}
