//! What an executor does beside its slots and off the control thread: files, and the destructors of records.

use crate::supervision::panic::catch;
use tidemill_protocol::world::Spawner;

/// Does `work` in the pool for what blocks. Nobody hears of its end.
pub fn in_background(spawner: &Spawner, work: impl FnOnce() + Send + 'static) {
    let pool = spawner.clone();
    // The answer says only that it was done.
    spawner.spawn(async move { _ = pool.blocking(work).await });
}

/// Drops data there: their destructors are user code, which may take a while, and may panic.
pub fn let_go<T: Send + 'static>(spawner: &Spawner, data: impl IntoIterator<Item = T>) {
    let data: Vec<T> = data.into_iter().collect();
    if !data.is_empty() {
        in_background(spawner, move || {
            if let Err(panic) = catch(|| drop(data)) {
                tracing::error!(%panic, "a record panicked while it was dropped");
            }
        });
    }
}
