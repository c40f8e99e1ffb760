// SPDX-License-Identifier: GPL-2.0
//! Cuts upstream's policy out of its unpatched tree, `$BUILD/linux-c`, and compiles it; has bindgen read its UAPI.

use std::env;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One C file of the tree, of which parts are taken as they are.
struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    fn open(tree: &Path, file: &str) -> Self {
        let path = tree.join(file);
        println!("cargo:rerun-if-changed={}", path.display());
        let text = fs::read_to_string(&path).unwrap_or_else(|error| {
            panic!(
                "{}: {error}; tools/testing/runner/tree.sh c makes it",
                path.display()
            )
        });
        Self { path, text }
    }

    /// What begins with the line that has `begin`, up to the first line that begins with `end`, which belongs to it.
    fn part(&self, begin: &str, end: &str) -> String {
        let lines: Vec<&str> = self.text.lines().collect();
        let begins: Vec<usize> = (0..lines.len())
            .filter(|&i| lines[i].contains(begin) && !lines[i].starts_with(['\t', ' ']))
            .filter(|&i| !lines[i].ends_with(';'))
            .collect();
        let [first] = begins[..] else {
            panic!(
                "{} has {begin:?} {} times",
                self.path.display(),
                begins.len()
            )
        };
        let last = (first..lines.len())
            .find(|&i| lines[i].starts_with(end))
            .unwrap_or_else(|| panic!("{}: {begin:?} has no end", self.path.display()));
        let text = lines[first..=last].join("\n");
        format!("#line {} {:?}\n{text}\n", first + 1, self.path)
    }

    /// A whole function.
    fn function(&self, name: &str) -> String {
        self.part(&format!("{name}("), "}")
    }

    /// The begin of a function, before the line `\tuntil...`; it hands the token over and gives it back as the whole does.
    fn head(&self, name: &str, until: &str, handed_over: &str) -> String {
        let text = self.part(&format!("{name}("), &format!("\t{until}"));
        let (text, _) = text.trim_end().rsplit_once('\n').expect("more than a line");
        format!("{text}\n{handed_over}\treturn 0;\nput_token:\n\tbpf_token_put(token);\n\treturn err;\n}}\n")
    }
}

/// The tables of the enums as BTF would have them, from what bindgen wrote.
fn btf(bindings: &str) -> String {
    let (mut names, mut tables, mut types) = (String::new(), String::new(), String::new());
    let mut offset = 0;
    for kind in [
        "bpf_cmd",
        "bpf_map_type",
        "bpf_prog_type",
        "bpf_attach_type",
    ] {
        let mut count = 0;
        writeln!(tables, "static const struct btf_enum {kind}_values[] = {{").expect("memory");
        for line in bindings.lines() {
            let Some(constant) = line.strip_prefix(&format!("pub const {kind}_")) else {
                continue;
            };
            let Some((name, value)) = constant.split_once(&format!(": {kind} = ")) else {
                continue;
            };
            writeln!(names, "\t{name:?},").expect("memory");
            writeln!(tables, "\t{{ {offset}, {} }},", value.trim_end_matches(';')).expect("memory");
            offset += 1;
            count += 1;
        }
        assert!(count > 30, "bindgen has {count} enumerators of {kind}");
        tables += "};\n";
        writeln!(types, "\t{{ {kind:?}, {kind}_values, {count} }},").expect("memory");
    }
    format!(
        "#include \"kernel.h\"\nconst char *const btf_names[] = {{\n{names}}};\n{tables}\
         const struct btf_type btf_types[4] = {{\n{types}}};\n"
    )
}

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    println!("cargo:rerun-if-env-changed=BUILD");
    println!("cargo:rerun-if-changed=c");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-check-cfg=cfg(CONFIG_HAVE_EFFICIENT_UNALIGNED_ACCESS)");
    let build = env::var_os("BUILD").expect("BUILD names the directory of the builds");
    let tree = Path::new(&build).join("linux-c");
    let write =
        |name: &str, text: &str| fs::write(out.join(name), text).expect("OUT_DIR is writable");

    // Of the headers, only those that are upstream's own; what they include is the host's.
    fs::create_dir_all(out.join("linux")).expect("OUT_DIR is writable");
    for header in ["bpf.h", "bpf_common.h"] {
        let header = format!("linux/{header}");
        let text = Source::open(&tree, &format!("include/uapi/{header}")).text;
        let limit = Source::open(&tree, "include/linux/bpf.h").text;
        let limit = limit
            .lines()
            .find(|line| line.starts_with("#define BPF_COMPLEXITY_LIMIT_INSNS"))
            .expect("include/linux/bpf.h has the limit");
        write(&header, &format!("{text}\n{limit}\n"));
    }
    write(
        "bpf_types.h",
        &Source::open(&tree, "include/linux/bpf_types.h").text,
    );

    let token = Source::open(&tree, "kernel/bpf/token.c");
    write(
        "cut-token.h",
        &[
            "bool bpf_ns_capable",
            "bool bpf_token_capable",
            "struct bpf_token *bpf_token_get_from_fd",
            "bool bpf_token_allow_cmd",
            "bool bpf_token_allow_map_type",
            "bool bpf_token_allow_prog_type",
        ]
        .map(|name| token.function(name))
        .concat(),
    );
    let syscall = Source::open(&tree, "kernel/bpf/syscall.c");
    let load = syscall.head("int bpf_prog_load", "multi_func = ", "\t*tokenp = token;\n");
    write(
        "cut-syscall.h",
        &[
            syscall.function("bool is_net_admin_prog_type"),
            syscall.function("bool is_perfmon_prog_type"),
            syscall.head(
                "int map_create_alloc",
                "map = ops->map_alloc(attr);",
                "\t*tokenp = token;\n",
            ),
            // The whole keeps the token with the program; the head has nowhere else to put it.
            load.replacen(
                "struct bpf_log_attr *attr_log)",
                "struct bpf_log_attr *attr_log, struct bpf_token **tokenp)",
                1,
            ),
            syscall.function("int bpf_btf_load"),
            syscall.function("int bpf_btf_get_fd_by_id"),
            // Its type stands on the line before.
            format!(
                "static enum bpf_prog_type {}",
                syscall
                    .function("attach_type_to_prog_type")
                    .replacen('#', "\n#", 1)
            ),
            syscall.function("int bpf_prog_attach_check_attach_type"),
        ]
        .concat(),
    );
    let kstrtox = Source::open(&tree, "lib/kstrtox.c");
    write(
        "cut-kstrtox.h",
        &[
            "const char *_parse_integer_fixup_radix",
            "unsigned int _parse_integer_limit",
            "int _kstrtoull",
            "int kstrtoull",
        ]
        .map(|name| kstrtox.function(name))
        .concat(),
    );
    let inode = Source::open(&tree, "kernel/bpf/inode.c");
    let options = inode
        .text
        .find("\tOPT_UID,")
        .expect("the options of the BPF FS");
    let end = inode.text[options..].find("};").expect("their end");
    write(
        "cut-inode.h",
        &[
            inode.part("struct bpffs_btf_enums {", "};"),
            inode.function("int find_bpffs_btf_enums"),
            inode.function("bool find_btf_enum_const"),
            inode.function("void seq_print_delegate_opts"),
            format!("enum {{\n{}}};\n", &inode.text[options..][..end]),
            inode.function("int bpf_parse_param"),
        ]
        .concat(),
    );

    write(
        "bindings.h",
        "#include <linux/bpf.h>\n#include <linux/capability.h>\n",
    );
    let status = Command::new("bindgen")
        .arg(out.join("bindings.h"))
        .args([
            "--use-core",
            "--no-layout-tests",
            "--no-doc-comments",
            "--no-debug",
            ".*",
        ])
        .args([
            "--allowlist-type",
            "bpf_attr|bpf_cmd|bpf_(map|prog|attach)_type",
        ])
        .args(["--allowlist-var", "BPF_.*|__MAX_BPF.*|CAP_.*"])
        .arg("--output")
        .arg(out.join("bindings.rs"))
        .arg("--")
        .arg("-I")
        .arg(&out)
        .status()
        .expect("bindgen reads the headers: install bindgen");
    assert!(status.success(), "bindgen: {status}");
    let bindings = fs::read_to_string(out.join("bindings.rs")).expect("bindgen wrote it");
    write("btf.c", &btf(&bindings));

    cc::Build::new()
        .compiler("clang")
        .std("gnu11")
        .opt_level(2)
        .flag("-funsigned-char")
        .flag("-fwrapv")
        .flag("-fno-strict-aliasing")
        .flag("-Wno-unused-parameter")
        .flag("-Wno-sign-compare")
        .flag("-Wno-unused-function")
        .flag("-Wno-unused-variable")
        .flag("-Wno-missing-field-initializers")
        .warnings_into_errors(true)
        .include(&out)
        .include("c")
        .files(["c/oracle.c", "c/options.c"])
        .file(out.join("btf.c"))
        .compile("oracle");
}
