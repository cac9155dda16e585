//! Where a receiver puts its records: typed, counted, throttled. The only way from a source into a block.

use crate::data::{Data, Rows, Text, TextBuffer, TextChunk};
use crate::sources::lines::Lines;
use std::{marker::PhantomData, sync::Arc};
use tidemill_actors::{
    receiver::{BlockSink, SinkClosed},
    seam::Payload,
};
use tidemill_protocol::id::Position;

/// Where a [`Receiver`](crate::sources::Receiver) puts its records. Cloning gives another handle to the same open block.
pub struct Outlet<T> {
    sink: BlockSink,
    record: PhantomData<fn(T)>,
}

impl<T> Clone for Outlet<T> {
    fn clone(&self) -> Self {
        Outlet { sink: self.sink.clone(), record: PhantomData }
    }
}

/// The receiver is being stopped: return from `run`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the receiver is being stopped")]
pub struct OutletClosed;

impl From<SinkClosed> for OutletClosed {
    fn from(_: SinkClosed) -> Self {
        OutletClosed
    }
}

impl<T: Data> Outlet<T> {
    pub(crate) fn new(sink: BlockSink) -> Self {
        Outlet { sink, record: PhantomData }
    }

    /// Puts records into the open block, in order. Waits while the permitted rate or the memory budget is used up: do not read
    /// the source meanwhile, so that its sender is slowed down too.
    ///
    /// # Errors
    /// [`OutletClosed`] when the receiver is being stopped; the records were not taken.
    pub async fn push(&self, records: Vec<T>) -> Result<(), OutletClosed> {
        self.push_at(records, None).await
    }

    /// As [`push`](Self::push), for sources with positions: `positions` are those of the first and the last record. They must
    /// grow from call to call; what is pushed in one call is never split over two blocks.
    ///
    /// # Errors
    /// [`OutletClosed`] when the receiver is being stopped; the records were not taken.
    pub async fn push_at(
        &self,
        records: Vec<T>,
        positions: Option<(Position, Position)>,
    ) -> Result<(), OutletClosed> {
        if records.is_empty() {
            return Ok(());
        }
        self.append(Arc::new(Rows::new(records)), positions).await
    }

    async fn append(
        &self,
        piece: Arc<dyn Payload>,
        positions: Option<(Position, Position)>,
    ) -> Result<(), OutletClosed> {
        self.sink.permit(piece.rows(), piece.heap_bytes()).await?;
        let (first, last) = positions.unzip();
        Ok(self.sink.append(piece, first, last).await?)
    }

    /// The highest position that may be acknowledged to the sender: everything up to it is safe.
    pub fn safe(&self) -> tokio::sync::watch::Receiver<Option<Position>> {
        self.sink.safe()
    }

    /// Completes when the receiver is being stopped.
    pub async fn closed(&self) {
        self.sink.closed().await;
    }

    /// Counts something that an operator of the cluster wants to know, such as `"bad_utf8"`.
    pub fn report(&self, what: &'static str, count: u64) {
        if count > 0 {
            self.sink.report(what, count);
        }
    }
}

impl Outlet<Text> {
    /// Puts lines into the open block.
    pub(crate) async fn push_lines(
        &self,
        lines: Lines,
        positions: Option<(Position, Position)>,
    ) -> Result<(), OutletClosed> {
        match self.chunk(lines)? {
            Some(chunk) => self.append(chunk, positions).await,
            None => Ok(()),
        }
    }

    /// As [`push_lines`](Self::push_lines), also when the receiver was told to stop: for what has been read of a sender that would
    /// have to send it again.
    ///
    /// # Errors
    /// [`OutletClosed`] if nothing is taken at all.
    pub(crate) async fn push_lines_always(
        &self,
        lines: Lines,
        positions: Option<(Position, Position)>,
    ) -> Result<(), OutletClosed> {
        let Some(chunk) = self.chunk(lines)? else { return Ok(()) };
        if self.append(chunk.clone(), positions).await.is_ok() {
            return Ok(());
        }
        let (first, last) = positions.unzip();
        Ok(self.sink.append_on_the_way(chunk, first, last)?)
    }

    fn chunk(&self, lines: Lines) -> Result<Option<Arc<dyn Payload>>, OutletClosed> {
        self.report("bad_utf8", lines.bad_utf8);
        self.report("line_too_long", lines.too_long);
        if lines.is_empty() {
            return Ok(None);
        }
        let buffer = TextBuffer::from_string(lines.text).map_err(|_| OutletClosed)?;
        let mut chunk = TextChunk::new(Arc::new(buffer), None);
        chunk.ranges = lines.ranges;
        Ok(Some(Arc::new(Rows::from_texts(chunk))))
    }
}
