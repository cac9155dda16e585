//! What is refused before anything runs: one line with the remedy, and exit code 2.

use super::{
    senders::listen,
    support::{Folder, available_now, config, end, events, published},
};
use tidemill::{
    App, ClusterEvent, Config, GraphError, StartError, StreamContext,
    app::{Command, EXIT_USAGE, Interrupt, LocalArgs},
    sources::{Generator, LINE_BYTES_LIMIT, StreamOptions},
};

fn refusal(context: &StreamContext) -> String {
    let text = context.start().err().expect("it is refused").to_string();
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

fn exit_code(config: Config, build: impl Fn(&StreamContext) + 'static) -> u8 {
    let application = App::new("refused").config(config).pipeline(move |context| {
        build(context);
        Ok(())
    });
    application.run(Command::Local(LocalArgs::default()), Interrupt::never())
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
    assert!(text.ends_with("; choose another port, or stop who holds it"), "{text}");
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
fn a_context_is_started_once() {
    let context = StreamContext::with_config(available_now());
    let records = published(&numbers(&context));
    end(context.start().unwrap()).unwrap();
    assert!(matches!(context.start(), Err(StartError::StartedBefore)));
    assert_eq!(records.all(), [0, 1, 2]);
}
