//! The window in which a plain line can be lost: from the sender's socket to a safe block. docs/FAULTS.md names it; here a
//! process dies while lines are in it.

use super::{
    senders::{accept, listen},
    support::{config, events, published, reports, stop},
};
use std::{collections::BTreeSet, io::Write, net::TcpStream, time::Duration};
use tidemill::{
    BatchInterval, Config, StreamContext,
    sources::{StorageLevel, StreamOptions},
};

/// Kills after which a line must have been in the window: each has the better part of a second for it.
const KILLS_MAX: usize = 10;
const PER_KILL: usize = 300;

fn send(stream: &mut TcpStream, name: &str, count: usize) -> Vec<String> {
    let lines: Vec<String> = (0..count).map(|n| format!("{name} {n}")).collect();
    stream.write_all((lines.join("\n") + "\n").as_bytes()).unwrap();
    lines
}

#[test]
fn plain_lines_in_the_window_of_a_dying_process_are_lost_at_most_once_counted_and_reported() {
    let (listener, address) = listen();
    let interval = Duration::from_secs(1);
    let slow =
        Config { batch_interval: BatchInterval::Every(interval), block_interval: interval, ..config() };
    let context = StreamContext::with_config(slow);
    let options = StreamOptions { storage: StorageLevel::Single, ..StreamOptions::default() };
    let lines = published(&context.tcp_lines_with(address.to_string(), options).map(|line| line.to_string()));
    let events = events(&context);
    let running = context.start().unwrap();

    let mut stream = accept(&listener);
    let mut outside = send(&mut stream, "before", 100);
    lines.wait_until("what was sent before", |lines| lines.len() == 100);
    let (mut inside, mut kills) = (Vec::new(), 0);
    loop {
        // A batch was published just now: the next cut is most of an interval away, and these wait for it in an open block.
        inside.extend(send(&mut stream, &format!("kill {kills}"), PER_KILL));
        let (_, on) = running.progress().receivers()[0];
        assert!(running.kill_executor(on.node));
        kills += 1;
        stream = accept(&listener);
        let after = send(&mut stream, &format!("after {kills}"), 10);
        lines.wait_until("what was sent afterwards", |lines| lines.contains(after.last().unwrap()));
        outside.extend(after);
        let seen: BTreeSet<String> = lines.all().into_iter().collect();
        if kills == KILLS_MAX || inside.iter().any(|line| !seen.contains(line)) {
            break;
        }
    }
    events.wait_until("the report of the loss", |events| reports(events, "window_lost") >= kills as u64);
    drop(stream);
    stop(running).unwrap();

    let all = lines.all();
    let seen: BTreeSet<&String> = all.iter().collect();
    assert_eq!(seen.len(), all.len(), "no line is counted twice");
    assert!(outside.iter().all(|line| seen.contains(line)), "outside of the window nothing is lost");
    assert!(all.len() < outside.len() + inside.len(), "{kills} kills and no line was in the window");
    let sent: BTreeSet<&String> = outside.iter().chain(&inside).collect();
    assert!(seen.is_subset(&sent), "nothing is counted that was not sent");
    assert_eq!(reports(&events.all(), "window_lost"), kills as u64, "each loss is reported");
}
