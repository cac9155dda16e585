//! Who a node is, and whom it trusts: a certificate chain with its Ed25519 key, and the cluster's authority.
//!
//! ```text
//!   Identity ── clones share ──> what is shown: chain and key
//!      │                              ▲
//!      └─ replace(new) ───────────────┘   handshakes from now on show the new one; connections go on
//! ```

use crate::identity::{CertificateFacts, Malformed, NameError, PeerName};
use crate::world::Clock;
use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use rustls::{
    ConfigBuilder, RootCertStore, SignatureAlgorithm, SignatureScheme, WantsVerifier,
    client::{ResolvesClientCert, Resumption, danger::ServerCertVerifier},
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime, pem, pem::PemObject},
    server::{
        ClientHello, NoServerSessionStorage, ResolvesServerCert, VerifierBuilderError, WebPkiClientVerifier,
    },
    sign::CertifiedKey,
    time_provider::{DefaultTimeProvider, TimeProvider},
};
use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

/// The ALPN name: the protocol and its version. Peers of another version are refused in the handshake.
pub const ALPN: &[u8] = b"tidemill/1";

/// The ALPN name of joining, with its own version.
pub const JOIN_ALPN: &[u8] = b"tidemill-join/1";

/// The DNS name in the certificate of `test_identity`; real clusters use the names of
/// [`ClusterName`](crate::identity::ClusterName).
pub const SERVER_NAME: &str = "node";

/// A node's certificate chain, its key, and the authority that it trusts. `Debug` does not show the key.
///
/// Clones share what they show: [`replace`](Identity::replace) on one of them reaches every endpoint that was made of any.
#[derive(Clone)]
pub struct Identity {
    shown: Arc<Shown>,
    authority: CertificateDer<'static>,
    time: Arc<dyn TimeProvider>,
}

/// What handshakes show at present.
struct Shown(RwLock<Own>);

#[derive(Clone)]
struct Own {
    certified: Arc<CertifiedKey>,
    key_pkcs8: Arc<Vec<u8>>,
}

/// Why bytes are not an identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Not PEM, or without the section that is needed.
    #[error("{what}: {cause}")]
    Pem {
        /// Which of the inputs.
        what: &'static str,
        /// What is wrong with it.
        #[source]
        cause: pem::Error,
    },
    /// No certificate was given.
    #[error("the certificate chain is empty")]
    NoCertificate,
    /// The key is of another algorithm. Make one with `openssl genpkey -algorithm ed25519`.
    #[error("the key is {0:?}, but Ed25519 is needed")]
    NotEd25519(SignatureAlgorithm),
    /// rustls refuses certificate or key: malformed, or they do not belong together.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// The authority cannot judge peers.
    #[error(transparent)]
    Authority(#[from] VerifierBuilderError),
    /// A replacement that is of another authority or has other names.
    #[error("an identity is replaced by one of the same authority with the same names only")]
    Another,
    /// The provider lacks QUIC's initial cipher suite.
    #[error(transparent)]
    NoInitialCipherSuite(#[from] NoInitialCipherSuite),
}

impl Identity {
    /// From DER: the node's certificate first in `chain`, then intermediates; the key as PKCS#8.
    ///
    /// # Errors
    /// [`IdentityError`], each but `Pem`.
    pub fn from_der(
        chain: Vec<Vec<u8>>,
        key_pkcs8: Vec<u8>,
        authority: Vec<u8>,
    ) -> Result<Self, IdentityError> {
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        Self::new(chain, PrivatePkcs8KeyDer::from(key_pkcs8).into(), authority.into())
    }

    /// From PEM: all certificates of `chain`, the first key of `key`, the first certificate of `authority`.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn from_pem(chain: &[u8], key: &[u8], authority: &[u8]) -> Result<Self, IdentityError> {
        let wrong = |what| move |cause| IdentityError::Pem { what, cause };
        let chain =
            CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().map_err(wrong("chain"))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(wrong("key"))?;
        let authority = CertificateDer::from_pem_slice(authority).map_err(wrong("authority"))?;
        Self::new(chain, key, authority)
    }

    fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        authority: CertificateDer<'static>,
    ) -> Result<Self, IdentityError> {
        if chain.is_empty() {
            return Err(IdentityError::NoCertificate);
        }
        let provider = provider();
        let algorithm = provider.key_provider.load_private_key(key.clone_key())?.algorithm();
        if algorithm != SignatureAlgorithm::ED25519 {
            return Err(IdentityError::NotEd25519(algorithm));
        }
        let key_pkcs8 = Arc::new(key.secret_der().to_vec());
        let certified = Arc::new(CertifiedKey::from_der(chain, key, &provider)?);
        let shown = Arc::new(Shown(RwLock::new(Own { certified, key_pkcs8 })));
        let identity = Identity { shown, authority, time: Arc::new(DefaultTimeProvider) };
        // Built once here, so that a node learns at its start, and not at its first peer, that its files do not fit.
        identity.server()?;
        identity.client()?;
        Ok(identity)
    }

    /// Judges certificates by this clock's wall time instead of the system's. For endpoints that are made afterwards.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Identity { time: Arc::new(WallTime(clock)), ..self }
    }

    /// Shows `new` in handshakes from now on, on every endpoint made of this identity or a clone. Connections that exist
    /// go on.
    ///
    /// # Errors
    /// [`IdentityError::Another`]; then nothing has changed.
    pub fn replace(&self, new: &Identity) -> Result<(), IdentityError> {
        if new.authority != self.authority || new.name().ok() != self.name().ok() {
            return Err(IdentityError::Another);
        }
        *self.shown.0.write().unwrap_or_else(PoisonError::into_inner) = new.shown.own();
        Ok(())
    }

    /// Whom the certificate names.
    ///
    /// # Errors
    /// [`NameError`].
    pub fn name(&self) -> Result<PeerName, NameError> {
        PeerName::of_certificate(&self.certificate())
    }

    /// Serial number and validity of the certificate.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn facts(&self) -> Result<CertificateFacts, Malformed> {
        CertificateFacts::read(&self.certificate())
    }

    /// The certificate that is shown now (DER).
    #[must_use]
    pub fn certificate(&self) -> Vec<u8> {
        self.shown.own().certified.cert.first().map(|own| own.to_vec()).unwrap_or_default()
    }

    /// The certificate of the authority (DER).
    #[must_use]
    pub fn authority(&self) -> &[u8] {
        &self.authority
    }

    /// As PEM: chain and key in one text, which is secret; and the authority's certificate.
    #[must_use]
    pub fn to_pem(&self) -> (String, String) {
        let encode = |tag: &str, der: &[u8]| ::pem::encode(&::pem::Pem::new(tag, der));
        let own = self.shown.own();
        let chain = own.certified.cert.iter().map(|certificate| encode("CERTIFICATE", certificate));
        let text = chain.chain([encode("PRIVATE KEY", &own.key_pkcs8)]).collect();
        (text, encode("CERTIFICATE", &self.authority))
    }

    /// TLS for accepting: the peer must show a certificate of the authority.
    pub(super) fn server(&self) -> Result<Arc<QuicServerConfig>, IdentityError> {
        self.server_tls(ALPN, false, self.shown.clone())
    }

    /// TLS for joiners: the authority's certificate is shown too; a peer may show none of its own.
    pub(super) fn join_server(&self) -> Result<Arc<QuicServerConfig>, IdentityError> {
        let shown = WithAuthority { shown: self.shown.clone(), authority: self.authority.clone() };
        self.server_tls(JOIN_ALPN, true, Arc::new(shown))
    }

    fn server_tls(
        &self,
        alpn: &[u8],
        without_certificate: bool,
        shown: Arc<dyn ResolvesServerCert>,
    ) -> Result<Arc<QuicServerConfig>, IdentityError> {
        let provider = Arc::new(provider());
        let mut verifier = WebPkiClientVerifier::builder_with_provider(self.roots()?, provider.clone());
        if without_certificate {
            verifier = verifier.allow_unauthenticated();
        }
        let mut config = rustls::ServerConfig::builder_with_details(provider, self.time.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier.build()?)
            .with_cert_resolver(shown);
        config.alpn_protocols = vec![alpn.to_vec()];
        // A resumed session would skip the certificates, and with them expiry and rotation.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(Arc::new(config.try_into()?))
    }

    /// TLS for connecting.
    pub(super) fn client(&self) -> Result<Arc<QuicClientConfig>, IdentityError> {
        self.client_tls(ALPN)
    }

    /// TLS for renewing.
    pub(super) fn join_client(&self) -> Result<Arc<QuicClientConfig>, IdentityError> {
        self.client_tls(JOIN_ALPN)
    }

    fn client_tls(&self, alpn: &[u8]) -> Result<Arc<QuicClientConfig>, IdentityError> {
        let config = tls13(self.time.clone())?
            .with_root_certificates(self.roots()?)
            .with_client_cert_resolver(self.shown.clone());
        without_resumption(config, alpn)
    }

    fn roots(&self) -> Result<Arc<RootCertStore>, IdentityError> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone())?;
        Ok(Arc::new(roots))
    }
}

/// TLS for a joiner: no certificate of its own, and a server judged by `verifier`.
pub(super) fn joiner(
    verifier: Arc<dyn ServerCertVerifier>,
    clock: Clock,
) -> Result<Arc<QuicClientConfig>, IdentityError> {
    let config = tls13(Arc::new(WallTime(clock)))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    without_resumption(config, JOIN_ALPN)
}

fn tls13(
    time: Arc<dyn TimeProvider>,
) -> Result<ConfigBuilder<rustls::ClientConfig, WantsVerifier>, rustls::Error> {
    rustls::ClientConfig::builder_with_details(Arc::new(provider()), time)
        .with_protocol_versions(&[&rustls::version::TLS13])
}

fn without_resumption(
    mut config: rustls::ClientConfig,
    alpn: &[u8],
) -> Result<Arc<QuicClientConfig>, IdentityError> {
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(Arc::new(config.try_into()?))
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("certificates", &self.shown.own().certified.cert.len())
            .finish_non_exhaustive()
    }
}

impl Shown {
    fn own(&self) -> Own {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.own().certified)
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.own().certified)
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// What joiners are shown: they know the authority by its hash only.
#[derive(Debug)]
struct WithAuthority {
    shown: Arc<Shown>,
    authority: CertificateDer<'static>,
}

impl ResolvesServerCert for WithAuthority {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let own = self.shown.own().certified;
        let chain = own.cert.iter().cloned().chain([self.authority.clone()]).collect();
        Some(Arc::new(CertifiedKey::new(chain, own.key.clone())))
    }
}

/// The wall time of a world.
struct WallTime(Clock);

impl fmt::Debug for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WallTime")
    }
}

impl TimeProvider for WallTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.wall()))
    }
}

/// ring, with Ed25519 as the only signature: one algorithm to review, and one length, which simulations need.
pub(super) fn provider() -> CryptoProvider {
    let mut provider = rustls::crypto::ring::default_provider();
    let known = provider.signature_verification_algorithms.mapping;
    let ed25519 = known.iter().position(|(scheme, _)| *scheme == SignatureScheme::ED25519);
    let at = ed25519.expect("ring's provider, which Cargo.toml chooses, has Ed25519");
    provider.signature_verification_algorithms =
        WebPkiSupportedAlgorithms { all: known[at].1, mapping: &known[at..=at] };
    provider
}
