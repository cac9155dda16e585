//! The clock of a world: one monotonic, one wall, one way to wait.

use crate::time::Time;
use futures_util::future::BoxFuture;
use std::{sync::Arc, time::Duration};

/// What a world's clock is made of; implemented by the real and the simulated world.
pub trait ClockSource: Send + Sync {
    /// Monotonic time since the world began.
    fn now(&self) -> Time;
    /// Wall time since the Unix epoch; may jump.
    fn wall(&self) -> Duration;
    /// Completes at `deadline` (at once if it has passed), within 0.2 ms on an idle machine.
    fn sleep_until(&self, deadline: Time) -> BoxFuture<'static, ()>;
}

/// A shared handle to the world's clock.
#[derive(Clone)]
pub struct Clock(Arc<dyn ClockSource>);

impl Clock {
    /// A clock that reads `source`.
    pub fn new(source: impl ClockSource + 'static) -> Self {
        Clock(Arc::new(source))
    }

    /// Monotonic time since the world began.
    pub fn now(&self) -> Time {
        self.0.now()
    }

    /// Wall time since the Unix epoch; may jump, so no decision but a batch's time may rest on it.
    pub fn wall(&self) -> Duration {
        self.0.wall()
    }

    /// Waits until `deadline`.
    pub fn sleep_until(&self, deadline: Time) -> BoxFuture<'static, ()> {
        self.0.sleep_until(deadline)
    }

    /// Waits for `duration`.
    pub fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.0.sleep_until(self.0.now() + duration)
    }
}
