//! Splunk's HEC, `_bulk` and OTLP as servers of the test's own, which are as bad as
//! servers can be: they are busy, and they die between taking a batch and saying so.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::daemon::Place;
use crate::receiver::{Received, Receiver};

/// Every so many requests the server takes the batch, and closes without an answer.
const DIES: usize = 7;
/// Every so many it says that it is busy.
const IS_BUSY: usize = 11;
const TOKEN: &str = "b1946ac9-2492-4d23-8f1e-6a9d1f3c7e52";

#[derive(Clone, Copy, Debug)]
pub(crate) enum Protocol {
    Hec,
    Bulk,
    Otlp,
}

/// A server, and what it was given.
pub(crate) struct Server {
    protocol: Protocol,
    port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    received: Mutex<Vec<Received>>,
    requests: AtomicUsize,
    /// The listener, and all who are connected; none while it is away.
    sockets: Mutex<Vec<TcpStream>>,
    /// How often it was started; threads of an earlier time end.
    times: AtomicUsize,
}

impl Server {
    pub(crate) fn start(protocol: Protocol) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let server = Self { protocol, port: listener.local_addr()?.port(), state: Arc::default() };
        server.serve(listener);
        Ok(server)
    }

    /// Its sink, of this name; another writes the same to a file `NAME.lines`.
    pub(crate) fn sink(&self, place: &Place, name: &str) -> Result<String> {
        let token = place.path("token");
        place.keep_secret("token", TOKEN)?;
        let (kind, format, path) = match self.protocol {
            Protocol::Hec => ("splunk-hec", "splunk-hec", "services/collector/event"),
            Protocol::Bulk => ("elasticsearch", "ecs", "_bulk"),
            Protocol::Otlp => ("otlp", "otlp", "v1/logs"),
        };
        Ok(format!(
            "type = '{kind}'\nurl = 'http://127.0.0.1:{}/{path}'\ntoken_file = '{}'\n\
             [sink.{name}-lines]\ntype = 'file'\nformat = '{format}'\npath = '{}'\n",
            self.port,
            token.display(),
            place.path(&format!("{format}.lines")).display()
        ))
    }

    fn serve(&self, listener: TcpListener) {
        let (protocol, state) = (self.protocol, Arc::clone(&self.state));
        let time = state.times.load(Ordering::SeqCst);
        // Ends with the connection that `kill` makes.
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                if state.times.load(Ordering::SeqCst) != time {
                    return;
                }
                let Ok(handle) = socket.try_clone() else { continue };
                lock(&state.sockets).push(handle);
                let state = Arc::clone(&state);
                thread::spawn(move || converse(protocol, &state, &socket));
            }
        });
    }
}

impl Receiver for Server {
    fn kill(&mut self) -> Result<()> {
        self.state.times.fetch_add(1, Ordering::SeqCst);
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        for socket in lock(&self.state.sockets).drain(..) {
            // Whoever has closed already is gone.
            let _ = socket.shutdown(Shutdown::Both);
        }
        Ok(())
    }

    fn restart(&mut self) -> Result<()> {
        self.serve(TcpListener::bind(("127.0.0.1", self.port))?);
        Ok(())
    }

    fn events(&self, _: &Place) -> Result<Vec<Received>> {
        Ok(lock(&self.state.received).clone())
    }

    fn expected(&self, place: &Place) -> Result<Vec<Received>> {
        let format = match self.protocol {
            Protocol::Hec => "splunk-hec",
            Protocol::Bulk => "ecs",
            Protocol::Otlp => "otlp",
        };
        let records = place.json(&format!("{format}.lines"))?.into_iter().flat_map(|record| match self.protocol {
            Protocol::Otlp => record["resourceLogs"].as_array().cloned().unwrap_or_default(),
            _ => vec![record],
        });
        Ok(records.filter_map(|record| event(self.protocol, record)).collect())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers requests until the connection ends.
fn converse(protocol: Protocol, state: &State, socket: &TcpStream) -> Option<()> {
    let mut reader = BufReader::new(socket);
    loop {
        let body = request(&mut reader)?;
        let nth = state.requests.fetch_add(1, Ordering::SeqCst) + 1;
        let (status, answer) = match body {
            Err(error) => (401, format!("{{\"text\":\"{error}\",\"code\":4}}")),
            Ok(_) if nth.is_multiple_of(IS_BUSY) => (503, "{\"text\":\"Server is busy\",\"code\":9}".to_owned()),
            Ok(body) => match take(protocol, state, &body) {
                Ok(answer) => (200, answer),
                Err(error) => (400, format!("{error:?}")),
            },
        };
        if nth.is_multiple_of(DIES) {
            return socket.shutdown(Shutdown::Both).ok();
        }
        let length = answer.len();
        write!(&mut &*socket, "HTTP/1.1 {status} Said\r\ncontent-length: {length}\r\n\r\n{answer}").ok()?;
    }
}

/// Its body, if the token is right. None at the end.
fn request(reader: &mut BufReader<&TcpStream>) -> Option<Result<Vec<u8>>> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        reader.read_line(&mut head).ok().filter(|length| *length > 0)?;
    }
    let lower = head.to_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(if head.contains(TOKEN) { Ok(body) } else { Err(anyhow::anyhow!("no token")) })
}

/// Keeps the events of a batch, and says so in the protocol's way.
fn take(protocol: Protocol, state: &State, body: &[u8]) -> Result<String> {
    let values: Vec<Value> = serde_json::Deserializer::from_slice(body).into_iter().collect::<Result<_, _>>()?;
    let mut received = lock(&state.received);
    Ok(match protocol {
        Protocol::Hec => {
            received.extend(values.into_iter().filter_map(|value| event(protocol, value)));
            "{\"text\":\"Success\",\"code\":0}".to_owned()
        }
        Protocol::Otlp => {
            let resources =
                values.into_iter().filter_map(|mut value| value["resourceLogs"].as_array_mut().map(std::mem::take));
            received.extend(resources.flatten().filter_map(|value| event(protocol, value)));
            "{\"partialSuccess\":{}}".to_owned()
        }
        Protocol::Bulk => {
            let mut known: BTreeSet<String> = received.iter().map(|(id, _)| id.clone()).collect();
            let mut items = Vec::new();
            for pair in values.chunks(2) {
                let [action, document] = pair else { anyhow::bail!("an action without a document") };
                let id = action["create"]["_id"].as_str().context("no _id")?;
                let is_new = known.insert(id.to_owned());
                items.push(json!({ "create": { "_id": id, "status": if is_new { 201 } else { 409 } } }));
                let event = event(protocol, document.clone()).filter(|_| is_new);
                ensure!(event.as_ref().is_none_or(|(own, _)| own == id), "_id is {id}, of {document}");
                received.extend(event);
            }
            json!({ "errors": false, "items": items }).to_string()
        }
    })
}

/// If it is one.
fn event(protocol: Protocol, record: Value) -> Option<Received> {
    let log = &record["scopeLogs"][0]["logRecords"][0];
    let id = match protocol {
        Protocol::Hec if record["event"]["schema"] == "observer.event.v1" => &record["event"]["id"],
        Protocol::Bulk if record["event"]["dataset"] == "observer.connect" => &record["event"]["id"],
        Protocol::Otlp if log["eventName"] == "observer.tcp.connect" => {
            let attributes = log["attributes"].as_array()?;
            &attributes.iter().find(|attribute| attribute["key"] == "log.record.uid")?["value"]["stringValue"]
        }
        _ => return None,
    };
    Some((id.as_str()?.to_owned(), record))
}
