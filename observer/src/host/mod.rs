//! What is asked of this host and of others: names, routes, firewall rules, name servers,
//! and one's own SYNs.

pub mod dns;
pub mod firewall;
pub mod names;
pub mod own;
pub mod probe;
pub(crate) mod process;
pub mod route;
pub mod surroundings;
mod tool;
