//! This host's own addresses.

use std::fs::File;
use std::io::{self, Read as _};

pub use observer_core::fact::own::OwnAddresses;

/// Bytes that are read of each list. A host that routes the whole Internet has more; its own
/// addresses are known from attempts to them, too.
const MOST_BYTES: u64 = 4 << 20;

/// Reads them from /proc. Where a kernel has no IPv6, there is no list of its routes.
///
/// # Errors
/// If the routes of IPv4 cannot be read: which file, and why.
pub fn addresses() -> io::Result<OwnAddresses> {
    let fib_trie = read("/proc/net/fib_trie")?;
    let ipv6_route = read("/proc/net/ipv6_route").unwrap_or_default();
    Ok(OwnAddresses::read(&fib_trie, &ipv6_route))
}

fn read(path: &str) -> io::Result<String> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{path}: {error}"));
    let mut bytes = Vec::new();
    File::open(path).map_err(named)?.take(MOST_BYTES).read_to_end(&mut bytes).map_err(named)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::addresses;

    /// What the kernel sends from is an address of this host.
    #[test]
    fn the_kernel_knows_them_too() {
        let own = addresses().unwrap();
        assert!(own.contains("127.0.0.1".parse().unwrap()));
        // Nothing is sent: connecting a datagram socket asks for a route.
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        if socket.connect("203.0.113.5:9").is_ok() {
            let source = socket.local_addr().unwrap().ip();
            assert!(own.contains(source), "{source}: {own:?}");
        }
        assert!(!own.contains("203.0.113.5".parse().unwrap()));
    }
}
