//! block_store
