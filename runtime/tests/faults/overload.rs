//! A real sender that offers ten times what the pipeline can do.

use super::{
    senders::{accept, listen},
    support::{clock, config, events, published, reports, stop, wait},
};
use std::{io::Write, net::TcpListener, time::Duration};
use tidemill::{
    Config, StreamContext,
    sources::{Outlet, Receiver, ReceiverStart, SourceError, StreamOptions},
};
use tidemill_protocol::world::Clock;

const OVERLOAD: Duration = Duration::from_secs(5);
/// What one record costs; on two slots that is 2,000 records in a second at most.
const COST: Duration = Duration::from_millis(1);
const OFFERED_PER_S: u64 = 20_000;
const LINE_BYTES: usize = 1_000;
const MEMORY_BYTES_MAX: u64 = 2 << 20;

/// Offers lines at its rate for as long as the overload lasts, and gives the number that the receiver took.
fn overload(listener: &TcpListener, clock: &Clock) -> u64 {
    let mut stream = accept(listener);
    let (began, mut sent, mut late) = (clock.now(), 0u64, 0u64);
    while clock.now().since(began) < OVERLOAD {
        let due = clock.now().since(began).as_millis() as u64 * OFFERED_PER_S / 1_000;
        if sent + late >= due {
            wait(clock.sleep(Duration::from_millis(1)));
            continue;
        }
        // What is not taken in its time is not offered again: it is the sender that keeps the rest.
        let line = format!("{:0width$}\n", sent, width = LINE_BYTES - 1);
        let before = clock.now();
        stream.write_all(line.as_bytes()).unwrap();
        late += clock.now().since(before).as_millis() as u64 * OFFERED_PER_S / 1_000;
        sent += 1;
    }
    sent
}

#[test]
fn ten_times_the_capacity_for_5_s_from_a_real_sender_stays_within_the_byte_limit_and_every_line_counts() {
    let (listener, address) = listen();
    let clock = clock();
    let sender = {
        let clock = clock.clone();
        std::thread::spawn(move || {
            let sent = overload(&listener, &clock);
            // Further connections wait until the listener goes away.
            (sent, listener)
        })
    };
    let context = StreamContext::with_config(Config { memory_bytes_max: MEMORY_BYTES_MAX, ..config() });
    let numbers = context.tcp_lines(address.to_string()).map(move |line| {
        wait(clock.sleep(COST));
        line.trim_end().parse::<u64>().unwrap()
    });
    let (numbers, events) = (published(&numbers), events(&context));
    let running = context.start().unwrap();

    let (sent, listener) = sender.join().unwrap();
    numbers.wait_until("every line that was sent", |numbers| numbers.len() as u64 >= sent);
    let memory = running.progress().memory();
    events.wait_until("the end of the connection", |events| reports(events, "lost_connection") >= 1);
    stop(running).unwrap();
    drop(listener);

    assert!(sent < OFFERED_PER_S * OVERLOAD.as_secs() / 2, "the sender was held back; it sent {sent}");
    assert_eq!(numbers.all(), (0..sent).collect::<Vec<u64>>(), "exact totals");
    assert_eq!(memory.len(), 2);
    // On top of the limit is what outputs may have.
    let limit = MEMORY_BYTES_MAX + MEMORY_BYTES_MAX / 4;
    for memory in memory {
        assert!(memory.bytes_high_water <= limit, "{memory:?} is over {limit}");
    }
}

/// Has always more, each record of 10,000 bytes.
struct Endless;

impl Receiver for Endless {
    type Record = String;

    async fn run(&self, _start: ReceiverStart, out: Outlet<String>) -> Result<(), SourceError> {
        while out.push(vec!["x".repeat(10_000)]).await.is_ok() {}
        Ok(())
    }
}

#[test]
fn a_limit_in_bytes_a_second_holds_whatever_the_rate_in_records_permits() {
    let limited = Config { rate_bytes_per_s_max: Some(200_000), ..config() };
    let context = StreamContext::with_config(limited);
    let records = context.receiver_stream(Endless, StreamOptions::default());
    let lengths = published(&records.map(|record| record.len()));
    let (clock, began) = (clock(), clock().now());
    let running = context.start().unwrap();
    lengths.wait_until("40 records", |lengths| lengths.len() >= 40);
    // 400,000 bytes, of which what is saved up (50 ms) and the last record (50 ms more) come ahead of their time.
    let took = clock.now().since(began);
    assert!(took >= Duration::from_millis(1_900), "40 records within {took:?}");
    stop(running).unwrap();
}
