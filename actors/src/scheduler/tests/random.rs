//! Random graphs on a model cluster: executors that come, die, return as zombies, are suspected and excluded, fail tasks and
//! forget outputs, while copies of late tasks run beside them. Whatever
//! happens, each batch is published once, in order, with the value that a plain recursive evaluation gives; no attempt number
//! is used twice; a task that is sent ahead begins when it is told that its inputs are there, though notices are lost; no two runs of a task that is not deterministic are mixed; and nothing runs again whose output is still
//! held, or that nobody needs.

use super::{
    cluster::{KEEPER, World},
    oracle::random_job,
    *,
};
use tidemill_protocol::world::SeededRng;

/// What has been told to a scheduler, and what is to come.
struct History {
    world: World,
    losses: f64,
    batches: u64,
    planned: u64,
    blocks: u64,
    /// Planned, but not told to be safe.
    unsafe_batches: Vec<u64>,
    /// How many (batch, sink) will be published.
    expected: usize,
}

impl History {
    fn new(seed: u64) -> History {
        let mut rng = SeededRng::new(seed);
        let losses = rng.unit() * 0.25;
        let batches = rng.range(1, 5);
        let world = World::new(seed, rng);
        History { world, losses, batches, planned: 0, blocks: 0, unsafe_batches: Vec::new(), expected: 0 }
    }

    fn plan_batch(&mut self) {
        let (job, count) = random_job(&mut self.world.rng, self.blocks);
        let blocks = self.blocks..self.blocks + count;
        let place = |n| BlockPlace { block: block(n), holders: vec![KEEPER] };
        let places = blocks.map(place).collect();
        self.blocks += count;
        let is_sink = |stage: &&StagePlan| matches!(stage.output, StageOutput::Sink(_));
        self.expected += job.stages.iter().filter(is_sink).count();
        self.world.jobs.insert(BatchNumber(self.planned), job.clone());
        self.unsafe_batches.push(self.planned);
        self.world.tell(plan(self.planned, job, places));
        self.planned += 1;
    }

    /// One thing happens; after a while (`quiet`) nothing is lost any more.
    fn step(&mut self, quiet: bool) {
        let world = &mut self.world;
        match world.rng.range(0, 21) {
            0 if self.planned < self.batches => self.plan_batch(),
            1 if !self.unsafe_batches.is_empty() => world.tell(safe(self.unsafe_batches.swap_remove(0))),
            2 => world.up(),
            3 | 4 => world.publish(),
            5 => world.tell(Event::Wake),
            6 if !quiet && world.rng.chance(self.losses * 4.0) => {
                if let Some(member) = world.victim() {
                    world.down(member);
                }
            }
            7 if !quiet && world.rng.chance(self.losses) => {
                if let Some(member) = world.victim() {
                    world.crash(member);
                }
            }
            8 => world.notice(),
            9 => world.suspect(),
            _ => world.step(),
        }
    }

    fn is_over(&self) -> bool {
        let is_planned = self.planned == self.batches && self.unsafe_batches.is_empty();
        is_planned && self.world.published.len() == self.expected
    }
}

/// Runs one random history; gives how many attempts were made again, how many copies were made, how many executors were
/// excluded, how many of them because of a gap, how many outcomes the driver had before it could accept them, how many notices were lost, and how many tasks had
/// their inputs named because of that.
fn run(seed: u64) -> [u64; 7] {
    let mut history = History::new(seed);
    for round in 0..20_000 {
        history.step(round > 3_000);
        if history.is_over() {
            let World { reruns, copies, exclusions, out_of_reach, talk, named, .. } = &history.world;
            return [*reruns, *copies, *exclusions, *out_of_reach, talk.were_early, talk.lost, *named];
        }
    }
    let (published, expected) = (history.world.published.len(), history.expected);
    panic!("seed {seed}: {published} of {expected} outputs were published");
}

#[test]
fn whatever_is_lost_every_batch_is_published_once_in_order_with_the_value_of_a_quiet_run() {
    let mut sums = [0; 7];
    for counted in (0..2_500).map(run) {
        (0..7).for_each(|n| sums[n] += counted[n]);
    }
    let [reruns, copies, exclusions, gaps, early, lost, named] = sums;
    assert!(reruns > 5_000, "the losses must cost something, or nothing was tested: {reruns}");
    assert!(early > 300 && lost > 200 && named > 200, "{early} early, {lost} notices lost, {named} named");
    assert!(copies > 1_000 && exclusions > 300, "{copies} copies and {exclusions} exclusions");
    assert!(gaps > 40, "{gaps} exclusions because of a gap");
}
