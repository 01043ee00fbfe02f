//! Receivers on loopback that read and forget.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

/// TCP, without an answer.
pub(crate) fn tcp() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut bytes = vec![0; 256 << 10];
                while let Ok(1..) = stream.read(&mut bytes) {}
            });
        }
    });
    Ok(address)
}

/// UDP.
pub(crate) fn udp() -> Result<SocketAddr> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let address = socket.local_addr()?;
    thread::spawn(move || while socket.recv(&mut [0; 64 << 10]).is_ok() {});
    Ok(address)
}

/// A unix datagram socket.
pub(crate) fn unix(path: &Path) -> Result<()> {
    let socket = UnixDatagram::bind(path)?;
    thread::spawn(move || while socket.recv(&mut [0; 64 << 10]).is_ok() {});
    Ok(())
}

/// HTTP that says yes to everything, in the words of all three protocols.
pub(crate) fn http() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer(&stream));
        }
    });
    Ok(address)
}

fn answer(stream: &TcpStream) -> Result<()> {
    const BODY: &str = r#"{"text":"Success","code":0,"errors":false,"items":[]}"#;
    let mut reader = BufReader::with_capacity(256 << 10, stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
        std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink())?;
        let header = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length:";
        (&*stream).write_all(format!("{header} {}\r\n\r\n{BODY}", BODY.len()).as_bytes())?;
    }
}

/// An rsyslogd that parses each message and writes it to /dev/null.
pub(crate) fn rsyslog(directory: &Path) -> Result<(Server, SocketAddr)> {
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let (configuration, pid) = (directory.join("rsyslog.conf"), directory.join("rsyslog.pid"));
    let (work, port) = (directory.display(), address.port());
    let text = format!(
        "global(workDirectory=\"{work}\")\nmodule(load=\"imtcp\")\n\
         input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\" ruleset=\"all\")\n\
         ruleset(name=\"all\" queue.type=\"LinkedList\" queue.size=\"100000\") {{\n\
         action(type=\"omfile\" file=\"/dev/null\")\n}}\n"
    );
    std::fs::write(&configuration, text)?;
    let child = Command::new("rsyslogd").arg("-n").arg("-f").arg(&configuration).arg("-i").arg(&pid).spawn();
    let server = Server(child.context("start rsyslogd, which Debian's package rsyslog has")?);
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(address).is_err() {
        ensure!(Instant::now() < deadline, "rsyslogd does not listen");
        thread::sleep(Duration::from_millis(20));
    }
    Ok((server, address))
}

/// A process that ends with this.
pub(crate) struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
