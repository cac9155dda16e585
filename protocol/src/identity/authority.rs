//! The authority of a cluster: a folder with its key, certificates for people, and what it remembers.

use super::folder::{
    self, FolderError, io, load_identity, lock, private_folder, replace, write_identity, write_own,
    written_by_owner_only,
};
use super::issue::{Signer, random};
use super::state::{Issued, State};
use super::{
    CertificateError, CertificateFacts, ClusterName, DenyList, Issuing, KeyPair, NODES_PER_TOKEN_MAX, Role,
    RoleKind, Token, denied, sha256,
};
use crate::endpoint::{Identity, IdentityError};
use crate::id::NodeId;
use crate::message::Secret;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem, pem::PemObject};
use std::{
    collections::BTreeSet,
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

pub use super::state::TokenRefused;

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// How long an authority is valid: ten years.
pub const AUTHORITY_LIFETIME: Duration = DAY.saturating_mul(3_652);
/// How long a node's or the driver's certificate is valid unless said otherwise: 30 days.
pub const NODE_LIFETIME: Duration = DAY.saturating_mul(30);
/// How long certificates of people are valid: a year.
pub const PERSON_LIFETIME: Duration = DAY.saturating_mul(365);

/// Why an authority cannot be made, opened or used. Each names the file and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// There is one already.
    #[error("{path} exists: an authority is never overwritten; choose another folder", path = .0.display())]
    Exists(PathBuf),
    /// Its certificate is gone, and machines rely on it.
    #[error(
        "{path} is lost, and machines may have joined: copy it here from any of them, or choose another folder",
        path = .0.display()
    )]
    Lost(PathBuf),
    /// A file or folder: missing, open to others, or refused by the system.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Not PEM, or not the kind of PEM that belongs there.
    #[error("{path} is not PEM with {wanted}: {cause}; restore it from a copy", path = path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// What belongs there.
        wanted: &'static str,
        /// What is wrong.
        #[source]
        cause: pem::Error,
    },
    /// PEM, but not an authority that this build can use.
    #[error("{path} is not the authority of a Tidemill cluster: {cause}", path = path.display())]
    NotAuthority {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// The key belongs to another certificate.
    #[error("the key in {path} does not belong to the certificate beside it: restore both", path = .0.display())]
    OtherKey(PathBuf),
    /// Its time is over, or has not begun.
    #[error("{path} is not valid at this machine's time: set the clock, or make a new authority with `tidemill ca init`", path = .0.display())]
    NotValidNow(PathBuf),
    /// The memory is damaged.
    #[error("{path}, line {line}: not what an authority remembers; restore it from a copy", path = path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
    /// A certificate could not be made.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// What was made is refused by TLS.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A token for no or too many executors.
    #[error("a token is for 1 to {NODES_PER_TOKEN_MAX} executors, not {0}")]
    Nodes(u16),
    /// Too many are remembered.
    #[error("too many join tokens are open: wait until some have expired")]
    TooManyTokens,
    /// The token gives nothing.
    #[error(transparent)]
    Token(#[from] TokenRefused),
    /// No machine has this number.
    #[error("{node} has not been given to a machine: {given}; see the numbers with `tidemill status`")]
    NeverGiven {
        /// Who was to be denied.
        node: NodeId,
        /// Which numbers have, in words.
        given: String,
    },
    /// The driver cannot be denied, or this role has no file here.
    #[error("{0}")]
    NotHere(&'static str),
}

/// The authority of a cluster; cheap to clone. Every change is made under a lock on the folder, from what the files say
/// then, so several processes (a driver, and `ca token` beside it) may use one folder.
#[derive(Clone)]
pub struct Authority(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    signer: Signer,
}

/// What a node is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Certificates (DER): the node's, then the authority's.
    pub chain: Vec<Vec<u8>>,
    /// The executor numbers in it.
    pub nodes: Vec<NodeId>,
}

impl Authority {
    /// Makes a new cluster in `folder`: name and key drawn, `ca.pem`, `ca.key`, and `driver.pem`, `operator.pem`,
    /// `observer.pem`, each with its key. `ca.pem` is written last, and means that all is there: what an attempt left that did
    /// not get so far is replaced. `now` is wall time since the Unix epoch, here and below.
    ///
    /// # Errors
    /// [`AuthorityError`]; `Exists` if there is an authority, `Lost` if there is one that lacks its certificate.
    pub fn create(folder: &Path, now: Duration) -> Result<Self, AuthorityError> {
        private_folder(folder)?;
        let _writer = lock(folder)?;
        let path = folder.join("ca.pem");
        if path.try_exists().map_err(io("look at", &path))? {
            return Err(AuthorityError::Exists(path));
        }
        let remembered = fs::read_to_string(folder.join("state"));
        if remembered.is_ok_and(|text| !State::from_text(&text).is_ok_and(|state| state.is_new())) {
            return Err(AuthorityError::Lost(path));
        }
        let cluster = ClusterName::from_bits(u64::from_be_bytes(random()?));
        let key = KeyPair::generate()?;
        replace(folder, "ca.key", key.to_pem().as_bytes())?;
        let signer = Signer::create(cluster, key, &Issuing::new(now, AUTHORITY_LIFETIME)?)?;
        let authority = Authority(Arc::new(Inner { folder: folder.to_owned(), signer }));
        replace(folder, "state", State::new().to_text().as_bytes())?;
        for kind in [RoleKind::Driver, RoleKind::Operator, RoleKind::Observer] {
            let identity = authority.person(kind, now)?;
            write_own(folder, &kind.to_string(), &identity)?;
        }
        let certificate = ::pem::encode(&::pem::Pem::new("CERTIFICATE", authority.certificate()));
        replace(folder, "ca.pem", certificate.as_bytes())?;
        Ok(authority)
    }

    /// Opens the authority in `folder`.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn open(folder: &Path, now: Duration) -> Result<Self, AuthorityError> {
        written_by_owner_only(folder)?;
        let (path, key_path) = (folder.join("ca.pem"), folder.join("ca.key"));
        let pem = folder::read(&path, "run `tidemill ca init`")?;
        let key = folder::read_private(&key_path, LOST)?;
        let certificate = CertificateDer::from_pem_slice(&pem).map_err(not_pem(&path, "a certificate"))?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(&key).map_err(not_pem(&key_path, "a private key"))?;
        let key = KeyPair::from_pkcs8(key.secret_pkcs8_der())
            .map_err(|cause| no_authority(&key_path, cause.to_string()))?;
        let facts =
            CertificateFacts::read(&certificate).map_err(|cause| no_authority(&path, cause.to_string()))?;
        if now < facts.valid_from || now >= facts.valid_until {
            return Err(AuthorityError::NotValidNow(path));
        }
        // The public key stands in the certificate as it is: 32 bytes that occur by chance never.
        if !certificate.windows(32).any(|window| window == key.public()) {
            return Err(AuthorityError::OtherKey(key_path));
        }
        let signer = Signer::open(certificate.to_vec(), key)
            .map_err(|cause| no_authority(&path, cause.to_string()))?;
        let authority = Authority(Arc::new(Inner { folder: folder.to_owned(), signer }));
        authority.read_state()?;
        Ok(authority)
    }

    /// The cluster's name.
    #[must_use]
    pub fn cluster(&self) -> &ClusterName {
        &self.0.signer.cluster
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.0.folder
    }

    /// The authority's certificate (DER).
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.0.signer.certificate
    }

    /// The identity of the driver, the operator or the observer, from its file. One whose renewal is due (the driver's
    /// after 20 days), or whose file is gone, is made anew first.
    ///
    /// # Errors
    /// [`AuthorityError`]; `NotHere` for [`RoleKind::Node`].
    pub fn identity(&self, kind: RoleKind, now: Duration) -> Result<Identity, AuthorityError> {
        match load_identity(&self.0.folder, &kind.to_string()) {
            Ok(identity) if identity.facts().is_ok_and(|facts| now < facts.renew_at()) => Ok(identity),
            Ok(_) | Err(FolderError::Missing { .. }) => self.renew_identity(kind, now),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes the certificate and key of the driver, the operator or the observer anew, in its file too.
    ///
    /// # Errors
    /// [`AuthorityError`]; `NotHere` for [`RoleKind::Node`].
    pub fn renew_identity(&self, kind: RoleKind, now: Duration) -> Result<Identity, AuthorityError> {
        self.keep(kind, &self.person(kind, now)?)
    }

    /// The same for the driver, with a certificate that is valid for `lifetime`.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn renew_driver(&self, now: Duration, lifetime: Duration) -> Result<Identity, AuthorityError> {
        self.keep(RoleKind::Driver, &self.issue(&Role::Driver, now, lifetime)?)
    }

    fn keep(&self, kind: RoleKind, identity: &Identity) -> Result<Identity, AuthorityError> {
        let _writer = lock(&self.0.folder)?;
        write_identity(&self.0.folder, &kind.to_string(), identity)?;
        Ok(identity.clone())
    }

    fn person(&self, kind: RoleKind, now: Duration) -> Result<Identity, AuthorityError> {
        let (role, lifetime) = match kind {
            RoleKind::Driver => (Role::Driver, NODE_LIFETIME),
            RoleKind::Operator => (Role::Operator, PERSON_LIFETIME),
            RoleKind::Observer => (Role::Observer, PERSON_LIFETIME),
            RoleKind::Node => return Err(AuthorityError::NotHere("a node's key is on the node only")),
        };
        self.issue(&role, now, lifetime)
    }

    fn issue(&self, role: &Role, now: Duration, lifetime: Duration) -> Result<Identity, AuthorityError> {
        let key = KeyPair::generate()?;
        let chain = vec![self.0.signer.issue(role, key.public(), &Issuing::new(now, lifetime)?)?];
        Ok(Identity::from_der(chain, key.to_pkcs8(), self.certificate().to_vec())?)
    }

    /// A token with which one machine may join, once, within `lifetime` (usually
    /// [`TOKEN_LIFETIME`](super::TOKEN_LIFETIME)), and run up to `nodes` executors. Only a hash of its secret is kept.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn token(&self, now: Duration, lifetime: Duration, nodes: u16) -> Result<Token, AuthorityError> {
        if !(1..=NODES_PER_TOKEN_MAX).contains(&nodes) {
            return Err(AuthorityError::Nodes(nodes));
        }
        let token = Token { authority: sha256(self.certificate()), secret: Secret(random()?) };
        let until_s = now.saturating_add(lifetime).as_secs();
        let issued = Issued { hash: token.secret_hash(), until_s, nodes, used: false };
        self.change(
            |state| {
                if state.add(issued, now) { Ok(()) } else { Err(AuthorityError::TooManyTokens) }
            },
        )?;
        Ok(token)
    }

    /// Uses up a token: gives the node numbers that the joiner gets from now on. When this returns, the use is on disk.
    ///
    /// # Errors
    /// [`AuthorityError::Token`] and others.
    pub fn redeem(
        &self,
        now: Duration,
        secret: &Secret,
        wanted: Option<u16>,
    ) -> Result<Vec<NodeId>, AuthorityError> {
        let hash = sha256(&secret.0);
        self.change(|state| Ok(state.redeem(&hash, wanted, now)?))
    }

    /// New node numbers without a token, for a machine that has this folder (`demo`).
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn allot(&self, nodes: u16) -> Result<Vec<NodeId>, AuthorityError> {
        self.change(|state| Ok(state.allot(nodes).ok_or(TokenRefused::NoNumbers)?))
    }

    /// A certificate for a machine that runs `nodes` and holds the private half of `public`.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn grant(
        &self,
        now: Duration,
        nodes: Vec<NodeId>,
        public: [u8; 32],
        lifetime: Duration,
    ) -> Result<Granted, AuthorityError> {
        let role = Role::Node(nodes.iter().copied().collect());
        let certificate = self.0.signer.issue(&role, public, &Issuing::new(now, lifetime)?)?;
        Ok(Granted { chain: vec![certificate, self.certificate().to_vec()], nodes })
    }

    /// The identity of a new machine that runs `nodes` executors, key and all: for processes that share this folder.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn node_identity(
        &self,
        now: Duration,
        nodes: u16,
        lifetime: Duration,
    ) -> Result<(Vec<NodeId>, Identity), AuthorityError> {
        let key = KeyPair::generate()?;
        let granted = self.grant(now, self.allot(nodes)?, key.public(), lifetime)?;
        let identity = Identity::from_der(granted.chain, key.to_pkcs8(), self.certificate().to_vec())?;
        Ok((granted.nodes, identity))
    }

    /// Denies a node, and with it its machine: its certificate is refused from now on, by this process and by every other
    /// one that follows [`denied`](Self::denied).
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn deny(&self, node: NodeId) -> Result<(), AuthorityError> {
        if node == NodeId::DRIVER {
            return Err(AuthorityError::NotHere("the driver cannot be denied: stop it"));
        }
        let _writer = lock(&self.0.folder)?;
        let given = match self.read_state()?.given() {
            given if u32::from(node.0) <= given => None,
            0 => Some("none has been given yet".to_owned()),
            given => Some(format!("1 to {given} have")),
        };
        if let Some(given) = given {
            return Err(AuthorityError::NeverGiven { node, given });
        }
        let path = self.0.folder.join("denied");
        let text =
            if path.exists() { fs::read_to_string(&path).map_err(io("read", &path))? } else { String::new() };
        let mut nodes: BTreeSet<NodeId> =
            denied::parse(&text).ok_or(AuthorityError::State { path, line: 1 })?;
        nodes.insert(node);
        let lines: String = nodes.iter().map(|node| format!("{}\n", node.0)).collect();
        Ok(replace(&self.0.folder, "denied", lines.as_bytes())?)
    }

    /// The list of those who were denied.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn denied(&self) -> Result<DenyList, AuthorityError> {
        let path = self.0.folder.join("denied");
        DenyList::open(path.clone()).map_err(|cause| io("read", &path)(cause).into())
    }

    fn read_state(&self) -> Result<State, AuthorityError> {
        let path = self.0.folder.join("state");
        let text = folder::read(&path, LOST)?;
        State::from_text(&String::from_utf8_lossy(&text)).map_err(|line| AuthorityError::State { path, line })
    }

    /// Changes the memory: read, changed and durably written under the lock.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut State) -> Result<T, AuthorityError>,
    ) -> Result<T, AuthorityError> {
        let _writer = lock(&self.0.folder)?;
        let mut state = self.read_state()?;
        let result = change(&mut state)?;
        replace(&self.0.folder, "state", state.to_text().as_bytes())?;
        Ok(result)
    }
}

/// What to do about a file that a whole authority has and that nothing can make again.
const LOST: &str =
    "restore it from a copy; without one, make a new authority with `tidemill ca init` in another folder";

fn not_pem(path: &Path, wanted: &'static str) -> impl FnOnce(pem::Error) -> AuthorityError {
    let path = path.to_owned();
    move |cause| AuthorityError::NotPem { path, wanted, cause }
}

fn no_authority(path: &Path, cause: String) -> AuthorityError {
    AuthorityError::NotAuthority { path: path.to_owned(), cause }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("cluster", self.cluster()).finish_non_exhaustive()
    }
}
