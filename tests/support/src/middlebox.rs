//! Somebody near the client who answers in a destination's name.

use std::net::IpAddr;

use anyhow::Result;

use crate::addr::{self, Ip};
use crate::lab::Lab;
use crate::ns::Namespace;
use crate::rules;

/// Answers every SYN to one destination with a RST, until dropped.
#[derive(Debug)]
pub struct Middlebox<'lab> {
    client: &'lab Namespace,
    _namespace: Namespace,
}

impl Lab {
    /// Puts a middlebox one hop from the client, without delay, in the place of
    /// `destination`.
    pub fn intercept(&self, destination: IpAddr) -> Result<Middlebox<'_>> {
        let namespace = Namespace::create(self.client().name().replace("-client", "-middlebox"))?;
        let (ip, length) = if destination.is_ipv4() { (Ip::V4, 32) } else { (Ip::V6, 128) };
        let source = addr::sources(ip)[0];
        namespace.sysctl(rules::EVERYWHERE)?;
        self.client().ip(&format!(
            "link add near0 type veth peer name near0 netns {}\nlink set near0 up\nroute add {destination}/{length} dev near0 src {source}\n",
            namespace.name()
        ))?;
        namespace.ip(&format!(
            "link set lo up\nlink set near0 up\naddr add {destination}/{length} dev near0\nroute add {source}/{length} dev near0\n"
        ))?;
        Ok(Middlebox { client: self.client(), _namespace: namespace })
    }
}

impl Drop for Middlebox<'_> {
    fn drop(&mut self) {
        // The link would also go with its namespace, but some time later.
        if let Err(error) = self.client.ip("link del near0\n") {
            eprintln!("lab: {error:#}");
        }
    }
}
