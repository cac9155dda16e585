//! An ordered leave, as membership sees it.

use super::*;

fn drained(node: u16, of: Drain) -> Event {
    Event::Drained { member: life(node, 1), of }
}

fn two() -> Table {
    let mut t = Table::new();
    t.membership.on_event(Time(0), register(1, life(1, 1)), &mut Vec::new());
    t.membership.on_event(Time(0), register(2, life(2, 1)), &mut Vec::new());
    let expected = ["leaving to node-1.i1 node-2.i1: node-1.i1", "node-1.i1 Leaving"];
    t.gives(1, says(1, life(1, 1), ToDriver::Leaving), &expected);
    t
}

#[test]
fn it_is_told_to_end_when_neither_role_needs_it_and_its_end_is_no_loss() {
    let mut t = two();
    t.gives(2, says(1, life(1, 1), ToDriver::Leaving), &[]);
    t.gives(3, drained(1, Drain::Outputs), &[]);
    t.gives(4, says(1, life(1, 1), leaked()), &["deliver node-1.i1 to Scheduler"]);
    t.gives(5, drained(2, Drain::Blocks), &[]);
    t.gives(6, drained(1, Drain::Blocks), &["shutdown node-1.i1"]);
    t.gives(7, drained(1, Drain::Blocks), &[]);
    t.gives(8, lost(1), &["down node-1.i1: Left", "peers to node-2.i1: node-2.i1"]);
    let up = ["welcome node-1.i2 on 3", "up node-1.i2", "peers to node-1.i2 node-2.i1: node-1.i2 node-2.i1"];
    t.gives(9, register(3, life(1, 2)), &up);
}

#[test]
fn one_that_ends_before_is_a_loss_and_who_comes_meanwhile_hears_of_the_leave() {
    let mut t = two();
    t.gives(2, drained(1, Drain::Outputs), &[]);
    let peers = "peers to node-1.i1 node-2.i1 node-3.i1: node-1.i1 node-2.i1 node-3.i1";
    let leaving = "leaving to node-1.i1 node-2.i1 node-3.i1: node-1.i1";
    t.gives(3, register(3, life(3, 1)), &["welcome node-3.i1 on 3", "up node-3.i1", peers, leaving]);
    let peers = "peers to node-2.i1 node-3.i1: node-2.i1 node-3.i1";
    t.gives(4, lost(1), &["down node-1.i1: LinkLost", peers]);
    t.gives(5, drained(1, Drain::Blocks), &[]);
}

#[test]
fn a_dead_life_cannot_ask_to_leave() {
    let mut t = Table::new();
    let text =
        "refuse 9: node-1.i1 is not registered: it was declared dead, or has not registered; start it again";
    t.gives(0, says(9, life(1, 1), ToDriver::Leaving), &[text]);
}
