//! **tidemill**: what is computed, from where, to where.
//!
//! ```text
//!   StreamContext ── declares ──> DStream<T> ── operators ──> DStream<U> ── outputs
//!                                     │ build
//!                                     ▼
//!                                 Pipeline: plans batches as stages, runs tasks as chains of pushes
//!
//!   app        a pipeline with a command line                cluster     driver, executors, what joins them
//!   context    where a program declares its streams          operators   one a file
//!   dstream    the recipe for every batch                    sources     planned and received ones
//!   sinks      what a custom output is made of                 actor       custom supervised actors
//!   dataset    the recipe of one batch                       graph       nodes, stages, tasks
//!   data       records, texts, keys, payloads                testing     whole batches in one call
//! ```
//!
//! This crate must not show actix types or actor messages in public signatures.
//!
//! ```
//! use tidemill::{StreamContext, data::Text, sources::TextQueue, testing::LocalRunner};
//! use std::sync::{Arc, Mutex};
//!
//! let (context, queue) = (StreamContext::new(), TextQueue::new(2));
//! let counts = context
//!     .text_blocks("lines", &queue)
//!     .flat_map_text(|line, out| line.split_ascii_whitespace().for_each(|word| out.push(word)))
//!     .count_by_value();
//! let results = Arc::new(Mutex::new(Vec::new()));
//! let sink = results.clone();
//! counts.foreach_batch(move |counts, _time| Ok(sink.lock().unwrap().extend(counts)));
//!
//! queue.push(vec!["to be or not\n".into(), "to be\n".into()]);
//! LocalRunner::new(&context).unwrap().run_batch().unwrap();
//! let mut counts = results.lock().unwrap().clone();
//! counts.sort();
//! assert_eq!(counts, [("be", 2), ("not", 1), ("or", 1), ("to", 2)].map(|(word, n)| (Text::from(word), n)));
//! ```
#![deny(missing_docs)]

pub mod app;
mod config;
mod context;
pub mod dstream;
mod params;

pub mod data;
pub mod dataset;
pub mod operators;
pub mod sinks;
pub mod sources;

pub mod graph;
pub mod testing;

pub mod actor;
pub mod cluster;
mod run_folder;

#[doc(hidden)]
pub mod bench;
#[doc(hidden)]
pub mod demo;

pub use app::App;
pub use cluster::{ClusterEvent, PipelineError, Progress, Running, StartError};
pub use config::{BatchInterval, Checked, Config, ConfigError};
pub use context::StreamContext;
pub use data::{Data, Text};
pub use dataset::Dataset;
pub use dstream::{DStream, Output};
pub use graph::GraphError;
pub use operators::TextOut;
pub use params::{Params, ParamsError};
pub use tidemill_protocol::time::BatchTime;

/// What most programs need: `use tidemill::prelude::*;`.
pub mod prelude {
    pub use crate::{
        App, BatchInterval, BatchTime, Config, DStream, Dataset, Running, StreamContext, Text, TextOut,
    };
    pub use std::{process::ExitCode, time::Duration};
}
