//! The `tidemill` program: a first look (`demo`), the measurements (`bench`), and the demo's pipeline as an application
//! (`local`, `graph`).

use clap::{Parser, Subcommand};
use std::{net::SocketAddr, process::ExitCode};
use tidemill::{
    Config, GraphError, StreamContext,
    app::{
        self, App, CaCommand, DriverArgs, ExecutorArgs, GraphArgs, Interrupt, LocalArgs, NodeArgs, StatusArgs,
    },
    bench::{self, BenchArgs},
    demo::{self, DemoArgs, FeedArgs},
};

/// Where the demo's pipeline reads, unless it is told.
const SENDER: &str = "127.0.0.1:9999";

/// Without arguments; at most 15 lines.
const OVERVIEW: &str = "\
tidemill: a runtime for discretized streams

  tidemill demo     three executors count live flights, one is killed, the count stays right
  tidemill bench    measure against a hand-written loop
  tidemill local    run the demo's pipeline on a sender of your own
  tidemill graph    print that pipeline's graph
  tidemill ca       make a cluster's authority, and tokens for its machines
  tidemill driver   run that pipeline's driver; `tidemill node` runs its executors
  tidemill status   what goes on in a cluster
  tidemill feed     send numbered lines of flights, for a cluster to read

`tidemill COMMAND --help` tells a command's options, with an example.
A pipeline of your own is 15 lines of Rust: see README.md.";

#[derive(Parser)]
#[command(
    name = "tidemill",
    version,
    about = "A runtime for discretized streams",
    after_help = "Examples:\n  tidemill demo --for 10 --rate 5000\n  tidemill bench grep --json --lines 500000 --runs 1"
)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Count live flights on three executors, kill one, and compare with a plain loop
    #[command(after_help = "Example:\n  tidemill demo --for 10 --rate 5000")]
    Demo(DemoArgs),
    /// Measure against a hand-written loop
    #[command(after_help = "Example:\n  tidemill bench grep --json --lines 500000 --runs 1")]
    Bench(BenchArgs),
    /// Run the demo's pipeline on numbered lines from a sender of your own
    #[command(after_help = "Example:\n  tidemill local --from 127.0.0.1:9999 --executors 3")]
    Local {
        /// host:port of the sender
        #[arg(long, default_value = "127.0.0.1:9999")]
        from: String,
        #[command(flatten)]
        args: LocalArgs,
    },
    /// Print the graph of the demo's pipeline
    #[command(after_help = "Example:\n  tidemill graph --dot > graph.dot")]
    Graph(GraphArgs),
    /// Make a cluster's authority, and tokens for its machines
    #[command(
        subcommand,
        after_help = "Examples:\n  tidemill ca init cluster\n  tidemill ca token cluster --executors 2 > token.txt"
    )]
    Ca(CaCommand),
    /// Send flights as numbered lines to a receiver, until all of them are safe
    #[command(after_help = "Example:\n  tidemill feed --listen 127.0.0.1:9999 --rate 20000 --for 5")]
    Feed(FeedArgs),
    /// Run the driver of the demo's pipeline; its parameter `from` is host:port of the sender
    Driver(DriverArgs),
    /// Run executors on this machine, for a driver
    Node(NodeArgs),
    /// Show the state of a cluster
    Status(StatusArgs),
    /// One executor; started by `node`
    #[command(hide = true)]
    Executor(ExecutorArgs),
}

impl Command {
    /// The commands that every application has.
    fn of_app(self) -> Result<app::Command, Box<Command>> {
        Ok(match self {
            Command::Graph(args) => app::Command::Graph(args),
            Command::Ca(command) => app::Command::Ca(command),
            Command::Driver(args) => app::Command::Driver(args),
            Command::Node(args) => app::Command::Node(args),
            Command::Status(args) => app::Command::Status(args),
            Command::Executor(args) => app::Command::Executor(args),
            own => return Err(Box::new(own)),
        })
    }
}

fn main() -> ExitCode {
    if std::env::args_os().len() == 1 {
        eprintln!("{OVERVIEW}");
        return ExitCode::from(app::EXIT_USAGE);
    }
    let line = match Line::try_parse() {
        Ok(line) => line,
        Err(refused) => return ExitCode::from(app::refuse("tidemill", &refused)),
    };
    match line.command.of_app() {
        Ok(command) => {
            app::install_log(command.log_level());
            if let Err(code) = serve_metrics(command.metrics(&Config::default())) {
                return ExitCode::from(code);
            }
            let interrupt = match command {
                app::Command::Driver(_) | app::Command::Node(_) => Interrupt::on_signals(),
                _ => Interrupt::never(),
            };
            let app = match command {
                app::Command::Executor(_) => of_executor(),
                _ => flights(SENDER.into()),
            };
            ExitCode::from(app.run(command, interrupt))
        }
        Err(command) => ExitCode::from(run(*command)),
    }
}

/// What only this program can do. What ends in good order by itself listens to signals; the others keep their default effect.
fn run(command: Command) -> u8 {
    // The demo and benchmarks kill executors on purpose and say so themselves.
    app::install_log(if matches!(command, Command::Demo(_) | Command::Bench(_)) { "error" } else { "warn" });
    match command {
        Command::Demo(args) => demo::run(&args, &Interrupt::on_signals()),
        Command::Bench(args) => args.run(),
        Command::Feed(args) => demo::feed(&args),
        Command::Local { from, args } => match serve_metrics(args.metrics) {
            Ok(()) => flights(from).run(app::Command::Local(args), Interrupt::on_signals()),
            Err(code) => code,
        },
        other => unreachable!("{other:?} is every application's"),
    }
}

fn serve_metrics(address: Option<SocketAddr>) -> Result<(), u8> {
    app::install_metrics(address).map_err(|error| {
        eprintln!("tidemill: {error}");
        app::EXIT_USAGE
    })
}

/// What an executor of this program's clusters runs: a benchmark's pipeline if its driver is one, else the demo's.
fn of_executor() -> App {
    App::new("tidemill").pipeline(|ctx| match bench::empty_batch::declare_for_executor(ctx) {
        true => Ok(()),
        false => build_flights(ctx, SENDER),
    })
}

/// The demo's pipeline as an application.
fn flights(from: String) -> App {
    App::new("tidemill").pipeline(move |ctx| build_flights(ctx, &from))
}

fn build_flights(ctx: &StreamContext, from: &str) -> Result<(), GraphError> {
    let from = ctx.params().text("from", from);
    demo::pipeline::build(ctx, &from, demo::pipeline::print_totals())
}
