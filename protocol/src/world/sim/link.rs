//! Links of the simulated network: what one may do to a datagram, and the lots that decide it. Each direction of each
//! pair of nodes draws from a generator of its own, so that traffic elsewhere does not change what happens here.

use crate::world::{Entropy, SeededRng};
use std::{net::IpAddr, time::Duration};
use tokio::time::Instant;

/// One direction between two nodes: (from, to).
pub(super) type Route = (IpAddr, IpAddr);

/// What one direction of a link does to what passes. Within one node nothing is delayed, lost or doubled.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// The shortest delay.
    pub delay_min: Duration,
    /// The longest delay. Delays are drawn for each datagram alone, so a wide range also reorders.
    pub delay_max: Duration,
    /// The share of datagrams that is lost (0.0 to 1.0). TCP is only delayed.
    pub loss: f64,
    /// The share of datagrams that arrives twice (0.0 to 1.0).
    pub duplicate: f64,
    /// The share of datagrams of which one bit arrives wrong (0.0 to 1.0), in the second half, which is ciphertext.
    pub corrupt: f64,
    /// The longest datagram that passes, in bytes of UDP payload.
    pub mtu: usize,
}

/// The longest delay of a sound link.
pub(super) const SOUND_DELAY_MAX: Duration = Duration::from_millis(2);

impl Default for Link {
    /// A sound local network: 0.5 to 2 ms, nothing lost, Ethernet's 1,500 bytes.
    fn default() -> Self {
        Link {
            delay_min: Duration::from_micros(500),
            delay_max: SOUND_DELAY_MAX,
            loss: 0.0,
            duplicate: 0.0,
            corrupt: 0.0,
            mtu: 1_472,
        }
    }
}

impl Link {
    /// What lies between a node and itself.
    pub(super) const LOOPBACK: Link = Link {
        delay_min: Duration::ZERO,
        delay_max: Duration::ZERO,
        loss: 0.0,
        duplicate: 0.0,
        corrupt: 0.0,
        mtu: 65_507,
    };
}

/// How often each fault has struck since the world began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts {
    /// Datagrams that were put on the way, those that were doubled included.
    pub delivered: u64,
    /// Datagrams lost by chance.
    pub lost: u64,
    /// Datagrams that arrive twice.
    pub duplicated: u64,
    /// Datagrams that arrive with a wrong bit.
    pub corrupted: u64,
    /// Datagrams that a paused node would have sent: they leave when it goes on.
    pub frozen: u64,
    /// Flows that came from another port than before, after [`SimNet::rebind`](super::SimNet::rebind): each counts once for each time.
    pub rebound: u64,
    /// Sockets that failed for good by [`SimNet::break_sockets`](super::SimNet::break_sockets).
    pub broken: u64,
    /// Datagrams that arrive before one sent earlier in the same direction. A sound link does that too.
    pub reordered: u64,
    /// Datagrams that take longer than a sound link ([`Link::default`]) lets any take.
    pub delayed: u64,
    /// Datagrams swallowed by a cut.
    pub cut: u64,
    /// Datagrams that a dead node tried to send.
    pub dead: u64,
    /// Datagrams to an address at which nobody listens, such as that of a dead node.
    pub unbound: u64,
    /// Datagrams to a socket whose buffer was full.
    pub overflowed: u64,
    /// Datagrams longer than the link's [`Link::mtu`].
    pub oversized: u64,
    /// TCP connections reset, by [`SimNet::cut_tcp`](super::SimNet::cut_tcp) or the death of an end.
    pub tcp_reset: u64,
    /// TCP connections refused, as nobody listened or the queue was full.
    pub tcp_refused: u64,
    /// Times that a cut held up a TCP reader or a TCP connect.
    pub tcp_held: u64,
    /// Nodes killed.
    pub killed: u64,
}

/// One direction of a link, with its lots.
pub(super) struct Way {
    datagrams: SeededRng,
    corruptions: SeededRng,
    streams: SeededRng,
    latest_due: Option<Instant>,
}

/// What the lots say about one datagram.
pub(super) struct Lot {
    pub(super) is_lost: bool,
    pub(super) is_duplicated: bool,
    /// Which bit arrives wrong, out of those that may.
    pub(super) wrong_bit: Option<u64>,
    pub(super) delays: [Duration; 2],
}

impl Way {
    /// The lots of `route`.
    pub(super) fn new(entropy: Entropy, (from, to): Route) -> Self {
        Way {
            datagrams: entropy.rng(&format!("udp {from} > {to}")),
            corruptions: entropy.rng(&format!("bits {from} > {to}")),
            streams: entropy.rng(&format!("tcp {from} > {to}")),
            latest_due: None,
        }
    }

    /// Draws for one datagram. Always the same number of draws: what a link loses does not depend on what it doubles.
    pub(super) fn draw(&mut self, link: &Link) -> Lot {
        Lot {
            is_lost: self.datagrams.chance(link.loss),
            is_duplicated: self.datagrams.chance(link.duplicate),
            wrong_bit: {
                let (is_wrong, bit) = (self.corruptions.chance(link.corrupt), self.corruptions.next_u64());
                is_wrong.then_some(bit)
            },
            delays: [delay(&mut self.datagrams, link), delay(&mut self.datagrams, link)],
        }
    }

    /// Draws the delay of a piece of a TCP stream.
    pub(super) fn draw_tcp(&mut self, link: &Link) -> Duration {
        delay(&mut self.streams, link)
    }

    /// Notes that a datagram arrives at `due`, and tells whether it overtakes one sent earlier.
    pub(super) fn overtakes(&mut self, due: Instant) -> bool {
        let overtakes = self.latest_due.is_some_and(|latest| due < latest);
        self.latest_due = self.latest_due.max(Some(due));
        overtakes
    }
}

fn delay(rng: &mut SeededRng, link: &Link) -> Duration {
    let nanos = |d: Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX - 1);
    Duration::from_nanos(rng.range(nanos(link.delay_min), nanos(link.delay_max) + 1))
}
