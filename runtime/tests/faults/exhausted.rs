//! Tasks that make more than their executors have memory for.

use super::support::{available_now, end, events, failures, published};
use tidemill::{Config, StreamContext, sources::Generator};

#[test]
fn a_task_that_makes_ten_times_the_memory_of_its_executor_ends_the_pipeline_with_the_numbers_and_the_remedy()
{
    let context = StreamContext::with_config(Config { memory_bytes_max: 8 << 20, ..available_now() });
    let numbers = Generator::new(1, |_, n: u64| n).records_per_batch(1).records_total(2);
    // The first batch makes little, the second one 80 MiB.
    let strings =
        context.generator("numbers", numbers).flat_map(|n| (0..1 + 79 * n).map(|_| "x".repeat(1 << 20)));
    let (lengths, events) = (published(&strings), events(&context));
    let error = end(context.start().unwrap()).expect_err("no executor has enough").to_string();
    for said in [
        "no executor has enough for batch-1/",
        "resources exhausted",
        "of which there can be 8388608",
        "memory_bytes_max",
    ] {
        assert!(error.contains(said), "{error} lacks {said:?}");
    }
    assert_eq!(lengths.all(), ["x".repeat(1 << 20)], "what came before is published");
    assert!(failures(&events.all()).iter().all(|said| said.contains("resources exhausted")));
}
