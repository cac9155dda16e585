//! `AvailableNow`: no clock says when a batch ends; it ends when what there is has been asked for.

use super::{
    core::{GeneratorCore, Phase},
    messages::GeneratorAction as Action,
};
use crate::seam::PlannedRange;
use std::collections::BTreeMap;
use tidemill_protocol::{
    id::{BatchNumber, StreamId},
    time::Time,
};

impl GeneratorCore {
    /// `AvailableNow`: static data alone never grow, so what there is makes one batch, which is the last.
    pub(super) fn begin_static(&mut self, now: Time) {
        if let Some((batch, at)) = self.cuts.cut_now(now) {
            self.books.reach(batch, at);
            self.books.set_ranges(batch, BTreeMap::new());
            self.phase = Phase::Last(batch);
        }
    }

    /// `AvailableNow`: asks for the next batch as soon as there is room for one.
    pub(super) fn begin_available(&mut self, now: Time, out: &mut Vec<Action>) {
        let may =
            self.phase == Phase::Running && !self.has_interval() && self.poll_at.is_none_or(|at| at <= now);
        if may && self.has_room() && !self.ranges.is_asking() && !self.ranges.is_exhausted() {
            self.poll_at = None;
            let questions = self.ranges.ask(now, self.books.next_plan());
            out.extend(questions.into_iter().map(Action::from));
        }
    }

    /// `AvailableNow`: a batch is made of what was found; of nothing, none. True if there is a batch.
    pub(super) fn end_available(
        &mut self,
        now: Time,
        batch: BatchNumber,
        ranges: BTreeMap<StreamId, Vec<PlannedRange>>,
    ) -> bool {
        if ranges.values().all(Vec::is_empty) {
            self.poll_at = Some(now + self.config.idle_poll);
            return false;
        }
        if let Some((_, at)) = self.cuts.cut_now(now) {
            self.books.reach(batch, at);
            self.books.set_ranges(batch, ranges);
        }
        true
    }
}
