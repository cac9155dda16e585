//! Endpoints, control links and bulk requests over real UDP on the loopback interface.

mod admission;
mod bulk;
mod link;
mod loopback;
mod strangers;
