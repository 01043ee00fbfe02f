//! Asks the tools that list a firewall's rules.

use std::io;

pub use observer_core::evidence::firewall::*;

use super::tool::run;

/// Runs them all. What could not be listed is empty, and said: a tool that is not there
/// has no rules, and is not.
pub fn list() -> (Listings, Vec<String>) {
    let mut failed = Vec::new();
    let mut list = |program: &str, arguments: &[&str]| match run(program, arguments) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => {
            failed.push(format!("{program}: {error}"));
            String::new()
        }
    };
    let listings = Listings {
        nft_json: list("nft", &["-j", "list", "ruleset"]),
        nft_text: list("nft", &["-a", "list", "ruleset"]),
        iptables: list("iptables-save", &[]),
        ip6tables: list("ip6tables-save", &[]),
    };
    failed.dedup();
    (listings, failed)
}
