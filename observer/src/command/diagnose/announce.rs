//! Tells `observer run` of probes, so that it does not take them for the mail server's.

use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use observer_core::wire::{Line, Request};

use super::super::socket::admission;

/// For its answer.
const WITHIN: Duration = Duration::from_secs(5);
/// Longest answer that is read, in bytes.
const ANSWER_MAX: u64 = 4_096;

/// While this is kept, connections of this process are not recorded.
pub(super) struct Announced(#[expect(dead_code, reason = "kept open")] UnixStream);

/// Announces probes of this process to the `observer run` that listens there; `None` if none
/// does.
///
/// # Errors
/// Why it is going to record them, and what to do.
pub(super) fn announce(socket: &Path) -> Result<Option<Announced>, String> {
    match ask(socket) {
        Ok(stream) => Ok(Some(Announced(stream))),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => Ok(None),
        Err(error) => {
            let remedy = match error.kind() {
                ErrorKind::PermissionDenied => format!(": {}", admission(socket)),
                _ => String::new(),
            };
            let socket = socket.display();
            Err(format!("observer run records these probes as attempts: {socket}: {error}{remedy}"))
        }
    }
}

fn ask(socket: &Path) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(WITHIN))?;
    stream.set_write_timeout(Some(WITHIN))?;
    let request = Request { probing: true, ..Request::default() };
    stream.write_all((serde_json::to_string(&request)? + "\n").as_bytes())?;
    let mut answer = Vec::new();
    BufReader::new(&stream).take(ANSWER_MAX).read_until(b'\n', &mut answer)?;
    match Line::from_json(&answer) {
        Ok(Some(Line::Probing(_))) => Ok(stream),
        // An earlier version refuses what it does not know.
        Ok(Some(Line::Refusal(refusal))) => Err(io::Error::other(format!("refused: {}", refusal.cause))),
        _ => Err(io::Error::other("not an observer socket, or an incompatible version: restart observer run")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    #[test]
    fn a_daemon_that_does_not_agree_records_the_probes_and_none_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("observer.sock");
        assert!(matches!(announce(&socket), Ok(None)));
        let listener = UnixListener::bind(&socket).unwrap();
        let answers = [
            "{\"probing\":{\"connections\":1000}}\n",
            "{\"refusal\":{\"cause\":\"unknown field\"}}\n",
            "\"end\"\n",
            "",
        ];
        let server = thread::spawn(move || {
            for answer in answers {
                let (stream, _) = listener.accept().unwrap();
                let mut request = String::new();
                BufReader::new(&stream).read_line(&mut request).unwrap();
                assert!(request.contains("\"probing\":true"), "{request}");
                (&stream).write_all(answer.as_bytes()).unwrap();
            }
        });
        assert!(matches!(announce(&socket), Ok(Some(_))));
        for cause in ["unknown field", "incompatible version", "incompatible version"] {
            let error = announce(&socket).err().unwrap();
            assert!(error.contains("records these probes") && error.contains(cause), "{error}");
        }
        server.join().unwrap();
    }
}
