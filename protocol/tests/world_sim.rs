//! The simulated world: time, chance, slots, files, fault points and the death of nodes. Its network is in
//! `world_sim_net.rs`, QUIC over it in `world_sim_quic.rs`.
#![cfg(feature = "sim")]

use std::{
    future::pending,
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tidemill_protocol::{
    time::Time,
    world::{
        Job, World,
        sim::{self, SimConfig, SimWorld},
    },
};

const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn run<T>(scenario: impl AsyncFnOnce(SimWorld) -> T) -> T {
    sim::run(1, SimConfig::default(), scenario)
}

/// A record of what ran, with the virtual millisecond.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<(u64, String)>>>);

impl Log {
    fn job(&self, world: &World, name: &str) -> Job {
        let (log, clock, name) = (self.clone(), world.clock.clone(), name.to_owned());
        Box::new(move || log.0.lock().unwrap().push((clock.now().0 / 1_000_000, name)))
    }

    fn entries(&self) -> Vec<(u64, String)> {
        self.0.lock().unwrap().clone()
    }
}

fn entries(expected: &[(u64, &str)]) -> Vec<(u64, String)> {
    expected.iter().map(|(at, name)| (*at, (*name).to_owned())).collect()
}

#[test]
fn time_jumps_to_the_next_timer_and_is_rounded_up_to_milliseconds() {
    run(async |sim| {
        let clock = sim.node(A).clock;
        assert_eq!(clock.now(), Time::ZERO);
        clock.sleep(Duration::from_secs(86_400)).await;
        assert_eq!(clock.now(), Time::ZERO + Duration::from_secs(86_400));
        clock.sleep(Duration::from_micros(10)).await;
        assert_eq!(clock.now(), Time::ZERO + Duration::from_millis(86_400_001));
        clock.sleep_until(Time(5)).await;
        assert_eq!(clock.now(), Time::ZERO + Duration::from_millis(86_400_001));
    });
}

#[test]
fn each_node_has_a_wall_clock_of_its_own() {
    run(async |sim| {
        let (a, b) = (sim.node(A), sim.node(B));
        sim.set_wall_offset_ms(B, -1_500);
        a.clock.sleep(ms(20)).await;
        assert_eq!(a.clock.wall(), sim::WALL_EPOCH + ms(20));
        assert_eq!(b.clock.wall() + ms(1_500), sim::WALL_EPOCH + ms(20));
        sim.set_wall_offset_ms(B, 7);
        assert_eq!(b.clock.wall(), sim::WALL_EPOCH + ms(27));
        assert_eq!(a.clock.now(), b.clock.now());
    });
}

#[test]
fn nodes_and_lives_draw_apart_but_repeat() {
    let draws = |seed| {
        sim::run(seed, SimConfig::default(), async |sim| {
            let draw = |world: &World| world.entropy.rng("x").next_u64();
            [draw(&sim.node(A)), draw(&sim.node(A)), draw(&sim.node(B)), draw(&sim.revive(A))]
        })
    };
    let [first, again, other_node, next_life] = draws(1);
    assert_eq!(first, again);
    assert_ne!(first, other_node);
    assert_ne!(first, next_life);
    assert_eq!(draws(1), [first, again, other_node, next_life]);
    assert_ne!(draws(2)[0], first);
}

#[test]
fn a_slot_takes_one_job_at_a_time_and_survives_a_panic() {
    run(async |sim| {
        let (world, log) = (sim.node(A), Log::default());
        let (slot, other) = (world.spawner.slot("one"), world.spawner.slot("two"));
        slot.run(log.job(&world, "a"), ms(10));
        slot.run(Box::new(|| panic!("this job panics on purpose")), ms(5));
        slot.run(log.job(&world, "b"), ms(20));
        other.run(log.job(&world, "elsewhere"), ms(12));
        world.clock.sleep(ms(100)).await;
        slot.run(log.job(&world, "free"), Duration::ZERO);
        world.clock.sleep(ms(1)).await;
        sim.set_slowdown(A, 3.0);
        slot.run(log.job(&world, "slow"), ms(10));
        world.clock.sleep(ms(100)).await;
        let expected = [(10, "a"), (12, "elsewhere"), (35, "b"), (100, "free"), (131, "slow")];
        assert_eq!(log.entries(), entries(&expected));
    });
}

#[test]
fn a_dropped_slot_ends_the_running_job_and_forgets_the_queued_ones() {
    run(async |sim| {
        let (world, log) = (sim.node(A), Log::default());
        let slot = world.spawner.slot("one");
        slot.run(log.job(&world, "running"), ms(10));
        slot.run(log.job(&world, "queued"), ms(10));
        world.clock.sleep(ms(5)).await;
        drop(slot);
        world.clock.sleep(ms(100)).await;
        assert_eq!(log.entries(), entries(&[(10, "running")]));
    });
}

#[test]
fn jobs_of_a_killed_node_never_report() {
    run(async |sim| {
        let (a, b, log) = (sim.node(A), sim.node(B), Log::default());
        let (slot, survivor) = (a.spawner.slot("slot"), b.spawner.slot("slot"));
        slot.run(log.job(&a, "before"), ms(10));
        slot.run(log.job(&a, "running"), ms(10));
        slot.run(log.job(&a, "queued"), ms(10));
        survivor.run(log.job(&b, "survivor"), ms(30));
        b.clock.sleep(ms(15)).await;
        assert!(sim.kill(A));
        assert!(!sim.kill(A), "it is dead already");
        slot.run(log.job(&a, "after"), ms(1));
        let next = sim.revive(A);
        let next_slot = next.spawner.slot("slot");
        next_slot.run(log.job(&next, "next life"), ms(1));
        // The dead life's handles stay dead though the node lives again.
        slot.run(log.job(&a, "late"), ms(1));
        a.spawner.slot("new").run(log.job(&a, "new"), ms(1));
        b.clock.sleep(ms(1_000)).await;
        assert_eq!(log.entries(), entries(&[(10, "before"), (16, "next life"), (30, "survivor")]));
        assert_eq!(sim.net().counts().killed, 1);
    });
}

#[test]
fn spawned_work_of_a_killed_node_is_dropped_after_its_sockets_are_cut() {
    /// Says goodbye to a peer when dropped, as quinn's handles do.
    struct Goodbye(Arc<dyn quinn::AsyncUdpSocket>, SocketAddr);
    impl Drop for Goodbye {
        fn drop(&mut self) {
            let contents = b"goodbye";
            let transmit = quinn::udp::Transmit {
                destination: self.1,
                ecn: None,
                contents,
                segment_size: None,
                src_ip: None,
            };
            self.0.try_send(&transmit).unwrap();
        }
    }
    run(async |sim| {
        let (a, b) = (sim.node(A), sim.node(B));
        let ours = a.udp.bind(SocketAddr::new(A, 0)).unwrap();
        let theirs = b.udp.bind(SocketAddr::new(B, 0)).unwrap();
        let goodbye = Goodbye(ours, theirs.local_addr().unwrap());
        let beats = Arc::new(AtomicU32::new(0));
        let (counting, clock) = (beats.clone(), a.clock.clone());
        a.spawner.spawn(async move {
            let _goodbye = goodbye;
            loop {
                clock.sleep(ms(10)).await;
                counting.fetch_add(1, Ordering::Relaxed);
            }
        });
        b.clock.sleep(ms(55)).await;
        sim.kill(A);
        b.clock.sleep(ms(100)).await;
        assert_eq!(beats.load(Ordering::Relaxed), 5);
        assert_eq!(sim.net().counts().dead, 1, "the goodbye was tried …");
        assert_eq!(sim.net().counts().delivered, 0, "… and did not leave");
        a.spawner.spawn(async move { panic!("a dead node runs nothing") });
        assert_eq!(a.spawner.blocking(|| 1).await, None);
        assert_eq!(b.spawner.blocking(|| 1).await, Some(1));
        assert!(a.udp.bind(SocketAddr::new(A, 0)).is_err());
    });
}

#[test]
fn files_outlive_nodes_and_are_closed_to_the_dead() {
    run(async |sim| {
        let (a, b, folder) = (sim.node(A), sim.node(B), Path::new("/out/x"));
        let missing = a.files.write(&folder.join("f"), b"no folder yet").unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        a.files.create_folder(folder).unwrap();
        a.files.write(&folder.join("f"), b"first, and longer").unwrap();
        a.files.write(&folder.join("f"), b"second").unwrap();
        a.files.write(&folder.join("e"), b"e").unwrap();
        sim.kill(A);
        assert!(a.files.write(&folder.join("f"), b"from the grave").is_err());
        assert_eq!(b.files.read_range(&folder.join("f"), 1, 3).unwrap(), b"eco");
        let listed = b.files.list(folder).unwrap();
        assert_eq!(listed, [(folder.join("e"), 1), (folder.join("f"), 6)]);
        b.files.rename(&folder.join("e"), &folder.join("f")).unwrap();
        b.files.remove(&folder.join("e")).unwrap();
        assert_eq!(sim.files().read_range(&folder.join("f"), 0, 9).unwrap(), b"e");
        assert_eq!(b.files.list(Path::new("/out")).unwrap(), []);
        assert_eq!(b.files.list(Path::new("/none")).unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn fault_points_are_counted_and_may_kill_who_passes() {
    run(async |sim| {
        let (a, b) = (sim.node(A), sim.node(B));
        b.faults.at("point");
        sim.set_fault_hook(|sim, ip, point| {
            if (ip, point) == (A, "point") {
                sim.kill(A);
            }
        });
        let after = Arc::new(AtomicU32::new(0));
        let seen = after.clone();
        a.spawner.clone().spawn(async move {
            a.faults.at("point");
            a.faults.at("point");
            tokio::task::yield_now().await;
            seen.fetch_add(1, Ordering::Relaxed);
        });
        b.clock.sleep(ms(1)).await;
        b.faults.at("point");
        assert!(!sim.is_alive(A));
        assert_eq!(after.load(Ordering::Relaxed), 0, "what is killed does not come back from its next await");
        assert_eq!(sim.passed("point"), 3, "the dead pass nothing");
        assert_eq!(sim.passed("another"), 0);
    });
}

#[test]
fn a_trace_tells_content_order_and_time_apart() {
    let trace = |script: &'static [(u64, &'static str)]| {
        sim::run(1, SimConfig { trace_lines: 2, ..SimConfig::default() }, async |sim| {
            let clock = sim.node(A).clock;
            for (at, what) in script {
                clock.sleep_until(Time::ZERO + ms(*at)).await;
                sim.trace().event(what);
            }
            (sim.trace().hash(), sim.trace().lines())
        })
    };
    let (hash, lines) = trace(&[(1, "a"), (2, "b"), (3, "c")]);
    assert_eq!(lines, ["1000000 a", "2000000 b"]);
    assert_eq!(trace(&[(1, "a"), (2, "b"), (3, "c")]).0, hash);
    assert_ne!(trace(&[(1, "a"), (2, "b"), (4, "c")]).0, hash);
    assert_ne!(trace(&[(1, "a"), (2, "c"), (3, "b")]).0, hash);
    let numbers = run(async |sim| {
        sim.trace().numbers(&[1, 2]);
        (sim.trace().hash(), sim.trace().entries(), sim.trace().datagrams())
    });
    assert_ne!(numbers.0, run(async |sim| sim.trace().hash()));
    assert_eq!((numbers.1, numbers.2), (1, 0));
}

#[test]
fn a_runtime_serves_without_the_convenience() {
    let virtual_time = sim::runtime().block_on(async {
        let sim = SimWorld::new(1, SimConfig::default());
        let clock = sim.node(A).clock;
        tokio::select! {
            biased;
            () = pending() => unreachable!("pending never ends"),
            () = clock.sleep(ms(1_000)) => clock.now(),
        }
    });
    assert_eq!(virtual_time, Time::ZERO + ms(1_000));
}
