//! Which executor gets the next receiver.

use std::collections::{BTreeMap, BTreeSet};
use tidemill_protocol::id::Member;

/// The executor with the fewest receivers; of several the first by id. One that is suspected only if all others are: it may be
/// dead already. The one in `avoid` only if there is no other: a receiver that has just failed there may have failed because of
/// it.
pub(super) fn choose(
    receivers: &BTreeMap<Member, usize>,
    suspected: &BTreeSet<Member>,
    avoid: Option<Member>,
) -> Option<Member> {
    let rank =
        |member: &Member, count: usize| (Some(*member) == avoid, suspected.contains(member), count, *member);
    receivers.iter().map(|(member, count)| rank(member, *count)).min().map(|(_, _, _, member)| member)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemill_protocol::id::{Incarnation, NodeId};

    /// Receivers of nodes 1, 2 and 3; who is suspected; whom to avoid; who gets the next.
    type Row = (&'static [usize], &'static [u16], Option<u16>, Option<u16>);

    fn member(node: u16) -> Member {
        Member { node: NodeId(node), incarnation: Incarnation(0) }
    }

    #[test]
    fn the_fewest_receivers_then_the_first_and_rather_not_the_suspected_or_the_one_to_avoid() {
        let table: [Row; 9] = [
            (&[], &[], None, None),
            (&[1, 0, 0], &[], None, Some(2)),
            (&[1, 1, 1], &[], None, Some(1)),
            (&[0, 1, 2], &[1], None, Some(2)),
            (&[0, 1, 2], &[1, 2, 3], None, Some(1)),
            (&[0, 1, 2], &[], Some(1), Some(2)),
            (&[0, 1, 2], &[2], Some(1), Some(3)),
            // It has just failed on node 1; node 2 may be dead, but that is known soon.
            (&[0, 1], &[2], Some(1), Some(2)),
            (&[3], &[1], Some(1), Some(1)),
        ];
        for (receivers, suspected, avoid, expected) in table {
            let counts = (1..).zip(receivers).map(|(node, count)| (member(node), *count)).collect();
            let of = suspected.iter().copied().map(member).collect();
            let chosen = choose(&counts, &of, avoid.map(member));
            assert_eq!(chosen, expected.map(member), "{receivers:?} {suspected:?} {avoid:?}");
        }
    }
}
