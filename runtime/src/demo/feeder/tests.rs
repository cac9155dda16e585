//! The feeder against receivers written by hand, over in-memory connections and a clock that jumps.

use super::*;
use futures_util::future::BoxFuture;
use tidemill_protocol::world::{ClockSource, TcpAcceptor};
use tokio::{
    io::{AsyncBufReadExt, BufReader, DuplexStream},
    sync::mpsc,
};

/// A clock on which nobody waits: who sleeps moves it on, and lets the others run first.
#[derive(Clone, Default)]
struct JumpingClock(Arc<AtomicU64>);

impl ClockSource for JumpingClock {
    fn now(&self) -> Time {
        Time(self.0.load(Ordering::SeqCst))
    }
    fn wall(&self) -> Duration {
        Duration::from_nanos(self.now().0)
    }
    fn sleep_until(&self, deadline: Time) -> BoxFuture<'static, ()> {
        let clock = self.clone();
        Box::pin(async move {
            tokio::task::yield_now().await;
            clock.0.fetch_max(deadline.0, Ordering::SeqCst);
        })
    }
}

/// Connections that a test hands over.
struct HandedOver(mpsc::Receiver<DuplexStream>);

impl TcpAcceptor for HandedOver {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn ByteStream>, SocketAddr)>> {
        Box::pin(async {
            let stream = self.0.recv().await.ok_or_else(|| io::Error::other("the test has ended"))?;
            Ok((Box::new(stream) as Box<dyn ByteStream>, self.local_addr()))
        })
    }
    fn local_addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 9))
    }
}

/// A feeder on its own task, and the way to connect to it.
struct Bench {
    connect: mpsc::Sender<DuplexStream>,
    gauge: Arc<FeedGauge>,
    fed: tokio::task::JoinHandle<Result<u64, FeedError>>,
}

fn bench(rate_lines_per_s: u64, duration: Duration) -> Bench {
    let (connect, connections) = mpsc::channel(4);
    let feeder = Feeder::new(Box::new(HandedOver(connections)), Clock::new(JumpingClock::default()));
    let plan = FeedPlan { lines: vec!["a", "b", "c"], rate_lines_per_s, duration };
    Bench { connect, gauge: feeder.gauge(), fed: tokio::spawn(feeder.run(plan)) }
}

/// A receiver's connection that has asked to go on after a line.
struct Receiver {
    reader: BufReader<ReadHalf<DuplexStream>>,
    writer: WriteHalf<DuplexStream>,
}

impl Bench {
    async fn receiver(&self, hello: &str) -> Receiver {
        let (ours, theirs) = tokio::io::duplex(256);
        self.connect.send(theirs).await.expect("the feeder listens");
        let (reader, writer) = tokio::io::split(ours);
        let mut receiver = Receiver { reader: BufReader::new(reader), writer };
        receiver.say(hello).await;
        receiver
    }
}

impl Receiver {
    async fn say(&mut self, words: &str) {
        self.writer.write_all(words.as_bytes()).await.expect("the feeder reads");
    }

    /// The next line; `None` when the feeder has closed.
    async fn hear(&mut self) -> Option<String> {
        let mut line = String::new();
        self.reader.read_line(&mut line).await.expect("the feeder writes UTF-8");
        line.strip_suffix('\n').map(str::to_string)
    }

    /// All lines up to END, which is left out.
    async fn hear_all(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = self.hear().await.filter(|line| line != "END") {
            lines.push(line);
        }
        lines
    }
}

#[tokio::test]
async fn lines_are_numbered_repeat_the_text_and_end_when_all_is_safe() {
    let bench = bench(7, Duration::from_secs(1));
    let mut receiver = bench.receiver("RESUME -\n").await;
    assert_eq!(receiver.hear_all().await, ["0\ta", "1\tb", "2\tc", "3\ta", "4\tb", "5\tc", "6\ta"]);
    assert!(!bench.fed.is_finished(), "nothing is safe");
    receiver.say("SAFE 3\nSAFE 6\n").await;
    assert_eq!(receiver.hear().await, None);
    drop(receiver);
    assert_eq!(bench.fed.await.expect("no panic").expect("fed"), 7);
    assert_eq!(
        (bench.gauge.written(), bench.gauge.safe(), bench.gauge.repeated(), bench.gauge.connections()),
        (7, 7, 0, 1)
    );
}

#[tokio::test]
async fn a_lost_connection_gets_what_is_not_safe_once_more_and_every_line_arrives() {
    let bench = bench(1_000, Duration::from_secs(1));
    let mut first = bench.receiver("RESUME -\n").await;
    for number in 0..500 {
        assert_eq!(first.hear().await, Some(format!("{number}\t{}", ["a", "b", "c"][number % 3])));
    }
    first.say("SAFE 99\n").await;
    drop(first);
    let mut second = bench.receiver("RESUME 199\n").await;
    let lines = second.hear_all().await;
    let expected: Vec<String> = (200..1_000).map(|n| format!("{n}\t{}", ["a", "b", "c"][n % 3])).collect();
    assert_eq!(lines, expected);
    second.say("SAFE 999\n").await;
    drop(second);
    assert_eq!(bench.fed.await.expect("no panic").expect("fed"), 1_000);
    assert!(bench.gauge.repeated() >= 300, "{}", bench.gauge.repeated());
    assert_eq!(bench.gauge.connections(), 2);
}

#[tokio::test]
async fn the_newest_connection_wins_over_one_that_is_only_silent() {
    let bench = bench(10, Duration::from_secs(1));
    let mut silent = bench.receiver("RESUME -\n").await;
    assert_eq!(silent.hear().await.as_deref(), Some("0\ta"));
    let mut newest = bench.receiver("RESUME -\n").await;
    assert_eq!(newest.hear_all().await.len(), 10);
    newest.say("SAFE 9\n").await;
    drop(newest);
    assert_eq!(bench.fed.await.expect("no panic").expect("fed"), 10);
}

#[tokio::test]
async fn a_receiver_that_was_declared_dead_is_turned_away_and_the_feed_goes_on() {
    let bench = bench(10, Duration::from_secs(1));
    let mut living = bench.receiver("RESUME -\n").await;
    assert_eq!(living.hear_all().await.len(), 10);
    living.say("SAFE 7\n").await;
    while bench.gauge.safe() < 8 {
        tokio::task::yield_now().await;
    }
    let mut zombie = bench.receiver("RESUME 3\n").await;
    assert_eq!(zombie.hear().await, None);
    assert_eq!(bench.gauge.turned_away(), 1);
    let mut living = bench.receiver("RESUME 9\n").await;
    assert_eq!(living.hear_all().await, Vec::<String>::new());
    living.say("SAFE 9\n").await;
    drop(living);
    assert_eq!(bench.fed.await.expect("no panic").expect("fed"), 10);
}

#[tokio::test]
async fn a_request_in_pieces_is_understood() {
    let bench = bench(2, Duration::from_secs(1));
    let mut receiver = bench.receiver("RES").await;
    tokio::task::yield_now().await;
    receiver.say("UME -\n").await;
    assert_eq!(receiver.hear_all().await.len(), 2);
    receiver.say("SAF").await;
    tokio::task::yield_now().await;
    receiver.say("E 1\n").await;
    drop(receiver);
    assert_eq!(bench.fed.await.expect("no panic").expect("fed"), 2);
}

#[tokio::test]
async fn a_receiver_that_breaks_the_protocol_ends_the_feed_with_its_words() {
    let table = [
        ("GET / HTTP/1.1\n", "GET / HTTP/1.1"),
        ("SAFE 0\n", "SAFE 0"),
        ("RESUME -\nRESUME -\n", "RESUME -"),
        ("RESUME -\nSAFE x\n", "SAFE x"),
        ("RESUME 5\n", "only 0 lines"),
        ("x".repeat(65).leak(), "xxxx"),
    ];
    for (words, expected) in table {
        let bench = bench(1, Duration::from_secs(1));
        let receiver = bench.receiver(words).await;
        let error = bench.fed.await.expect("no panic").expect_err(words).to_string();
        assert!(error.contains(expected), "{words:?}: {error}");
        drop(receiver);
    }
}
