//! `DStream<T>`: a recipe that gives a dataset for each batch. Its operators are in [`crate::operators`], one a file; here is
//! only what all of them use to add their nodes.

use crate::{
    data::{Data, Stored},
    graph::{
        AnyPush, Exchange, Graph, GraphError, Leaf, Narrow, Node, NodeKind, Push, Rebuild, Sink, SinkNode,
        SinkSpec, TaskEnv, TypedSink, erase, reveal,
    },
};
use std::{marker::PhantomData, rc::Rc, sync::Arc};
use tidemill_actors::seam::{InputData, SinkInfo, TaskError};
use tidemill_protocol::id::SinkId;

/// Every batch: what the recipes of a context are for.
#[derive(Clone, Copy, Debug)]
pub enum EveryBatch {}

/// A stream of records, cut into batches: a recipe, not data. Operators give new recipes; an output makes them run.
///
/// `S` tells recipes for every batch from those inside [`transform`](Self::transform), which are called
/// [`Dataset`](crate::dataset::Dataset) and have no outputs.
///
/// ```
/// use tidemill::testing::check;
/// check(
///     vec![vec![1, 2, 3], vec![4]],
///     |numbers| numbers.map(|n| n * 10).filter(|n| *n > 10),
///     vec![vec![20, 30], vec![40]],
/// );
/// ```
pub struct DStream<T, S = EveryBatch> {
    graph: Graph,
    node: usize,
    types: PhantomData<fn() -> (T, S)>,
}

impl<T, S> Clone for DStream<T, S> {
    fn clone(&self) -> Self {
        DStream { graph: self.graph.clone(), node: self.node, types: PhantomData }
    }
}

/// An output that was registered; it can still be given a name.
#[derive(Clone)]
pub struct Output {
    graph: Graph,
    id: SinkId,
}

impl Output {
    /// Names the output in logs, metrics and stores; the name must be unique.
    pub fn named(&self, name: impl Into<String>) -> &Self {
        if let Some(node) = self.graph.state().sinks.get_mut(usize::from(self.id.0)) {
            node.info.name = name.into();
        }
        self
    }

    /// Its number.
    pub fn id(&self) -> SinkId {
        self.id
    }
}

impl<T: Data, S: 'static> DStream<T, S> {
    pub(crate) fn at(graph: Graph, node: usize) -> Self {
        DStream { graph, node, types: PhantomData }
    }

    pub(crate) fn graph(&self) -> &Graph {
        &self.graph
    }

    pub(crate) fn node(&self) -> usize {
        self.node
    }

    /// Names the last operator; the name appears in descriptions and errors, and is part of the program's identity.
    ///
    /// ```
    /// use tidemill::{StreamContext, sources::Queue};
    /// let context = StreamContext::new();
    /// context.queue_stream("numbers", &Queue::<u32>::new(1)).count().named("how many");
    /// assert!(context.describe().contains("\"how many\""));
    /// ```
    pub fn named(self, name: impl Into<String>) -> Self {
        if let Some(node) = self.graph.state().nodes.get_mut(self.node) {
            node.name = Some(name.into());
        }
        self
    }

    /// Marks the last operator: its user function draws lots, asks the outside or reads a clock, so that it may give something
    /// else when a task runs again. Part of the program's identity.
    ///
    /// What was made of a lost output is then made again with it, so that an output of a batch never mixes what two runs
    /// gave. Two outputs of one batch may differ if an executor is lost after one of them was published. Without the mark
    /// recovery trusts that a second run gives the same, and debug builds check it. Whoever only needs random numbers
    /// derives them from the record: then no mark is needed.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU64, Ordering};
    /// use tidemill::{StreamContext, sources::Queue};
    /// static TICKETS: AtomicU64 = AtomicU64::new(0);
    /// let context = StreamContext::new();
    /// let guests = context.queue_stream("guests", &Queue::<String>::new(1));
    /// let seated = guests.map(|guest| (TICKETS.fetch_add(1, Ordering::Relaxed), guest)).nondeterministic();
    /// seated.count().print();
    /// assert!(context.describe().contains("map nondeterministic"));
    /// ```
    pub fn nondeterministic(self) -> Self {
        self.graph.mark_nondeterministic(self.node);
        self
    }

    pub(crate) fn add<U: Data>(
        &self,
        kind: NodeKind,
        label: &'static str,
        parents: Vec<usize>,
        partitions: Option<u32>,
    ) -> DStream<U, S> {
        let node =
            self.graph.add(Node { kind, label, name: None, parents, partitions, nondeterministic: false });
        DStream::at(self.graph.clone(), node)
    }

    /// Adds an operator of the same stage, given how it puts itself before the next one.
    pub(crate) fn narrow<U, F>(&self, label: &'static str, wrap: F) -> DStream<U, S>
    where
        U: Data,
        F: Fn(Box<dyn Push<U>>, &Rc<TaskEnv>) -> Box<dyn Push<T>> + Send + Sync + 'static,
    {
        let kind = NodeKind::Narrow(Arc::new(NarrowFn { wrap, types: PhantomData::<fn(T) -> U> }));
        self.add(kind, label, vec![self.node], None)
    }

    /// Adds the writing side of a shuffle whose payload is `P`, given the end of its tasks.
    pub(crate) fn exchange<P, F>(&self, label: &'static str, partitions: Option<u32>, open: F) -> usize
    where
        P: Stored,
        F: Fn(&Rc<TaskEnv>) -> Box<dyn Push<T>> + Send + Sync + 'static,
    {
        self.graph.declare::<P>();
        let kind = NodeKind::Exchange(Arc::new(ExchangeFn { open, types: PhantomData::<fn(T)> }));
        let added: DStream<T, S> = self.add(kind, label, vec![self.node], partitions);
        added.node
    }

    /// Adds the reading side of some shuffles, given how it reads the inputs of a task.
    pub(crate) fn merge<U, F>(&self, label: &'static str, exchanges: Vec<usize>, feed: F) -> DStream<U, S>
    where
        U: Data,
        F: Fn(Vec<Vec<InputData>>, Box<dyn Push<U>>, &Rc<TaskEnv>) -> Result<(), TaskError>
            + Send
            + Sync
            + 'static,
    {
        let kind = NodeKind::Merge(Arc::new(MergeFn { feed, types: PhantomData::<fn() -> U> }));
        self.add(kind, label, exchanges, None)
    }

    pub(crate) fn rebuild(&self, rebuild: Arc<dyn Rebuild>) -> usize {
        let added: DStream<T, S> = self.add(NodeKind::Transform(rebuild), "transform", vec![self.node], None);
        added.node
    }

    /// True if `other` is of the same graph; else the mistake is remembered.
    pub(crate) fn is_akin<U>(&self, other: &DStream<U, S>, what: &str) -> bool {
        let akin = self.graph.is_same(&other.graph);
        if !akin {
            self.graph.refuse(GraphError::ForeignStream { what: what.to_owned() });
        }
        akin
    }
}

impl<T: Data> DStream<T> {
    /// Registers a custom output; [`sinks`](crate::sinks) has an example.
    pub fn register_sink(&self, spec: SinkSpec<T>) -> Output {
        self.graph.declare::<crate::data::Rows<T>>();
        let sink: Arc<dyn Sink<T>> = spec.sink;
        let info = SinkInfo { id: SinkId(0), name: spec.name, kind: spec.kind };
        let node = SinkNode { parent: self.node, info, label: spec.label, sink: Arc::new(TypedSink(sink)) };
        Output { graph: self.graph.clone(), id: self.graph.add_sink(node) }
    }
}

struct NarrowFn<T, U, F> {
    wrap: F,
    types: PhantomData<fn(T) -> U>,
}

impl<T: Data, U: Data, F> Narrow for NarrowFn<T, U, F>
where
    F: Fn(Box<dyn Push<U>>, &Rc<TaskEnv>) -> Box<dyn Push<T>> + Send + Sync,
{
    fn wrap(&self, down: AnyPush, env: &Rc<TaskEnv>) -> AnyPush {
        erase((self.wrap)(reveal(down), env))
    }
}

struct ExchangeFn<T, F> {
    open: F,
    types: PhantomData<fn(T)>,
}

impl<T: Data, F: Fn(&Rc<TaskEnv>) -> Box<dyn Push<T>> + Send + Sync> Exchange for ExchangeFn<T, F> {
    fn open(&self, env: &Rc<TaskEnv>) -> AnyPush {
        erase((self.open)(env))
    }
}

struct MergeFn<U, F> {
    feed: F,
    types: PhantomData<fn() -> U>,
}

impl<U: Data, F> Leaf for MergeFn<U, F>
where
    F: Fn(Vec<Vec<InputData>>, Box<dyn Push<U>>, &Rc<TaskEnv>) -> Result<(), TaskError> + Send + Sync,
{
    fn feed(&self, inputs: Vec<Vec<InputData>>, down: AnyPush, env: &Rc<TaskEnv>) -> Result<(), TaskError> {
        (self.feed)(inputs, reveal(down), env)
    }
}
