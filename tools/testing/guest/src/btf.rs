// SPDX-License-Identifier: GPL-2.0

//! What the running kernel's BTF says.

use libbpf_rs::btf::types::Enum;
use libbpf_rs::btf::types::Func;
use libbpf_rs::btf::Btf;

pub fn vmlinux() -> Btf<'static> {
    Btf::from_vmlinux().expect("BTF of the kernel")
}

/// The id of a function's type.
pub fn function(name: &str) -> u32 {
    let btf = vmlinux();
    let function: Func<'_> = btf
        .type_by_name(name)
        .unwrap_or_else(|| panic!("the kernel's BTF has no function {name}"));
    function.type_id().into()
}

/// The names and values of an enum, in the order of its declaration.
pub fn enumerators(type_name: &str) -> Vec<(String, i64)> {
    enumerators_of(&vmlinux(), type_name)
}

/// The same of another kernel.
pub fn enumerators_of(btf: &Btf<'_>, type_name: &str) -> Vec<(String, i64)> {
    let of_enum: Enum<'_> = btf
        .type_by_name(type_name)
        .unwrap_or_else(|| panic!("the kernel's BTF has no enum {type_name}"));
    let named = |name: &std::ffi::OsStr| name.to_string_lossy().into_owned();
    of_enum
        .iter()
        .filter_map(|member| Some((named(member.name?), member.value)))
        .collect()
}

/// The value of an enumerator.
pub fn enumerator(type_name: &str, name: &str) -> i64 {
    let found = enumerators(type_name)
        .into_iter()
        .find(|(found, _)| found == name);
    let (_, value) = found.unwrap_or_else(|| panic!("enum {type_name} has no {name}"));
    value
}
