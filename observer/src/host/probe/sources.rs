//! This host's own addresses, and which of them to probe from.

use std::net::IpAddr;

use observer_core::sanitize::sanitize;
use serde::Deserialize;

use super::MAX_SOURCES;
use crate::host::route::{self, Route};
use crate::host::tool::run;

/// Where local traffic goes, whatever address it is to.
const LOOPBACK: &str = "lo";

/// Addresses to probe from, and why others are left out, a line each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// To probe from.
    pub chosen: Vec<IpAddr>,
    /// What was left out.
    pub left_out: Vec<String>,
}

/// Global addresses of the destination's family from which the route leads there, as ip(8)
/// tells it; those that were `used` are first, and stay if there is a route at all.
///
/// # Errors
/// If there is no ip(8), or it says what is not understood: why, in a line.
pub fn sources(destination: IpAddr, used: &[IpAddr]) -> Result<Sources, String> {
    let family = if destination.is_ipv4() { "-4" } else { "-6" };
    let json = run("ip", &["-j", "-d", family, "address", "show", "up"]);
    let addresses = read_addresses(&json.map_err(|error| format!("ip address: {error}"))?)?;
    choose(addresses, destination, used, |source| route::from(source, destination))
}

/// An address of this host's.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Own {
    ip: IpAddr,
    interface: String,
    /// The interface leads nowhere: its addresses are used by way of others.
    is_inner: bool,
}

fn choose(
    mut addresses: Vec<Own>,
    destination: IpAddr,
    used: &[IpAddr],
    route: impl Fn(IpAddr) -> Result<Route, String>,
) -> Result<Sources, String> {
    addresses.retain(|own| own.ip.is_loopback() == destination.is_loopback());
    addresses.sort_by_key(|own| !used.contains(&own.ip));
    let mut sources = Sources::default();
    for Own { ip, interface, is_inner } in addresses {
        if sources.chosen.len() >= MAX_SOURCES {
            sources.left_out.push(format!("not probed from {ip}: at most {MAX_SOURCES} addresses are"));
            continue;
        }
        let why = match route(ip)? {
            Route::Refused { why } => why,
            Route::Goes { interface: way, .. }
                if way == interface || way == LOOPBACK || is_inner || used.contains(&ip) =>
            {
                sources.chosen.push(ip);
                continue;
            }
            Route::Goes { interface: way, .. } => {
                format!("it is an address of {}, and the route there leads by {}", sanitize(&interface), sanitize(&way))
            }
        };
        sources.left_out.push(format!("not probed from {ip}: {why}"));
    }
    Ok(sources)
}

fn read_addresses(json: &str) -> Result<Vec<Own>, String> {
    #[derive(Deserialize)]
    struct Interface {
        #[serde(default)]
        ifname: String,
        #[serde(default)]
        link_type: String,
        #[serde(default)]
        linkinfo: LinkInfo,
        #[serde(default)]
        addr_info: Vec<Address>,
    }
    #[derive(Default, Deserialize)]
    struct LinkInfo {
        #[serde(default)]
        info_kind: String,
    }
    #[derive(Deserialize)]
    struct Address {
        local: Option<IpAddr>,
        scope: Option<String>,
        #[serde(default)]
        deprecated: bool,
    }
    let interfaces: Vec<Interface> = serde_json::from_str(json).map_err(|error| format!("ip address: {error}"))?;
    let mut own = Vec::new();
    for Interface { ifname, link_type, linkinfo, addr_info } in interfaces {
        let is_inner = link_type == "loopback" || linkinfo.info_kind == "dummy";
        let usable = addr_info.into_iter().filter(|of| !of.deprecated && of.scope.as_deref() != Some("link"));
        let addresses = usable.filter_map(|of| of.local);
        own.extend(addresses.map(|ip| Own { ip, interface: ifname.clone(), is_inner }));
    }
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"[{"ifname":"lo","link_type":"loopback","addr_info":[{"local":"127.0.0.1","scope":"host"},
        {"local":"192.0.2.99","scope":"global"}]},{},
        {"ifname":"eth0","link_type":"ether","addr_info":[{"local":"192.0.2.10","scope":"global"},
        {"local":"fe80::1","scope":"link"},{"local":"192.0.2.11","scope":"global","deprecated":true}]},
        {"ifname":"eth1","link_type":"ether","addr_info":[{"local":"10.0.0.5","scope":"global"}]},
        {"ifname":"pool","link_type":"ether","linkinfo":{"info_kind":"dummy"},"addr_info":[{"local":"192.0.2.77"}]},
        {"ifname":"eth2","link_type":"ether","addr_info":[{"local":"10.9.0.5","scope":"global"}]}]"#;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// All but one address leave by eth0.
    fn route(source: IpAddr) -> Result<Route, String> {
        if source == ip("10.9.0.5") {
            return Ok(Route::Refused { why: "Network is unreachable".to_owned() });
        }
        Ok(Route::Goes { interface: "eth0".to_owned(), gateway: None, source: None })
    }

    #[test]
    fn addresses_are_read() {
        let addresses: Vec<_> = read_addresses(JSON).unwrap().into_iter().map(|own| own.ip.to_string()).collect();
        assert_eq!(addresses, ["127.0.0.1", "192.0.2.99", "192.0.2.10", "10.0.0.5", "192.0.2.77", "10.9.0.5"]);
        assert!(read_addresses("[").is_err() && read_addresses("{}").is_err());
    }

    #[test]
    fn an_address_whose_route_leads_elsewhere_is_left_out_and_said() {
        let chosen = |to: &str, used: &[IpAddr]| choose(read_addresses(JSON).unwrap(), ip(to), used, route).unwrap();
        let sources = chosen("203.0.113.5", &[]);
        assert_eq!(sources.chosen, [ip("192.0.2.99"), ip("192.0.2.10"), ip("192.0.2.77")]);
        assert_eq!(
            sources.left_out,
            [
                "not probed from 10.0.0.5: it is an address of eth1, and the route there leads by eth0",
                "not probed from 10.9.0.5: Network is unreachable"
            ]
        );
        // The mail server uses it, whatever becomes of it.
        let sources = chosen("203.0.113.5", &[ip("10.0.0.5"), ip("10.9.0.5")]);
        assert_eq!(sources.chosen, [ip("10.0.0.5"), ip("192.0.2.99"), ip("192.0.2.10"), ip("192.0.2.77")]);
        assert_eq!(chosen("127.0.0.1", &[]).chosen, [ip("127.0.0.1")]);
        let no_ip = choose(read_addresses(JSON).unwrap(), ip("203.0.113.5"), &[], |_| Err("none".to_owned()));
        assert_eq!(no_ip, Err("none".to_owned()));
    }

    #[test]
    fn there_are_at_most_so_many() {
        let own = |last: u8| Own { ip: IpAddr::from([192, 0, 2, last]), interface: "eth0".to_owned(), is_inner: false };
        let sources = choose((0..20).map(own).collect(), ip("203.0.113.5"), &[ip("192.0.2.19")], route).unwrap();
        assert_eq!((sources.chosen.len(), sources.left_out.len()), (MAX_SOURCES, 20 - MAX_SOURCES));
        assert_eq!(sources.chosen[0], ip("192.0.2.19"));
    }
}
