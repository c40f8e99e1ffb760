// SPDX-License-Identifier: GPL-2.0
//! The notes of the man pages.

/// What is to be known of a command besides.
pub fn notes(command: &str) -> Vec<(&'static str, &'static str)> {
    match command {
        "run" => RUN.to_vec(),
        "mount" => MOUNT.to_vec(),
        "exec" => EXEC.to_vec(),
        "watch" => WATCH.to_vec(),
        _ => Vec::new(),
    }
}

const MOUNT: [(&str, &str); 1] = [(
    "Probes",
    "Only a process itself can put itself and what it starts under a supervisor of its system calls, which \
     bpftoken-exec(1) does. With --probes, bpftoken mounts a read-only file system on /sys/kernel/tracing \
     of the container, with what the list has of tracefs and a socket, bpf_token_broker. It then goes on, \
     and opens events for the supervisors that connect: processes of root of the container that have \
     CAP_PERFMON or CAP_SYS_ADMIN in its user namespace. When it is interrupted, or the process has ended, \
     it unmounts that; the BPF FS and events that were opened stay. What trust that is stands in \
     bpftoken-run(1).",
)];

const RUN: [(&str, &str); 6] = [
    (
        "Probes",
        "perf_event_open(2), which kprobes, uprobes and tracepoints are attached with, knows no tokens. With \
         --probes, a supervisor in the container asks a broker in bpftoken, outside, which opens the \
         events on the list. The caller attaches its own program to them, so there is nothing attached \
         that it could not load. Add --exec for a program that does not use a token by itself. The \
         caller needs the capabilities in the container that the supervisor has.",
    ),
    (
        "What trust that is",
        "A program on a kprobe or tracepoint runs for every process of the host, whatever process and \
         processor the event is for, and sees what the kernel handles there, of other containers, too. One \
         on a uprobe runs in every process that maps the file, and a breakpoint in the middle of an \
         instruction breaks them: files that containers share, as layers of images are, are shared in \
         this, too. A program may send signals to the process that it runs in (bpf_send_signal), and, \
         where the kernel allows for it, make functions fail (bpf_override_return). One on a tracepoint that \
         returns 0 hides it from perf of the host, and a tracepoint takes 64 programs. List what the \
         program needs, and give it to who may observe the host.",
    ),
    (
        "What is not given",
        "Samples, buffers, groups, inheritance, cgroups, and reference counters of uprobes, which the kernel \
         would write into other processes. Events count, and a program can be attached; what loaders ask \
         for out of habit (a period, raw samples) is passed over. Kprobes go by name, and behind the entry of a \
         function only with the item kprobe. Anything else goes on to the kernel, which decides as \
         without a broker.",
    ),
    (
        "Files of uprobes",
        "A file is one that the container can open for reading, by the path as the caller finds it, through \
         links and chroots, in the mount namespace of the command. Its file system must be one that bpftoken sees mounted, too, and not FUSE: who \
         serves it could hold up all tracing. An item with a path means the file that bpftoken finds there, \
         by its inode; the container can't put another in its place.",
    ),
    (
        "tracefs",
        "On /sys/kernel/tracing, the container has a read-only file system with ids and formats of the \
         listed tracepoints and the names of the listed functions. Tracepoints that come later, with \
         modules, are not there.",
    ),
    (
        "Until when",
        "An event that was opened stays with the container, which may have as many as it may have \
         descriptors. bpftoken-revoke(1) does not close it, but no \
         other program can be loaded then. The kernel's multi links (kprobe.multi, uprobe.multi) need no \
         event: for them, delegating their attach types is enough, and there is no list of names.",
    ),
];

const WATCH: [(&str, &str); 2] = [
    (
        "How it works",
        "The supervisor of bpftoken-exec(1) tells of each call before it is made; whether it succeeded is \
         in the kernel's trace event raw_syscalls:sys_exit, in a tracing instance of its own. Kprobes, \
         uprobes and tracepoints are opened by a broker, as bpftoken-run(1) has it for --probes any, \
         which knows what it opened. All that takes root of the host, in its process namespace.",
    ),
    (
        "What it prints",
        "All that succeeded, also what a program only tried out to learn what the kernel can do, and could \
         do without. For a BPF object, bpftoken-check(1) finds out the least.",
    ),
];

const EXEC: [(&str, &str); 9] = [
    (
        "How it works",
        "A seccomp filter hands calls of bpf(2) with the commands BPF_MAP_CREATE, BPF_PROG_LOAD, \
         BPF_BTF_LOAD and BPF_BTF_GET_FD_BY_ID to the supervisor. That gives the caller a close-on-exec \
         descriptor of the token, once a process, writes it and BPF_F_TOKEN_FD into the caller's \
         attributes, and lets the caller go on: the call, its log and its accounting are the caller's. \
         All other calls are not touched.",
    ),
    (
        "No bound",
        "A caller can change its attributes after the supervisor has looked at them, or do without the \
         token. It gains nothing by that: what the token gives, it gives to all in the container that \
         have the capabilities. What bounds a container is its delegation.",
    ),
    (
        "Older programs",
        "Attributes that end before the field for a token, and those in memory that can't be written, \
         are copied, and the supervisor makes the call in the caller's stead, with descriptors and log \
         translated. What comes of it is then accounted to the supervisor's memory control group, and \
         made with its security context. Programs and maps for a network device, with CO-RE \
         relocations by the kernel, a signature or a list of bound descriptors, and maps with \
         a log in the common attributes are not copied: their calls go on without the token.",
    ),
    (
        "Messages",
        "What the kernel will refuse for lack of a delegation or capability is told on the caller's \
         standard error, each reason once, if that process has open what bpftoken was started with. Loaders \
         also try out what the kernel can do, so not every such line matters. --quiet does without.",
    ),
    (
        "Left alone",
        "Calls with BPF_F_TOKEN_FD, those of other architectures (i386, x32), processes whose memory the \
         supervisor may not look into, such as those that have changed their ids or are not dumpable, if \
         it lacks CAP_SYS_PTRACE in the user namespace, and calls of a process whose descriptors are all in \
         use.",
    ),
    (
        "Set-user-ID programs",
        "Without CAP_SYS_ADMIN in the user namespace, the kernel takes the filter only with no_new_privs, \
         which bpftoken sets then: such programs get no privileges.",
    ),
    (
        "Attaching",
        "perf_event_open(2), which kprobes, uprobes and tracepoints are attached with, knows no tokens: \
         bpftoken-run(1) and bpftoken-mount(1) have --probes for that. The other ways to attach need what they need without a \
         token.",
    ),
    (
        "One supervisor",
        "The kernel allows for one in a process: under a container manager that supervises system calls \
         itself, and under another bpftoken exec, it fails (EBUSY). A filter of the manager that refuses \
         bpf(2) comes first.",
    ),
    (
        "When the supervisor ends",
        "It ends with the last process that it supervises. If it is killed before, the calls that it would \
         look at fail with ENOSYS, and no caller waits.",
    ),
];
