//! The nodes of a graph, and the graph while it grows. A node's number is greater than those of its parents.

use super::{AnyPush, AnySink, AnySource, GraphError, TaskEnv};
use crate::data::{Codec, KEY_GROUPS, Stored};
use std::{
    collections::BTreeSet,
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard},
};
use tidemill_actors::seam::{InputData, SinkInfo, StreamInfo, TaskError};
use tidemill_protocol::{
    id::{SinkId, StreamId},
    time::BatchTime,
};

/// Where a stage begins: reads the inputs of a task and pushes them.
pub(crate) trait Leaf: Send + Sync {
    fn feed(&self, inputs: Vec<Vec<InputData>>, down: AnyPush, env: &Rc<TaskEnv>) -> Result<(), TaskError>;
}

/// An operator within a stage: puts itself before `down`.
pub(crate) trait Narrow: Send + Sync {
    fn wrap(&self, down: AnyPush, env: &Rc<TaskEnv>) -> AnyPush;
}

/// Where a stage ends in a shuffle: gathers, and leaves its outputs in the environment.
pub(crate) trait Exchange: Send + Sync {
    fn open(&self, env: &Rc<TaskEnv>) -> AnyPush;
}

/// `transform`: appends what the user builds on node `parent` for the batch at `time`; the number of the last node.
pub(crate) trait Rebuild: Send + Sync {
    fn rebuild(&self, graph: &Graph, parent: usize, time: BatchTime) -> usize;
}

#[derive(Clone)]
pub(crate) enum NodeKind {
    Source(StreamId, Arc<dyn Leaf>),
    Narrow(Arc<dyn Narrow>),
    Union,
    Exchange(Arc<dyn Exchange>),
    Merge(Arc<dyn Leaf>),
    Transform(Arc<dyn Rebuild>),
}

#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) kind: NodeKind,
    pub(crate) label: &'static str,
    pub(crate) name: Option<String>,
    pub(crate) parents: Vec<usize>,
    pub(crate) partitions: Option<u32>,
    /// Marked: it may give something else when it runs again.
    pub(crate) nondeterministic: bool,
}

#[derive(Clone)]
pub(crate) struct SinkNode {
    pub(crate) parent: usize,
    pub(crate) info: SinkInfo,
    pub(crate) label: &'static str,
    pub(crate) sink: Arc<dyn AnySink>,
}

#[derive(Clone)]
pub(crate) struct StreamNode {
    pub(crate) info: StreamInfo,
    pub(crate) source: Arc<dyn AnySource>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) nodes: Vec<Node>,
    pub(crate) streams: Vec<StreamNode>,
    pub(crate) sinks: Vec<SinkNode>,
    pub(crate) error: Option<GraphError>,
    pub(crate) built: bool,
    /// Told when something is added to a graph that runs.
    pub(crate) late: Option<LateListener>,
}

/// Takes the mistake of adding to a graph that runs.
pub(crate) type LateListener = Arc<dyn Fn(&GraphError) + Send + Sync>;

/// A graph that DStreams add nodes to. A handle: clones share it.
#[derive(Clone, Default)]
pub struct Graph {
    state: Arc<Mutex<State>>,
    pub(crate) codec: Codec,
}

impl Graph {
    /// A graph for one batch, which knows the types of `codec` and adds its own.
    pub(crate) fn with_codec(codec: Codec) -> Self {
        Graph { state: Arc::default(), codec }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn is_same(&self, other: &Graph) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }

    /// Remembers the first mistake; `build` reports it.
    pub(crate) fn refuse(&self, error: GraphError) {
        self.state().error.get_or_insert(error);
    }

    /// Appends a node and gives its number.
    pub(crate) fn add(&self, node: Node) -> usize {
        let mut state = self.state();
        if state.built {
            drop(state);
            self.added_late(node.label, node.name.as_deref());
            state = self.state();
        }
        if let Some(partitions) = node.partitions.filter(|p| !(1..=KEY_GROUPS).contains(p)) {
            let what = node.label.to_owned();
            state.error.get_or_insert(GraphError::BadPartitions { what, partitions });
        }
        state.nodes.push(node);
        state.nodes.len() - 1
    }

    /// Marks an operator; with it the writing side of its shuffle, and what a union unites.
    pub(crate) fn mark_nondeterministic(&self, node: usize) {
        let mut state = self.state();
        let mut marked = vec![node];
        while let Some(number) = marked.pop() {
            let Some(node) = state.nodes.get_mut(number) else { continue };
            node.nondeterministic = true;
            if matches!(node.kind, NodeKind::Merge(_) | NodeKind::Union) {
                marked.extend(&node.parents);
            }
        }
    }

    /// Takes it as a mistake if the graph is closed already.
    pub(crate) fn check_open(&self, label: &str, name: Option<&str>) {
        let is_built = self.state().built;
        if is_built {
            self.added_late(label, name);
        }
    }

    /// Something was added to a closed graph. The first time, whoever runs it is told; each build from now on fails.
    fn added_late(&self, label: &str, name: Option<&str>) {
        let what = name.map_or_else(|| label.to_owned(), |name| format!("{label} `{name}`"));
        let error = GraphError::AddedAfterStart { what };
        let mut state = self.state();
        let first = state.error.is_none();
        state.error.get_or_insert_with(|| error.clone());
        let late = state.late.clone().filter(|_| first);
        // Told without the lock: what the listener does may come back here.
        drop(state);
        tracing::error!("{error}");
        if let Some(late) = late {
            late(&error);
        }
    }

    /// Calls `told` the first time that something is added from now on.
    pub(crate) fn when_added_late(&self, told: LateListener) {
        self.state().late = Some(told);
    }

    /// Declares the type of a payload that nodes exchange.
    pub(crate) fn declare<P: Stored>(&self) {
        if !self.codec.register::<P>() {
            self.refuse(GraphError::TypeNameTwice { type_label: P::type_label() });
        }
    }

    pub(crate) fn add_stream(
        &self,
        source: Arc<dyn AnySource>,
        mut info: StreamInfo,
        leaf: Arc<dyn Leaf>,
    ) -> usize {
        let name;
        let id = {
            let mut state = self.state();
            let id = StreamId(state.streams.len() as u16);
            info.id = id;
            name = Some(info.name.clone()).filter(|_| state.built);
            state.streams.push(StreamNode { info, source });
            id
        };
        let kind = NodeKind::Source(id, leaf);
        let (label, partitions, nondeterministic) = ("source", None, false);
        self.add(Node { kind, label, name, parents: vec![], partitions, nondeterministic })
    }

    pub(crate) fn add_sink(&self, mut node: SinkNode) -> SinkId {
        let mut state = self.state();
        let id = SinkId(state.sinks.len() as u16);
        node.info.id = id;
        if node.info.name.is_empty() {
            node.info.name = format!("{}-{}", node.label, id.0);
        }
        let late = state.built.then_some(node.label);
        state.sinks.push(node);
        drop(state);
        if let Some(label) = late {
            self.added_late(label, None);
        }
        id
    }

    /// What is wrong with the finished graph, if anything.
    pub(crate) fn check(&self) -> Result<(), GraphError> {
        let state = self.state();
        if let Some(error) = &state.error {
            return Err(error.clone());
        }
        if state.sinks.is_empty() {
            return Err(GraphError::NoOutput);
        }
        if state.streams.is_empty() {
            return Err(GraphError::NoInput);
        }
        let of_streams = state.streams.iter().map(|s| &s.info.name);
        let of_sinks = state.sinks.iter().map(|s| &s.info.name);
        for names in [of_streams.collect::<Vec<_>>(), of_sinks.collect()] {
            let mut seen = BTreeSet::new();
            if let Some(name) = names.into_iter().find(|name| !seen.insert(*name)) {
                return Err(GraphError::NameTwice { name: name.clone() });
            }
        }
        Ok(())
    }
}
