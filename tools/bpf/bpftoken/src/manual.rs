// SPDX-License-Identifier: GPL-2.0
//! What the man pages say beyond the options. Every example is run by a test.

mod notes;

pub use self::notes::notes;

/// A command's examples: what each is for, and its line for the shell.
pub struct Example(pub &'static str, pub &'static str);

/// The examples of a command.
pub fn examples(command: &str) -> &'static [Example] {
    match command {
        "run" => &[
            Example(
                "A container in which one object can be loaded, and no more than that.",
                "bpftoken run --user nobody --for xdp.bpf.o -- bpftoken load xdp.bpf.o",
            ),
            Example(
                "One in which programs can be loaded that count and drop packets of a device.",
                "bpftoken run --user nobody --like xdp -- bpftoken probe",
            ),
            Example(
                "One for a program that knows nothing of tokens.",
                "bpftoken run --user nobody --exec --for xdp.bpf.o -- bpftoken load --token '' xdp.bpf.o",
            ),
            Example(
                "One in which such a program can attach to functions of the kernel whose names begin so.",
                "bpftoken run --user nobody --exec --like trace --probes 'kprobe:vfs_*' -- ls \
                 /sys/kernel/tracing",
            ),
            Example(
            "A container of the user nobody, in which socket filters and XDP programs may be loaded. \
             Socket filters have no choice of attach types: theirs is 0, cgroup_inet_ingress.",
            "bpftoken run --user nobody --cmds map_create:prog_load --maps array --progs \
             socket_filter:xdp --attachs cgroup_inet_ingress:xdp -- bpftoken probe",
            ),
        ],
        "exec" => &[Example(
            "An object is loaded by a program that takes no token by itself.",
            "bpftoken run --user nobody --for xdp.bpf.o -- bpftoken exec -- bpftoken load --token '' \
             xdp.bpf.o",
        )],
        "mount" => &[Example(
            "A BPF FS for the container that the process PID runs in.",
            "bpftoken mount --pid \"$PID\" --target /mnt --cmds prog_load --progs xdp --attachs xdp",
        )],
        "umount" => &[Example(
            "Take the BPF FS away again.",
            "bpftoken umount --pid \"$PID\" --target /mnt",
        )],
        "narrow" => &[
            Example(
                "Take everything from the container of the process PID but arrays and XDP programs. \
                 What it has loaded goes on.",
                "bpftoken narrow --pid \"$PID\" --cmds map_create:prog_load --maps array --progs xdp \
                 --attachs any",
            ),
        ],
        "revoke" => &[Example(
            "Take back all that is delegated to it.",
            "bpftoken revoke --pid \"$PID\"",
        )],
        "restrict" => &[
            Example(
                "In a container: have a worker try what it may do with a token for array maps only.",
                "bpftoken run --user nobody --cmds any --maps any -- bpftoken restrict --cmds map_create \
                 --maps array -- bpftoken probe",
            ),
            Example(
                "Load one object with a token for just what it needs; no other token is in reach.",
                "bpftoken run --user nobody --cmds any --maps any --progs any --attachs any -- bpftoken \
                 restrict --for xdp.bpf.o -- bpftoken load xdp.bpf.o",
            ),
        ],
        "show" => &[
            Example("Who has been given what.", "bpftoken show"),
            Example(
                "What one process sees and holds, for a program to read.",
                "bpftoken show --pid \"$PID\" --json",
            ),
        ],
        "check" => &[Example(
            "What has to be delegated so that an object loads.",
            "bpftoken check --obj xdp.bpf.o",
        )],
        "watch" => &[Example(
            "What has to be delegated so that a program does its work.",
            "bpftoken watch --user nobody -- bpftoken load --token '' xdp.bpf.o",
        )],
        "convert" => &[
            Example(
                "What a unit of systemd delegates, for an instance of Incus.",
                "echo BPFDelegateMaps=BPFMapTypeArray,BPFMapTypeHash | bpftoken convert --format incus",
            ),
            Example(
                "Options of bpftoken run, as lines of a unit.",
                "bpftoken convert --format systemd --cmds map_create --maps array,hash",
            ),
        ],
        "oci-hook" => &[Example(
            "What a runtime calls for a container without annotations, which gets nothing.",
            "echo '{\"id\":\"c\",\"status\":\"created\",\"pid\":1,\"bundle\":\"/\"}' | bpftoken oci-hook",
        )],
        "nri-plugin" => &[Example(
            "Have containerd start it, with a limit for all pods.",
            "(echo '#!/bin/sh'; echo 'exec /usr/local/bin/bpftoken nri-plugin --at-most \
             delegate_cmds=map_create,delegate_maps=any') | install -D -m 755 /dev/stdin \
             /opt/nri/plugins/50-bpftoken",
        )],
        "load" => &[
            Example(
                "Try a delegation with an object.",
                "bpftoken run --user nobody --cmds map_create:prog_load --maps any --progs any \
                 --attachs any -- bpftoken load xdp.bpf.o",
            ),
            Example(
                "Load it as root of the host, without a token, and keep it.",
                "bpftoken load --token '' --pin /sys/fs/bpf/xdp xdp.bpf.o",
            ),
        ],
        "probe" => &[
            Example("What may be done here.", "bpftoken probe"),
            Example(
                "What could be done without a token, and the reason of each refusal.",
                "bpftoken probe --token '' --all",
            ),
        ],
        "trace" => &[
            Example(
                "The tokens that are made, refused and freed within a second.",
                "timeout --signal=INT --preserve-status 1 bpftoken trace",
            ),
            Example(
                "What they are used for as well, for a program to read.",
                "timeout --signal=INT --preserve-status 1 bpftoken trace --uses --json",
            ),
        ],
        _ => &[],
    }
}

/// The variables that a command reads, and what for.
pub fn environment(command: &str) -> Vec<(&'static str, &'static str)> {
    let mut variables = vec![(
        "NO_COLOR",
        "If it is set to anything, the output has no colours, as it has none when it is no terminal.",
    )];
    if matches!(command, "load" | "probe" | "restrict") {
        variables.push((
            "BPF_TOKEN_FD",
            "The number of a descriptor that is a token, which is taken when --token is not given. \
             bpftoken restrict sets it to 3 for its command, which has no BPF FS to make a token from. \
             What takes up this token: the library bpf-token (Token::discover, Token::inherited), \
             \"bpftoken load\" and \"bpftoken probe\", and a loader that sets BPF_F_TOKEN_FD and this \
             number in the attributes of bpf(2). libbpf takes no token by descriptor: load the object \
             with \"bpftoken load --pin\", or with the library.",
        ));
    }
    if command == "nri-plugin" {
        variables.push((
            "NRI_PLUGIN_SOCKET, NRI_PLUGIN_NAME, NRI_PLUGIN_IDX",
            "What a runtime that starts the plugin itself sets: the number of the descriptor to speak to \
             it, in place of --socket, the plugin's name, and its number, in place of --index.",
        ));
    }
    if matches!(command, "exec" | "load" | "probe" | "restrict") {
        variables.push((
            "LIBBPF_BPF_TOKEN_PATH",
            "The BPF FS to take the token from when --token is not given; empty for no token. Without \
             it, /sys/fs/bpf is tried.",
        ));
    }
    variables
}

/// The exit statuses of a command.
pub fn exit_status(command: &str) -> Vec<(&'static str, &'static str)> {
    if matches!(command, "run" | "exec" | "watch" | "restrict") {
        return vec![
            (
                "125",
                "bpftoken itself failed, which it tells on standard error.",
            ),
            ("126", "The command cannot be executed."),
            ("127", "There is no such command."),
            ("128 + N", "Signal N ended the command."),
            ("any other", "That of the command."),
        ];
    }
    let mut statuses = vec![
        ("0", "It worked."),
        ("1", "It failed, which it tells on standard error."),
        ("2", "The command line is wrong."),
    ];
    if command == "check" {
        statuses.push((
            "3",
            "The object does not load with the token given, or the token lacks something.",
        ));
    }
    statuses
}

/// Further pages to read.
pub const SEE_ALSO: [&str; 6] = [
    "bpf(2)",
    "capabilities(7)",
    "user_namespaces(7)",
    "newuidmap(1)",
    "systemd.exec(5)",
    "bpftool(8)",
];
