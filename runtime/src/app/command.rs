//! The command line of an [`App`](super::App), and what a process installs once.

use super::cluster_args::{CaCommand, DriverArgs, ExecutorArgs, NodeArgs, StatusArgs};
use crate::{BatchInterval, Config, config::check_metrics_address};
use clap::{Args, Parser, Subcommand};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};
use tidemill_protocol::world::World;

/// A pipeline of discretized streams.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Line {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    local: LocalArgs,
}

impl Line {
    pub(super) fn command(self) -> Command {
        self.command.unwrap_or(Command::Local(self.local))
    }
}

/// What an application can be told to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run driver and executors in this process (the default)
    Local(LocalArgs),
    /// Print the graph and the program id
    Graph(GraphArgs),
    /// Run the driver of a cluster
    Driver(DriverArgs),
    /// Run executors on this machine, for a driver
    Node(NodeArgs),
    /// Show the state of a cluster
    Status(StatusArgs),
    /// Make a cluster's authority, and tokens for its machines
    #[command(
        subcommand,
        after_help = "Examples:\n  ca init cluster\n  ca token cluster --executors 2 > token.txt"
    )]
    Ca(CaCommand),
    /// One executor; started by `node`
    #[command(hide = true)]
    Executor(ExecutorArgs),
}

impl Command {
    /// Where this process shall serve metrics, for [`install_metrics`]: as the command line says, else as `config` does.
    pub fn metrics(&self, config: &Config) -> Option<SocketAddr> {
        match self {
            Command::Local(args) => args.metrics.or(config.metrics_address),
            Command::Driver(args) => args.metrics.or(config.metrics_address),
            Command::Executor(args) => args.metrics,
            _ => None,
        }
    }

    /// What is logged unless `RUST_LOG` says otherwise: who runs for long tells what happens to it.
    pub fn log_level(&self) -> &'static str {
        match self {
            Command::Driver(_) | Command::Node(_) => "warn,tidemill=info,tidemill_actors=info",
            // How its incarnation ends, it says in one line at its end.
            Command::Executor(_) => "warn,tidemill_actors::supervision=off",
            _ => "warn",
        }
    }
}

/// Options of `local`; what is not given stays as the application has it.
#[derive(Args, Clone, Debug, Default)]
#[command(after_help = "Example:\n  local --executors 3 --batch-interval-ms 200")]
pub struct LocalArgs {
    /// Executors in this process
    #[arg(long)]
    pub executors: Option<u16>,
    /// Tasks that one executor runs at once
    #[arg(long)]
    pub slots: Option<u16>,
    /// Milliseconds between batches
    #[arg(long)]
    pub batch_interval_ms: Option<u64>,
    /// MiB that one executor may hold in blocks and outputs; beyond that they go to disk, and receivers wait
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..1 << 40))]
    pub memory_mib: Option<u64>,
    /// Where executors put what does not fit their memory; a temporary folder unless said otherwise
    #[arg(long, value_name = "DIR")]
    pub spill_dir: Option<PathBuf>,
    /// Address of the Prometheus endpoint, on loopback
    #[arg(long)]
    pub metrics: Option<SocketAddr>,
    /// A parameter of the pipeline; may be repeated
    #[arg(long = "param", value_name = "NAME=VALUE")]
    pub params: Vec<String>,
}

impl LocalArgs {
    pub(super) fn apply(&self, mut config: Config) -> Config {
        if let Some(executors) = self.executors {
            config.executors = executors;
        }
        if let Some(slots) = self.slots {
            config.slots_per_executor = slots;
        }
        if let Some(ms) = self.batch_interval_ms {
            config.batch_interval = BatchInterval::Every(Duration::from_millis(ms));
        }
        config.memory_bytes_max = self.memory_mib.map_or(config.memory_bytes_max, |mib| mib << 20);
        config.spill_dir = self.spill_dir.clone().or(config.spill_dir);
        config.metrics_address = self.metrics.or(config.metrics_address);
        config
    }
}

/// Options of `graph`.
#[derive(Args, Clone, Debug, Default)]
#[command(after_help = "Example:\n  graph --dot | dot -Tsvg > graph.svg")]
pub struct GraphArgs {
    /// In Graphviz' language
    #[arg(long)]
    pub dot: bool,
    /// A parameter of the pipeline; may be repeated
    #[arg(long = "param", value_name = "NAME=VALUE")]
    pub params: Vec<String>,
}

/// Logs to standard error, as `RUST_LOG` says, else from `level` up (`"warn"`, `"error"`).
pub fn install_log(level: &str) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    // A log installed by the application itself stays.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
}

/// Says on standard error what is wrong with a command line, in one line with the remedy, or prints the help that was asked
/// for. Gives the exit code.
pub fn refuse(name: &str, refused: &clap::Error) -> u8 {
    use clap::error::ErrorKind;
    if !refused.use_stderr() || refused.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // The terminal may be gone; there is nobody left to tell.
        let _ = refused.print();
        return if refused.use_stderr() { super::EXIT_USAGE } else { super::EXIT_DONE };
    }
    super::complain(name, &one_line(&refused.render().to_string()), super::EXIT_USAGE)
}

/// The error and the tips of a text of several paragraphs; its usage is what `--help` shows.
fn one_line(text: &str) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let said = text.lines().take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    let said: Vec<&str> = said.map(str::trim).filter(|line| !line.is_empty()).collect();
    format!("{}; see --help", said.join("; ").replace(":; ", ": "))
}

/// Whether executors can keep files in the folder that was named for that.
pub(super) fn check_spill_dir(folder: Option<&Path>) -> Result<(), String> {
    let Some(folder) = folder else { return Ok(()) };
    // What is made is removed at once.
    let made = World::real().files.scratch_folder(Some(folder));
    made.map(drop).map_err(|error| {
        let folder = folder.display();
        format!("nothing can be written to --spill-dir {folder}: {error}; choose another folder")
    })
}

/// Whether metrics can be served on `address`.
pub(super) fn check_metrics(address: Option<SocketAddr>) -> Result<(), String> {
    check_metrics_address(address).map_err(|error| error.to_string())?;
    let Some(address) = address else { return Ok(()) };
    let taken =
        |error| format!("cannot serve metrics on {address}: {error}; choose another port with --metrics");
    std::net::TcpListener::bind(address).map(drop).map_err(taken)
}

/// Serves metrics to Prometheus on `address`, if there is one: installs the process's recorder, so once, in `main`.
///
/// # Errors
/// One line with the remedy: the address is not on loopback, or taken, or there is a recorder already.
pub fn install_metrics(address: Option<SocketAddr>) -> Result<(), String> {
    // The exporter binds on a thread of its own and would report a taken port to nobody: it is tried first.
    check_metrics(address)?;
    let Some(address) = address else { return Ok(()) };
    metrics_exporter_prometheus::PrometheusBuilder::new()
        .with_http_listener(address)
        .install()
        .map_err(|error| format!("cannot serve metrics on {address}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_one_line_with_its_tip() {
        let text = "error: unexpected argument '--nonsense' found\n\n  tip: a similar argument exists: '--json'\n\n\
                    Usage: tidemill demo --json\n\nFor more information, try '--help'.\n";
        assert_eq!(
            one_line(text),
            "unexpected argument '--nonsense' found; tip: a similar argument exists: '--json'; see --help"
        );
        let text =
            "error: the following required arguments were not provided:\n  <NAME>\n\nUsage: x <NAME>\n";
        assert_eq!(one_line(text), "the following required arguments were not provided: <NAME>; see --help");
    }
}
