//! What a batch costs the scheduler's core: two stages of one task for each of 10, 100 and 300 executors. Asserted is how many
//! messages and tasks each executor gets; the time is printed only, for it is that of the machine. A task costs the same
//! whatever the number of executors; the parts of inputs, all maps for each reducer, grow with its square.

use super::*;
use std::time::Instant;

/// The real time of a batch in the core, the fastest of five, and how many tasks it has.
fn batch(executors: u16, reducers: u32, is_ahead: bool) -> (Duration, u64) {
    let prescheduling = SchedulerConfig::default().prescheduling.filter(|_| is_ahead);
    let mut scheduler = Scheduler::new(SchedulerConfig { prescheduling, ..SchedulerConfig::default() });
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
        let mut per_executor = BTreeMap::<Member, (usize, usize)>::new();
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
                        Action::Launch { member, tasks, .. } => {
                            let (messages, launched) = per_executor.entry(member).or_default();
                            *messages += 1;
                            *launched += tasks.len();
                            next.extend(tasks.iter().map(|spec| {
                                let outputs = if spec.task.key.stage.0 == 0 { &partitions[..] } else { &[0] };
                                let read: Vec<DataKey> =
                                    spec.inputs.iter().flatten().filter_map(held).collect();
                                done_reading(&show(spec.task), member.node.0, outputs, read)
                            }));
                        }
                        Action::Publish { batch, sink, .. } => next.push(published(batch.0, sink.0)),
                        _ => {}
                    }
                }
            }
            told = next;
        }
        let launched: usize = per_executor.values().map(|(_, launched)| launched).sum();
        assert_eq!(launched as u64, tasks, "each task ran once");
        let most = if reducers == u32::from(executors) { 2 } else { 1 + reducers as usize };
        assert_eq!(per_executor.len(), usize::from(executors), "nobody was left out");
        let messages_max = if is_ahead { 1 } else { 2 };
        let is_due = |(messages, n): &(usize, usize)| *messages <= messages_max && *n <= most;
        assert!(per_executor.values().all(is_due), "{per_executor:?}");
        best = best.min(spent);
    }
    (best, tasks)
}

fn held(part: &InputPart) -> Option<DataKey> {
    match part {
        InputPart::Held { key, .. } => Some(*key),
        InputPart::Range { .. } | InputPart::Shuffle { .. } => None,
    }
}

fn print(executors: u16, is_ahead: bool) {
    let (narrow, tasks) = batch(executors, 1, is_ahead);
    let (wide, wide_tasks) = batch(executors, u32::from(executors), is_ahead);
    let parts = u128::from(executors) * u128::from(executors);
    println!(
        "{executors} executors: {} ns a task; all to all {wide:?} for {wide_tasks} tasks, {} ns a part",
        narrow.as_nanos() / u128::from(tasks),
        wide.as_nanos() / parts
    );
}

#[test]
fn each_of_300_executors_gets_one_task_and_one_message_for_each_stage() {
    [10, 100, 300].into_iter().for_each(|executors| print(executors, false));
}

#[test]
fn each_of_300_executors_gets_one_message_for_all_stages_that_are_sent_ahead() {
    [10, 100, 300].into_iter().for_each(|executors| print(executors, true));
}
