// SPDX-License-Identifier: GPL-2.0
//! `bpftoken nri-plugin`: a plugin of the Node Resource Interface, which containerd and CRI-O have for
//! Kubernetes.
//!
//! It adds `bpftoken oci-hook` to the containers whose annotations, or whose pod's, ask for a
//! delegation. It gives nothing itself, and needs no more than to reach the runtime's socket.

mod adjust;
mod api;
mod wire;

use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use bpf_token::Kernel;
use prost::Message as _;

use crate::annotations;
use crate::cli::NriPluginArgs;
use crate::log::printable;
use crate::log::Log;
use crate::nri::adjust::Rules;
use crate::nri::api::code;
use crate::nri::api::Status;
use crate::nri::wire::Connection;
use crate::nri::wire::Message;
use crate::nri::wire::Wire;

/// How long the runtime has to take up the plugin.
const REGISTRATION: Duration = Duration::from_secs(10);

/// What a runtime that starts the plugin itself gives it.
const SOCKET_ENV: &str = "NRI_PLUGIN_SOCKET";
const NAME_ENV: &str = "NRI_PLUGIN_NAME";
const INDEX_ENV: &str = "NRI_PLUGIN_IDX";

pub fn plugin(args: &NriPluginArgs) -> Result<ExitCode> {
    let log = Log::open(args.log.as_deref())?;
    let done = run(args, &log);
    if let Err(error) = &done {
        log.append(&printable(&format!("{error:#}")));
    }
    done.map(|()| ExitCode::SUCCESS)
}

fn run(args: &NriPluginArgs, log: &Log) -> Result<()> {
    if let Some(limit) = &args.at_most {
        // A limit may be for nodes with other kernels, too.
        if let Err(unknown) = annotations::limit(limit)?.check(Kernel::running()) {
            log.say(&format!("warning: --at-most: {unknown}"));
        }
    }
    let own;
    let hook = match &args.hook {
        Some(path) => path,
        None => {
            own = std::env::current_exe().context("the path of bpftoken itself")?;
            &own
        }
    };
    ensure!(
        hook.is_absolute(),
        "--hook {}: not absolute",
        hook.display()
    );
    let rules = Rules {
        hook,
        at_most: args.at_most.as_deref(),
        log: args.log.as_deref(),
    };
    let mut plugin = Plugin {
        wire: Wire::new(connect(args)?),
        rules,
        log,
    };
    plugin.register(args)?;
    plugin.serve()
}

/// The socket that the runtime gives a plugin that it starts, or the one that it listens on.
fn connect(args: &NriPluginArgs) -> Result<UnixStream> {
    let socket = match std::env::var(SOCKET_ENV) {
        Ok(number) => {
            let number = number.parse();
            let number = number.with_context(|| format!("{SOCKET_ENV} is no number"))?;
            UnixStream::from(bpf_token::inherited_fd(number).context(SOCKET_ENV)?)
        }
        Err(_) => UnixStream::connect(&args.socket).with_context(|| {
            format!(
                "connect to {}, where a runtime with NRI listens",
                args.socket.display()
            )
        })?,
    };
    socket.set_read_timeout(Some(REGISTRATION))?;
    socket.set_write_timeout(Some(REGISTRATION))?;
    Ok(socket)
}

/// The plugin, once it is connected.
struct Plugin<'a> {
    wire: Wire<UnixStream>,
    rules: Rules<'a>,
    log: &'a Log,
}

/// What an answer is: a message, or why there is none.
type Answer = std::result::Result<Vec<u8>, Status>;

fn refuse(code: i32, message: impl Into<String>) -> Answer {
    Err(Status {
        code,
        message: message.into(),
    })
}

fn decode<M: prost::Message + Default>(payload: &[u8]) -> std::result::Result<M, Status> {
    M::decode(payload).map_err(|error| Status {
        code: code::INVALID_ARGUMENT,
        message: error.to_string(),
    })
}

impl Plugin<'_> {
    /// Has the runtime take up the plugin: it answers, and asks for the configuration, in either order.
    fn register(&mut self, args: &NriPluginArgs) -> Result<()> {
        let given = |name: &str, otherwise: &str| {
            std::env::var(name).unwrap_or_else(|_| otherwise.to_owned())
        };
        let register = api::RegisterPluginRequest {
            plugin_name: given(NAME_ENV, "bpftoken"),
            plugin_idx: given(INDEX_ENV, &format!("{:02}", args.index)),
        };
        let request = api::Request {
            service: api::RUNTIME_SERVICE.to_owned(),
            method: "RegisterPlugin".to_owned(),
            payload: register.encode_to_vec(),
            timeout_nano: REGISTRATION.as_nanos() as i64,
        };
        let stream = 1;
        self.wire.send(&Message {
            connection: Connection::Runtime,
            stream,
            kind: wire::REQUEST,
            data: request.encode_to_vec(),
        })?;
        loop {
            let message = self.wire.receive()?;
            let message = message.context("the runtime did not take up the plugin")?;
            match message.connection {
                Connection::Plugin => {
                    self.answer(&message)?;
                }
                Connection::Runtime if message.kind == wire::RESPONSE => {
                    ensure!(message.stream == stream, "an answer to no question");
                    let response = api::Response::decode(&*message.data)?;
                    if let Some(status) = response.status.filter(|status| status.code != 0) {
                        bail!("the runtime refuses the plugin: {}", status.message);
                    }
                    break;
                }
                Connection::Runtime => {}
            }
        }
        // The next container may come in a year.
        Ok(self.wire.socket().set_read_timeout(None)?)
    }

    /// Answers until the runtime shuts down.
    fn serve(&mut self) -> Result<()> {
        while let Some(message) = self.wire.receive()? {
            if message.connection == Connection::Plugin && self.answer(&message)? {
                return Ok(());
            }
        }
        bail!("the runtime has closed the connection")
    }

    /// Answers a request; returns whether it was the last.
    fn answer(&mut self, message: &Message) -> Result<bool> {
        if message.kind != wire::REQUEST {
            return Ok(false);
        }
        let request = decode::<api::Request>(&message.data);
        let last = matches!(&request, Ok(request) if request.method == "Shutdown");
        let response = match request.and_then(|request| self.call(&request)) {
            Ok(payload) => api::Response {
                status: None,
                payload,
            },
            Err(status) => api::Response {
                status: Some(status),
                payload: Vec::new(),
            },
        };
        self.wire.send(&Message {
            connection: message.connection,
            stream: message.stream,
            kind: wire::RESPONSE,
            data: response.encode_to_vec(),
        })?;
        Ok(last)
    }

    fn call(&self, request: &api::Request) -> Answer {
        if request.service != api::PLUGIN_SERVICE {
            let message = format!("service {} is not here", request.service);
            return refuse(code::UNIMPLEMENTED, message);
        }
        match &*request.method {
            "Configure" => {
                let runtime: api::ConfigureRequest = decode(&request.payload)?;
                self.log.say(&format!(
                    "plugin of {} {}",
                    runtime.runtime_name, runtime.runtime_version
                ));
                let events = api::EVENTS;
                Ok(api::ConfigureResponse { events }.encode_to_vec())
            }
            // Containers that run have what they asked for, or get nothing any more.
            "Synchronize" => {
                let api::SynchronizeRequest { more } = decode(&request.payload)?;
                Ok(api::SynchronizeResponse { more }.encode_to_vec())
            }
            "CreateContainer" => self.create_container(&request.payload),
            // Events that were not asked for, and the end: an empty answer asks for nothing.
            "UpdateContainer" | "StopContainer" | "UpdatePodSandbox" | "StateChange"
            | "Shutdown" => Ok(Vec::new()),
            method => refuse(code::UNIMPLEMENTED, format!("method {method} is not here")),
        }
    }

    fn create_container(&self, payload: &[u8]) -> Answer {
        match self.rules.adjust(decode(payload)?, self.log) {
            Ok(adjust) => Ok(api::CreateContainerResponse { adjust }.encode_to_vec()),
            Err(error) => {
                let error = printable(&format!("bpftoken: {error:#}"));
                self.log.say(error.trim_start_matches("bpftoken: "));
                refuse(code::FAILED_PRECONDITION, error)
            }
        }
    }
}
