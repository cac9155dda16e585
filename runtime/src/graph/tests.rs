//! Tasks as they run: what they show while they do, how they hear that they are not wanted, and what they may hold.

use crate::{
    DStream, StreamContext,
    sources::Queue,
    testing::{LocalRunner, RunError},
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
use tidemill_actors::{
    block_store::{BlockStore, Budget, Share},
    seam::TaskError,
};

type Shape = fn(&DStream<u64>) -> DStream<u64>;

/// Each makes 5,000 records in one task without asking its input for more meanwhile.
const SHAPES: [(&str, Shape); 4] = [
    ("reduce_by_key", |s| s.map(|n| (n, n)).reduce_by_key_into(1, |a, _| a).map(|pair| pair.0)),
    ("join", |s| s.map(|n| (n, n)).join_into(1, &s.map(|n| (n, n))).map(|pair| pair.0)),
    ("map_partitions", |s| s.map_partitions(|all| all)),
    ("flat_map", |s| s.filter(|n| *n == 0).flat_map(|_| 0..5_000)),
];

/// Runs a map after `shape`; what `at` sees at each record, counted from 1, and how the batch ends.
fn run(
    shape: Shape,
    at: impl Fn(u64, &AtomicBool, &AtomicU64) + Send + Sync + 'static,
) -> Result<u64, (u64, TaskError)> {
    let (context, queue, seen) = (StreamContext::new(), Queue::new(1), Arc::new(AtomicU64::new(0)));
    let (cancelled, progress) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let (its, cancel, shown) = (seen.clone(), cancelled.clone(), progress.clone());
    let looked = shape(&context.queue_stream("numbers", &queue)).map(move |n| {
        at(its.fetch_add(1, Ordering::Relaxed) + 1, &cancel, &shown);
        n
    });
    looked.foreach_batch(|_, _| Ok(()));
    queue.push((0..5_000).collect());
    let mut runner = LocalRunner::new(&context).unwrap();
    (runner.cancelled, runner.progress) = (cancelled, progress);
    let ended = runner.run_batch();
    let seen = seen.load(Ordering::Relaxed);
    match ended {
        Ok(_) => Ok(seen),
        Err(RunError::Task { error, .. }) => Err((seen, error)),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn what_comes_out_of_a_shuffle_or_a_whole_partition_shows_progress_chunk_by_chunk() {
    for (name, shape) in SHAPES {
        let (first, last) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let (began, ended) = (first.clone(), last.clone());
        let seen = run(shape, move |number, _, progress| match number {
            1 => began.store(progress.load(Ordering::Relaxed), Ordering::Relaxed),
            5_000 => ended.store(progress.load(Ordering::Relaxed), Ordering::Relaxed),
            _ => {}
        });
        assert_eq!(seen, Ok(5_000), "{name}");
        let shown = last.load(Ordering::Relaxed) - first.load(Ordering::Relaxed);
        assert!(shown >= 4, "{name}: 5,000 records are five chunks, and progress was shown {shown} times");
    }
}

#[test]
fn a_task_that_is_cancelled_after_a_shuffle_ends_within_the_chunk() {
    for (name, shape) in SHAPES {
        let ended = run(shape, |number, cancelled, _| {
            cancelled.fetch_or(number == 1_500, Ordering::Relaxed);
        });
        assert_eq!(ended, Err((2_048, TaskError::Cancelled)), "{name}");
    }
}

/// 80 MiB of strings out of one record, and how many of them were made.
fn strings(made: &Arc<AtomicU64>) -> impl Fn(u64) -> Strings + Send + Sync + 'static {
    let made = made.clone();
    move |_| Strings { made: made.clone(), left: 80 }
}

struct Strings {
    made: Arc<AtomicU64>,
    left: u64,
}

impl Iterator for Strings {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        self.left = self.left.checked_sub(1)?;
        self.made.fetch_add(1, Ordering::Relaxed);
        Some(format!("{:08}{}", self.left, "x".repeat((1 << 20) - 8)))
    }
}

type Keep = fn(&DStream<String>);

/// Whatever keeps what comes to it until the task ends.
const KEEPERS: [(&str, Keep); 7] = [
    ("foreach_batch", |s| {
        s.foreach_batch(|_, _| Ok(()));
    }),
    ("repartition", |s| {
        s.repartition(2).foreach_batch(|_, _| Ok(()));
    }),
    ("map_partitions", |s| {
        s.map_partitions(|all| all).foreach_batch(|_, _| Ok(()));
    }),
    ("foreach_partition", |s| {
        s.foreach_partition(|_, _| Ok(()));
    }),
    ("save_as_text_files", |s| {
        s.save_as_text_files("out", "txt");
    }),
    ("group_by_key", |s| {
        s.map(|text| (0u8, text)).group_by_key_into(1).foreach_batch(|_, _| Ok(()));
    }),
    ("reduce_by_key", |s| {
        s.map(|text| (text, 1u8)).reduce_by_key_into(1, |a, _| a).foreach_batch(|_, _| Ok(()));
    }),
];

#[test]
fn a_task_that_makes_ten_times_the_budget_is_exhausted_before_it_holds_more_than_the_limit() {
    const MIB: u64 = 1 << 20;
    for (name, keep) in KEEPERS {
        let (context, queue, made) = (StreamContext::new(), Queue::new(1), Arc::new(AtomicU64::new(0)));
        keep(&context.queue_stream("one", &queue).flat_map(strings(&made)));
        queue.push(vec![1u64]);
        let store = BlockStore::new(Budget::new(8 * MIB));
        let mut runner = LocalRunner::new(&context).unwrap();
        runner.work = store.work_meter();
        let ended = runner.run_batch();
        let Err(RunError::Task { error: TaskError::Exhausted(error), .. }) = ended else {
            panic!("{name}: {ended:?}");
        };
        assert_eq!((error.share, error.max), (Share::Work, 8 * MIB), "{name}");
        assert!(error.needed > 8 * MIB && error.needed <= 16 * MIB, "{name}: {error}");
        let held = made.load(Ordering::Relaxed) * MIB;
        assert!(held <= store.budget().limit(), "{name} holds {held} bytes");
        runner.work.release();
        assert_eq!(runner.work.charge(8 * MIB), Ok(()), "{name}: all of it came back");
    }
}

#[test]
fn a_table_of_few_keys_is_charged_for_them_and_not_for_what_was_combined() {
    let (context, queue) = (StreamContext::new(), Queue::new(1));
    let words = context.queue_stream("numbers", &queue).map(|n: u64| (format!("{:100}", n % 10), 1u64));
    words.reduce_by_key_into(1, |a, b| a + b).foreach_batch(|_, _| Ok(()));
    // 100,000 words are more than ten times the share; ten of them are not.
    queue.push((0..100_000).collect());
    let mut runner = LocalRunner::new(&context).unwrap();
    runner.work = BlockStore::new(Budget::new(1 << 20)).work_meter();
    runner.run_batch().unwrap();
}
