//! What an executor has between two incarnations: no data, and nobody who listens.

use super::plumbing::Uplink;
use futures_util::future::BoxFuture;
use tidemill_actors::{
    seam::Held,
    transport::{FetchError, NotifyError, ReplicateError, Transport},
};
use tidemill_protocol::{
    id::{BlockId, DataKey, Member},
    message::{Notice, ToDriver},
};

/// Stands in while there is no incarnation: nothing can be had, nothing is heard.
pub(super) struct Unconnected;

impl Uplink for Unconnected {
    fn tell(&self, _message: ToDriver) {}
}

impl Transport for Unconnected {
    fn fetch(&self, from: Member, _key: DataKey) -> BoxFuture<'static, Result<Held, FetchError>> {
        let reason = "this executor is not connected".to_owned();
        Box::pin(async move { Err(FetchError::Gone { peer: from, reason }) })
    }

    fn replicate(
        &self,
        to: Member,
        _block: BlockId,
        _held: Held,
    ) -> BoxFuture<'static, Result<(), ReplicateError>> {
        let reason = "this executor is not connected".to_owned();
        Box::pin(async move { Err(ReplicateError::Gone { peer: to, reason }) })
    }

    fn notify(&self, notice: Notice) -> BoxFuture<'static, Result<(), NotifyError>> {
        let reason = "this executor is not connected".to_owned();
        Box::pin(async move { Err(NotifyError { to: notice.to, reason }) })
    }
}
