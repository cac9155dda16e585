//! An application: a pipeline with a command line. The whole of a user's `main`.
//!
//! ```no_run
//! use std::process::ExitCode;
//! use tidemill::prelude::*;
//!
//! fn main() -> ExitCode {
//!     App::new("lines").pipeline(|ctx| { ctx.tcp_lines("127.0.0.1:9999").count().print(); Ok(()) }).main()
//! }
//! ```
//!
//! ```text
//!   lines                  as `lines local`
//!   lines local …          driver and executors in this process
//!   lines graph [--dot]    the graph as text or for Graphviz, with the program id
//!   lines ca init DIR      an authority for a cluster of processes;  lines ca token DIR
//!   lines driver …         the driver of such a cluster
//!   lines node …           executors on this machine, each a process
//!   lines status …         what goes on there
//! ```
//!
//! Exit codes: 0 done, 1 a failed job, 2 wrong usage, 3 refused by the cluster, 130 interrupted. A node's agent is told by a 4 that its
//! executor was refused for now.
//!
//! [`App::main`] is the one place that installs something global: the log, the metrics endpoint, the signal handler. Those
//! who keep a command line of their own call [`App::run`], which installs nothing, after [`install_log`] and [`install_metrics`]
//! as they like.

mod cluster;
mod cluster_args;
mod command;
mod signal;
mod status;

pub use cluster_args::{CaCommand, DriverArgs, ExecutorArgs, NodeArgs, StatusArgs};
pub use command::{Command, GraphArgs, LocalArgs, install_log, install_metrics, refuse};
pub use signal::Interrupt;

use crate::{Config, GraphError, Params, Running, StartError, StreamContext};
use clap::Parser;
use std::process::ExitCode;
use tidemill_actors::seam::Program;

/// Done.
pub const EXIT_DONE: u8 = 0;
/// A job failed, or a verdict was not "equal".
pub const EXIT_FAILED: u8 = 1;
/// The command line, the configuration or the graph is wrong.
pub const EXIT_USAGE: u8 = 2;
/// The cluster refused this node.
pub const EXIT_REFUSED: u8 = 3;
/// Interrupted by the user.
pub const EXIT_INTERRUPTED: u8 = 130;

type Pipeline = Box<dyn Fn(&StreamContext) -> Result<(), GraphError>>;

/// A pipeline with a name and a command line.
pub struct App {
    name: String,
    config: Config,
    pipeline: Option<Pipeline>,
}

impl App {
    /// An application of this name, with the default configuration and no pipeline yet.
    pub fn new(name: impl Into<String>) -> Self {
        App { name: name.into(), config: Config::default(), pipeline: None }
    }

    /// The configuration that the command line's options start from.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// What builds the graph. It must be pure: it runs on every node, and every node must get the same graph.
    #[must_use]
    pub fn pipeline(mut self, build: impl Fn(&StreamContext) -> Result<(), GraphError> + 'static) -> Self {
        self.pipeline = Some(Box::new(build));
        self
    }

    /// Parses the process's arguments, runs, and gives the exit code. Errors are one line on standard error.
    pub fn main(self) -> ExitCode {
        let line = match command::Line::try_parse() {
            Ok(line) => line,
            Err(refused) => return ExitCode::from(refuse(&self.name, &refused)),
        };
        let command = line.command();
        command::install_log(command.log_level());
        if let Err(error) = command::install_metrics(command.metrics(&self.config)) {
            return ExitCode::from(complain(&self.name, &error, EXIT_USAGE));
        }
        ExitCode::from(self.run(command, Interrupt::on_signals()))
    }

    /// Runs one command and gives the exit code; `interrupt` ends `local` early. Installs nothing: the command's `--metrics` is
    /// for who calls this.
    pub fn run(self, command: Command, interrupt: Interrupt) -> u8 {
        match command {
            Command::Local(args) => self.local(&args, &interrupt),
            Command::Graph(args) => self.graph(&args),
            Command::Driver(args) => self.driver(&args, &interrupt),
            Command::Node(args) => self.node(&args, &interrupt),
            Command::Ca(command) => cluster::ca(&self.name, &command),
            Command::Status(args) => status::status(&self.name, &args),
            Command::Executor(args) => self.executor(&args),
        }
    }

    fn local(self, args: &LocalArgs, interrupt: &Interrupt) -> u8 {
        let config = args.apply(self.config.clone());
        let spill_dir = command::check_spill_dir(args.spill_dir.as_deref());
        if let Err(error) = spill_dir {
            return complain(&self.name, &error, EXIT_USAGE);
        }
        let running = match self.start(config, &args.params) {
            Ok(running) => running,
            Err(error) => return complain(&self.name, &error.to_string(), EXIT_USAGE),
        };
        let stop = running.stopper();
        interrupt.call(move || stop.stop_gracefully());
        match running.await_termination() {
            Err(error) => complain(&self.name, &error.to_string(), EXIT_FAILED),
            Ok(()) if interrupt.struck() => EXIT_INTERRUPTED,
            Ok(()) => EXIT_DONE,
        }
    }

    /// Checks what `local` would, but for what is outside: ports, folders.
    fn graph(self, args: &GraphArgs) -> u8 {
        let checked = self.declare(self.config.clone(), &args.params).and_then(|context| {
            let program = Program::id(&*context.check()?.pipeline).0;
            Ok(if args.dot {
                format!("// program {program}\n{}", context.to_dot())
            } else {
                format!("program {program}\n{}", context.describe())
            })
        });
        match checked {
            Ok(text) => println!("{}", text.trim_end()),
            Err(error) => return complain(&self.name, &error.to_string(), EXIT_USAGE),
        }
        EXIT_DONE
    }

    fn start(&self, config: Config, params: &[String]) -> Result<Running, StartError> {
        self.declare(config, params)?.start()
    }

    fn declare(&self, config: Config, params: &[String]) -> Result<StreamContext, StartError> {
        let context = StreamContext::with_params(config, Params::parse(params)?);
        self.build(&context)?;
        Ok(context)
    }

    fn build(&self, context: &StreamContext) -> Result<(), GraphError> {
        match &self.pipeline {
            Some(build) => build(context),
            None => Err(GraphError::NoOutput),
        }
    }
}

/// One line on standard error.
pub(crate) fn complain(name: &str, text: &str, code: u8) -> u8 {
    eprintln!("{name}: {text}");
    code
}
