//! Who a node is, and whom it trusts: a certificate chain with its Ed25519 key, and the cluster's authority.

use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use rustls::{
    RootCertStore, SignatureAlgorithm, SignatureScheme,
    client::Resumption,
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem, pem::PemObject},
    server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier},
};
use std::{fmt, sync::Arc};

/// The ALPN name: the protocol and its version. Peers of another version are refused in the handshake.
pub const ALPN: &[u8] = b"tidemill/1";

/// The DNS name in every node's certificate. Which node it is stands in the `Hello`; that it may be one at all is what
/// the authority has signed.
pub const SERVER_NAME: &str = "node";

/// A node's certificate chain, its key, and the authority that it trusts. `Debug` does not show the key.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    authority: CertificateDer<'static>,
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
        let algorithm = provider().key_provider.load_private_key(key.clone_key())?.algorithm();
        if algorithm != SignatureAlgorithm::ED25519 {
            return Err(IdentityError::NotEd25519(algorithm));
        }
        let identity = Identity { chain, key, authority };
        // Built once here, so that a node learns at its start, and not at its first peer, that its files do not fit.
        identity.server()?;
        identity.client()?;
        Ok(identity)
    }

    /// TLS for accepting: the peer must show a certificate of the authority.
    pub(super) fn server(&self) -> Result<Arc<QuicServerConfig>, IdentityError> {
        let provider = Arc::new(provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(self.roots()?, provider.clone()).build()?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain.clone(), self.key.clone_key())?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        // A resumed session would skip the certificates, and with them expiry and rotation.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(Arc::new(config.try_into()?))
    }

    /// TLS for connecting.
    pub(super) fn client(&self) -> Result<Arc<QuicClientConfig>, IdentityError> {
        let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(self.roots()?)
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        Ok(Arc::new(config.try_into()?))
    }

    fn roots(&self) -> Result<Arc<RootCertStore>, IdentityError> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone())?;
        Ok(Arc::new(roots))
    }
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Identity { chain: self.chain.clone(), key: self.key.clone_key(), authority: self.authority.clone() }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}

/// ring, with Ed25519 as the only signature: one algorithm to review, and one length, which simulations need.
fn provider() -> CryptoProvider {
    let mut provider = rustls::crypto::ring::default_provider();
    let known = provider.signature_verification_algorithms.mapping;
    let ed25519 = known.iter().position(|(scheme, _)| *scheme == SignatureScheme::ED25519);
    let at = ed25519.expect("ring's provider, which Cargo.toml chooses, has Ed25519");
    provider.signature_verification_algorithms =
        WebPkiSupportedAlgorithms { all: known[at].1, mapping: &known[at..=at] };
    provider
}
