//! Syslog over a unix socket, whichever kind it is: most are for datagrams, some
//! (syslog-ng's `unix-stream`) are streams.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::datagram::{Datagrams, Way};
use super::stream::{Receiver, Stream};
use super::{Sent, Transport, Trouble};
use crate::deliver::message::Message;

/// Finds out at each connect what the socket is.
pub(super) struct UnixSyslog {
    path: PathBuf,
    timeout: Duration,
    transport: Option<Box<dyn Transport>>,
}

impl UnixSyslog {
    pub(super) const fn new(path: PathBuf, timeout: Duration) -> Self {
        Self { path, timeout, transport: None }
    }

    fn open(&self) -> Box<dyn Transport> {
        if is_stream(&self.path) {
            Box::new(Stream::new(Receiver::Unix(self.path.clone()), self.timeout))
        } else {
            Box::new(Datagrams::new(Way::Unix(self.path.clone()), self.timeout))
        }
    }
}

impl Transport for UnixSyslog {
    fn send(&mut self, batch: &[Message]) -> Result<Sent, Trouble> {
        let mut transport = self.transport.take().unwrap_or_else(|| self.open());
        let sent = transport.send(batch)?;
        self.transport = Some(transport);
        Ok(sent)
    }

    fn confirmed(&mut self) -> Result<u64, Trouble> {
        let Some(mut transport) = self.transport.take() else { return Ok(0) };
        let confirmed = transport.confirmed()?;
        self.transport = Some(transport);
        Ok(confirmed)
    }

    fn close(&mut self, within: Duration) {
        if let Some(mut transport) = self.transport.take() {
            transport.close(within);
        }
    }
}

/// What else could be wrong with it shows when it is connected to.
fn is_stream(path: &Path) -> bool {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None);
    let connected = socket.and_then(|socket| rustix::net::connect(&socket, &SocketAddrUnix::new(path)?));
    connected == Err(Errno::PROTOTYPE)
}
