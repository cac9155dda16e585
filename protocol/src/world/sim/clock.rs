//! The clock of a simulated node: tokio's paused clock, and a wall clock that may be wrong.

use super::node::Life;
use crate::{time::Time, world::ClockSource};
use futures_util::future::BoxFuture;
use std::{future, time::Duration};
use tokio::time::{Instant, sleep_until};

/// Virtual time since the world began; waits end at whole milliseconds.
pub(super) struct SimClock {
    start: Instant,
    wall_epoch: Duration,
    life: Life,
}

impl SimClock {
    /// The clock of the node of `life` in a world that began at `start`.
    pub(super) fn new(start: Instant, wall_epoch: Duration, life: Life) -> Self {
        SimClock { start, wall_epoch, life }
    }
}

impl ClockSource for SimClock {
    fn now(&self) -> Time {
        Time::ZERO + self.start.elapsed()
    }

    fn wall(&self) -> Duration {
        let right = self.wall_epoch + self.start.elapsed();
        let offset_ms = self.life.wall_offset_ms();
        let offset = Duration::from_millis(offset_ms.unsigned_abs());
        if offset_ms < 0 { right.saturating_sub(offset) } else { right + offset }
    }

    fn sleep_until(&self, deadline: Time) -> BoxFuture<'static, ()> {
        match self.start.checked_add(Duration::from_nanos(deadline.0)) {
            Some(deadline) => {
                let life = self.life.clone();
                Box::pin(async move {
                    sleep_until(deadline).await;
                    life.go_on().await;
                })
            }
            None => Box::pin(future::pending()),
        }
    }
}
