//! What the demo's kill took along: what the cluster's events say of the executor that was killed, from the kill on. What others lose, or
//! what was lost before, is shown and does not count: it would prove nothing about the kill.

use super::verdict::Losses;
use crate::ClusterEvent;
use tidemill_protocol::{id::Member, time::Time};

/// The kill: whom, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kill {
    pub(super) member: Member,
    pub(super) at: Time,
}

/// Adds to `losses` what an event that came at `at` says of `kill`; gives what is to be shown of it.
pub(super) fn take(
    losses: &mut Losses,
    kill: Option<Kill>,
    at: Time,
    event: &ClusterEvent,
) -> Option<String> {
    let since = kill.filter(|kill| at >= kill.at);
    match *event {
        ClusterEvent::TasksLost { member, count, .. } => {
            if since.is_some_and(|kill| kill.member == member) {
                losses.tasks_lost += count;
            }
            Some(format!("{count} tasks of {} run again on the other executors", member.node))
        }
        ClusterEvent::DataLost { member, blocks, outputs } => {
            if since.is_some_and(|kill| kill.member == member) {
                losses.blocks_lost += blocks;
                losses.outputs_lost += outputs;
            }
            Some(format!("gone with {}: {blocks} blocks and {outputs} task outputs", member.node))
        }
        ClusterEvent::ExecutorUp(member) => {
            let kill = since.filter(|kill| kill.member.node == member.node)?;
            losses.restarts += 1;
            let took = at.since(kill.at);
            losses.respawn_ms.get_or_insert(took.as_secs_f64() * 1e3);
            let (node, incarnation) = (member.node, member.incarnation.0);
            Some(format!("{node} is back after {} ms, incarnation {incarnation}", took.as_millis()))
        }
        ClusterEvent::ReceiverStarted { receiver, on } if receiver.incarnation.0 > 0 => {
            losses.restarts += 1;
            Some(format!("the receiver goes on at {}", on.node))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemill_protocol::id::{BatchNumber, Incarnation, NodeId};

    fn member(node: u16, incarnation: u32) -> Member {
        Member { node: NodeId(node), incarnation: Incarnation(incarnation) }
    }

    fn tasks(member: Member, count: u64) -> ClusterEvent {
        ClusterEvent::TasksLost { batch: BatchNumber(3), member, count }
    }

    fn data(member: Member, blocks: u64, outputs: u64) -> ClusterEvent {
        ClusterEvent::DataLost { member, blocks, outputs }
    }

    type Row<'a> = (&'a str, &'a [(u64, ClusterEvent)], (u64, u64, u64));

    /// Tasks, blocks and outputs that count, of events at (milliseconds, event); node 2 is killed in its first life after 100 ms.
    fn counted(events: &[(u64, ClusterEvent)]) -> (u64, u64, u64) {
        let ms = |ms: u64| Time(ms * 1_000_000);
        let kill = Some(Kill { member: member(2, 1), at: ms(100) });
        let mut losses = Losses::default();
        for (at, event) in events {
            take(&mut losses, kill, ms(*at), event);
        }
        (losses.tasks_lost, losses.blocks_lost, losses.outputs_lost)
    }

    #[test]
    fn only_what_went_with_the_killed_executor_counts() {
        let up = |node, life| ClusterEvent::ExecutorUp(member(node, life));
        let table: [Row; 9] = [
            ("nothing", &[], (0, 0, 0)),
            ("before the kill", &[(99, tasks(member(2, 1), 4)), (99, data(member(2, 1), 5, 6))], (0, 0, 0)),
            ("of another", &[(150, tasks(member(3, 1), 4)), (150, data(member(3, 1), 5, 6))], (0, 0, 0)),
            ("at the kill", &[(100, tasks(member(2, 1), 4)), (100, data(member(2, 1), 5, 6))], (4, 5, 6)),
            ("outputs alone", &[(120, data(member(2, 1), 0, 6))], (0, 0, 6)),
            ("tasks, late", &[(150, up(2, 2)), (900, tasks(member(2, 1), 4))], (4, 0, 0)),
            (
                "of its successor",
                &[(150, up(2, 2)), (900, tasks(member(2, 2), 4)), (900, data(member(2, 2), 5, 6))],
                (0, 0, 0),
            ),
            ("another comes", &[(150, up(3, 2)), (160, data(member(2, 1), 5, 0))], (0, 5, 0)),
            ("told when it is back", &[(150, up(2, 2)), (160, data(member(2, 1), 5, 0))], (0, 5, 0)),
        ];
        for (what, events, expected) in table {
            assert_eq!(counted(events), expected, "{what}");
        }
    }

    #[test]
    fn the_first_return_of_the_killed_executor_is_its_respawn() {
        let (mut losses, kill) = (Losses::default(), Some(Kill { member: member(2, 1), at: Time(0) }));
        let up = |node, life| ClusterEvent::ExecutorUp(member(node, life));
        assert_eq!(take(&mut losses, kill, Time(9_000_000), &up(3, 2)), None);
        let said = take(&mut losses, kill, Time(250_000_000), &up(2, 2));
        assert_eq!(said.as_deref(), Some("node-2 is back after 250 ms, incarnation 2"));
        take(&mut losses, kill, Time(900_000_000), &up(2, 3));
        assert_eq!((losses.respawn_ms, losses.restarts), (Some(250.0), 2));
        assert_eq!(take(&mut Losses::default(), None, Time(5), &up(2, 2)), None, "nobody was killed");
    }
}
