//! What goes on beside the failures on a real host: it must not change what is said of them.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use observer_lab::{Case, Family, Ip, Lab, Mode, Scenario, port, sources};

/// Sessions of each kind, at each address.
const EACH: usize = 4;
/// Sessions of a busy relay: from so many threads, so many each.
const BUSY: (usize, usize) = (4, 15);
/// For whatever a session waits for.
const PATIENCE: Duration = Duration::from_secs(20);
/// Neither root nor the user that the lab's clients run as.
const SECOND_USER: u32 = 4_711;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Noise {
    /// Programs of this host hand mail in at loopback, and at its own addresses.
    Local,
    /// The process of another mail server, of another user, reaches others.
    SecondServer,
    /// By IPv6 some destinations cannot be reached, and others can.
    HalfIpv6,
    /// A relay takes one session after the other.
    BusyRelay,
}

impl Noise {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Local => "local mail",
            Self::SecondServer => "a second server",
            Self::HalfIpv6 => "half of IPv6",
            Self::BusyRelay => "a busy relay",
        }
    }

    /// Makes it. Returns how many attempts it made.
    pub(crate) fn make(self, lab: &Lab) -> Result<usize> {
        let case = |scenario, family| Case { scenario, family, mode: Mode::NonBlocking };
        let works = |family| SocketAddr::new(case(Scenario::Success, family).destination(), port());
        match self {
            Self::Local => lab.client().inside(local_mail),
            Self::SecondServer => lab.client().inside(|| {
                rustix::thread::set_name(c"exim4")?;
                let uid = rustix::process::Uid::from_raw(SECOND_USER);
                rustix::thread::set_thread_res_uid(uid, uid, uid)?;
                for _ in 0..EACH {
                    [Family::V4, Family::V6].into_iter().try_for_each(|family| session(works(family)))?;
                }
                Ok(2 * EACH)
            }),
            Self::HalfIpv6 => {
                let kinds = [Scenario::NoRoute, Scenario::UnreachableRoute, Scenario::Success];
                let cases: Vec<_> = kinds.iter().flat_map(|&kind| [case(kind, Family::V6); EACH]).collect();
                Ok(lab.run(&cases, port())?.len())
            }
            Self::BusyRelay => lab.client().inside(|| {
                let (threads, each) = BUSY;
                let work = || (0..each).try_for_each(|_| session(works(Family::V4)));
                thread::scope(|scope| {
                    let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
                    workers.into_iter().try_for_each(joined)
                })?;
                Ok(threads * each)
            }),
        }
    }
}

/// Listens at each address of this host, and connects there.
fn local_mail() -> Result<usize> {
    let addresses =
        [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST), sources(Ip::V4)[0], sources(Ip::V6)[0]];
    for address in addresses {
        let to = SocketAddr::new(address, port());
        let listener = TcpListener::bind(to).with_context(|| format!("listen on {to}"))?;
        let server = thread::spawn(move || (0..EACH).try_for_each(|_| serve(listener.accept()?.0)));
        (0..EACH).try_for_each(|_| session(to))?;
        server.join().unwrap_or_else(|_| bail!("the thread of {to} panicked"))?;
    }
    Ok(addresses.len() * EACH)
}

fn serve(mut stream: TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"220 localhost ESMTP\r\n")?;
    let mut command = [0; 64];
    ensure!(stream.read(&mut command)? > 0, "a client that says nothing");
    Ok(stream.write_all(b"221 2.0.0 Bye\r\n")?)
}

/// Connects, reads the greeting, and takes its leave.
fn session(to: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE).with_context(|| format!("connect to {to}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut greeting = [0; 64];
    ensure!(stream.read(&mut greeting)? > 0, "{to} did not greet");
    stream.write_all(b"QUIT\r\n")?;
    let mut goodbye = Vec::new();
    stream.read_to_end(&mut goodbye)?;
    Ok(())
}

fn joined(worker: thread::ScopedJoinHandle<'_, Result<()>>) -> Result<()> {
    worker.join().unwrap_or_else(|_| bail!("a thread of the noise panicked"))
}
