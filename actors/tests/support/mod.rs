//! A world for tests of supervision: virtual time, seeded chance, and nothing else to lean on.
#![allow(dead_code, reason = "each test file uses a part of it")]

use futures_util::future::BoxFuture;
use std::{
    future::Future,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};
use tidemill_actors::supervision::{
    Actor, ActorError, Backoff, ChildSpec, Context, Exit, Handler, Intensity, Mailbox, Message, Start,
};
use tidemill_protocol::{
    time::Time,
    world::{
        ByteStream, Clock, ClockSource, Entropy, Faults, FileSystem, Files, Job, Network, SlotThread,
        Spawner, SpawnerSource, Tcp, TcpListenerBox, Udp, World,
    },
};

struct VirtualClock(tokio::time::Instant);

impl ClockSource for VirtualClock {
    fn now(&self) -> Time {
        Time::ZERO + self.0.elapsed()
    }
    fn wall(&self) -> Duration {
        self.0.elapsed()
    }
    fn sleep_until(&self, deadline: Time) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep_until(self.0 + deadline.since(Time::ZERO)))
    }
}

/// No network, no files, no threads.
struct Nothing;

fn refused<T>() -> io::Result<T> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

impl Network for Nothing {
    fn bind_udp(&self, _: SocketAddr) -> io::Result<Arc<dyn quinn::AsyncUdpSocket>> {
        refused()
    }
    fn connect_tcp(&self, _: String) -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>> {
        Box::pin(async { refused() })
    }
    fn listen_tcp(&self, _: String) -> BoxFuture<'static, io::Result<TcpListenerBox>> {
        Box::pin(async { refused() })
    }
}

impl FileSystem for Nothing {
    fn read_range(&self, _: &Path, _: u64, _: u64) -> io::Result<Vec<u8>> {
        refused()
    }
    fn list(&self, _: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
        refused()
    }
    fn create_folder(&self, _: &Path) -> io::Result<()> {
        refused()
    }
    fn write(&self, _: &Path, _: &[u8]) -> io::Result<()> {
        refused()
    }
    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        refused()
    }
    fn remove(&self, _: &Path) -> io::Result<()> {
        refused()
    }
}

impl SpawnerSource for Nothing {
    fn spawn(&self, _: BoxFuture<'static, ()>) {}
    fn blocking(&self, _: Job) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
    fn slot(&self, _: String) -> Box<dyn SlotThread> {
        Box::new(Nothing)
    }
}

impl SlotThread for Nothing {
    fn run(&self, _: Job, _: Duration) {}
}

/// Runs `body` in an actix System on tokio's paused clock; virtual time starts at zero.
pub fn in_virtual_time<F: Future<Output = ()>>(seed: u64, body: impl FnOnce(World) -> F) {
    let system = actix_rt::System::with_tokio_rt(|| {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().start_paused(true).build().unwrap()
    });
    system.block_on(async {
        let network: Arc<dyn Network> = Arc::new(Nothing);
        let world = World {
            clock: Clock::new(VirtualClock(tokio::time::Instant::now())),
            entropy: Entropy::seeded(seed),
            udp: Udp::new(network.clone()),
            tcp: Tcp::new(network),
            files: Files::new(Nothing),
            spawner: Spawner::new(Nothing),
            faults: Faults::default(),
        };
        body(world).await;
    });
}

pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What happened, in order, with the virtual millisecond of each.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<(u64, String)>>>);

impl Log {
    pub fn note(&self, now: Time, what: impl Into<String>) {
        self.0.lock().unwrap().push((now.0 / 1_000_000, what.into()));
    }
    pub fn take(&self) -> Vec<(u64, String)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
    /// The words alone, in one line.
    pub fn line(&self) -> String {
        let words: Vec<String> = self.take().into_iter().map(|(_, word)| word).collect();
        words.join(" ")
    }
}

/// Tells an actor how to end.
pub struct Do(pub Exit);

impl Message for Do {
    type Reply = ();
}

/// Asks an actor how many messages it has handled in this life.
pub struct Count;

impl Message for Count {
    type Reply = u32;
}

/// Has an actor wait for ever before its next message.
pub struct Hang;

impl Message for Hang {
    type Reply = ();
}

/// Notes `+name` when it starts and `-name` when it was asked to stop.
pub struct Probe {
    pub name: &'static str,
    pub log: Log,
    pub counted: u32,
    pub clock: Option<Clock>,
}

impl Actor for Probe {
    fn started(&mut self, ctx: &mut Context<Self>) -> Result<(), ActorError> {
        self.clock = Some(ctx.world().clock.clone());
        self.log.note(ctx.now(), format!("+{}", self.name));
        Ok(())
    }
    fn stopped(&mut self, exit: &Exit) {
        if *exit == Exit::Shutdown {
            self.log.note(self.clock.as_ref().unwrap().now(), format!("-{}", self.name));
        }
    }
}

impl Handler<Do> for Probe {
    fn handle(&mut self, Do(exit): Do, ctx: &mut Context<Self>) {
        match exit {
            Exit::Normal => ctx.stop(),
            Exit::Failed(error) => ctx.fail(ActorError::new(error)),
            Exit::Panicked(text) => panic!("{text}"),
            Exit::Shutdown | Exit::Killed => unreachable!("an actor cannot do this to itself"),
        }
    }
}

impl Handler<Count> for Probe {
    fn handle(&mut self, _: Count, _: &mut Context<Self>) -> u32 {
        self.counted += 1;
        self.counted
    }
}

impl Handler<Hang> for Probe {
    fn handle(&mut self, _: Hang, ctx: &mut Context<Self>) {
        ctx.wait(std::future::pending());
    }
}

/// A child that is a [`Probe`].
pub fn probe(name: &'static str, log: &Log, mailbox: Mailbox<Probe>) -> ChildSpec {
    let log = log.clone();
    ChildSpec::with_mailbox(name, mailbox, move |_: &Start| Probe {
        name,
        log: log.clone(),
        counted: 0,
        clock: None,
    })
}

pub const PLENTY: Intensity = Intensity { restarts_max: 1_000, period: Duration::from_secs(1) };

pub fn steady(wait: Duration) -> Backoff {
    Backoff { initial: wait, factor: 1.0, max: wait, jitter: 0.0, healthy_after: Duration::from_secs(3_600) }
}
