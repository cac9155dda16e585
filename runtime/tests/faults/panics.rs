//! Panics in users' closures.

use super::support::{available_now, end, events, failures, published};
use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};
use tidemill::{
    App, ClusterEvent, StreamContext,
    app::{self, Interrupt, LocalArgs},
    sources::Generator,
};

/// Set in the process that a test starts for itself.
const CHILD: &str = "TIDEMILL_FAULTS_CHILD";

fn ten_batches_of_one() -> Generator<u64> {
    Generator::new(1, |_, n| n).records_per_batch(1).records_total(10)
}

#[test]
fn a_panic_in_a_closure_fails_the_task_with_message_and_place_and_the_4th_stops_the_pipeline_at_that_batch() {
    const PANIC_LINE: u32 = line!() + 8;
    let context = StreamContext::with_config(available_now());
    let attempts = Arc::new(AtomicU32::new(0));
    let tried = attempts.clone();
    let records = context.generator("numbers", ten_batches_of_one()).map(move |n| {
        if n == 3 {
            tried.fetch_add(1, Ordering::SeqCst);
            // The next line is the place that is told.
            panic!("no luck with record {n}");
        }
        n
    });
    let (records, events) = (published(&records), events(&context));
    let error = end(context.start().unwrap()).expect_err("the pipeline stops").to_string();

    let said = format!("panicked: no luck with record 3 at {}:{PANIC_LINE}:", file!());
    assert!(error.starts_with("batch-3/stage-0/p0 failed 4 times, last on node-"), "{error}");
    assert!(error.contains(&said), "{error} lacks {said}");
    assert_eq!(attempts.load(Ordering::SeqCst), 4, "attempts");
    let failures = failures(&events.all());
    assert_eq!(failures.len(), 4, "{failures:?}");
    assert!(failures.iter().all(|failure| failure.contains(&said)), "{failures:?}");
    // The batches before it are published, those after it never are.
    let records = records.all();
    assert_eq!(records, [0, 1, 2]);
    let completed = |event: &&ClusterEvent| matches!(event, ClusterEvent::BatchCompleted(_));
    assert_eq!(events.all().iter().filter(completed).count(), records.len());

    // The process can go on with a new context.
    let context = StreamContext::with_config(available_now());
    let records = published(&context.generator("numbers", ten_batches_of_one()).map(|n| n * 2));
    end(context.start().unwrap()).unwrap();
    assert_eq!(records.all(), (0..10).map(|n| n * 2).collect::<Vec<u64>>());
}

#[test]
fn a_panic_in_one_attempt_costs_that_attempt_only() {
    let context = StreamContext::with_config(available_now());
    let attempts = AtomicU32::new(0);
    let records = context.generator("numbers", ten_batches_of_one()).map(move |n| {
        assert!(n != 3 || attempts.fetch_add(1, Ordering::SeqCst) == 3, "not yet");
        n
    });
    let (records, events) = (published(&records), events(&context));
    end(context.start().unwrap()).unwrap();
    assert_eq!(failures(&events.all()).len(), 3, "the 4th attempt is the last one, and it succeeds");
    assert_eq!(records.all(), (0..10).collect::<Vec<u64>>());
}

#[test]
fn a_panic_in_foreach_batch_stops_the_pipeline_with_message_and_place() {
    const PANIC_LINE: u32 = line!() + 4;
    let context = StreamContext::with_config(available_now());
    context.generator("numbers", ten_batches_of_one()).foreach_batch(|rows, _time| {
        if rows == [2] {
            panic!("the database is gone");
        }
        Ok(())
    });
    let error = end(context.start().unwrap()).expect_err("the pipeline stops").to_string();
    let said = format!("refused batch-2: it panicked: the database is gone at {}:{PANIC_LINE}:", file!());
    assert!(error.contains(&said), "{error} lacks {said}");
}

/// Runs itself again in a process of its own, whose standard error it reads.
#[test]
fn an_application_whose_closure_panics_prints_one_line_and_exits_with_1() {
    let name = "panics::an_application_whose_closure_panics_prints_one_line_and_exits_with_1";
    if std::env::var_os(CHILD).is_some() {
        app::install_log("warn");
        let application = App::new("flaky").config(available_now()).pipeline(|context| {
            context.generator("numbers", ten_batches_of_one()).map(|n| n / (n - n)).count().print();
            Ok(())
        });
        let code = application.run(app::Command::Local(LocalArgs::default()), Interrupt::never());
        std::process::exit(i32::from(code));
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", name, "--nocapture", "--test-threads", "1"]);
    let output = child.env(CHILD, "1").env("RUST_BACKTRACE", "1").env_remove("RUST_LOG").output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(i32::from(app::EXIT_FAILED)), "{error}");
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines.len(), 1, "one line, no backtrace, nothing for each attempt:\n{error}");
    for part in ["flaky: batch-", "/stage-0/p0 failed 4 times", "attempt to divide by zero", file!()] {
        assert!(lines[0].contains(part), "{} lacks {part}", lines[0]);
    }
}
