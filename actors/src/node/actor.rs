//! Carries out what membership asks for. Started by the driver's supervisor as `Shell<Membership>`.

use super::{
    core::Membership,
    event::Action,
    messages::{Links, Roles},
};
use crate::{core::Perform, shell::ShellAddress};
use tidemill_protocol::message::ToExecutor;

/// The performer of [`Membership`].
pub struct MembershipPerformer<L, R> {
    /// The connections.
    pub links: L,
    /// The roles.
    pub roles: R,
}

impl<L: Links, R: Roles> Perform<Membership> for MembershipPerformer<L, R> {
    fn perform(&mut self, action: Action, _me: &ShellAddress<Membership>) {
        self.carry_out(action);
    }
}

impl<L: Links, R: Roles> MembershipPerformer<L, R> {
    pub(super) fn carry_out(&mut self, action: Action) {
        match action {
            Action::Welcome { member, link, epoch } => {
                tracing::info!(%member, "an executor has registered");
                self.links.bind(member, link);
                self.links.tell(member, ToExecutor::Welcome { epoch });
            }
            Action::Refuse { link, reason } => {
                tracing::warn!(%reason, "an executor was refused");
                self.links.refuse(link, &reason);
                self.roles.refused(link, &reason);
            }
            Action::Peers { to, peers } => {
                for member in to {
                    self.links.tell(member, ToExecutor::Peers { peers: peers.clone() });
                }
            }
            Action::ExecutorUp(registration) => self.roles.executor_up(&registration),
            Action::ExecutorDown { member, reason } => {
                self.roles.executor_down(member, reason);
            }
            Action::Standing { member, standing } => {
                tracing::info!(%member, ?standing, "an executor's standing has changed");
                self.roles.standing(member, standing);
            }
            Action::Alive { live, suspected } => {
                metrics::gauge!("tidemill_membership_live").set(live as f64);
                metrics::gauge!("tidemill_membership_suspected_now").set(suspected as f64);
            }
            Action::PeersLeaving { to, members } => {
                for member in to {
                    self.links.tell(member, ToExecutor::PeersLeaving { members: members.clone() });
                }
            }
            Action::Denied { to, nodes } => {
                for member in to {
                    self.links.tell(member, ToExecutor::Denied { nodes: nodes.clone() });
                }
            }
            Action::CloseLink { link } => self.links.close(link, "declared dead"),
            Action::Ping { member, nonce } => self.links.tell(member, ToExecutor::Ping { nonce }),
            Action::Deliver { to, from, message } => self.roles.deliver(to, from, message),
            Action::Shutdown { member } => self.links.tell(member, ToExecutor::Shutdown),
            Action::Count(counter) => metrics::counter!(counter.name()).increment(1),
        }
    }
}
