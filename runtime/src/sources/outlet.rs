//! Where a receiver puts its records: typed, counted, throttled. The only way from a source into a block.

use crate::data::{Data, RECORD_BYTES_MAX, Rows, Text, TextBuffer, TextChunk, wire_bytes};
use crate::sources::lines::Lines;
use std::{marker::PhantomData, sync::Arc};
use tidemill_actors::{
    receiver::{BlockSink, SinkClosed},
    seam::Payload,
};
use tidemill_protocol::{endpoint::bulk::STORE_BYTES_MAX, id::Position};

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
    /// A record that cannot cross machines (more than 8 MiB less 1 KiB as MessagePack, or one that refuses to be written) is
    /// refused: it is left out, counted and reported as `record_too_long`, and named in the log. All others are taken.
    ///
    /// # Errors
    /// [`OutletClosed`] when the receiver is being stopped; the records were not taken.
    pub async fn push(&self, records: Vec<T>) -> Result<(), OutletClosed> {
        self.push_at(records, None).await
    }

    /// As [`push`](Self::push), for sources with positions: `positions` are those of the first and the last record. They must
    /// grow from call to call; what is pushed in one call is never split over two blocks, so it may have 63 MiB at most: more
    /// ends this life of the receiver with the numbers. A record of more than 8 MiB is refused as in `push`; its position counts
    /// as taken.
    ///
    /// # Errors
    /// [`OutletClosed`] when the receiver is being stopped. With positions, none of the records was taken; without them, the
    /// first of more than 1 MiB may have been.
    pub async fn push_at(
        &self,
        records: Vec<T>,
        positions: Option<(Position, Position)>,
    ) -> Result<(), OutletClosed> {
        let cut = Cut::new(records, if positions.is_some() { u64::MAX } else { PIECE_BYTES_MAX });
        if let Some(first) = cut.refused.first() {
            let (receiver, count, records) = (self.sink.receiver(), cut.refused.len(), cut.count);
            let at = positions.map(|(first, last)| format!(" at the positions {first} to {last}"));
            tracing::error!(
                %receiver, count,
                "refused, and left out: {first} of {records} pushed at once{}; cut it into smaller records",
                at.unwrap_or_default()
            );
            self.report("record_too_long", count as u64);
        }
        let mut pieces = cut.pieces;
        if pieces.is_empty() && positions.is_some() {
            // Nothing is left of it but its positions: the sender need not repeat them.
            pieces.push((Vec::new(), 0));
        }
        for (rows, wire_bytes) in pieces {
            if let Some((first, last)) = positions.filter(|_| wire_bytes > PUSH_BYTES_MAX) {
                let (bytes, bytes_max) = (wire_bytes, PUSH_BYTES_MAX);
                self.sink.refuse(SinkClosed::PushTooLarge { bytes, bytes_max, first, last });
                return Err(OutletClosed);
            }
            let piece = Rows::new(rows);
            self.sink.permit(piece.rows(), piece.heap_bytes()).await?;
            let (first, last) = positions.unzip();
            self.sink.append_sized(Arc::new(piece), wire_bytes, first, last).await?;
        }
        Ok(())
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
    /// Puts lines into the open block, also when the receiver was told to stop: for what has been read, and would be lost, or would
    /// have to be sent again.
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
        // A text has fewer bytes on the wire than in memory, where eight say where it is.
        Ok(Some(Arc::new(Rows::from_texts(chunk))))
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
}

/// What is pushed at once without positions is cut into pieces of about so many bytes, so that blocks can be cut between them.
const PIECE_BYTES_MAX: u64 = 1 << 20;

/// What may be pushed at once with positions, on the wire: a block, less what its pieces have beside their records.
const PUSH_BYTES_MAX: u64 = STORE_BYTES_MAX - (1 << 20);

/// The records of one push, in pieces, without those that cannot cross machines.
struct Cut<T> {
    /// Records, and how many bytes they have on the wire.
    pieces: Vec<(Vec<T>, u64)>,
    /// In words: which, how large, and what is allowed.
    refused: Vec<String>,
    /// How many there were.
    count: usize,
}

impl<T: Data> Cut<T> {
    fn new(records: Vec<T>, bytes_max: u64) -> Self {
        let mut cut = Cut { pieces: Vec::new(), refused: Vec::new(), count: records.len() };
        // Most pushes are one piece: then the vector stays as it is, and what it holds is not moved.
        let mut sizes = Vec::with_capacity(records.len());
        for (number, record) in records.iter().enumerate() {
            let size = wire_bytes(record).and_then(|bytes| match bytes {
                0..=RECORD_BYTES_MAX => Ok(bytes as u64),
                _ => Err(format!("it has {bytes} bytes, and at most {RECORD_BYTES_MAX} can cross machines")),
            });
            sizes.push(size.map_err(|why| cut.refused.push(format!("record {number} ({why})"))).ok());
        }
        let all: u64 = sizes.iter().flatten().sum();
        if cut.refused.is_empty() && all <= bytes_max {
            cut.pieces.extend((!records.is_empty()).then_some((records, all)));
            return cut;
        }
        for (record, bytes) in records.into_iter().zip(sizes) {
            let Some(bytes) = bytes else { continue };
            match cut.pieces.last_mut() {
                Some((piece, filled)) if filled.saturating_add(bytes) <= bytes_max => {
                    piece.push(record);
                    *filled += bytes;
                }
                _ => cut.pieces.push((vec![record], bytes)),
            }
        }
        cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(lengths: &[usize], bytes_max: u64) -> (Vec<Vec<usize>>, Vec<String>) {
        let cut = Cut::new(lengths.iter().map(|length| "x".repeat(*length)).collect(), bytes_max);
        let lengths = |(piece, bytes): &(Vec<String>, u64)| {
            let exact: usize = piece.iter().map(|record| rmp_serde::to_vec(record).unwrap().len()).sum();
            assert_eq!(*bytes, exact as u64);
            piece.iter().map(String::len).collect()
        };
        (cut.pieces.iter().map(lengths).collect(), cut.refused)
    }

    #[test]
    fn a_push_is_cut_at_records_and_in_order() {
        assert_eq!(cut(&[], 100), (vec![], vec![]));
        assert_eq!(cut(&[10, 20, 30], 100), (vec![vec![10, 20, 30]], vec![]));
        assert_eq!(cut(&[10, 20, 30], 40), (vec![vec![10, 20], vec![30]], vec![]));
        assert_eq!(cut(&[10, 200, 30, 5], 40), (vec![vec![10], vec![200], vec![30, 5]], vec![]));
    }

    #[test]
    fn a_record_that_cannot_cross_machines_is_left_out_and_named() {
        let longest = RECORD_BYTES_MAX - 5;
        let why = "it has 8387584 bytes, and at most 8387583 can cross machines";
        let refused = vec![format!("record 1 ({why})")];
        assert_eq!(cut(&[10, longest + 1, 30], u64::MAX), (vec![vec![10, 30]], refused));
        assert_eq!(cut(&[longest], u64::MAX), (vec![vec![longest]], vec![]));
        assert_eq!(cut(&[longest + 1], u64::MAX).0, Vec::<Vec<usize>>::new());
    }
}
