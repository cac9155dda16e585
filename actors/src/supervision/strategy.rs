//! Who goes down and who comes back when one child has ended: OTP's strategies, as one pure function.
//!
//! ```text
//!   start order        a   b   c   d          b has failed
//!   one_for_one            ^                  restart b
//!   one_for_all        x   ^   x   x          stop d, c, a;  restart a, b, c, d
//!   rest_for_one           ^   x   x          stop d, c;     restart b, c, d
//! ```
//!
//! Source: OTP's `supervisor` (System Principles, "Supervision Principles").

use super::exit::Exit;
use serde::{Deserialize, Serialize};

/// Which children share the fate of one that has to be restarted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Strategy {
    /// Nobody: the children are independent of each other.
    #[default]
    OneForOne,
    /// All of them: the children only make sense together.
    OneForAll,
    /// Those started after it: each child relies on those before it.
    RestForOne,
}

/// Whether a child that has ended is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Restart {
    /// Always.
    #[default]
    Permanent,
    /// Only if it did not end orderly (see [`Exit::is_orderly`]).
    Transient,
    /// Never, not even because of a sibling; it is removed when it has ended.
    Temporary,
}

impl Restart {
    /// Whether a child of this type is to be started again after `exit`.
    pub fn wants(self, exit: &Exit) -> bool {
        match self {
            Restart::Permanent => true,
            Restart::Transient => !exit.is_orderly(),
            Restart::Temporary => false,
        }
    }
}

/// What follows from a child's end. Children are named by their place in start order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consequence {
    /// Siblings to stop, in this order: last started first.
    pub stop: Vec<usize>,
    /// Children to start again once all those have stopped, in this order: start order.
    pub restart: Vec<usize>,
}

/// What follows when the child at place `ended` of `children` (their restart types, in start order) has ended with `exit`
/// without having been asked to. Both lists are empty if it is not to be restarted.
///
/// A sibling that is already down needs no stopping, and the caller skips it; it is started all the same (a transient child
/// that had finished too, as in OTP). A temporary sibling in the group is stopped and not started.
pub fn consequence(strategy: Strategy, children: &[Restart], ended: usize, exit: &Exit) -> Consequence {
    if !children[ended].wants(exit) {
        return Consequence::default();
    }
    let group = match strategy {
        Strategy::OneForOne => ended..ended + 1,
        Strategy::OneForAll => 0..children.len(),
        Strategy::RestForOne => ended..children.len(),
    };
    Consequence {
        stop: group.clone().rev().filter(|&place| place != ended).collect(),
        restart: group.filter(|&place| children[place] != Restart::Temporary).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Restart::{Permanent, Temporary, Transient};

    /// Nobody but a supervisor kills, so that tests/supervision_table.rs, where children end by themselves, has no such rows.
    /// As there: `a` is permanent, `b` of the row's type and killed, `c` transient, `d` temporary.
    #[test]
    #[rustfmt::skip]
    fn a_killed_child_has_not_ended_orderly() {
        use Strategy::{OneForAll, OneForOne, RestForOne};
        let table = [
            (OneForOne,  Permanent, "+b"),
            (OneForOne,  Transient, "+b"),
            (OneForOne,  Temporary, ""),
            (OneForAll,  Permanent, "-d -c -a +a +b +c"),
            (OneForAll,  Transient, "-d -c -a +a +b +c"),
            (OneForAll,  Temporary, ""),
            (RestForOne, Permanent, "-d -c +b +c"),
            (RestForOne, Transient, "-d -c +b +c"),
            (RestForOne, Temporary, ""),
        ];
        for (strategy, restart, expected) in table {
            let children = [Permanent, restart, Transient, Temporary];
            let Consequence { stop, restart: again } = consequence(strategy, &children, 1, &Exit::Killed);
            let name = |sign: char, place: usize| format!("{sign}{}", ["a", "b", "c", "d"][place]);
            let stopped = stop.into_iter().map(|place| name('-', place));
            let told: Vec<String> = stopped.chain(again.into_iter().map(|place| name('+', place))).collect();
            assert_eq!(told.join(" "), expected, "{strategy:?}, {restart:?}");
        }
    }

    #[test]
    fn a_temporary_sibling_is_stopped_and_not_started() {
        let children = [Permanent, Temporary, Transient];
        let follows = consequence(Strategy::OneForAll, &children, 0, &Exit::Normal);
        assert_eq!(follows, Consequence { stop: vec![2, 1], restart: vec![0, 2] });
    }

    #[test]
    fn a_child_that_is_not_restarted_touches_nobody() {
        let children = [Permanent, Transient, Permanent];
        assert_eq!(consequence(Strategy::OneForAll, &children, 1, &Exit::Shutdown), Consequence::default());
    }

    #[test]
    fn rest_for_one_leaves_the_earlier_ones_alone() {
        let children = [Permanent; 4];
        let follows = consequence(Strategy::RestForOne, &children, 1, &Exit::Killed);
        assert_eq!(follows, Consequence { stop: vec![3, 2], restart: vec![1, 2, 3] });
    }
}
