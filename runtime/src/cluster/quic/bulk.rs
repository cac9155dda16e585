//! Bulk data over QUIC: what an executor serves to others, and how it asks them.

use super::{count_refused, count_rubbish, turn_away};
use crate::cluster::lane::Lane;
use futures_util::future::BoxFuture;
use std::{net::SocketAddr, sync::Arc};
use tidemill_actors::{
    block_store::BlockStore,
    seam::PayloadCodec,
    transport::{BulkClient, BulkError, StoreAnswer, serve_fetch, serve_store},
};
use tidemill_protocol::{
    endpoint::{self, bulk},
    id::{BlockId, DataKey, Member},
    identity::{ClusterName, DenyList, RoleKind, admit},
    message::Piece,
};

/// Serves blocks and outputs to everybody who has a certificate of the cluster.
pub(super) async fn serve(
    endpoint: quinn::Endpoint,
    store: BlockStore,
    codec: Arc<dyn PayloadCodec>,
    lane: Lane,
) {
    let served: Arc<dyn bulk::BulkHandler> = Arc::new(Served { store, codec });
    // Who is denied is cut off by the driver: without its list of executors nobody is asked for anything.
    let denied = DenyList::none();
    while let Some(incoming) = endpoint.accept().await {
        let (served, denied) = (served.clone(), denied.clone());
        lane.spawn(async move {
            match incoming.await {
                Ok(connection) => match admit(&connection, &[RoleKind::Driver, RoleKind::Node], &denied) {
                    Ok(_) => count_rubbish(&bulk::serve_bulk(connection, served).await),
                    Err(refused) => turn_away(&connection, &refused),
                },
                Err(error) => count_refused(&error),
            }
        });
    }
}

struct Served {
    store: BlockStore,
    codec: Arc<dyn PayloadCodec>,
}

impl bulk::BulkHandler for Served {
    fn fetch(&self, key: DataKey) -> BoxFuture<'_, Option<Vec<Piece>>> {
        let found = serve_fetch(&self.store, key).unwrap_or_else(|error| {
            tracing::error!(%key, %error, "cannot be sent");
            None
        });
        Box::pin(async move { found })
    }

    fn store(&self, block: BlockId, pieces: Vec<Piece>) -> BoxFuture<'_, bulk::StoreOutcome> {
        let outcome = match serve_store(&self.store, &*self.codec, block, &pieces) {
            Ok(StoreAnswer::Stored) => bulk::StoreOutcome::Stored,
            Ok(StoreAnswer::Full) => bulk::StoreOutcome::Full,
            Err(error) => {
                tracing::error!(%block, %error, "a copy cannot be read");
                bulk::StoreOutcome::Full
            }
        };
        Box::pin(async move { outcome })
    }
}

/// The client's side of bulk connections.
pub(crate) struct Bulk {
    pub(crate) endpoint: quinn::Endpoint,
    pub(crate) lane: Lane,
    pub(crate) cluster: ClusterName,
}

impl BulkClient for Bulk {
    type Connection = quinn::Connection;

    fn connect(
        &self,
        peer: Member,
        address: SocketAddr,
    ) -> BoxFuture<'static, Result<quinn::Connection, BulkError>> {
        let (endpoint, lane, name) = (self.endpoint.clone(), self.lane.clone(), self.cluster.node(peer.node));
        Box::pin(async move {
            // A connection is driven by the runtime that asks for it.
            let connection =
                lane.run(async move { endpoint::connect_to(&endpoint, address, &name).await }).await;
            let connection = connection.ok_or_else(|| BulkError("this process ends".to_owned()))?;
            connection.map_err(|e| BulkError(e.to_string()))
        })
    }

    fn is_open(&self, connection: &quinn::Connection) -> bool {
        connection.close_reason().is_none()
    }

    fn fetch(
        &self,
        connection: quinn::Connection,
        key: DataKey,
    ) -> BoxFuture<'static, Result<Option<Vec<Piece>>, BulkError>> {
        Box::pin(async move { bulk::fetch(&connection, key).await.map_err(|e| BulkError(e.to_string())) })
    }

    fn store(
        &self,
        connection: quinn::Connection,
        block: BlockId,
        pieces: Vec<Piece>,
    ) -> BoxFuture<'static, Result<StoreAnswer, BulkError>> {
        Box::pin(async move {
            match bulk::store(&connection, block, pieces).await {
                Ok(bulk::StoreOutcome::Stored) => Ok(StoreAnswer::Stored),
                Ok(bulk::StoreOutcome::Full) => Ok(StoreAnswer::Full),
                Err(error) => Err(BulkError(error.to_string())),
            }
        })
    }
}
