//! Endpoints, control links and bulk requests over real UDP on the loopback interface; what takes a time, over the simulated network.

mod admission;
mod bulk;
mod link;
mod loopback;
mod strangers;
mod timing;
