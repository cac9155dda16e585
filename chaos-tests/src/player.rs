//! Plays a schedule of faults on a cluster: strikes, mends, and counts what struck.

use crate::{
    faults::{ActorPanics, EXECUTORS, Fault, Panics, Scheduled, Struck, Victim},
    scenario::FEEDER_HOST,
    watched::Watched,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tidemill::cluster::{
    Member,
    sim::{Link, NodeId, SimCluster},
};

/// The longest datagram that every path of QUIC carries.
const MTU_MIN: usize = 1_200;

/// Plays a schedule on a cluster.
pub(crate) struct Player {
    link: Link,
    panics: Panics,
    actor_panics: ActorPanics,
    steps: Vec<Step>,
    struck: Vec<Struck>,
    /// What counted before each fault, and whom it struck.
    begun: Vec<(u64, Option<NodeId>)>,
    has_begun: Vec<bool>,
    /// Who was asked to leave, by fault.
    leaving: BTreeMap<usize, Member>,
    watched: Arc<Mutex<Watched>>,
    /// Whether faults that take executors wait for the cluster to recover.
    is_patient: bool,
}

struct Step {
    at: Duration,
    fault: usize,
    is_begin: bool,
}

impl Player {
    /// A player for a cluster whose links are `link`, and of which `watched` hears.
    pub(crate) fn new(
        schedule: &[Scheduled],
        link: Link,
        panics: Panics,
        watched: Arc<Mutex<Watched>>,
        is_patient: bool,
    ) -> Self {
        let mut steps = Vec::new();
        for (fault, scheduled) in schedule.iter().enumerate() {
            steps.push(Step { at: scheduled.at, fault, is_begin: true });
            steps.push(Step { at: scheduled.at + scheduled.fault.lasts(), fault, is_begin: false });
        }
        // Stable: of the same moment, a fault's begin stays before its end.
        steps.sort_by_key(|step| step.at);
        let struck = schedule.iter().map(|scheduled| Struck { scheduled: *scheduled, count: 0 }).collect();
        Player {
            link,
            panics,
            actor_panics: ActorPanics::default(),
            steps,
            struck,
            begun: vec![(0, None); schedule.len()],
            has_begun: vec![false; schedule.len()],
            leaving: BTreeMap::new(),
            watched,
            is_patient,
        }
    }

    /// Strikes and mends until the schedule is over; says what struck.
    pub(crate) async fn play(mut self, cluster: &mut SimCluster) -> Vec<Struck> {
        self.actor_panics.install(cluster.world());
        let clock = cluster.host(1).clock;
        let began = clock.now();
        // What a patient fault was late, all that follows is late as well.
        let mut late = Duration::ZERO;
        for step in std::mem::take(&mut self.steps) {
            clock.sleep_until(began + step.at + late).await;
            if step.is_begin && self.is_patient && self.struck[step.fault].scheduled.fault.takes() {
                let executors = usize::from(EXECUTORS);
                while !lock(&self.watched).has_recovered(executors) && cluster.progress().outcome().is_none()
                {
                    clock.sleep(Duration::from_millis(50)).await;
                }
                late = clock.now().since(began + step.at);
            }
            if step.is_begin {
                self.begin(step.fault, cluster);
            } else {
                self.end(step.fault, cluster);
            }
        }
        self.struck
    }

    fn begin(&mut self, index: usize, cluster: &mut SimCluster) {
        if cluster.progress().outcome().is_some() {
            // Nothing is left to be struck.
            return;
        }
        let fault = self.struck[index].scheduled.fault;
        let before = self.evidence(fault, cluster);
        let mut victim = None;
        match fault {
            Fault::Kill { victim: who, .. } => {
                victim = whom(who, cluster).filter(|node| cluster.kill(*node));
            }
            Fault::Restart { victim: who } => {
                victim = whom(who, cluster).filter(|node| cluster.restart(*node));
            }
            Fault::Leave { victim: who, .. } => {
                victim = whom(who, cluster);
                let asked = victim.and_then(|node| cluster.ask_to_leave(node));
                asked.into_iter().for_each(|member| _ = self.leaving.insert(index, member));
            }
            Fault::Cut { a, b, .. } => cluster.cut_both(NodeId(a), NodeId(b)),
            Fault::OneWayCut { from, to, .. } => cluster.cut(NodeId(from), NodeId(to)),
            Fault::Loss { share, .. } => self.relink(cluster, |link| link.loss = share),
            Fault::Duplicates { share, .. } => self.relink(cluster, |link| link.duplicate = share),
            Fault::Disorder { delay_max, .. } => self.relink(cluster, |link| link.delay_max = delay_max),
            Fault::Slow { executor, factor, .. } => {
                cluster.world().set_slowdown(cluster.ip(NodeId(executor)), f64::from(factor));
            }
            Fault::Corruption { share, .. } => self.relink(cluster, |link| link.corrupt = share),
            Fault::SmallMtu { .. } => self.relink(cluster, |link| link.mtu = MTU_MIN),
            Fault::Pause { node, lasts } => cluster.pause(NodeId(node), lasts),
            Fault::Rebind { executor } => cluster.rebind(NodeId(executor)),
            Fault::BrokenSockets { executor } => _ = cluster.break_sockets(NodeId(executor)),
            Fault::ActorPanic { victim: who, role } => {
                victim = whom(who, cluster);
                victim.into_iter().for_each(|node| self.actor_panics.arm(cluster.ip(node), role));
            }
            Fault::TcpReset => reset_connections(cluster),
            Fault::FeederGone { .. } => {
                let feeder = cluster.host_ip(FEEDER_HOST);
                executors().for_each(|node| cluster.net().cut_both(feeder, cluster.ip(node)));
                reset_connections(cluster);
            }
            Fault::Panics { tasks } => self.panics.arm(tasks),
        }
        self.begun[index] = (before, victim);
        self.has_begun[index] = true;
    }

    fn end(&mut self, index: usize, cluster: &mut SimCluster) {
        let fault = self.struck[index].scheduled.fault;
        let (before, victim) = self.begun[index];
        let sound = Link::default();
        match fault {
            Fault::Kill { .. } => {
                if let Some(node) = victim {
                    cluster.revive(node);
                }
            }
            Fault::Leave { .. } => self.end_leave(index, cluster),
            Fault::Cut { a, b, .. } => cluster.heal_both(NodeId(a), NodeId(b)),
            Fault::OneWayCut { from, to, .. } => cluster.heal(NodeId(from), NodeId(to)),
            Fault::Loss { .. } => self.relink(cluster, |link| link.loss = sound.loss),
            Fault::Duplicates { .. } => self.relink(cluster, |link| link.duplicate = sound.duplicate),
            Fault::Disorder { .. } => self.relink(cluster, |link| link.delay_max = sound.delay_max),
            Fault::Slow { executor, .. } => cluster.world().set_slowdown(cluster.ip(NodeId(executor)), 1.0),
            Fault::FeederGone { .. } => {
                let feeder = cluster.host_ip(FEEDER_HOST);
                executors().for_each(|node| cluster.net().heal_both(feeder, cluster.ip(node)));
            }
            Fault::Corruption { .. } => self.relink(cluster, |link| link.corrupt = sound.corrupt),
            Fault::SmallMtu { .. } => self.relink(cluster, |link| link.mtu = sound.mtu),
            // What has not come by now would strike at a time that was not planned.
            Fault::ActorPanic { .. } => self.actor_panics.disarm(),
            Fault::Restart { .. }
            | Fault::TcpReset
            | Fault::Panics { .. }
            | Fault::Pause { .. }
            | Fault::Rebind { .. }
            | Fault::BrokenSockets { .. } => {}
        }
        self.struck[index].count = match fault {
            _ if !self.has_begun[index] => 0,
            Fault::Kill { .. } | Fault::Restart { .. } => u64::from(victim.is_some()),
            Fault::Leave { .. } => {
                let asked = self.leaving.get(&index);
                u64::from(asked.is_some_and(|member| lock(&self.watched).has_left(*member)))
            }
            _ => self.evidence(fault, cluster) - before,
        };
    }

    /// One that has left comes back; one that has not by now is ended, as its agent would, and comes back as well. One that was lost
    /// meanwhile is back already.
    fn end_leave(&self, index: usize, cluster: &mut SimCluster) {
        let Some(member) = self.leaving.get(&index).copied() else { return };
        let is_there = cluster.member(member.node) == Some(member);
        if (is_there || lock(&self.watched).has_left(member)) && cluster.kill(member.node) {
            cluster.revive(member.node);
        }
    }

    fn relink(&mut self, cluster: &SimCluster, change: impl FnOnce(&mut Link)) {
        change(&mut self.link);
        cluster.net().set_all_links(self.link.clone());
    }

    /// What grows while the fault strikes.
    fn evidence(&self, fault: Fault, cluster: &SimCluster) -> u64 {
        let counts = cluster.net().counts();
        let ip = |node| cluster.ip(NodeId(node));
        let swallowed = |from, to| cluster.net().swallowed(ip(from), ip(to));
        match fault {
            Fault::Kill { .. } | Fault::Restart { .. } | Fault::Leave { .. } => 0,
            Fault::Cut { a, b, .. } => swallowed(a, b) + swallowed(b, a),
            Fault::OneWayCut { from, to, .. } => swallowed(from, to),
            Fault::Corruption { .. } => counts.corrupted,
            Fault::SmallMtu { .. } => counts.oversized,
            Fault::Pause { .. } => counts.frozen,
            Fault::Rebind { .. } => counts.rebound,
            Fault::BrokenSockets { .. } => counts.broken,
            Fault::ActorPanic { .. } => self.actor_panics.thrown(),
            Fault::Loss { .. } => counts.lost,
            Fault::Duplicates { .. } => counts.duplicated,
            Fault::Disorder { .. } => counts.delayed,
            Fault::Slow { executor, .. } => cluster.world().slowed(cluster.ip(NodeId(executor))),
            Fault::TcpReset | Fault::FeederGone { .. } => counts.tcp_reset,
            Fault::Panics { .. } => self.panics.thrown(),
        }
    }
}

fn executors() -> impl Iterator<Item = NodeId> {
    (1..=EXECUTORS).map(NodeId)
}

fn reset_connections(cluster: &SimCluster) {
    for connection in cluster.net().tcp_connections() {
        cluster.net().cut_tcp(connection.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is one assignment: a panic elsewhere leaves it whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn whom(victim: Victim, cluster: &SimCluster) -> Option<NodeId> {
    match victim {
        Victim::ReceiverHost => cluster.receiver_host(),
        Victim::Executor(number) => Some(NodeId(number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        oracle::Counts,
        scenario::{DRAIN, feed, word_count},
    };

    /// One of each kind.
    fn kinds() -> [Fault; 18] {
        let (lasts, share) = (Duration::from_secs(1), 0.5);
        let victim = Victim::Executor(2);
        [
            Fault::Kill { victim, down: lasts },
            Fault::Restart { victim },
            Fault::Leave { victim, lasts },
            Fault::Cut { a: 0, b: 1, lasts },
            Fault::OneWayCut { from: 0, to: 1, lasts },
            Fault::Loss { share, lasts },
            Fault::Duplicates { share, lasts },
            Fault::Disorder { delay_max: Duration::from_millis(50), lasts },
            Fault::Slow { executor: 1, factor: 10, lasts },
            Fault::TcpReset,
            Fault::FeederGone { lasts },
            Fault::Corruption { share, lasts },
            Fault::SmallMtu { lasts },
            Fault::Pause { node: 1, lasts },
            Fault::Rebind { executor: 1 },
            Fault::BrokenSockets { executor: 1 },
            Fault::ActorPanic { victim, role: "executor" },
            Fault::Panics { tasks: 3 },
        ]
    }

    #[test]
    fn what_a_calm_cluster_does_is_evidence_of_no_fault() {
        let counts: Arc<Mutex<Counts>> = Arc::default();
        let panics = Panics::default();
        let player = Player::new(&[], Link::default(), panics.clone(), Arc::default(), false);
        let (into, lasts) = (counts.clone(), Duration::from_secs(4));
        let pipeline = move |context: &tidemill::StreamContext| {
            word_count(context, "10.1.0.1", into.clone(), panics.clone());
            Ok(())
        };
        let evidence = SimCluster::builder(5).run(pipeline, async |cluster| {
            let _feed = feed(&cluster.host(FEEDER_HOST), 300, lasts).await;
            assert_eq!(cluster.wait_until_ended(lasts + DRAIN).await, Some(Ok(())));
            assert!(cluster.net().counts().reordered > 0, "datagrams overtake each other here as well");
            kinds().map(|fault| (fault.name(), player.evidence(fault, cluster)))
        });
        assert!(!lock_counts(&counts).is_empty(), "it had work to do");
        assert_eq!(evidence.expect("the cluster starts"), kinds().map(|fault| (fault.name(), 0)));
    }

    fn lock_counts(counts: &Mutex<Counts>) -> Counts {
        counts.lock().expect("nothing panics").clone()
    }
}
