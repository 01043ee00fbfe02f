//! Syslog over a stream: TCP with octet counting (RFC 6587), TLS (RFC 5425), or a
//! unix socket with a line each (RFC 6587 section 3.4.2).
//!
//! No such receiver ever answers; [`super::confirmation`] says what that means.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType};
use rustls::{ClientConnection, StreamOwned};

use super::confirmation::{Confirmation, HOLD};
use super::pipe::Pipe;
use super::{Sent, Transport, Trouble, address};
use crate::deliver::message::Message;
use crate::deliver::target::{Remote, Tls};
use crate::deliver::tls;

/// Reads of what a receiver says, at a time: a hostile one could talk for ever.
const MOST_READS: usize = 16;

/// Who listens.
#[derive(Clone, Debug)]
pub(super) enum Receiver {
    Unix(PathBuf),
    Tcp(Remote),
    Tls(Remote, Tls),
}

impl fmt::Display for Receiver {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(out, "{}", path.display()),
            Self::Tcp(remote) => write!(out, "tcp {remote}"),
            Self::Tls(remote, _) => write!(out, "tls {remote}"),
        }
    }
}

/// Syslog over a stream.
pub(super) struct Stream {
    receiver: Receiver,
    timeout: Duration,
    channel: Option<Channel>,
    confirmation: Confirmation,
}

impl Stream {
    pub(super) fn new(receiver: Receiver, timeout: Duration) -> Self {
        Self { receiver, timeout, channel: None, confirmation: Confirmation::new(HOLD) }
    }

    fn connect(&self, deadline: Instant) -> Result<Channel, String> {
        match &self.receiver {
            Receiver::Unix(path) => connect_unix(path, deadline).map(Channel::Plain).map_err(|error| error.to_string()),
            Receiver::Tcp(remote) => {
                Ok(Channel::Plain(Pipe::new(address::connect(remote, deadline)?.into(), deadline)))
            }
            Receiver::Tls(remote, tls) => Channel::secure(remote, tls, deadline),
        }
    }

    fn try_send(&mut self, batch: &[Message]) -> Result<(), String> {
        let deadline = Instant::now() + self.timeout;
        self.drop_finished();
        let mut channel = match self.channel.take() {
            Some(channel) => channel,
            None => self.connect(deadline)?,
        };
        channel.stands()?;
        channel.pipe_mut().set_deadline(deadline);
        channel.write(&framed(&self.receiver, batch)).map_err(|error| in_words(&error))?;
        self.confirmation.sent(batch.len() as u64, channel.pipe().written());
        self.channel = Some(channel);
        Ok(())
    }

    fn try_confirm(&mut self) -> Result<u64, String> {
        self.drop_finished();
        let Some(channel) = &mut self.channel else { return Ok(self.confirmation.confirmed()) };
        // In this order: a connection that broke before the question would look as
        // if nothing were outstanding.
        let written = channel.pipe().written();
        let outstanding = channel.pipe().outstanding().map_err(|error| error.to_string())?;
        channel.stands()?;
        Ok(self.confirmation.stands(written.saturating_sub(outstanding), outstanding, Instant::now()))
    }

    /// A receiver may end an idle connection. That is no trouble.
    fn drop_finished(&mut self) {
        if self.confirmation.is_complete()
            && let Some(channel) = &mut self.channel
            && channel.stands().is_err()
        {
            self.channel = None;
            self.confirmation.reconnected();
        }
    }

    fn trouble(&mut self, cause: String) -> Trouble {
        self.channel = None;
        self.confirmation = Confirmation::new(HOLD);
        Trouble::Temporary(format!("{}: {cause}", self.receiver))
    }
}

impl Transport for Stream {
    fn send(&mut self, batch: &[Message]) -> Result<Sent, Trouble> {
        match self.try_send(batch) {
            Ok(()) => Ok(Sent::default()),
            Err(cause) => Err(self.trouble(cause)),
        }
    }

    fn confirmed(&mut self) -> Result<u64, Trouble> {
        self.try_confirm().map_err(|cause| self.trouble(cause))
    }

    fn close(&mut self, within: Duration) {
        if let Some(mut channel) = self.channel.take() {
            channel.pipe_mut().set_deadline(Instant::now() + within);
            // The process ends, or the target is another one: nobody to tell.
            let _ = channel.close();
        }
        self.confirmation = Confirmation::new(HOLD);
    }
}

/// A batch as it goes over the wire.
fn framed(receiver: &Receiver, batch: &[Message]) -> Vec<u8> {
    let mut out = Vec::with_capacity(batch.iter().map(|message| message.body.len() + 8).sum());
    for message in batch {
        let body = message.body.strip_suffix(b"\n").unwrap_or(&message.body);
        if matches!(receiver, Receiver::Unix(_)) {
            out.extend_from_slice(body);
            out.push(b'\n');
        } else {
            out.extend_from_slice(body.len().to_string().as_bytes());
            out.push(b' ');
            out.extend_from_slice(body);
        }
    }
    out
}

/// Never blocks: a full backlog is an error here.
fn connect_unix(path: &PathBuf, deadline: Instant) -> io::Result<Pipe> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(Pipe::new(socket, deadline))
}

fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut => "the receiver does not take it in time".to_owned(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
            format!("the receiver broke the connection: {error}")
        }
        io::ErrorKind::UnexpectedEof => "the receiver closed the connection".to_owned(),
        _ => error.to_string(),
    }
}

enum Channel {
    Plain(Pipe),
    Secure(Box<StreamOwned<ClientConnection, Pipe>>),
}

impl Channel {
    fn secure(remote: &Remote, tls: &Tls, deadline: Instant) -> Result<Self, String> {
        let config = tls::client_config(tls)?;
        let name = tls::server_name(tls, &remote.host)?;
        let mut connection = ClientConnection::new(Arc::new(config), name).map_err(|error| error.to_string())?;
        let mut pipe = Pipe::new(address::connect(remote, deadline)?.into(), deadline);
        while connection.is_handshaking() {
            connection.complete_io(&mut pipe).map_err(|error| format!("TLS handshake: {}", in_words(&error)))?;
        }
        Ok(Self::Secure(Box::new(StreamOwned::new(connection, pipe))))
    }

    fn pipe(&self) -> &Pipe {
        match self {
            Self::Plain(pipe) => pipe,
            Self::Secure(stream) => &stream.sock,
        }
    }

    fn pipe_mut(&mut self) -> &mut Pipe {
        match self {
            Self::Plain(pipe) => pipe,
            Self::Secure(stream) => &mut stream.sock,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(pipe) => pipe.write_all(bytes),
            Self::Secure(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }

    /// Whether the receiver still listens, as far as this side was told. What it
    /// says otherwise is of no interest.
    fn stands(&mut self) -> Result<(), String> {
        self.pipe_mut().set_deadline(Instant::now());
        for _ in 0..MOST_READS {
            match self.read_some() {
                Ok(true) => {}
                Ok(false) => return Err("the receiver closed the connection".to_owned()),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => break,
                Err(error) => return Err(in_words(&error)),
            }
        }
        Ok(())
    }

    /// False at the end.
    fn read_some(&mut self) -> io::Result<bool> {
        let mut unused = [0; 4096];
        match self {
            Self::Plain(pipe) => Ok(pipe.read(&mut unused)? > 0),
            Self::Secure(stream) => {
                if stream.conn.read_tls(&mut stream.sock)? == 0 {
                    return Ok(false);
                }
                // Also an alert, such as one about this client's certificate: in TLS
                // 1.3 it comes after this side's handshake.
                let state = stream.conn.process_new_packets().map_err(io::Error::other)?;
                let mut plain = state.plaintext_bytes_to_read();
                while plain > 0 {
                    plain = plain.saturating_sub(stream.conn.reader().read(&mut unused)?.max(1));
                }
                Ok(!state.peer_has_closed())
            }
        }
    }

    /// `close_notify` (RFC 5425 section 4.4), then the end of what this side says,
    /// and whatever the other one still has to: closing before would reset the
    /// connection, and could cost it what it has not read.
    fn close(&mut self) -> io::Result<()> {
        if let Self::Secure(stream) = self {
            stream.conn.send_close_notify();
            while stream.conn.wants_write() {
                stream.conn.write_tls(&mut stream.sock)?;
            }
        }
        rustix::net::shutdown(self.pipe().socket(), Shutdown::Write)?;
        for _ in 0..MOST_READS {
            if self.pipe_mut().read(&mut [0; 4096])? == 0 {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
