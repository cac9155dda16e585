//! SIGSTOP of an executor that runs a task: others do its work; when it goes on it belongs to the cluster no more.

use super::{
    End, Wrong,
    cluster::{Plan, directly, play},
    ensure,
    processes::{signal, state, until},
};
use std::{path::Path, time::Duration};
use tidemill_protocol::world::World;

pub fn of_10_s(program: &Path) -> Result<End, Wrong> {
    of(program, Duration::from_secs(10))
}

pub fn of_60_s(program: &Path) -> Result<End, Wrong> {
    of(program, Duration::from_secs(60))
}

fn of(program: &Path, lasts: Duration) -> Result<End, Wrong> {
    play(program, Plan::new(5_000, lasts.as_secs() + 8), directly, |cluster| {
        let host = cluster.receivers_host()?;
        cluster.stop_in_a_task(&host)?;
        let clock = World::real().clock;
        let goes_on_at = clock.now() + lasts;
        let lost = cluster.loss_is_named(&host)?;
        cluster.goes_on()?;
        until("the time is over", || (clock.now() >= goes_on_at).then_some(()))?;
        ensure(state(host.pid) == Some('T'), || "it was not stopped all the time".to_owned())?;
        signal("CONT", host.pid)?;
        cluster.is_succeeded(&host)?;
        let why = cluster.last_words(&host)?;
        Ok(vec![format!("SIGSTOP for {} s ({lost}; it ended: {why})", lasts.as_secs())])
    })
}
