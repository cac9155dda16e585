//! What a batch costs the scheduler's core: two stages of one task for each of 10, 100 and 300 executors. Work is counted in
//! the time of this machine, so the limits are wide; what the test guards is that a task does not cost more because there are
//! more executors. The parts of all inputs do grow with their square, and are counted apart.

use super::*;
use std::time::Instant;

/// What one batch costs, and how many tasks it has.
fn batch(executors: u16, reducers: u32) -> (Duration, u64) {
    let mut scheduler = Scheduler::new(SchedulerConfig::default());
    let mut out = Vec::new();
    for n in 1..=executors {
        scheduler.on_event(Time(0), Event::ExecutorUp { member: node(n), slots: 1 }, &mut out);
    }
    let mut best = Duration::MAX;
    let tasks = u64::from(executors) + u64::from(reducers);
    for number in 0..5 {
        let mut job = map_reduce(u64::from(executors), reducers);
        for part in job.stages[0].tasks.iter_mut().flatten().flatten() {
            let range = crate::seam::PlannedRange { partition: PartitionId(0), from: 0, to: 1, rows: 1 };
            *part = PlannedPart::Range(StreamId(0), range);
        }
        let partitions: Vec<u32> = (0..reducers).collect();
        let mut now = Time(1_000_000 * (number + 1));
        let mut spent = Duration::ZERO;
        let mut told = vec![plan(number, job, Vec::new()), safe(number)];
        let mut done_tasks = 0;
        while !told.is_empty() {
            let mut next = Vec::new();
            for event in told {
                out.clear();
                now = now + Duration::from_micros(1);
                #[expect(
                    clippy::disallowed_methods,
                    reason = "this test measures the real time of pure work"
                )]
                let began = Instant::now();
                scheduler.on_event(now, event, &mut out);
                spent += began.elapsed();
                for action in out.drain(..) {
                    match action {
                        Action::Launch { member, tasks, .. } => next.extend(tasks.iter().map(|spec| {
                            done_tasks += 1;
                            let outputs = if spec.task.key.stage.0 == 0 { &partitions[..] } else { &[0] };
                            let read: Vec<DataKey> = spec.inputs.iter().flatten().filter_map(held).collect();
                            done_reading(&show(spec.task), member.node.0, outputs, read)
                        })),
                        Action::Publish { batch, sink, .. } => next.push(published(batch.0, sink.0)),
                        _ => {}
                    }
                }
            }
            told = next;
        }
        assert_eq!(done_tasks, tasks, "each task ran once");
        best = best.min(spent);
    }
    (best, tasks)
}

fn held(part: &InputPart) -> Option<DataKey> {
    match part {
        InputPart::Held { key, .. } => Some(*key),
        InputPart::Range { .. } => None,
    }
}

#[test]
fn a_task_costs_the_core_about_the_same_among_10_and_among_300_executors() {
    let mut costs = Vec::new();
    for executors in [10, 100, 300] {
        let (narrow, tasks) = batch(executors, 1);
        let (wide, wide_tasks) = batch(executors, u32::from(executors));
        let parts = u64::from(executors) * u64::from(executors);
        let each = narrow.as_nanos() as u64 / tasks;
        println!(
            "{executors} executors: {each} ns a task; all to all {wide:?} for {wide_tasks} tasks and {parts} parts, {} ns a part",
            wide.as_nanos() as u64 / parts
        );
        costs.push(each);
    }
    // Debug builds and busy machines: the limits say that it does not grow tenfold where executors grow thirtyfold.
    assert!(costs[2] < costs[0].max(1_000) * 10, "{costs:?} ns a task");
}
