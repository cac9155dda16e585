//! Bulk data over QUIC: what an executor serves to others, and how it asks them.

use super::{Gate, in_words};
use crate::cluster::lane::Lane;
use futures_util::future::BoxFuture;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tidemill_actors::{
    block_store::BlockStore,
    seam::PayloadCodec,
    supervision::panic::catch,
    transport::{
        BulkClient, BulkError, Ear, FetchAnswer, Heard, StoreAnswer, serve_fetch, serve_store, take_notice,
    },
};
use tidemill_protocol::{
    endpoint::{self, CloseCode, bulk},
    id::{BlockId, DataKey, Member, NodeId},
    identity::{ClusterName, DenyList, PeerName, Refused, RoleKind, admit},
    message::{Notice, PeerInfo, Piece},
    world::World,
};

/// Those who fetch from this executor, by connection; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Callers(Arc<Mutex<Called>>);

#[derive(Default)]
struct Called {
    next: u64,
    open: BTreeMap<u64, (PeerName, quinn::Connection)>,
    /// The executors that were on the driver's list, and where they serve: from there they fetch as well.
    listed: BTreeMap<Member, Option<SocketAddr>>,
    /// Where the last incarnation of each node was that is no more.
    gone: BTreeMap<NodeId, SocketAddr>,
}

impl Called {
    /// Why this caller is not let in, or not any more.
    fn is_of_the_dead(&self, connection: &quinn::Connection) -> bool {
        self.gone.values().any(|address| *address == connection.remote_address())
    }
}

const DEAD: &str = "it is not among the living executors";

impl Callers {
    fn called(&self) -> MutexGuard<'_, Called> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for a caller; none for an incarnation that is no more, which is cut off.
    fn enter(&self, peer: PeerName, connection: quinn::Connection) -> Option<u64> {
        let mut called = self.called();
        if called.is_of_the_dead(&connection) {
            endpoint::close(&connection, CloseCode::Refused, DEAD);
            return None;
        }
        called.next += 1;
        let number = called.next;
        called.open.insert(number, (peer, connection));
        Some(number)
    }

    fn leave(&self, number: u64) {
        self.called().open.remove(&number);
    }

    /// Cuts off those who were denied.
    pub(crate) fn cut(&self, denied: &DenyList) {
        for (peer, connection) in self.called().open.values() {
            if let Some(node) = denied.denies(&peer.role) {
                let reason = Refused::Denied(node).to_string();
                tracing::warn!(peer = %connection.remote_address(), reason, "a peer is cut off");
                endpoint::close(connection, CloseCode::Foreign, &reason);
            }
        }
    }

    /// Cuts off the incarnations that the driver has taken off its list, which come from where they served, and the machines that
    /// it has taken off with all their executors: they are dead, or have left. Who was never on it may be about to come.
    pub(crate) fn keep_only(&self, peers: &[PeerInfo]) {
        let now: BTreeMap<Member, Option<SocketAddr>> =
            peers.iter().map(|peer| (peer.member, peer.bulk_address)).collect();
        let is_listed = |node: &NodeId| now.keys().any(|member| member.node == *node);
        let mut called = self.called();
        let before = std::mem::take(&mut called.listed);
        let gone: Vec<(&Member, &Option<SocketAddr>)> =
            before.iter().filter(|(member, _)| !now.contains_key(member)).collect();
        called.gone.extend(gone.iter().filter_map(|(member, address)| Some((member.node, (**address)?))));
        // A port is used again at times.
        called.gone.retain(|_, address| now.values().all(|living| *living != Some(*address)));
        let off: BTreeSet<NodeId> = gone.iter().map(|(member, _)| member.node).collect();
        let living: Vec<NodeId> = now.keys().map(|member| member.node).collect();
        for (peer, connection) in called.open.values() {
            let is_gone = off.iter().any(|node| !is_listed(node) && peer.may_be(*node));
            let is_off = is_gone && !living.iter().any(|node| peer.may_be(*node));
            if is_off || called.is_of_the_dead(connection) {
                endpoint::close(connection, CloseCode::Refused, DEAD);
            }
        }
        called.listed = now;
    }
}

/// Serves blocks and outputs where nothing else runs: to whoever has a certificate of the cluster.
pub(crate) async fn serve(
    endpoint: quinn::Endpoint,
    store: BlockStore,
    codec: Arc<dyn PayloadCodec>,
    lane: Lane,
) {
    let gate = Gate::new("bulk", World::real().clock);
    serve_callers(
        endpoint,
        Serves { store, codec, hears: None },
        lane,
        (gate, Callers::default(), DenyList::none()),
    )
    .await;
}

/// What is served, and who hears notices.
#[derive(Clone)]
pub(super) struct Serves {
    pub(super) store: BlockStore,
    pub(super) codec: Arc<dyn PayloadCodec>,
    pub(super) hears: Option<(Member, Ear)>,
}

/// The same behind a gate, for callers whom the driver's lists may cut off.
pub(super) async fn serve_callers(
    endpoint: quinn::Endpoint,
    serves: Serves,
    lane: Lane,
    (gate, callers, denied): (Gate, Callers, DenyList),
) {
    while let Some(incoming) = endpoint.accept().await {
        let Some(entering) = gate.look(incoming) else { continue };
        let (serves, denied, gate, callers) = (serves.clone(), denied.clone(), gate.clone(), callers.clone());
        lane.spawn(async move {
            let Some(connection) = gate.handshake(entering).await else { return };
            match admit(&connection, &[RoleKind::Driver, RoleKind::Node], &denied) {
                Ok(peer) => {
                    let Some(_room) = gate.hold(&connection, &peer) else { return };
                    let served = Arc::new(Served { serves, peer: peer.clone() });
                    let Some(number) = callers.enter(peer, connection.clone()) else { return };
                    // It may have been denied since its handshake.
                    callers.cut(&denied);
                    let error = bulk::serve_bulk(connection.clone(), served).await;
                    gate.note_rubbish(&connection, &error);
                    callers.leave(number);
                }
                Err(refused) => gate.turn_away(&connection, &refused),
            }
        });
    }
}

/// Blocks and outputs on their way to other nodes, as they are encoded.
fn count_sent(pieces: &[Piece]) {
    metrics::counter!("tidemill_transport_sent_bytes_total").increment(encoded(pieces));
}

/// The same from other nodes.
fn count_received(pieces: &[Piece]) {
    metrics::counter!("tidemill_transport_received_bytes_total").increment(encoded(pieces));
}

fn encoded(pieces: &[Piece]) -> u64 {
    pieces.iter().map(|piece| piece.bytes.len() as u64).sum()
}

/// What one peer is served.
struct Served {
    serves: Serves,
    peer: PeerName,
}

impl bulk::BulkHandler for Served {
    fn fetch(&self, key: DataKey, credit: Option<u64>) -> BoxFuture<'_, (bulk::FetchOutcome, bulk::Kept)> {
        Box::pin(async move {
            let (answer, held) = serve_fetch(&self.serves.store, key, credit).await.unwrap_or_else(|error| {
                tracing::error!(%key, %error, "cannot be sent");
                (FetchAnswer::Unsendable(error.to_string()), None)
            });
            let outcome = match answer {
                FetchAnswer::Found(pieces) => {
                    count_sent(&pieces);
                    bulk::FetchOutcome::Found(pieces)
                }
                FetchAnswer::NotHere => bulk::FetchOutcome::NotHere,
                FetchAnswer::Needs(bytes) => bulk::FetchOutcome::Needs(bytes),
                FetchAnswer::Unsendable(reason) => bulk::FetchOutcome::Unsendable(reason),
            };
            (outcome, Box::new(held) as bulk::Kept)
        })
    }

    fn make_room(&self, _block: BlockId, bytes: u64) -> Option<bulk::Kept> {
        Some(Box::new(self.serves.store.reserve_copy(bytes).ok()?))
    }

    fn store(
        &self,
        block: BlockId,
        pieces: Vec<Piece>,
        room: Option<bulk::Kept>,
    ) -> BoxFuture<'_, bulk::StoreOutcome> {
        Box::pin(async move {
            count_received(&pieces);
            let Serves { store, codec, .. } = &self.serves;
            // Reading runs the records' own code: a panic must not cut off everything else that this peer asks for.
            let reason = match catch(|| serve_store(store, &**codec, block, pieces, room)) {
                Ok(Ok(StoreAnswer::Stored)) => return bulk::StoreOutcome::Stored,
                Ok(Ok(StoreAnswer::Full)) => return bulk::StoreOutcome::Full,
                Ok(Err(error)) => error.to_string(),
                Err(panic) => format!("its codec panicked: {panic}"),
            };
            tracing::error!(%block, reason, "a copy cannot be read");
            bulk::StoreOutcome::Full
        })
    }

    fn notice(&self, notice: Notice) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            let Serves { store, codec, hears } = &self.serves;
            let heard =
                hears.as_ref().filter(|(me, _)| notice.to == *me && self.peer.may_be(notice.from.node));
            let Some((_, ear)) = heard else { return false };
            notice.brought.iter().for_each(|output| count_received(&output.pieces));
            ear(take_notice(store, &**codec, notice))
        })
    }
}

/// The client's side of bulk connections.
pub(crate) struct Bulk {
    pub(crate) endpoint: quinn::Endpoint,
    pub(crate) lane: Lane,
    pub(crate) cluster: ClusterName,
}

impl BulkClient for Bulk {
    type Connection = quinn::Connection;

    fn connect(
        &self,
        peer: Member,
        address: SocketAddr,
    ) -> BoxFuture<'static, Result<quinn::Connection, BulkError>> {
        let (endpoint, lane, name) = (self.endpoint.clone(), self.lane.clone(), self.cluster.node(peer.node));
        Box::pin(async move {
            // A connection is driven by the runtime that asks for it.
            let connection =
                lane.run(async move { endpoint::connect_to(&endpoint, address, &name).await }).await;
            let connection = connection.ok_or_else(|| BulkError("this process ends".to_owned()))?;
            connection.map_err(|e| BulkError(e.to_string()))
        })
    }

    fn is_open(&self, connection: &quinn::Connection) -> bool {
        connection.close_reason().is_none()
    }

    fn fetch(
        &self,
        connection: quinn::Connection,
        key: DataKey,
        credit: Option<u64>,
        heard: Heard,
    ) -> BoxFuture<'static, Result<FetchAnswer, BulkError>> {
        Box::pin(async move {
            match bulk::fetch_heard(&connection, key, credit, || heard.tell()).await {
                Ok(bulk::FetchOutcome::Found(pieces)) => {
                    count_received(&pieces);
                    Ok(FetchAnswer::Found(pieces))
                }
                Ok(bulk::FetchOutcome::NotHere) => Ok(FetchAnswer::NotHere),
                Ok(bulk::FetchOutcome::Needs(bytes)) => Ok(FetchAnswer::Needs(bytes)),
                Ok(bulk::FetchOutcome::Unsendable(reason)) => Ok(FetchAnswer::Unsendable(reason)),
                Err(error) => Err(BulkError(in_words(&error))),
            }
        })
    }

    fn store(
        &self,
        connection: quinn::Connection,
        block: BlockId,
        pieces: Vec<Piece>,
    ) -> BoxFuture<'static, Result<StoreAnswer, BulkError>> {
        Box::pin(async move {
            count_sent(&pieces);
            match bulk::store(&connection, block, pieces).await {
                Ok(bulk::StoreOutcome::Stored) => Ok(StoreAnswer::Stored),
                Ok(bulk::StoreOutcome::Full) => Ok(StoreAnswer::Full),
                Err(error) => Err(BulkError(in_words(&error))),
            }
        })
    }

    fn notify(
        &self,
        connection: quinn::Connection,
        notice: Notice,
    ) -> BoxFuture<'static, Result<bool, BulkError>> {
        Box::pin(async move {
            notice.brought.iter().for_each(|output| count_sent(&output.pieces));
            bulk::notify(&connection, notice).await.map_err(|error| BulkError(in_words(&error)))
        })
    }
}
