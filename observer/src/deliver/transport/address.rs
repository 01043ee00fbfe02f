//! Names and addresses of receivers.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::deliver::target::Remote;

impl fmt::Display for Remote {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(out, "[{}]:{}", self.host, self.port)
        } else {
            write!(out, "{}:{}", self.host, self.port)
        }
    }
}

/// What is left until then; at least a moment, as no system call takes zero.
pub(super) fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

/// The addresses of a name. The system's resolver cannot be interrupted: it runs
/// in a thread, which ends by itself when nobody waits for it any more.
///
/// # Errors
/// In words, with the name.
pub(super) fn resolve(remote: &Remote, deadline: Instant) -> Result<Vec<SocketAddr>, String> {
    if let Ok(ip) = remote.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, remote.port)]);
    }
    let (sender, receiver) = mpsc::sync_channel(1);
    let (host, port) = (remote.host.clone(), remote.port);
    let look_up = move || {
        let found = (host.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        // Nobody waits any more: nothing to do.
        let _ = sender.send(found);
    };
    let spawned = thread::Builder::new().name("resolve".to_owned()).spawn(look_up);
    spawned.map_err(|error| format!("cannot look up {}: {error}", remote.host))?;
    match receiver.recv_timeout(left(deadline)) {
        Ok(Ok(found)) if !found.is_empty() => Ok(found),
        Ok(Ok(_)) => Err(format!("{} has no address", remote.host)),
        Ok(Err(error)) => Err(format!("cannot look up {}: {error}", remote.host)),
        Err(_) => Err(format!("cannot look up {}: no answer in time", remote.host)),
    }
}

/// Connects to the first address that answers; each gets its share of the time.
///
/// # Errors
/// In words, with the last address.
pub(super) fn connect(remote: &Remote, deadline: Instant) -> Result<TcpStream, String> {
    let addresses = resolve(remote, deadline)?;
    let mut failure = String::new();
    for (nth, address) in addresses.iter().enumerate() {
        let share = left(deadline) / (addresses.len() - nth) as u32;
        match TcpStream::connect_timeout(address, share.max(Duration::from_millis(1))) {
            Ok(stream) => return prepare(stream).map_err(|error| format!("{address}: {error}")),
            Err(error) => failure = format!("cannot connect to {address}: {error}"),
        }
    }
    Err(failure)
}

/// A peer that vanished without a word is noticed: by the bytes that it does not
/// acknowledge, and while idle by keep-alives.
fn prepare(stream: TcpStream) -> io::Result<TcpStream> {
    use rustix::net::sockopt;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, Duration::from_secs(30))?;
    sockopt::set_tcp_keepintvl(&stream, Duration::from_secs(10))?;
    sockopt::set_tcp_keepcnt(&stream, 3)?;
    sockopt::set_tcp_user_timeout(&stream, UNACKNOWLEDGED_MS)?;
    Ok(stream)
}

/// Milliseconds after which unacknowledged bytes mean that the peer is gone.
const UNACKNOWLEDGED_MS: u32 = 30_000;
