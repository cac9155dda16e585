//! Limits and times of a connection, all explicit: quinn's defaults leave the connection's window without a bound, keep no
//! connection alive and take 65,536 unanswered handshakes.

use super::window::Floored;
use quinn::{AckFrequencyConfig, IdleTimeout, MtuDiscoveryConfig, ServerConfig, TransportConfig, VarInt};
use std::{sync::Arc, time::Duration};

/// The smallest datagram that QUIC allows a path to carry, in bytes of UDP payload.
const PAYLOAD_BYTES_MIN: u16 = 1200;
/// What an Ethernet frame carries.
const PAYLOAD_BYTES_ETHERNET: u16 = 1472;

/// Longer than the failure detector lets anybody be silent: where it asks, QUIC need not ask as well.
const KEEP_ALIVE: Duration = Duration::from_millis(900);

/// How large datagrams become, in bytes of UDP payload.
///
/// A connection always begins with 1,200. A larger beginning is not offered: before the client's address is proven a server
/// may send three times what it received, quinn counts whole datagrams against that, and with more than 3,600 bytes the
/// handshake would never move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mtu {
    /// Always 1,200: for simulations, where probes would only add datagrams.
    Smallest,
    /// Probes up to this bound (1,200 to 65,527): 1,452 for the internet, about 8,900 for jumbo frames, 16,384 or more
    /// on loopback. A larger bound costs receive buffers: 2,048 times this much address space for an endpoint.
    Probe(u16),
}

/// Limits and times of the connections of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transport {
    /// What a peer may send on one stream before it is read, in bytes.
    pub stream_window_bytes: u32,
    /// What a peer may send on all streams of a connection before it is read, in bytes.
    pub receive_window_bytes: u32,
    /// What a connection holds of ours that is not acknowledged yet, in bytes.
    pub send_window_bytes: u64,
    /// What may be on its way without an acknowledgement however much was lost, in bytes; 0: as congestion control has it. For
    /// links that carry little: ten datagrams are no flood, and what asks whether a peer lives must not wait.
    pub window_bytes_min: u64,
    /// How many unidirectional streams a peer may have open.
    pub uni_streams_max: u32,
    /// How many bidirectional streams a peer may have open: the requests it makes at once.
    pub bidi_streams_max: u32,
    /// How long a connection is silent before it says that it lives. Below `idle_timeout`, and below the failure
    /// detector's time.
    pub keep_alive: Duration,
    /// How long nothing may come from a peer before the connection is lost.
    pub idle_timeout: Duration,
    /// How long a peer may keep the acknowledgement of a lone packet to itself, in case that it has something to say anyhow; at
    /// least 1 ms. Of two packets the second is acknowledged at once. QUIC waits for this time before it thinks of a loss, and
    /// twice as long each time: on a link that loses much, its usual 25 ms make seconds.
    pub ack_delay: Duration,
    /// Whether peers that this endpoint calls acknowledge each packet at once. Who reads short reports on many links has nothing to say on
    /// most of them for a while: a wait for each costs it more than the datagram, which it mostly sends all the same when the wait is over.
    pub acks_at_once: bool,
    /// What a round trip is thought to take before one was seen: a handshake's packet without an answer is sent again after three times as
    /// long, and twice as long each time. QUIC's usual 333 ms make a minute where half of all round trips fail.
    pub initial_rtt: Duration,
    /// The size of datagrams.
    pub mtu: Mtu,
    /// How many handshakes may wait to be accepted. What more of them send is dropped unread, and sent again after a while: a
    /// cluster whose machines all call at the same moment stays below.
    pub incoming_max: usize,
    /// What each of them may have sent ahead, in bytes: a first flight.
    pub incoming_bytes_max: u64,
}

/// Why limits and times do not make a connection.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// Outside 1,200 to 65,527 bytes.
    #[error("a datagram of {0} bytes is outside 1,200 to 65,527")]
    Mtu(u16),
    /// The connection would be lost before it says that it lives.
    #[error("keep-alive after {keep_alive:?} is not below the idle timeout of {idle_timeout:?}")]
    KeepAlive {
        /// As configured.
        keep_alive: Duration,
        /// As configured.
        idle_timeout: Duration,
    },
    /// Longer than QUIC can say (2^62 ms).
    #[error("an idle timeout of {0:?} is too long")]
    IdleTimeout(Duration),
}

impl Transport {
    /// For control: small windows, few streams, 0.9 s keep-alive, 2 s idle timeout. Acknowledgements wait 5 ms for the report of a
    /// short task, or for what else goes the other way; who was called acknowledges at once.
    #[must_use]
    pub fn control() -> Self {
        Transport {
            stream_window_bytes: 512 * 1024,
            receive_window_bytes: 1024 * 1024,
            send_window_bytes: 4 * 1024 * 1024,
            window_bytes_min: 12_000,
            uni_streams_max: 8,
            bidi_streams_max: 16,
            keep_alive: KEEP_ALIVE,
            idle_timeout: Duration::from_secs(2),
            ack_delay: Duration::from_millis(5),
            acks_at_once: true,
            initial_rtt: Duration::from_millis(50),
            mtu: Mtu::Probe(1452),
            incoming_max: 1_024,
            incoming_bytes_max: 4 * 1024,
        }
    }

    /// For bulk: windows for 10 Gbit/s at a few milliseconds, 64 requests at once. Answers go at once, and take acknowledgements along; those
    /// that are left wait 1 ms.
    #[must_use]
    pub fn bulk() -> Self {
        Transport {
            stream_window_bytes: 8 * 1024 * 1024,
            receive_window_bytes: 16 * 1024 * 1024,
            send_window_bytes: 16 * 1024 * 1024,
            window_bytes_min: 0,
            // Nobody accepts any.
            uni_streams_max: 0,
            bidi_streams_max: 64,
            ack_delay: Duration::from_millis(1),
            acks_at_once: false,
            ..Transport::control()
        }
    }

    /// For joining: one message each way, from peers that nobody knows yet.
    #[must_use]
    pub fn join() -> Self {
        Transport {
            stream_window_bytes: 8 * 1024,
            receive_window_bytes: 8 * 1024,
            send_window_bytes: 16 * 1024,
            window_bytes_min: 0,
            uni_streams_max: 0,
            bidi_streams_max: 1,
            mtu: Mtu::Smallest,
            incoming_max: 16,
            incoming_bytes_max: 8 * 1024,
            ..Transport::control()
        }
    }

    /// The largest datagram we may send, or probe for.
    fn payload_bytes_max(&self) -> Result<u16, TransportError> {
        let bytes = match self.mtu {
            Mtu::Smallest => PAYLOAD_BYTES_MIN,
            Mtu::Probe(bytes) => bytes,
        };
        if (PAYLOAD_BYTES_MIN..=65_527).contains(&bytes) {
            Ok(bytes)
        } else {
            Err(TransportError::Mtu(bytes))
        }
    }

    pub(super) fn apply_to_endpoint(&self, config: &mut quinn::EndpointConfig) -> Result<(), TransportError> {
        // We take what we would send, and never less than Ethernet brings.
        let bytes = self.payload_bytes_max()?.max(PAYLOAD_BYTES_ETHERNET);
        config.max_udp_payload_size(bytes).map_err(|_| TransportError::Mtu(bytes))?;
        Ok(())
    }

    pub(super) fn apply_to_server(&self, config: &mut ServerConfig) {
        let total = self.incoming_bytes_max.saturating_mul(self.incoming_max as u64);
        config
            .max_incoming(self.incoming_max)
            .incoming_buffer_size(self.incoming_bytes_max)
            .incoming_buffer_size_total(total);
    }

    pub(super) fn to_quinn(&self) -> Result<TransportConfig, TransportError> {
        let (keep_alive, idle_timeout) = (self.keep_alive, self.idle_timeout);
        if keep_alive >= idle_timeout {
            return Err(TransportError::KeepAlive { keep_alive, idle_timeout });
        }
        let idle =
            IdleTimeout::try_from(idle_timeout).map_err(|_| TransportError::IdleTimeout(idle_timeout))?;
        let bytes = self.payload_bytes_max()?;
        let mut config = TransportConfig::default();
        config
            .ack_frequency_config(Some(self.acks()))
            .stream_receive_window(VarInt::from_u32(self.stream_window_bytes))
            .receive_window(VarInt::from_u32(self.receive_window_bytes))
            .send_window(self.send_window_bytes)
            .max_concurrent_uni_streams(VarInt::from_u32(self.uni_streams_max))
            .max_concurrent_bidi_streams(VarInt::from_u32(self.bidi_streams_max))
            // Nobody reads datagrams: they are not offered, so that nothing of them is kept.
            .datagram_receive_buffer_size(None)
            .initial_rtt(self.initial_rtt)
            .keep_alive_interval(Some(keep_alive))
            .max_idle_timeout(Some(idle));
        if self.window_bytes_min > 0 {
            config.congestion_controller_factory(Arc::new(Floored { bytes_min: self.window_bytes_min }));
        }
        match self.mtu {
            Mtu::Smallest => config.mtu_discovery_config(None),
            Mtu::Probe(_) => {
                let mut probe = MtuDiscoveryConfig::default();
                probe.upper_bound(bytes);
                config.mtu_discovery_config(Some(probe))
            }
        };
        Ok(config)
    }

    /// The same for connections that this endpoint makes.
    pub(super) fn to_quinn_for_calls(&self) -> Result<TransportConfig, TransportError> {
        let (mut config, mut acks) = (self.to_quinn()?, self.acks());
        if self.acks_at_once {
            acks.ack_eliciting_threshold(VarInt::from_u32(0));
        }
        config.ack_frequency_config(Some(acks));
        Ok(config)
    }

    /// What is asked of the peer.
    fn acks(&self) -> AckFrequencyConfig {
        let mut acks = AckFrequencyConfig::default();
        acks.max_ack_delay(Some(self.ack_delay));
        acks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_quic_cannot_do_is_refused_before_an_endpoint_is_made() {
        let refused = |change: fn(&mut Transport)| {
            let mut transport = Transport::control();
            change(&mut transport);
            transport.to_quinn().err()
        };
        assert_eq!(refused(|_| ()), None);
        assert_eq!(refused(|t| t.mtu = Mtu::Probe(1199)), Some(TransportError::Mtu(1199)));
        assert_eq!(refused(|t| t.mtu = Mtu::Probe(65_528)), Some(TransportError::Mtu(65_528)));
        assert_eq!(
            refused(|t| t.keep_alive = t.idle_timeout),
            Some(TransportError::KeepAlive {
                keep_alive: Duration::from_secs(2),
                idle_timeout: Duration::from_secs(2)
            })
        );
        let long = Duration::from_secs(u64::MAX / 2);
        assert_eq!(
            refused(|t| t.idle_timeout = Duration::from_secs(u64::MAX / 2)),
            Some(TransportError::IdleTimeout(long))
        );
    }
}
