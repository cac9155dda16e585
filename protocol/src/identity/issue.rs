//! Making certificates: Ed25519 throughout, X.509 by rcgen.

use super::{ClusterName, Role, names};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, PKCS_ED25519, PublicKeyData, SerialNumber, SignatureAlgorithm, date_time_ymd,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use std::{fmt, time::Duration};

/// How far a joiner's clock may be behind: certificates are valid from this long before they were made, or from a quarter of
/// their life before it if that is shorter (one for seconds would be due for renewal as soon as it is made).
const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// Why a certificate or key could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// rcgen refuses: the key is of another kind, or a name is not a DNS name.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    NoRandomness,
    /// The certificate names no cluster.
    #[error(transparent)]
    Name(#[from] names::NameError),
}

/// Bytes from the operating system.
pub(super) fn random<const N: usize>() -> Result<[u8; N], CertificateError> {
    use ring::rand::{SecureRandom, SystemRandom};
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| CertificateError::NoRandomness)?;
    Ok(bytes)
}

/// An Ed25519 key with its public half. `Debug` does not show it.
pub struct KeyPair(rcgen::KeyPair);

impl KeyPair {
    /// A key drawn from the operating system.
    ///
    /// # Errors
    /// [`CertificateError::Make`].
    pub fn generate() -> Result<Self, CertificateError> {
        Ok(KeyPair(rcgen::KeyPair::generate_for(&PKCS_ED25519)?))
    }

    /// From PKCS#8 (DER).
    ///
    /// # Errors
    /// [`CertificateError::Make`] if it is no Ed25519 key.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, CertificateError> {
        let der = PrivatePkcs8KeyDer::from(der);
        Ok(KeyPair(rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ED25519)?))
    }

    /// The key of this seed (RFC 8032). For pinned test keys.
    #[cfg(feature = "sim")]
    pub(crate) fn from_seed(seed: [u8; 32]) -> Result<Self, CertificateError> {
        // RFC 8410, section 7: version 0, OID 1.3.101.112, the seed as an octet string in an octet string.
        let mut der = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
        der.extend_from_slice(&seed);
        KeyPair::from_pkcs8(&der)
    }

    /// The public half: 32 bytes.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.0
            .public_key_raw()
            .try_into()
            .expect("only Ed25519 keys are made or taken, and theirs have 32 bytes")
    }

    /// PKCS#8 (DER).
    #[must_use]
    pub fn to_pkcs8(&self) -> Vec<u8> {
        self.0.serialize_der()
    }

    /// PKCS#8 (PEM).
    #[must_use]
    pub fn to_pem(&self) -> String {
        self.0.serialize_pem()
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair").finish_non_exhaustive()
    }
}

/// A public key that another process holds the private half of.
struct PublicKey([u8; 32]);

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

/// When a certificate is valid, and its number.
#[derive(Clone, Copy, Debug)]
pub struct Issuing {
    /// Wall time since the Unix epoch.
    pub now: Duration,
    /// For how long from now.
    pub lifetime: Duration,
    /// 16 bytes that no other certificate of the authority has; the top bits are set so that all have one length.
    pub serial: [u8; 16],
}

impl Issuing {
    /// From now on, with a serial number from the operating system.
    ///
    /// # Errors
    /// [`CertificateError::NoRandomness`].
    pub fn new(now: Duration, lifetime: Duration) -> Result<Self, CertificateError> {
        Ok(Issuing { now, lifetime, serial: random()? })
    }
}

/// The authority in memory: its certificate and what signs.
pub(crate) struct Signer {
    pub(crate) cluster: ClusterName,
    pub(crate) certificate: Vec<u8>,
    issuer: Issuer<'static, rcgen::KeyPair>,
}

impl Signer {
    /// A new authority for `cluster`; the certificate says so in its DNS name.
    pub(crate) fn create(
        cluster: ClusterName,
        key: KeyPair,
        issuing: &Issuing,
    ) -> Result<Self, CertificateError> {
        let mut params = params_of_authority(&cluster)?;
        validity(&mut params, issuing);
        let certificate = params.self_signed(&key.0)?.der().to_vec();
        Ok(Signer { cluster, certificate, issuer: Issuer::new(params, key.0) })
    }

    /// An authority that was made before.
    pub(crate) fn open(certificate: Vec<u8>, key: KeyPair) -> Result<Self, CertificateError> {
        let cluster = names::authority_cluster(&certificate)?;
        let params = params_of_authority(&cluster)?;
        Ok(Signer { cluster, certificate, issuer: Issuer::new(params, key.0) })
    }

    /// A certificate (DER) for whoever holds the private half of `public`.
    pub(crate) fn issue(
        &self,
        role: &Role,
        public: [u8; 32],
        issuing: &Issuing,
    ) -> Result<Vec<u8>, CertificateError> {
        let names = self.cluster.names(role);
        let mut params = CertificateParams::new(names.clone())?;
        params.distinguished_name = called(names.first().ok_or(names::NameError::Nameless)?);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match role {
            Role::Driver | Role::Node(_) => {
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
            }
            // Whoever has a person's certificate cannot pose as a server.
            Role::Operator | Role::Observer => vec![ExtendedKeyUsagePurpose::ClientAuth],
        };
        params.use_authority_key_identifier_extension = true;
        validity(&mut params, issuing);
        Ok(params.signed_by(&PublicKey(public), &self.issuer)?.der().to_vec())
    }
}

fn params_of_authority(cluster: &ClusterName) -> Result<CertificateParams, CertificateError> {
    let mut params = CertificateParams::new(vec![cluster.to_string()])?;
    params.distinguished_name = called(&format!("Tidemill authority of {cluster}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    Ok(params)
}

fn called(name: &str) -> DistinguishedName {
    let mut called = DistinguishedName::new();
    // At most 64 characters (X.520): the forms of names keep below.
    called.push(DnType::CommonName, name);
    called
}

fn validity(params: &mut CertificateParams, issuing: &Issuing) {
    let epoch = date_time_ymd(1970, 1, 1);
    // Whole seconds, as the certificate's; 9999 is the last year that it can say.
    let latest = Duration::from_secs(253_370_764_800);
    let skew = CLOCK_SKEW.min(issuing.lifetime / 4);
    params.not_before = epoch + Duration::from_secs(issuing.now.saturating_sub(skew).as_secs());
    params.not_after =
        epoch + Duration::from_secs(issuing.now.saturating_add(issuing.lifetime).min(latest).as_secs());
    let mut serial = issuing.serial;
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
}
