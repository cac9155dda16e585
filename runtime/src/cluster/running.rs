//! The user's handle on a running cluster.

use super::{
    driver::Roles,
    plumbing::Die,
    progress::{PipelineError, Progress},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::PoisonError,
    thread::JoinHandle,
    time::Duration,
};
use tidemill_actors::{
    rate_controller::{InputKey, RateEvent},
    supervision::{Address, SupervisorHandle, Tree},
};
use tidemill_protocol::id::NodeId;

/// A pipeline that runs. Dropping it stops the pipeline without waiting for what has not been published.
pub struct Running {
    pub(super) progress: Progress,
    pub(super) roles: Roles,
    pub(super) root: SupervisorHandle,
    pub(super) executors: BTreeMap<NodeId, Address<Die>>,
    pub(super) address: Option<SocketAddr>,
    /// What of each stream can be throttled.
    pub(super) inputs: BTreeMap<String, Vec<InputKey>>,
    pub(super) control: Option<JoinHandle<()>>,
}

/// Stops a pipeline from elsewhere: a signal handler, another thread.
#[derive(Clone)]
pub struct Stopper(Roles);

impl Stopper {
    /// Reads no more, publishes what was received, then ends.
    pub fn stop_gracefully(&self) {
        self.0.stop(true);
    }

    /// Ends now; batches that are not decided are not published.
    pub fn stop_now(&self) {
        self.0.stop(false);
    }
}

impl Running {
    /// Waits until the pipeline has ended: its sources are exhausted, it was stopped, or it failed.
    ///
    /// # Errors
    /// [`PipelineError`] with what went wrong in words; nothing after the batch it names was published.
    pub fn await_termination(mut self) -> Result<(), PipelineError> {
        let outcome = self.progress.wait(None).unwrap_or(Ok(()));
        self.join();
        outcome
    }

    /// Waits for the end, at most `timeout`; `None` if it has not come.
    ///
    /// # Errors
    /// As [`await_termination`](Self::await_termination).
    pub fn await_termination_for(&self, timeout: Duration) -> Option<Result<(), PipelineError>> {
        self.progress.wait(Some(timeout))
    }

    /// Reads no more, publishes what was received, and waits for the end.
    ///
    /// # Errors
    /// As [`await_termination`](Self::await_termination).
    pub fn stop_gracefully(self) -> Result<(), PipelineError> {
        self.roles.stop(true);
        self.await_termination()
    }

    /// Ends now and waits for the end; batches that are not decided are not published.
    ///
    /// # Errors
    /// As [`await_termination`](Self::await_termination).
    pub fn stop_now(self) -> Result<(), PipelineError> {
        self.roles.stop(false);
        self.await_termination()
    }

    /// Stops the pipeline from elsewhere.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.roles.clone())
    }

    /// What happens: events, the last batches, the receivers.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Where the driver listens for executors; `None` if it runs them in this process.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The supervision tree, with restarts, mailbox depths and last exits.
    pub fn tree(&self) -> Tree {
        self.root.tree()
    }

    /// Reads nothing more of a stream until it is [resumed](Self::resume): its receivers stop reading, which their senders
    /// feel, and a planned stream waits. What was read before is computed as ever; batches are cut on. False if there is no
    /// such stream, or if nobody throttles it (`AvailableNow`, queues, files, static data).
    pub fn pause(&self, stream: &str) -> bool {
        self.throttle(stream, |paused, input| {
            paused.insert(input);
            RateEvent::Pause(input)
        })
    }

    /// Reads a [paused](Self::pause) stream again, from where it stood. False as there.
    pub fn resume(&self, stream: &str) -> bool {
        self.throttle(stream, |paused, input| {
            paused.remove(&input);
            RateEvent::Resume(input)
        })
    }

    fn throttle(
        &self,
        stream: &str,
        mut event: impl FnMut(&mut BTreeSet<InputKey>, InputKey) -> RateEvent,
    ) -> bool {
        let inputs = self.inputs.get(stream).map(Vec::as_slice).unwrap_or_default();
        let mut paused = self.roles.paused.lock().unwrap_or_else(PoisonError::into_inner);
        for input in inputs {
            self.roles.rates.tell(event(&mut paused, *input));
        }
        !inputs.is_empty()
    }

    /// Kills an executor of this process as a power cut would: tasks stop where they are, its blocks and outputs are gone,
    /// nobody is told. Its supervisor starts it again. False if there is no such executor.
    pub fn kill_executor(&self, node: NodeId) -> bool {
        let reason = "killed on request".to_owned();
        self.executors.get(&node).is_some_and(|die| die.try_send(Die { reason }).is_ok())
    }

    fn join(&mut self) {
        if let Some(control) = self.control.take() {
            // A panic of the control thread has already been reported as the pipeline's failure.
            let _ = control.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.control.is_some() {
            self.roles.stop(false);
            self.root.shutdown();
            self.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{BatchInterval, Config, Running, StreamContext, sources::Generator};
    use std::time::Duration;

    fn running() -> Running {
        let interval = BatchInterval::Every(Duration::from_millis(20));
        let context = StreamContext::with_config(Config { batch_interval: interval, ..Config::default() });
        context.generator("numbers", Generator::new(1, |_, n| n)).count().foreach_batch(|_, _| Ok(()));
        context.start().expect("a sound pipeline starts")
    }

    #[test]
    fn the_end_of_a_role_of_the_driver_fails_the_job_with_its_cause() {
        type End = fn(&Running);
        let ends: [(&str, End); 3] = [
            ("node", |running| assert!(running.roles.node.fail("struck"))),
            ("batch_generator", |running| assert!(running.roles.generator.fail("struck"))),
            ("scheduler", |running| assert!(running.roles.scheduler.fail("struck"))),
        ];
        for (role, end) in ends {
            let running = running();
            end(&running);
            let outcome =
                running.await_termination_for(Duration::from_secs(30)).expect("it ends within 30 s");
            let error = outcome.expect_err("the job fails").to_string();
            assert_eq!(error, format!("the {role} has ended: failed: struck"));
        }
    }

    #[test]
    fn a_rate_controller_that_ends_comes_back_and_the_job_goes_on() {
        let running = running();
        assert!(running.roles.rates.fail("struck"));
        let restarted =
            || running.tree().get("node-0/rate_controller").is_some_and(|entry| entry.restarts == 1);
        // At most 30 s.
        let mut waits = 0..3_000;
        while !restarted() && waits.next().is_some() {
            assert_eq!(running.await_termination_for(Duration::from_millis(10)), None, "the job goes on");
        }
        assert!(restarted(), "it is started again");
        assert!(running.stop_gracefully().is_ok());
    }
}
