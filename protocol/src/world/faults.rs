//! Named points in the code at which a test (ours or a user's) may strike: a no-op unless a hook is set.

use std::sync::Arc;

/// What a test does when a point is passed: nothing, panic, or kill a node through the simulation.
pub type FaultHook = Arc<dyn Fn(&'static str) + Send + Sync>;

/// The fault points of a world.
#[derive(Clone, Default)]
pub struct Faults {
    hook: Option<FaultHook>,
}

impl Faults {
    /// Faults that call `hook` with the name of each point that is passed.
    pub fn hooked(hook: FaultHook) -> Self {
        Faults { hook: Some(hook) }
    }

    /// Passes the point `name`, such as `"receiver.before_ack"`.
    pub fn at(&self, name: &'static str) {
        if let Some(hook) = &self.hook {
            hook(name);
        }
    }
}
