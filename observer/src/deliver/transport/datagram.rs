//! Syslog in datagrams, a message each: over a unix socket such as `/dev/log`, or
//! UDP (RFC 5426).
//!
//! Over a unix socket the kernel tells when the receiver's process has read what
//! was sent. Over UDP nobody tells anything: a message counts as delivered when it
//! has left, and no host said within the hold that nobody listens there.

use std::fmt;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::confirmation::{Confirmation, HOLD};
use super::pipe::Pipe;
use super::{Sent, Transport, Trouble, address};
use crate::deliver::message::Message;
use crate::deliver::target::Remote;

/// Where datagrams go.
#[derive(Clone, Debug)]
pub(super) enum Way {
    Unix(PathBuf),
    Udp(Remote),
}

impl fmt::Display for Way {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(out, "{}", path.display()),
            Self::Udp(remote) => write!(out, "udp {remote}"),
        }
    }
}

/// Syslog in datagrams.
pub(super) struct Datagrams {
    way: Way,
    timeout: Duration,
    port: Option<Port>,
    confirmation: Confirmation,
}

impl Datagrams {
    pub(super) fn new(way: Way, timeout: Duration) -> Self {
        Self { way, timeout, port: None, confirmation: Confirmation::new(HOLD) }
    }

    fn try_send(&mut self, batch: &[Message]) -> Result<Sent, String> {
        let deadline = Instant::now() + self.timeout;
        let mut port = match self.port.take() {
            Some(port) => port,
            None => Port::connect(&self.way, deadline)?,
        };
        port.pipe.set_deadline(deadline);
        let mut refused = Vec::new();
        for (nth, message) in batch.iter().enumerate() {
            let body = message.body.strip_suffix(b"\n").unwrap_or(&message.body);
            match port.pipe.write(body) {
                Ok(_) => {}
                Err(error) if is_too_long(&error) => refused.push((nth, too_long(body.len()))),
                Err(error) => return Err(in_words(&error)),
            }
        }
        self.confirmation.sent(batch.len() as u64, port.pipe.written());
        self.port = Some(port);
        Ok(Sent { refused })
    }

    fn try_confirm(&mut self) -> Result<u64, String> {
        match &self.port {
            Some(port) => port.confirm(&mut self.confirmation),
            None => Ok(self.confirmation.confirmed()),
        }
    }

    fn trouble(&mut self, cause: String) -> Trouble {
        self.port = None;
        self.confirmation = Confirmation::new(HOLD);
        Trouble::Temporary(format!("{}: {cause}", self.way))
    }
}

impl Transport for Datagrams {
    fn send(&mut self, batch: &[Message]) -> Result<Sent, Trouble> {
        self.try_send(batch).map_err(|cause| self.trouble(cause))
    }

    fn confirmed(&mut self) -> Result<u64, Trouble> {
        self.try_confirm().map_err(|cause| self.trouble(cause))
    }

    fn close(&mut self, _within: Duration) {
        self.port = None;
        self.confirmation = Confirmation::new(HOLD);
    }
}

/// Whether a datagram does not fit, however often it is sent.
pub(super) fn is_too_long(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EMSGSIZE)
}

fn too_long(bytes: usize) -> String {
    format!("{bytes} bytes do not fit into a datagram")
}

pub(super) fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut => "the receiver does not read".to_owned(),
        io::ErrorKind::ConnectionRefused => "nobody listens there".to_owned(),
        _ => error.to_string(),
    }
}

/// A connected datagram socket.
pub(super) struct Port {
    pub(super) pipe: Pipe,
    /// The socket's file, and what it was when this one was connected.
    file: Option<(PathBuf, Identity)>,
}

/// Tells a socket's file from one that took its place.
type Identity = (u64, u64, i64, i64);

impl Port {
    pub(super) fn connect(way: &Way, deadline: Instant) -> Result<Self, String> {
        match way {
            Way::Unix(path) => Self::connect_unix(path, deadline).map_err(|error| in_words(&error)),
            Way::Udp(remote) => Self::connect_udp(remote, deadline),
        }
    }

    fn connect_unix(path: &Path, deadline: Instant) -> io::Result<Self> {
        let identity = identity(path)?;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(Self { pipe: Pipe::new(socket, deadline), file: Some((path.to_owned(), identity)) })
    }

    fn connect_udp(remote: &Remote, deadline: Instant) -> Result<Self, String> {
        let addresses = address::resolve(remote, deadline)?;
        let mut failure = String::new();
        for address in addresses {
            let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
            let socket = rustix::net::socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
            match socket.and_then(|socket| rustix::net::connect(&socket, &address).map(|()| socket)) {
                Ok(socket) => return Ok(Self { pipe: Pipe::new(socket, deadline), file: None }),
                Err(error) => failure = format!("{address}: {error}"),
            }
        }
        Err(failure)
    }

    /// Asks the kernel what has arrived.
    pub(super) fn confirm(&self, confirmation: &mut Confirmation) -> Result<u64, String> {
        // In this order: the queue of a receiver that ends is emptied too, after
        // its socket was marked dead.
        let outstanding = self.pipe.outstanding().map_err(|error| error.to_string())?;
        self.stands().map_err(|error| in_words(&error))?;
        let read = self.pipe.written().saturating_sub(outstanding);
        Ok(confirmation.stands(read, outstanding, Instant::now()))
    }

    /// Whether the receiver that this was connected to still listens.
    fn stands(&self) -> io::Result<()> {
        let Some((path, connected)) = &self.file else {
            return rustix::net::sockopt::socket_error(self.pipe.socket())?.map_err(io::Error::from);
        };
        if identity(path)? != *connected {
            return Err(io::Error::other("another receiver has taken its place"));
        }
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        Ok(rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?)
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    let file = std::fs::metadata(path)?;
    Ok((file.dev(), file.ino(), file.ctime(), file.ctime_nsec()))
}

#[cfg(test)]
mod tests;
