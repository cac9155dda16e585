//! Membership by hand: tables of events and actions, and the routing table; the failure detector in `suspicion`, two processes
//! with one number in `contest`, an ordered leave in `leaving`, denied machines in `denial`, the performer in `performer`.

mod contest;
mod denial;
mod leaving;
mod performer;
mod suspicion;

use super::*;
use crate::core::Core;
use std::sync::Arc;
use tidemill_protocol::{id::*, message::*, time::Time};

const PROGRAM: ProgramId = ProgramId(7);

fn life(node: u16, incarnation: u32) -> Member {
    Member { node: NodeId(node), incarnation: Incarnation(incarnation) }
}

fn says(link: u64, from: Member, message: ToDriver) -> Event {
    Event::Message { link: LinkId(link), from, message }
}

fn registration(member: Member) -> Registration {
    Registration {
        member,
        slots: 2,
        program: PROGRAM,
        bulk_address: None,
        made_of: ProgramPrint::default(),
        ended: None,
        ended_since: None,
        agent: None,
    }
}

fn register(link: u64, member: Member) -> Event {
    says(link, member, ToDriver::Register(registration(member)))
}

fn alive(link: u64, member: Member) -> Event {
    says(link, member, ToDriver::Alive { nonce: 1 })
}

fn lost(link: u64) -> Event {
    Event::LinkLost { link: LinkId(link) }
}

fn leaked() -> ToDriver {
    let key = TaskKey { batch: BatchNumber(0), stage: StageId(0), partition: PartitionId(0) };
    ToDriver::SlotLeaked { task: TaskId { key, attempt: Attempt(0) } }
}

fn line(action: &Action) -> Option<String> {
    let nodes = |members: &[Member]| members.iter().map(|m| m.to_string()).collect::<Vec<_>>().join(" ");
    Some(match action {
        Action::Welcome { member, link, .. } => format!("welcome {member} on {}", link.0),
        Action::Refuse { link, reason } => format!("refuse {}: {reason}", link.0),
        Action::Peers { to, peers } => {
            let listed: Vec<Member> = peers.iter().map(|peer| peer.member).collect();
            format!("peers to {}: {}", nodes(to), nodes(&listed))
        }
        Action::ExecutorUp(registration) => format!("up {}", registration.member),
        Action::ExecutorDown { member, reason } => format!("down {member}: {reason:?}"),
        Action::CloseLink { link } => format!("close {}", link.0),
        Action::Ping { member, nonce } => format!("ping {member} {nonce}"),
        Action::Deliver { to, from, .. } => format!("deliver {from} to {to:?}"),
        Action::Shutdown { member } => format!("shutdown {member}"),
        Action::Standing { member, standing } => format!("{member} {standing:?}"),
        Action::PeersLeaving { to, members } => format!("leaving to {}: {}", nodes(to), nodes(members)),
        Action::Denied { to, nodes: denied } => {
            let denied: Vec<String> = denied.iter().map(|node| node.to_string()).collect();
            format!("denied to {}: {}", nodes(to), denied.join(" "))
        }
        Action::Count(_) | Action::Alive { .. } => return None,
    })
}

struct Table {
    membership: Membership,
    last: Vec<Action>,
}

impl Table {
    fn new() -> Table {
        let config = MembershipConfig { program: PROGRAM, executors_max: 3, ..MembershipConfig::default() };
        Table { membership: Membership::new(config), last: Vec::new() }
    }

    #[track_caller]
    fn gives(&mut self, at_ms: u64, event: Event, expected: &[&str]) {
        self.last.clear();
        self.membership.on_event(Time(at_ms * 1_000_000), event.clone(), &mut self.last);
        self.membership.assert_invariants();
        let lines: Vec<String> = self.last.iter().filter_map(line).collect();
        assert_eq!(lines, expected, "after {event:?}");
    }

    fn next_ms(&self) -> Option<u64> {
        self.membership.next_deadline().map(|time| time.0 / 1_000_000)
    }
}

#[test]
fn an_executor_that_registers_is_welcome_and_all_learn_of_it() {
    let mut t = Table::new();
    assert_eq!(t.next_ms(), None);
    let one = ["welcome node-1.i1 on 1", "up node-1.i1", "peers to node-1.i1: node-1.i1"];
    t.gives(0, register(1, life(1, 1)), &one);
    let peers = "peers to node-1.i1 node-2.i1: node-1.i1 node-2.i1";
    t.gives(0, register(2, life(2, 1)), &["welcome node-2.i1 on 2", "up node-2.i1", peers]);
    assert_eq!(t.next_ms(), Some(125));
}

#[test]
fn a_message_of_a_live_executor_goes_to_its_role() {
    let mut t = Table::new();
    t.membership.on_event(Time(0), register(1, life(1, 1)), &mut Vec::new());
    t.gives(1, says(1, life(1, 1), leaked()), &["deliver node-1.i1 to Scheduler"]);
    t.gives(1, alive(1, life(1, 1)), &[]);
}

#[test]
fn a_lost_link_downs_the_executor_at_once() {
    let mut t = Table::new();
    t.membership.on_event(Time(0), register(1, life(1, 1)), &mut Vec::new());
    t.membership.on_event(Time(0), register(2, life(2, 1)), &mut Vec::new());
    t.gives(1, lost(1), &["down node-1.i1: LinkLost", "peers to node-2.i1: node-2.i1"]);
    t.gives(1, lost(1), &[]);
    t.gives(1, lost(2), &["down node-2.i1: LinkLost"]);
    assert_eq!(t.next_ms(), None);
}

#[test]
fn a_dead_incarnation_is_refused_and_counted_whatever_it_says() {
    let mut t = Table::new();
    t.membership.on_event(Time(0), register(1, life(1, 1)), &mut Vec::new());
    t.membership.on_event(Time(0), lost(1), &mut Vec::new());
    let text = "node-1.i1 is not registered: it was declared dead, or has not registered; start it again";
    t.gives(1, says(9, life(1, 1), leaked()), &[&format!("refuse 9: {text}")]);
    assert!(t.last.contains(&Action::Count(Counter::MessagesRefused)));
    let stale = "refuse 9: node-1.i1 is refused: i1 of this node has registered already; start the node again, so that it gets a \
                 higher one";
    t.gives(1, register(9, life(1, 1)), &[stale]);
    t.gives(1, register(9, life(1, 0)), &[&stale.replacen("node-1.i1", "node-1.i0", 1)]);
    let up = ["welcome node-1.i2 on 9", "up node-1.i2", "peers to node-1.i2: node-1.i2"];
    t.gives(1, register(9, life(1, 2)), &up);
}

#[test]
fn one_connection_belongs_to_one_executor() {
    let mut t = Table::new();
    t.membership.on_event(Time(0), register(1, life(1, 1)), &mut Vec::new());
    t.membership.on_event(Time(0), register(2, life(2, 1)), &mut Vec::new());
    // Node 2 speaks in node 1's name: refused, and node 2's own connection stays.
    t.gives(1, says(2, life(1, 1), leaked()), &[]);
    assert!(t.last.contains(&Action::Count(Counter::MessagesRefused)));
    let named = says(3, life(3, 1), ToDriver::Register(registration(life(4, 1))));
    t.gives(1, named, &["refuse 3: node-3.i1 registers as node-4.i1: one connection, one name"]);
    let expected = [
        "down node-1.i1: Replaced",
        "welcome node-3.i1 on 1",
        "up node-3.i1",
        "peers to node-2.i1 node-3.i1: node-2.i1 node-3.i1",
    ];
    t.gives(1, register(1, life(3, 1)), &expected);
}

#[test]
fn who_does_not_fit_is_refused_with_the_remedy() {
    let mut t = Table::new();
    let other = Registration { program: ProgramId(8), ..registration(life(1, 1)) };
    let text = "refuse 1: node-1.i1 runs program-8 and this driver program-7: the first thing that differs is the program id, \
                so start every node from the same executable with the same arguments";
    t.gives(0, says(1, life(1, 1), ToDriver::Register(other)), &[text]);
    let none = Registration { slots: 0, ..registration(life(1, 1)) };
    let text = "refuse 1: node-1.i1 has no task slots: give it at least 1";
    t.gives(0, says(1, life(1, 1), ToDriver::Register(none)), &[text]);
    let text = "refuse 1: node-0 is the driver's number: give the executor a number from 1";
    t.gives(0, register(1, life(0, 1)), &[text]);
    t.membership.on_event(Time(0), register(1, life(1, 1)), &mut Vec::new());
    t.membership.on_event(Time(0), register(2, life(2, 1)), &mut Vec::new());
    let text = "refuse 4: node-4.i1 is refused: 3 executors are registered, which is the limit";
    t.membership.on_event(Time(0), register(3, life(3, 1)), &mut Vec::new());
    t.gives(0, register(4, life(4, 1)), &[text]);
}

#[test]
fn a_silent_executor_is_asked_and_then_declared_dead() {
    let mut t = Table::new();
    t.membership.on_event(Time(0), register(1, life(1, 1)), &mut Vec::new());
    t.membership.on_event(Time(0), register(2, life(2, 1)), &mut Vec::new());
    let (one, two) =
        (|nonce: u64| format!("ping node-1.i1 {nonce}"), |nonce: u64| format!("ping node-2.i1 {nonce}"));
    // Nobody is asked who was heard in the last 600 ms; node 2 answers at once.
    let looks: [(u64, Vec<String>); 12] = [
        (125, vec![]),
        (250, vec![]),
        (375, vec![]),
        (500, vec![]),
        (625, vec![one(1), two(2)]),
        (750, vec![one(3)]),
        (875, vec![one(4)]),
        (1_000, vec![one(5)]),
        (1_125, vec!["node-1.i1 Suspected".to_owned(), one(6)]),
        (1_250, vec![one(7), two(8)]),
        (1_375, vec![one(9)]),
        (1_500, vec![one(10)]),
    ];
    for (at, expected) in looks {
        assert_eq!(t.next_ms(), Some(at));
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        t.gives(at, Event::Wake, &expected);
        if expected.iter().any(|line| line.starts_with("ping node-2")) {
            t.gives(at + 1, alive(2, life(2, 1)), &[]);
        }
    }
    t.gives(1_550, Event::Wake, &[]);
    let expected = ["down node-1.i1: Silent(1.625s)", "close 1", "peers to node-2.i1: node-2.i1"];
    t.gives(1_625, Event::Wake, &expected);
}

#[test]
fn a_driver_that_slept_asks_before_it_judges() {
    let mut t = Table::new();
    t.membership.on_event(Time(0), register(1, life(1, 1)), &mut Vec::new());
    for at in [60_000, 60_125, 60_250, 60_375] {
        t.gives(at, Event::Wake, &[]);
    }
    t.gives(60_500, Event::Wake, &["ping node-1.i1 1"]);
    t.gives(60_501, alive(1, life(1, 1)), &[]);
    t.gives(60_625, Event::Wake, &[]);
}

#[test]
fn any_message_is_a_sign_of_life() {
    let mut t = Table::new();
    t.membership.on_event(Time(0), register(1, life(1, 1)), &mut Vec::new());
    let look = |t: &mut Table, at: u64, expected: &[&str]| t.gives(at, Event::Wake, expected);
    (1..=4).for_each(|n| look(&mut t, n * 125, &[]));
    look(&mut t, 625, &["ping node-1.i1 1"]);
    t.gives(700, says(1, life(1, 1), leaked()), &["deliver node-1.i1 to Scheduler"]);
    (6..=10).for_each(|n| look(&mut t, n * 125, &[]));
    look(&mut t, 1_375, &["ping node-1.i1 2"]);
}

fn info(block: BlockId, holder: Member) -> BlockInfo {
    BlockInfo {
        block,
        batch: BatchNumber(0),
        rows: 0,
        bytes: 0,
        first: None,
        last: None,
        holder,
        awaits_safety: true,
    }
}

/// One message of each kind, with its destination.
fn destinations() -> Vec<(ToDriver, Destination)> {
    let member = life(1, 1);
    let receiver = ReceiverId { stream: StreamId(0), index: ReceiverIndex(0), incarnation: Incarnation(0) };
    let block = BlockId { receiver, sequence: 0 };
    let ToDriver::SlotLeaked { task } = leaked() else { panic!("that is what it is") };
    let (outputs, read) = (vec![], vec![]);
    let outcome = TaskOutcome {
        task,
        holder: member,
        outputs,
        rows_in: 0,
        run_ns: 0,
        read,
        read_stages: Vec::new(),
        prepared: Vec::new(),
    };
    let failure = TaskFailure {
        task,
        reporter: member,
        message: String::new(),
        missing: None,
        exhausted: None,
        unreached: vec![],
    };
    let reason = ReceiverExitReason::Stopped;
    let report = ToDriver::SourceReport { stream: StreamId(0), what: "reconnect".into(), count: 1 };
    vec![
        (ToDriver::Register(registration(member)), Destination::Node),
        (ToDriver::Alive { nonce: 0 }, Destination::Node),
        (ToDriver::Leaving, Destination::Node),
        (ToDriver::BlockCopied { block, to: member, kept: true }, Destination::BatchGenerator),
        (ToDriver::ReceiverStarted { receiver }, Destination::BatchGenerator),
        (ToDriver::BlockAdded(info(block, member)), Destination::BatchGenerator),
        (ToDriver::BlockSafe { block, replica: None }, Destination::BatchGenerator),
        (ToDriver::EndOfBatch { receiver, batch: BatchNumber(0) }, Destination::BatchGenerator),
        (ToDriver::ReceiverExited { receiver, reason }, Destination::BatchGenerator),
        (ToDriver::TaskDone(Arc::new(outcome)), Destination::Scheduler),
        (ToDriver::TaskFailed(failure), Destination::Scheduler),
        (leaked(), Destination::Scheduler),
        (report, Destination::Reports),
    ]
}

#[test]
fn each_message_has_its_destination() {
    for (message, expected) in destinations() {
        assert_eq!(destination(&message), expected, "{message:?}");
    }
}

#[test]
fn an_executor_speaks_of_its_own_tasks_only() {
    let mut t = Table::new();
    t.membership.on_event(Time(0), register(1, life(1, 1)), &mut Vec::new());
    t.membership.on_event(Time(0), register(2, life(2, 1)), &mut Vec::new());
    let key = TaskKey { batch: BatchNumber(0), stage: StageId(0), partition: PartitionId(0) };
    let task = TaskId { key, attempt: Attempt(0) };
    let failed = |reporter| {
        let message = "no".to_owned();
        ToDriver::TaskFailed(TaskFailure {
            task,
            reporter,
            message,
            missing: None,
            exhausted: None,
            unreached: vec![],
        })
    };
    t.gives(1, says(2, life(2, 1), failed(life(1, 1))), &[]);
    assert!(t.last.contains(&Action::Count(Counter::MessagesRefused)));
    t.gives(1, says(2, life(2, 1), failed(life(2, 1))), &["deliver node-2.i1 to Scheduler"]);
}
