//! What this host and others say when they are asked: plain facts, and what follows from
//! them. Nothing is asked here.

pub mod conntrack;
pub mod dns;
pub mod firewall;
pub mod probe;
pub mod route;
