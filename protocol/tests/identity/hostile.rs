//! Attackers on the join port: garbage, floods, half handshakes, stalled and senseless requests. Each costs a bounded amount
//! for a bounded time, and a machine with a token still joins.

use crate::support::{Driver, Folder, JOIN, PATIENCE, any_port, ip, simulate};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::udp::Transmit;
use quinn::{ClientConfig, Endpoint};
use rustls::{
    DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tidemill_protocol::endpoint::join::{JoinLimits, join};
use tidemill_protocol::id::NodeId;
use tidemill_protocol::world::sim::SimWorld;
use tidemill_protocol::world::{Entropy, SeededRng};

/// A client that takes any server, or none: it breaks its handshake off where the server shows its certificate.
#[derive(Debug)]
struct Attacker {
    is_content: bool,
}

impl ServerCertVerifier for Attacker {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.is_content {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::General("no".to_owned()))
        }
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

/// An attacker's endpoint at 10.0.0.`last`.
fn attacker(sim: &SimWorld, last: u8, is_content: bool, alpn: &str) -> Endpoint {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Attacker { is_content }))
        .with_no_client_auth();
    tls.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let mut config = quinn::EndpointConfig::default();
    config.rng_seed(Some([last; 32]));
    let socket = sim.node(ip(last)).udp.bind(any_port(last)).unwrap();
    let mut endpoint =
        Endpoint::new_with_abstract_socket(config, None, socket, Arc::new(quinn::TokioRuntime)).unwrap();
    let mut client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let mut transport = quinn::TransportConfig::default();
    transport.keep_alive_interval(Some(Duration::from_millis(500)));
    client.transport_config(Arc::new(transport));
    endpoint.set_default_client_config(client);
    endpoint
}

/// A machine with a good token joins, whatever is going on; gives how long that took.
async fn a_machine_joins(sim: &SimWorld, driver: &Driver, last: u8) -> Duration {
    let (world, token) = (sim.node(ip(last)), driver.token(1));
    let began = world.clock.now();
    let joined = join(&world, any_port(last), JOIN, &token, None, PATIENCE).await.unwrap();
    assert_eq!(joined.nodes.len(), 1);
    world.clock.now().since(began)
}

/// Nothing of the attackers is left after their deadline.
async fn nothing_is_left(driver: &Driver) {
    driver.world.clock.sleep(Duration::from_secs(20)).await;
    assert_eq!(driver.endpoint.open_connections(), 0);
}

#[test]
fn ten_thousand_datagrams_of_garbage_open_no_connection() {
    simulate(async |sim| {
        let driver = Driver::start(&sim);
        let socket = sim.node(ip(66)).udp.bind(any_port(66)).unwrap();
        let mut rng = Entropy::seeded(3).rng("garbage");
        for n in 0..10_000 {
            let mut contents = garbage(&mut rng, 1_400);
            if n % 2 == 0 && contents.len() > 5 {
                // Looks like the Initial of QUIC version 1.
                contents[..5].copy_from_slice(&[0xc3, 0, 0, 0, 1]);
            }
            let transmit = Transmit {
                destination: JOIN,
                ecn: None,
                contents: &contents,
                segment_size: None,
                src_ip: None,
            };
            socket.try_send(&transmit).unwrap();
            if n % 100 == 0 {
                sim.node(ip(66)).clock.sleep(Duration::from_millis(1)).await;
                assert_eq!(driver.endpoint.open_connections(), 0);
            }
        }
        let took = a_machine_joins(&sim, &driver, 2).await;
        assert!(took < Duration::from_secs(5), "{took:?}");
        assert_eq!(driver.desk.counts.granted.load(Relaxed), 1);
        nothing_is_left(&driver).await;
    });
}

fn garbage(rng: &mut SeededRng, bytes_max: u64) -> Vec<u8> {
    (0..rng.range(1, bytes_max)).map(|_| rng.next_u64().to_le_bytes()[0]).collect()
}

#[test]
fn a_flood_of_initial_packets_is_answered_by_retries_and_forgotten() {
    simulate(async |sim| {
        let driver = Driver::start(&sim);
        let flood = attacker(&sim, 66, true, "tidemill-join/1");
        // Whoever never hears the Retry is as good as one with an invented address.
        sim.net().cut(ip(1), ip(66));
        let mut connecting = Vec::new();
        for n in 0..5_000 {
            connecting.push(flood.connect(JOIN, "driver.tidemill").unwrap());
            if n % 50 == 0 {
                driver.world.clock.sleep(Duration::from_millis(1)).await;
                assert_eq!(driver.endpoint.open_connections(), 0);
            }
        }
        let took = a_machine_joins(&sim, &driver, 2).await;
        assert!(took < Duration::from_secs(5), "{took:?}");
        let counts = &driver.desk.counts;
        // The others were refused before this crate has seen them: no more than 16 may wait to be looked at. They come again.
        let deadline = driver.world.clock.now() + Duration::from_secs(10);
        while counts.unproven.load(Relaxed) < 4_000 {
            assert!(driver.world.clock.now() < deadline, "{counts:?}");
            driver.world.clock.sleep(Duration::from_millis(10)).await;
        }
        assert_eq!((counts.turned_away.load(Relaxed), counts.granted.load(Relaxed)), (0, 1));
        drop(connecting);
        nothing_is_left(&driver).await;
    });
}

#[test]
fn handshakes_that_stop_half_way_and_other_protocols_cost_nothing_lasting() {
    simulate(async |sim| {
        let driver = Driver::start(&sim);
        let limits = JoinLimits::default();
        let half = attacker(&sim, 66, false, "tidemill-join/1");
        let other = attacker(&sim, 67, true, "tidemill-join/2");
        let none = attacker(&sim, 68, true, "tidemill/1");
        for n in 0..1_000 {
            let from = [&half, &other, &none][n % 3];
            from.connect(JOIN, "driver.tidemill").unwrap().await.expect_err("nobody is let in");
            assert!(driver.endpoint.open_connections() <= limits.connections_max * 2);
        }
        let counts = &driver.desk.counts;
        let (failed, away) = (counts.failed.load(Relaxed), counts.turned_away.load(Relaxed));
        assert!(failed >= 50 && away >= 50 && failed + away >= 990, "{counts:?}");
        let kinds = counts.kinds();
        let of = |kind: &str| kinds.get(kind).map_or(0, |attempts| attempts.count);
        assert!(of("another version of the protocol") >= 30, "{kinds:?}");
        assert!(of("a handshake that TLS refuses") >= 15, "{kinds:?}");
        assert_eq!(of("too many attempts a second from one machine"), away, "{kinds:?}");
        assert_eq!(kinds.values().map(|attempts| attempts.count).sum::<u64>(), failed + away);
        a_machine_joins(&sim, &driver, 2).await;
        nothing_is_left(&driver).await;
    });
}

#[test]
fn senseless_requests_and_those_that_never_come_hold_a_place_for_their_deadline_only() {
    simulate(async |sim| {
        let limits = JoinLimits { attempts_per_s: 1_000, attempts_burst: 1_000, ..JoinLimits::default() };
        let driver = Driver::start_with(sim.node(ip(1)), Folder::new(), limits.clone());
        let mut rng = Entropy::seeded(5).rng("requests");
        let senseless = attacker(&sim, 66, true, "tidemill-join/1");
        for _ in 0..500 {
            let Ok(connection) = senseless.connect(JOIN, "driver.tidemill").unwrap().await else { continue };
            let request = garbage(&mut rng, 10_000);
            let Ok((mut send, mut recv)) = connection.open_bi().await else { continue };
            let _ = send.write_all(&request).await;
            let _ = send.finish();
            recv.read_to_end(8_192).await.expect_err("no answer to that");
        }
        let counts = driver.desk.counts.clone();
        assert_eq!((counts.failed.load(Relaxed), counts.turned_away.load(Relaxed)), (500, 0), "{counts:?}");
        assert_eq!(counts.kinds()["what is not a request"].count, 500);
        // All places are taken by those who say nothing, again and again for a minute: four machines, a quarter each.
        let silent = [67, 68, 69, 70].map(|last| attacker(&sim, last, true, "tidemill-join/1"));
        let silence = tokio::task::spawn_local({
            let clock = driver.world.clock.clone();
            async move {
                let mut held = Vec::new();
                for n in 0..1_000 {
                    if n % 100 == 0 {
                        clock.sleep(Duration::from_secs(3)).await;
                    }
                    let connecting = silent[n % silent.len()].connect(JOIN, "driver.tidemill").unwrap();
                    held.extend(connecting.await.ok());
                }
                held.len()
            }
        });
        driver.world.clock.sleep(Duration::from_secs(4)).await;
        assert!(driver.endpoint.open_connections() >= limits.connections_max);
        let took = a_machine_joins(&sim, &driver, 2).await;
        assert!(took > Duration::from_millis(250), "it had to wait for a place: {took:?}");
        assert!(driver.endpoint.open_connections() <= limits.connections_max * 2);
        assert!(silence.await.unwrap() > limits.connections_max);
        assert!(counts.turned_away.load(Relaxed) > 100, "{counts:?}");
        nothing_is_left(&driver).await;
        assert_eq!(driver.authority.allot(1).unwrap(), [NodeId(2)], "no attacker has got a number");
    });
}

#[test]
fn one_machine_that_asks_again_and_again_or_says_nothing_keeps_nobody_else_out() {
    simulate(async |sim| {
        let driver = Driver::start(&sim);
        let limits = JoinLimits::default();
        // Handshakes that come about and ask nothing, as many at once as it can.
        let silent = attacker(&sim, 66, true, "tidemill-join/1");
        let hammer = tokio::task::spawn_local({
            let clock = driver.world.clock.clone();
            async move {
                let mut held = Vec::new();
                for _ in 0..2_000 {
                    held.push(silent.connect(JOIN, "driver.tidemill").unwrap());
                    clock.sleep(Duration::from_millis(5)).await;
                }
            }
        });
        driver.world.clock.sleep(Duration::from_secs(3)).await;
        for last in 2..7 {
            let took = a_machine_joins(&sim, &driver, last).await;
            assert!(took < Duration::from_millis(250), "at the first attempt, not after {took:?}");
            assert!(driver.endpoint.open_connections() <= limits.connections_max / 2);
        }
        hammer.await.unwrap();
        let (counts, kinds) = (&driver.desk.counts, driver.desk.counts.kinds());
        assert_eq!(counts.granted.load(Relaxed), 5, "{counts:?}");
        assert!(kinds["too many joiners at once from one machine"].count > 500, "{kinds:?}");
        assert_eq!(kinds["a joiner that took too long"].last.ip(), ip(66), "{kinds:?}");
        nothing_is_left(&driver).await;
    });
}
