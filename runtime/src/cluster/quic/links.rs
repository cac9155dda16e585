//! The driver's end of control connections: links to executors, and questions of whoever may ask.

use super::Gate;
use crate::cluster::{inbox::DriverInbox, lane::Lane};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tidemill_actors::{
    node::{LinkId, Links, Refusal},
    scheduler::TellExecutors,
};
use tidemill_protocol::{
    endpoint::{
        self, CloseCode, ControlLink, LinkError,
        link::{LinkConfig, LinkSender},
        request,
    },
    id::Member,
    identity::{DenyList, PeerName, Refused, RoleKind, admit},
    message::{Hello, Reply, Request, ToDriver, ToExecutor},
    world::meter,
};

/// Answers questions.
pub(crate) type Answers = Arc<dyn Fn(Request) -> Vec<Reply> + Send + Sync>;

/// Who may come to the control endpoint at all.
const ALLOWED: [RoleKind; 3] = [RoleKind::Node, RoleKind::Operator, RoleKind::Observer];

/// How long an answer may take to be taken.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How long a connection for questions is kept without one.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(60);

/// What the driver shows and knows at its door.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) hello: Hello,
    pub(crate) inbox: Arc<DriverInbox>,
    pub(crate) answers: Answers,
    pub(crate) denied: DenyList,
    pub(crate) gate: Gate,
}

/// Who may ask what.
fn may_ask(role: RoleKind, request: &Request) -> bool {
    match request {
        Request::Program => role == RoleKind::Node,
        Request::Status => matches!(role, RoleKind::Observer | RoleKind::Operator),
    }
}

/// Answers the questions of one connection, one after the other, until it ends, its peer is denied, takes too long over an answer
/// or asks nothing more.
async fn answer_all(
    connection: &quinn::Connection,
    mut asked: (quinn::SendStream, quinn::RecvStream),
    role: RoleKind,
    Door { answers, gate, denied, .. }: &Door,
) {
    loop {
        let (send, mut recv) = asked;
        let answered: Result<(), LinkError> = async {
            let question = request::read_request(connection, &mut recv).await?;
            // It may have been denied since the last one.
            if cut_if_denied(connection, denied) {
                return Err(LinkError::Ended);
            }
            let replies = if may_ask(role, &question) {
                answers(question)
            } else {
                vec![Reply::Refused(format!("a certificate of the role {role} may not ask this"))]
            };
            let answering = gate.within(ANSWER_WITHIN, request::answer(send, &replies));
            answering.await.unwrap_or(Err(LinkError::Late(ANSWER_WITHIN)))
        }
        .await;
        if let Err(error) = answered {
            return gate.note_rubbish(connection, &error);
        }
        asked = match gate.within(IDLE_MAX, connection.accept_bi()).await {
            Some(Ok(asked)) => asked,
            Some(Err(_)) => return,
            None => return endpoint::close(connection, CloseCode::Done, "nothing more was asked"),
        };
    }
}

/// The driver's links to executors.
#[derive(Clone, Default)]
pub(crate) struct QuicLinks(Arc<Mutex<Lines>>);

#[derive(Default)]
struct Lines {
    open: BTreeMap<LinkId, (LinkSender<ToExecutor>, quinn::Connection)>,
    /// Those whom membership has admitted.
    bound: BTreeMap<Member, LinkId>,
}

impl QuicLinks {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes links and questions on `endpoint` until it is closed.
    pub(crate) async fn accept(self, endpoint: quinn::Endpoint, door: Door, lane: Lane) {
        while let Some(incoming) = endpoint.accept().await {
            let Some(entering) = door.gate.look(incoming) else { continue };
            let (links, door) = (self.clone(), door.clone());
            lane.spawn(async move {
                if let Some(connection) = door.gate.handshake(entering).await {
                    links.meet(connection, door).await;
                }
            });
        }
    }

    async fn meet(self, connection: quinn::Connection, door: Door) {
        let peer = match admit(&connection, &ALLOWED, &door.denied) {
            Ok(peer) => peer,
            Err(refused) => return door.gate.turn_away(&connection, &refused),
        };
        let Some(_room) = door.gate.hold(&connection, &peer) else { return };
        let (asking, config, role) = (connection.clone(), LinkConfig::default(), peer.role.kind());
        // What a peer opens first tells what it came for: a question, or a link.
        tokio::select! {
            biased;
            asked = asking.accept_bi() => if let Ok(asked) = asked {
                answer_all(&asking, asked, role, &door).await;
            },
            link = ControlLink::<ToExecutor, ToDriver>::open(connection, &door.hello, &config) => match link {
                Ok(link) if peer.may_be(link.peer.member.node) => self.listen(link, door).await,
                Ok(link) => {
                    let reason = format!("{} is not in the certificate of {peer}", link.peer.member.node);
                    door.gate.shut_out(link.receiver.connection(), "another's number", &reason);
                }
                Err(error) => door.gate.note_rubbish(&asking, &error),
            },
        }
    }

    async fn listen(
        self,
        mut link: ControlLink<ToExecutor, ToDriver>,
        Door { inbox, denied, gate, .. }: Door,
    ) {
        let (id, from) = (inbox.new_link(), link.peer.member);
        let connection = link.receiver.connection().clone();
        self.lines().open.insert(id, (link.sender.clone(), connection.clone()));
        // It may have been denied since the handshake.
        cut_if_denied(&connection, &denied);
        let error = loop {
            match link.receiver.recv().await {
                Ok(message) => inbox.deliver(id, from, message),
                Err(error) => break error,
            }
        };
        gate.note_rubbish(&connection, &error);
        self.forget(id);
        inbox.lost(id);
    }

    /// Cuts off those who are denied.
    pub(crate) fn cut(&self, denied: &DenyList) {
        for (_, connection) in self.lines().open.values() {
            cut_if_denied(connection, denied);
        }
    }

    fn forget(&self, link: LinkId) -> Option<quinn::Connection> {
        let mut lines = self.lines();
        lines.bound.retain(|_, bound| *bound != link);
        lines.open.remove(&link).map(|(_, connection)| connection)
    }

    fn send(&self, to: Member, message: ToExecutor) {
        let found = {
            let lines = self.lines();
            lines.bound.get(&to).and_then(|link| Some((*link, lines.open.get(link)?.0.clone())))
        };
        let Some((link, sender)) = found else { return };
        if holds_several_batches(&message) {
            meter::group_sent();
        }
        if let Err(error) = send_in_pages(&sender, message) {
            tracing::error!(executor = %to, %error, "an executor does not take its orders: it is cut off");
            Links::close(self, link, "orders cannot be delivered");
        }
    }
}

/// Whether the peer is denied; then it is cut off.
fn cut_if_denied(connection: &quinn::Connection, denied: &DenyList) -> bool {
    let peer = PeerName::of_connection(connection).ok();
    let Some(node) = peer.and_then(|peer| denied.denies(&peer.role)) else { return false };
    let reason = Refused::Denied(node).to_string();
    tracing::warn!(peer = %connection.remote_address(), reason, "a peer is cut off");
    endpoint::close(connection, CloseCode::Foreign, &reason);
    true
}

/// Whether these are the tasks of several batches.
fn holds_several_batches(message: &ToExecutor) -> bool {
    let ToExecutor::Group { orders } = message else { return false };
    let batch = |order: &ToExecutor| match order {
        ToExecutor::Run { facts, .. } => Some(facts.batch),
        _ => None,
    };
    let mut batches = orders.iter().filter_map(batch);
    batches.next().is_some_and(|first| batches.any(|other| other != first))
}

/// Sends an order; one that is too long for a frame, in several.
fn send_in_pages(sender: &LinkSender<ToExecutor>, message: ToExecutor) -> Result<(), String> {
    match sender.try_send(&message) {
        Err(error) if error.is_too_long() => {
            let pages = message.pages().map_err(|error| error.to_string())?;
            pages.iter().try_for_each(|page| sender.try_send(page)).map_err(|error| error.to_string())
        }
        sent => sent.map_err(|error| error.to_string()),
    }
}

impl TellExecutors for QuicLinks {
    fn tell(&self, to: Member, message: ToExecutor) {
        self.send(to, message);
    }
}

impl Links for QuicLinks {
    fn bind(&self, member: Member, link: LinkId) {
        let mut lines = self.lines();
        // It may be gone by now, and nobody would ever forget it.
        if lines.open.contains_key(&link) {
            lines.bound.insert(member, link);
        }
    }

    fn tell(&self, to: Member, message: ToExecutor) {
        self.send(to, message);
    }

    fn close(&self, link: LinkId, reason: &str) {
        if let Some(connection) = self.forget(link) {
            endpoint::close(&connection, CloseCode::Refused, reason);
        }
    }

    fn refuse(&self, link: LinkId, refusal: &Refusal) {
        let code = if refusal.is_final() { CloseCode::Foreign } else { CloseCode::Refused };
        if let Some(connection) = self.forget(link) {
            endpoint::close(&connection, code, &refusal.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemill_protocol::id::{Incarnation, NodeId};

    #[test]
    fn a_link_that_is_gone_already_is_not_bound() {
        let links = QuicLinks::default();
        let member = Member { node: NodeId(1), incarnation: Incarnation(1) };
        Links::bind(&links, member, LinkId(7));
        assert!(links.lines().bound.is_empty(), "nobody would ever take it out");
    }
}
