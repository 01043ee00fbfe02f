//! A client that hands mail in.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

/// Where messages are handed in: no port that is watched.
pub(crate) const SUBMISSION: &str = "127.0.0.1:2525";
/// For a server to listen, and for an answer to what a client says.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// A session with a server of this namespace.
pub(crate) struct Client {
    stream: TcpStream,
    answers: Lines<BufReader<TcpStream>>,
}

impl Client {
    /// Connects as soon as the server listens, and takes its greeting.
    pub(crate) fn connect(address: &str) -> Result<Self> {
        let deadline = Instant::now() + ANSWER_WITHIN;
        let stream = loop {
            match TcpStream::connect(address) {
                Ok(stream) => break stream,
                Err(error) => ensure!(Instant::now() < deadline, "nobody listens at {address}: {error}"),
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        stream.set_nodelay(true)?;
        let mut client = Self { answers: BufReader::new(stream.try_clone()?).lines(), stream };
        client.answer()?;
        Ok(client)
    }

    /// The last line of the answer to a command, or to the message.
    pub(crate) fn ask(&mut self, command: &str) -> Result<String> {
        self.stream.write_all(command.as_bytes())?;
        self.answer().with_context(|| format!("{command:?}"))
    }

    fn answer(&mut self) -> Result<String> {
        loop {
            let answer = self.answers.next().context("the server closed the connection")??;
            if answer.as_bytes().get(3) != Some(&b'-') {
                return Ok(answer);
            }
        }
    }
}
