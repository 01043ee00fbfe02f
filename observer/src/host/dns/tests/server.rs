//! A name server for tests: on loopback, UDP and TCP, answering by a script.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, MX, PTR, SOA, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// What is sent for one question.
pub(crate) enum Reply {
    /// These bytes, as one message.
    Bytes(Vec<u8>),
    /// These bytes again and again without an end, over TCP without a length.
    Endless(Vec<u8>),
    /// Nothing.
    Silence,
    /// The same, later.
    Later(Duration, Vec<u8>),
}

impl From<Message> for Reply {
    fn from(message: Message) -> Self {
        Self::Bytes(message.to_vec().unwrap())
    }
}

/// A question, and whether it came over TCP, to an answer.
type Script = dyn Fn(&Message, bool) -> Reply + Send + Sync;

/// The server's address, how many questions it has had, and how many TCP
/// connections it has.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    asked: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
}

impl Server {
    /// Starts one that ends with the runtime.
    pub(crate) async fn start(script: impl Fn(&Message, bool) -> Reply + Send + Sync + 'static) -> Self {
        let (udp, tcp) = bind().await;
        let (address, asked) = (udp.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let count = asked.clone();
        let script: Arc<Script> = Arc::new(move |message, tcp| {
            count.fetch_add(1, Ordering::Relaxed);
            script(message, tcp)
        });
        tokio::spawn(serve_udp(Arc::new(udp), script.clone()));
        let open = Arc::new(AtomicUsize::new(0));
        let connections = open.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = tcp.accept().await {
                let (script, connections) = (script.clone(), connections.clone());
                tokio::spawn(async move {
                    connections.fetch_add(1, Ordering::Relaxed);
                    serve_tcp(stream, script).await;
                    connections.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        Self { address, asked, open }
    }

    /// Starts one that serves these records honestly.
    pub(crate) async fn of(data: Data) -> Self {
        Self::start(move |query, _| data.answer(query).into()).await
    }

    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

/// Sockets of both kinds with the same port.
async fn bind() -> (UdpSocket, TcpListener) {
    loop {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
}

async fn serve_udp(socket: Arc<UdpSocket>, script: Arc<Script>) {
    let mut buffer = vec![0; 4096];
    while let Ok((len, peer)) = socket.recv_from(&mut buffer).await {
        let Ok(query) = Message::from_vec(&buffer[..len]) else { continue };
        let (socket, reply) = (socket.clone(), script(&query, false));
        tokio::spawn(async move {
            let bytes = match reply {
                Reply::Silence => return,
                Reply::Bytes(bytes) | Reply::Endless(bytes) => bytes,
                Reply::Later(delay, bytes) => {
                    tokio::time::sleep(delay).await;
                    bytes
                }
            };
            let _ = socket.send_to(&bytes, peer).await;
        });
    }
}

async fn serve_tcp(mut stream: TcpStream, script: Arc<Script>) -> Option<()> {
    loop {
        let mut query = vec![0; usize::from(stream.read_u16().await.ok()?)];
        stream.read_exact(&mut query).await.ok()?;
        let bytes = match script(&Message::from_vec(&query).ok()?, true) {
            Reply::Silence => continue,
            Reply::Bytes(bytes) => bytes,
            Reply::Endless(bytes) => loop {
                stream.write_all(&bytes).await.ok()?;
            },
            Reply::Later(delay, bytes) => {
                tokio::time::sleep(delay).await;
                bytes
            }
        };
        stream.write_u16(bytes.len() as u16).await.ok()?;
        stream.write_all(&bytes).await.ok()?;
    }
}

/// Records by name and type. A name without any does not exist.
#[derive(Clone, Default)]
pub(crate) struct Data {
    records: HashMap<Name, Vec<RData>>,
    failing: HashMap<Name, ResponseCode>,
}

impl Data {
    fn with(mut self, owner: &str, data: RData) -> Self {
        self.records.entry(name(owner)).or_default().push(data);
        self
    }

    pub(crate) fn mx(self, owner: &str, preference: u16, exchange: &str) -> Self {
        self.with(owner, RData::MX(MX::new(preference, name(exchange))))
    }

    pub(crate) fn address(self, owner: &str, address: &str) -> Self {
        self.with(
            owner,
            match address.parse().unwrap() {
                std::net::IpAddr::V4(address) => RData::A(A(address)),
                std::net::IpAddr::V6(address) => RData::AAAA(AAAA(address)),
            },
        )
    }

    pub(crate) fn cname(self, owner: &str, target: &str) -> Self {
        self.with(owner, RData::CNAME(CNAME(name(target))))
    }

    pub(crate) fn ptr(self, owner: &str, target: &str) -> Self {
        self.with(owner, RData::PTR(PTR(name(target))))
    }

    pub(crate) fn txt(self, owner: &str, bytes: &[u8]) -> Self {
        self.with(owner, RData::TXT(TXT::from_bytes(vec![bytes])))
    }

    /// The name is answered with this code.
    pub(crate) fn failing(mut self, owner: &str, code: ResponseCode) -> Self {
        self.failing.insert(name(owner), code);
        self
    }

    /// The answer, one alias at most.
    pub(crate) fn answer(&self, query: &Message) -> Message {
        let mut answer = response(query);
        let asked = &query.queries[0];
        if let Some(&code) = self.failing.get(asked.name()) {
            answer.metadata.response_code = code;
            return answer;
        }
        let Some(records) = self.records.get(asked.name()) else {
            answer.metadata.response_code = ResponseCode::NXDomain;
            answer.add_authority(soa());
            return answer;
        };
        for data in records {
            if data.record_type() == asked.query_type() || data.record_type() == RecordType::CNAME {
                answer.add_answer(Record::from_rdata(asked.name().clone(), 300, data.clone()));
            }
        }
        if answer.answers.is_empty() {
            answer.add_authority(soa());
        }
        answer
    }
}

/// An empty answer to a question.
pub(crate) fn response(query: &Message) -> Message {
    let mut answer = Message::response(query.id, query.op_code);
    answer.metadata.recursion_available = true;
    answer.add_query(query.queries[0].clone());
    answer
}

pub(crate) fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).unwrap();
    name.set_fqdn(true);
    name
}

fn soa() -> Record {
    let data = SOA::new(name("ns.example"), name("hostmaster.example"), 1, 3600, 600, 86_400, 60);
    Record::from_rdata(name("example"), 60, RData::SOA(data))
}
