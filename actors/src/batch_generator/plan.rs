//! A batch written down: everything that its result depends on, as a value.

use super::{books::Books, messages::GeneratorConfig};
use crate::seam::{BatchPlan, StreamInput, StreamKind};
use std::{collections::BTreeMap, sync::Arc};
use tidemill_protocol::{
    id::{BatchNumber, BlockId, Member},
    world::SeededRng,
};

/// Spreads neighbouring batch numbers over the seeds (the golden ratio in 64 bits).
const SEED_STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// A plan, and who holds its blocks.
pub(super) type Written = (Arc<BatchPlan>, BTreeMap<BlockId, Vec<Member>>);

/// The plan of a batch that is in the books, and who holds its blocks. Streams without input are there, and empty.
pub(super) fn write(config: &GeneratorConfig, books: &Books, batch: BatchNumber) -> Option<Written> {
    let (time, mut inputs, holders) = books.contents(batch)?;
    for stream in &config.streams {
        inputs.entry(stream.id).or_insert_with(|| match stream.kind {
            StreamKind::Planned => StreamInput::Ranges(Vec::new()),
            _ => StreamInput::Blocks(Vec::new()),
        });
    }
    let plan = BatchPlan {
        batch,
        time,
        program: config.program,
        seed: SeededRng::new(config.seed ^ batch.0.wrapping_mul(SEED_STEP)).next_u64(),
        default_partitions: config.default_partitions,
        inputs,
    };
    Some((Arc::new(plan), holders))
}
