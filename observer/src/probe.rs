//! Connects to a mail server to see whether it serves this host, from each of this
//! host's addresses: only when asked, a few times, and never to send a mail.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};
use serde::{Deserialize, Serialize};

use crate::label::Label;
use crate::sanitize::sanitize;
use crate::tool::run;

/// Ports of mail servers; others are probed only if that is forced.
pub const PORTS: [u16; 4] = [25, 465, 587, 2525];
/// Destinations of one run.
pub const DESTINATIONS: usize = 4;
/// Local addresses that are tried.
const SOURCES: usize = 8;
/// Between two connections.
const PAUSE: Duration = Duration::from_millis(250);
/// For the handshake, and again for the banner.
const WITHIN: Duration = Duration::from_secs(10);
/// For the answer to QUIT.
const FAREWELL: Duration = Duration::from_secs(2);
/// Longest reply line, RFC 5321, 4.5.3.1.5.
const LINE: u64 = 512;
/// Where the server waits for the client to begin: RFC 8314, 3.3.
const IMPLICIT_TLS: u16 = 465;

/// What came of one connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Probe {
    /// From.
    pub source: IpAddr,
    /// To.
    pub destination: SocketAddr,
    /// How it ended. A probe has no kernel programs: what it takes for a refusal may be
    /// this host's own firewall.
    pub label: Label,
    /// How long the handshake took, or the failure, in milliseconds.
    pub took_ms: u64,
    /// The first line of the banner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub banner: Option<String>,
}

/// Connects from every local address of the destination's family, one after the other.
///
/// # Errors
/// If this host's addresses cannot be listed: why, in a line.
pub fn from_all_sources(destination: SocketAddr) -> Result<Vec<Probe>, String> {
    let mut probes = Vec::new();
    for source in sources(destination.ip())? {
        if !probes.is_empty() {
            thread::sleep(PAUSE);
        }
        probes.push(from(source, destination));
    }
    Ok(probes)
}

/// Global addresses of the same family, as `ip -j address` lists them.
fn sources(destination: IpAddr) -> Result<Vec<IpAddr>, String> {
    let family = if destination.is_ipv4() { "-4" } else { "-6" };
    let json = run("ip", &["-j", family, "address", "show", "up"]).map_err(|error| format!("ip address: {error}"))?;
    let mut sources = read_addresses(&json)?;
    if destination.is_loopback() {
        sources.retain(IpAddr::is_loopback);
    } else {
        sources.retain(|source| !source.is_loopback());
    }
    sources.truncate(SOURCES);
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

fn from(source: IpAddr, destination: SocketAddr) -> Probe {
    let start = Instant::now();
    let connected = connect_from(source, destination);
    let took_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    let (label, banner) = match connected {
        Ok(_) if destination.port() == IMPLICIT_TLS => (Label::Connected, None),
        Ok(stream) => greet(stream),
        Err(error) => (label_of(&error), None),
    };
    Probe { source, destination, label, took_ms, banner }
}

fn connect_from(source: IpAddr, destination: SocketAddr) -> io::Result<TcpStream> {
    let family = if destination.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddr::new(source, 0))?;
    // A connect() that blocks ends with EINPROGRESS then: connect(2), socket(7).
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(WITHIN))?;
    connect(&socket, &destination)?;
    Ok(TcpStream::from(socket))
}

/// Waits for the banner, and leaves politely.
fn greet(mut stream: TcpStream) -> (Label, Option<String>) {
    let mut line = Vec::new();
    let deadline = Instant::now() + WITHIN;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() {
            return (Label::Silent, None);
        }
        let mut bytes = [0; 128];
        match stream.read(&mut bytes) {
            Ok(0) if line.is_empty() => return (Label::Closed, None),
            Ok(0) => break,
            Ok(count) => line.extend_from_slice(&bytes[..count]),
            Err(error) if is_timeout(&error) => return (Label::Silent, None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return (Label::Reset, None),
        }
        if line.contains(&b'\n') || line.len() as u64 >= LINE {
            break;
        }
    }
    let _ = stream.set_read_timeout(Some(FAREWELL)).and_then(|()| stream.write_all(b"QUIT\r\n"));
    let _ = stream.take(LINE).read_to_end(&mut Vec::new());
    let first = line.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let text = String::from_utf8_lossy(first);
    (Label::Connected, Some(sanitize(text.trim_end()).into_owned()))
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn label_of(error: &io::Error) -> Label {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => Label::Refused,
        Some(libc::ECONNRESET) => Label::Reset,
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH) => Label::Unreachable,
        Some(libc::EINPROGRESS | libc::ETIMEDOUT | libc::EAGAIN) => Label::Timeout,
        _ => Label::Blocked,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A server on loopback that does this with its only connection.
    fn server(serve: impl FnOnce(TcpStream) + Send + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || serve(listener.accept().unwrap().0));
        address
    }

    fn probe(destination: SocketAddr) -> (Label, Option<String>) {
        let probe = from("127.0.0.1".parse().unwrap(), destination);
        assert_eq!(probe.destination, destination);
        (probe.label, probe.banner)
    }

    #[test]
    fn a_banner_is_read_and_answered_with_quit_alone() {
        let (said, hears) = std::sync::mpsc::channel();
        let address = server(move |mut stream| {
            stream.write_all(b"220 mx\x1b[2J ESMTP\r\n220 more\r\n").unwrap();
            let mut heard = [0; 64];
            let count = stream.read(&mut heard).unwrap();
            said.send(heard[..count].to_vec()).unwrap();
        });
        assert_eq!(probe(address), (Label::Connected, Some("220 mx\\x1b[2J ESMTP".to_owned())));
        assert_eq!(hears.recv().unwrap(), b"QUIT\r\n");
    }

    #[test]
    fn failures_have_their_labels() {
        assert_eq!(probe(server(drop)), (Label::Closed, None));
        let unread = server(|stream| {
            // Closing with the other's bytes unread is a RST; there are none, so linger makes it.
            sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        });
        assert_eq!(probe(unread), (Label::Reset, None));
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(probe(closed), (Label::Refused, None));
        let nowhere = from("203.0.113.77".parse().unwrap(), closed);
        assert_eq!(nowhere.label, Label::Blocked);
    }

    #[test]
    fn an_endless_banner_ends() {
        let address = server(|mut stream| while stream.write_all(&[b'x'; 1_024]).is_ok() {});
        let (label, banner) = probe(address);
        assert_eq!((label, banner.is_some_and(|banner| banner.len() < 1_024)), (Label::Connected, true));
    }

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
