//! Rows 61 and 62: a simulated cluster whose certificates are those of a real authority: they come to their end and are rotated under
//! load, and one of its machines gets its certificate by joining.

use crate::numbers::{Seen, numbers, remainders, slow_tasks};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::PathBuf,
    rc::Rc,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use tidemill::{
    ClusterEvent,
    cluster::sim::{NodeId, SimBuilder, SimCluster},
};
use tidemill_protocol::{
    endpoint::{
        self, ConnectError, EndpointConfig, Identity,
        join::{JoinDesk, JoinError, JoinLimits, Joined, join, join_endpoint, serve_join},
    },
    identity::{Authority, DenyList, KeyPair, NODE_LIFETIME, Token},
    message::{JoinRefusal, Secret},
    world::sim::SimConfig,
};

const SECOND: Duration = Duration::from_secs(1);
/// A multiple of 6, and 60 batches.
const NUMBERS: u64 = 18_000;
/// Where a simulated driver listens.
const CONTROL_PORT: u16 = 7_000;
const JOIN_PORT: u16 = 7_001;

/// A cluster's authority in a folder that ends with it, and the identities that it has given.
struct Town {
    folder: PathBuf,
    authority: Authority,
    identities: Rc<RefCell<BTreeMap<NodeId, Identity>>>,
}

impl Drop for Town {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Town {
    /// A driver and `nodes` executors, whose first certificates are valid for `life` from the beginning of the simulated world.
    fn found(nodes: u16, life: Duration) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("tidemill-rows-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        let begin = SimConfig::default().wall_epoch;
        let authority = Authority::create(&folder, begin).expect("a new folder");
        let driver = authority.renew_driver(begin, life).expect("the folder can be written");
        let mut identities = BTreeMap::from([(NodeId::DRIVER, driver)]);
        for number in 1..=nodes {
            let (numbers, identity) = authority.node_identity(begin, 1, life).expect("numbers are left");
            assert_eq!(numbers, [NodeId(number)]);
            identities.insert(NodeId(number), identity);
        }
        Town { folder, authority, identities: Rc::new(RefCell::new(identities)) }
    }

    fn identity(&self, node: NodeId) -> Identity {
        self.identities.borrow()[&node].clone()
    }

    /// Executors that show these certificates.
    fn dress(&self, builder: SimBuilder) -> SimBuilder {
        let identities = self.identities.clone();
        builder.identities(self.authority.cluster().clone(), move |node| identities.borrow()[&node].clone())
    }

    /// Gives everybody a new certificate, without a restart.
    fn rotate(&self, now: Duration) {
        for (node, identity) in self.identities.borrow().iter() {
            let new = if *node == NodeId::DRIVER {
                self.authority.renew_driver(now, NODE_LIFETIME).expect("the folder can be written")
            } else {
                let key = KeyPair::generate().expect("the system gives chance");
                let granted =
                    self.authority.grant(now, vec![*node], key.public(), NODE_LIFETIME).expect("ours");
                let authority = self.authority.certificate().to_vec();
                Identity::from_der(granted.chain, key.to_pkcs8(), authority).expect("they belong together")
            };
            identity.replace(&new).expect("it has the same names");
        }
    }
}

/// Runs the count of remainders while `strike` does what it does; gives what was seen.
fn counted<T>(builder: SimBuilder, strike: impl AsyncFnOnce(&mut SimCluster) -> T) -> (Seen, T) {
    let seen = Seen::default();
    let (into, watched) = (seen.clone(), seen.clone());
    let pipeline = move |context: &tidemill::StreamContext| {
        into.fold(&numbers(context, NUMBERS).map(|number| (number % 10, 1)));
        Ok(())
    };
    let outcome = builder.run(pipeline, async |cluster| {
        watched.listen(cluster);
        let struck = strike(cluster).await;
        (cluster.wait_until_ended(120 * SECOND).await, struck)
    });
    let (outcome, struck) = outcome.expect("the cluster starts");
    assert_eq!(outcome, Some(Ok(())));
    assert_eq!(seen.totals(), remainders(NUMBERS));
    (seen, struck)
}

fn ups(seen: &Seen) -> usize {
    seen.count(|event| matches!(event, ClusterEvent::ExecutorUp(_)))
}

fn downs(seen: &Seen) -> usize {
    seen.count(|event| matches!(event, ClusterEvent::ExecutorDown(_)))
}

/// Whether the driver lets in a machine that shows `identity`; if not, why.
async fn is_let_in(cluster: &SimCluster, host: u8, town: &Town, identity: &Identity) -> Result<(), String> {
    let world = cluster.host(host);
    let config = EndpointConfig::new(identity.clone().with_clock(world.clock.clone()), Some(1));
    let own = SocketAddr::new(cluster.host_ip(host), 0);
    let endpoint = endpoint::control_endpoint(&world.udp, own, &config).expect("a host of its own");
    let driver = SocketAddr::new(cluster.ip(NodeId::DRIVER), CONTROL_PORT);
    let connection = match endpoint::connect_to(&endpoint, driver, &town.authority.cluster().driver()).await {
        Ok(connection) => connection,
        Err(ConnectError::Connection(error)) => return Err(in_words(&error)),
        Err(other) => panic!("{other}"),
    };
    // With TLS 1.3 the server judges after that. Somebody who says nothing is left alone for a while.
    match tokio::time::timeout(SECOND, connection.closed()).await {
        Err(_) => Ok(()),
        Ok(error) => Err(in_words(&error)),
    }
}

/// Whose certificate has expired, if one has.
fn in_words(error: &quinn::ConnectionError) -> String {
    // RFC 9001, 4.8: 0x100 and certificate_expired.
    match error {
        quinn::ConnectionError::ConnectionClosed(close) if u64::from(close.error_code) == 0x12d => {
            "ours has expired".to_owned()
        }
        quinn::ConnectionError::TransportError(error) if u64::from(error.code) == 0x12d => {
            "the driver's has expired".to_owned()
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn row_61_certificates_that_are_rotated_under_load_cost_no_batch_and_new_handshakes_show_the_new_ones() {
    let life = 5 * SECOND;
    for is_rotated in [true, false] {
        let town = Town::found(3, life);
        let begin = SimConfig::default().wall_epoch;
        let (_, bystander) = town.authority.node_identity(begin, 1, life).expect("numbers are left");
        let (seen, witnessed) = counted(town.dress(slow_tasks(61)), async |cluster| {
            cluster.sleep(2 * SECOND).await;
            let before = is_let_in(cluster, 5, &town, &bystander).await;
            if is_rotated {
                town.rotate(cluster.host(5).clock.wall());
            }
            cluster.sleep(4 * SECOND).await;
            // All first certificates have come to their end, and the links that were made with them go on.
            assert_eq!(cluster.living().len(), 3);
            let after = is_let_in(cluster, 6, &town, &bystander).await;
            assert!(cluster.restart(NodeId(2)));
            (before, after)
        });
        let whose = if is_rotated { "ours has expired" } else { "the driver's has expired" };
        assert_eq!(witnessed, (Ok(()), Err(whose.to_owned())), "rotated: {is_rotated}");
        // The restart needs new handshakes, in which both sides show what they have: an old one is refused.
        assert_eq!((ups(&seen), downs(&seen)), (3 + usize::from(is_rotated), 1), "rotated: {is_rotated}");
    }
}

fn refused(result: Result<Joined, JoinError>) -> JoinRefusal {
    match result {
        Err(JoinError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

/// The driver's join endpoint, on the driver's machine; and one of an executor that poses as the driver.
fn serve_joiners(cluster: &SimCluster, town: &Town, host: NodeId) -> (SocketAddr, JoinDesk) {
    let (world, ip) = (cluster.world().node(cluster.ip(host)), cluster.ip(host));
    let identity = town.identity(host).with_clock(world.clock.clone());
    let address = SocketAddr::new(ip, JOIN_PORT);
    let endpoint = join_endpoint(&world.udp, address, &identity, Some(62)).expect("the port is free");
    let desk = JoinDesk::new(town.authority.clone(), DenyList::none(), NODE_LIFETIME, world.clone());
    world.spawner.spawn(serve_join(endpoint, desk.clone(), JoinLimits::default()));
    (address, desk)
}

/// A machine tries to join.
async fn tries(cluster: &SimCluster, host: u8, at: SocketAddr, token: &Token) -> Result<Joined, JoinError> {
    let own = SocketAddr::new(cluster.host_ip(host), 0);
    join(&cluster.host(host), own, at, token, None, 30 * SECOND).await
}

#[test]
fn row_62_tokens_that_are_used_expired_or_foreign_are_refused_and_who_joined_with_a_good_one_works() {
    let late = NodeId(3);
    let (town, other) = (Town::found(2, NODE_LIFETIME), Town::found(0, NODE_LIFETIME));
    let (seen, ()) = counted(town.dress(slow_tasks(62)).absent(late), async |cluster| {
        cluster.sleep(SECOND).await;
        let (driver, desk) = serve_joiners(cluster, &town, NodeId::DRIVER);
        let (impostor, of_impostor) = serve_joiners(cluster, &town, NodeId(1));
        let wall = || cluster.host(5).clock.wall();
        let token =
            |town: &Town, lifetime| town.authority.token(wall(), lifetime, 1).expect("it can be kept");
        let (short, foreign, good) =
            (token(&town, SECOND), token(&other, 60 * SECOND), token(&town, 60 * SECOND));
        cluster.sleep(2 * SECOND).await;
        assert_eq!(refused(tries(cluster, 5, driver, &short).await), JoinRefusal::Expired);
        let invented = Token { authority: good.authority, secret: Secret([7; 32]) };
        assert_eq!(refused(tries(cluster, 6, driver, &invented).await), JoinRefusal::Unknown);
        // Nobody is shown a secret before he has proven to be the driver of the token's cluster.
        let result = tries(cluster, 7, driver, &foreign).await;
        assert!(matches!(result, Err(JoinError::WrongAuthority(at)) if at == driver), "{result:?}");
        let result = tries(cluster, 8, impostor, &good).await;
        assert!(matches!(result, Err(JoinError::NotTheDriver(at)) if at == impostor), "{result:?}");
        let joined = tries(cluster, 9, driver, &good).await.expect("nobody has seen its secret");
        assert_eq!(joined.nodes, [late]);
        assert_eq!(refused(tries(cluster, 10, driver, &good).await), JoinRefusal::Used);
        let counted = |desk: &JoinDesk| {
            (desk.counts.granted.load(Ordering::Relaxed), desk.counts.refused.load(Ordering::Relaxed))
        };
        assert_eq!((counted(&desk), counted(&of_impostor)), ((1, 3), (0, 0)));
        town.identities.borrow_mut().insert(late, joined.identity);
        assert!(cluster.revive(late), "it was not there");
        cluster.sleep(2 * SECOND).await;
        let (_, high_water) = cluster.store_bytes(late).expect("it is there now");
        assert!(high_water > 0, "it was given no task");
    });
    assert_eq!((ups(&seen), downs(&seen), seen.lost_tasks()), (3, 0, 0));
}
