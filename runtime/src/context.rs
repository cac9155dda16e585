//! `StreamContext`, the half that builds the graph. What runs it stands on top.

use crate::{
    data::{Data, Rows, Text},
    dstream::DStream,
    graph::{BuildOptions, Graph, GraphError, Pipeline, SourceSpec, TypedSource},
    sources::{Generator, Queue, TextFiles, TextQueue},
};
use std::sync::Arc;
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
    graph: Graph,
}

impl StreamContext {
    /// A context without streams.
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares a stream read by a source of one's own.
    pub fn register_source<T: Data>(&self, spec: SourceSpec<T>) -> DStream<T> {
        self.graph.declare::<Rows<T>>();
        let info = spec.info();
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
