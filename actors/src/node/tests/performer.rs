//! The performer against fakes: which word goes to whom.

use super::*;
use crate::node::EXECUTORS_MAX;
use std::sync::{Arc, Mutex};
use tidemill_protocol::frame::encode_message;

#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn note(&self, text: String) {
        self.0.lock().expect("no test panics while it holds the notes").push(text);
    }
}

impl Links for Notes {
    fn bind(&self, member: Member, link: LinkId) {
        self.note(format!("bind {member} {}", link.0));
    }
    fn tell(&self, to: Member, message: ToExecutor) {
        self.note(format!("{to} {message:?}"));
    }
    fn close(&self, link: LinkId, reason: &str) {
        self.note(format!("close {}: {reason}", link.0));
    }
}

impl Roles for Notes {
    fn executor_up(&self, registration: &Registration) {
        self.note(format!("up {}", registration.member));
    }
    fn executor_down(&self, member: Member, reason: DownReason) {
        self.note(format!("down {member} {reason:?}"));
    }
    fn standing(&self, member: Member, standing: Standing) {
        self.note(format!("{member} {standing:?}"));
    }
    fn deliver(&self, to: Destination, from: Member, _message: ToDriver) {
        self.note(format!("{to:?} from {from}"));
    }
}

#[test]
fn the_performer_tells_the_links_and_the_roles() {
    let member = life(1, 1);
    let peers = vec![PeerInfo { member, bulk_address: None }];
    let told = format!("{member} {:?}", ToExecutor::Peers { peers: peers.clone() });
    let leaving = format!("{member} {:?}", ToExecutor::PeersLeaving { members: vec![member] });
    let denied = format!("{member} {:?}", ToExecutor::Denied { nodes: vec![NodeId(3)] });
    let reason = DownReason::Replaced;
    let rows: Vec<(Action, Vec<&str>)> = vec![
        (
            Action::Welcome { member, link: LinkId(3), epoch: Epoch(1) },
            vec!["bind node-1.i1 3", "node-1.i1 Welcome { epoch: Epoch(1) }"],
        ),
        (
            Action::Refuse { link: LinkId(3), reason: Refusal::DriversNumber(NodeId(0)) },
            vec!["close 3: node-0 is the driver's number: give the executor a number from 1"],
        ),
        (Action::Peers { to: vec![member], peers }, vec![&told]),
        (Action::ExecutorUp(registration(member)), vec!["up node-1.i1"]),
        (Action::ExecutorDown { member, reason }, vec!["down node-1.i1 Replaced"]),
        (Action::CloseLink { link: LinkId(3) }, vec!["close 3: declared dead"]),
        (Action::Ping { member, nonce: 4 }, vec!["node-1.i1 Ping { nonce: 4 }"]),
        (
            Action::Deliver { to: Destination::Scheduler, from: member, message: leaked() },
            vec!["Scheduler from node-1.i1"],
        ),
        (Action::Shutdown { member }, vec!["node-1.i1 Shutdown"]),
        (Action::Standing { member, standing: Standing::Suspected }, vec!["node-1.i1 Suspected"]),
        (Action::PeersLeaving { to: vec![member], members: vec![member] }, vec![&leaving]),
        (Action::Denied { to: vec![member], nodes: vec![NodeId(3)] }, vec![&denied]),
        (Action::Alive { live: 1, suspected: 0 }, vec![]),
    ];
    for (action, expected) in rows {
        let notes = Notes::default();
        let mut performer = MembershipPerformer { links: notes.clone(), roles: notes.clone() };
        performer.carry_out(action);
        let noted = std::mem::take(&mut *notes.0.lock().expect("no test panics while it holds the notes"));
        assert_eq!(noted, expected);
    }
}

#[test]
fn the_addresses_of_as_many_executors_as_a_cluster_has_fit_one_message() {
    let longest = |node: usize| PeerInfo {
        member: Member { node: NodeId(u16::MAX - node as u16), incarnation: Incarnation(u32::MAX) },
        bulk_address: Some("[2001:0db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535".parse().unwrap()),
    };
    let peers = ToExecutor::Peers { peers: (0..EXECUTORS_MAX).map(longest).collect() };
    assert!(encode_message(&peers).is_ok());
    let members = (0..EXECUTORS_MAX).map(|node| longest(node).member).collect();
    assert!(encode_message(&ToExecutor::PeersLeaving { members }).is_ok());
}
