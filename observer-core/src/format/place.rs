//! Addresses with ports.

use std::net::SocketAddr;

use crate::event::Endpoint;

/// Where to, as URLs and logs write it: `203.0.113.5:25`, `[2001:db8::1]:25`.
pub fn destination(end: &Endpoint) -> String {
    match (end.ip, end.port) {
        (Some(ip), Some(port)) => SocketAddr::new(ip, port).to_string(),
        (Some(ip), None) => ip.to_string(),
        (None, Some(port)) => format!("?:{port}"),
        (None, None) => "?".to_owned(),
    }
}
