//! Who speaks on a control stream.

use crate::id::{Epoch, Member, ProgramId};
use serde::{Deserialize, Serialize};

/// The first frame of a control stream: all messages that follow on the stream are from this member. A receiver of the
/// stream refuses dead incarnations, lower epochs and other programs by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Which life of which node speaks.
    pub member: Member,
    /// The reign that the speaker knows; 0 from an executor that has not been welcomed.
    pub epoch: Epoch,
    /// The program it was built with.
    pub program: ProgramId,
}
