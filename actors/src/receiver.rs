//! The receiver role.
/// Where a source puts its records.
#[derive(Clone)]
pub struct BlockSink;
