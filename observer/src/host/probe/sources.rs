//! This host's own addresses.

use std::net::IpAddr;

use serde::Deserialize;

use super::MAX_SOURCES;
use crate::host::tool::run;

/// Global addresses of the same family, as `ip -j address` lists them.
pub fn sources(destination: IpAddr) -> Result<Vec<IpAddr>, String> {
    let family = if destination.is_ipv4() { "-4" } else { "-6" };
    let json = run("ip", &["-j", family, "address", "show", "up"]).map_err(|error| format!("ip address: {error}"))?;
    let mut sources = read_addresses(&json)?;
    if destination.is_loopback() {
        sources.retain(IpAddr::is_loopback);
    } else {
        sources.retain(|source| !source.is_loopback());
    }
    sources.truncate(MAX_SOURCES);
    Ok(sources)
}

fn read_addresses(json: &str) -> Result<Vec<IpAddr>, String> {
    #[derive(Deserialize)]
    struct Interface {
        #[serde(default)]
        addr_info: Vec<Address>,
    }
    #[derive(Deserialize)]
    struct Address {
        local: Option<IpAddr>,
        scope: Option<String>,
        #[serde(default)]
        deprecated: bool,
    }
    let interfaces: Vec<Interface> = serde_json::from_str(json).map_err(|error| format!("ip address: {error}"))?;
    let addresses = interfaces.into_iter().flat_map(|interface| interface.addr_info);
    let usable = addresses.filter(|address| !address.deprecated && address.scope.as_deref() != Some("link"));
    Ok(usable.filter_map(|address| address.local).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let json = r#"[{"ifname":"lo","addr_info":[{"family":"inet","local":"127.0.0.1","scope":"host"}]},{},
            {"ifname":"eth0","addr_info":[{"local":"192.0.2.10","scope":"global"},{"local":"fe80::1","scope":"link"},
            {"local":"192.0.2.11","scope":"global","deprecated":true}]}]"#;
        let expected: Vec<IpAddr> = ["127.0.0.1", "192.0.2.10"].iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(read_addresses(json), Ok(expected));
        assert!(read_addresses("[").is_err() && read_addresses("{}").is_err());
    }
}
