//! The simulated network from outside: its links, its cuts, its counters, and the sockets that nodes take from it. What
//! becomes of a datagram is decided in `state`.

use super::{
    link::{FaultCounts, Link, Route},
    node::Life,
    socket::{Mailbox, Parcel, SimSocket},
    state::{State, Verdict},
    trace::Trace,
};
use crate::world::{ByteStream, Entropy, Network, TcpListenerBox, lock};
use futures_util::future::BoxFuture;
use quinn::{AsyncUdpSocket, udp::Transmit};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
};

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
        let (verdict, arrivals) =
            if life.is_alive() { state.judge(from, to, length) } else { (Verdict::Dead, Vec::new()) };
        state.count(verdict);
        let mailbox = state.sockets.get(&to).cloned();
        drop(state);
        self.0.trace.datagram(from, to, length, verdict.name());
        if let Some(mailbox) = mailbox {
            for key in arrivals {
                mailbox.put(key, Parcel { from, ecn: transmit.ecn, bytes: transmit.contents.into() });
            }
        }
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
