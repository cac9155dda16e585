//! Whom membership's performer talks to, as narrow traits: the driver's assembly plugs in connections and roles.

use super::{
    event::{DownReason, LinkId, Refusal, Standing},
    route::Destination,
};
use tidemill_protocol::{
    id::Member,
    message::{Registration, ToDriver, ToExecutor},
};

/// The connections to executors. None of these may wait.
pub trait Links: 'static {
    /// From now on `member` is reached over `link`.
    fn bind(&self, member: Member, link: LinkId);
    /// Sends to an executor, in order; nothing if it has no connection.
    fn tell(&self, to: Member, message: ToExecutor);
    /// Closes a connection, with a reason for the other side.
    fn close(&self, link: LinkId, reason: &str);
    /// Closes the connection of somebody who is not admitted.
    fn refuse(&self, link: LinkId, refusal: &Refusal) {
        self.close(link, &refusal.to_string());
    }
}

/// The roles whom arrivals, losses and messages concern. None of these may wait.
pub trait Roles: 'static {
    /// An executor is there: told to the batch generator and the scheduler.
    fn executor_up(&self, registration: &Registration);
    /// An executor is gone: told to the batch generator and the scheduler.
    fn executor_down(&self, member: Member, reason: DownReason);
    /// An executor is suspected, trusted again, or wants to leave: told to whoever gives it work.
    fn standing(&self, member: Member, standing: Standing);
    /// A message for one role; never for [`Destination::Node`].
    fn deliver(&self, to: Destination, from: Member, message: ToDriver);
    /// Somebody was not admitted.
    fn refused(&self, _link: LinkId, _reason: &Refusal) {}
}
