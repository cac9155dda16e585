//! From a graph that grows to a pipeline that runs.

use super::{Graph, GraphError, NodeKind, Pipeline, stages::Flat};
use std::{collections::BTreeMap, sync::Arc, sync::Mutex};
use tidemill_protocol::{id::ProgramId, time::BatchTime, world::Files};
use xxhash_rust::xxh3::xxh3_64;

/// What a pipeline is built with; the same on every node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildOptions {
    /// How many partitions a shuffle has that does not say; 1 to 1,024.
    pub default_partitions: u32,
    /// The seed of key hashes. It belongs to the application and never changes, or keys would move.
    pub hash_seed: u64,
    /// The hash of the executable file: other builds are other programs.
    pub executable: u64,
    /// The application's parameters, in the form in which they are told apart.
    pub parameters: String,
}

impl Default for BuildOptions {
    fn default() -> Self {
        BuildOptions { default_partitions: 2, hash_seed: 0, executable: 0, parameters: String::new() }
    }
}

impl Graph {
    /// Checks the graph, closes it, and makes a pipeline of it whose sources and sinks use `files`. Each `transform` is
    /// called once, with time 0, to see that it builds something valid.
    ///
    /// # Errors
    /// [`GraphError`], with the remedy.
    pub fn build(&self, options: BuildOptions, files: Files) -> Result<Pipeline, GraphError> {
        self.check()?;
        if !(1..=crate::data::KEY_GROUPS).contains(&options.default_partitions) {
            let what = "default_partitions".to_owned();
            return Err(GraphError::BadPartitions { what, partitions: options.default_partitions });
        }
        let (flat, error) = Flat::new(self, BatchTime(0));
        if let Some(error) = error {
            return Err(error);
        }
        let described = format!("{}\n{:?}\n{}", self.describe(), options, options.parameters);
        let mut state = self.state();
        state.built = true;
        let changes = state.nodes.iter().any(|node| matches!(node.kind, NodeKind::Transform(_)));
        Ok(Pipeline {
            id: ProgramId(xxh3_64(described.as_bytes())),
            graph: self.clone(),
            options,
            files,
            world: std::sync::OnceLock::new(),
            stream_infos: state.streams.iter().map(|s| s.info.clone()).collect(),
            sink_infos: state.sinks.iter().map(|s| s.info.clone()).collect(),
            streams: state.streams.clone(),
            sinks: state.sinks.clone(),
            constant: (!changes).then(|| Arc::new(flat)),
            attempts: Default::default(),
            recent: Mutex::new(BTreeMap::new()),
        })
    }
}
