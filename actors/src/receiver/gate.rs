//! What the source and the receiver share: the open block, and whether the source may read on. Pure; the mutex around it
//! is held for one call at a time.

use super::messages::{ReceiverConfig, SinkClosed};
use super::token_bucket::{Lane, TokenBucket};
use crate::seam::{Held, Payload};
use std::{collections::BTreeMap, sync::Arc};
use tidemill_protocol::{id::Position, time::Time};

/// How many kinds of reports are kept apart; sources have a small fixed set.
const REPORT_KINDS_MAX: usize = 32;

/// A block is closed when it has so many pieces …
const PIECES_FULL: usize = 16_384;
/// … and takes no more when it has so many: half of what a block may have on the wire, where large ones are cut.
const PIECES_MAX: usize = 32_768;

/// What is known of a block that was closed: everything but its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockContent {
    /// Its place in the receiver's sequence.
    pub sequence: u64,
    /// How many records.
    pub rows: u64,
    /// How many bytes in memory.
    pub bytes: u64,
    /// Position of the first record that has one.
    pub first: Option<Position>,
    /// Position of the last record that has one.
    pub last: Option<Position>,
}

/// The answer to a source that asks to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permit {
    /// Go on; it is paid for.
    Granted,
    /// Ask again then, or when something changes.
    Until(Time),
    /// Ask again when something changes.
    Blocked,
}

/// What an append did to the open block, as far as the core wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing worth an event.
    Quiet,
    /// It was empty before.
    First,
    /// It has passed its size limit just now.
    Full,
}

/// The open block and its limits.
#[derive(Debug)]
pub(super) struct Gate {
    rows_max: u64,
    bytes_max: u64,
    open_bytes_max: u64,
    bucket: TokenBucket,
    paused: bool,
    closed: Option<SinkClosed>,
    next_sequence: u64,
    last_seen: Option<Position>,
    pieces: Vec<Arc<dyn Payload>>,
    open: BlockContent,
    /// About how many bytes the open block has on the wire.
    wire_bytes: u64,
    full_told: bool,
    reports: BTreeMap<&'static str, u64>,
}

impl Gate {
    /// An empty block; positions must grow from `resume_after` on.
    pub(super) fn new(config: &ReceiverConfig, rate: u64, resume_after: Option<Position>, now: Time) -> Self {
        Gate {
            rows_max: config.block_rows_max,
            bytes_max: config.block_bytes_max,
            open_bytes_max: config.open_bytes_max,
            bucket: TokenBucket {
                records: Lane::new(rate, config.burst, now),
                bytes: Lane::new(config.bytes_per_s_max, config.burst, now),
            },
            paused: false,
            closed: None,
            next_sequence: 0,
            last_seen: resume_after,
            pieces: Vec::new(),
            open: BlockContent { sequence: 0, rows: 0, bytes: 0, first: None, last: None },
            wire_bytes: 0,
            full_told: false,
            reports: BTreeMap::new(),
        }
    }

    /// Whether `records` and `bytes` may be read now; they are paid for if so.
    pub(super) fn permit(&mut self, now: Time, records: u64, bytes: u64) -> Result<Permit, SinkClosed> {
        self.check_open()?;
        if self.paused || self.open_bytes() >= self.open_bytes_max {
            return Ok(Permit::Blocked);
        }
        Ok(match self.bucket.ready_at(now) {
            None => Permit::Blocked,
            Some(at) if at > now => Permit::Until(at),
            Some(_) => {
                self.bucket.take(now, records, bytes);
                Permit::Granted
            }
        })
    }

    /// How large the open block is: in memory or on the wire, whichever is more.
    fn open_bytes(&self) -> u64 {
        self.open.bytes.max(self.wire_bytes)
    }

    /// Whether a piece of `bytes` fits into the open block. An empty block takes any piece.
    pub(super) fn has_space(&self, bytes: u64) -> bool {
        let fits = self.open_bytes().saturating_add(bytes) <= self.open_bytes_max;
        self.pieces.is_empty() || (fits && self.pieces.len() < PIECES_MAX)
    }

    /// Adds a piece, which has about `wire_bytes` on the wire. A position that does not grow is a defect of the source: the sink
    /// closes, and the receiver fails.
    pub(super) fn append(
        &mut self,
        piece: Arc<dyn Payload>,
        wire_bytes: u64,
        first: Option<Position>,
        last: Option<Position>,
    ) -> Result<Change, SinkClosed> {
        self.check_open()?;
        self.append_on_the_way(piece, wire_bytes, first, last)
    }

    /// As [`append`](Self::append), also after the receiver was told to stop: for what was on its way then.
    pub(super) fn append_on_the_way(
        &mut self,
        piece: Arc<dyn Payload>,
        wire_bytes: u64,
        first: Option<Position>,
        last: Option<Position>,
    ) -> Result<Change, SinkClosed> {
        if let Some(reason @ (SinkClosed::PositionNotGrowing { .. } | SinkClosed::PushTooLarge { .. })) =
            &self.closed
        {
            return Err(reason.clone());
        }
        // The payload's own code runs before anything is changed, so that its panic leaves a gate behind.
        let (rows, bytes) = (piece.rows(), piece.heap_bytes());
        let (first, last) = (first.or(last), last.or(first));
        if let (Some(from), Some(to)) = (first, last) {
            if self.last_seen.is_some_and(|seen| from <= seen) || to < from {
                let refused = SinkClosed::PositionNotGrowing { seen: self.last_seen, first: from, last: to };
                self.closed = Some(refused.clone());
                return Err(refused);
            }
            self.last_seen = Some(to);
            self.open.first = self.open.first.or(first);
            self.open.last = Some(to);
        }
        if rows == 0 && last.is_none() {
            return Ok(Change::Quiet);
        }
        // A piece without records but with positions is kept: they become safe with the block, as those of any record.
        let was_empty = self.pieces.is_empty();
        self.open.rows += rows;
        self.open.bytes += bytes;
        self.wire_bytes += wire_bytes;
        self.pieces.push(piece);
        let is_full = self.open.rows >= self.rows_max
            || self.open_bytes() >= self.bytes_max
            || self.pieces.len() >= PIECES_FULL;
        if !self.full_told && is_full {
            self.full_told = true;
            return Ok(Change::Full);
        }
        Ok(if was_empty { Change::First } else { Change::Quiet })
    }

    /// Takes the open block out, if there is anything in it. Its sequence number is used up only then.
    pub(super) fn take(&mut self) -> Option<(BlockContent, Held)> {
        if self.pieces.is_empty() {
            return None;
        }
        self.full_told = false;
        self.wire_bytes = 0;
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let empty = BlockContent { sequence: 0, rows: 0, bytes: 0, first: None, last: None };
        let content = BlockContent { sequence, ..std::mem::replace(&mut self.open, empty) };
        Some((content, Held::new(std::mem::take(&mut self.pieces))))
    }

    pub(super) fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
    }

    pub(super) fn set_rate(&mut self, now: Time, records_per_s_max: u64) {
        self.bucket.records.set_rate(now, records_per_s_max);
    }

    /// No more permits and appends. The first reason stays.
    pub(super) fn close(&mut self, reason: SinkClosed) {
        self.closed.get_or_insert(reason);
    }

    pub(super) fn closed(&self) -> Option<&SinkClosed> {
        self.closed.as_ref()
    }

    /// Counts something about the source; true if it is the first since the last [`drain_reports`](Self::drain_reports).
    pub(super) fn report(&mut self, what: &'static str, count: u64) -> bool {
        let first = self.reports.is_empty();
        if self.reports.contains_key(what) || self.reports.len() < REPORT_KINDS_MAX {
            *self.reports.entry(what).or_default() += count;
        }
        first && count > 0
    }

    pub(super) fn drain_reports(&mut self) -> BTreeMap<&'static str, u64> {
        std::mem::take(&mut self.reports)
    }

    fn check_open(&self) -> Result<(), SinkClosed> {
        self.closed.clone().map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block_store::numbers::held;
    use tidemill_protocol::endpoint::bulk::{PIECES_MAX as WIRE_PIECES_MAX, STORE_BYTES_MAX};

    const MIB: u64 = 1 << 20;

    fn gate() -> Gate {
        Gate::new(&ReceiverConfig::default(), u64::MAX, None, Time::ZERO)
    }

    fn append(gate: &mut Gate, wire_bytes: u64) -> Change {
        gate.append(held(&[1]).pieces[0].clone(), wire_bytes, None, None).expect("open")
    }

    #[test]
    fn a_block_is_cut_before_another_executor_would_refuse_it() {
        // Records that are longer on the wire than in memory.
        let mut gate = gate();
        assert_eq!(append(&mut gate, MIB), Change::First);
        assert_eq!((append(&mut gate, MIB), append(&mut gate, MIB)), (Change::Quiet, Change::Quiet));
        assert_eq!(append(&mut gate, MIB), Change::Full);
        for _ in 4..16 {
            assert!(gate.has_space(MIB));
            append(&mut gate, MIB);
        }
        assert!(!gate.has_space(1) && 16 * MIB < STORE_BYTES_MAX);
        assert_eq!(gate.permit(Time::ZERO, 1, 1), Ok(Permit::Blocked));
        assert_eq!(gate.take().map(|(content, _)| (content.rows, content.bytes)), Some((16, 128)));
        assert_eq!((gate.has_space(MIB), append(&mut gate, MIB)), (true, Change::First), "it begins anew");
    }

    #[test]
    fn a_block_of_very_many_pieces_is_cut_as_well() {
        let mut gate = gate();
        let mut told = Vec::new();
        while gate.has_space(8) {
            let change = append(&mut gate, 8);
            if change != Change::Quiet {
                told.push((change, gate.pieces.len()));
            }
        }
        assert_eq!(told, [(Change::First, 1), (Change::Full, 16_384)]);
        assert_eq!(gate.pieces.len(), 32_768);
        // Each may become more on the wire, but all of them together not more than one for each MiB.
        assert!(gate.pieces.len() as u64 + 64 < u64::from(WIRE_PIECES_MAX));
    }
}
