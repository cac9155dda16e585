//! Who may be in a cluster of real processes, and for how long: successors, orderly leaves, renewal, denial, hostile peers.
//! Nothing here waits for a time, only for conditions with a deadline.

mod deny;
mod hostile;
mod leave;
mod renewal;
mod successor;
#[allow(dead_code)]
#[path = "../cluster/support.rs"]
mod support;

/// Longer than any test: for feeds that a test stops itself.
const LONG: std::time::Duration = std::time::Duration::from_secs(3_600);
