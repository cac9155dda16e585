//! A driver whose executors are other processes.

use crate::{
    Running, StreamContext,
    cluster::{
        driver::Roles,
        lane::BulkThread,
        over_quic::{DriverOverQuic, Site},
        quic::Answers,
        settings,
        start::{Assembled, Handles, Parts, StartError},
    },
};
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};
use tidemill_actors::supervision::SupervisorHandle;
use tidemill_protocol::{
    endpoint::{EndpointConfig, Identity},
    message::{ProgramFacts, Reply, Request},
};

/// How a driver is reached.
#[derive(Clone, Debug)]
pub struct DriverOptions {
    /// Where it listens for executors; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Who it is, and whom it trusts.
    pub identity: Identity,
}

impl StreamContext {
    /// Starts the driver of a cluster whose executors are other processes: it waits for them, and gives them its
    /// parameters and settings. As [`start`](Self::start) otherwise.
    ///
    /// # Errors
    /// [`StartError`], with the remedy; nothing was read.
    pub fn start_driver(&self, options: DriverOptions) -> Result<Running, StartError> {
        let parts = self.prepare()?;
        let facts = ProgramFacts {
            settings: settings::to_wire(&parts.config),
            parameters: self.params().to_wire(),
        };
        self.launch(parts, move |parts| assemble(parts, &options, facts))
    }
}

fn assemble(parts: Parts, options: &DriverOptions, facts: ProgramFacts) -> Result<Assembled, StartError> {
    let Parts { config, pipeline, world, progress, users } = parts;
    let bulk = BulkThread::start().map_err(StartError::Thread)?;
    let (roles, inboxes) = Roles::new(None);
    let endpoints = EndpointConfig::new(options.identity.clone(), None);
    let site = Site { config, pipeline, world, progress, users, lanes: bulk.lanes() };
    let answers = |_: &SupervisorHandle| -> Answers {
        Arc::new(move |request: Request| match request {
            Request::Program => vec![Reply::Program(facts.clone())],
            Request::Status => vec![Reply::Refused("not yet".to_owned())],
        })
    };
    let started = DriverOverQuic::start(site, (roles.clone(), inboxes), &endpoints, options.listen, answers)?;
    let DriverOverQuic { root, control, bulk: bulk_endpoint } = started;
    let address = control.local_addr().ok();
    let handles = Handles { roles, root, executors: BTreeMap::new(), address };
    Ok(Assembled { handles, endpoints: vec![control, bulk_endpoint], bulk: Some(bulk) })
}
