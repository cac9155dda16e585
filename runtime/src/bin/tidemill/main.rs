//! The `tidemill` program: a first look (`demo`), the measurements (`bench`), and the demo's pipeline as an application
//! (`local`, `graph`).

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use tidemill::{
    app::{self, App, GraphArgs, LocalArgs},
    bench::BenchArgs,
    demo::{self, DemoArgs},
};

/// Without arguments; at most 15 lines.
const OVERVIEW: &str = "\
tidemill: a runtime for discretized streams

  tidemill demo     three executors count live flights, one is killed, the count stays right
  tidemill bench    measure against a hand-written loop
  tidemill local    run the demo's pipeline on a sender of your own
  tidemill graph    print that pipeline's graph

`tidemill COMMAND --help` tells a command's options, with an example.
A pipeline of your own is 15 lines of Rust: see README.md.";

#[derive(Parser)]
#[command(name = "tidemill", version, about = "A runtime for discretized streams")]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
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
    // The demo kills an executor on purpose and says so itself.
    let kills = matches!(line.command, Command::Demo(_));
    app::install_log(if kills { "error" } else { "warn" });
    // Only what ends in good order by itself listens to signals; the others keep their default effect.
    ExitCode::from(match line.command {
        Command::Demo(args) => demo::run(&args, &app::Interrupt::on_signals()),
        Command::Bench(args) => args.run(),
        Command::Local { from, args } => {
            flights(from).run(app::Command::Local(args), app::Interrupt::on_signals())
        }
        Command::Graph(args) => {
            flights("127.0.0.1:9999".into()).run(app::Command::Graph(args), app::Interrupt::never())
        }
    })
}

/// The demo's pipeline as an application.
fn flights(from: String) -> App {
    App::new("tidemill").pipeline(move |ctx| demo::pipeline::build(ctx, &from, demo::pipeline::print_top))
}
