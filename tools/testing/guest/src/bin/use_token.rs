// SPDX-License-Identifier: GPL-2.0

//! Makes a map by the token whose descriptor number is the one argument. Ends with the errno of it, or 0.

use std::process::ExitCode;

use guest::bpf;
use guest::bpf::MapType;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(Ok(token)), None) = (arguments.next().map(|fd| fd.parse()), arguments.next()) else {
        panic!("takes the descriptor number of a token");
    };
    match bpf::map_create(MapType::Hash, Some(token)) {
        Ok(_) => ExitCode::SUCCESS,
        Err(errno) => ExitCode::from(errno.raw_os_error() as u8),
    }
}
