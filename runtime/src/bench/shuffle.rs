//! `shuffle`: how fast one process fetches the outputs of another, beside a bare stream of quinn that carries as many bytes
//! under the same TLS and the same transport settings.
//!
//! ```text
//!   this process                                  the same program again
//!   QuicTransport::fetch ── bulk requests ──────> BlockStore, encoded for each request
//!   read_chunk           <── one stream ───────── the same bytes, over and over
//! ```
//!
//! The payload is bytes that do not shrink, whose codec copies them: measured is the way, not rmp-serde. The certificates are
//! of an authority that is made for the run.

use super::stopwatch::Stopwatch;
use crate::{
    cluster::{
        lane::Lane,
        quic::{Bulk, serve},
    },
    run_folder::RunFolder,
};
use futures_util::{StreamExt, stream};
use std::{
    any::Any,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};
use tidemill_actors::{
    block_store::{BlockStore, Budget},
    seam::{Held, Payload, PayloadCodec, PayloadError},
    transport::{QuicTransport, Transport},
};
use tidemill_protocol::{
    endpoint::{self, EndpointConfig, Identity},
    id::{
        Attempt, BatchNumber, DataKey, DatasetId, Incarnation, Member, PartitionId, StageId, TaskId, TaskKey,
    },
    identity::{Authority, load_identity, save_identity},
    message::PeerInfo,
    world::{SeededRng, World},
};

/// The other process holds this many outputs …
const OUTPUTS: u32 = 16;
/// … of so many bytes.
const OUTPUT_BYTES: usize = 2 << 20;
/// Outputs that are fetched at the same time, as by one task.
const AT_ONCE: usize = 16;
/// The other process's certificate and key.
const IDENTITY: &str = "node";
/// What a bare stream is written in.
const CHUNK_BYTES: usize = 256 * 1024;

/// MB/s of a run, ours and the baseline's.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct ShuffleRun {
    /// Fetched outputs.
    pub mb_per_s: f64,
    /// A bare stream.
    pub bare_quinn_mb_per_s: f64,
}

/// Records as this benchmark has them: bytes.
#[derive(Debug)]
struct Raw(Vec<u8>);

const DATASET: DatasetId = DatasetId(0);

impl Payload for Raw {
    fn rows(&self) -> u64 {
        1
    }

    fn heap_bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn dataset(&self) -> DatasetId {
        DATASET
    }

    fn encode(&self) -> Result<Vec<u8>, PayloadError> {
        Ok(self.0.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

struct RawCodec;

impl PayloadCodec for RawCodec {
    fn decode(&self, _dataset: DatasetId, bytes: &[u8]) -> Result<Arc<dyn Payload>, PayloadError> {
        Ok(Arc::new(Raw(bytes.to_vec())))
    }
}

fn key(output: u32) -> (TaskId, PartitionId) {
    let key = TaskKey { batch: BatchNumber(0), stage: StageId(0), partition: PartitionId(0) };
    (TaskId { key, attempt: Attempt(0) }, PartitionId(output))
}

fn bytes_of(output: u32) -> Vec<u8> {
    let mut rng = SeededRng::new(u64::from(output));
    let words = std::iter::repeat_with(|| rng.next_u64().to_le_bytes());
    words.take(OUTPUT_BYTES / 8).flatten().collect()
}

fn endpoint_on(world: &World, identity: Identity) -> Result<quinn::Endpoint, String> {
    let config = EndpointConfig::new(identity, None);
    endpoint::bulk_endpoint(&world.udp, (Ipv4Addr::LOCALHOST, 0).into(), &config).map_err(text)
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(text)
}

/// The other process: serves until its standard input ends, which it does when whoever started it has ended. Its certificate
/// lies in the folder that it was started in.
///
/// # Errors
/// In words.
pub fn serve_outputs() -> Result<(), String> {
    let runtime = runtime()?;
    let world = World::real_on(runtime.handle().clone());
    let store = BlockStore::new(Budget::new(1 << 30));
    for output in 0..OUTPUTS {
        let (task, partition) = key(output);
        let held = Held::new(vec![Arc::new(Raw(bytes_of(output)))]);
        store.put_output(task, partition, held).map_err(text)?;
    }
    let (ours, bare) = {
        let _inside = runtime.enter();
        let identity = load_identity(Path::new("."), IDENTITY).map_err(text)?;
        (endpoint_on(&world, identity.clone())?, endpoint_on(&world, identity)?)
    };
    println!("{} {}", ours.local_addr().map_err(text)?.port(), bare.local_addr().map_err(text)?.port());
    std::io::stdout().flush().map_err(text)?;
    runtime.spawn(serve(ours, store, Arc::new(RawCodec), Lane::Runtime(runtime.handle().clone())));
    runtime.spawn(serve_bare(bare));
    std::io::stdin().read_to_end(&mut Vec::new()).map_err(text)?;
    Ok(())
}

/// Writes as many bytes as a client asks for, on each of its streams.
async fn serve_bare(endpoint: quinn::Endpoint) -> Result<(), String> {
    let chunk = bytes_of(0)[..CHUNK_BYTES].to_vec();
    let connection = endpoint.accept().await.ok_or("closed")?.await.map_err(text)?;
    loop {
        let (mut send, mut recv) = connection.accept_bi().await.map_err(text)?;
        let mut wanted = [0; 8];
        recv.read_exact(&mut wanted).await.map_err(text)?;
        let mut left = usize::try_from(u64::from_le_bytes(wanted)).map_err(text)?;
        while left > 0 {
            let now = left.min(CHUNK_BYTES);
            send.write_all(&chunk[..now]).await.map_err(text)?;
            left -= now;
        }
        send.finish().map_err(text)?;
    }
}

/// The other process; it ends with this value.
struct Other {
    child: Child,
    ours: SocketAddr,
    bare: SocketAddr,
}

impl Other {
    fn start(folder: &Path) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(text)?;
        let mut child = Command::new(program)
            .args(["bench", "shuffle_server"])
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(text)?;
        let mut line = String::new();
        let said = child.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
        let ports: Vec<u16> = line.split_whitespace().filter_map(|port| port.parse().ok()).collect();
        let address = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        // From here on whatever fails ends the other process.
        let other = Other {
            child,
            ours: address(ports.first().copied().unwrap_or(0)),
            bare: address(ports.get(1).copied().unwrap_or(0)),
        };
        match said {
            Some(Ok(_)) if ports.len() == 2 => Ok(other),
            _ => Err(format!("the other process does not serve; it said: {line}")),
        }
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // It ends by itself when its input does; this is for one that hangs.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs ours and the baseline in turn, over about `megabytes` each time.
///
/// # Errors
/// In words: the other process does not start, or what comes is not what was put there.
pub fn measure(runs: u32, megabytes: u64) -> Result<Vec<ShuffleRun>, String> {
    let runtime = runtime()?;
    let world = World::real_on(runtime.handle().clone());
    let folder = RunFolder::make(&world, "shuffle").map_err(text)?;
    let (now, lifetime) = (world.clock.wall(), Duration::from_secs(24 * 3_600));
    let authority = Authority::create(&folder.path().join("ca"), now).map_err(text)?;
    let (_, own) = authority.node_identity(now, 1, lifetime).map_err(text)?;
    let (nodes, others) = authority.node_identity(now, 1, lifetime).map_err(text)?;
    let data = folder.path().join(IDENTITY);
    save_identity(&data, IDENTITY, &others).map_err(text)?;
    let other = Other::start(&data)?;
    runtime.block_on(async {
        let endpoint = endpoint_on(&world, own)?;
        let member = Member { node: nodes[0], incarnation: Incarnation(1) };
        let cluster = authority.cluster().clone();
        let name = cluster.node(member.node);
        let client =
            Bulk { endpoint: endpoint.clone(), lane: Lane::Runtime(runtime.handle().clone()), cluster };
        let transport = QuicTransport::new(client, Arc::new(RawCodec), world.clock.clone());
        transport.set_peers(vec![PeerInfo { member, bulk_address: Some(other.ours) }]);
        let bare = endpoint::connect_to(&endpoint, other.bare, &name).await.map_err(text)?;
        let rounds = (megabytes * 1_000_000).div_ceil(OUTPUTS as u64 * OUTPUT_BYTES as u64).max(1);
        check(&transport, member).await?;
        // Both have found their path's limits before the first run.
        fetch_all(&transport, member, 1).await?;
        read_bare(&bare, u64::from(OUTPUTS) * OUTPUT_BYTES as u64).await?;
        let mut measured = Vec::new();
        for _ in 0..runs {
            let watch = Stopwatch::start();
            let bytes = fetch_all(&transport, member, rounds).await?;
            let mb_per_s = watch.per_s(bytes) / 1e6;
            let watch = Stopwatch::start();
            let bytes = read_bare(&bare, bytes).await?;
            measured.push(ShuffleRun { mb_per_s, bare_quinn_mb_per_s: watch.per_s(bytes) / 1e6 });
        }
        Ok(measured)
    })
}

/// What is fetched is what was put there.
async fn check(transport: &QuicTransport<Bulk>, member: Member) -> Result<(), String> {
    for output in [0, OUTPUTS - 1] {
        let (task, partition) = key(output);
        let held = transport.fetch(member, DataKey::Output { task, partition }).await.map_err(text)?;
        let raw = held.pieces.first().and_then(|piece| piece.as_any().downcast_ref::<Raw>());
        if raw.is_none_or(|raw| raw.0 != bytes_of(output)) {
            return Err(format!("output {output} came as something else"));
        }
    }
    Ok(())
}

/// Fetches all outputs `rounds` times; gives the bytes.
async fn fetch_all(transport: &QuicTransport<Bulk>, member: Member, rounds: u64) -> Result<u64, String> {
    let outputs = (0..rounds).flat_map(|_| 0..OUTPUTS);
    let fetches = outputs.map(|output| {
        let (task, partition) = key(output);
        transport.fetch_within(member, DataKey::Output { task, partition }, 8 * OUTPUT_BYTES as u64)
    });
    let mut fetched = stream::iter(fetches).buffer_unordered(AT_ONCE);
    let mut bytes = 0;
    while let Some(held) = fetched.next().await {
        bytes += held.map_err(text)?.bytes();
    }
    Ok(bytes)
}

async fn read_bare(connection: &quinn::Connection, bytes: u64) -> Result<u64, String> {
    let (mut send, mut recv) = connection.open_bi().await.map_err(text)?;
    send.write_all(&bytes.to_le_bytes()).await.map_err(text)?;
    let mut read = 0;
    while let Some(chunk) = recv.read_chunk(CHUNK_BYTES, true).await.map_err(text)? {
        read += chunk.bytes.len() as u64;
    }
    if read == bytes { Ok(read) } else { Err(format!("{read} of {bytes} bytes came")) }
}
