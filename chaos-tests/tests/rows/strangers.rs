//! Rows 56 and 60: garbage and floods at every port, and peers with a certificate that may not come there.

use crate::numbers::{Seen, numbers, remainders, slow_tasks};
use quinn::{ConnectionError, udp::Transmit};
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};
use tidemill::{
    ClusterEvent,
    cluster::{
        Member,
        sim::{NodeId, SimBuilder, SimCluster},
    },
};
use tidemill_protocol::{
    endpoint::{self, CloseCode, ConnectError, ControlLink, EndpointConfig, Identity, Mtu, link::LinkConfig},
    id::{Epoch, Incarnation, ProgramId},
    identity::Role,
    message::{Hello, ToDriver, ToExecutor},
    world::{SeededRng, World},
};

pub const SECOND: Duration = Duration::from_secs(1);
/// A multiple of 6.
const NUMBERS: u64 = 9_000;
/// Where a simulated driver listens.
pub const CONTROL_PORT: u16 = 7_000;
/// Where the network begins to choose ports: a driver's bulk endpoint, an executor's two, in the order in which they are bound.
pub const FIRST_PORT: u16 = 49_152;
/// A machine of the cluster that runs no executor.
pub const STRANGER: NodeId = NodeId(9);

/// Runs the count of remainders while `strike` does what it does; gives what was seen.
pub fn counted(builder: SimBuilder, strike: impl AsyncFnOnce(&mut SimCluster)) -> Seen {
    let seen = Seen::default();
    let (into, watched) = (seen.clone(), seen.clone());
    let pipeline = move |context: &tidemill::StreamContext| {
        into.fold(&numbers(context, NUMBERS).map(|number| (number % 10, 1)));
        Ok(())
    };
    let outcome = builder.run(pipeline, async |cluster| {
        watched.listen(cluster);
        strike(cluster).await;
        cluster.wait_until_ended(120 * SECOND).await
    });
    assert_eq!(outcome.expect("the cluster starts"), Some(Ok(())));
    assert_eq!(seen.totals(), remainders(NUMBERS));
    assert_eq!(seen.count(|event| matches!(event, ClusterEvent::ExecutorDown(_))), 0, "nobody noticed");
    assert_eq!(seen.lost_tasks(), 0);
    seen
}

/// An endpoint on a host of its own.
pub fn endpoint_of(cluster: &SimCluster, host: u8, identity: Identity) -> quinn::Endpoint {
    let mut config = EndpointConfig::new(identity, Some(u64::from(host)));
    config.control.mtu = Mtu::Smallest;
    let World { udp, .. } = cluster.host(host);
    endpoint::control_endpoint(&udp, SocketAddr::new(cluster.host_ip(host), 0), &config)
        .expect("a host of its own")
}

#[test]
fn row_56_garbage_at_every_port_and_a_flood_of_first_packets_cost_the_job_nothing() {
    const GARBAGE_PER_PORT: u64 = 500;
    const FLOOD: usize = 1_000;
    let late = NodeId(3);
    let seen = counted(slow_tasks(56).absent(late), async |cluster| {
        cluster.sleep(SECOND).await;
        let driver = cluster.ip(NodeId::DRIVER);
        let mut ports = vec![SocketAddr::new(driver, CONTROL_PORT), SocketAddr::new(driver, FIRST_PORT)];
        for node in [NodeId(1), NodeId(2)] {
            ports.extend([0, 1].map(|more| SocketAddr::new(cluster.ip(node), FIRST_PORT + more)));
        }
        let before = cluster.net().counts();
        let socket = cluster.host(5).udp.bind(SocketAddr::new(cluster.host_ip(5), 0)).expect("free");
        let mut rng = SeededRng::new(56);
        for number in 0..GARBAGE_PER_PORT {
            for port in &ports {
                let contents = garbage(&mut rng, number);
                let (destination, contents) = (*port, &contents[..]);
                let datagram =
                    Transmit { destination, contents, ecn: None, segment_size: None, src_ip: None };
                socket.try_send(&datagram).expect("a simulated socket takes all");
            }
            cluster.sleep(Duration::from_millis(1)).await;
        }
        cluster.sleep(Duration::from_millis(10)).await;
        // Every port is somebody's.
        let after = cluster.net().counts();
        assert!(after.delivered - before.delivered >= GARBAGE_PER_PORT * ports.len() as u64);
        assert_eq!((after.unbound, after.overflowed), (before.unbound, before.overflowed));

        // Whoever never hears the answer is as good as one with an invented address.
        let flooding = cluster.host_ip(6);
        cluster.net().cut(driver, flooding);
        let flood = endpoint_of(cluster, 6, endpoint::test_identity_of(&Role::node(STRANGER)));
        let name = endpoint::test_cluster().driver();
        let mut connecting = Vec::new();
        for number in 0..FLOOD {
            connecting.push(flood.connect(ports[0], &name).expect("an address"));
            if number == FLOOD / 4 {
                assert!(cluster.revive(late), "it was not there");
            }
            cluster.sleep(Duration::from_millis(1)).await;
        }
        cluster.sleep(SECOND).await;
        let answers = cluster.net().swallowed(driver, flooding);
        println!("{answers} answers to {FLOOD} first packets and their repetitions");
        assert!(answers > 0, "nothing was answered");
        let (_, high_water) = cluster.store_bytes(late).expect("it is there now");
        assert!(high_water > 0, "it came in the midst of the flood, and was given tasks");
    });
    assert_eq!(seen.count(|event| matches!(event, ClusterEvent::ExecutorUp(_))), 3);
}

/// Short and long headers, of QUIC's version 1 and of none.
fn garbage(rng: &mut SeededRng, number: u64) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..rng.range(1, 1_400)).map(|_| rng.next_u64().to_le_bytes()[0]).collect();
    if number.is_multiple_of(2) && bytes.len() > 5 {
        bytes[..5].copy_from_slice(&[0xc3, 0, 0, 0, 1]);
    }
    bytes
}

/// Somebody who is not to come in.
struct Intruder {
    endpoint: quinn::Endpoint,
    at: SocketAddr,
    /// The name that the server is expected to have.
    expects: String,
    /// Whom it says that it is, if it gets to speak.
    says: Option<u16>,
    /// Why it is refused.
    because: &'static str,
}

impl Intruder {
    /// Tries once, and gives why it was refused.
    async fn tries(&self) -> String {
        let attempt = async {
            match endpoint::connect_to(&self.endpoint, self.at, &self.expects).await {
                Err(ConnectError::Connection(error)) => error,
                Err(ConnectError::Start(error)) => panic!("{error}"),
                Ok(connection) => {
                    if let Some(node) = self.says {
                        let member = Member { node: NodeId(node), incarnation: Incarnation(77) };
                        let hello = Hello { member, epoch: Epoch(0), program: ProgramId(0) };
                        let config = LinkConfig::default();
                        // Whether it is closed before or after the greeting is all the same.
                        let _link =
                            ControlLink::<ToDriver, ToExecutor>::open(connection.clone(), &hello, &config)
                                .await;
                    }
                    connection.closed().await
                }
            }
        };
        match tokio::time::timeout(10 * SECOND, attempt).await {
            Ok(error) => in_words(&error),
            Err(_) => "it was let in".to_owned(),
        }
    }
}

fn in_words(error: &ConnectionError) -> String {
    // RFC 9001, 4.8: 0x100 and the alert of TLS. The foreign authority has the name of ours, so it is its signature that is wrong.
    match error {
        ConnectionError::ApplicationClosed(close) if close.error_code == CloseCode::Foreign.into() => {
            String::from_utf8_lossy(&close.reason).into_owned()
        }
        ConnectionError::ConnectionClosed(close) if u64::from(close.error_code) == 0x133 => {
            "another authority".to_owned()
        }
        ConnectionError::TransportError(error) if (0x100..0x200).contains(&u64::from(error.code)) => {
            "the server is another".to_owned()
        }
        other => format!("{other:?}"),
    }
}

/// A certificate of another authority, whose holder trusts ours.
fn foreigner(role: &Role) -> Identity {
    let (own, _) = endpoint::foreign_test_identity_of(role).to_pem();
    let (_, ours) = endpoint::test_identity_of(role).to_pem();
    Identity::from_pem(own.as_bytes(), own.as_bytes(), ours.as_bytes()).expect("they were pinned")
}

#[test]
fn row_60_another_authority_role_or_number_is_refused_at_every_port_and_the_job_does_not_notice() {
    const TIMES: u64 = 25;
    counted(slow_tasks(60), async |cluster| {
        cluster.sleep(SECOND).await;
        let driver = SocketAddr::new(cluster.ip(NodeId::DRIVER), CONTROL_PORT);
        let bulk = SocketAddr::new(cluster.ip(NodeId(1)), FIRST_PORT + 1);
        let (to_driver, to_node) = {
            let names = endpoint::test_cluster();
            (names.driver(), names.node(NodeId(1)))
        };
        let stranger = Role::node(STRANGER);
        let foreign = || endpoint_of(cluster, 5, foreigner(&stranger));
        let observer = || endpoint_of(cluster, 6, endpoint::test_identity_of(&Role::Observer));
        let node = || endpoint_of(cluster, 7, endpoint::test_identity_of(&stranger));
        let intruder = |endpoint, (at, expects): (_, &String), says, because| Intruder {
            endpoint,
            at,
            expects: expects.clone(),
            says,
            because,
        };
        let (control, executor) = ((driver, &to_driver), (bulk, &to_node));
        let intruders = [
            intruder(foreign(), control, None, "another authority"),
            intruder(foreign(), executor, None, "another authority"),
            intruder(observer(), executor, None, "the role observer is not among those that are"),
            intruder(observer(), control, Some(1), "node-1 is not in the certificate of"),
            intruder(node(), control, Some(1), "node-1 is not in the certificate of"),
            // An executor that poses as the driver is found out by whoever looks for the driver.
            intruder(node(), (bulk, &to_driver), None, "the server is another"),
        ];
        let mut refused = BTreeMap::new();
        for _ in 0..TIMES {
            for (number, intruder) in intruders.iter().enumerate() {
                let why = intruder.tries().await;
                assert!(why.contains(intruder.because), "intruder {number}: {why}");
                *refused.entry(number).or_insert(0) += 1;
            }
        }
        assert_eq!(refused, (0..6).map(|number| (number, TIMES)).collect(), "all of them struck");
    });
}
