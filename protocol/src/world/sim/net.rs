//! The simulated network from outside: its links, its cuts, its counters, and the sockets that nodes take from it. What
//! becomes of a datagram is decided in `state`.

use super::{
    link::{FaultCounts, Link, Route},
    node::Life,
    socket::{Mailbox, Parcel, SimSocket},
    state::{Judgement, State, Verdict},
    trace::Trace,
};
use crate::world::{ByteStream, Entropy, Network, TcpListenerBox, lock, meter};
use futures_util::future::BoxFuture;
use quinn::{AsyncUdpSocket, udp::Transmit};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
};
use tokio::time::Instant;

/// The network of a simulated world; a handle, cheap to clone.
#[derive(Clone)]
pub struct SimNet(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) state: Mutex<State>,
    pub(super) trace: Trace,
}

impl SimNet {
    /// A network all of whose links are `link`.
    pub(super) fn new(entropy: Entropy, link: Link, trace: Trace) -> Self {
        SimNet(Arc::new(Inner { state: Mutex::new(State::new(entropy, link)), trace }))
    }

    /// The network as `life` sees it.
    pub(super) fn of(&self, life: Life) -> Arc<dyn Network> {
        Arc::new(NodeNetwork { net: self.clone(), life })
    }

    /// How often each fault has struck.
    pub fn counts(&self) -> FaultCounts {
        lock(&self.0.state).counts.clone()
    }

    /// How many datagrams a cut has swallowed in this direction.
    pub fn swallowed(&self, from: IpAddr, to: IpAddr) -> u64 {
        lock(&self.0.state).swallowed.get(&(from, to)).copied().unwrap_or(0)
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
        connections.iter().for_each(|connection| connection.wake_readers());
    }

    /// Closes all that the node at `ip` has open, without a word to anyone but the TCP peers, who see a reset.
    pub(super) fn cut_off(&self, ip: IpAddr) {
        let mut state = lock(&self.0.state);
        state.counts.killed += 1;
        let sockets: Vec<_> = state.sockets.extract_if(.., |address, _| address.ip() == ip).collect();
        let listeners: Vec<_> = state.listeners.extract_if(.., |address, _| address.ip() == ip).collect();
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
        let owner = state.owner_of(from, to);
        let judgement = if life.is_alive() {
            state.judge((from.ip(), to.ip()), owner, length)
        } else {
            Judgement { verdict: Verdict::Dead, arrivals: Vec::new(), wrong_bit: None }
        };
        let Judgement { verdict, arrivals, wrong_bit } = judgement;
        state.count(verdict);
        // Nothing comes from the dead, from whatever port.
        let seen = if life.is_alive() { state.seen_as(from, to) } else { from };
        let mailbox = owner.and_then(|owner| state.sockets.get(&owner).cloned());
        drop(state);
        meter::exempt(|| self.0.trace.datagram(seen, to, length, verdict.name()));
        if let Some(mailbox) = mailbox {
            for key in arrivals {
                let mut bytes: Box<[u8]> = transmit.contents.into();
                wrong_bit.into_iter().for_each(|bit| flip(&mut bytes, bit));
                mailbox.put(key, Parcel { from: seen, ecn: transmit.ecn, bytes });
            }
        }
    }

    /// Until when the node at `ip` stands still, if it does.
    pub(super) fn paused_until(&self, ip: IpAddr) -> Option<Instant> {
        lock(&self.0.state).paused_until(ip)
    }

    /// Lets the node at `ip` send and read nothing until then; none: it may again.
    pub(super) fn pause(&self, ip: IpAddr, until: Option<Instant>) {
        let mut state = lock(&self.0.state);
        match until {
            Some(until) => {
                let entry = state.paused.entry(ip).or_insert(until);
                *entry = until.max(*entry);
            }
            None => _ = state.paused.remove(&ip),
        }
    }

    /// Gives all flows from the sockets that the node at `from` has now to the socket at `to` other ports, as a NAT that forgot them does:
    /// `to` hears from unknown addresses, and what it sends to the known ones goes nowhere.
    pub fn rebind(&self, from: IpAddr, to: SocketAddr) {
        lock(&self.0.state).rebind(from, to);
        self.0.trace.event(&format!("rebind {from} > {to}"));
    }

    /// Lets every UDP socket of the node at `ip` fail at each read, for good; sockets that it binds later are sound. Gives how
    /// many.
    pub fn break_sockets(&self, ip: IpAddr) -> u64 {
        let mut state = lock(&self.0.state);
        let broken: Vec<_> = state
            .sockets
            .iter()
            .filter(|(at, _)| at.ip() == ip)
            .map(|(_, mailbox)| mailbox.clone())
            .collect();
        drop(state);
        let count = broken.iter().filter(|mailbox| mailbox.fail()).count() as u64;
        state = lock(&self.0.state);
        state.counts.broken += count;
        drop(state);
        self.0.trace.event(&format!("break {ip}"));
        count
    }

    /// Forgets a socket that is dropped.
    pub(super) fn unbind(&self, mailbox: &Arc<Mailbox>) {
        let mut state = lock(&self.0.state);
        // The address may have been bound again by the node's next life.
        if state.sockets.get(&mailbox.address()).is_some_and(|bound| Arc::ptr_eq(bound, mailbox)) {
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

/// Flips one bit of the second half.
fn flip(bytes: &mut [u8], bit: u64) {
    let half = bytes.len() / 2;
    let bits = (bytes.len() - half) as u64 * 8;
    if let Some(place) = bit.checked_rem(bits)
        && let Some(byte) = bytes.get_mut(half + (place / 8) as usize)
    {
        *byte ^= 1 << (place % 8);
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
