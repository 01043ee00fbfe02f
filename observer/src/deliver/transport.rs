//! What a spool's messages are delivered by.

mod address;
#[cfg(test)]
mod certificates;
mod confirmation;
mod datagram;
mod http;
mod journald;
#[cfg(feature = "nats")]
mod nats;
mod pipe;
mod secret;
mod stream;
mod unix_syslog;

use std::fmt;
use std::time::Duration;

use self::datagram::{Datagrams, Way};
use self::http::Http;
use self::journald::Journald;
use self::stream::{Receiver, Stream};
use self::unix_syslog::UnixSyslog;
use super::message::Message;
use super::target::{SyslogReceiver, SyslogTarget, Target};

/// A way to a receiver. It connects when it is first asked to send, and again
/// after every [`Trouble::Temporary`]. A call blocks, but no longer than the
/// target's timeout; each sink has a thread of its own.
pub trait Transport: Send {
    /// Sends the messages in their order.
    ///
    /// # Errors
    /// If not all of them were sent. The caller then goes back to what
    /// [`Self::confirmed`] had confirmed, and begins anew.
    fn send(&mut self, batch: &[Message]) -> Result<Sent, Trouble>;

    /// How many of the messages sent since the last trouble, in their order, the
    /// receiver surely has. Where the protocol answers, that is all of them; over
    /// a bare stream it is what its kernel acknowledged a while ago, on a
    /// connection that still stands.
    ///
    /// # Errors
    /// If the connection is found broken.
    fn confirmed(&mut self) -> Result<u64, Trouble>;

    /// Ends the connection in order, within this time.
    fn close(&mut self, within: Duration);
}

/// What became of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Messages that the receiver will never take: their place in the batch, and
    /// its words. The others were taken.
    pub refused: Vec<(usize, String)>,
}

/// Why a batch did not arrive: the cause in words, for a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Worth another try, later.
    Temporary(String),
    /// The receiver will never take this batch.
    Permanent(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Temporary(cause) | Self::Permanent(cause)) = self;
        out.write_str(cause)
    }
}

impl std::error::Error for Trouble {}

/// The transport of a target. It does not connect yet.
///
/// # Errors
/// If the target is not one that a transport leads to, or is wrong in itself.
pub fn open(target: &Target) -> Result<Box<dyn Transport>, String> {
    Ok(match target {
        Target::Stdout | Target::File(_) => return Err("this target is written to directly".to_owned()),
        Target::Syslog(syslog) => open_syslog(syslog),
        Target::Journald(journald) => Box::new(Journald::new(journald)),
        Target::Http(http) => Box::new(Http::new(http)?),
        #[cfg(feature = "nats")]
        Target::Nats(nats) => Box::new(nats::Nats::new(nats)?),
        #[cfg(not(feature = "nats"))]
        Target::Nats(_) => {
            return Err("this observer was built without NATS; build it with `--features nats`".to_owned());
        }
    })
}

/// Reads what a connection to this target would read, and connects to nobody.
///
/// # Errors
/// The key that is wrong, and how.
pub fn inspect(target: &Target) -> Result<(), (&'static str, String)> {
    let (key, secret) = match target {
        Target::Http(http) => ("token_file", http.token_file.as_deref()),
        Target::Nats(nats) => ("credentials_file", nats.credentials.as_deref()),
        _ => ("", None),
    };
    if let Some(secret) = secret {
        secret::first_line(secret).map_err(|error| (key, error))?;
    }
    let (tls, host) = match target {
        Target::Syslog(SyslogTarget { receiver: SyslogReceiver::Tls(remote, tls), .. }) => (tls, Some(&*remote.host)),
        Target::Http(http) if http.url.starts_with("https") => (&http.tls, None),
        Target::Nats(nats) if nats.uses_tls() => (&nats.tls, None),
        _ => return Ok(()),
    };
    if let Some(host) = host.or(tls.server_name.as_deref()) {
        super::tls::server_name(tls, host).map_err(|error| ("tls_server_name", error))?;
    }
    super::tls::inspect(tls)
}

fn open_syslog(target: &SyslogTarget) -> Box<dyn Transport> {
    let timeout = target.timeout;
    match &target.receiver {
        SyslogReceiver::Unix(path) => Box::new(UnixSyslog::new(path.clone(), timeout)),
        SyslogReceiver::Udp(remote) => Box::new(Datagrams::new(Way::Udp(remote.clone()), timeout)),
        SyslogReceiver::Tcp(remote) => Box::new(Stream::new(Receiver::Tcp(remote.clone()), timeout)),
        SyslogReceiver::Tls(remote, tls) => Box::new(Stream::new(Receiver::Tls(remote.clone(), tls.clone()), timeout)),
    }
}
