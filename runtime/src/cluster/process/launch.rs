//! Starts the processes of executors: the one place where this program starts another.

use super::Origin;
use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    process::Stdio,
};
use tidemill_protocol::id::{Member, NodeId};
use tokio::process::{Child, Command};

/// The file that runs, even when another has taken its name meanwhile, or nothing has: a node that was replaced on disk
/// goes on with the program that it began with.
const OWN_FILE: &str = "/proc/self/exe";

/// How the executors of a node are started.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    /// Where the driver listens.
    pub(crate) driver: SocketAddr,
    /// This machine's address, for its executors.
    pub(crate) ip: IpAddr,
    /// Tasks at once; the application's default otherwise.
    pub(crate) slots: Option<u16>,
    /// The folder with the node's certificate.
    pub(crate) data: PathBuf,
    /// Where executors put what does not fit their memory; the application's default otherwise.
    pub(crate) spill_dir: Option<PathBuf>,
    /// Where each of them serves metrics to Prometheus, if it does.
    pub(crate) metrics: BTreeMap<NodeId, SocketAddr>,
    /// Whether their standard error is this process's; else nobody reads it.
    pub(crate) is_heard: bool,
}

impl Launch {
    /// Starts a process; it is killed when the handle is dropped, and ends by itself when its standard input does. It has a
    /// process group of its own, so that Ctrl-C in a terminal reaches only its agent, which then ends it in good order.
    pub(crate) fn start(&self, member: Member, origin: Origin) -> io::Result<Child> {
        Command::new(OWN_FILE)
            .args(self.arguments(member, origin))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(if self.is_heard { Stdio::inherit() } else { Stdio::null() })
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }

    fn arguments(&self, member: Member, origin: Origin) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["executor".into()];
        let mut option = |name: &str, value: OsString| arguments.extend([name.into(), value]);
        option("--driver", self.driver.to_string().into());
        option("--listen", self.ip.to_string().into());
        option("--node", member.node.0.to_string().into());
        option("--incarnation", member.incarnation.0.to_string().into());
        option("--data", self.data.clone().into());
        if let Some(agent) = origin.agent {
            option("--agent", agent.to_string().into());
        }
        if let Some(ended) = origin.ended {
            option("--ended", ended.last.0.to_string().into());
            option("--ended-since", ended.first.0.to_string().into());
        }
        if let Some(slots) = self.slots {
            option("--slots", slots.to_string().into());
        }
        if let Some(folder) = &self.spill_dir {
            option("--spill-dir", folder.into());
        }
        if let Some(address) = self.metrics.get(&member.node) {
            option("--metrics", address.to_string().into());
        }
        arguments
    }
}
