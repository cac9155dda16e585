//! The user's own actors, as one child of a process's supervision tree.

use tidemill_actors::supervision::{ChildSpec, Strategy, SupervisorSpec};

/// On a thread of their own: one of them that computes for long, or blocks, holds up no role.
pub(super) fn on_their_own_thread(users: Vec<ChildSpec>) -> ChildSpec {
    // Nobody needs a thread for nobody.
    if users.is_empty() { on_this_thread(users) } else { ChildSpec::supervisor_apart(group(users)) }
}

/// With everything else, as in simulation.
pub(super) fn on_this_thread(users: Vec<ChildSpec>) -> ChildSpec {
    ChildSpec::supervisor(group(users))
}

fn group(users: Vec<ChildSpec>) -> SupervisorSpec {
    let group = SupervisorSpec::new("actors", Strategy::OneForOne);
    users.into_iter().fold(group, SupervisorSpec::child)
}
