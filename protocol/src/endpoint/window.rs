//! A congestion window with a floor, for links that carry little and must carry it at once.
//!
//! A link that says a few hundred bytes at a time never fills its window, so a window that a loss has made small stays small. When
//! nothing is acknowledged for a while, what was sent fills it, and questions whether the other side lives wait for the next probe,
//! whose distance doubles each time: a second of silence became two.

use quinn::congestion::{Controller, ControllerFactory, CubicConfig};
use std::{any::Any, sync::Arc, time::Instant};

/// Makes windows of CUBIC that are never below `bytes_min`.
pub(super) struct Floored {
    pub(super) bytes_min: u64,
}

impl ControllerFactory for Floored {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        let cubic = Arc::new(CubicConfig::default()).build(now, current_mtu);
        Box::new(Window { cubic, bytes_min: self.bytes_min })
    }
}

struct Window {
    cubic: Box<dyn Controller>,
    bytes_min: u64,
}

impl Controller for Window {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.cubic.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &quinn_proto::RttEstimator,
    ) {
        self.cubic.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        self.cubic.on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.cubic.on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.cubic.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.cubic.window().max(self.bytes_min)
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Window { cubic: self.cubic.clone_box(), bytes_min: self.bytes_min })
    }

    fn initial_window(&self) -> u64 {
        self.cubic.initial_window().max(self.bytes_min)
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn losses_shrink_a_window_to_its_floor_and_no_further() {
        let start = tokio::time::Instant::now().into_std();
        let mut window = Arc::new(Floored { bytes_min: 20_000 }).build(start, 1_200);
        let mut bare = Arc::new(CubicConfig::default()).build(start, 1_200);
        for lost in 1..50 {
            let at = start + Duration::from_secs(lost);
            window.on_congestion_event(at, at, true, 1_200);
            bare.on_congestion_event(at, at, true, 1_200);
        }
        assert_eq!(window.window(), 20_000);
        assert!(bare.window() <= 2_400, "{}", bare.window());
        assert_eq!(window.clone_box().window(), 20_000);
    }
}
