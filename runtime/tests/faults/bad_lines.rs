//! Lines that are no lines: bytes that are not UTF-8, lines over the limit, and peers that close in the middle of one.

use super::{
    senders::{NumberedSender, accept, connect, free_address, listen, serve},
    support::{Log, config, end, events, published, reports, stop},
};
use std::io::Write;
use tidemill::{ClusterEvent, StreamContext, cluster::GeneratorNote, data::Text, sources::StreamOptions};

/// Two good lines around bytes that are not UTF-8 and a line of 17 bytes, and the beginning of another.
const BAD: &[u8] = b"one\nb\xffd\n12345678901234567\r\ntwo\ncut";

fn limit_of_16() -> StreamOptions {
    StreamOptions { line_bytes_max: 16, ..StreamOptions::default() }
}

fn sorted(lines: &Log<Text>) -> Vec<String> {
    let mut lines: Vec<String> = lines.all().iter().map(ToString::to_string).collect();
    lines.sort();
    lines
}

/// Waits until each thing was reported, and checks that it was as often as expected.
fn assert_reported(events: &Log<ClusterEvent>, expected: &[(&str, u64)]) {
    for &(what, count) in expected {
        events.wait_until(what, |events| reports(events, what) >= count);
        assert_eq!(reports(&events.all(), what), count, "{what}");
    }
}

#[test]
fn bad_utf8_long_and_cut_lines_from_a_server_are_counted_and_reported_and_the_others_are_intact() {
    let (listener, address) = listen();
    let server = serve(listener, vec![BAD.to_vec(), b"three\n".to_vec()]);
    let context = StreamContext::with_config(config());
    let lines = published(&context.tcp_lines_with(address.to_string(), limit_of_16()));
    let events = events(&context);
    let running = context.start().unwrap();
    lines.wait_until("all good lines", |lines| lines.len() == 4);
    let expected =
        [("bad_utf8", 1), ("line_too_long", 1), ("cut_line", 1), ("lost_connection", 1), ("reconnect", 1)];
    assert_reported(&events, &expected);
    stop(running).unwrap();
    server.join().unwrap();
    assert_eq!(lines.all(), ["one", "b\u{fffd}d", "two", "three"]);
}

#[test]
fn bad_utf8_long_and_cut_lines_from_peers_who_connect_are_counted_and_reported_and_the_others_are_intact() {
    let address = free_address();
    let context = StreamContext::with_config(config());
    let lines = published(&context.tcp_listen_with(address.to_string(), limit_of_16()));
    let events = events(&context);
    let running = context.start().unwrap();
    events.wait_until("the receiver", |events| {
        events.iter().any(|event| matches!(event, ClusterEvent::ReceiverStarted { .. }))
    });
    let mut bad = connect(address);
    let mut good = connect(address);
    bad.write_all(BAD).unwrap();
    drop(bad);
    good.write_all(b"three\nfour\n").unwrap();
    lines.wait_until("all good lines", |lines| lines.len() == 5);
    let expected = [("bad_utf8", 1), ("line_too_long", 1), ("cut_line", 1), ("lost_connection", 1)];
    assert_reported(&events, &expected);
    stop(running).unwrap();
    drop(good);
    assert_eq!(sorted(&lines), ["b\u{fffd}d", "four", "one", "three", "two"]);
}

#[test]
fn bad_utf8_in_numbered_lines_is_counted_and_a_cut_one_is_sent_again() {
    let (listener, address) = listen();
    let sender = std::thread::spawn(move || {
        let mut first = accept(&listener);
        first.write_all(b"0\tzero\n1\tb\xffd\n2\tt").unwrap();
        drop(first);
        let mut sender = NumberedSender::new(["zero", "b?d", "two", "three"].map(String::from).to_vec());
        sender.serve_to_the_end(&listener);
        sender.resumed
    });
    let context = StreamContext::with_config(config());
    let lines = published(&context.numbered_lines(address.to_string()));
    let events = events(&context);
    end(context.start().unwrap()).unwrap();
    assert_eq!(lines.all(), ["zero", "b\u{fffd}d", "two", "three"]);
    assert_eq!(sender.join().unwrap(), [Some(1)], "the sender goes on after the last whole line");
    for what in ["bad_utf8", "cut_line", "lost_connection", "reconnect"] {
        assert_eq!(reports(&events.all(), what), 1, "{what}");
    }
}

#[test]
fn a_numbered_line_over_the_limit_stops_its_receiver_with_the_limit_and_the_remedy() {
    let (listener, address) = listen();
    let _sender = std::thread::spawn(move || {
        loop {
            let mut stream = accept(&listener);
            // The receiver may have gone already.
            let _ = stream.write_all(b"0\tzero\n1\t1234567890123456\n");
        }
    });
    let context = StreamContext::with_config(config());
    let lines = published(&context.numbered_lines_with(address.to_string(), limit_of_16()));
    let events = events(&context);
    let running = context.start().unwrap();
    let said = "a numbered line is longer than 16 bytes; raise `line_bytes_max`, for it cannot be left out";
    events.wait_until("the restart of the receiver", |events| {
        events.iter().any(|event| {
            matches!(event, ClusterEvent::Note(GeneratorNote::ReceiverRestarts { reason, .. }) if reason.contains(said))
        })
    });
    running.stop_now().unwrap();
    assert!(lines.all().iter().all(|line| line == "zero"), "{:?}", lines.all());
}
