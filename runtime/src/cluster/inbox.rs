//! Where what executors say arrives at the driver, whichever way it travelled.

use tidemill_protocol::{id::Member, message::ToDriver};

/// The driver's ear. Called on the control thread, or from the tasks of links; never waits.
pub(crate) trait Inbox: Send + Sync {
    /// A member of the cluster says something. Messages of one member arrive in order.
    fn deliver(&self, from: Member, message: ToDriver);
    /// The connection to a member is lost: nothing will come from it any more.
    fn lost(&self, member: Member);
    /// A peer sent what is not the protocol, and was cut off.
    fn rubbish(&self, from: Option<Member>);
}
