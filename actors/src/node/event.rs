//! What membership hears and what it asks for, and the values in them.

use super::route::Destination;
use std::time::Duration;
use tidemill_protocol::{
    id::{Epoch, Incarnation, Member, NodeId, ProgramId},
    message::{PeerInfo, Registration, ToDriver},
};

/// A connection to an executor, numbered by whoever accepts connections; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkId(pub u64);

/// What can happen.
#[derive(Clone, Debug)]
pub enum Event {
    /// A message has come in; also [`ToDriver::Register`].
    Message {
        /// Over which connection.
        link: LinkId,
        /// Who says it.
        from: Member,
        /// What.
        message: ToDriver,
    },
    /// A connection has ended.
    LinkLost {
        /// Which.
        link: LinkId,
    },
    /// The deadline has come.
    Wake,
    /// A role does not need an executor that leaves any more. When both do not, it is told to end.
    Drained {
        /// Which.
        member: Member,
        /// Whose need it was.
        of: Drain,
    },
    /// Machines with these numbers were denied; their connections are cut elsewhere.
    Denied {
        /// Whose.
        nodes: Vec<NodeId>,
    },
}

/// What may still be needed of an executor that leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    /// Its receivers and its blocks, as the batch generator knows.
    Blocks,
    /// Its tasks and their outputs, as the scheduler knows.
    Outputs,
}

/// How a live executor stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It is silent for longer than usual: others are preferred.
    Suspected,
    /// It is heard again as usual.
    Trusted,
    /// It wants to leave: nothing new goes there.
    Leaving,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Tell an executor that it is registered.
    Welcome {
        /// Whom.
        member: Member,
        /// Over which connection: from now on the executor's.
        link: LinkId,
        /// The driver's reign.
        epoch: Epoch,
    },
    /// Close a connection with this reason.
    Refuse {
        /// Which connection.
        link: LinkId,
        /// Why.
        reason: Refusal,
    },
    /// Tell these executors who lives.
    Peers {
        /// Whom to tell.
        to: Vec<Member>,
        /// All live executors, by node.
        peers: Vec<PeerInfo>,
    },
    /// An executor is there; told before anything that it says is delivered.
    ExecutorUp(Registration),
    /// An executor is gone; nothing that it says is delivered any more.
    ExecutorDown {
        /// Who.
        member: Member,
        /// Why.
        reason: DownReason,
    },
    /// How an executor stands has changed.
    Standing {
        /// Whose.
        member: Member,
        /// Since now.
        standing: Standing,
    },
    /// So many executors are alive now, and so many of them are suspected.
    Alive {
        /// All of them.
        live: usize,
        /// Those.
        suspected: usize,
    },
    /// Tell these executors who is about to leave.
    PeersLeaving {
        /// Whom to tell.
        to: Vec<Member>,
        /// Who leaves, by node.
        members: Vec<Member>,
    },
    /// Tell these executors whom they shall not serve.
    Denied {
        /// Whom to tell.
        to: Vec<Member>,
        /// Who is denied, by number, as far as they have not been told.
        nodes: Vec<NodeId>,
    },
    /// Close the connection of an executor that is gone.
    CloseLink {
        /// Which connection.
        link: LinkId,
    },
    /// Ask whether it is there.
    Ping {
        /// Whom.
        member: Member,
        /// Returned in the answer.
        nonce: u64,
    },
    /// Hand a message of a live executor to a role.
    Deliver {
        /// To which.
        to: Destination,
        /// Who said it.
        from: Member,
        /// What.
        message: ToDriver,
    },
    /// Tell an executor to leave.
    Shutdown {
        /// Whom.
        member: Member,
    },
    /// Add 1 to a counter.
    Count(Counter),
}

/// Why an executor is not admitted; the text is for its log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It was built from another program.
    #[error("{member} runs {theirs} and this driver {ours}: the first thing that differs is {difference}")]
    OtherProgram {
        /// Who.
        member: Member,
        /// Its program.
        theirs: ProgramId,
        /// The driver's.
        ours: ProgramId,
        /// What differs first, with the remedy.
        difference: String,
    },
    /// A life of that node which is as new has been here.
    #[error(
        "{member} is refused: {known} of this node has registered already; start the node again, so that it gets a higher one"
    )]
    StaleIncarnation {
        /// Who.
        member: Member,
        /// The newest life that is known.
        known: Incarnation,
    },
    /// Another process of this node is alive, and answers.
    #[error(
        "{member} is refused: {living} of this node is alive and answers; two processes have been given one number, so give \
         one of them another"
    )]
    NodeInUse {
        /// Who.
        member: Member,
        /// The process that has the number.
        living: Member,
    },
    /// It calls itself the driver.
    #[error("{0} is the driver's number: give the executor a number from 1")]
    DriversNumber(NodeId),
    /// It registers with another name than it sends under.
    #[error("{from} registers as {named}: one connection, one name")]
    OtherName {
        /// The sender.
        from: Member,
        /// The name in the registration.
        named: Member,
    },
    /// It has no slots.
    #[error("{0} has no task slots: give it at least 1")]
    NoSlots(Member),
    /// There are as many executors as the driver takes.
    #[error("{member} is refused: {max} executors are registered, which is the limit")]
    Full {
        /// Who.
        member: Member,
        /// The limit.
        max: usize,
    },
    /// It was declared dead, or has never registered.
    #[error("{0} is not registered: it was declared dead, or has not registered; start it again")]
    NotRegistered(Member),
}

impl Refusal {
    /// Whether the same process would be refused again, whatever happens meanwhile.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Refusal::OtherProgram { .. }
            | Refusal::DriversNumber(_)
            | Refusal::OtherName { .. }
            | Refusal::NoSlots(_) => true,
            Refusal::StaleIncarnation { .. }
            | Refusal::NodeInUse { .. }
            | Refusal::Full { .. }
            | Refusal::NotRegistered(_) => false,
        }
    }
}

/// Why an executor is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DownReason {
    /// Its connection has ended.
    LinkLost,
    /// It said nothing for so long, although it was asked.
    Silent(Duration),
    /// A newer life of the node has registered, and this one did not answer.
    Replaced,
    /// Its process has ended, as the next one of the node says.
    Ended,
    /// It wanted to leave, and nothing of it was needed any more.
    Left,
}

/// What membership counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counter {
    /// Executors that were admitted.
    Admitted,
    /// Registrations that were refused.
    Refused,
    /// Executors that were declared dead.
    Down,
    /// Messages of those who do not live.
    MessagesRefused,
    /// Executors that were suspected.
    Suspected,
    /// Executors that were trusted again.
    Trusted,
    /// Executors that wanted to leave.
    Leaving,
}

impl Counter {
    /// Its name as a metric.
    pub fn name(self) -> &'static str {
        match self {
            Counter::Admitted => "tidemill_membership_admitted",
            Counter::Refused => "tidemill_membership_refused",
            Counter::Down => "tidemill_membership_down",
            Counter::MessagesRefused => "tidemill_membership_messages_refused",
            Counter::Suspected => "tidemill_membership_suspected",
            Counter::Trusted => "tidemill_membership_trusted",
            Counter::Leaving => "tidemill_membership_leaving",
        }
    }
}
