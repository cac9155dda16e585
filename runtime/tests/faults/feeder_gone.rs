//! A feeder that goes away and comes back on the same port.

use super::{
    senders::{NumberedSender, listen},
    support::{config, end, events, published, reports},
};
use std::{
    net::TcpListener,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::JoinHandle,
};
use tidemill::{ClusterEvent, StreamContext};

const LINES: usize = 1_000;

fn lines() -> Vec<String> {
    (0..LINES).map(|n| format!("line {n}")).collect()
}

/// A feeder that sends `to` lines, is gone when `safe_to` of them are safe, and comes back when it is told to.
fn feeder(
    listener: TcpListener,
    to: usize,
    safe_to: usize,
) -> (JoinHandle<NumberedSender>, Receiver<()>, SyncSender<()>) {
    let (tell_gone, gone) = sync_channel(1);
    let (come_back, told) = sync_channel(1);
    let thread = std::thread::spawn(move || {
        let address = listener.local_addr().unwrap();
        let mut sender = NumberedSender::new(lines());
        sender.serve(&listener, to, safe_to);
        drop(listener);
        tell_gone.send(()).unwrap();
        told.recv().unwrap();
        let listener = TcpListener::bind(address).unwrap();
        sender.serve_to_the_end(&listener);
        sender
    });
    (thread, gone, come_back)
}

#[test]
fn a_feeder_that_is_gone_is_reported_and_tried_again_with_backoff_and_every_line_counts_once() {
    let (listener, address) = listen();
    let (sender, gone, come_back) = feeder(listener, 500, 500);
    let context = StreamContext::with_config(config());
    let published = published(&context.numbered_lines(address.to_string()).map(|line| line.to_string()));
    let events = events(&context);
    let running = context.start().unwrap();
    gone.recv().unwrap();
    events.wait_until("three refused connections", |events| reports(events, "connect_failed") >= 3);
    come_back.send(()).unwrap();
    end(running).unwrap();
    let sender = sender.join().unwrap();
    assert_eq!(sender.resumed, [None, Some(499)], "one connection before, one after");
    assert_eq!(sender.safe, Some(LINES as u64 - 1), "everything is acknowledged");
    assert_eq!(published.all(), lines());
    for what in ["lost_connection", "reconnect"] {
        assert_eq!(reports(&events.all(), what), 1, "{what}");
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_the_receiver_dies_while_the_feeder_is_gone() {
    let (listener, address) = listen();
    let (sender, gone, come_back) = feeder(listener, 600, 500);
    let context = StreamContext::with_config(config());
    let published = published(&context.numbered_lines(address.to_string()).map(|line| line.to_string()));
    let events = events(&context);
    let running = context.start().unwrap();
    gone.recv().unwrap();
    let (first, on) = running.progress().receivers()[0];
    assert!(running.kill_executor(on.node));
    events.wait_until("the receiver's next life", |events| {
        let next = |event: &ClusterEvent| {
            matches!(event, ClusterEvent::ReceiverStarted { receiver, .. } if receiver.incarnation > first.incarnation)
        };
        events.iter().any(next)
    });
    come_back.send(()).unwrap();
    end(running).unwrap();
    let sender = sender.join().unwrap();
    let after = sender.resumed.last().copied().flatten().expect("it went on after a line");
    assert!(
        (499..600).contains(&after),
        "lines up to 499 are safe, and 600 were sent; it went on after {after}"
    );
    assert_eq!(published.all(), lines());
}
