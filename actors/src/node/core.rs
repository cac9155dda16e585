//! Membership's state machine.
//!
//! | from \ event | register, newer life | register, same or older | link lost | silent | message |
//! |---|---|---|---|---|---|
//! | **unknown** | up | | | | refused |
//! | **up** | old down, new up | refused | down | asked, then down | delivered |
//! | **down** | up | refused | | | refused |
//!
//! A node that is down stays known by its newest incarnation, so that no life that was declared dead comes back.

use super::{
    difference::first_difference,
    event::{Action, Counter, DownReason, Event, LinkId, Refusal},
    route::{Destination, destination},
};
use crate::core::Core;
use std::{collections::BTreeMap, time::Duration};
use tidemill_protocol::{
    id::{Epoch, Incarnation, Member, NodeId, ProgramId},
    message::{PeerInfo, ProgramPrint, Registration, ToDriver},
    time::Time,
};

/// What membership is told once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembershipConfig {
    /// The driver's reign.
    pub epoch: Epoch,
    /// The program that executors must run.
    pub program: ProgramId,
    /// What it is made of, and the lines of its graph in words, to say what differs in another.
    pub print: ProgramPrint,
    /// See `print`.
    pub operators: Vec<String>,
    /// How often executors are asked whether they are there; above 0.
    pub ping_every: Duration,
    /// After this much silence an executor is declared dead; a multiple of `ping_every`.
    pub silent_after: Duration,
    /// How many executors are taken: their list travels in one message.
    pub executors_max: usize,
}

impl Default for MembershipConfig {
    fn default() -> Self {
        MembershipConfig {
            epoch: Epoch(0),
            program: ProgramId(0),
            print: ProgramPrint::default(),
            operators: Vec::new(),
            ping_every: Duration::from_millis(500),
            silent_after: Duration::from_secs(2),
            executors_max: 256,
        }
    }
}

impl MembershipConfig {
    /// How many pings must stay without any answer, which is as many as fit into the permitted silence: silence counts only
    /// where somebody has asked, so a driver that was asleep itself asks before it judges.
    fn unanswered_max(&self) -> u32 {
        let pings = self.silent_after.as_nanos() / self.ping_every.as_nanos().max(1);
        u32::try_from(pings).unwrap_or(u32::MAX).saturating_sub(1).max(1)
    }
}

#[derive(Clone, Debug)]
struct Executor {
    registration: Registration,
    link: LinkId,
    last_heard: Time,
    /// Pings since it was last heard.
    unanswered: u32,
}

/// Who is in the cluster.
#[derive(Clone, Debug)]
pub struct Membership {
    config: MembershipConfig,
    live: BTreeMap<NodeId, Executor>,
    /// The newest life of each node that was ever admitted.
    newest: BTreeMap<NodeId, Incarnation>,
    next_ping: Time,
    nonce: u64,
    is_ending: bool,
}

impl Membership {
    /// An empty cluster.
    pub fn new(config: MembershipConfig) -> Self {
        Membership {
            config,
            live: BTreeMap::new(),
            newest: BTreeMap::new(),
            next_ping: Time::ZERO,
            nonce: 0,
            is_ending: false,
        }
    }

    fn message(&mut self, now: Time, link: LinkId, from: Member, message: ToDriver, out: &mut Vec<Action>) {
        if let ToDriver::Register(registration) = message {
            match self.refusal(from, &registration) {
                None => self.admit(now, link, registration, out),
                Some(reason) => {
                    out.push(Action::Count(Counter::Refused));
                    out.push(Action::Refuse { link, reason });
                }
            }
            return;
        }
        let executor = self.live.get_mut(&from.node);
        let Some(executor) = executor.filter(|e| e.registration.member == from && e.link == link) else {
            out.push(Action::Count(Counter::MessagesRefused));
            // A live executor's name over another connection does not cost the executor its own.
            if self.live.values().all(|executor| executor.link != link) {
                out.push(Action::Refuse { link, reason: Refusal::NotRegistered(from) });
            }
            return;
        };
        executor.last_heard = now;
        executor.unanswered = 0;
        match destination(&message) {
            Destination::Node => {}
            to => out.push(Action::Deliver { to, from, message }),
        }
    }

    fn refusal(&self, from: Member, registration: &Registration) -> Option<Refusal> {
        let member = registration.member;
        let (theirs, ours) = (registration.program, self.config.program);
        let known = self.newest.get(&member.node).copied().filter(|known| member.incarnation <= *known);
        if self.is_ending {
            Some(Refusal::Ending)
        } else if from != member {
            Some(Refusal::OtherName { from, named: member })
        } else if member.node == NodeId::DRIVER {
            Some(Refusal::DriversNumber(member.node))
        } else if theirs != ours {
            let MembershipConfig { print, operators, .. } = &self.config;
            let difference = first_difference(&registration.print, print, operators);
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

    fn admit(&mut self, now: Time, link: LinkId, registration: Registration, out: &mut Vec<Action>) {
        let member = registration.member;
        // A connection belongs to one life: whoever used it before is gone.
        let replaced =
            self.live.values().find(|e| e.registration.member.node == member.node || e.link == link);
        let replaced = replaced.map(|executor| executor.registration.member.node);
        if let Some(old) = replaced.and_then(|node| self.live.remove(&node)) {
            out.push(Action::Count(Counter::Down));
            out.push(Action::ExecutorDown { member: old.registration.member, reason: DownReason::Replaced });
            if old.link != link {
                out.push(Action::CloseLink { link: old.link });
            }
        }
        if self.live.is_empty() {
            self.next_ping = now + self.config.ping_every;
        }
        self.newest.insert(member.node, member.incarnation);
        let executor = Executor { registration: registration.clone(), link, last_heard: now, unanswered: 0 };
        self.live.insert(member.node, executor);
        out.push(Action::Count(Counter::Admitted));
        out.push(Action::Welcome { member, link, epoch: self.config.epoch });
        out.push(Action::ExecutorUp(registration));
        self.tell_peers(out);
    }

    fn link_lost(&mut self, link: LinkId, out: &mut Vec<Action>) {
        let lost = self.live.iter().find(|(_, executor)| executor.link == link).map(|(node, _)| *node);
        if let Some(executor) = lost.and_then(|node| self.live.remove(&node)) {
            out.push(Action::Count(Counter::Down));
            out.push(Action::ExecutorDown {
                member: executor.registration.member,
                reason: DownReason::LinkLost,
            });
            self.tell_peers(out);
        }
    }

    /// Declares dead whoever stayed silent, and asks all others.
    fn wake_up(&mut self, now: Time, out: &mut Vec<Action>) {
        if now < self.next_ping {
            return;
        }
        let (silent_after, unanswered_max) = (self.config.silent_after, self.config.unanswered_max());
        let is_silent =
            |e: &Executor| now.since(e.last_heard) >= silent_after && e.unanswered >= unanswered_max;
        let silent: Vec<NodeId> =
            self.live.iter().filter(|(_, e)| is_silent(e)).map(|(node, _)| *node).collect();
        for executor in silent.iter().filter_map(|node| self.live.remove(node)).collect::<Vec<_>>() {
            let (member, silence) = (executor.registration.member, now.since(executor.last_heard));
            out.push(Action::Count(Counter::Down));
            out.push(Action::ExecutorDown { member, reason: DownReason::Silent(silence) });
            out.push(Action::CloseLink { link: executor.link });
        }
        if !silent.is_empty() {
            self.tell_peers(out);
        }
        for executor in self.live.values_mut() {
            self.nonce += 1;
            executor.unanswered += 1;
            out.push(Action::Ping { member: executor.registration.member, nonce: self.nonce });
        }
        self.next_ping = now + self.config.ping_every;
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
        match event {
            Event::Message { link, from, message } => self.message(now, link, from, message, out),
            Event::LinkLost { link } => self.link_lost(link, out),
            Event::Wake => self.wake_up(now, out),
            Event::Stop => {
                self.is_ending = true;
                let members = self.live.values().map(|executor| executor.registration.member);
                out.extend(members.map(|member| Action::Shutdown { member }));
            }
        }
    }

    fn wake() -> Event {
        Event::Wake
    }

    fn next_deadline(&self) -> Option<Time> {
        (!self.live.is_empty()).then_some(self.next_ping)
    }

    fn assert_invariants(&self) {
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
            assert!(
                executor.unanswered <= self.config.unanswered_max() + 1,
                "{member} should have been declared dead"
            );
            let same_link = self.live.values().filter(|other| other.link == executor.link).count();
            assert_eq!(same_link, 1, "{member} shares its connection");
        }
    }
}
