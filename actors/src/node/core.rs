//! Membership's state machine.
//!
//! | from \ event | register, newer life | register, same or older | link lost | silent | message | leaving |
//! |---|---|---|---|---|---|---|
//! | **unknown** | up | | | | refused | refused |
//! | **up**, green | asked; see below | refused | down | yellow | delivered | told to the roles, ended once drained |
//! | **up**, yellow | asked; see below | refused | down | down (red) | delivered; green after a while | as green |
//! | **down** | up | refused | | | refused | refused |
//!
//! A node that is down stays known by its newest incarnation, so that no life that was declared dead comes back. A newer life
//! does not simply take the place of one that is up: two processes with one number would kick each other out for ever. The one
//! that is up is asked first (`contest`), unless the newer one says that this process has ended: if it answers, the newer one is refused; if its link is lost, if it is red, or if it
//! stays silent, the newer one is admitted. What silence means is in `suspicion`.

use super::{
    contest::{Contender, refuse},
    difference::first_difference,
    event::{Action, Counter, DownReason, Event, LinkId, Refusal, Standing},
    leaving::Leave,
    route::{Destination, destination, speaks_for},
    suspicion::{Level, Suspicion, WakingClock},
};
use crate::core::Core;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tidemill_protocol::{
    id::{Epoch, Incarnation, Member, NodeId, ProgramId},
    message::{PeerInfo, ProgramPrint, Registration, ToDriver},
    time::Time,
};

/// How many executors a cluster has at most: the list of their addresses fits one message.
pub const EXECUTORS_MAX: usize = 512;

/// What membership is told once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembershipConfig {
    /// The driver's reign.
    pub epoch: Epoch,
    /// The program that executors must run.
    pub program: ProgramId,
    /// What it is made of, and the lines of its graph in words, to say what differs in another.
    pub made_of: ProgramPrint,
    /// See `made_of`.
    pub operators: Vec<String>,
    /// How often executors are judged, and asked whether they are there if nothing was heard of them; above 0. The failure
    /// detector's limits are made for its default, 125 ms.
    pub look_every: Duration,
    /// How many executors are taken; at most [`EXECUTORS_MAX`].
    pub executors_max: usize,
}

impl Default for MembershipConfig {
    fn default() -> Self {
        MembershipConfig {
            epoch: Epoch(0),
            program: ProgramId(0),
            made_of: ProgramPrint::default(),
            operators: Vec::new(),
            look_every: Duration::from_millis(125),
            executors_max: EXECUTORS_MAX,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Executor {
    pub(super) registration: Registration,
    pub(super) link: LinkId,
    suspicion: Suspicion,
    /// Set once it wants to leave.
    pub(super) leave: Option<Leave>,
}

/// Who is in the cluster.
#[derive(Clone, Debug)]
pub struct Membership {
    config: MembershipConfig,
    pub(super) live: BTreeMap<NodeId, Executor>,
    /// Newer lives that wait until the older one has been asked.
    pub(super) contenders: BTreeMap<NodeId, Contender>,
    /// Whom executors shall not serve.
    pub(super) denied: BTreeSet<NodeId>,
    /// The newest life of each node that was ever admitted.
    newest: BTreeMap<NodeId, Incarnation>,
    next_look: Time,
    clock: WakingClock,
    /// The waking time of the present event.
    pub(super) awake: Duration,
    pub(super) nonce: u64,
    /// What was last told of numbers: live and suspected.
    told: (usize, usize),
}

impl Membership {
    /// An empty cluster.
    pub fn new(config: MembershipConfig) -> Self {
        Membership {
            clock: WakingClock::new(config.look_every),
            config,
            live: BTreeMap::new(),
            contenders: BTreeMap::new(),
            denied: BTreeSet::new(),
            awake: Duration::ZERO,
            told: (0, 0),
            newest: BTreeMap::new(),
            next_look: Time::ZERO,
            nonce: 0,
        }
    }

    fn message(&mut self, now: Time, link: LinkId, from: Member, message: ToDriver, out: &mut Vec<Action>) {
        if let ToDriver::Register(registration) = message {
            match self.refusal(from, &registration) {
                None => self.arrive(now, link, registration, out),
                Some(reason) => refuse(link, reason, out),
            }
            return;
        }
        let executor = self.live.get_mut(&from.node);
        let Some(executor) = executor.filter(|e| e.registration.member == from && e.link == link) else {
            let to = destination(&message);
            if planted!(NoIncarnationCheck) && to != Destination::Node {
                return out.push(Action::Deliver { to, from, message });
            }
            out.push(Action::Count(Counter::MessagesRefused));
            // A live executor's name over another connection does not cost the executor its own.
            let waits = self.contenders.values().any(|contender| contender.link == link);
            if !waits && self.live.values().all(|executor| executor.link != link) {
                out.push(Action::Refuse { link, reason: Refusal::NotRegistered(from) });
            }
            return;
        };
        executor.suspicion.heard(self.awake);
        if speaks_for(&message).is_some_and(|member| member != from) {
            return out.push(Action::Count(Counter::MessagesRefused));
        }
        match destination(&message) {
            Destination::Node => match message {
                ToDriver::Alive { nonce } => self.answered(from, nonce, out),
                ToDriver::Leaving => self.begin_leave(from, out),
                _ => {}
            },
            to => out.push(Action::Deliver { to, from, message }),
        }
    }

    pub(super) fn refusal(&self, from: Member, registration: &Registration) -> Option<Refusal> {
        let member = registration.member;
        let (theirs, ours) = (registration.program, self.config.program);
        let known = self.newest.get(&member.node).copied().filter(|known| member.incarnation <= *known);
        if from != member {
            Some(Refusal::OtherName { from, named: member })
        } else if member.node == NodeId::DRIVER {
            Some(Refusal::DriversNumber(member.node))
        } else if theirs != ours {
            let MembershipConfig { made_of, operators, .. } = &self.config;
            let difference = first_difference(&registration.made_of, made_of, operators);
            Some(Refusal::OtherProgram { member, theirs, ours, difference })
        } else if let Some(known) = known {
            Some(Refusal::StaleIncarnation { member, known })
        } else if registration.slots == 0 {
            Some(Refusal::NoSlots(member))
        } else if !self.live.contains_key(&member.node) && self.live.len() >= self.config.executors_max {
            Some(Refusal::Full { member, max: self.config.executors_max })
        } else {
            None
        }
    }

    pub(super) fn admit(
        &mut self,
        now: Time,
        link: LinkId,
        registration: Registration,
        out: &mut Vec<Action>,
    ) {
        let member = registration.member;
        self.replace(&registration, link, out);
        if self.live.is_empty() {
            self.next_look = now + self.config.look_every;
        }
        self.newest.insert(member.node, member.incarnation);
        let suspicion = Suspicion::new(self.awake);
        let executor = Executor { registration: registration.clone(), link, suspicion, leave: None };
        self.live.insert(member.node, executor);
        out.push(Action::Count(Counter::Admitted));
        out.push(Action::Welcome { member, link, epoch: self.config.epoch });
        self.tell_denied(member, out);
        out.push(Action::ExecutorUp(registration));
        self.tell_peers(out);
        self.tell_leaving(out);
    }

    fn link_lost(&mut self, link: LinkId, out: &mut Vec<Action>) {
        self.contenders.retain(|_, contender| contender.link != link);
        let lost = self.live.iter().find(|(_, executor)| executor.link == link).map(|(node, _)| *node);
        if let Some(executor) = lost.and_then(|node| self.live.remove(&node)) {
            let has_left = executor.leave.is_some_and(Leave::is_drained);
            let reason = if has_left { DownReason::Left } else { DownReason::LinkLost };
            out.push(Action::Count(Counter::Down));
            out.push(Action::ExecutorDown { member: executor.registration.member, reason });
            self.tell_peers(out);
        }
    }

    /// A look: judges everybody, declares dead whoever stayed silent, and asks whoever was not heard for long.
    fn wake_up(&mut self, now: Time, out: &mut Vec<Action>) {
        if now < self.next_look {
            return;
        }
        let mut silent = Vec::new();
        for (node, executor) in &mut self.live {
            let member = executor.registration.member;
            match executor.suspicion.judge(self.awake) {
                None => {}
                Some(Level::Yellow) => {
                    out.push(Action::Count(Counter::Suspected));
                    out.push(Action::Standing { member, standing: Standing::Suspected });
                }
                Some(Level::Green) => {
                    out.push(Action::Count(Counter::Trusted));
                    out.push(Action::Standing { member, standing: Standing::Trusted });
                }
                Some(Level::Red(silence)) => silent.push((*node, silence)),
            }
        }
        for (node, silence) in &silent {
            if let Some(executor) = self.live.remove(node) {
                let (member, reason) = (executor.registration.member, DownReason::Silent(*silence));
                out.push(Action::Count(Counter::Down));
                out.push(Action::ExecutorDown { member, reason });
                if !planted!(NoIncarnationCheck) {
                    out.push(Action::CloseLink { link: executor.link });
                }
            }
        }
        if !silent.is_empty() {
            self.tell_peers(out);
        }
        let awake = self.awake;
        for executor in self.live.values_mut().filter(|executor| executor.suspicion.is_due(awake)) {
            self.nonce += 1;
            executor.suspicion.asked(awake);
            out.push(Action::Ping { member: executor.registration.member, nonce: self.nonce });
        }
        self.next_look = now + self.config.look_every;
    }

    /// How many live, and how many of them are suspected.
    fn numbers(&self) -> (usize, usize) {
        let is_suspected = |executor: &&Executor| executor.suspicion.level() == Level::Yellow;
        (self.live.len(), self.live.values().filter(is_suspected).count())
    }

    /// Tells the numbers when they have changed. They are counted only if something was told that may change them: not for each
    /// of the messages of hundreds of executors.
    fn tell_numbers(&mut self, out: &mut Vec<Action>) {
        let may_change = |action: &Action| {
            matches!(action, Action::Welcome { .. } | Action::ExecutorDown { .. } | Action::Standing { .. })
        };
        if !out.iter().any(may_change) {
            return;
        }
        let numbers = self.numbers();
        if std::mem::replace(&mut self.told, numbers) != numbers {
            out.push(Action::Alive { live: numbers.0, suspected: numbers.1 });
        }
    }

    fn tell_peers(&self, out: &mut Vec<Action>) {
        let registrations = || self.live.values().map(|executor| &executor.registration);
        let peers = registrations().map(|r| PeerInfo { member: r.member, bulk_address: r.bulk_address });
        let (to, peers): (Vec<Member>, Vec<PeerInfo>) =
            (registrations().map(|r| r.member).collect(), peers.collect());
        if !to.is_empty() {
            out.push(Action::Peers { to, peers });
        }
    }
}

impl Core for Membership {
    type Event = Event;
    type Action = Action;

    const NAME: &'static str = "node";

    fn on_event(&mut self, now: Time, event: Event, out: &mut Vec<Action>) {
        self.awake = self.clock.advance(now);
        match event {
            Event::Message { link, from, message } => self.message(now, link, from, message, out),
            Event::LinkLost { link } => self.link_lost(link, out),
            Event::Wake => self.wake_up(now, out),
            Event::Drained { member, of } => self.drained(member, of, out),
            Event::Denied { nodes } => self.deny(nodes, out),
        }
        self.settle_contests(now, out);
        self.tell_numbers(out);
    }

    fn wake() -> Event {
        Event::Wake
    }

    fn next_deadline(&self) -> Option<Time> {
        (!self.live.is_empty()).then_some(self.next_look)
    }

    fn assert_invariants(&self) {
        assert_eq!(self.told, self.numbers(), "the numbers that were told are those that are");
        assert!(self.live.len() <= self.config.executors_max, "more executors than the limit");
        for (node, executor) in &self.live {
            let member = executor.registration.member;
            assert_eq!(member.node, *node, "an executor stands under its node");
            assert_eq!(
                self.newest.get(node),
                Some(&member.incarnation),
                "{member} lives and is the newest life"
            );
            assert_eq!(
                executor.registration.program, self.config.program,
                "{member} runs the driver's program"
            );
            let is_alive = !matches!(executor.suspicion.level(), Level::Red(_));
            assert!(is_alive, "{member} should have been declared dead");
        }
        let links: BTreeSet<LinkId> = self.live.values().map(|executor| executor.link).collect();
        assert_eq!(links.len(), self.live.len(), "two executors share a connection");
        for node in self.contenders.keys() {
            assert!(self.live.contains_key(node), "{node}: nobody is there to be asked");
        }
    }
}
