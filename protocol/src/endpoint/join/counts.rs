//! What has come to a join endpoint: how many, and of those who were not let in, of which kind.

use crate::message::JoinRefusal;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// What has come to a join endpoint; each number only grows.
#[derive(Debug, Default)]
pub struct JoinCounts {
    /// Initial packets from addresses that were not proven: answered by a Retry, and forgotten.
    pub unproven: AtomicU64,
    /// Attempts beyond the rate or the number that may be under way.
    pub turned_away: AtomicU64,
    /// Handshakes and requests that failed, were late, or were not the protocol.
    pub failed: AtomicU64,
    /// Requests that were understood and refused.
    pub refused: AtomicU64,
    /// Certificates given.
    pub granted: AtomicU64,
    /// Those of `turned_away`, `failed` and `refused`, by kind: some twenty texts, whoever comes.
    kinds: Mutex<BTreeMap<&'static str, Attempts>>,
}

/// Attempts of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempts {
    /// How many.
    pub count: u64,
    /// Where the last one came from.
    pub last: SocketAddr,
}

impl JoinCounts {
    /// Those who were not let in, by kind.
    #[must_use]
    pub fn kinds(&self) -> BTreeMap<&'static str, Attempts> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn turn_away(&self, kind: &'static str, peer: SocketAddr) {
        self.turned_away.fetch_add(1, Relaxed);
        self.tell(kind, peer);
    }

    pub(super) fn fail(&self, kind: &'static str, peer: SocketAddr) {
        self.failed.fetch_add(1, Relaxed);
        self.tell(kind, peer);
    }

    pub(super) fn refuse(&self, refusal: &JoinRefusal, peer: SocketAddr) {
        self.refused.fetch_add(1, Relaxed);
        self.tell(kind(refusal), peer);
    }

    fn tell(&self, kind: &'static str, peer: SocketAddr) {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let attempts = kinds.entry(kind).or_insert(Attempts { count: 0, last: peer });
        *attempts = Attempts { count: attempts.count + 1, last: peer };
    }
}

/// What a refusal is called; nothing of what the peer says is in it.
fn kind(refusal: &JoinRefusal) -> &'static str {
    match refusal {
        JoinRefusal::Unknown => "a token that is unknown here",
        JoinRefusal::Expired => "a token that has expired",
        JoinRefusal::Used => "a token that has been used",
        JoinRefusal::TooMany(_) => "more executors than the token is for",
        JoinRefusal::NoCertificate => "a renewal without a node's certificate",
        JoinRefusal::Denied(_) => "a denied node",
        JoinRefusal::Broken => "an authority that cannot answer",
    }
}
