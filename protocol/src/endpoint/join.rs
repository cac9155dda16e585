//! Joining: how a machine without a certificate gets one, and how one with a certificate gets the next.
//!
//! ```text
//!   joiner                                               driver's join endpoint (`tidemill-join/1`)
//!     │ ── Initial ──────────────────────────────────────> │  Retry: whose address is not proven costs nothing
//!     │ ── Initial with the proof ───────────────────────> │  too often, or too many at once: refused
//!     │ <──────────────── driver's certificate, authority's │
//!     │    SHA-256(authority) = token's hash?               │
//!     │    name = driver.<authority's cluster>?             │
//!     │ ── JoinRequest { secret, public key } ───────────> │  the token is recorded as used, durably; then signed
//!     │ <──────────── JoinReply { chain, nodes, address } ─ │
//! ```
//!
//! To renew, a node makes the same connection with its present certificate and sends `Renew` instead; a client certificate
//! is asked for but not needed. One message each way, each the whole of its stream, within
//! [`Limits::JOIN`](crate::codec::Limits::JOIN). Who joins: [`join`]; who serves: [`serve_join`].

mod client;
mod counts;
mod entrance;
mod server;

pub use client::{JoinError, Joined, Renewal, join, renew, renew_when_due};
pub use counts::{Attempts, JoinCounts};
pub use server::{JoinDesk, JoinLimits, join_endpoint, renew_driver_when_due, serve_join};
