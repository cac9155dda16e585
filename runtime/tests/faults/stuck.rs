//! Tasks that loop for ever, without looking whether they are cancelled.

use super::support::{available_now, end, events, failures, published};
use std::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tidemill::{ClusterEvent, Config, StreamContext, sources::Generator};

/// Lets the tasks go with the test, however it ends. They wait instead of looping, which is the same to the runtime: the
/// thread is held, and nobody asks whether the task is cancelled.
#[derive(Clone, Default)]
struct Loops(Arc<(Mutex<bool>, Condvar)>);

impl Loops {
    fn run(&self) {
        let (ended, changed) = &*self.0;
        drop(changed.wait_while(ended.lock().unwrap(), |ended| !*ended).unwrap());
    }
}

struct EndLoops(Loops);

impl Drop for EndLoops {
    fn drop(&mut self) {
        let (ended, changed) = &*self.0.0;
        *ended.lock().unwrap() = true;
        changed.notify_all();
    }
}

fn impatient() -> Config {
    Config { task_stuck_after: Duration::from_millis(500), ..available_now() }
}

fn batches_of_one(count: u64) -> Generator<u64> {
    Generator::new(1, |_, n| n).records_per_batch(1).records_total(count)
}

fn slots_replaced(events: &[ClusterEvent]) -> Vec<String> {
    let task = |event: &ClusterEvent| match event {
        ClusterEvent::SlotReplaced { task, .. } => Some(task.key.to_string()),
        _ => None,
    };
    events.iter().filter_map(task).collect()
}

#[test]
fn a_task_that_loops_for_ever_is_named_its_slot_is_replaced_and_other_attempts_go_on() {
    let context = StreamContext::with_config(impatient());
    let (loops, first) = (Loops::default(), AtomicBool::new(true));
    let _end = EndLoops(loops.clone());
    let records = context.generator("numbers", batches_of_one(8)).map(move |n| {
        if n == 2 && first.swap(false, Ordering::SeqCst) {
            loops.run();
        }
        n
    });
    let (records, events) = (published(&records), events(&context));
    end(context.start().unwrap()).unwrap();
    assert_eq!(records.all(), (0..8).collect::<Vec<u64>>());
    let said = "batch-2/stage-0/p0 has made no progress for 500 ms: its slot is replaced".to_owned();
    assert!(failures(&events.all()).contains(&said), "{:?}", failures(&events.all()));
    assert!(slots_replaced(&events.all()).contains(&"batch-2/stage-0/p0".to_owned()));
}

#[test]
fn a_task_that_loops_in_each_attempt_stops_the_pipeline_with_its_name() {
    let context = StreamContext::with_config(impatient());
    let loops = Loops::default();
    let _end = EndLoops(loops.clone());
    let records = context.generator("numbers", batches_of_one(8)).map(move |n| {
        if n == 2 {
            loops.run();
        }
        n
    });
    let (records, events) = (published(&records), events(&context));
    let error = end(context.start().unwrap()).expect_err("the pipeline stops").to_string();
    assert!(error.starts_with("batch-2/stage-0/p0 failed 4 times"), "{error}");
    assert!(error.contains("has made no progress for 500 ms"), "{error}");
    assert_eq!(records.all(), [0, 1], "nothing later is published");
    assert_eq!(failures(&events.all()).iter().filter(|said| said.starts_with("batch-2/")).count(), 4);
}
