//! Mail servers that offer TLS and break it. To a client that does not ask for TLS they are like any other.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use observer_lab::Namespace;

/// How it goes on when it has answered STARTTLS.
#[derive(Clone, Copy)]
pub(crate) enum Breaks {
    /// It sends bytes that are not TLS.
    WithGarbage,
    /// It closes the connection.
    ByClosing,
}

/// A listener, until it is dropped.
pub(crate) struct BrokenTls {
    is_over: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl BrokenTls {
    pub(crate) fn listen(namespace: &Namespace, address: &str, breaks: Breaks) -> Result<Self> {
        let listener = namespace.inside(|| Ok(TcpListener::bind(address)?))?;
        listener.set_nonblocking(true)?;
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => drop(thread::spawn(move || converse(&stream, breaks))),
                    Err(_) => thread::sleep(Duration::from_millis(10)),
                }
            }
        });
        Ok(Self { is_over, thread: Some(thread) })
    }
}

impl Drop for BrokenTls {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // It has panicked or ended.
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

fn converse(stream: &TcpStream, breaks: Breaks) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let say = |line: &str| (&*stream).write_all(line.as_bytes());
    say("220 mx.example ESMTP\r\n")?;
    let mut is_message = false;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let verb = line.split(' ').next().unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "." if is_message => {
                is_message = false;
                say("250 2.0.0 taken\r\n")?;
            }
            _ if is_message => {}
            "EHLO" => say("250-mx.example\r\n250 STARTTLS\r\n")?,
            "STARTTLS" => {
                say("220 2.0.0 go ahead\r\n")?;
                if let Breaks::ByClosing = breaks {
                    return Ok(());
                }
                say("this is no TLS, is it? this is no TLS, is it?\r\n")?;
            }
            "DATA" => {
                is_message = true;
                say("354 go ahead\r\n")?;
            }
            "QUIT" => return say("221 2.0.0 bye\r\n"),
            _ => say("250 2.0.0 yes\r\n")?,
        }
    }
    Ok(())
}
