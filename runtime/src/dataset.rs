//! `Dataset<T>`: the recipe of one batch, as [`transform`](crate::dstream::DStream::transform) hands it out. It has the same
//! operators as a `DStream`, and no outputs: it only builds.

use crate::dstream::DStream;

/// One batch: what the recipes inside `transform` are for.
#[derive(Clone, Copy, Debug)]
pub enum OneBatch {}

/// The result of one `DStream` for one batch: immutable, partitioned, and not computed before an output asks for it.
pub type Dataset<T> = DStream<T, OneBatch>;
