//! One value a partition, made by folding its records in order: the two halves of `count` and `reduce`.

use crate::{
    data::{Chunk, Data},
    graph::{Buffer, Push},
};
use tidemill_actors::seam::TaskError;

/// Folds chunks into a state; at the end the state gives one record or none.
pub(super) struct Fold<A, U, F, G> {
    pub(super) state: A,
    pub(super) step: F,
    pub(super) end: G,
    pub(super) out: Buffer<U>,
}

impl<T: Data, A: Clone, U: Data, F, G> Push<T> for Fold<A, U, F, G>
where
    F: Fn(&mut A, &mut Chunk<T>) -> Result<(), TaskError>,
    G: Fn(A) -> Option<U>,
{
    fn push(&mut self, chunk: &mut Chunk<T>) -> Result<(), TaskError> {
        (self.step)(&mut self.state, chunk)
    }

    fn finish(&mut self) -> Result<(), TaskError> {
        if let Some(record) = (self.end)(self.state.clone()) {
            self.out.push(record)?;
        }
        self.out.finish()
    }
}
