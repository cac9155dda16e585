//! What is refused before anything runs: one line with the remedy, and exit code 2.

use super::{
    senders::listen,
    support::{Folder, available_now, config, end, events, published},
};
use tidemill::{
    App, ClusterEvent, Config, GraphError, StartError, StreamContext,
    actor::{Actor, ChildSpec},
    app::{Command, EXIT_DONE, EXIT_FAILED, EXIT_USAGE, GraphArgs, Interrupt, LocalArgs},
    sources::{
        Generator, LINE_BYTES_LIMIT, Outlet, Queue, Receiver, ReceiverStart, SourceError, StorageLevel,
        StreamOptions,
    },
};

fn refusal(context: &StreamContext) -> String {
    let text = context.start().err().expect("it is refused").to_string();
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

fn app(config: Config, build: impl Fn(&StreamContext) + 'static) -> App {
    App::new("refused").config(config).pipeline(move |context| {
        build(context);
        Ok(())
    })
}

fn exit_code(config: Config, build: impl Fn(&StreamContext) + 'static) -> u8 {
    app(config, build).run(Command::Local(LocalArgs::default()), Interrupt::never())
}

fn numbers(context: &StreamContext) -> tidemill::DStream<u64> {
    context.generator("numbers", Generator::new(1, |_, n| n).records_per_batch(1).records_total(3))
}

#[test]
fn a_port_that_is_taken_is_refused_with_the_remedy() {
    let (_listener, address) = listen();
    let build = move |context: &StreamContext| {
        context.tcp_listen(address.to_string()).count().print();
    };
    let context = StreamContext::with_config(config());
    build(&context);
    let text = refusal(&context);
    assert!(text.starts_with(&format!("cannot listen on {address}: ")), "{text}");
    assert!(text.ends_with("; choose another port, or stop the process that uses it"), "{text}");
    assert_eq!(exit_code(config(), build), EXIT_USAGE);
}

#[test]
fn a_limit_of_lines_that_could_not_cross_machines_is_refused_with_the_remedy() {
    let build = |line_bytes_max| {
        let context = StreamContext::with_config(config());
        let options = StreamOptions { line_bytes_max, ..StreamOptions::default() };
        context.numbered_lines_with("127.0.0.1:9", options).count().print();
        context
    };
    let text = refusal(&build(LINE_BYTES_LIMIT + 1));
    let said = "127.0.0.1:9 asks for lines of up to 8387579 bytes: at most 8387578 can cross machines; lower line_bytes_max";
    assert_eq!(text, said);
    build(LINE_BYTES_LIMIT).start().expect("the highest limit").stop_now().expect("it is told to");
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_with_the_remedy() {
    let folder = Folder::new();
    let file = folder.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let prefix = file.join("numbers").display().to_string();
    let build = move |context: &StreamContext| {
        numbers(context).save_as_text_files(prefix.clone(), "txt");
    };
    let context = StreamContext::with_config(available_now());
    build(&context);
    let text = refusal(&context);
    assert!(text.starts_with(&format!("cannot write to the folder {}: ", file.display())), "{text}");
    assert!(text.ends_with("; make it writable, or choose another for save_as_text_files"), "{text}");
    assert_eq!(exit_code(available_now(), build), EXIT_USAGE);
}

#[test]
fn a_pipeline_without_output_is_refused_with_the_remedy() {
    let build = |context: &StreamContext| drop(numbers(context).count());
    let context = StreamContext::with_config(available_now());
    build(&context);
    let text = refusal(&context);
    assert!(
        text.starts_with("no output is registered: end at least one DStream with foreach_batch"),
        "{text}"
    );
    assert_eq!(exit_code(available_now(), build), EXIT_USAGE);
    let graph = Command::Graph(GraphArgs::default());
    assert_eq!(app(available_now(), build).run(graph, Interrupt::never()), EXIT_USAGE, "no graph to show");
}

#[test]
fn numbers_of_receivers_that_would_lose_or_double_lines_are_refused_with_the_remedy() {
    let options =
        |receivers| StreamOptions { name: Some("orders".into()), receivers, ..StreamOptions::default() };
    let refused = |declare: &dyn Fn(&StreamContext)| {
        let context = StreamContext::with_config(config());
        declare(&context);
        refusal(&context)
    };
    let nobody = "orders asks for 0 receivers: nobody would read it; set receivers to 1 or more";
    assert_eq!(refused(&|context| drop(context.tcp_lines_with("127.0.0.1:9", options(0)).print())), nobody);
    assert_eq!(
        refused(&|context| drop(context.numbered_lines_with("127.0.0.1:9", options(0)).print())),
        nobody
    );
    let own = |context: &StreamContext| drop(context.receiver_stream(Silent, options(0)).print());
    assert_eq!(refused(&own), nobody);
    assert_eq!(
        refused(&|context| drop(context.numbered_lines_with("127.0.0.1:9", options(2)).print())),
        "orders asks for 2 receivers: each would be sent every line; set receivers to 1, and unite one stream for each \
         sender"
    );
    assert_eq!(
        refused(&|context| drop(context.tcp_listen_with("127.0.0.1:0", options(2)).print())),
        "orders asks for 2 receivers: only one can listen on an address; set receivers to 1, and unite one stream for \
         each address"
    );
    let (_server, address) = listen();
    let context = StreamContext::with_config(config());
    context.tcp_lines_with(address.to_string(), options(2)).print();
    context.start().expect("a server can share its lines among several").stop_now().expect("it is told to");
}

/// Waits for its end.
struct Silent;

impl Receiver for Silent {
    type Record = u64;

    async fn run(&self, _start: ReceiverStart, out: Outlet<u64>) -> Result<(), SourceError> {
        out.closed().await;
        Ok(())
    }
}

#[test]
fn one_executor_that_no_second_one_can_join_is_refused_with_the_remedy_where_blocks_want_two() {
    let alone = || Config { executors: 1, ..config() };
    let (_server, address) = listen();
    let declare = move |storage| {
        move |context: &StreamContext| {
            let options = StreamOptions { name: Some("orders".into()), storage, ..StreamOptions::default() };
            context.tcp_lines_with(address.to_string(), options).count().print();
        }
    };
    let context = StreamContext::with_config(alone());
    declare(StorageLevel::Replicated)(&context);
    assert_eq!(
        refusal(&context),
        "`orders` wants two executors to hold each block, but `executors` is 1; set it to 2 or more, or give the stream \
         StorageLevel::ReplicatedAllowDegraded"
    );
    assert_eq!(exit_code(alone(), declare(StorageLevel::Replicated)), EXIT_USAGE);
    for storage in [StorageLevel::ReplicatedAllowDegraded, StorageLevel::Single] {
        let context = StreamContext::with_config(alone());
        declare(storage)(&context);
        context.start().expect("one executor is enough").stop_now().expect("it is told to");
    }
}

#[test]
fn a_pipeline_without_input_and_a_received_one_without_interval_are_refused() {
    let context = StreamContext::with_config(available_now());
    assert!(matches!(context.start(), Err(StartError::Graph(GraphError::NoOutput))));
    let (_listener, address) = listen();
    context.tcp_lines(address.to_string()).print();
    let text = refusal(&context);
    assert!(
        text.ends_with("the batch interval is AvailableNow, which ends with the data; use Every(…)"),
        "{text}"
    );
}

#[test]
fn a_stream_that_is_added_after_the_start_fails_the_pipeline_with_the_remedy() {
    let context = StreamContext::with_config(config());
    let endless = Generator::new(1, |_, n| n).records_per_batch(1);
    let records = published(&context.generator("numbers", endless));
    let events = events(&context);
    let running = context.start().unwrap();
    records.wait_until("the first batch", |records| !records.is_empty());
    context.generator("late", Generator::new(1, |_, n| n)).count().print();
    let error = end(running).expect_err("the pipeline stops").to_string();
    assert_eq!(error, "source `late` was added after the pipeline was built: declare everything before");
    let told = events.all().iter().filter(|event| matches!(event, ClusterEvent::Failed(_))).count();
    assert_eq!(told, 1, "one error, although four things were added");
}

#[test]
fn what_is_added_after_the_start_gives_an_application_the_exit_code_of_a_failed_job() {
    let build = |context: &StreamContext| {
        let (late, endless) = (context.clone(), Generator::new(1, |_, n| n).records_per_batch(1));
        context.generator("numbers", endless).foreach_batch(move |_, _| {
            late.generator("late", Generator::new(1, |_, n: u64| n)).count().print();
            Ok(())
        });
    };
    assert_eq!(exit_code(config(), build), EXIT_FAILED);
}

#[test]
fn an_actor_that_is_added_after_the_start_fails_the_pipeline_with_the_remedy() {
    let context = StreamContext::with_config(config());
    let endless = Generator::new(1, |_, n| n).records_per_batch(1);
    let records = published(&context.generator("numbers", endless));
    let running = context.start().unwrap();
    records.wait_until("the first batch", |records| !records.is_empty());
    context.supervise(ChildSpec::new("prices", || Prices));
    let error = end(running).expect_err("the pipeline stops").to_string();
    assert_eq!(error, "actor `prices` was added after the pipeline was built: declare everything before");
}

struct Prices;

impl Actor for Prices {}

#[test]
fn parameters_reach_local_and_graph_and_those_that_nobody_asks_for_are_refused() {
    let build = |context: &StreamContext| {
        let params = context.params().text("top", "none");
        let (context, top) = (context.clone(), params);
        numbers(&context).foreach_batch(move |_, _| if top == "5" { Ok(()) } else { Err(top.clone()) });
    };
    let run = |param: &str| {
        let params = vec![param.to_owned()];
        let local = Command::Local(LocalArgs { params: params.clone(), ..LocalArgs::default() });
        let graph = Command::Graph(GraphArgs { params, ..GraphArgs::default() });
        [local, graph].map(|command| app(available_now(), build).run(command, Interrupt::never()))
    };
    assert_eq!(run("top=5"), [EXIT_DONE, EXIT_DONE]);
    assert_eq!(run("top=4"), [EXIT_FAILED, EXIT_DONE], "the sink sees what was given");
    assert_eq!(run("tip=5"), [EXIT_USAGE, EXIT_USAGE], "a slip of the pen");
    assert_eq!(run("top"), [EXIT_USAGE, EXIT_USAGE]);
}

#[test]
fn a_result_that_is_too_large_for_the_driver_ends_the_pipeline_at_its_batch_with_the_remedy() {
    let context = StreamContext::with_config(Config { result_bytes_max: 10_000, ..available_now() });
    let queue = Queue::new(2);
    for count in [10, 16_384, 10] {
        queue.push((0..count).collect::<Vec<u64>>());
    }
    queue.close();
    let records = published(&context.queue_stream("numbers", &queue));
    let error = end(context.start().unwrap()).expect_err("the second batch is too large").to_string();
    assert_eq!(
        error,
        "sink-0 cannot be given batch-1: its records take 131072 bytes, and result_bytes_max is 10000; make the result \
         smaller, raise the limit, or write from tasks with foreach_partition or save_as_text_files"
    );
    assert_eq!(records.all(), (0..10).collect::<Vec<u64>>(), "what was before it, and nothing after");
}

#[test]
fn an_application_that_is_run_by_anothers_main_installs_no_metrics() {
    let (_listener, taken) = listen();
    let config = Config { metrics_address: Some(taken), ..available_now() };
    assert_eq!(
        exit_code(config, |context| drop(numbers(context).print())),
        EXIT_DONE,
        "nobody binds {taken}"
    );
}

#[test]
fn a_context_is_started_once() {
    let context = StreamContext::with_config(available_now());
    let records = published(&numbers(&context));
    end(context.start().unwrap()).unwrap();
    assert!(matches!(context.start(), Err(StartError::StartedBefore)));
    assert_eq!(records.all(), [0, 1, 2]);
}
