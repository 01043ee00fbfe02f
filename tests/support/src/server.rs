//! The listeners behind the router: each address has its own manners.

use std::collections::HashMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::event::epoll;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

use crate::addr::{Ip, destination};
use crate::role::announce_ready;
use crate::scenario::Scenario;
use crate::sock;

const BACKLOG: i32 = 16_384;
const BANNER: &[u8] = b"220 mx.example.net ESMTP\r\n";
const GOODBYE: &[u8] = b"221 2.0.0 Bye\r\n";
/// After this a vanished client's session is probed, and so cleared away.
const IDLE: Duration = Duration::from_secs(20);

/// How a listener treats those who connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Polite,
    ResetAtOnce,
    CloseAtOnce,
    Mute,
    ResetOnData,
    /// Closes itself while the connection waits to be accepted, another in its place.
    CloseListener,
}

impl Manner {
    const fn of(scenario: Scenario) -> Option<Self> {
        Some(match scenario {
            Scenario::Success | Scenario::MptcpSuccess | Scenario::Idle | Scenario::Unread => Self::Polite,
            Scenario::Stalled | Scenario::StalledAbandoned | Scenario::DestroyedInSession => Self::Polite,
            Scenario::QueuedReset => Self::CloseListener,
            Scenario::ResetBeforeBanner => Self::ResetAtOnce,
            Scenario::ClosedBeforeBanner => Self::CloseAtOnce,
            Scenario::Silent => Self::Mute,
            Scenario::ResetMidSession => Self::ResetOnData,
            _ => return None,
        })
    }
}

struct Server {
    epoll: rustix::fd::OwnedFd,
    listeners: HashMap<u64, (TcpListener, Manner)>,
    sessions: HashMap<u64, (TcpStream, Manner)>,
    next: u64,
}

/// What stdin is registered as.
const LAB: u64 = 0;

/// Serves until stdin closes.
pub(crate) fn run(ports: &[u16]) -> Result<()> {
    sock::raise_file_limit()?;
    let mut server = Server::new()?;
    for scenario in Scenario::all() {
        let Some(manner) = Manner::of(scenario) else { continue };
        for ip in Ip::BOTH {
            for port in ports {
                server.listen(SocketAddr::new(destination(scenario, ip), *port), manner)?;
            }
        }
    }
    announce_ready()?;
    server.serve()
}

/// Resets every connection to the one port of the loopback addresses, and serves those to the
/// other, until stdin closes.
pub(crate) fn take_redirected(resets: u16, serves: u16) -> Result<()> {
    let mut server = Server::new()?;
    for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        server.listen(SocketAddr::new(address, resets), Manner::ResetAtOnce)?;
        server.listen(SocketAddr::new(address, serves), Manner::Polite)?;
    }
    announce_ready()?;
    server.serve()
}

fn watch(epoll: impl rustix::fd::AsFd, source: impl rustix::fd::AsFd, id: u64) -> Result<()> {
    epoll::add(epoll, source, epoll::EventData::new_u64(id), epoll::EventFlags::IN).context("epoll_ctl")
}

impl Server {
    /// Without a listener; it ends when stdin closes.
    fn new() -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("epoll_create")?;
        watch(&epoll, std::io::stdin(), LAB)?;
        Ok(Self { epoll, listeners: HashMap::new(), sessions: HashMap::new(), next: LAB + 1 })
    }

    fn listen(&mut self, address: SocketAddr, manner: Manner) -> Result<()> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::STREAM, flags, None).context("socket")?;
        sockopt::set_socket_reuseaddr(&socket, true).context("SO_REUSEADDR")?;
        if manner == Manner::CloseListener {
            sockopt::set_socket_reuseport(&socket, true).context("SO_REUSEPORT")?;
        }
        bind(&socket, &address).with_context(|| format!("bind {address}"))?;
        listen(&socket, BACKLOG).with_context(|| format!("listen on {address}"))?;
        let id = self.take_id();
        watch(&self.epoll, &socket, id)?;
        self.listeners.insert(id, (TcpListener::from(socket), manner));
        Ok(())
    }

    const fn take_id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn serve(&mut self) -> Result<()> {
        let mut events = Vec::with_capacity(256);
        loop {
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("epoll_wait"),
            }
            for event in events.drain(..) {
                let id = event.data.u64();
                if id == LAB {
                    return Ok(()); // The lab is gone.
                }
                if self.listeners.contains_key(&id) { self.accept(id)? } else { self.converse(id) }
            }
        }
    }

    fn accept(&mut self, id: u64) -> Result<()> {
        if let Some((listener, Manner::CloseListener)) = self.listeners.get(&id) {
            // The next one listens before this one ends: no SYN finds the port closed.
            self.listen(listener.local_addr().context("the listener's address")?, Manner::CloseListener)?;
            self.listeners.remove(&id);
            return Ok(());
        }
        while let Some((listener, manner)) = self.listeners.get(&id) {
            let manner = *manner;
            match listener.accept() {
                Ok((stream, _)) => self.greet(stream, manner)?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // The client was gone before we came to it.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error).context("accept"),
            }
        }
        Ok(())
    }

    fn greet(&mut self, mut stream: TcpStream, manner: Manner) -> Result<()> {
        match manner {
            Manner::CloseAtOnce => return Ok(()),
            Manner::ResetAtOnce => return reset(&stream),
            Manner::Mute | Manner::CloseListener => {}
            Manner::Polite | Manner::ResetOnData => {
                if stream.write_all(BANNER).is_err() {
                    return Ok(()); // The client has left.
                }
            }
        }
        stream.set_nonblocking(true).context("O_NONBLOCK")?;
        sockopt::set_tcp_keepidle(&stream, IDLE).context("TCP_KEEPIDLE")?;
        sockopt::set_socket_keepalive(&stream, true).context("SO_KEEPALIVE")?;
        let id = self.take_id();
        watch(&self.epoll, stream.as_fd(), id)?;
        self.sessions.insert(id, (stream, manner));
        Ok(())
    }

    /// Answers what a client said, and forgets the session once it is over.
    fn converse(&mut self, id: u64) {
        let Some((stream, manner)) = self.sessions.get_mut(&id) else { return };
        let mut buffer = [0; 512];
        let over = match stream.read(&mut buffer) {
            Ok(0) => true,
            Ok(_) if *manner == Manner::ResetOnData => {
                // Fails only if the client has left, and then nothing is left to reset.
                _ = reset(stream);
                true
            }
            Ok(_) if *manner == Manner::Polite => {
                _ = stream.write_all(GOODBYE);
                true
            }
            Ok(_) => false,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        };
        if over {
            self.sessions.remove(&id);
        }
    }
}

/// Makes the coming close a RST.
fn reset(stream: &TcpStream) -> Result<()> {
    sockopt::set_socket_linger(stream, Some(Duration::ZERO)).context("SO_LINGER")
}
