//! The real world: its timers complete in order, its slots survive what runs on them, its sockets and files do what they
//! say. Nothing here asserts how long something takes.

use quinn::{
    AsyncUdpSocket,
    udp::{RecvMeta, Transmit},
};
use std::{
    fs,
    future::poll_fn,
    io::{ErrorKind, IoSliceMut},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    task::Poll,
    thread,
    time::Duration,
};
use tidemill_protocol::world::World;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long a test waits for what has to happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// A runtime without tokio's timers: what completes here rests on our own.
fn bare_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// A folder of its own for a test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tidemill-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn sleeps_complete_and_never_early() {
    let world = World::real();
    let began = world.clock.now();
    let ended = bare_runtime().block_on(async {
        let sleeps = [3_000u64, 100, 1_700, 0, 250].map(|micros| {
            let (clock, deadline) = (world.clock.clone(), began + Duration::from_micros(micros));
            async move {
                clock.sleep_until(deadline).await;
                (deadline, clock.now())
            }
        });
        futures_util::future::join_all(sleeps).await
    });
    assert_eq!(ended.len(), 5);
    for (deadline, woke) in ended {
        assert!(woke >= deadline, "due at {deadline}, woke at {woke}");
    }
}

#[test]
fn a_sleep_is_driven_by_whoever_polls_it_last() {
    let world = World::real();
    let mut sleep = world.clock.sleep(Duration::from_millis(500));
    let first = bare_runtime().block_on(poll_fn(|cx| Poll::Ready(sleep.as_mut().poll(cx))));
    assert!(first.is_pending());
    // The runtime that polled first is gone; the next one is woken.
    bare_runtime().block_on(sleep);
}

#[test]
fn the_wall_clock_is_the_systems() {
    let wall = World::real().clock.wall();
    assert!(wall > Duration::from_secs(1_700_000_000), "later than 2023: {wall:?}");
}

#[test]
fn the_same_seed_gives_the_same_draws_and_the_system_gives_others() {
    let draw = |world: World| world.entropy.rng("test").next_u64();
    assert_eq!(draw(World::real_seeded(7)), draw(World::real_seeded(7)));
    assert_ne!(draw(World::real_seeded(7)), draw(World::real_seeded(8)));
    assert_ne!(draw(World::real()), draw(World::real()));
}

#[test]
fn a_slot_runs_jobs_in_order_on_its_own_thread_and_survives_a_panic() {
    let world = World::real();
    let slot = world.spawner.slot("tidemill-slot-7");
    let (tell, told) = mpsc::sync_channel(100);
    for number in 0..100 {
        let tell = tell.clone();
        slot.run(
            Box::new(move || {
                if number == 50 {
                    panic!("job 50 panics on purpose");
                }
                tell.send((number, thread::current().name().map(str::to_owned))).unwrap();
            }),
            Duration::ZERO,
        );
    }
    drop(tell);
    for number in (0..100).filter(|number| *number != 50) {
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), (number, Some("tidemill-slot-7".to_owned())));
    }
    assert_eq!(told.recv_timeout(PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected));
}

#[test]
fn a_dropped_slot_ends_the_running_job_and_forgets_the_queued_ones() {
    let slot = World::real().spawner.slot("slot");
    let (tell, told) = mpsc::sync_channel(100);
    let (allow, allowed) = mpsc::sync_channel::<()>(1);
    let tell_first = tell.clone();
    slot.run(
        Box::new(move || {
            tell_first.send("began").unwrap();
            allowed.recv_timeout(PATIENCE).unwrap();
            tell_first.send("ended").unwrap();
        }),
        Duration::ZERO,
    );
    slot.run(Box::new(move || tell.send("queued").unwrap()), Duration::ZERO);
    assert_eq!(told.recv_timeout(PATIENCE), Ok("began"));
    drop(slot);
    allow.send(()).unwrap();
    assert_eq!(told.recv_timeout(PATIENCE), Ok("ended"));
    assert_eq!(told.recv_timeout(PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected));
}

#[test]
fn work_runs_on_a_runtime_of_its_own_and_the_world_may_be_dropped_inside_a_runtime() {
    bare_runtime().block_on(async {
        let world = World::real();
        let (tell, told) = tokio::sync::oneshot::channel();
        let clock = world.clock.clone();
        world.spawner.spawn(async move {
            clock.sleep(Duration::from_micros(300)).await;
            let _ = tell.send(thread::current().name().map(str::to_owned));
        });
        assert_eq!(told.await.unwrap().as_deref(), Some("tidemill-user"));
        assert_eq!(world.spawner.blocking(|| 6 * 7).await, Some(42));
        assert_eq!(
            world.spawner.blocking(|| -> u8 { panic!("blocking work panics on purpose") }).await,
            None
        );
        drop(world);
    });
}

#[test]
fn work_runs_on_the_callers_runtime_if_one_is_given() {
    let builder = &mut tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).thread_name("the-callers").build().unwrap();
    let world = World::real_on(runtime.handle().clone());
    let (tell, told) = mpsc::sync_channel(100);
    world.spawner.spawn(async move { tell.send(thread::current().name().map(str::to_owned)).unwrap() });
    assert_eq!(told.recv_timeout(PATIENCE).unwrap().as_deref(), Some("the-callers"));
}

async fn receive(socket: &Arc<dyn AsyncUdpSocket>) -> (Vec<u8>, SocketAddr) {
    let mut bytes = vec![0; 65_536];
    let mut meta = [RecvMeta::default()];
    let count =
        poll_fn(|cx| socket.poll_recv(cx, &mut [IoSliceMut::new(&mut bytes)], &mut meta)).await.unwrap();
    assert_eq!(count, 1);
    bytes.truncate(meta[0].len);
    (bytes, meta[0].addr)
}

async fn send(socket: &Arc<dyn AsyncUdpSocket>, destination: SocketAddr, contents: &[u8]) {
    let transmit = Transmit { destination, ecn: None, contents, segment_size: None, src_ip: None };
    let mut poller = socket.clone().create_io_poller();
    loop {
        poll_fn(|cx| poller.as_mut().poll_writable(cx)).await.unwrap();
        match socket.try_send(&transmit) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            result => return result.unwrap(),
        }
    }
}

#[tokio::test]
async fn datagrams_go_there_and_back() {
    let world = World::real();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let (client, server) = (world.udp.bind(any).unwrap(), world.udp.bind(any).unwrap());
    send(&client, server.local_addr().unwrap(), b"there").await;
    let (bytes, from) = receive(&server).await;
    assert_eq!((bytes.as_slice(), from), (&b"there"[..], client.local_addr().unwrap()));
    send(&server, from, b"and back").await;
    assert_eq!(receive(&client).await, (b"and back".to_vec(), server.local_addr().unwrap()));
}

#[tokio::test]
async fn streams_go_there_and_back() {
    let world = World::real();
    let mut listener = world.tcp.listen("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr();
    assert_ne!(address.port(), 0);
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut heard = String::new();
        stream.read_to_string(&mut heard).await.unwrap();
        stream.write_all(heard.to_uppercase().as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    };
    let client = async {
        let mut stream = world.tcp.connect(address.to_string()).await.unwrap();
        stream.write_all(b"there and back").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut heard = String::new();
        stream.read_to_string(&mut heard).await.unwrap();
        heard
    };
    let ((), heard) = futures_util::future::join(server, client).await;
    assert_eq!(heard, "THERE AND BACK");
    drop(listener);
    let refused = world.tcp.connect(address.to_string()).await.err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

fn listing(world: &World, folder: &Path) -> Vec<(String, u64)> {
    let files = world.files.list(folder).unwrap();
    files
        .into_iter()
        .map(|(path, length)| (path.file_name().unwrap().to_string_lossy().into(), length))
        .collect()
}

#[test]
fn writing_replaces_a_whole_file_and_leaves_nothing_else() {
    let (world, folder) = (World::real(), Folder::new("files"));
    let inner = folder.0.join("a/b");
    world.files.create_folder(&inner).unwrap();
    world.files.create_folder(&inner).unwrap();
    world.files.write(&inner.join("two"), b"a longer text").unwrap();
    world.files.write(&inner.join("two"), b"short").unwrap();
    world.files.write(&inner.join("one"), b"1").unwrap();
    world.files.create_folder(&inner.join("folder")).unwrap();
    assert_eq!(listing(&world, &inner), [("one".into(), 1), ("two".into(), 5)]);
    assert_eq!(world.files.read_range(&inner.join("two"), 1, 3).unwrap(), b"hor");
    assert_eq!(world.files.read_range(&inner.join("two"), 3, 100).unwrap(), b"rt");
    assert_eq!(world.files.read_range(&inner.join("two"), 100, 1).unwrap(), b"");
    assert_eq!(fs::read_dir(&inner).unwrap().count(), 3, "no temporary file stays behind");

    world.files.rename(&inner.join("two"), &inner.join("one")).unwrap();
    assert_eq!(world.files.read_range(&inner.join("one"), 0, 9).unwrap(), b"short");
    world.files.remove(&inner.join("one")).unwrap();
    world.files.remove(&inner.join("one")).unwrap();
    assert_eq!(listing(&world, &inner), []);
}

#[test]
fn a_write_that_fails_leaves_nothing_behind() {
    let (world, folder) = (World::real(), Folder::new("failing"));
    world.files.create_folder(&folder.0.join("taken")).unwrap();
    assert!(world.files.write(&folder.0.join("taken"), b"a file cannot replace a folder").is_err());
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1);
    let missing = world.files.write(&folder.0.join("none/file"), b"").unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}
