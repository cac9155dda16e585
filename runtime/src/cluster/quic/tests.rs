//! What peers with a valid certificate can do to a node that serves them, over real loopback UDP: rubbish is counted, its
//! sender is cut off, and its neighbour does not notice. And what crosses the wire is counted in bytes.

#[cfg(feature = "sim")]
mod crowd;
mod strangers;

use super::*;
use crate::cluster::{driver::Roles, inbox::DriverInbox, lane::Lane};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use quinn::{Connection, ConnectionError, Endpoint};
use std::time::Duration;
use tidemill_actors::{
    block_store::Budget,
    node::{LinkId, Links},
    scheduler::TellExecutors,
    seam::{Payload, PayloadError},
    supervision::{Actor, Context, Handler, Mailbox},
    transport::{BulkClient, FetchAnswer, Heard, StoreAnswer},
};
use tidemill_protocol::{
    endpoint::{bulk, test_cluster, test_identity_of},
    frame::encode_message,
    id::{BlockId, DataKey, DatasetId, Incarnation, NodeId, ReceiverId, ReceiverIndex, StreamId},
    identity::{DenyList, Role},
    message::Piece,
};

/// Bytes that stand for themselves.
#[derive(Debug)]
struct Raw(Vec<u8>);

impl Payload for Raw {
    fn rows(&self) -> u64 {
        1
    }
    fn heap_bytes(&self) -> u64 {
        self.0.len() as u64
    }
    fn dataset(&self) -> DatasetId {
        DatasetId(0)
    }
    fn encode(&self) -> Result<Vec<u8>, PayloadError> {
        Ok(self.0.clone())
    }
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

struct RawCodec;

impl PayloadCodec for RawCodec {
    fn decode(&self, _: DatasetId, bytes: &[u8]) -> Result<Arc<dyn Payload>, PayloadError> {
        Ok(Arc::new(Raw(bytes.to_vec())))
    }
}

/// Runs `body` on this thread alone, whose metrics it can read.
fn measured<F: Future<Output = ()>>(body: impl FnOnce(World, PrometheusHandle) -> F) {
    let recorder = PrometheusBuilder::new().build_recorder();
    let scrape = recorder.handle();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let world = World::real_on(runtime.handle().clone());
    let body = async {
        tokio::time::timeout(Duration::from_secs(30), body(world, scrape)).await.expect("done within 30 s");
    };
    metrics::with_local_recorder(&recorder, || runtime.block_on(body));
}

/// The value of a counter without labels; nothing was counted if it is not there.
fn counted(scrape: &PrometheusHandle, name: &str) -> u64 {
    let text = scrape.render();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse().unwrap())
}

fn refused(scrape: &PrometheusHandle) -> u64 {
    counted(scrape, "tidemill_frames_refused_total")
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// The driver, and a node, at the control endpoint.
fn control(world: &World, role: &Role) -> Endpoint {
    let config = EndpointConfig::new(test_identity_of(role), None);
    endpoint::control_endpoint(&world.udp, loopback(), &config).unwrap()
}

fn bulk_node(world: &World, node: u16) -> Endpoint {
    let config = EndpointConfig::new(test_identity_of(&Role::node(NodeId(node))), None);
    endpoint::bulk_endpoint(&world.udp, loopback(), &config).unwrap()
}

/// Node 2, which asks others.
fn bulk_client(world: &World) -> Bulk {
    Bulk { endpoint: bulk_node(world, 2), lane: lane(), cluster: test_cluster() }
}

fn lane() -> Lane {
    Lane::Runtime(Handle::current())
}

/// Node `node` connects to the bulk endpoint of node 1.
async fn connect_bulk(world: &World, node: u16, address: SocketAddr) -> Connection {
    endpoint::connect_to(&bulk_node(world, node), address, &test_cluster().node(NodeId(1))).await.unwrap()
}

/// Node `node` connects to the driver.
async fn connect_control(world: &World, node: u16, address: SocketAddr) -> Connection {
    let endpoint = control(world, &Role::node(NodeId(node)));
    endpoint::connect_to(&endpoint, address, &test_cluster().driver()).await.unwrap()
}

fn member(node: u16) -> Member {
    Member { node: NodeId(node), incarnation: Incarnation(1) }
}

fn hello(node: u16) -> Hello {
    Hello { member: member(node), epoch: Epoch(1), program: ProgramId(5) }
}

fn block(sequence: u64) -> BlockId {
    let receiver = ReceiverId { stream: StreamId(0), index: ReceiverIndex(0), incarnation: Incarnation(1) };
    BlockId { receiver, sequence }
}

/// The code with which the other side has closed.
async fn closed_with(connection: &Connection) -> Option<u64> {
    match connection.closed().await {
        ConnectionError::ApplicationClosed(close) => Some(u64::from(close.error_code)),
        _ => None,
    }
}

const RUBBISH: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

#[test]
fn rubbish_on_a_control_link_is_counted_and_cuts_off_its_sender_only() {
    measured(|world, scrape| async move {
        let (server, (roles, _inboxes)) = (control(&world, &Role::Driver), Roles::new(None));
        let (address, inbox) = (server.local_addr().unwrap(), Arc::new(DriverInbox::new(roles.clone())));
        let links = QuicLinks::default();
        let answers: Answers = Arc::new(|_| Vec::new());
        let gate = Gate::new("control", world.clock.clone());
        let door = Door { hello: hello(0), inbox, answers, denied: DenyList::none(), gate };
        world.spawner.spawn(links.clone().accept(server, door, lane()));
        let heard = async |count| {
            while roles.node.depth() < count {
                tokio::task::yield_now().await;
            }
        };
        let good = connect_control(&world, 1, address).await;
        let good = ControlLink::<ToDriver, ToExecutor>::open(good, &hello(1), &LinkConfig::default()).await;
        let mut good = good.unwrap();
        good.sender.send(&ToDriver::Alive { nonce: 1 }).await.unwrap();
        heard(1).await;
        assert_eq!(refused(&scrape), 0);

        let greeting = encode_message(&hello(2)).unwrap();
        for (count, bytes) in [(1, RUBBISH.to_vec()), (2, [&greeting[..], RUBBISH].concat())] {
            let bad = connect_control(&world, 2, address).await;
            bad.open_uni().await.unwrap().write_all(&bytes).await.unwrap();
            assert_eq!(closed_with(&bad).await, Some(CloseCode::Rubbish as u64));
            assert_eq!(refused(&scrape), count);
        }
        // The second one was a link already, whose end membership is told.
        heard(2).await;

        links.bind(member(1), LinkId(1));
        TellExecutors::tell(&links, member(1), ToExecutor::Ping { nonce: 7 });
        assert_eq!(good.receiver.recv().await.unwrap(), ToExecutor::Ping { nonce: 7 });
        good.sender.send(&ToDriver::Alive { nonce: 7 }).await.unwrap();
        heard(3).await;
        assert_eq!(refused(&scrape), 2);
    });
}

#[test]
fn rubbish_on_a_bulk_stream_is_counted_and_cuts_off_its_sender_only() {
    measured(|world, scrape| async move {
        let (server, store) = (bulk_node(&world, 1), BlockStore::new(Budget::new(1 << 20)));
        let address = server.local_addr().unwrap();
        world.spawner.spawn(serve(server, store, Arc::new(RawCodec), lane()));
        let good = connect_bulk(&world, 2, address).await;
        assert_eq!(bulk::fetch(&good, DataKey::Block(block(0))).await.unwrap(), None);
        assert_eq!(refused(&scrape), 0);

        let bad = connect_bulk(&world, 3, address).await;
        let (mut send, _recv) = bad.open_bi().await.unwrap();
        send.write_all(RUBBISH).await.unwrap();
        assert_eq!(closed_with(&bad).await, Some(CloseCode::Rubbish as u64));
        assert_eq!(refused(&scrape), 1);

        assert_eq!(bulk::fetch(&good, DataKey::Block(block(0))).await.unwrap(), None);
        assert_eq!(refused(&scrape), 1);
    });
}

/// Takes what a driver says.
struct Orders;

impl Actor for Orders {}

impl Handler<Order> for Orders {
    fn handle(&mut self, _: Order, _: &mut Context<Self>) {}
}

#[test]
fn who_was_let_in_is_cut_off_and_anybody_else_refused_for_now() {
    measured(|world, _| async move {
        for is_let_in in [false, true] {
            let (server, mailbox) = (control(&world, &Role::Driver), Mailbox::<Orders>::new());
            let address = server.local_addr().unwrap();
            let client = control(&world, &Role::node(NodeId(1)));
            let (_uplink, queued) = mpsc::channel(1);
            let named = (address, test_cluster().driver());
            let executor = talk(client, named, hello(1), queued, mailbox.address());
            let driver = async {
                let connection = server.accept().await.unwrap().await.unwrap();
                let (hello, config) = (hello(0), LinkConfig::default());
                let link = ControlLink::<ToExecutor, ToDriver>::open(connection.clone(), &hello, &config);
                let link = link.await.unwrap();
                if is_let_in {
                    link.sender.send(&ToExecutor::Welcome { epoch: Epoch(1) }).await.unwrap();
                    while mailbox.depth() == 0 {
                        tokio::task::yield_now().await;
                    }
                }
                connection.close(CloseCode::Refused.into(), b"another has its number");
            };
            let (ended, ()) = tokio::join!(executor, driver);
            let lost = ended.unwrap_err();
            let expected = match is_let_in {
                true => "the control link is lost: another has its number",
                false => "the driver refuses this executor for now: another has its number",
            };
            assert_eq!(lost.to_string(), expected);
        }
    });
}

#[test]
fn a_server_that_answers_rubbish_is_counted_by_its_client() {
    measured(|world, scrape| async move {
        let server = bulk_node(&world, 1);
        let address = server.local_addr().unwrap();
        world.spawner.spawn(async move {
            let connection = server.accept().await.unwrap().await.unwrap();
            let (mut send, _recv) = connection.accept_bi().await.unwrap();
            send.write_all(RUBBISH).await.unwrap();
            connection.closed().await;
        });
        let client = bulk_client(&world);
        let connection = client.connect(member(1), address).await.unwrap();
        client.fetch(connection.clone(), DataKey::Block(block(0)), None, Heard::default()).await.unwrap_err();
        assert!(!client.is_open(&connection));
        assert_eq!(refused(&scrape), 1);
    });
}

#[test]
fn what_is_stored_and_fetched_is_counted_in_bytes_on_both_sides() {
    measured(|world, scrape| async move {
        let (server, store) = (bulk_node(&world, 1), BlockStore::new(Budget::new(1 << 20)));
        let address = server.local_addr().unwrap();
        world.spawner.spawn(serve(server, store, Arc::new(RawCodec), lane()));
        let client = bulk_client(&world);
        let connection = client.connect(member(1), address).await.unwrap();
        let piece = |bytes| Piece { rows: 1, dataset: DatasetId(0), bytes: vec![7; bytes].into() };
        let crossed = |scrape: &PrometheusHandle| {
            let name = |direction: &str| format!("tidemill_transport_{direction}_bytes_total");
            (counted(scrape, &name("sent")), counted(scrape, &name("received")))
        };
        let pieces = vec![piece(3_000), piece(500)];
        let stored = client.store(connection.clone(), block(0), pieces.clone()).await.unwrap();
        assert_eq!(stored, StoreAnswer::Stored);
        // Client and server count into the same recorder: sent by one, received by the other.
        assert_eq!(crossed(&scrape), (3_500, 3_500));
        let fetched =
            client.fetch(connection.clone(), DataKey::Block(block(0)), None, Heard::default()).await.unwrap();
        assert_eq!(fetched, FetchAnswer::Found(pieces));
        assert_eq!(crossed(&scrape), (7_000, 7_000));
        let missing =
            client.fetch(connection, DataKey::Block(block(1)), None, Heard::default()).await.unwrap();
        assert_eq!(missing, FetchAnswer::NotHere);
        assert_eq!(crossed(&scrape), (7_000, 7_000), "what is not there weighs nothing");
    });
}

/// An incarnation that was declared dead, and does not know it, is not to leave blocks with those who live.
#[test]
fn a_dead_incarnation_stores_nothing_any_more_and_its_successor_does() {
    measured(|world, _| async move {
        let (server, store) = (bulk_node(&world, 1), BlockStore::new(Budget::new(1 << 20)));
        let (address, callers) = (server.local_addr().unwrap(), Callers::default());
        let gate = Gate::new("bulk", world.clock.clone());
        let serves = super::bulk::Serves { store: store.clone(), codec: Arc::new(RawCodec), hears: None };
        let parts = (gate, callers.clone(), DenyList::none());
        world.spawner.spawn(super::bulk::serve_callers(server, serves, lane(), parts));
        // Two incarnations of node 2, and node 3, which may be on the same machine.
        let (dead, successor, other) = (bulk_client(&world), bulk_client(&world), bulk_node(&world, 3));
        let info = |node, incarnation, endpoint: &Endpoint| PeerInfo {
            member: Member { node: NodeId(node), incarnation: Incarnation(incarnation) },
            bulk_address: endpoint.local_addr().ok(),
        };
        let third = info(3, 1, &other);
        callers.keep_only(&[info(2, 1, &dead.endpoint), third.clone()]);
        let name = test_cluster().node(NodeId(1));
        let bystander = endpoint::connect_to(&other, address, &name).await.unwrap();
        let connection = dead.connect(member(1), address).await.unwrap();
        let pieces = || vec![Piece { rows: 1, dataset: DatasetId(0), bytes: vec![7; 100].into() }];
        let stored = dead.store(connection.clone(), block(0), pieces()).await.unwrap();
        assert_eq!(stored, StoreAnswer::Stored);

        // It is declared dead, and later its successor is there: the driver's list says so.
        for list in [vec![third.clone()], vec![info(2, 2, &successor.endpoint), third]] {
            callers.keep_only(&list);
            assert_eq!(closed_with(&connection).await, Some(CloseCode::Refused as u64));
            // What it says over a new connection is not heard either.
            let again = dead.connect(member(1), address).await.unwrap();
            dead.store(again.clone(), block(1), pieces()).await.unwrap_err();
            assert_eq!(closed_with(&again).await, Some(CloseCode::Refused as u64));
        }
        assert!(store.get(DataKey::Block(block(1))).is_none());
        let connection = successor.connect(member(1), address).await.unwrap();
        let stored = successor.store(connection, block(2), pieces()).await.unwrap();
        assert_eq!(stored, StoreAnswer::Stored);
        assert_eq!(bulk::fetch(&bystander, DataKey::Block(block(2))).await.unwrap(), Some(pieces()));
    });
}
