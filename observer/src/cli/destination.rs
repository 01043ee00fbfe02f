//! A destination as it is typed.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::IpNet;

use super::value;

/// An address, a network or a name, perhaps with a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// What is meant.
    pub host: Host,
    /// The port.
    pub port: Option<u16>,
}

/// What a destination names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// An address, or a network.
    Net(IpNet),
    /// A name that can be looked up.
    Name(String),
}

/// Longest name of a host, RFC 1035.
const NAME_MAX: usize = 253;
const EXPECTED: &str = "expected an address, a network or a host name, such as 203.0.113.5, 203.0.113.0/24, [2001:db8::1]:25 or mx.example.net";

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let net = value::destination(text);
        if let Ok(net) = net {
            return Ok(Self { host: Host::Net(net), port: None });
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            let port = value::port(&address.port().to_string())?;
            return Ok(Self { host: Host::Net(IpNet::from(address.ip().to_canonical())), port: Some(port) });
        }
        if text.contains('/') {
            return Err(net.err().unwrap_or_else(|| EXPECTED.to_owned()));
        }
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name, Some(value::port(port).map_err(|_| EXPECTED.to_owned())?)),
            None => (text, None),
        };
        if is_name(name) { Ok(Self { host: Host::Name(name.to_owned()), port }) } else { Err(EXPECTED.to_owned()) }
    }
}

/// An address, or a network, that needs no name server.
pub(super) fn without_name(text: &str) -> Result<Destination, String> {
    let destination: Destination = text.parse()?;
    match destination.host {
        Host::Net(_) => Ok(destination),
        Host::Name(_) => Err(value::destination(text).err().unwrap_or_default()),
    }
}

/// A file; an address or a network in its place is a destination that was typed behind the option.
pub(super) fn no_destination(text: &str) -> Result<PathBuf, String> {
    if without_name(text).is_ok() {
        return Err("expected a file: put a destination before the option, or write ./ before a file's name".to_owned());
    }
    Ok(PathBuf::from(text))
}

/// Whether a name server should be asked: an address with a mistake in it ends in a number, as no
/// name does (RFC 3696, 2).
fn is_name(text: &str) -> bool {
    let labels: Vec<&str> = text.strip_suffix('.').unwrap_or(text).split('.').collect();
    let is_label = |label: &&str| {
        !label.is_empty()
            && label.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_')
            && !label.starts_with('-')
    };
    let ends_in_number = labels.last().is_some_and(|last| last.chars().all(|c| c.is_ascii_digit()));
    text.len() <= NAME_MAX && labels.iter().all(is_label) && !ends_in_number
}

/// Without the port.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Net(net) if net.prefix_len() == net.max_prefix_len() => write!(f, "{}", net.addr()),
            Host::Net(net) => write!(f, "{net}"),
            Host::Name(name) => f.write_str(name),
        }
    }
}

impl Destination {
    /// The network; `None` for a name.
    pub fn net(&self) -> Option<IpNet> {
        match self.host {
            Host::Net(net) => Some(net),
            Host::Name(_) => None,
        }
    }

    /// The name, if it is one.
    pub fn name(&self) -> Option<&str> {
        match &self.host {
            Host::Net(_) => None,
            Host::Name(name) => Some(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_may_have_a_port_and_a_mistake_is_no_name() {
        let net = |text: &str| Host::Net(value::destination(text).unwrap());
        let name = |text: &str| Host::Name(text.to_owned());
        for (typed, host, port) in [
            ("203.0.113.5", net("203.0.113.5"), None),
            ("203.0.113.5:587", net("203.0.113.5"), Some(587)),
            ("203.0.113.0/24", net("203.0.113.0/24"), None),
            ("2001:db8::1", net("2001:db8::1"), None),
            ("[2001:db8::1]", net("2001:db8::1"), None),
            ("[2001:db8::1]:25", net("2001:db8::1"), Some(25)),
            ("[::ffff:203.0.113.5]:25", net("203.0.113.5"), Some(25)),
            ("mx.example.net", name("mx.example.net"), None),
            ("mx.example.net:25", name("mx.example.net"), Some(25)),
            ("localhost", name("localhost"), None),
            ("b\u{fc}cher.example", name("b\u{fc}cher.example"), None),
            ("mx1.example.net.", name("mx1.example.net."), None),
        ] {
            assert_eq!(typed.parse(), Ok(Destination { host, port }), "{typed}");
        }
        for wrong in [
            "",
            "203.0.113",
            "203.0.113.999",
            "203.0.113.5:0",
            "203.0.113.5:70000",
            "203.0.113.5.6",
            "1.2.3.4:x",
            "2001:db8::g",
            "2001:db8:::1",
            "[2001:db8::1",
            "203.0.113.0/33",
            "mx.example.net/24",
            "user@example.net",
            "mx..example.net",
            "-d",
            "mx example",
            "mx.example.net:",
            "12345",
        ] {
            assert!(wrong.parse::<Destination>().is_err(), "{wrong}");
        }
        assert!(without_name("203.0.113.5:25").is_ok());
        assert!(without_name("mx.example.net").unwrap_err().contains("not looked up"));
    }
}
