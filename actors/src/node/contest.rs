//! Two processes with one node number: who has it?
//!
//! A newer incarnation that registers while an older one seems to live is either its successor (the older process was killed,
//! and its connection has not timed out yet) or a stranger that was given the same number by mistake. The registration alone
//! does not tell them apart, so the driver asks the older one:
//!
//! | what happens first | then |
//! |---|---|
//! | the newer one says that the older one's process has ended (`Registration::says_ended`): the agent that started both saw it | nobody is asked: the older one is down (`Ended`), the newer one is admitted |
//! | the older one answers the question itself | the newer one is refused (`NodeInUse`), the older one notices nothing |
//! | the older one's connection ends, or it is declared dead | the newer one is admitted |
//! | 500 ms of the driver's waking time pass | the older one is down (`Replaced`), the newer one is admitted |
//! | the newer one's connection ends | the question is forgotten |
//!
//! Another agent with a copy of the same folder counts the same numbers, and sees its own processes of them end: so what one says
//! counts only of processes that the same start of an agent has started (`Registration::agent`).
//!
//! What the older one had sent before it died does not count as an answer: only the question's own nonce does.

use super::{
    core::Membership,
    event::{Action, Counter, DownReason, LinkId, Refusal},
};
use std::time::Duration;
use tidemill_protocol::{
    id::{Member, NodeId},
    message::Registration,
    time::Time,
};

/// How long the older process has to answer.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// A newer process that waits for the answer of the older one.
#[derive(Clone, Debug)]
pub(super) struct Contender {
    pub(super) link: LinkId,
    registration: Registration,
    /// The question.
    nonce: u64,
    /// When it was asked, in waking time.
    asked_at: Duration,
}

impl Membership {
    /// A registration that is in order: admitted, unless somebody has its number.
    pub(super) fn arrive(
        &mut self,
        now: Time,
        link: LinkId,
        registration: Registration,
        out: &mut Vec<Action>,
    ) {
        let member = registration.member;
        let Some(living) = self.live.get(&member.node).filter(|living| living.link != link) else {
            return self.admit(now, link, registration, out);
        };
        let has_ended = registration.says_ended(&living.registration);
        let living = living.registration.member;
        let waiting = self.contenders.get(&member.node);
        if let Some(waiting) = waiting.filter(|waiting| waiting.registration.member >= member) {
            let known = waiting.registration.member.incarnation;
            return refuse(link, Refusal::StaleIncarnation { member, known }, out);
        }
        if let Some(older) = self.contenders.remove(&member.node) {
            let known = member.incarnation;
            let member = older.registration.member;
            refuse(older.link, Refusal::StaleIncarnation { member, known }, out);
        }
        if has_ended {
            return self.admit(now, link, registration, out);
        }
        self.nonce += 1;
        let contender = Contender { link, registration, nonce: self.nonce, asked_at: self.awake };
        self.contenders.insert(member.node, contender);
        out.push(Action::Ping { member: living, nonce: self.nonce });
    }

    /// The older process answers: it has the number.
    pub(super) fn answered(&mut self, living: Member, nonce: u64, out: &mut Vec<Action>) {
        let is_answer = |contender: &&Contender| nonce >= contender.nonce;
        if self.contenders.get(&living.node).filter(is_answer).is_some()
            && let Some(contender) = self.contenders.remove(&living.node)
        {
            let member = contender.registration.member;
            refuse(contender.link, Refusal::NodeInUse { member, living }, out);
        }
    }

    /// Nobody has these numbers any more: whoever waited for one is admitted.
    pub(super) fn settle_contests(&mut self, now: Time, out: &mut Vec<Action>) {
        let awake = self.awake;
        let is_over = |node: &NodeId, contender: &Contender| {
            !self.live.contains_key(node) || awake.saturating_sub(contender.asked_at) >= ANSWER_WITHIN
        };
        let over: Vec<NodeId> =
            self.contenders.iter().filter(|(node, c)| is_over(node, c)).map(|(node, _)| *node).collect();
        for node in over {
            if let Some(Contender { link, registration, .. }) = self.contenders.remove(&node) {
                match self.refusal(registration.member, &registration) {
                    None => self.admit(now, link, registration, out),
                    Some(reason) => refuse(link, reason, out),
                }
            }
        }
    }

    /// A connection belongs to one life: whoever used it before, and an older life of the node, are gone.
    pub(super) fn replace(&mut self, registration: &Registration, link: LinkId, out: &mut Vec<Action>) {
        let member = registration.member;
        let is_replaced = |node: &NodeId, other: LinkId| *node == member.node || other == link;
        let replaced: Vec<NodeId> =
            self.live.iter().filter(|(node, e)| is_replaced(node, e.link)).map(|(node, _)| *node).collect();
        for old in replaced.iter().filter_map(|node| self.live.remove(node)).collect::<Vec<_>>() {
            let gone = old.registration.member;
            let has_ended = gone.node == member.node && registration.says_ended(&old.registration);
            let reason = if has_ended { DownReason::Ended } else { DownReason::Replaced };
            out.push(Action::Count(Counter::Down));
            out.push(Action::ExecutorDown { member: gone, reason });
            if old.link != link {
                out.push(Action::CloseLink { link: old.link });
            }
        }
    }
}

pub(super) fn refuse(link: LinkId, reason: Refusal, out: &mut Vec<Action>) {
    out.push(Action::Count(Counter::Refused));
    out.push(Action::Refuse { link, reason });
}
