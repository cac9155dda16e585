//! The user's handle on a running cluster.

use super::{
    driver::Roles,
    plumbing::Die,
    progress::{PipelineError, Progress},
};
use std::{collections::BTreeMap, thread::JoinHandle, time::Duration};
use tidemill_actors::supervision::{Address, SupervisorHandle, Tree};
use tidemill_protocol::id::NodeId;

/// A pipeline that runs. Dropping it stops the pipeline without waiting for what has not been published.
pub struct Running {
    pub(super) progress: Progress,
    pub(super) roles: Roles,
    pub(super) root: SupervisorHandle,
    pub(super) executors: BTreeMap<NodeId, Address<Die>>,
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

    /// The supervision tree, with restarts, mailbox depths and last exits.
    pub fn tree(&self) -> Tree {
        self.root.tree()
    }

    /// Kills an executor of this process as a power cut would: tasks stop where they are, its blocks and outputs are gone,
    /// nobody is told. Its supervisor starts it again. False if there is no such executor.
    pub fn kill_executor(&self, node: NodeId) -> bool {
        let reason = "killed on request".to_owned();
        self.executors.get(&node).is_some_and(|die| die.tell_control(Die { reason }).is_ok())
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
