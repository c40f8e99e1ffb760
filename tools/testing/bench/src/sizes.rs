// SPDX-License-Identifier: GPL-2.0
//! The size of code and data, from `llvm-nm --print-size` of both kernels.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use serde::Serialize;

use crate::report::thousands;

/// The functions whose sizes are shown, in both languages under the same name.
const FUNCTIONS: [&str; 18] = [
    "bpf_token_capable",
    "bpf_token_inc",
    "bpf_token_put",
    "bpf_token_create",
    "bpf_token_get_from_fd",
    "bpf_token_get_info_by_fd",
    "bpf_token_allow_cmd",
    "bpf_token_allow_map_type",
    "bpf_token_allow_prog_type",
    "bpf_admit_map_create",
    "bpf_admit_prog_load",
    "bpf_admit_btf_load",
    "bpf_admit_btf_get_fd_by_id",
    "__sys_bpf",
    "bpf_parse_param",
    "bpf_show_options",
    "map_create",
    "bpf_prog_load",
];

/// What the mangled names of the crate have in them.
const CRATE: &str = "9bpf_token";

/// The bytes of something in both kernels.
#[derive(Serialize)]
pub struct Size {
    what: String,
    /// In C; none where there is no such function.
    c: Option<u64>,
    /// In Rust; none where there is no such function.
    rust: Option<u64>,
}

#[derive(Default)]
struct Image {
    functions: BTreeMap<String, u64>,
    text: u64,
    data: u64,
    of_crate: u64,
}

impl Image {
    fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let mut image = Self::default();
        for line in text.lines() {
            // address size type name
            let [_, size, kind, name] = line.split_whitespace().collect::<Vec<_>>()[..] else {
                continue;
            };
            let Ok(size) = u64::from_str_radix(size, 16) else {
                continue;
            };
            match kind {
                "t" | "T" | "w" | "W" => {
                    image.text += size;
                    if name.contains(CRATE) && !name.contains("kunit") {
                        image.of_crate += size;
                    }
                    image.functions.insert(name.to_owned(), size);
                }
                "d" | "D" | "r" | "R" | "b" | "B" => image.data += size,
                _ => {}
            }
        }
        ensure!(image.text > 0, "{}: no symbols with a size", path.display());
        Ok(image)
    }
}

/// Compares the symbols of two kernels.
pub fn compare(c: &Path, rust: &Path) -> Result<Vec<Size>> {
    let (c, rust) = (Image::read(c)?, Image::read(rust)?);
    let row = |what: &str, c, rust| Size {
        what: what.to_owned(),
        c,
        rust,
    };
    let of = |image: &Image, name: &str| image.functions.get(name).copied();
    let mut sizes: Vec<_> = FUNCTIONS
        .iter()
        .map(|name| row(name, of(&c, name), of(&rust, name)))
        .collect();
    sizes.push(row("functions inside the crate", None, Some(rust.of_crate)));
    sizes.push(row(
        "all functions of vmlinux",
        Some(c.text),
        Some(rust.text),
    ));
    sizes.push(row("all data of vmlinux", Some(c.data), Some(rust.data)));
    Ok(sizes)
}

/// Prints the second table.
pub fn print(sizes: &[Size]) {
    let bytes = |size: Option<u64>| size.map_or("-".to_owned(), |size| thousands(size as f64));
    println!("\n| bytes of code | C | Rust |\n| --- | ---: | ---: |");
    for size in sizes {
        println!(
            "| {} | {} | {} |",
            size.what,
            bytes(size.c),
            bytes(size.rust)
        );
    }
}
