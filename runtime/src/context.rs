//! `StreamContext`, the half that builds the graph. What runs it stands on top.

use crate::{
    cluster::{ClusterEvent, Progress},
    config::Config,
    data::{Data, Rows, Text},
    dstream::DStream,
    graph::{BuildOptions, Graph, GraphError, Pipeline, Source, SourceSpec, TypedSource},
    params::Params,
    sources::{Generator, Queue, TextFiles, TextQueue},
};
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};
use tidemill_actors::supervision::ChildSpec;
use tidemill_protocol::world::Files;

/// Where a program declares its streams.
///
/// ```
/// use tidemill::{StreamContext, sources::TextQueue};
/// let context = StreamContext::new();
/// let lines = context.text_blocks("lines", &TextQueue::new(2));
/// let words = lines.flat_map_text(|line, out| line.split(' ').for_each(|word| out.push(word)));
/// words.count_by_value().print();
/// println!("{}", context.describe());
/// ```
#[derive(Clone, Default)]
pub struct StreamContext {
    pub(crate) graph: Graph,
    config: Config,
    params: Params,
    progress: Progress,
    actors: Arc<Mutex<Vec<ChildSpec>>>,
    started: Arc<AtomicBool>,
}

impl StreamContext {
    /// A context without streams, with the default configuration.
    pub fn new() -> Self {
        Self::default()
    }

    /// A context without streams, with this configuration.
    pub fn with_config(config: Config) -> Self {
        StreamContext { config, ..Self::default() }
    }

    /// How it will run.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// A context without streams, with this configuration and these parameters.
    pub fn with_params(config: Config, params: Params) -> Self {
        StreamContext { config, params, ..Self::default() }
    }

    /// The application's parameters: those of the driver, on every node.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// What happens once it runs: events, the last batches, the outcome.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Calls `listener` with every event of the cluster, on the control thread: it must return quickly.
    pub fn on_event(&self, listener: impl FnMut(&ClusterEvent) + Send + 'static) {
        self.progress.listen(listener);
    }

    /// Adds an actor of the user's own to the supervision tree of this process; it is started with the pipeline. Tasks reach
    /// it by its address, with a deadline: see [`actor`](crate::actor). One that is added after the start fails the pipeline, as
    /// a late stream does.
    pub fn supervise(&self, child: ChildSpec) {
        self.graph.check_open("actor", Some(child.id()));
        self.actors.lock().unwrap_or_else(PoisonError::into_inner).push(child);
    }

    /// Takes the one start that a context has; false if it is gone.
    pub(crate) fn begin(&self) -> bool {
        !self.started.swap(true, Ordering::SeqCst)
    }

    /// Calls `told` with the mistake when something is added to the graph from now on.
    pub(crate) fn when_added_late(&self, told: impl Fn(&GraphError) + Send + Sync + 'static) {
        self.graph.when_added_late(Arc::new(told));
    }

    pub(crate) fn take_actors(&self) -> Vec<ChildSpec> {
        std::mem::take(&mut *self.actors.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Declares a stream read by a custom source.
    pub fn register_source<T: Data>(&self, spec: SourceSpec<T>) -> DStream<T> {
        self.graph.declare::<Rows<T>>();
        let info = spec.info();
        if matches!(spec.source, Source::Received(_)) && info.receivers == 0 {
            let remedy = "nobody would read it; set receivers to 1 or more";
            self.graph.refuse(GraphError::Receivers { stream: info.name.clone(), asked: 0, remedy });
        }
        let source = Arc::new(TypedSource(spec.source));
        let node = self.graph.add_stream(source.clone(), info, source);
        DStream::at(self.graph.clone(), node)
    }

    /// A stream of the datasets that are pushed into `queue`, one for each batch.
    pub fn queue_stream<T: Data>(&self, name: &str, queue: &Queue<T>) -> DStream<T> {
        self.register_source(SourceSpec::planned(name, queue.clone()))
    }

    /// A stream of the lines of the blocks of bytes that are pushed into `queue`.
    pub fn text_blocks(&self, name: &str, queue: &TextQueue) -> DStream<Text> {
        self.register_source(SourceSpec::planned(name, queue.clone()))
    }

    /// A stream of computed records.
    pub fn generator<T: Data>(&self, name: &str, generator: Generator<T>) -> DStream<T> {
        self.register_source(SourceSpec::planned(name, generator))
    }

    /// A stream of the lines of the files that appear in a folder.
    pub fn text_files(&self, name: &str, folder: impl Into<std::path::PathBuf>) -> DStream<Text> {
        self.register_source(SourceSpec::planned(name, TextFiles::new(folder)))
    }

    /// The graph so far, as text.
    pub fn describe(&self) -> String {
        self.graph.describe()
    }

    /// The graph so far, for Graphviz.
    pub fn to_dot(&self) -> String {
        self.graph.to_dot()
    }

    /// Checks the graph and closes it; see [`Graph::build`].
    ///
    /// # Errors
    /// [`GraphError`], with the remedy.
    pub fn build(&self, options: BuildOptions, files: Files) -> Result<Pipeline, GraphError> {
        self.graph.build(options, files)
    }
}
