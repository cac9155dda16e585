//! What a receiver gets from the executor it runs on: where its blocks are kept, who copies them, and the way to the driver.

use super::executor::Life;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use tidemill_actors::{
    block_store::Share,
    receiver::{BlockHold, Replicator, TellDriver},
    seam::Held,
};
use tidemill_protocol::{
    id::{BlockId, DataKey, Member},
    message::ToDriver,
};
use tokio::sync::watch;

/// What a receiver needs from its executor.
pub(super) struct Ports {
    pub(super) life: Arc<Life>,
}

impl BlockHold for Ports {
    fn put(&self, block: BlockId, held: Held) {
        // Refused only when the executor was killed meanwhile: then the block is lost with all others.
        let _ = self.life.store.put_received(block, held);
    }

    fn room(&self) -> watch::Receiver<bool> {
        self.life.store.has_room()
    }
}

impl Replicator for Ports {
    fn replicate(&self, block: BlockId, to: Member) -> BoxFuture<'static, bool> {
        let life = self.life.clone();
        Box::pin(async move {
            let (store, key) = (&life.store, DataKey::Block(block));
            let Some(weight) = store.weight(key) else { return false };
            // For the encoded form. Blocks are small beside the share.
            let bytes = weight.bytes.min(store.budget().share(Share::Sending));
            let _counted = store.credit(Share::Sending, bytes).await;
            let Some(held) = store.load(key).await else { return false };
            let copied = life.connected.transport.replicate(to, block, held).await;
            if let Err(error) = copied.as_ref()
                && !error.is_retryable()
            {
                tracing::error!(%block, %error, "cannot be copied: it will never be safe");
            }
            copied.is_ok()
        })
    }
}

impl TellDriver for Ports {
    fn tell(&self, message: ToDriver) {
        self.life.connected.uplink.tell(message);
    }
}
