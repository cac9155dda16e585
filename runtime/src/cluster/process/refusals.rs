//! How long an agent comes again to a driver that refuses its executors for now.

use std::collections::BTreeMap;
use tidemill_protocol::id::NodeId;

/// Refusals of one executor, one after the other, after which it does not come again. By the waits between restarts that is some 15 s; what
/// an earlier agent has left alive is gone, and known to be gone, within 4.
const IN_A_ROW_MAX: usize = 15;

/// Of each executor, how many of its processes were refused one after the other.
#[derive(Debug, Default)]
pub(super) struct Refusals(BTreeMap<NodeId, usize>);

impl Refusals {
    /// A process of this executor has ended, as one that was refused for now or in another way; whether a next one makes sense.
    pub(super) fn ended(&mut self, node: NodeId, is_refused: bool) -> bool {
        let in_a_row = self.0.entry(node).or_default();
        *in_a_row = if is_refused { *in_a_row + 1 } else { 0 };
        *in_a_row < IN_A_ROW_MAX
    }

    /// Whether each of so many executors was refused when it came last.
    pub(super) fn are_of_all(&self, executors: usize) -> bool {
        self.0.values().filter(|in_a_row| **in_a_row > 0).count() == executors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fifteenth_refusal_in_a_row_is_the_last() {
        let mut refusals = Refusals::default();
        let goes_on: Vec<bool> = (0..15).map(|_| refusals.ended(NodeId(1), true)).collect();
        assert_eq!(goes_on, [[true; 14].as_slice(), &[false]].concat());
    }

    #[test]
    fn any_other_end_begins_anew() {
        let mut refusals = Refusals::default();
        for _ in 0..3 {
            assert!((0..14).all(|_| refusals.ended(NodeId(1), true)));
            assert!(refusals.ended(NodeId(1), false));
        }
    }

    #[test]
    fn each_executor_has_a_count_of_its_own() {
        let mut refusals = Refusals::default();
        assert!((0..14).all(|_| refusals.ended(NodeId(1), true)));
        assert!(!refusals.are_of_all(2), "the other has not ended yet");
        assert!((0..14).all(|_| refusals.ended(NodeId(2), true)));
        assert!(refusals.are_of_all(2));
        assert!(refusals.ended(NodeId(2), false));
        assert!(!refusals.are_of_all(2) && !refusals.ended(NodeId(1), true));
    }
}
