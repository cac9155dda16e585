//! Rows 56 to 59: peers that want too much, or say what nobody can take.

use crate::numbers::{Seen, numbers, remainders, slow_tasks};
use crate::strangers::{CONTROL_PORT, FIRST_PORT, SECOND, STRANGER, counted, endpoint_of};
use quinn::{
    Connection, ConnectionError,
    crypto::rustls::QuicClientConfig,
    rustls::{
        self, ClientConfig, DigitallySignedStruct, NamedGroup, SignatureScheme,
        client::{
            ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
            danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        },
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    },
};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tidemill::{
    ClusterEvent,
    cluster::sim::{Link, NodeId, SimCluster},
};
use tidemill_protocol::{
    endpoint::{self, CloseCode, EndpointConfig, Identity, Mtu, Transport, bulk::REQUEST_BYTES_MAX},
    frame::{FrameKind, encode, encode_message, header},
    id::{Epoch, Incarnation, Member, ProgramId},
    identity::Role,
    message::Hello,
    world::World,
};

/// A multiple of 6.
const NUMBERS: u64 = 9_000;
const HANDSHAKES: u64 = 500;

fn config(seed: u64) -> EndpointConfig {
    let mut config = EndpointConfig::new(endpoint::test_identity_of(&Role::node(STRANGER)), Some(seed));
    config.control.mtu = Mtu::Smallest;
    config
}

#[test]
fn row_56_five_hundred_handshakes_at_once_that_say_nothing_are_bounded_and_the_job_does_not_notice() {
    let transport = Transport::control();
    assert!(transport.incoming_max as u64 * transport.incoming_bytes_max <= 4 << 20, "what they may hold");
    let seen = Seen::default();
    let (into, watched) = (seen.clone(), seen.clone());
    let pipeline = move |context: &tidemill::StreamContext| {
        into.fold(&numbers(context, NUMBERS).map(|number| (number % 10, 1)));
        Ok(())
    };
    let (open, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let tallies = (open.clone(), refused.clone());
    let outcome = slow_tasks(56).run(pipeline, async |cluster| {
        watched.listen(cluster);
        cluster.sleep(Duration::from_millis(1_000)).await;
        let (host, driver) = (cluster.host(5), SocketAddr::new(cluster.ip(NodeId::DRIVER), CONTROL_PORT));
        storm(&host, SocketAddr::new(cluster.host_ip(5), 0), driver, tallies);
        let outcome = cluster.wait_until_ended(Duration::from_secs(120)).await;
        // What still waits for an answer gives up with its connection's idle timeout.
        cluster.sleep(Duration::from_secs(10)).await;
        outcome
    });
    assert_eq!(outcome.expect("the cluster starts"), Some(Ok(())));
    assert_eq!(seen.totals(), remainders(NUMBERS));
    assert_eq!(seen.count(|event| matches!(event, ClusterEvent::ExecutorDown(_))), 0);
    let (open, refused) = (open.load(Ordering::Relaxed), refused.load(Ordering::Relaxed));
    println!("{open} handshakes came about, {refused} were refused");
    assert_eq!(open + refused, HANDSHAKES, "each came to an end");
    assert!(open > 0, "none came about");
}

/// Connects again and again, and says nothing.
fn storm(
    host: &World,
    own: SocketAddr,
    driver: SocketAddr,
    (open, refused): (Arc<AtomicU64>, Arc<AtomicU64>),
) {
    let from = endpoint::control_endpoint(&host.udp, own, &config(56)).expect("a host of its own");
    for _ in 0..HANDSHAKES {
        let (from, open, refused) = (from.clone(), open.clone(), refused.clone());
        let name = endpoint::test_cluster().driver();
        host.spawner.spawn(async move {
            match endpoint::connect_to(&from, driver, &name).await {
                Ok(connection) => {
                    open.fetch_add(1, Ordering::Relaxed);
                    connection.closed().await;
                }
                Err(_) => _ = refused.fetch_add(1, Ordering::Relaxed),
            }
        });
    }
}

/// RUSTSEC-2026-0185: before 0.11.15 fragments with gaps took memory without bound.
#[test]
fn row_57_the_quic_in_use_bounds_the_memory_of_stream_fragments_with_gaps() {
    let lock = include_str!("../../../Cargo.lock");
    let entry =
        lock.split("[[package]]").find(|entry| entry.contains("name = \"quinn-proto\"")).expect("in use");
    let version = entry.lines().find_map(|line| line.strip_prefix("version = \"")).expect("it has one");
    let parts: Vec<u64> =
        version.trim_end_matches('"').split('.').map(|part| part.parse().expect("a number")).collect();
    assert!(parts >= vec![0, 11, 15], "quinn-proto {version}");
}

/// A machine of the cluster that runs no executor: its certificate is good.
fn stranger() -> Identity {
    endpoint::test_identity_of(&Role::node(STRANGER))
}

/// The driver's control port, and an executor's bulk port, with the names that they have.
fn ports(cluster: &SimCluster) -> [(SocketAddr, String); 2] {
    let names = endpoint::test_cluster();
    let bulk = SocketAddr::new(cluster.ip(NodeId(1)), FIRST_PORT + 1);
    [
        (SocketAddr::new(cluster.ip(NodeId::DRIVER), CONTROL_PORT), names.driver()),
        (bulk, names.node(NodeId(1))),
    ]
}

#[test]
fn row_57_half_requests_in_fragments_with_gaps_are_bounded_and_the_job_does_not_notice() {
    /// So much of each request comes, and no more.
    const SAID_BYTES: usize = 8 * 1024;
    let transport = Transport::bulk();
    let streams = transport.bidi_streams_max as usize;
    assert_eq!((streams, transport.uni_streams_max), (64, 0));
    let most = streams * REQUEST_BYTES_MAX + transport.receive_window_bytes as usize;
    assert!(most <= 48 << 20, "what one connection may hold: {most} bytes");
    counted(slow_tasks(57), async |cluster| {
        cluster.sleep(SECOND).await;
        let [_, (at, name)] = ports(cluster);
        // Datagrams are lost and overtake each other, so fragments come with gaps.
        let bad = Link { loss: 0.1, delay_max: Duration::from_millis(20), ..Link::default() };
        cluster.net().set_link(cluster.host_ip(5), at.ip(), bad);
        let from = endpoint_of(cluster, 5, stranger());
        let connection = endpoint::connect_to(&from, at, &name).await.expect("its certificate is good");
        let lost = cluster.net().counts().lost;
        let begun = header(FrameKind::BulkRequest, REQUEST_BYTES_MAX).expect("as long as it may be");
        let half = [&begun[..], &[0; SAID_BYTES]].concat();
        let mut open = Vec::new();
        for _ in 0..streams {
            let (mut send, recv) = connection.open_bi().await.expect("so many are allowed");
            send.write_all(&half).await.expect("it is taken");
            open.push((send, recv));
        }
        let one_more = tokio::time::timeout(2 * SECOND, connection.open_bi()).await;
        assert!(one_more.is_err(), "there is no room for another");
        let sent = &connection.stats();
        let struck = cluster.net().counts().lost - lost;
        println!(
            "{struck} datagrams were lost, {} found out; {} bytes went",
            sent.path.lost_packets, sent.udp_tx.bytes
        );
        assert!(struck > 20 && sent.path.lost_packets > 10, "there were gaps");
        assert!(connection.close_reason().is_none(), "it has said nothing yet that is wrong");
        // It holds on for as long as the job runs.
        cluster.host(5).spawner.spawn(async move {
            connection.closed().await;
            drop(open);
        });
    });
}

/// How a connection ends on which this is said; none if it goes on.
async fn end_of(connection: &Connection) -> Option<u64> {
    match tokio::time::timeout(10 * SECOND, connection.closed()).await {
        Ok(ConnectionError::ApplicationClosed(close)) => Some(u64::from(close.error_code)),
        _ => None,
    }
}

#[test]
fn row_59_the_enum_bomb_on_control_and_bulk_cuts_off_its_sender_and_the_job_does_not_notice() {
    const TIMES: u64 = 20;
    // `{"Not": {"Not": …` as deep as a frame has room for.
    let bomb = |bytes: usize| b"\x81\xa3Not".repeat(bytes / 5);
    let member = Member { node: STRANGER, incarnation: Incarnation(77) };
    let hello = encode_message(&Hello { member, epoch: Epoch(0), program: ProgramId(0) }).expect("short");
    let frame = |kind, bytes| encode(kind, &bomb(bytes)).expect("as long as it may be");
    let to_driver = [hello, frame(FrameKind::ToDriver, 64 << 10)].concat();
    let question = frame(FrameKind::Request, 64 << 10);
    let bulk = frame(FrameKind::BulkRequest, 500_000);
    let mut cut_off = 0;
    counted(slow_tasks(59), async |cluster| {
        cluster.sleep(SECOND).await;
        let ports = ports(cluster);
        let from = endpoint_of(cluster, 5, stranger());
        for _ in 0..TIMES {
            for (port, is_stream, said) in [(0, true, &to_driver), (0, false, &question), (1, false, &bulk)] {
                let (at, name) = &ports[port];
                let connection =
                    endpoint::connect_to(&from, *at, name).await.expect("its certificate is good");
                let mut send = match is_stream {
                    true => connection.open_uni().await.expect("it is let in"),
                    false => connection.open_bi().await.expect("it is let in").0,
                };
                // It may be cut off before all is said.
                let _ = send.write_all(said).await;
                assert_eq!(end_of(&connection).await, Some(CloseCode::Rubbish as u64));
                cut_off += 1;
            }
        }
    });
    assert_eq!(cut_off, 3 * TIMES, "each has struck, and each was cut off");
}

/// Keeps what servers give for the next connection, and counts it.
#[derive(Debug, Default)]
struct Tickets {
    handshakes: AtomicU64,
    given: AtomicU64,
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {
        self.handshakes.fetch_add(1, Ordering::Relaxed);
    }
    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }
    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}
    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }
    fn remove_tls12_session(&self, _: &ServerName<'static>) {}
    fn insert_tls13_ticket(&self, _: ServerName<'static>, _: Tls13ClientSessionValue) {
        self.given.fetch_add(1, Ordering::Relaxed);
    }
    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        None
    }
}

/// A client of somebody else's making, with a good certificate, that takes any server and would resume, and send ahead.
fn resuming(resumption: Resumption) -> quinn::ClientConfig {
    let (own, _) = stranger().to_pem();
    let chain = CertificateDer::pem_slice_iter(own.as_bytes()).collect::<Result<_, _>>().expect("ours");
    let key = PrivateKeyDer::from_pem_slice(own.as_bytes()).expect("ours");
    let mut tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has it")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TakesAny))
        .with_client_auth_cert(chain, key)
        .expect("they belong together");
    tls.alpn_protocols = vec![endpoint::ALPN.to_vec()];
    tls.resumption = resumption;
    tls.enable_early_data = true;
    quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).expect("TLS 1.3")))
}

/// A stranger is content with any server.
#[derive(Debug)]
struct TakesAny;

impl ServerCertVerifier for TakesAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

#[test]
fn row_58_a_client_that_would_resume_and_send_ahead_is_given_no_ticket_and_has_no_0_rtt_to_replay() {
    const TIMES: u64 = 5;
    let tickets = Arc::new(Tickets::default());
    let counted_here = resuming(Resumption::store(tickets.clone()));
    // As rustls has it by default: whatever it is given, the next connection would use.
    let usual = resuming(Resumption::default());
    let mut whole = 0;
    counted(slow_tasks(58), async |cluster| {
        cluster.sleep(SECOND).await;
        let from = endpoint_of(cluster, 5, stranger());
        for (at, name) in ports(cluster) {
            for _ in 0..TIMES {
                for config in [&counted_here, &usual] {
                    let connecting = from.connect_with(config.clone(), at, &name).expect("an address");
                    let Err(connecting) = connecting.into_0rtt() else { panic!("0-RTT") };
                    let connection = connecting.await.expect("its certificate is good");
                    // Tickets would come with the end of the handshake.
                    cluster.sleep(Duration::from_millis(100)).await;
                    endpoint::close(&connection, CloseCode::Done, "next");
                    whole += 1;
                }
            }
        }
    });
    assert_eq!(whole, 4 * TIMES, "each was a full handshake");
    assert_eq!(tickets.handshakes.load(Ordering::Relaxed), 2 * TIMES, "it would have kept them");
    assert_eq!(tickets.given.load(Ordering::Relaxed), 0);
}
