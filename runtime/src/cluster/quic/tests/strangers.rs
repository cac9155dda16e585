//! Peers that hold places and connections without use, and peers that were denied: each is bounded or cut off, and whoever
//! belongs here comes in meanwhile.

use super::*;
#[cfg(feature = "sim")]
use crate::cluster::quic::links::IDLE_MAX;
use crate::cluster::quic::{
    bulk::{Serves, serve_callers},
    gate::{CONNECTIONS_OF_ONE_MAX, CONNECTIONS_OF_PEOPLE_MAX, HANDSHAKES_MAX},
};
use std::net::UdpSocket;
use tidemill_protocol::{
    endpoint::request,
    message::{Reply, Request},
};

/// First datagrams of handshakes, each of another connection, caught by a port that does not answer.
async fn first_flights(world: &World, count: usize) -> Vec<Vec<u8>> {
    let from = control(world, &Role::node(NodeId(9)));
    let sink = UdpSocket::bind(loopback()).unwrap();
    sink.set_nonblocking(true).unwrap();
    let mut caught: Vec<Vec<u8>> = Vec::new();
    let mut bytes = vec![0; 2_048];
    while caught.len() < count {
        let _connecting = from.connect(sink.local_addr().unwrap(), &test_cluster().driver()).unwrap();
        loop {
            match sink.recv(&mut bytes) {
                // The farewells of those before are shorter, or have their connection's id.
                Ok(length)
                    if length >= 1_200 && caught.last().is_none_or(|last| last[6..14] != bytes[6..14]) =>
                {
                    caught.push(bytes[..length].to_vec());
                    break;
                }
                _ => tokio::task::yield_now().await,
            }
        }
    }
    caught
}

/// A driver's control endpoint that takes links and refuses questions; its links, and how many events membership has.
fn driver(world: &World) -> (Endpoint, QuicLinks, Roles, crate::cluster::driver::RoleInboxes) {
    driver_with(world, DenyList::none())
}

/// The same; who is on the list is denied.
fn driver_with(
    world: &World,
    denied: DenyList,
) -> (Endpoint, QuicLinks, Roles, crate::cluster::driver::RoleInboxes) {
    let (server, (roles, inboxes)) = (control(world, &Role::Driver), Roles::new(None));
    let inbox = Arc::new(DriverInbox::new(roles.clone()));
    let answers: Answers = Arc::new(|_| vec![Reply::Refused("not today".to_owned())]);
    let gate = Gate::new("control", world.clock.clone());
    let door = Door { hello: hello(0), inbox, answers, denied, gate };
    let links = QuicLinks::default();
    world.spawner.spawn(links.clone().accept(server.clone(), door, lane()));
    (server, links, roles, inboxes)
}

/// A node registers, as far as the link: what it says is heard.
async fn a_node_comes_in(world: &World, node: u16, address: SocketAddr, roles: &Roles) {
    let before = roles.node.depth();
    let connection = connect_control(world, node, address).await;
    let link =
        ControlLink::<ToDriver, ToExecutor>::open(connection, &hello(node), &LinkConfig::default()).await;
    link.unwrap().sender.send(&ToDriver::Alive { nonce: 1 }).await.unwrap();
    while roles.node.depth() == before {
        tokio::task::yield_now().await;
    }
}

#[test]
fn half_handshakes_are_bounded_and_a_node_comes_in_among_them() {
    measured(|world, scrape| async move {
        let flights = first_flights(&world, 1_000).await;
        let (server, _links, roles, _inboxes) = driver(&world);
        let address = server.local_addr().unwrap();
        // They hear nothing of what is answered, so no address is ever proven.
        let from: Vec<UdpSocket> =
            (66..76).map(|last| UdpSocket::bind(SocketAddr::from(([127, 0, 0, last], 0))).unwrap()).collect();
        let mut most = 0;
        for (number, flight) in flights.iter().enumerate() {
            from[number % from.len()].send_to(flight, address).unwrap();
            tokio::task::yield_now().await;
            most = most.max(server.open_connections());
            if number == flights.len() / 2 {
                a_node_comes_in(&world, 1, address, &roles).await;
            }
        }
        assert!((16..=HANDSHAKES_MAX).contains(&most), "{most} at once");
        assert!(counted(&scrape, "tidemill_handshakes_retried_total") > 500);
        a_node_comes_in(&world, 2, address, &roles).await;
    });
}

#[test]
fn one_machine_with_half_handshakes_takes_few_places() {
    measured(|world, scrape| async move {
        let flights = first_flights(&world, 100).await;
        let (server, _links, _roles, _inboxes) = driver(&world);
        let from = UdpSocket::bind(SocketAddr::from(([127, 0, 0, 66], 0))).unwrap();
        for flight in &flights {
            from.send_to(flight, server.local_addr().unwrap()).unwrap();
            tokio::task::yield_now().await;
        }
        // Another machine finds the other places free: it is let in without a Retry, which all but 16 of these have got.
        let _connection = connect_control(&world, 1, server.local_addr().unwrap()).await;
        assert_eq!(counted(&scrape, "tidemill_handshakes_retried_total"), 84);
        assert!(server.open_connections() <= 17, "{}", server.open_connections());
    });
}

#[test]
fn the_holder_of_one_certificate_has_a_bounded_number_of_connections() {
    measured(|world, _scrape| async move {
        let (server, _links, roles, _inboxes) = driver(&world);
        let address = server.local_addr().unwrap();
        for (role, most) in [
            (Role::node(NodeId(9)), CONNECTIONS_OF_ONE_MAX),
            (Role::Observer, CONNECTIONS_OF_PEOPLE_MAX),
            (Role::Operator, CONNECTIONS_OF_PEOPLE_MAX),
        ] {
            let holder = control(&world, &role);
            let connect =
                || async { endpoint::connect_to(&holder, address, &test_cluster().driver()).await.unwrap() };
            let mut held = Vec::new();
            for _ in 0..most {
                let connection = connect().await;
                request::ask(&connection, &Request::Status).await.unwrap();
                held.push(connection);
            }
            assert_eq!(closed_with(&connect().await).await, Some(CloseCode::Refused as u64), "{role:?}");
            a_node_comes_in(&world, 1, address, &roles).await;
            // Who goes makes room, as soon as the driver has heard of it.
            endpoint::close(&held[0], CloseCode::Done, "");
            while request::ask(&connect().await, &Request::Status).await.is_err() {
                tokio::task::yield_now().await;
            }
        }
    });
}

#[test]
fn a_denied_node_that_asks_already_gets_no_further_answer() {
    measured(|world, _scrape| async move {
        let denied = DenyList::none();
        let (server, _links, _roles, _inboxes) = driver_with(&world, denied.clone());
        let address = server.local_addr().unwrap();
        let [good, bad] =
            [connect_control(&world, 2, address).await, connect_control(&world, 3, address).await];
        let answer = [Reply::Refused("not today".to_owned())];
        for connection in [&good, &bad] {
            assert_eq!(request::ask(connection, &Request::Program).await.unwrap(), answer);
        }
        assert_eq!(denied.add([NodeId(3)]), [NodeId(3)]);
        request::ask(&bad, &Request::Program).await.unwrap_err();
        assert_eq!(closed_with(&bad).await, Some(CloseCode::Foreign as u64));
        assert_eq!(request::ask(&good, &Request::Program).await.unwrap(), answer);
    });
}

#[cfg(feature = "sim")]
#[test]
fn who_asks_nothing_more_for_a_minute_is_let_go() {
    use tidemill_protocol::world::sim::{self, SimConfig};
    let (code, after) = sim::run(1, SimConfig::default(), async |sim| {
        let (near, far) = ([10, 0, 0, 2].into(), [10, 0, 0, 1].into());
        let (here, there) = (sim.node(near), sim.node(far));
        let at = |world: &World, role: &Role, ip, seed| {
            let config = EndpointConfig::new(test_identity_of(role), Some(seed));
            endpoint::control_endpoint(&world.udp, SocketAddr::new(ip, 7_000), &config).unwrap()
        };
        let (roles, _inboxes) = Roles::new(None);
        let gate = Gate::new("control", there.clock.clone());
        let answers: Answers = Arc::new(|_| vec![Reply::Refused("not today".to_owned())]);
        let inbox = Arc::new(DriverInbox::new(roles));
        let door = Door { hello: hello(0), inbox, answers, denied: DenyList::none(), gate };
        let lane = Lane::World(there.spawner.clone());
        let serving = QuicLinks::default().accept(at(&there, &Role::Driver, far, 1), door, lane);
        there.spawner.spawn(serving);
        let observer = at(&here, &Role::Observer, near, 2);
        let driver = test_cluster().driver();
        let connection = endpoint::connect_to(&observer, SocketAddr::new(far, 7_000), &driver).await.unwrap();
        request::ask(&connection, &Request::Status).await.unwrap();
        // Who asks now and then stays.
        here.clock.sleep(IDLE_MAX - Duration::from_secs(1)).await;
        // From before the question: how long the answer is under way is not how long the end is.
        let began = here.clock.now();
        request::ask(&connection, &Request::Status).await.unwrap();
        (closed_with(&connection).await, here.clock.now().since(began))
    });
    assert_eq!(code, Some(CloseCode::Done as u64));
    assert!(after >= IDLE_MAX && after < IDLE_MAX + Duration::from_secs(1), "{after:?}");
}

#[test]
fn a_denied_machine_is_cut_off_and_refused_where_executors_are_served() {
    measured(|world, _scrape| async move {
        let (server, store) = (bulk_node(&world, 1), BlockStore::new(Budget::new(1 << 20)));
        let address = server.local_addr().unwrap();
        let (gate, callers) = (Gate::new("bulk", world.clock.clone()), Callers::default());
        let denied = DenyList::none();
        let codec: Arc<dyn PayloadCodec> = Arc::new(RawCodec);
        let parts = (gate, callers.clone(), denied.clone());
        world.spawner.spawn(serve_callers(server, Serves { store, codec, hears: None }, lane(), parts));
        let asks = async |connection: &Connection| bulk::fetch(connection, DataKey::Block(block(0))).await;
        let [good, bad] = [connect_bulk(&world, 2, address).await, connect_bulk(&world, 3, address).await];
        for connection in [&good, &bad] {
            assert_eq!(asks(connection).await.unwrap(), None);
        }
        assert_eq!(denied.add([NodeId(3), NodeId(7)]), [NodeId(3), NodeId(7)]);
        callers.cut(&denied);
        let again = connect_bulk(&world, 3, address).await;
        for connection in [bad, again] {
            let ConnectionError::ApplicationClosed(close) = connection.closed().await else {
                panic!("{:?}", connection.close_reason());
            };
            let said = (u64::from(close.error_code), String::from_utf8_lossy(&close.reason).into_owned());
            assert_eq!(said, (CloseCode::Foreign as u64, "node-3 was denied".to_owned()));
        }
        assert_eq!(asks(&good).await.unwrap(), None);
    });
}
