//! The table of all operators: input batches, the operation, expected batches, written by hand. Where the order of
//! partitions may not matter, the same is run with inputs that are cut differently.

use super::{LocalRunner, RunError, check, run};
use crate::{
    StreamContext,
    data::{Data, Text, key_hash, partition_of},
    dstream::DStream,
    graph::{BuildOptions, GraphError},
    sources::{Queue, TextQueue},
    testing::MemoryFiles,
};
use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex},
};
use tidemill_actors::seam::{BatchPlan, PlannedPart, Program, StageOutput, StreamInput};
use tidemill_protocol::{
    id::{BatchNumber, ProgramId, StageId},
    time::BatchTime,
    world::Files,
};

fn texts(all: &[&str]) -> Vec<Text> {
    all.iter().map(|text| Text::from(*text)).collect()
}

/// As `check`, with inputs in 1, 2, 3 and 5 partitions; records are compared sorted.
#[track_caller]
fn check_any_order<T: Data, U: Data + Ord + Debug>(
    batches: Vec<Vec<T>>,
    operation: impl Fn(DStream<T>) -> DStream<U>,
    expected: Vec<Vec<U>>,
) {
    for partitions in [1, 2, 3, 5] {
        let mut results = run(batches.clone(), partitions, &operation);
        results.iter_mut().for_each(|batch| batch.sort());
        assert_eq!(results, expected, "in {partitions} partitions");
    }
}

#[test]
fn narrow_operators_keep_the_order_however_the_input_is_cut() {
    for partitions in [1, 2, 3, 5] {
        let input = vec![vec![3, 1, 2], vec![], vec![5]];
        let op =
            |s: DStream<i64>| s.map(|n| n * 2).filter(|n| *n != 2).flat_map(|n| vec![n, -n]).inspect(|_| {});
        assert_eq!(run(input, partitions, op), [vec![6, -6, 4, -4], vec![], vec![10, -10]]);
    }
}

#[test]
fn records_are_the_same_on_both_sides_of_a_chunk_border() {
    for n in [1023, 1024, 1025, 5000] {
        let input: Vec<u32> = (0..n).collect();
        let expected: Vec<u32> = input.iter().filter(|i| *i % 3 != 0).flat_map(|i| [i + 1, i + 1]).collect();
        let op = |s: DStream<u32>| s.filter(|i| i % 3 != 0).map(|i| i + 1).flat_map(|i| [i, i]);
        check(vec![input], op, vec![expected]);
    }
}

#[test]
fn count_gives_a_zero_for_an_empty_batch_and_reduce_gives_nothing() {
    check_any_order(
        vec![vec!['a', 'b', 'a'], vec![], vec!['c']],
        |s| s.count(),
        vec![vec![3], vec![0], vec![1]],
    );
    let op = |s: DStream<i32>| s.reduce(|a, b| a.max(b));
    check_any_order(vec![vec![4, 9, 2], vec![]], op, vec![vec![9], vec![]]);
}

#[test]
fn reduce_combines_in_order() {
    for partitions in [1, 2, 3] {
        let input = vec![["a", "b", "c", "d"].map(str::to_owned).to_vec()];
        assert_eq!(run(input, partitions, |s| s.reduce(|a, b| a + &b)), [["abcd"]]);
    }
}

#[test]
fn values_are_counted_for_texts_strings_and_other_types() {
    let words = ["to", "be", "or", "not", "to", "be"];
    let expected = [("be", 2u64), ("not", 1), ("or", 1), ("to", 2)];
    let of_texts = expected.map(|(word, n)| (Text::from(word), n)).to_vec();
    check_any_order(vec![texts(&words), vec![]], |s| s.count_by_value(), vec![of_texts.clone(), vec![]]);
    // Texts that do not come as ranges of a block.
    check_any_order(vec![texts(&words)], |s| s.map(|t| t.compact()).count_by_value_into(3), vec![of_texts]);
    let of_strings = expected.map(|(word, n)| (word.to_owned(), n)).to_vec();
    check_any_order(vec![words.map(str::to_owned).to_vec()], |s| s.count_by_value(), vec![of_strings]);
    check_any_order(
        vec![vec![(1u8, true), (1, true), (0, true)]],
        |s| s.count_by_value(),
        vec![vec![((0, true), 1), ((1, true), 2)]],
    );
}

#[test]
fn keyed_operators() {
    let input = || {
        vec![
            vec![("b", 1), ("a", 2), ("b", 3), ("c", 4)]
                .into_iter()
                .map(|(k, v)| (k.to_owned(), v))
                .collect(),
            vec![],
        ]
    };
    let pairs =
        |all: &[(&str, i32)]| all.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect::<Vec<(String, i32)>>();
    let sums = vec![pairs(&[("a", 2), ("b", 4), ("c", 4)]), vec![]];
    check_any_order(input(), |s: DStream<(String, i32)>| s.reduce_by_key(|a, b| a + b), sums.clone());
    check_any_order(input(), |s: DStream<(String, i32)>| s.reduce_by_key_into(7, |a, b| a + b), sums.clone());
    let as_text = |s: DStream<(String, i32)>| s.map(|(k, v)| (Text::from(k), v)).reduce_by_key(|a, b| a + b);
    check_any_order(input(), move |s| as_text(s).map(|(k, v)| (k.to_string(), v)), sums.clone());
    let combined = |s: DStream<(String, i32)>| s.combine_by_key(|v| v, |c, v| *c += v, |c, d| *c += d);
    check_any_order(input(), combined, sums);
    let grouped = vec![("a".to_owned(), vec![2]), ("b".to_owned(), vec![1, 3]), ("c".to_owned(), vec![4])];
    check_any_order(input(), |s: DStream<(String, i32)>| s.group_by_key(), vec![grouped, vec![]]);
    let doubled = |s: DStream<(String, i32)>| s.map_values(|v| v * 2).filter(|p| p.0 == "a");
    check_any_order(input(), doubled, vec![pairs(&[("a", 4)]), vec![]]);
}

#[test]
fn join_pairs_all_values_of_equal_keys_within_a_batch() {
    let op = |s: DStream<(u8, char)>| s.join(&s.filter(|p| p.1 > 'b').map_values(|c| c.to_string()));
    let pair = |k: u8, l: char, r: char| (k, (l, r.to_string()));
    check_any_order(
        vec![vec![(1, 'a'), (2, 'b'), (1, 'c'), (1, 'd')], vec![(2, 'c')], vec![]],
        op,
        vec![
            vec![
                pair(1, 'a', 'c'),
                pair(1, 'a', 'd'),
                pair(1, 'c', 'c'),
                pair(1, 'c', 'd'),
                pair(1, 'd', 'c'),
                pair(1, 'd', 'd'),
            ],
            vec![pair(2, 'c', 'c')],
            vec![],
        ],
    );
}

#[test]
fn union_repartition_and_map_partitions() {
    let op = |s: DStream<i32>| s.union(&s.map(|n| n + 10)).union(&s.count().map(|n| n as i32));
    check(vec![vec![1, 2], vec![]], op, vec![vec![1, 2, 11, 12, 2], vec![0]]);
    // Two empty branches of shuffles are still told apart.
    let op = |s: DStream<i32>| s.count().map(|n| n as i32 + 1).union(&s.count().map(|n| n as i32 + 2));
    check(vec![vec![], vec![7]], op, vec![vec![1, 2], vec![2, 3]]);
    check_any_order(vec![vec![4, 3, 2, 1]], |s| s.repartition(3), vec![vec![1, 2, 3, 4]]);
    let sizes = |s: DStream<i32>| s.repartition(2).map_partitions(|all| [all.len()]);
    check(vec![vec![1, 2, 3], vec![]], sizes, vec![vec![2, 1], vec![0, 0]]);
    check(vec![texts(&["a", "b", "c"])], |s| s.repartition(2), vec![texts(&["a", "c", "b"])]);
}

#[test]
fn transform_may_build_shuffles_and_other_graphs_for_other_times() {
    let op = |s: DStream<i32>| {
        s.transform(|dataset, time| match time.as_millis() {
            2000 => dataset.map(|n| (n % 2, n)).reduce_by_key_into(1, |a, b| a + b).map(|(_, sum)| sum),
            _ => dataset.filter(|n| *n > 1),
        })
        .map(|n| n * 10)
    };
    check(vec![vec![1, 2, 3], vec![1, 2, 3], vec![1]], op, vec![vec![20, 30], vec![40, 20], vec![]]);
}

#[test]
fn keyed_results_come_by_partition_and_in_order_of_first_appearance() {
    let keys: Vec<u32> = vec![9, 4, 7, 4, 1, 9, 3, 0];
    let mut expected: Vec<Vec<(u32, u64)>> = vec![Vec::new(), Vec::new()];
    for key in [9, 4, 7, 1, 3, 0] {
        let hash = key_hash(&key, 0, &mut Vec::new()).unwrap();
        let n = keys.iter().filter(|k| **k == key).count() as u64;
        expected[partition_of(hash, 2) as usize].push((key, n));
    }
    for partitions in [1, 2, 4] {
        let got = run(vec![keys.clone()], partitions, |s| s.count_by_value_into(2));
        assert_eq!(got, [expected.concat()]);
    }
}

#[test]
fn blocks_of_text_become_lines_and_words() {
    for partitions in [1, 2, 3] {
        let (context, queue) = (StreamContext::new(), TextQueue::new(partitions));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = seen.clone();
        let long = |lines: DStream<Text>| lines.filter(|line| line.len() > 2);
        long(context.text_blocks("lines", &queue)).foreach_batch(move |lines, _| {
            sink.lock().unwrap().push(lines);
            Ok(())
        });
        queue.push(vec!["one two\r\n\nx\n".into(), "three".into()]);
        queue.push(vec![]);
        queue.close();
        let mut runner = LocalRunner::new(&context).unwrap();
        while runner.run_batch().unwrap().is_some() {}
        assert_eq!(*seen.lock().unwrap(), [texts(&["one two", "three"]), vec![]]);
    }
}

#[test]
fn files_are_read_once_by_lines_and_read_on_when_they_grow() {
    let (context, seen) = (StreamContext::new(), Arc::new(Mutex::new(Vec::new())));
    let sink = seen.clone();
    context.text_files("folder", "/in").foreach_batch(move |mut lines, _| {
        lines.sort();
        sink.lock().unwrap().push(lines);
        Ok(())
    });
    let mut runner = LocalRunner::new(&context).unwrap();
    let files = runner.files().clone();
    files.write("/in/a".as_ref(), b"1\n2\n").unwrap();
    files.write("/in/.hidden".as_ref(), b"no\n").unwrap();
    runner.run_batch().unwrap();
    files.write("/in/b".as_ref(), b"3").unwrap();
    files.write("/in/a".as_ref(), b"1\n2\n4\n").unwrap();
    runner.run_batch().unwrap();
    runner.run_batch().unwrap();
    assert_eq!(*seen.lock().unwrap(), [texts(&["1", "2"]), texts(&["3", "4"]), vec![]]);
}

#[test]
fn staged_files_are_published_once_or_discarded() {
    let (context, queue) = (StreamContext::new(), Queue::new(2));
    context.queue_stream("numbers", &queue).save_as_text_files("/out/n", "");
    queue.push(vec![1, 2, 3]);
    let files = Files::new(MemoryFiles::default());
    let pipeline = Arc::new(context.build(BuildOptions::default(), files.clone()).unwrap());
    let mut runner = LocalRunner::with(pipeline.clone(), files.clone(), 2);
    let plan = runner.next_plan().unwrap().unwrap();
    let published = runner.execute(&plan).unwrap().remove(0);
    assert_eq!(files.list("/out/n-1000".as_ref()).unwrap(), []);
    for _ in 0..2 {
        runner.publish(published.clone()).unwrap();
        let names: Vec<_> = files
            .list("/out/n-1000".as_ref())
            .unwrap()
            .into_iter()
            .map(|(p, n)| (p.display().to_string(), n))
            .collect();
        let part = |name: &str, n| (format!("/out/n-1000/{name}"), n);
        assert_eq!(names, [part("_SUCCESS", 0), part("part-00000", 2), part("part-00001", 4)]);
    }
    let again = runner.execute(&plan).unwrap().remove(0);
    assert_eq!(files.list("/out/n.staged-0".as_ref()).unwrap().len(), 2);
    for (task, _) in again.partitions {
        tidemill_actors::seam::SinkHost::discard(&*pipeline, again.run, again.sink, task);
    }
    assert_eq!(files.list("/out/n.staged-0".as_ref()).unwrap(), []);
}

#[test]
fn a_shuffle_with_two_readers_is_one_stage() {
    let (context, queue) = (StreamContext::new(), Queue::<u32>::new(3));
    let counts = context.queue_stream("numbers", &queue).count_by_value_into(4);
    counts.print();
    counts.foreach_batch(|_, _| Ok(()));
    queue.push(vec![1, 2, 3]);
    let files = Files::new(MemoryFiles::default());
    let pipeline = Arc::new(context.build(BuildOptions::default(), files.clone()).unwrap());
    let plan = LocalRunner::with(pipeline.clone(), files, 1).next_plan().unwrap().unwrap();
    let job = pipeline.plan(&plan);
    let shapes: Vec<_> = job.stages.iter().map(|s| (s.id, s.tasks.len(), s.output)).collect();
    let sink = |n| StageOutput::Sink(tidemill_protocol::id::SinkId(n));
    assert_eq!(
        shapes,
        [
            (StageId(0), 3, StageOutput::Shuffle { partitions: 4 }),
            (StageId(1), 4, sink(0)),
            (StageId(2), 4, sink(1))
        ]
    );
    assert!(matches!(job.stages[2].tasks[3][0][..], [PlannedPart::Shuffle { parent: StageId(0), .. }]));
}

#[test]
fn a_task_that_fails_says_why_and_a_cancelled_one_stops() {
    let (context, queue) = (StreamContext::new(), Queue::new(1));
    context
        .queue_stream("numbers", &queue)
        .foreach_partition(|_: std::vec::IntoIter<u8>, _| Err("no".into()));
    queue.push(vec![1]);
    let error = LocalRunner::new(&context).unwrap().run_batch().unwrap_err();
    assert!(matches!(&error, RunError::Task { error, .. } if error.to_string() == "no"), "{error}");
}

#[test]
fn mistakes_are_found_when_the_pipeline_is_built() {
    let build =
        |context: &StreamContext| context.build(BuildOptions::default(), Files::new(MemoryFiles::default()));
    let queue = Queue::<(u8, u8)>::new(1);
    let (context, other) = (StreamContext::new(), StreamContext::new());
    let stream = context.queue_stream("a", &queue);
    assert_eq!(build(&context).err(), Some(GraphError::NoOutput));
    stream.union(&other.queue_stream("b", &queue)).print();
    assert_eq!(build(&context).err(), Some(GraphError::ForeignStream { what: "union".into() }));

    let context = StreamContext::new();
    context.queue_stream("a", &queue).repartition(0).print();
    assert!(matches!(build(&context).err(), Some(GraphError::BadPartitions { partitions: 0, .. })));

    let context = StreamContext::new();
    context.queue_stream("a", &queue).print();
    context.queue_stream("a", &queue);
    assert_eq!(build(&context).err(), Some(GraphError::NameTwice { name: "a".into() }));

    let context = StreamContext::new();
    let stream = context.queue_stream("a", &queue);
    stream.print();
    assert!(build(&context).is_ok());
    stream.count();
    assert_eq!(build(&context).err(), Some(GraphError::AddedAfterStart { what: "count".into() }));
}

#[test]
fn the_program_id_follows_the_graph_the_parameters_and_the_executable() {
    let id = |partitions, options: BuildOptions| {
        let context = StreamContext::new();
        context.queue_stream("a", &Queue::<u8>::new(1)).count_by_value_into(partitions).print();
        context.build(options, Files::new(MemoryFiles::default())).unwrap().id()
    };
    let base = id(2, BuildOptions::default());
    assert_eq!(id(2, BuildOptions::default()), base);
    assert_ne!(id(3, BuildOptions::default()), base);
    assert_ne!(id(2, BuildOptions { executable: 1, ..BuildOptions::default() }), base);
    assert_ne!(id(2, BuildOptions { parameters: "x".into(), ..BuildOptions::default() }), base);
}

#[test]
fn the_graph_is_described() {
    let context = StreamContext::new();
    context.queue_stream("a", &Queue::<u8>::new(1)).count_by_value_into(3).named("counts").print();
    assert_eq!(
        context.describe(),
        "stream-0 \"a\" Planned × 0\nop-0 source stream-0 <- []\nop-1 count_by_value into 3 <- [op-0]\n\
         op-2 count_by_value \"counts\" <- [op-1]\nop-3 take <- [op-2]\nsink-0 \"print-0\" print <- [op-3]\n"
    );
    assert!(context.to_dot().contains("n1 -> n2 [style=dashed];"));
}

#[test]
fn a_batch_without_input_has_no_source_tasks() {
    let context = StreamContext::new();
    context.queue_stream("a", &Queue::<u8>::new(1)).print();
    let pipeline = context.build(BuildOptions::default(), Files::new(MemoryFiles::default())).unwrap();
    let plan = BatchPlan {
        batch: BatchNumber(0),
        time: BatchTime(0),
        program: ProgramId(0),
        seed: 0,
        default_partitions: 2,
        inputs: BTreeMap::from([(tidemill_protocol::id::StreamId(0), StreamInput::Ranges(vec![]))]),
    };
    assert!(pipeline.plan(&plan).stages[0].tasks.is_empty());
}
