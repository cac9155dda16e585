//! The timer of a shell: one sleeping future for all deadlines of a core. It is disturbed only when it would oversleep; a
//! deadline that has moved away is found out when the old one comes.

use std::{cell::Cell, time::Duration};
use tidemill_protocol::{time::Time, world::Clock};
use tokio::sync::Notify;

/// How long to wait when the wake could not be delivered. The lane it found full holds 65,536 events, so it is not alone.
const RETRY: Duration = Duration::from_millis(1);

#[derive(Default)]
pub(super) struct Alarm {
    due: Cell<Option<Time>>,
    asleep_until: Cell<Option<Time>>,
    rung: Cell<bool>,
    moved: Notify,
}

impl Alarm {
    /// Sets when to ring. Between a ring and its [`answered`](Alarm::answered) it is only noted down.
    pub(super) fn set(&self, due: Option<Time>) {
        if self.due.replace(due) == due {
            return;
        }
        let oversleeps = match (due, self.asleep_until.get()) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(due), Some(until)) => due < until,
        };
        if oversleeps && !self.rung.get() {
            self.moved.notify_one();
        }
    }

    /// The ring has been heard.
    pub(super) fn answered(&self) {
        self.rung.set(false);
        self.moved.notify_one();
    }

    /// Rings by `wake` (false: not heard, try again) whenever the time has come; never ends.
    pub(super) async fn ring(&self, clock: Clock, wake: impl Fn() -> bool) {
        loop {
            let due = if self.rung.get() { None } else { self.due.get() };
            self.asleep_until.set(due);
            match due {
                None => self.moved.notified().await,
                Some(due) if due > clock.now() => tokio::select! { biased;
                    () = self.moved.notified() => {}
                    () = clock.sleep_until(due) => {}
                },
                Some(_) if wake() => self.rung.set(true),
                Some(_) => clock.sleep(RETRY).await,
            }
        }
    }
}
