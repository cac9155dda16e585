//! The lives of simulated nodes: a node (an IP address) may die and be revived, and what a dead life still holds (sockets,
//! files, slots, fault points) stays dead when the next life begins.

use crate::world::lock;
use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    task::AbortHandle,
    time::{Instant, sleep_until},
};

/// Finished work is forgotten whenever this much has been adopted since.
const PRUNE_EVERY: usize = 256;

/// All nodes of a world.
#[derive(Clone, Default)]
pub(super) struct Nodes(Arc<Mutex<BTreeMap<IpAddr, Node>>>);

/// A node; it comes into being, alive, when it is first named.
pub(super) struct Node {
    life: u32,
    alive: bool,
    /// What a job's cost is multiplied by.
    pub(super) slowdown: f64,
    /// How many jobs took another time than their cost.
    pub(super) slowed: u64,
    /// How far the node's wall clock is ahead.
    pub(super) wall_offset_ms: i64,
    /// Until when the node stands still.
    paused_until: Option<Instant>,
    /// How many bytes the node may still write.
    pub(super) disk_free: Option<u64>,
    /// How many writes found no room.
    pub(super) disk_refused: u64,
    work: Vec<AbortHandle>,
    prune_at: usize,
}

impl Default for Node {
    fn default() -> Self {
        Node {
            life: 0,
            alive: true,
            slowdown: 1.0,
            slowed: 0,
            wall_offset_ms: 0,
            paused_until: None,
            disk_free: None,
            disk_refused: 0,
            work: Vec::new(),
            prune_at: PRUNE_EVERY,
        }
    }
}

impl Nodes {
    /// Changes (or reads) the node at `ip`.
    pub(super) fn change<T>(&self, ip: IpAddr, change: impl FnOnce(&mut Node) -> T) -> T {
        change(lock(&self.0).entry(ip).or_default())
    }

    /// The current life of the node at `ip`.
    pub(super) fn life(&self, ip: IpAddr) -> Life {
        let number = self.change(ip, |node| node.life);
        Life { nodes: self.clone(), ip, number }
    }

    /// Lets the node at `ip` stand still until then.
    pub(super) fn pause(&self, ip: IpAddr, until: Instant) {
        self.change(ip, |node| node.paused_until = node.paused_until.max(Some(until)));
    }

    /// Ends the current life and gives its work, for the caller to abort; none if it has ended already.
    pub(super) fn kill(&self, ip: IpAddr) -> Option<Vec<AbortHandle>> {
        self.change(ip, |node| {
            let was_alive = std::mem::replace(&mut node.alive, false);
            node.paused_until = None;
            node.prune_at = PRUNE_EVERY;
            was_alive.then(|| std::mem::take(&mut node.work))
        })
    }

    /// Begins the next life.
    pub(super) fn revive(&self, ip: IpAddr) {
        self.change(ip, |node| {
            node.life += 1;
            node.alive = true;
        });
    }
}

/// One life of a node.
#[derive(Clone)]
pub(super) struct Life {
    nodes: Nodes,
    ip: IpAddr,
    number: u32,
}

impl Life {
    /// Where the node lives.
    pub(super) fn ip(&self) -> IpAddr {
        self.ip
    }

    /// 0 for the first life.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// Whether this life has not ended.
    pub(super) fn is_alive(&self) -> bool {
        self.nodes.change(self.ip, |node| node.alive && node.life == self.number)
    }

    /// What a job that begins now takes, if it costs `cost` on a sound node.
    pub(super) fn time_of(&self, cost: Duration) -> Duration {
        self.nodes.change(self.ip, |node| {
            node.slowed += u64::from(node.slowdown != 1.0 && !cost.is_zero());
            cost.mul_f64(node.slowdown)
        })
    }

    /// Until when the node stands still, if it does.
    pub(super) fn paused_until(&self) -> Option<Instant> {
        self.nodes.change(self.ip, |node| node.paused_until).filter(|until| *until > Instant::now())
    }

    /// Waits until the node goes on.
    pub(super) async fn go_on(&self) {
        while let Some(until) = self.paused_until() {
            sleep_until(until).await;
        }
    }

    /// Takes room on the node's disk; false if it is full.
    pub(super) fn take_disk(&self, bytes: u64) -> bool {
        self.nodes.change(self.ip, |node| match node.disk_free {
            Some(free) if free < bytes => {
                node.disk_refused += 1;
                false
            }
            free => {
                node.disk_free = free.map(|free| free - bytes);
                true
            }
        })
    }

    /// How far the node's wall clock is ahead at present.
    pub(super) fn wall_offset_ms(&self) -> i64 {
        self.nodes.change(self.ip, |node| node.wall_offset_ms)
    }

    /// Has `work` aborted when this life ends.
    pub(super) fn adopt(&self, work: AbortHandle) {
        self.nodes.change(self.ip, |node| {
            if node.work.len() >= node.prune_at {
                node.work.retain(|work| !work.is_finished());
                node.prune_at = node.work.len() + PRUNE_EVERY;
            }
            node.work.push(work);
        });
    }
}
