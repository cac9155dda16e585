//! The state of the simulated network: which sockets there are, which links are cut, and what becomes of each datagram.
//!
//! ```text
//!   send ─▶ sender dead? ─▶ rebound? ─▶ cut? ─▶ too long? ─▶ lost? ─▶ nobody there? ─▶ buffer full? ─▶ mailbox (once or twice)
//! ```

use super::{
    link::{FaultCounts, Link, Lot, Route, SOUND_DELAY_MAX, Way},
    node::Life,
    socket::Mailbox,
    stream::Connection,
    tcp::Line,
};
use crate::world::Entropy;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Weak},
};
use tokio::time::Instant;

/// Where ports begin that are chosen by the network.
const EPHEMERAL_PORT: u16 = 49_152;

/// Locked before a mailbox or a stream, never after one; and nothing that has a `Drop` of ours is dropped under it.
pub(super) struct State {
    entropy: Entropy,
    pub(super) link: Link,
    pub(super) links: BTreeMap<Route, Link>,
    ways: BTreeMap<Route, Way>,
    pub(super) cuts: BTreeSet<Route>,
    /// How many datagrams each cut direction has swallowed.
    pub(super) swallowed: BTreeMap<Route, u64>,
    pub(super) names: BTreeMap<String, IpAddr>,
    ports: BTreeMap<IpAddr, u16>,
    pub(super) sockets: BTreeMap<SocketAddr, Arc<Mailbox>>,
    parcels: u64,
    /// How often the flow from a socket to an address has been rebound.
    rebinds: BTreeMap<(SocketAddr, SocketAddr), u32>,
    /// The port that a rebound flow (from, to) has now, and since which rebinding.
    ports_seen: BTreeMap<(SocketAddr, SocketAddr), (SocketAddr, u32)>,
    /// Whose a rebound flow (seen, to) is.
    owners: BTreeMap<(SocketAddr, SocketAddr), SocketAddr>,
    /// Nodes that stand still.
    pub(super) paused: BTreeMap<IpAddr, Instant>,
    pub(super) listeners: BTreeMap<SocketAddr, Line>,
    pub(super) connections: BTreeMap<u64, Weak<Connection>>,
    next_id: u64,
    pub(super) counts: FaultCounts,
}

impl State {
    /// No sockets, and all links alike.
    pub(super) fn new(entropy: Entropy, link: Link) -> Self {
        State {
            entropy,
            link,
            links: BTreeMap::new(),
            ways: BTreeMap::new(),
            cuts: BTreeSet::new(),
            swallowed: BTreeMap::new(),
            names: BTreeMap::new(),
            ports: BTreeMap::new(),
            sockets: BTreeMap::new(),
            parcels: 0,
            rebinds: BTreeMap::new(),
            ports_seen: BTreeMap::new(),
            owners: BTreeMap::new(),
            paused: BTreeMap::new(),
            listeners: BTreeMap::new(),
            connections: BTreeMap::new(),
            next_id: 0,
            counts: FaultCounts::default(),
        }
    }

    /// Whether the direction `from` → `to` is cut.
    pub(super) fn is_cut(&self, from: IpAddr, to: IpAddr) -> bool {
        self.cuts.contains(&(from, to))
    }

    /// A number that no other connection or listener has.
    pub(super) fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// All TCP connections of which an end is still held.
    pub(super) fn live_connections(&mut self) -> Vec<Arc<Connection>> {
        self.connections.retain(|_, connection| connection.strong_count() > 0);
        self.connections.values().filter_map(Weak::upgrade).collect()
    }

    /// The link and the lots of a direction.
    pub(super) fn way(&mut self, route: Route) -> (&Link, &mut Way) {
        let link =
            if route.0 == route.1 { &Link::LOOPBACK } else { self.links.get(&route).unwrap_or(&self.link) };
        (link, self.ways.entry(route).or_insert_with(|| Way::new(self.entropy, route)))
    }

    /// The address that is bound when `wanted` is asked for: the node's own, with a port.
    pub(super) fn choose_address(&mut self, life: &Life, wanted: SocketAddr) -> io::Result<SocketAddr> {
        if !life.is_alive() {
            return Err(io::Error::other("this node is dead"));
        }
        let ip = life.ip();
        if wanted.ip() != ip && !wanted.ip().is_unspecified() && !wanted.ip().is_loopback() {
            return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, wanted.to_string()));
        }
        if wanted.port() != 0 {
            return Ok(SocketAddr::new(ip, wanted.port()));
        }
        self.free_port(ip)
    }

    fn free_port(&mut self, ip: IpAddr) -> io::Result<SocketAddr> {
        for _ in EPHEMERAL_PORT..=u16::MAX {
            let next = self.ports.entry(ip).or_insert(EPHEMERAL_PORT);
            let address = SocketAddr::new(ip, *next);
            *next = next.checked_add(1).unwrap_or(EPHEMERAL_PORT);
            if !self.sockets.contains_key(&address) && !self.listeners.contains_key(&address) {
                return Ok(address);
            }
        }
        Err(io::Error::new(io::ErrorKind::AddrInUse, "all ports are taken"))
    }

    /// From now on `to` sees the sockets that the node at `from` has now under other ports, and what it sends to the old ones goes nowhere.
    pub(super) fn rebind(&mut self, from: IpAddr, to: SocketAddr) {
        for socket in self.sockets.keys().filter(|socket| socket.ip() == from) {
            *self.rebinds.entry((*socket, to)).or_default() += 1;
        }
        self.owners.retain(|(seen, peer), _| (seen.ip(), *peer) != (from, to));
    }

    /// Under which address `to` sees the socket at `from`.
    pub(super) fn seen_as(&mut self, from: SocketAddr, to: SocketAddr) -> SocketAddr {
        let Some(round) = self.rebinds.get(&(from, to)).copied() else {
            return from;
        };
        if let Some((seen, _)) = self.ports_seen.get(&(from, to)).filter(|(_, since)| *since == round) {
            return *seen;
        }
        // Should all ports be taken, the flow keeps its own.
        let seen = self.free_port(from.ip()).unwrap_or(from);
        self.counts.rebound += u64::from(seen != from);
        self.ports_seen.insert((from, to), (seen, round));
        self.owners.insert((seen, to), from);
        seen
    }

    /// The socket that a datagram from `from` to `to` is for.
    pub(super) fn owner_of(&self, from: SocketAddr, to: SocketAddr) -> Option<SocketAddr> {
        match self.owners.get(&(to, from)) {
            Some(owner) => Some(*owner),
            None if self.rebinds.contains_key(&(to, from)) => None,
            None => Some(to),
        }
    }

    /// The address of `host:port` for the node at `own`.
    pub(super) fn resolve(&self, address: &str, own: IpAddr) -> io::Result<SocketAddr> {
        let known = address.parse().ok().or_else(|| {
            let (host, port) = address.rsplit_once(':')?;
            let ip = if host == "localhost" { own } else { *self.names.get(host)? };
            Some(SocketAddr::new(ip, port.parse().ok()?))
        });
        let known: SocketAddr = known
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no such host: {address}")))?;
        let is_own = known.ip().is_loopback() || known.ip().is_unspecified();
        Ok(if is_own { SocketAddr::new(own, known.port()) } else { known })
    }

    /// What becomes of a datagram to the socket at `to`, if there is one: when it arrives (with a number that keeps arrivals
    /// apart), and which bit arrives wrong.
    pub(super) fn judge(&mut self, route: Route, to: Option<SocketAddr>, length: usize) -> Judgement {
        let now = Instant::now();
        let leaves = self.paused_until(route.0).unwrap_or(now);
        self.counts.frozen += u64::from(leaves > now);
        let (link, way) = self.way(route);
        let is_oversized = length > link.mtu;
        // Drawn for every datagram, whatever becomes of it.
        let Lot { is_lost, is_duplicated, wrong_bit, delays } = way.draw(&link.clone());
        let verdict = match to.and_then(|to| self.sockets.get(&to)) {
            _ if self.is_cut(route.0, route.1) => Verdict::Cut,
            _ if is_oversized => Verdict::Oversized,
            _ if is_lost => Verdict::Lost,
            None => Verdict::Unbound,
            Some(mailbox) if mailbox.is_full() => Verdict::Overflowed,
            Some(_) if is_duplicated => Verdict::Duplicated,
            Some(_) => Verdict::Delivered,
        };
        if matches!(verdict, Verdict::Cut) {
            *self.swallowed.entry(route).or_default() += 1;
        }
        let copies = match verdict {
            Verdict::Delivered => 1,
            Verdict::Duplicated => 2,
            _ => 0,
        };
        let mut arrivals = Vec::with_capacity(copies);
        self.counts.delayed += u64::from(delays.iter().take(copies).any(|delay| *delay > SOUND_DELAY_MAX));
        for delay in delays.into_iter().take(copies) {
            self.parcels += 1;
            arrivals.push((leaves + delay, self.parcels));
        }
        if let Some((due, _)) = arrivals.first()
            && self.way(route).1.overtakes(*due)
        {
            self.counts.reordered += 1;
        }
        self.counts.corrupted += u64::from(wrong_bit.is_some() && copies > 0);
        Judgement { verdict, arrivals, wrong_bit }
    }

    /// Until when the node at `ip` stands still, if it does.
    pub(super) fn paused_until(&self, ip: IpAddr) -> Option<Instant> {
        self.paused.get(&ip).copied().filter(|until| *until > Instant::now())
    }

    /// Counts a datagram.
    pub(super) fn count(&mut self, verdict: Verdict) {
        let counts = &mut self.counts;
        let count = match verdict {
            Verdict::Delivered => &mut counts.delivered,
            Verdict::Duplicated => {
                counts.delivered += 1;
                &mut counts.duplicated
            }
            Verdict::Lost => &mut counts.lost,
            Verdict::Cut => &mut counts.cut,
            Verdict::Dead => &mut counts.dead,
            Verdict::Unbound => &mut counts.unbound,
            Verdict::Overflowed => &mut counts.overflowed,
            Verdict::Oversized => &mut counts.oversized,
        };
        *count += 1;
    }
}

/// What is decided about one datagram.
pub(super) struct Judgement {
    pub(super) verdict: Verdict,
    pub(super) arrivals: Vec<(Instant, u64)>,
    pub(super) wrong_bit: Option<u64>,
}

/// What becomes of a datagram.
#[derive(Clone, Copy)]
pub(super) enum Verdict {
    Delivered,
    Duplicated,
    Lost,
    Cut,
    Dead,
    Unbound,
    Overflowed,
    Oversized,
}

impl Verdict {
    /// As the trace has it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Verdict::Delivered => "delivered",
            Verdict::Duplicated => "duplicated",
            Verdict::Lost => "lost",
            Verdict::Cut => "cut",
            Verdict::Dead => "dead",
            Verdict::Unbound => "unbound",
            Verdict::Overflowed => "overflowed",
            Verdict::Oversized => "oversized",
        }
    }
}
