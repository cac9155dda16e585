//! Notices between executors: what travels inside them on the one side, and what is kept of it on the other.

use crate::{
    block_store::{BlockStore, Reserved, Share},
    seam::{Held, PayloadCodec},
};
use futures_util::future::FutureExt;
use std::sync::Arc;
use tidemill_protocol::{
    id::{DataKey, Member, PartitionId},
    message::{BroughtOutput, NOTICE_BYTES_MAX, Notice},
};

/// How much longer small outputs may be on the wire than in memory.
const SLACK_BYTES: u64 = 1_024;

/// A notice that has arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct Noticed {
    /// What was told; what it brought is taken out.
    pub notice: Notice,
    /// The outputs that it brought and that are in the store now.
    pub kept: Vec<PartitionId>,
}

/// Where notices go that arrive for an executor: false if it takes no more. It must not wait.
pub type Ear = Arc<dyn Fn(Noticed) -> bool + Send + Sync>;

/// A notice did not arrive, or nobody can say whether it did.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{to} was not told: {reason}")]
pub struct NotifyError {
    /// Who was to be told.
    pub to: Member,
    /// What happened.
    pub reason: String,
}

/// Puts those outputs into a notice that are in `bring`, as far as they are here, can be written, and fit; the others will be
/// fetched. With it comes the memory that is counted for them until they are sent.
pub async fn fill_notice(
    store: &BlockStore,
    mut notice: Notice,
    bring: &[PartitionId],
) -> (Notice, Option<Reserved>) {
    let key = |partition| DataKey::Output { task: notice.task, partition };
    let expected: u64 =
        bring.iter().filter_map(|partition| store.weight(key(*partition))).map(|weight| weight.bytes).sum();
    if bring.is_empty() || expected > NOTICE_BYTES_MAX {
        return (notice, None);
    }
    // A notice waits for no memory: where there is none now, nothing is brought.
    let credit = store.credit(Share::Sending, NOTICE_BYTES_MAX.min(2 * expected + SLACK_BYTES));
    let Some(Ok(reserved)) = credit.now_or_never() else { return (notice, None) };
    let (mut brought, mut bytes) = (Vec::with_capacity(bring.len()), 0);
    for partition in bring {
        let pieces = store.pieces(key(*partition)).await.unwrap_or_else(|error| {
            tracing::error!(key = %key(*partition), %error, "cannot be sent");
            None
        });
        let Some(pieces) = pieces else { continue };
        let more: u64 = pieces.iter().map(|piece| piece.bytes.len() as u64).sum();
        if bytes + more <= reserved.bytes() {
            bytes += more;
            brought.push(BroughtOutput { partition: *partition, pieces });
        }
    }
    notice.brought = brought;
    (notice, Some(reserved))
}

/// Keeps what a notice brings, as far as there is memory for it now: nobody waits for room here, for it can be fetched.
pub fn take_notice(store: &BlockStore, codec: &dyn PayloadCodec, mut notice: Notice) -> Noticed {
    let mut kept = Vec::with_capacity(notice.brought.len());
    for BroughtOutput { partition, pieces } in std::mem::take(&mut notice.brought) {
        match Held::decode(codec, &pieces) {
            Ok(held) => {
                if store.put_brought(notice.task, partition, held) {
                    kept.push(partition);
                }
            }
            // It will be fetched, and then its task says what is wrong with it.
            Err(error) => {
                tracing::error!(task = %notice.task, %partition, %error, "an output in a notice cannot be read")
            }
        }
    }
    Noticed { notice, kept }
}
