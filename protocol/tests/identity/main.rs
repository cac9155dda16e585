//! Who may be in a cluster: the authority's folder, names and roles, joining, renewal, denial, and those who attack.
#![cfg(feature = "sim")]

mod authority;
mod hostile;
mod join;
mod messages;
mod peers;
mod renewal;
mod support;
