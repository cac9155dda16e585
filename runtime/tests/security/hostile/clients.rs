//! Those who make whole handshakes: with certificates that are none here, with other versions, and with good certificates for
//! what they are not good for. How each must end is in one table.

use super::{
    Papers, Tally,
    datagrams::is_datagram,
    stranger,
    watch::{Ports, count},
};
use futures_util::{StreamExt, stream};
use quinn::{ConnectionError, crypto::rustls::QuicClientConfig};
use rustls::{
    DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};
use tidemill_protocol::{
    endpoint::{ALPN, Identity, JOIN_ALPN},
    frame::encode_message,
    id::{Epoch, Incarnation, Member, NodeId, ProgramId},
    message::Hello,
    world::World,
};

/// How often each kind comes to the control port, and to each bulk port.
const AT_CONTROL: usize = 30;
const AT_BULK: usize = 8;
/// How many come at once.
const AT_ONCE: usize = 16;
/// Longer than whatever a server waits for.
const PATIENCE: Duration = Duration::from_secs(30);

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// TLS has refused with this alert.
    Alert(u64),
    /// The other side has closed with this code.
    Closed(u64),
    /// Not as any of the table: crowded out, for instance.
    Otherwise,
}

impl End {
    pub fn of(error: &ConnectionError) -> Self {
        let alert = |code: quinn::TransportErrorCode| match u64::from(code) {
            code @ 0x100..=0x1ff => End::Alert(code - 0x100),
            _ => End::Otherwise,
        };
        match error {
            ConnectionError::ApplicationClosed(close) => End::Closed(u64::from(close.error_code)),
            ConnectionError::TransportError(error) => alert(error.code),
            ConnectionError::ConnectionClosed(close) => alert(close.error_code),
            _ => End::Otherwise,
        }
    }
}

/// What comes after the handshake.
#[derive(Clone)]
enum Then {
    /// To hear why one is not wanted.
    Wait,
    /// These bytes on a unidirectional stream.
    Uni(Vec<u8>),
    /// These bytes on a bidirectional stream.
    Bi(Vec<u8>),
}

/// A kind of attempt: what the product calls it, who comes, and how it must end.
struct Kind {
    at: &'static str,
    called: &'static str,
    from: quinn::Endpoint,
    then: Then,
    end: End,
}

/// An endpoint that takes any server, shows this certificate or none, and speaks this protocol.
pub fn client(number: u8, shown: Option<&Identity>, alpn: &[u8]) -> quinn::Endpoint {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TakesAny));
    let mut tls = match shown {
        None => tls.with_no_client_auth(),
        Some(identity) => {
            let (own, _) = identity.to_pem();
            let chain = CertificateDer::pem_slice_iter(own.as_bytes()).collect::<Result<_, _>>().unwrap();
            let key = PrivateKeyDer::from_pem_slice(own.as_bytes()).unwrap();
            tls.with_client_auth_cert(chain, key).unwrap()
        }
    };
    tls.alpn_protocols = vec![alpn.to_vec()];
    let socket = World::real().udp.bind(stranger(number)).unwrap();
    let config = quinn::EndpointConfig::default();
    let runtime = Arc::new(quinn::TokioRuntime);
    let mut endpoint = quinn::Endpoint::new_with_abstract_socket(config, None, socket, runtime).unwrap();
    let tls = QuicClientConfig::try_from(tls).unwrap();
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(tls)));
    endpoint
}

/// The header of a frame of this kind that is longer than any may be, and its beginning.
fn oversized(kind: u8) -> Vec<u8> {
    [&[0xff, 0xff, 0xff, 0xff, 1, kind][..], &[0; 1_000]].concat()
}

fn hello_of_another() -> Vec<u8> {
    let member = Member { node: NodeId(1), incarnation: Incarnation(u32::MAX) };
    encode_message(&Hello { member, epoch: Epoch(0), program: ProgramId(0) }).unwrap()
}

const GARBAGE: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
const RUBBISH: &str = "what is not the protocol";
const ROLE: &str = "a role that has no business here";
const VERSION: &str = "another version of the protocol";

/// What it is called, what is shown, which protocol is spoken, what comes then, and how it must end.
type Row<'a> = (&'static str, Option<&'a Identity>, &'static [u8], Then, End);

fn kinds(papers: &Papers) -> Vec<Kind> {
    let Papers { foreign, expired, driver, observer, node } = papers;
    let (garbage, not_wanted, refused) = (GARBAGE.to_vec(), End::Closed(3), End::Closed(1));
    let both: [Row; 7] = [
        ("a certificate of another authority", Some(foreign), ALPN, Then::Wait, End::Alert(48)),
        ("a certificate that has expired", Some(expired), ALPN, Then::Wait, End::Alert(45)),
        ("no certificate", None, ALPN, Then::Wait, End::Alert(116)),
        (VERSION, Some(node), b"tidemill/2", Then::Wait, End::Alert(120)),
        (VERSION, Some(node), b"tidemill/0", Then::Wait, End::Alert(120)),
        (VERSION, Some(node), JOIN_ALPN, Then::Wait, End::Alert(120)),
        (RUBBISH, Some(node), ALPN, Then::Bi(garbage.clone()), refused),
    ];
    let control: [Row; 6] = [
        (ROLE, Some(driver), ALPN, Then::Wait, not_wanted),
        ("another's number", Some(node), ALPN, Then::Uni(hello_of_another()), not_wanted),
        (RUBBISH, Some(node), ALPN, Then::Uni(garbage), refused),
        (RUBBISH, Some(node), ALPN, Then::Uni(oversized(3)), refused),
        (RUBBISH, Some(observer), ALPN, Then::Bi(oversized(8)), refused),
        // Dropped after the 2 s in which it may greet.
        ("a peer that says nothing", Some(node), ALPN, Then::Wait, End::Closed(0)),
    ];
    let bulk: [Row; 2] = [
        (ROLE, Some(observer), ALPN, Then::Wait, not_wanted),
        (RUBBISH, Some(node), ALPN, Then::Bi(oversized(4)), refused),
    ];
    let mut number = 20;
    let mut all = Vec::new();
    for (at, (called, shown, alpn, then, end)) in both
        .iter()
        .cloned()
        .map(|row| ("control", row))
        .chain(control.into_iter().map(|row| ("control", row)))
        .chain(both.iter().cloned().map(|row| ("bulk", row)))
        .chain(bulk.into_iter().map(|row| ("bulk", row)))
    {
        number += 1;
        all.push(Kind { at, called, from: client(number, shown, alpn), then, end });
    }
    all
}

pub struct Clients<'a> {
    kinds: Vec<Kind>,
    ports: &'a Ports,
}

impl<'a> Clients<'a> {
    pub fn new(papers: &Papers, ports: &'a Ports) -> Self {
        Clients { kinds: kinds(papers), ports }
    }

    /// All kinds come, side by side; gives those that ended as they must.
    pub async fn come(self) -> Tally {
        let mut turns: Vec<(usize, &Kind, SocketAddr)> = Vec::new();
        for kind in &self.kinds {
            let (ports, often) = match kind.at {
                "control" => (std::slice::from_ref(&self.ports.control), AT_CONTROL),
                _ => (&self.ports.bulk[..], AT_BULK),
            };
            turns.extend(ports.iter().flat_map(|port| (0..often).map(move |turn| (turn, kind, *port))));
        }
        // One of each kind after the other, not all of one.
        turns.sort_by_key(|(turn, ..)| *turn);
        let wanted = turns.len();
        let ends = stream::iter(turns).map(|(_, kind, port)| async move { (kind, knock(kind, port).await) });
        let ends: Vec<(&Kind, End)> = ends.buffer_unordered(AT_ONCE).collect().await;
        let mut tally = Tally::new();
        for (kind, end) in &ends {
            if *end == kind.end {
                count(&mut tally, kind.at, kind.called, 1);
            } else if *end != End::Otherwise {
                panic!("at {}, {} ends with {end:?} and not {:?}", kind.at, kind.called, kind.end);
            }
        }
        let struck: u64 = tally.values().sum();
        println!("{struck} of {wanted} handshakes have ended as their kind must");
        assert!(struck * 10 >= wanted as u64 * 9, "the others were crowded out: {tally:?}");
        let names: BTreeSet<_> = self.kinds.iter().map(|kind| (kind.at, kind.called)).collect();
        assert_eq!(tally.len(), names.len(), "each kind has struck: {tally:?}");
        tally
    }
}

/// Those of a tally in which TLS came to an end, one way or the other.
pub fn of_tls(tally: &Tally) -> u64 {
    let is_one = |port: &str, kind: &str| port != "metrics" && !is_datagram(kind);
    tally.iter().filter(|((port, kind), _)| is_one(port, kind)).map(|(_, count)| count).sum()
}

async fn knock(kind: &Kind, port: SocketAddr) -> End {
    let attempt = async {
        let connection = match kind.from.connect(port, "driver.tidemill").unwrap().await {
            Ok(connection) => connection,
            Err(error) => return End::of(&error),
        };
        // The server may have hung up before all is said.
        let _kept = match &kind.then {
            Then::Wait => None,
            Then::Uni(bytes) => match connection.open_uni().await {
                Ok(mut send) => {
                    let _ = send.write_all(bytes).await;
                    Some(send)
                }
                Err(_) => None,
            },
            Then::Bi(bytes) => match connection.open_bi().await {
                Ok((mut send, _recv)) => {
                    let _ = send.write_all(bytes).await;
                    Some(send)
                }
                Err(_) => None,
            },
        };
        End::of(&connection.closed().await)
    };
    tokio::time::timeout(PATIENCE, attempt).await.unwrap_or(End::Otherwise)
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
