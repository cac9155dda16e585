//! Passes the rates on.

use super::{
    core::RateControllerCore,
    messages::{RateAction, RateOutlet},
};
use crate::{core::Perform, shell::ShellAddress};
use std::sync::Arc;

/// The hands of the rate controller.
pub struct RatePerformer {
    outlet: Arc<dyn RateOutlet>,
}

impl RatePerformer {
    /// Hands that set rates through `outlet`.
    pub fn new(outlet: Arc<dyn RateOutlet>) -> Self {
        RatePerformer { outlet }
    }
}

impl Perform<RateControllerCore> for RatePerformer {
    fn perform(&mut self, action: RateAction, _me: &ShellAddress<RateControllerCore>) {
        match action {
            RateAction::SetRate { input, records_per_s_max } => {
                self.outlet.set_rate(input, records_per_s_max)
            }
        }
    }
}
