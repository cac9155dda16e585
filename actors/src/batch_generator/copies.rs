//! Copies of safe blocks whose holders have become too few: which block, from whom, to whom, and when again.
//!
//! The receiver that cut a block looks after its copies itself as long as its executor stays. When that executor is gone or
//! leaves, nobody but the books knows who else holds the block: then its copies are made here.
//!
//! | staying holders | the executor that cut it stays | then |
//! |---|---|---|
//! | enough | | nothing |
//! | too few | yes | nothing: the receiver copies it |
//! | too few | no | copied, oldest batch first; a bounded number at a time |
//!
//! An executor that did not take a copy is not asked again for that block before all others were, and then after a delay that
//! doubles. With nobody left to ask, the next executor that comes up is.

use super::{
    books::{Books, Holding, Stage},
    core::GeneratorCore,
    lives::Lives,
    messages::{GeneratorAction as Action, GeneratorNote},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tidemill_protocol::{
    id::{BatchNumber, BlockId, Member},
    time::Time,
};

/// So many copies are under way at once: recovery shall not push the work of the batches aside.
pub(super) const UNDER_WAY_MAX: usize = 16;

/// The first wait after everybody has refused a block; it doubles …
const RETRY_MIN: Duration = Duration::from_millis(100);
/// … up to this.
const RETRY_MAX: Duration = Duration::from_secs(5);

/// An order to copy a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Transfer {
    pub(super) from: Member,
    pub(super) to: Member,
}

/// The copies that are wanted and those under way.
#[derive(Debug, Default)]
pub(super) struct Copies {
    wanted: BTreeSet<(BatchNumber, BlockId)>,
    under_way: BTreeMap<BlockId, Transfer>,
    /// Who did not take a block.
    refused: BTreeMap<BlockId, BTreeSet<Member>>,
    retry_at: Option<Time>,
    retries: u32,
    /// Something has changed: a copy may be possible that was not.
    is_changed: bool,
}

impl Copies {
    /// Executors have come, gone, or are about to: looks at every block.
    pub(super) fn refresh(&mut self, books: &Books, lives: &Lives) {
        self.wanted = books
            .holdings()
            .filter(|held| is_lacking(held, lives))
            .map(|held| (held.batch, held.id))
            .collect();
        let lives_on = |transfer: &Transfer| {
            lives.members.contains(&transfer.from) && lives.members.contains(&transfer.to)
        };
        self.under_way.retain(|_, transfer| lives_on(transfer));
        let wanted: BTreeSet<BlockId> = self.wanted.iter().map(|(_, id)| *id).collect();
        self.refused.retain(|id, _| wanted.contains(id));
        self.retry_at = None;
        self.retries = 0;
        self.is_changed = true;
    }

    /// A block has been entered, or has become safe.
    pub(super) fn consider(&mut self, books: &Books, lives: &Lives, id: BlockId) {
        if let Some(held) = books.holding(id).filter(|held| is_lacking(held, lives)) {
            self.wanted.insert((held.batch, id));
            self.is_changed = true;
        }
    }

    /// A copy has ended, well or badly; false if nobody waits for it.
    fn end(&mut self, id: BlockId, to: Member, kept: bool) -> bool {
        if self.under_way.get(&id).is_none_or(|transfer| transfer.to != to) {
            return false;
        }
        self.under_way.remove(&id);
        self.is_changed = true;
        if kept {
            self.retries = 0;
            self.refused.remove(&id);
        } else {
            self.refused.entry(id).or_default().insert(to);
        }
        true
    }

    /// The copies that are to be made now.
    fn next(&mut self, now: Time, books: &Books, lives: &Lives) -> Vec<(BlockId, Transfer)> {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.refused.clear();
            self.is_changed = true;
        }
        if !std::mem::take(&mut self.is_changed) {
            return Vec::new();
        }
        let staying = lives.staying();
        let mut orders = Vec::new();
        let mut is_refused = false;
        for (batch, id) in self.wanted.clone() {
            if self.under_way.len() >= UNDER_WAY_MAX {
                break;
            }
            // A block may have been released, or moved to another batch, since it was wanted.
            let Some(held) = books.holding(id).filter(|held| is_lacking(held, lives)) else {
                self.wanted.remove(&(batch, id));
                continue;
            };
            if self.under_way.contains_key(&id) {
                continue;
            }
            match self.choose(&held, lives, &staying) {
                Choice::Now(transfer) => {
                    self.under_way.insert(id, transfer);
                    orders.push((id, transfer));
                }
                Choice::Later => is_refused = true,
                Choice::Nobody => {}
            }
        }
        if is_refused && self.retry_at.is_none() {
            self.retry_at =
                Some(now + (RETRY_MIN * 2u32.saturating_pow(self.retries.min(16))).min(RETRY_MAX));
            self.retries += 1;
        }
        orders
    }

    fn choose(&self, held: &Holding<'_>, lives: &Lives, staying: &BTreeSet<Member>) -> Choice {
        let alive = |holder: &&Member| lives.members.contains(*holder);
        let from = held.holders.iter().filter(alive).min_by_key(|h| (!staying.contains(h), **h));
        let Some(from) = from.copied() else {
            return Choice::Nobody;
        };
        let others: Vec<Member> = staying.iter().filter(|m| !held.holders.contains(m)).copied().collect();
        if others.is_empty() {
            return Choice::Nobody;
        }
        let refused = self.refused.get(&held.id);
        let willing = others.iter().filter(|other| refused.is_none_or(|refused| !refused.contains(other)));
        let busy = |m: Member| self.under_way.values().filter(|transfer| transfer.to == m).count();
        // A copy on the machine of another one dies with it.
        let is_near = |m: Member| held.holders.iter().any(|holder| lives.share_machine(*holder, m));
        match willing.min_by_key(|m| (is_near(**m), busy(**m), **m)) {
            Some(to) => Choice::Now(Transfer { from, to: *to }),
            None => Choice::Later,
        }
    }

    /// Who was told to copy this block, if somebody was.
    pub(super) fn copier(&self, id: BlockId) -> Option<Member> {
        self.under_way.get(&id).map(|transfer| transfer.from)
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.retry_at
    }

    pub(super) fn assert_invariants(&self, lives: &Lives) {
        assert!(self.under_way.len() <= UNDER_WAY_MAX, "copies under way are limited");
        for (id, transfer) in &self.under_way {
            let both = [transfer.from, transfer.to];
            assert!(both.iter().all(|m| lives.members.contains(m)), "{id} is copied between the living");
        }
    }
}

enum Choice {
    Now(Transfer),
    /// Everybody who stays has refused it.
    Later,
    /// There is nobody to ask, or nobody who has it.
    Nobody,
}

/// Whether somebody other than its receiver must have the block copied.
fn is_lacking(held: &Holding<'_>, lives: &Lives) -> bool {
    let stays = |member: &Member| lives.members.contains(member) && !lives.leaving.contains(member);
    let staying = held.holders.iter().filter(|holder| stays(holder)).count();
    held.safe && staying < held.copies && !stays(&held.cut_on)
}

impl GeneratorCore {
    /// The answer to an order to copy. A block that was let go of meanwhile is let go of there too.
    pub(super) fn on_copied(&mut self, block: BlockId, to: Member, kept: bool, out: &mut Vec<Action>) {
        let awaited = self.copies.end(block, to, kept);
        if !self.lives.members.contains(&to) {
            return;
        }
        if self.books.holding(block).is_none() {
            out.push(Action::DropBlocks { member: to, blocks: vec![block] });
        } else if kept
            && awaited
            && let Some(marked) = self.books.add_holder(block, to)
        {
            out.push(Action::Note(GeneratorNote::BlockCopied { block, to }));
            if marked.stage >= Stage::Handed {
                out.push(Action::BlockHeld { block, holders: marked.holders });
            }
        }
    }

    /// Orders the copies that are due.
    pub(super) fn copy_blocks(&mut self, now: Time, out: &mut Vec<Action>) {
        let orders = self.copies.next(now, &self.books, &self.lives);
        let order = |(block, transfer): (BlockId, Transfer)| {
            let Transfer { from, to } = transfer;
            Action::CopyBlock { from, block, to }
        };
        out.extend(orders.into_iter().map(order));
    }
}
