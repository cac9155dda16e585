//! Denied machines, as membership tells of them.

use super::*;

fn denied(nodes: &[u16]) -> Event {
    Event::Denied { nodes: nodes.iter().copied().map(NodeId).collect() }
}

#[test]
fn all_executors_hear_of_a_denial_once_and_who_comes_later_before_anything_else() {
    let mut t = Table::new();
    t.gives(0, denied(&[7]), &[]);
    let one = [
        "welcome node-1.i1 on 1",
        "denied to node-1.i1: node-7",
        "up node-1.i1",
        "peers to node-1.i1: node-1.i1",
    ];
    t.gives(0, register(1, life(1, 1)), &one);
    t.gives(1, denied(&[7]), &[]);
    t.gives(1, denied(&[9, 7, 3]), &["denied to node-1.i1: node-9 node-3"]);
    let peers = "peers to node-1.i1 node-2.i1: node-1.i1 node-2.i1";
    let two = ["welcome node-2.i1 on 2", "denied to node-2.i1: node-3 node-7 node-9", "up node-2.i1", peers];
    t.gives(2, register(2, life(2, 1)), &two);
    t.gives(3, denied(&[4]), &["denied to node-1.i1 node-2.i1: node-4"]);
}

#[test]
fn the_next_life_of_an_executor_is_told_everything_again() {
    let mut t = Table::new();
    t.gives(0, denied(&[7]), &[]);
    t.membership.on_event(Time(0), register(1, life(1, 1)), &mut Vec::new());
    t.membership.on_event(Time(0), lost(1), &mut Vec::new());
    let again = [
        "welcome node-1.i2 on 2",
        "denied to node-1.i2: node-7",
        "up node-1.i2",
        "peers to node-1.i2: node-1.i2",
    ];
    t.gives(1, register(2, life(1, 2)), &again);
}
