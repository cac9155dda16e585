//! Which executor gets the next receiver.

use std::collections::BTreeMap;
use tidemill_protocol::id::Member;

/// The executor with the fewest receivers; of several the first by id. The one in `avoid` only if there is no other: a
/// receiver that has just failed there may have failed because of it.
pub(super) fn choose(receivers: &BTreeMap<Member, usize>, avoid: Option<Member>) -> Option<Member> {
    let fewest = |members: &mut dyn Iterator<Item = (&Member, &usize)>| {
        members.min_by_key(|(member, count)| (**count, **member)).map(|(member, _)| *member)
    };
    let others = fewest(&mut receivers.iter().filter(|(member, _)| Some(**member) != avoid));
    others.or_else(|| fewest(&mut receivers.iter()))
}
