//! The real quinn and TLS over the simulated network: a run is repeated exactly from its seed, with 5 % loss, duplicates,
//! reordering, a cut and a kill. Three nodes: one asks, two answer.
#![cfg(feature = "sim")]

mod tls;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tidemill_protocol::world::{
    World,
    sim::{self, FaultCounts, Link, SimConfig, SimWorld},
};

const PORT: u16 = 7_000;
/// How long an answer may take before the question is asked again.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many seeds are run, twice each.
const SEEDS: u64 = 12;

fn node(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, number))
}

fn endpoint(world: &World, ip: IpAddr, is_seeded: bool) -> quinn::Endpoint {
    let (server, client) = tls::configs();
    let mut config = quinn::EndpointConfig::default();
    if is_seeded {
        let mut rng = world.entropy.rng("quinn");
        let mut seed = [0; 32];
        seed.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&rng.next_u64().to_le_bytes()));
        config.rng_seed(Some(seed));
    }
    let socket = world.udp.bind(SocketAddr::new(ip, PORT)).unwrap();
    let runtime = Arc::new(quinn::TokioRuntime);
    let mut endpoint =
        quinn::Endpoint::new_with_abstract_socket(config, Some(server), socket, runtime).unwrap();
    endpoint.set_default_client_config(client);
    endpoint
}

/// Answers each stream with its bytes reversed.
fn serve(world: &World, endpoint: quinn::Endpoint) {
    let spawner = world.spawner.clone();
    world.spawner.spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            let per_stream = spawner.clone();
            spawner.spawn(async move {
                let Ok(connection) = incoming.await else { return };
                while let Ok((mut send, mut receive)) = connection.accept_bi().await {
                    per_stream.spawn(async move {
                        let Ok(mut bytes) = receive.read_to_end(1 << 20).await else {
                            return;
                        };
                        bytes.reverse();
                        if send.write_all(&bytes).await.is_ok() {
                            let _ = send.finish();
                        }
                    });
                }
            });
        }
    });
}

async fn ask(connection: &quinn::Connection, question: &[u8]) -> Option<Vec<u8>> {
    let (mut send, mut receive) = connection.open_bi().await.ok()?;
    send.write_all(question).await.ok()?;
    send.finish().ok()?;
    receive.read_to_end(1 << 20).await.ok()
}

/// What a run comes to.
#[derive(Debug, PartialEq)]
struct Outcome {
    trace: u64,
    datagrams: u64,
    answers: u32,
    failures: u32,
    counts: FaultCounts,
    lines: Vec<String>,
}

/// Cuts node 3 off from 1 to 4 s; kills node 2 at 6 s and revives it at 7 s.
async fn strike(sim: SimWorld, world: World, is_seeded: bool) {
    let (one, two, three) = (node(1), node(2), node(3));
    let until = async |secs| {
        world.clock.sleep_until(tidemill_protocol::time::Time::ZERO + Duration::from_secs(secs)).await
    };
    until(1).await;
    sim.net().cut_both(one, three);
    until(4).await;
    sim.net().heal_both(one, three);
    until(6).await;
    sim.kill(two);
    until(7).await;
    let next = sim.revive(two);
    serve(&next, endpoint(&next, two, is_seeded));
}

/// Node 1 asks nodes 2 and 3 in turn, every 50 ms from 0 to 9 s, and tries each question until it is answered.
async fn scenario(sim: SimWorld, is_seeded: bool) -> Outcome {
    for server in [node(2), node(3)] {
        let world = sim.node(server);
        serve(&world, endpoint(&world, server, is_seeded));
    }
    let world = sim.node(node(1));
    let client = endpoint(&world, node(1), is_seeded);
    world.spawner.spawn(strike(sim.clone(), world.clone(), is_seeded));
    let mut questions = sim.entropy().rng("questions");
    let mut connections: [Option<quinn::Connection>; 2] = [None, None];
    let (mut answers, mut failures) = (0, 0);
    for _ in 0..90 {
        for (connection, server) in connections.iter_mut().zip([node(2), node(3)]) {
            let mut question = vec![1; questions.range(100, 10_000) as usize];
            question[0] = 0;
            loop {
                if connection.as_ref().is_none_or(|open| open.close_reason().is_some()) {
                    let connecting = client.connect(SocketAddr::new(server, PORT), "node").unwrap();
                    *connection = connecting.await.ok();
                }
                let Some(open) = connection else {
                    failures += 1;
                    continue;
                };
                match tokio::time::timeout(PATIENCE, ask(open, &question)).await {
                    Ok(Some(answer)) => {
                        assert!(answer.len() == question.len() && answer.last() == Some(&0));
                        answers += 1;
                        break;
                    }
                    Ok(None) | Err(_) => failures += 1,
                }
            }
        }
        world.clock.sleep(Duration::from_millis(50)).await;
    }
    let trace = sim.trace();
    Outcome {
        trace: trace.hash(),
        datagrams: trace.datagrams(),
        answers,
        failures,
        counts: sim.net().counts(),
        lines: trace.lines(),
    }
}

fn outcome(seed: u64, is_seeded: bool) -> Outcome {
    let link = Link { delay_max: Duration::from_millis(20), loss: 0.05, duplicate: 0.02, ..Link::default() };
    let config = SimConfig { link, trace_lines: 20_000, ..SimConfig::default() };
    sim::run(seed, config, async |sim| scenario(sim, is_seeded).await)
}

/// Where two runs part, for the message of a failed test.
fn difference(one: &Outcome, other: &Outcome) -> String {
    let at = one.lines.iter().zip(&other.lines).position(|(one, other)| one != other);
    at.map_or("none in the lines kept".into(), |at| format!("{at}: {} | {}", one.lines[at], other.lines[at]))
}

#[test]
fn the_same_seed_gives_the_same_run_datagram_by_datagram() {
    let mut traces = Vec::new();
    for seed in 0..SEEDS {
        let first = outcome(seed, true);
        let second = outcome(seed, true);
        assert!(first == second, "seed {seed}, first difference: {}", difference(&first, &second));
        assert!(first.datagrams >= 1_000, "{} datagrams", first.datagrams);
        assert_eq!(first.answers, 180, "every question is answered in the end");
        assert!(first.failures > 0, "the cut and the kill were felt");
        let FaultCounts { delivered, lost, duplicated, reordered, cut, dead, unbound, killed, .. } =
            first.counts;
        for (name, count) in [
            ("delivered", delivered),
            ("lost", lost),
            ("duplicated", duplicated),
            ("reordered", reordered),
            ("cut", cut),
            ("dead", dead),
            ("unbound", unbound),
            ("killed", killed),
        ] {
            assert!(count > 0, "seed {seed}: no datagram was {name}");
        }
        traces.push(first.trace);
    }
    traces.sort_unstable();
    traces.dedup();
    assert_eq!(traces.len() as u64, SEEDS, "each seed has a run of its own");
}

#[test]
fn without_a_seed_for_quinn_runs_differ() {
    let first = outcome(1, false);
    assert!((0..3).any(|_| outcome(1, false).trace != first.trace), "the trace does not see quinn's chance");
}
