//! The simulated network: which sockets there are, which links are cut, and what becomes of each datagram.
//!
//! ```text
//!   send ─▶ sender dead? ─▶ cut? ─▶ too long? ─▶ lost? ─▶ nobody there? ─▶ buffer full? ─▶ mailbox (once or twice)
//! ```

use super::{
    link::{FaultCounts, Link, Lot, Route, Way},
    node::Life,
    socket::{Mailbox, Parcel, SimSocket},
    tcp::{Connection, Line},
    trace::Trace,
};
use crate::world::{ByteStream, Entropy, Network, TcpListenerBox, lock};
use futures_util::future::BoxFuture;
use quinn::{AsyncUdpSocket, udp::Transmit};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, Weak},
};
use tokio::time::Instant;

/// Where ports begin that are chosen by the network.
const EPHEMERAL_PORT: u16 = 49_152;

/// The network of a simulated world; a handle, cheap to clone.
#[derive(Clone)]
pub struct SimNet(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) state: Mutex<State>,
    pub(super) trace: Trace,
}

/// Locked before a mailbox or a stream, never after one; and nothing that has a `Drop` of ours is dropped under it.
pub(super) struct State {
    entropy: Entropy,
    link: Link,
    links: BTreeMap<Route, Link>,
    ways: BTreeMap<Route, Way>,
    cuts: BTreeSet<Route>,
    names: BTreeMap<String, IpAddr>,
    ports: BTreeMap<IpAddr, u16>,
    sockets: BTreeMap<SocketAddr, Arc<Mailbox>>,
    parcels: u64,
    pub(super) listeners: BTreeMap<SocketAddr, Line>,
    pub(super) connections: BTreeMap<u64, Weak<Connection>>,
    next_id: u64,
    pub(super) counts: FaultCounts,
}

impl SimNet {
    /// A network all of whose links are `link`.
    pub(super) fn new(entropy: Entropy, link: Link, trace: Trace) -> Self {
        let state = State {
            entropy,
            link,
            links: BTreeMap::new(),
            ways: BTreeMap::new(),
            cuts: BTreeSet::new(),
            names: BTreeMap::new(),
            ports: BTreeMap::new(),
            sockets: BTreeMap::new(),
            parcels: 0,
            listeners: BTreeMap::new(),
            connections: BTreeMap::new(),
            next_id: 0,
            counts: FaultCounts::default(),
        };
        SimNet(Arc::new(Inner {
            state: Mutex::new(state),
            trace,
        }))
    }

    /// The network as `life` sees it.
    pub(super) fn of(&self, life: Life) -> Arc<dyn Network> {
        Arc::new(NodeNetwork {
            net: self.clone(),
            life,
        })
    }

    /// How often each fault has struck.
    pub fn counts(&self) -> FaultCounts {
        lock(&self.0.state).counts.clone()
    }

    /// Lets TCP addresses name the node at `ip` as `name`.
    pub fn set_name(&self, name: impl Into<String>, ip: IpAddr) {
        lock(&self.0.state).names.insert(name.into(), ip);
    }

    /// Sets every link that is not set by [`set_link`](Self::set_link).
    pub fn set_all_links(&self, link: Link) {
        lock(&self.0.state).link = link;
    }

    /// Sets the direction `from` → `to`.
    pub fn set_link(&self, from: IpAddr, to: IpAddr, link: Link) {
        lock(&self.0.state).links.insert((from, to), link);
    }

    /// Cuts the direction `from` → `to`: datagrams are swallowed, TCP is held up. What is on its way still arrives (UDP).
    pub fn cut(&self, from: IpAddr, to: IpAddr) {
        lock(&self.0.state).cuts.insert((from, to));
        self.0.trace.event(&format!("cut {from} > {to}"));
    }

    /// Cuts both directions between `a` and `b`.
    pub fn cut_both(&self, a: IpAddr, b: IpAddr) {
        self.cut(a, b);
        self.cut(b, a);
    }

    /// Mends the direction `from` → `to`.
    pub fn heal(&self, from: IpAddr, to: IpAddr) {
        self.mend(|cut| *cut == (from, to));
    }

    /// Mends both directions between `a` and `b`.
    pub fn heal_both(&self, a: IpAddr, b: IpAddr) {
        self.mend(|cut| *cut == (a, b) || *cut == (b, a));
    }

    /// Mends all that is cut.
    pub fn heal_all(&self) {
        self.mend(|_| true);
    }

    fn mend(&self, is_mended: impl Fn(&Route) -> bool) {
        let mut state = lock(&self.0.state);
        let mended: Vec<Route> = state.cuts.iter().filter(|cut| is_mended(cut)).copied().collect();
        for cut in &mended {
            state.cuts.remove(cut);
        }
        let connections = state.live_connections();
        drop(state);
        for (from, to) in mended {
            self.0.trace.event(&format!("heal {from} > {to}"));
        }
        connections
            .iter()
            .for_each(|connection| connection.wake_readers());
    }

    /// Closes all that the node at `ip` has open, without a word to anyone but the TCP peers, who see a reset.
    pub(super) fn cut_off(&self, ip: IpAddr) {
        let mut state = lock(&self.0.state);
        state.counts.killed += 1;
        let sockets: Vec<_> = state
            .sockets
            .extract_if(.., |address, _| address.ip() == ip)
            .collect();
        let listeners: Vec<_> = state
            .listeners
            .extract_if(.., |address, _| address.ip() == ip)
            .collect();
        let connections = state.live_connections();
        drop(state);
        sockets.iter().for_each(|(_, mailbox)| mailbox.close());
        drop(listeners);
        for connection in connections.iter().filter(|connection| connection.has_end_at(ip)) {
            self.reset(connection);
        }
    }

    /// Takes a datagram from a socket of `life`, bound to `from`.
    pub(super) fn send(&self, life: &Life, from: SocketAddr, transmit: &Transmit<'_>) {
        let (to, length) = (transmit.destination, transmit.contents.len());
        let mut state = lock(&self.0.state);
        let (verdict, arrivals) = if life.is_alive() {
            state.judge(from, to, length)
        } else {
            (Verdict::Dead, Vec::new())
        };
        state.count(verdict);
        let mailbox = state.sockets.get(&to).cloned();
        drop(state);
        self.0.trace.datagram(from, to, length, verdict.name());
        if let Some(mailbox) = mailbox {
            for key in arrivals {
                mailbox.put(
                    key,
                    Parcel {
                        from,
                        ecn: transmit.ecn,
                        bytes: transmit.contents.into(),
                    },
                );
            }
        }
    }

    /// Forgets a socket that is dropped.
    pub(super) fn unbind(&self, mailbox: &Arc<Mailbox>) {
        let mut state = lock(&self.0.state);
        // The address may have been bound again by the node's next life.
        if state
            .sockets
            .get(&mailbox.address())
            .is_some_and(|bound| Arc::ptr_eq(bound, mailbox))
        {
            state.sockets.remove(&mailbox.address());
        }
    }

    fn bind(&self, life: &Life, wanted: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let mut state = lock(&self.0.state);
        let address = state.choose_address(life, wanted)?;
        let mailbox = Arc::new(Mailbox::new(address));
        if state.sockets.contains_key(&address) {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, address.to_string()));
        }
        state.sockets.insert(address, Arc::clone(&mailbox));
        drop(state);
        Ok(Arc::new(SimSocket::new(self.clone(), life.clone(), mailbox)))
    }
}

impl State {
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
        self.connections
            .retain(|_, connection| connection.strong_count() > 0);
        self.connections.values().filter_map(Weak::upgrade).collect()
    }

    /// The link and the lots of a direction.
    pub(super) fn way(&mut self, route: Route) -> (&Link, &mut Way) {
        let link = if route.0 == route.1 {
            &Link::LOOPBACK
        } else {
            self.links.get(&route).unwrap_or(&self.link)
        };
        (
            link,
            self.ways
                .entry(route)
                .or_insert_with(|| Way::new(self.entropy, route)),
        )
    }

    /// The address that is bound when `wanted` is asked for: the node's own, with a port.
    pub(super) fn choose_address(&mut self, life: &Life, wanted: SocketAddr) -> io::Result<SocketAddr> {
        if !life.is_alive() {
            return Err(io::Error::other("this node is dead"));
        }
        let ip = life.ip();
        if wanted.ip() != ip && !wanted.ip().is_unspecified() && !wanted.ip().is_loopback() {
            return Err(io::Error::new(
                io::ErrorKind::AddrNotAvailable,
                wanted.to_string(),
            ));
        }
        if wanted.port() != 0 {
            return Ok(SocketAddr::new(ip, wanted.port()));
        }
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

    /// The address of `host:port` for the node at `own`.
    pub(super) fn resolve(&self, address: &str, own: IpAddr) -> io::Result<SocketAddr> {
        let known = address.parse().ok().or_else(|| {
            let (host, port) = address.rsplit_once(':')?;
            let ip = if host == "localhost" {
                own
            } else {
                *self.names.get(host)?
            };
            Some(SocketAddr::new(ip, port.parse().ok()?))
        });
        let known: SocketAddr = known
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no such host: {address}")))?;
        let is_own = known.ip().is_loopback() || known.ip().is_unspecified();
        Ok(if is_own {
            SocketAddr::new(own, known.port())
        } else {
            known
        })
    }

    /// What becomes of a datagram, and when it arrives (with a number that keeps arrivals apart).
    fn judge(&mut self, from: SocketAddr, to: SocketAddr, length: usize) -> (Verdict, Vec<(Instant, u64)>) {
        let route = (from.ip(), to.ip());
        let now = Instant::now();
        let (link, way) = self.way(route);
        let is_oversized = length > link.mtu;
        // Drawn for every datagram, whatever becomes of it.
        let Lot {
            is_lost,
            is_duplicated,
            delays,
        } = way.draw(&link.clone());
        let verdict = match self.sockets.get(&to) {
            _ if self.is_cut(route.0, route.1) => Verdict::Cut,
            _ if is_oversized => Verdict::Oversized,
            _ if is_lost => Verdict::Lost,
            None => Verdict::Unbound,
            Some(mailbox) if mailbox.is_full() => Verdict::Overflowed,
            Some(_) if is_duplicated => Verdict::Duplicated,
            Some(_) => Verdict::Delivered,
        };
        let copies = match verdict {
            Verdict::Delivered => 1,
            Verdict::Duplicated => 2,
            _ => 0,
        };
        let mut arrivals = Vec::with_capacity(copies);
        for delay in delays.into_iter().take(copies) {
            self.parcels += 1;
            arrivals.push((now + delay, self.parcels));
        }
        if let Some((due, _)) = arrivals.first()
            && self.way(route).1.overtakes(*due)
        {
            self.counts.reordered += 1;
        }
        (verdict, arrivals)
    }

    fn count(&mut self, verdict: Verdict) {
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

/// What becomes of a datagram.
#[derive(Clone, Copy)]
enum Verdict {
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
    fn name(self) -> &'static str {
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

/// The network as one life of a node sees it.
struct NodeNetwork {
    net: SimNet,
    life: Life,
}

impl Network for NodeNetwork {
    fn bind_udp(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        self.net.bind(&self.life, address)
    }

    fn connect_tcp(&self, address: String) -> BoxFuture<'static, io::Result<Box<dyn ByteStream>>> {
        Box::pin(self.net.clone().connect(self.life.clone(), address))
    }

    fn listen_tcp(&self, address: String) -> BoxFuture<'static, io::Result<TcpListenerBox>> {
        let listener = self.net.listen(&self.life, &address);
        Box::pin(async move { listener })
    }
}
