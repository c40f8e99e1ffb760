// SPDX-License-Identifier: GPL-2.0
//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use bpf_token::AttachType;
use bpf_token::Cmd;
use bpf_token::Delegation;
use bpf_token::Format;
use bpf_token::Grant;
use bpf_token::MapType;
use bpf_token::Probes;
use bpf_token::ProgType;
use bpf_token::DEFAULT_BPFFS;
use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser;
use clap::Args;
use clap::Parser;
use clap::Subcommand;

use crate::profile::Profile;

const AFTER_HELP: &str = "\
Exit status:
  0    it worked; for check --token, nothing is missing
  1    an error, told in one line on standard error
  2    the command line is wrong
  3    check --token: the token lacks something
  run, exec, watch, restrict
       that of the command; 128 + N if signal N ended it; 125 for an error of bpftoken itself,
       126 if the command can't be executed, 127 if there is none";

/// Delegates BPF to containers, and shows, checks and explains what is delegated.
#[derive(Parser)]
#[command(version, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Runs a command in a container that has a BPF FS with this delegation.
    Run {
        #[command(flatten)]
        grants: Grants,
        #[command(flatten)]
        container: ContainerArgs,
        /// Has the command use a token even if it knows nothing of tokens, as bpftoken-exec(1) does.
        #[arg(long)]
        exec: bool,
        /// Lets the command attach programs to these probes of the host, for which no token helps: a
        /// list of kprobe:NAME, uprobe:PATH and tracepoint:GROUP:NAME, separated by commas; kprobe,
        /// uprobe and tracepoint for all of a kind, any for all. Names may have * and ?.
        #[arg(long, value_name = "LIST")]
        probes: Option<Probes>,
        /// The command and its arguments.
        #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
        command: Vec<OsString>,
    },
    /// Executes a command whose calls of bpf(2), and those of all that come from it, use a token.
    ///
    /// It is for programs that know nothing of tokens, and runs in the container. A supervisor of its
    /// own, without more privilege, puts the token into calls that come without one; the command itself
    /// takes the place of bpftoken. Where bpftoken-mount(1) serves probes, it attaches programs to
    /// them.
    Exec(ExecArgs),
    /// Gives a running container a BPF FS with this delegation.
    Mount {
        #[command(flatten)]
        at: TargetArgs,
        /// Replaces a BPF FS there that delegates already, which is in the way otherwise.
        #[arg(long)]
        replace: bool,
        #[command(flatten)]
        grants: Grants,
        /// Also lets programs that bpftoken-exec(1) runs in the container attach to these probes of the
        /// host, a list as for bpftoken-run(1). bpftoken then goes on until it is interrupted or the
        /// process ends.
        #[arg(long, value_name = "LIST")]
        probes: Option<Probes>,
    },
    /// Unmounts a BPF FS that delegates to a running container. Tokens made from it go on to work.
    Umount {
        #[command(flatten)]
        at: TargetArgs,
    },
    /// Takes back what is delegated to a running container, but for what is named: of what is
    /// delegated now and named, all stays.
    ///
    /// It is taken from every token of the container at once, and from those that it makes later.
    /// Programs and maps that it has stay. Nothing is ever added.
    Narrow {
        #[command(flatten)]
        at: NarrowArgs,
        #[command(flatten)]
        keep: Lists,
    },
    /// Takes back all that is delegated to a running container.
    ///
    /// Its tokens permit nothing any more, and it can make no others. Programs and maps that it has
    /// stay.
    Revoke {
        #[command(flatten)]
        at: NarrowArgs,
    },
    /// Runs a command with a narrower token than this process gets here, and without a BPF FS.
    ///
    /// The command gets a token that permits what the token here permits and is named, as the
    /// descriptor that BPF_TOKEN_FD names. It is in the user namespace of this process, and in mount
    /// and process namespaces of its own, in which no BPF FS is mounted; it has no CAP_SYS_ADMIN, which
    /// could undo that, and which the command btf_get_fd_by_id would need. The library bpf-token and
    /// "bpftoken load" and "bpftoken probe" take up the token by themselves; libbpf takes none by
    /// descriptor.
    Restrict {
        #[command(flatten)]
        keep: Lists,
        /// Takes the token that is made narrower from the BPF FS on this directory.
        #[arg(long, value_name = "DIR")]
        token: Option<PathBuf>,
        /// Gives the command its own network namespace.
        #[arg(long)]
        net: bool,
        /// The command and its arguments.
        #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
        command: Vec<OsString>,
    },
    /// Shows every delegated BPF FS, every token that a process holds, and, to root, every program
    /// that was loaded through a token.
    Show {
        /// Only what this process sees and holds.
        #[arg(long)]
        pid: Option<i32>,
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
    /// Runs a command with everything delegated, and prints what it used of it, as options to paste.
    ///
    /// The command runs in a container, as bpftoken run --exec has it. What counts are the calls of
    /// bpf(2) that succeeded. Run what the command is there for: what it did not do is missing.
    Watch(WatchArgs),
    /// Prints the smallest delegation that a BPF object needs to load, as options to paste.
    Check(CheckArgs),
    /// Writes a delegation in the words of another manager.
    Convert(ConvertArgs),
    /// Loads a BPF object through the token that it would get here.
    Load(LoadArgs),
    /// Tries what this process may do here with bpf(2) and the token that it would get.
    Probe {
        /// Takes the token from the BPF FS on this directory; empty for no token.
        // A path may be empty here, which clap's own parser refuses.
        #[arg(long, value_name = "DIR", value_parser = clap::builder::OsStringValueParser::new().map(PathBuf::from))]
        token: Option<PathBuf>,
        /// Tells the outcome and the reason of each, a line each.
        #[arg(long)]
        all: bool,
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
    /// Follows the kernel's trace events of tokens as they happen, until interrupted.
    Trace {
        /// Also each use of a token, of which there may be many.
        #[arg(long)]
        uses: bool,
        /// Prints one JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Gives a container of an OCI runtime the BPF FS that its annotations ask for.
    ///
    /// The runtime calls it as root of the host, as a createRuntime hook, with its state on standard
    /// input. The annotations are org.bpf-token.delegate_cmds, _maps, _progs and _attachs, lists as
    /// the mount options have them, org.bpf-token.delegate_cookie, a number, and org.bpf-token.target,
    /// the directory to mount on. A container without them gets nothing.
    OciHook(OciHookArgs),
    /// Gives containers of Kubernetes the BPF FS that their annotations, or their pod's, ask for.
    ///
    /// It is a plugin of the Node Resource Interface (NRI) of containerd and CRI-O, and goes on until
    /// the runtime ends. To each container with annotations of bpftoken-oci-hook(1) it adds that hook.
    /// An annotation of the pod is for all of its containers, or, as
    /// NAME/org.bpf-token.delegate_cmds, for the container of this name.
    NriPlugin(NriPluginArgs),
    /// Loads the object on standard input, inside a container that `check` made.
    #[command(hide = true)]
    TryLoad,
    /// Writes man pages and shell completions into a directory.
    #[command(hide = true)]
    Generate {
        /// The directory, which is made if need be.
        dir: PathBuf,
    },
}

#[derive(Args)]
pub struct CheckArgs {
    /// The BPF object.
    #[arg(long, value_name = "FILE")]
    pub obj: PathBuf,
    /// Also loads it with a token from the BPF FS on this directory, and tells what that lacks.
    #[arg(long, value_name = "DIR")]
    pub token: Option<PathBuf>,
    /// Only reads the object. Otherwise CAP_SYS_ADMIN of the host tries what it can do without, by
    /// loading the object in containers.
    #[arg(long)]
    pub no_trial: bool,
    /// Prints nothing but the delegation, in the words of this manager.
    #[arg(long, value_name = "FORMAT", value_parser = formats(), conflicts_with = "json")]
    pub format: Option<Format>,
    /// Prints JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct ConvertArgs {
    /// The format to write.
    #[arg(long, value_name = "FORMAT", value_parser = formats())]
    pub format: Format,
    /// The format of the text, which otherwise tells it by its words.
    #[arg(long, value_name = "FORMAT", value_parser = formats())]
    pub from: Option<Format>,
    /// The delegation; without it, standard input is read. It may hold other settings, too, as a
    /// unit, an instance's configuration or a config.json does.
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "TEXT"
    )]
    pub text: Vec<String>,
}

#[derive(Args)]
pub struct OciHookArgs {
    /// The most that a container may ask for, in any format of bpftoken-convert(1): one that asks for
    /// more does not start. Its cookie is the container's. Without it, whoever writes annotations
    /// decides.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub at_most: Option<String>,
    /// Appends what there is to say to this file, too. crun drops what its hooks say, unless the
    /// container's annotation run.oci.hooks.stderr names a file.
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
}

#[derive(Args)]
pub struct NriPluginArgs {
    /// The socket that the runtime listens on for plugins. A runtime that starts the plugin itself
    /// gives it another, by NRI_PLUGIN_SOCKET.
    #[arg(long, value_name = "PATH", default_value = "/var/run/nri/nri.sock")]
    pub socket: PathBuf,
    /// When the plugin is called, among others: those of lower numbers come first.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u8).range(..100))]
    pub index: u8,
    /// Where bpftoken is, as the runtime sees it; by default where it is now.
    #[arg(long, value_name = "PATH")]
    pub hook: Option<PathBuf>,
    /// The most that a container may ask for, as for bpftoken-oci-hook(1).
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub at_most: Option<String>,
    /// Appends what there is to say to this file, too, and has the hook do so.
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
}

/// Reads the name of a format.
pub fn formats() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(Format::ALL.map(Format::name)).try_map(|name| name.parse::<Format>())
}

#[derive(Args)]
pub struct WatchArgs {
    #[command(flatten)]
    pub container: ContainerArgs,
    /// Prints nothing but the delegation, in the words of this manager.
    #[arg(long, value_name = "FORMAT", value_parser = formats(), conflicts_with = "json")]
    pub format: Option<Format>,
    /// Prints JSON.
    #[arg(long)]
    pub json: bool,
    /// Writes to this file, and not to standard output, which is also the command's.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

#[derive(Args)]
pub struct ExecArgs {
    /// Takes the token from the BPF FS on this directory.
    #[arg(long, value_name = "DIR")]
    pub token: Option<PathBuf>,
    /// Says nothing about calls that will be refused, or get no token.
    #[arg(long)]
    pub quiet: bool,
    /// Tells each call to the socket of this number.
    #[arg(long, hide = true)]
    pub observer: Option<i32>,
    /// Asks the broker on the socket of this number for perf events.
    #[arg(long, hide = true)]
    pub broker: Option<i32>,
    /// Leaves calls of bpf(2) alone.
    #[arg(long, hide = true)]
    pub without_token: bool,
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

#[derive(Args)]
pub struct LoadArgs {
    /// The BPF object.
    pub file: PathBuf,
    /// Takes the token from the BPF FS on this directory; empty for no token.
    #[arg(long, value_name = "DIR", value_parser = clap::builder::OsStringValueParser::new().map(PathBuf::from))]
    pub token: Option<PathBuf>,
    /// Pins all maps and programs in this directory of a BPF FS, by their names.
    #[arg(long, value_name = "DIR")]
    pub pin: Option<PathBuf>,
    /// Prints JSON.
    #[arg(long)]
    pub json: bool,
}

/// What to delegate, and to whom.
#[derive(Args)]
pub struct Grants {
    #[command(flatten)]
    pub lists: Lists,
    /// A number that each token has, by which policies of the host know for whom they decide.
    #[arg(long, value_name = "N", value_parser = cookie)]
    pub cookie: Option<u64>,
}

/// Reads a cookie.
fn cookie(text: &str) -> Result<u64, String> {
    let mut delegation = Delegation::new();
    let added = delegation.add_option("delegate_cookie", text);
    added.map_err(|error| error.to_string())?;
    Ok(delegation.cookie)
}

#[derive(Args)]
pub struct NarrowArgs {
    /// A process of the container.
    #[arg(long)]
    pub pid: i32,
    /// Only the BPF FS on this directory of the container, by a path without symbolic links. Without
    /// it, each that gives tokens to the user namespace of the process and that it sees mounted.
    #[arg(long, value_name = "DIR")]
    pub target: Option<PathBuf>,
}

/// Commands and types. Each list is `any`, or names or masks separated by `:` or `,`.
#[derive(Args)]
pub struct Lists {
    /// Commands of bpf(2), such as map_create:prog_load.
    #[arg(long, value_name = "LIST")]
    pub cmds: Option<Grant<Cmd>>,
    /// Map types, such as array:ringbuf.
    #[arg(long, value_name = "LIST")]
    pub maps: Option<Grant<MapType>>,
    /// Program types, such as socket_filter:xdp.
    #[arg(long, value_name = "LIST")]
    pub progs: Option<Grant<ProgType>>,
    /// Attach types, such as cgroup_inet_ingress:xdp.
    #[arg(long, value_name = "LIST")]
    pub attachs: Option<Grant<AttachType>>,
    /// Adds what this BPF object needs to load, as bpftoken-check(1) finds it out.
    #[arg(long = "for", value_name = "FILE")]
    pub objects: Vec<PathBuf>,
    /// Adds what programs of a kind need: observe (BTF tracepoints, a ring buffer), trace (kprobes, a
    /// hash), filter (socket filters, an array) or xdp (XDP, an array).
    #[arg(long, value_name = "PROFILE", value_parser = profiles())]
    pub like: Vec<&'static Profile>,
}

/// Reads the name of a profile.
fn profiles() -> impl TypedValueParser<Value = &'static Profile> {
    PossibleValuesParser::new(Profile::ALL.each_ref().map(|profile| profile.name))
        .try_map(|name| Profile::of(&name).ok_or("no profile"))
}

#[derive(Args)]
pub struct TargetArgs {
    /// A process of the container.
    #[arg(long)]
    pub pid: i32,
    /// The directory of the container, by a path without symbolic links.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_BPFFS)]
    pub target: PathBuf,
}

#[derive(Args)]
pub struct ContainerArgs {
    /// The user that root of the container is outside, a name or a uid; with subordinate ids for
    /// the others. By default the caller; if he is root, the first of root's subordinate ids, or
    /// nobody (65534) if he has none.
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// Makes root of the container root of the host, whose files are then the container's.
    #[arg(long, conflicts_with = "user")]
    pub host_root: bool,
    /// The directory to mount the BPF FS on.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_BPFFS)]
    pub target: PathBuf,
    /// Gives the container its own network namespace.
    #[arg(long)]
    pub net: bool,
    /// Gives the container its own process namespace.
    #[arg(long)]
    pub pid: bool,
    /// Gives the container its own cgroup namespace.
    #[arg(long)]
    pub cgroup: bool,
}
