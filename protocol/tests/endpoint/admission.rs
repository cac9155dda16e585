//! Endpoints over real loopback UDP: who is let in.

use crate::loopback::{
    FOREIGN_AUTHORITY, TEST_AUTHORITY, any_port, control, foreign_identity, pair, udp, within,
};
use quinn::{ConnectionError, Endpoint, crypto::rustls::QuicClientConfig};
use std::{net::SocketAddr, sync::Arc};
use tidemill_protocol::endpoint::{
    ALPN, EndpointConfig, EndpointError, Identity, IdentityError, Mtu, SERVER_NAME, TransportError,
    bulk_endpoint, connect, control_endpoint, test_identity,
};

/// The TLS alert (RFC 8446, section 6) that ended a handshake, whichever side raised it: QUIC adds 0x100.
fn alert(error: &ConnectionError) -> Option<u64> {
    let code = match error {
        ConnectionError::TransportError(error) => u64::from(error.code),
        ConnectionError::ConnectionClosed(close) => u64::from(close.error_code),
        _ => return None,
    };
    code.checked_sub(0x100)
}

const BAD_CERTIFICATE: u64 = 42;
const UNKNOWN_CA: u64 = 48;
const CERTIFICATE_REQUIRED: u64 = 116;
const NO_APPLICATION_PROTOCOL: u64 = 120;
const DECRYPT_ERROR: u64 = 51;

/// Connects with `client` and gives what the server and the client end with, when the server refuses.
async fn refused_by_server(
    server: &Endpoint,
    client: impl Future<Output = ConnectionError>,
) -> [Option<u64>; 2] {
    let serving = async { server.accept().await.unwrap().await.expect_err("the server must refuse") };
    let (there, here) = within(async { tokio::join!(serving, client) }).await;
    [alert(&there), alert(&here)]
}

/// A client made by hand, that does what ours never does.
async fn with_config(address: SocketAddr, tls: rustls::ClientConfig) -> ConnectionError {
    let endpoint = control(test_identity());
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    match endpoint.connect_with(config, address, SERVER_NAME).unwrap().await {
        // The client is done before the server has judged its certificate.
        Ok(connection) => connection.closed().await,
        Err(error) => error,
    }
}

fn tls() -> rustls::ConfigBuilder<rustls::ClientConfig, rustls::client::WantsClientCert> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(TEST_AUTHORITY.to_vec().into()).unwrap();
    rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
}

#[tokio::test]
async fn two_nodes_of_one_authority_connect() {
    let (near, far) = pair(&control(test_identity()), &control(test_identity())).await;
    for connection in [near, far] {
        let data = connection.handshake_data().unwrap();
        let data = data.downcast::<quinn::crypto::rustls::HandshakeData>().unwrap();
        assert_eq!(data.protocol.as_deref(), Some(ALPN));
        let certificates = connection.peer_identity().unwrap();
        let certificates =
            certificates.downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>().unwrap();
        assert_eq!(certificates[0].as_ref(), include_bytes!("../../testdata/test-node.der"));
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let server = control(test_identity());
    let mut config = tls().with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    let client = with_config(server.local_addr().unwrap(), config);
    assert_eq!(refused_by_server(&server, client).await, [Some(CERTIFICATE_REQUIRED); 2]);
}

#[tokio::test]
async fn a_client_of_a_foreign_authority_is_refused() {
    let server = control(test_identity());
    let address = server.local_addr().unwrap();
    // It trusts the server; the server does not trust it.
    let stranger = control(foreign_identity(TEST_AUTHORITY));
    let client = async { connect(&stranger, address).await.unwrap().closed().await };
    let alerts = refused_by_server(&server, client).await;
    assert!(
        alerts[0].is_some_and(|a| [UNKNOWN_CA, BAD_CERTIFICATE, DECRYPT_ERROR].contains(&a)),
        "{alerts:?}"
    );
    assert_eq!(alerts[0], alerts[1]);
}

#[tokio::test]
async fn a_server_of_a_foreign_authority_is_refused() {
    let server = control(foreign_identity(FOREIGN_AUTHORITY));
    let client = control(test_identity());
    let connecting = client.connect(server.local_addr().unwrap(), SERVER_NAME).unwrap();
    let alerts =
        refused_by_server(&server, async { connecting.await.expect_err("the client must refuse") }).await;
    assert!(
        alerts[1].is_some_and(|a| [UNKNOWN_CA, BAD_CERTIFICATE, DECRYPT_ERROR].contains(&a)),
        "{alerts:?}"
    );
    assert_eq!(alerts[0], alerts[1]);
}

#[tokio::test]
async fn another_version_of_the_protocol_is_refused() {
    let server = control(test_identity());
    let chain = vec![include_bytes!("../../testdata/test-node.der").to_vec().into()];
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(
        include_bytes!("../../testdata/test-node.key.der").to_vec(),
    );
    let mut config = tls().with_client_auth_cert(chain, key.into()).unwrap();
    config.alpn_protocols = vec![b"tidemill/2".to_vec()];
    let client = with_config(server.local_addr().unwrap(), config);
    assert_eq!(refused_by_server(&server, client).await, [Some(NO_APPLICATION_PROTOCOL); 2]);
}

#[test]
fn an_identity_is_checked_when_it_is_loaded() {
    let chain = || vec![include_bytes!("../../testdata/test-node.der").to_vec()];
    let key = || include_bytes!("../../testdata/test-node.key.der").to_vec();
    let authority = || TEST_AUTHORITY.to_vec();
    Identity::from_der(chain(), key(), authority()).unwrap();
    let foreign_key = include_bytes!("../../testdata/foreign-node.key.der").to_vec();
    let p256 = include_bytes!("../../testdata/p256.key.der").to_vec();
    let refused = |chain, key, authority| Identity::from_der(chain, key, authority).unwrap_err();
    assert!(matches!(refused(vec![], key(), authority()), IdentityError::NoCertificate));
    assert!(matches!(refused(chain(), foreign_key, authority()), IdentityError::Tls(_)));
    assert!(matches!(refused(chain(), p256, authority()), IdentityError::NotEd25519(_)));
    assert!(matches!(refused(chain(), vec![1, 2, 3], authority()), IdentityError::Tls(_)));
    assert!(matches!(refused(chain(), key(), vec![1, 2, 3]), IdentityError::Tls(_)));
    assert!(matches!(
        Identity::from_pem(b"", b"", b"").unwrap_err(),
        IdentityError::Pem { .. } | IdentityError::NoCertificate
    ));
}

#[test]
fn debug_does_not_show_the_key() {
    assert_eq!(format!("{:?}", test_identity()), "Identity { certificates: 1, .. }");
}

#[tokio::test]
async fn pem_gives_the_same_identity_as_der() {
    let pem = |label: &str, der: &[u8]| {
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", base64(der))
    };
    let identity = Identity::from_pem(
        pem("CERTIFICATE", include_bytes!("../../testdata/test-node.der")).as_bytes(),
        pem("PRIVATE KEY", include_bytes!("../../testdata/test-node.key.der")).as_bytes(),
        pem("CERTIFICATE", TEST_AUTHORITY).as_bytes(),
    );
    pair(&control(identity.unwrap()), &control(test_identity())).await;
}

/// RFC 4648, in lines of 64 characters as RFC 7468 asks.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for (group, three) in bytes.chunks(3).enumerate() {
        if group > 0 && group % 16 == 0 {
            text.push('\n');
        }
        let bits = (0..3).fold(0u32, |n, i| n << 8 | u32::from(*three.get(i).unwrap_or(&0)));
        for i in 0..4 {
            let letter = char::from(LETTERS[(bits >> (18 - 6 * i) & 63) as usize]);
            text.push(if i <= three.len() { letter } else { '=' });
        }
    }
    text
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_made_says_why() {
    let taken = control(test_identity());
    let config = EndpointConfig::new(test_identity(), None);
    let refused = control_endpoint(&udp(), taken.local_addr().unwrap(), &config);
    assert!(matches!(refused, Err(EndpointError::Bind { .. })));
    let mut config = EndpointConfig::new(test_identity(), None);
    config.control.mtu = Mtu::Probe(100);
    let refused = control_endpoint(&udp(), any_port(), &config);
    assert!(matches!(refused, Err(EndpointError::Transport(TransportError::Mtu(100)))));
}

#[tokio::test]
async fn raised_datagrams_cross_loopback() {
    let mut config = EndpointConfig::new(test_identity(), Some(7));
    (config.bulk.mtu, config.bulk.uni_streams_max) = (Mtu::Probe(16_384), 1);
    let node = || bulk_endpoint(&udp(), any_port(), &config).unwrap();
    let (near, far) = pair(&node(), &node()).await;
    // The search halves its interval until it is below 20 bytes; each probe needs a round trip.
    let growing = async {
        while near.stats().path.current_mtu < 16_000 {
            let mut stream = near.open_uni().await.unwrap();
            stream.write_all(&[7; 20_000]).await.unwrap();
            stream.finish().unwrap();
            assert_eq!(far.accept_uni().await.unwrap().read_to_end(20_000).await.unwrap(), [7; 20_000]);
        }
    };
    within(growing).await;
}

#[tokio::test]
async fn the_smallest_datagrams_stay_small() {
    let mut config = EndpointConfig::new(test_identity(), Some(7));
    (config.bulk.mtu, config.bulk.uni_streams_max) = (Mtu::Smallest, 1);
    let node = || bulk_endpoint(&udp(), any_port(), &config).unwrap();
    let (near, far) = pair(&node(), &node()).await;
    let mut stream = near.open_uni().await.unwrap();
    stream.write_all(&[7; 200_000]).await.unwrap();
    stream.finish().unwrap();
    let read = within(async { far.accept_uni().await.unwrap().read_to_end(200_000).await }).await.unwrap();
    assert_eq!(read, [7; 200_000]);
    assert_eq!((near.stats().path.current_mtu, far.stats().path.current_mtu), (1_200, 1_200));
    assert_eq!(near.stats().path.sent_plpmtud_probes, 0);
}
