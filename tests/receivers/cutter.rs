//! A TCP relay that cuts connections in the middle of what they say.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;

/// Relays from one port of loopback's to another.
pub(crate) struct Cutter {
    pub(crate) port: u16,
    cuts: Arc<AtomicUsize>,
}

impl Cutter {
    /// Cuts the first `cuts` connections, each after so many bytes.
    pub(crate) fn start(to: u16, cuts: usize, after: usize) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let left = Arc::new(AtomicUsize::new(cuts));
        let cuts = Arc::clone(&left);
        // It ends with the test program.
        thread::spawn(move || {
            for (nth, client) in listener.incoming().flatten().enumerate() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else { continue };
                let left = Arc::clone(&left);
                thread::spawn(move || relay(client, server, &left, after + nth * 37));
            }
        });
        Ok(Self { port, cuts })
    }

    /// Connections that are yet to be cut.
    pub(crate) fn left(&self) -> usize {
        self.cuts.load(Ordering::Relaxed)
    }
}

fn relay(mut client: TcpStream, mut server: TcpStream, left: &AtomicUsize, after: usize) {
    let _ = client.set_read_timeout(Some(Duration::from_millis(50)));
    let (mut relayed, mut bytes) = (0, [0; 4_096]);
    loop {
        match client.read(&mut bytes) {
            Ok(0) => return,
            Ok(len) => {
                let is_cut = left.load(Ordering::Relaxed) > 0 && relayed + len > after;
                let part = if is_cut { after.saturating_sub(relayed) } else { len };
                if server.write_all(&bytes[..part]).is_err() {
                    return;
                }
                relayed += len;
                if is_cut {
                    left.fetch_sub(1, Ordering::Relaxed);
                    // With unread bytes a RST, which is what a crash looks like.
                    return;
                }
            }
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                // The receiver's end is the relay's.
                let _ = server.set_nonblocking(true);
                let is_over = matches!(server.peek(&mut [0]), Ok(0));
                let _ = server.set_nonblocking(false);
                if is_over {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}
