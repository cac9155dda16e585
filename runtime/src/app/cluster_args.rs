//! The options of the commands that make a cluster of processes.

use crate::{BatchInterval, Config, Params, ParamsError};
use clap::{Args, Subcommand};
use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

/// Options of `driver`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Example:\n  driver --ca cluster --listen 127.0.0.1:7600 --param from=127.0.0.1:9999")]
pub struct DriverArgs {
    /// Folder of the cluster's authority, made by `ca init`
    #[arg(long, value_name = "DIR")]
    pub ca: PathBuf,
    /// Where to listen for executors; machines join on the next port
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:7600")]
    pub listen: SocketAddr,
    /// Number of executors expected: a shuffle has as many partitions as their slots
    #[arg(long, value_name = "N")]
    pub executors_expected: Option<u16>,
    /// Milliseconds between batches
    #[arg(long)]
    pub batch_interval_ms: Option<u64>,
    /// MiB that one executor may hold in blocks and outputs; beyond that they go to disk, and receivers wait
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..1 << 40))]
    pub memory_mib: Option<u64>,
    /// Address of the Prometheus endpoint, on loopback
    #[arg(long)]
    pub metrics: Option<SocketAddr>,
    /// A parameter of the pipeline, for every node; may be repeated
    #[arg(long = "param", value_name = "NAME=VALUE")]
    pub params: Vec<String>,
    /// Seconds that certificates are valid
    #[arg(long, hide = true, value_name = "S", value_parser = clap::value_parser!(u64).range(4..))]
    pub certificate_lifetime_s: Option<u64>,
}

impl DriverArgs {
    pub(super) fn apply(&self, mut config: Config) -> Config {
        config.executors = self.executors_expected.unwrap_or(config.executors);
        if let Some(ms) = self.batch_interval_ms {
            config.batch_interval = BatchInterval::Every(Duration::from_millis(ms));
        }
        config.memory_bytes_max = self.memory_mib.map_or(config.memory_bytes_max, |mib| mib << 20);
        config.metrics_address = self.metrics.or(config.metrics_address);
        config
    }

    pub(super) fn params(&self) -> Result<Params, ParamsError> {
        Params::parse(&self.params)
    }
}

/// Options of `node`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  node --join token.txt --driver 127.0.0.1:7600 --data node1 --executors 2\n  node --data node1"
)]
pub struct NodeArgs {
    /// File with a join token from `ca token`, or - for standard input; the first time only
    #[arg(long, value_name = "FILE", requires = "driver")]
    pub join: Option<PathBuf>,
    /// Where the driver listens for executors; remembered in --data
    #[arg(long, value_name = "HOST:PORT")]
    pub driver: Option<String>,
    /// Folder of this node: its certificate, key and numbers
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Executors to run; all that the certificate names unless said otherwise
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub executors: Option<u16>,
    /// Tasks that one executor runs at once
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub slots: Option<u16>,
    /// This machine's address for other nodes
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub listen: IpAddr,
    /// Where executors put what does not fit their memory; a temporary folder unless said otherwise
    #[arg(long, value_name = "DIR")]
    pub spill_dir: Option<PathBuf>,
    /// Address of the first executor's Prometheus endpoint, on loopback; each other executor has the next port
    #[arg(long, value_name = "IP:PORT")]
    pub metrics: Option<SocketAddr>,
}

/// Commands of `ca`.
#[derive(Clone, Debug, Subcommand)]
pub enum CaCommand {
    /// Make the authority of a new cluster
    #[command(after_help = "Example:\n  ca init cluster")]
    Init {
        /// The folder to make
        dir: PathBuf,
    },
    /// Make a token with which one machine may join, once, within 15 minutes
    #[command(after_help = "Example:\n  ca token cluster --executors 2 --out token.txt")]
    Token {
        /// The authority's folder
        dir: PathBuf,
        /// Executors that the machine may run
        #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
        executors: u16,
        /// A file for the token, which only its owner may read; standard output unless said otherwise
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Make the certificates of the operator and the observer anew, for another year
    #[command(after_help = "Example:\n  ca renew cluster")]
    Renew {
        /// The authority's folder
        dir: PathBuf,
    },
    /// Shut out the machine that has this number, with all its executors; a driver that runs hears of it within a second
    #[command(after_help = "Example:\n  ca deny cluster 2")]
    Deny {
        /// The authority's folder
        dir: PathBuf,
        /// A number of the machine, as `status` shows it
        #[arg(value_parser = clap::value_parser!(u16).range(1..))]
        node: u16,
    },
}

/// Options of `status`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "The supervision tree is that of the driver's process; executors keep trees of their own. A receiver that waits for its next \
                  life is in it, below the batch generator, with why it ended.\n\nExample:\n  status --ca cluster --json"
)]
pub struct StatusArgs {
    /// Folder with ca.pem and observer.pem: the authority's, or a copy of these two
    #[arg(long, value_name = "DIR")]
    pub ca: PathBuf,
    /// Where the driver listens
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7600")]
    pub driver: String,
    /// As one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Options of the hidden `executor`, which an agent gives.
#[derive(Args, Clone, Debug)]
pub struct ExecutorArgs {
    /// Where the driver listens
    #[arg(long)]
    pub driver: SocketAddr,
    /// This machine's address
    #[arg(long)]
    pub listen: IpAddr,
    /// Its number
    #[arg(long)]
    pub node: u16,
    /// Its incarnation
    #[arg(long)]
    pub incarnation: u32,
    /// Which start of its agent has started it
    #[arg(long)]
    pub agent: Option<u64>,
    /// The incarnation before it, whose process has ended
    #[arg(long)]
    pub ended: Option<u32>,
    /// The first of those before it whose processes have all ended
    #[arg(long, requires = "ended")]
    pub ended_since: Option<u32>,
    /// Folder with its certificate
    #[arg(long)]
    pub data: PathBuf,
    /// Tasks at once
    #[arg(long)]
    pub slots: Option<u16>,
    /// Where to put what does not fit its memory
    #[arg(long)]
    pub spill_dir: Option<PathBuf>,
    /// Where to serve metrics
    #[arg(long)]
    pub metrics: Option<SocketAddr>,
}
