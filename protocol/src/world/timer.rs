//! Timers of sub-millisecond precision.
