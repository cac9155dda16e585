//! Who is there, how much room each has (slots, and a short queue behind them that hides the round trip), and how far each is
//! trusted; kept in the order in which placement asks, so that a task costs the same among 10 executors and among 300.

use std::collections::{BTreeMap, BTreeSet};
use tidemill_protocol::id::{Member, NodeId};

/// How far an executor is trusted with tasks by what its tasks have done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// As much as it has room for.
    Good,
    /// One at a time, to see how it does: it was excluded before.
    OnProbation,
    /// None.
    Excluded,
}

/// Whether an executor leaves; one that does is given nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Leaving {
    /// It stays.
    No,
    /// It leaves, and a task runs there or an output of it may be asked for.
    Needed,
    /// It leaves, and it was told that nothing of it is needed.
    Drained,
}

/// One live executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Executor {
    /// How many tasks it runs at once.
    pub slots: u32,
    /// How many attempts it has been given and has not answered.
    pub tasks: u32,
    /// How many attempts it was sent whose inputs are not all there. They take no room: what they wait for needs it.
    pub expecting: u32,
    /// How many it may have been given: slots and queue.
    pub tasks_max: u32,
    /// Whether the failure detector has not heard of it for too long.
    pub suspected: bool,
    /// What its tasks have earned it.
    pub standing: Standing,
    /// Whether it leaves.
    pub leaving: Leaving,
    /// Whether it works on although it leaves, because nobody stays.
    pub works_on: bool,
}

/// What jobs have on one executor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// Attempts that run.
    pub running: u32,
    /// Of these, those that were sent ahead, and took room when their inputs came.
    pub foreseen: u32,
    /// Attempts that were sent ahead, and whose inputs are not there.
    pub expecting: u32,
}

/// The order in which executors are asked: trusted before suspected, a free slot before a queue, little load before much.
type Rank = (bool, bool, u32);

impl Executor {
    /// A sound one without tasks.
    pub fn new(slots: u16, queue_per_slot: u16) -> Executor {
        let slots = u32::from(slots.max(1));
        let tasks_max = slots * (1 + u32::from(queue_per_slot));
        Executor {
            slots,
            tasks: 0,
            expecting: 0,
            tasks_max,
            suspected: false,
            standing: Standing::Good,
            leaving: Leaving::No,
            works_on: false,
        }
    }

    /// Whether a task would run at once.
    pub fn has_free_slot(&self) -> bool {
        self.tasks < self.slots
    }

    /// How many tasks more it may be given.
    pub fn room(&self) -> u32 {
        let most = match self.standing {
            Standing::Good => self.tasks_max,
            Standing::OnProbation => 1,
            Standing::Excluded => 0,
        };
        if self.is_at_work() { most.saturating_sub(self.tasks) } else { 0 }
    }

    fn is_at_work(&self) -> bool {
        self.leaving == Leaving::No || self.works_on
    }

    /// Whether it may be given tasks at all, full or not.
    fn is_included(&self) -> bool {
        self.standing != Standing::Excluded && self.is_at_work()
    }

    /// Whether it is asked before those that are suspected, and may be given tasks.
    pub fn is_usable(&self) -> bool {
        !self.suspected && self.is_included()
    }

    /// Its place in the order, the load being attempts per slot in thousandths.
    pub fn rank(&self) -> Rank {
        let load = self.tasks.saturating_mul(1_000) / self.slots.max(1);
        (self.suspected, !self.has_free_slot(), load)
    }
}

/// All live executors.
#[derive(Clone, Debug, Default)]
pub(super) struct Executors {
    live: BTreeMap<Member, Executor>,
    /// Those with room, the first to be asked first.
    order: BTreeSet<(Rank, Member)>,
    /// How many may be given tasks at all, full or not.
    included: usize,
    usable: usize,
    /// How many do not leave.
    staying: usize,
    /// Whether those who leave work on.
    all_leave: bool,
}

impl Executors {
    /// Enters an executor; false if it is there already.
    pub fn enter(&mut self, member: Member, slots: u16, queue_per_slot: u16) -> bool {
        if self.is_live(member) {
            return false;
        }
        self.put(member, Executor::new(slots, queue_per_slot));
        self.share_out();
        true
    }

    /// Strikes an executor out; false if it is not there.
    pub fn strike(&mut self, member: Member) -> bool {
        let was_there = self.take_out(member).is_some();
        self.share_out();
        was_there
    }

    /// Nothing more is given to this executor, because it leaves.
    pub fn leave(&mut self, member: Member) {
        self.change(member, |executor| executor.leaving = executor.leaving.max(Leaving::Needed));
        self.share_out();
    }

    /// Whether there are executors, and all of them leave.
    pub fn all_leave(&self) -> bool {
        self.all_leave
    }

    /// With nobody who stays, those who leave work on.
    fn share_out(&mut self) {
        let works_on = !self.live.is_empty() && self.staying == 0;
        if std::mem::replace(&mut self.all_leave, works_on) != works_on {
            for member in self.members() {
                self.change(member, |executor| executor.works_on = works_on);
            }
        }
    }

    /// Those that leave and are still needed, by id.
    pub fn draining(&self) -> Vec<Member> {
        // Asked after each event: nobody is looked at while nobody leaves.
        if self.staying == self.live.len() {
            return Vec::new();
        }
        let draining = self.live.iter().filter(|(_, executor)| executor.leaving == Leaving::Needed);
        draining.map(|(member, _)| *member).collect()
    }

    /// This leaving executor is not needed any more.
    pub fn set_drained(&mut self, member: Member) {
        self.change(member, |executor| executor.leaving = Leaving::Drained);
    }

    /// Takes room for one attempt.
    pub fn take(&mut self, member: Member) {
        let mut executor = self.take_out(member).expect("placement chooses among live executors");
        assert!(executor.room() > 0, "{member} was given more than it has room for");
        executor.tasks += 1;
        self.put(member, executor);
    }

    /// Gives back the room of one attempt; nothing happens if the executor is gone.
    pub fn give_back(&mut self, member: Member) {
        self.change(member, |executor| executor.tasks -= 1);
    }

    /// It is sent an attempt whose inputs are not there.
    pub fn expect(&mut self, member: Member) {
        self.change(member, |executor| executor.expecting += 1);
    }

    /// Such an attempt is called back; nothing happens if the executor is gone.
    pub fn forget_expected(&mut self, member: Member) {
        self.change(member, |executor| executor.expecting -= 1);
    }

    /// The inputs of such an attempt are there: it takes room, also where there is none.
    pub fn begin_expected(&mut self, member: Member) {
        self.change(member, |executor| {
            executor.expecting -= 1;
            executor.tasks += 1;
        });
    }

    /// Those that may be given tasks ahead, by id: sound, and there to stay.
    pub fn trusted(&self) -> impl Iterator<Item = (Member, &Executor)> {
        let is_trusted = |executor: &Executor| executor.is_usable() && executor.standing == Standing::Good;
        self.live
            .iter()
            .filter(move |(_, executor)| is_trusted(executor))
            .map(|(member, executor)| (*member, executor))
    }

    /// Notes what the failure detector thinks of it.
    pub fn suspect(&mut self, member: Member, suspected: bool) {
        self.change(member, |executor| executor.suspected = suspected);
    }

    /// Notes what its tasks have earned it.
    pub fn set_standing(&mut self, member: Member, standing: Standing) {
        self.change(member, |executor| executor.standing = standing);
    }

    fn change(&mut self, member: Member, change: impl FnOnce(&mut Executor)) {
        if let Some(mut executor) = self.take_out(member) {
            change(&mut executor);
            self.put(member, executor);
        }
    }

    fn put(&mut self, member: Member, executor: Executor) {
        self.included += usize::from(executor.is_included());
        self.usable += usize::from(executor.is_usable());
        self.staying += usize::from(executor.leaving == Leaving::No);
        if executor.room() > 0 {
            self.order.insert((executor.rank(), member));
        }
        self.live.insert(member, executor);
    }

    fn take_out(&mut self, member: Member) -> Option<Executor> {
        let executor = self.live.remove(&member)?;
        self.included -= usize::from(executor.is_included());
        self.usable -= usize::from(executor.is_usable());
        self.staying -= usize::from(executor.leaving == Leaving::No);
        self.order.remove(&(executor.rank(), member));
        Some(executor)
    }

    /// Whether this life of the node counts.
    pub fn is_live(&self, member: Member) -> bool {
        self.live.contains_key(&member)
    }

    /// The executor, if it lives.
    pub fn get(&self, member: Member) -> Option<Executor> {
        self.live.get(&member).copied()
    }

    /// Whether any executor may be given a task.
    pub fn has_room(&self) -> bool {
        !self.order.is_empty()
    }

    /// Whether a task would run at once on an executor that is not suspected.
    pub fn has_idle_slot(&self) -> bool {
        self.order.first().is_some_and(|((suspected, is_queue, _), _)| !suspected && !is_queue)
    }

    /// Those with room, the first to be asked first.
    pub fn in_order(&self) -> impl Iterator<Item = Member> {
        self.order.iter().map(|(_, member)| *member)
    }

    /// Whether it is there, and neither suspected nor excluded.
    pub fn is_usable(&self, member: Member) -> bool {
        self.get(member).is_some_and(|executor| executor.is_usable())
    }

    /// How many are neither suspected nor excluded.
    pub fn usable(&self) -> usize {
        self.usable
    }

    /// Whether there is anybody, full or not, who is not among `avoid` and may be given tasks.
    pub fn has_others(&self, avoid: &[Member]) -> bool {
        let is_included = |member: &&Member| self.get(**member).is_some_and(|e| e.is_included());
        // Somebody may be named twice: as one who failed a task, and as one who was overtaken, more than once.
        let avoided: BTreeSet<&Member> = avoid.iter().filter(is_included).collect();
        self.included > avoided.len()
    }

    /// The newest life of a node, if one is there.
    pub fn of_node(&self, node: NodeId) -> Option<Member> {
        self.live.keys().rev().find(|member| member.node == node).copied()
    }

    /// The excluded ones, by id.
    pub fn excluded(&self) -> Vec<Member> {
        let excluded = self.live.iter().filter(|(_, executor)| executor.standing == Standing::Excluded);
        excluded.map(|(member, _)| *member).collect()
    }

    /// The names of all of them, by id.
    pub fn members(&self) -> Vec<Member> {
        self.live.keys().copied().collect()
    }

    /// Panics if the books contradict themselves or `counted`, what the jobs count on each executor.
    pub fn assert_invariants(&self, counted: &BTreeMap<Member, Counted>) {
        for (member, executor) in &self.live {
            let Counted { running, foreseen, expecting } = counted.get(member).copied().unwrap_or_default();
            let placed = running - foreseen;
            assert!(placed <= executor.tasks_max, "{member} was given more than its room");
            assert_eq!(executor.tasks, running, "{member}: attempts in the books and in the jobs");
            assert_eq!(executor.expecting, expecting, "{member}: attempts that were sent ahead");
        }
        assert!(counted.keys().all(|m| self.is_live(*m)), "a task is on a dead executor");
        let with_room = self.live.iter().filter(|(_, executor)| executor.room() > 0);
        let order: BTreeSet<(Rank, Member)> = with_room.map(|(m, executor)| (executor.rank(), *m)).collect();
        assert_eq!(self.order, order, "the order of those with room");
        let usable = self.live.values().filter(|executor| executor.is_usable()).count();
        assert_eq!(self.usable, usable, "those that are neither suspected nor excluded");
        let included = self.live.values().filter(|executor| executor.is_included()).count();
        assert_eq!(self.included, included, "those that may be given tasks");
        let all_leave = !self.live.is_empty() && self.live.values().all(|e| e.leaving != Leaving::No);
        assert_eq!(self.all_leave, all_leave, "whether all leave");
        assert!(
            self.live.values().all(|e| e.works_on == all_leave),
            "those who leave work on when nobody stays"
        );
        assert!(
            usable > 0 || self.excluded().is_empty(),
            "somebody is excluded although nobody else is usable"
        );
    }
}
