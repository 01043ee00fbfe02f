//! Where a sink's messages go.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A kind of receiver, with what is needed to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// A file.
    File(FileTarget),
    /// A syslog receiver.
    Syslog(SyslogTarget),
    /// The journal of this host.
    Journald(JournaldTarget),
    /// An HTTP endpoint.
    Http(HttpTarget),
    /// NATS JetStream. Needs the feature `nats`.
    Nats(NatsTarget),
}

/// A file that is rotated by renaming: `PATH`, `PATH.1`, `PATH.2`...
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileTarget {
    /// The file that is written to.
    pub path: PathBuf,
    /// Size in bytes at which the file is rotated; `None`: never, somebody else
    /// renames it and sends SIGHUP.
    pub rotate_bytes: Option<u64>,
    /// Rotated files that are kept.
    pub keep: u32,
}

/// A syslog receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyslogTarget {
    /// Where it listens.
    pub receiver: SyslogReceiver,
    /// For connecting and for writing.
    pub timeout: Duration,
}

/// Where a syslog receiver listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyslogReceiver {
    /// A datagram socket, such as `/dev/log`.
    Unix(PathBuf),
    /// RFC 5426.
    Udp(Remote),
    /// RFC 6587 with octet counting.
    Tcp(Remote),
    /// RFC 5425.
    Tls(Remote, Tls),
}

/// A host and a port. The name is looked up at each connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// A name or an address, IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// How TLS proves who is who.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// PEM file of certificate authorities; `None`: those of this host.
    pub ca: Option<PathBuf>,
    /// This client's certificate chain and key, in PEM files.
    pub client: Option<ClientCertificate>,
    /// The name that the server's certificate must be for; `None`: the host.
    pub server_name: Option<String>,
}

/// What this client shows of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// PEM file of the certificate and those that lead to its authority.
    pub chain: PathBuf,
    /// PEM file of its private key.
    pub key: PathBuf,
}

/// The journal of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournaldTarget {
    /// The socket of its native protocol.
    pub socket: PathBuf,
    /// For writing.
    pub timeout: Duration,
}

/// Where journald listens for its native protocol.
pub const JOURNAL_SOCKET: &str = "/run/systemd/journal/socket";

/// An HTTP endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpTarget {
    /// What is spoken there.
    pub protocol: HttpProtocol,
    /// `http://` or `https://`, with the path that is posted to.
    pub url: String,
    /// File whose first line is the token: for HEC after `Splunk `, for
    /// Elasticsearch after `ApiKey `, for OTLP after `Bearer `.
    pub token_file: Option<PathBuf>,
    /// For `https`.
    pub tls: Tls,
    /// For one request, from connecting to the end of the answer.
    pub timeout: Duration,
}

/// What an HTTP endpoint speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpProtocol {
    /// Splunk's HTTP Event Collector, `/services/collector/event`.
    SplunkHec,
    /// `_bulk` of Elasticsearch or OpenSearch, into this index or data stream.
    Bulk {
        /// The index or data stream.
        index: String,
    },
    /// OTLP logs over HTTP, `/v1/logs`, as JSON.
    Otlp,
}

/// A stream of NATS JetStream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatsTarget {
    /// Servers of one cluster, `nats://HOST:PORT` or `tls://HOST:PORT`.
    pub servers: Vec<String>,
    /// What every subject begins with, such as `observer.v1.mx1`; after it come a
    /// dot, and the label of an event or the kind of another record.
    pub subject: String,
    /// File whose first line is `USER:PASSWORD`, or a token.
    pub credentials: Option<PathBuf>,
    /// For `tls://`, and for servers that ask for it.
    pub tls: Tls,
    /// For connecting, and for the acknowledgements of one batch.
    pub timeout: Duration,
}

impl NatsTarget {
    /// Whether TLS is required of every server.
    pub fn uses_tls(&self) -> bool {
        self.tls != Tls::default() || self.servers.iter().any(|server| server.starts_with("tls://"))
    }
}

impl Target {
    /// The kind of receiver, as the configuration names it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::File(_) => "file",
            Self::Syslog(_) => "syslog",
            Self::Journald(_) => "journald",
            Self::Http(HttpTarget { protocol: HttpProtocol::SplunkHec, .. }) => "splunk-hec",
            Self::Http(HttpTarget { protocol: HttpProtocol::Bulk { .. }, .. }) => "elasticsearch",
            Self::Http(HttpTarget { protocol: HttpProtocol::Otlp, .. }) => "otlp",
            Self::Nats(_) => "nats",
        }
    }

    /// Files that are read whenever a connection is made, each with its key.
    pub fn named_files(&self) -> Vec<(&'static str, &Path)> {
        let tls = self.tls();
        let ca = tls.and_then(|tls| tls.ca.as_deref()).map(|ca| ("tls_ca", ca));
        let chain = tls.and_then(|tls| tls.client.as_ref()).map(|client| ("tls_cert", client.chain.as_path()));
        ca.into_iter().chain(chain).chain(self.named_secrets()).collect()
    }

    /// Those of them that nobody else may read.
    pub fn named_secrets(&self) -> Vec<(&'static str, &Path)> {
        let key = self.tls().and_then(|tls| tls.client.as_ref()).map(|client| ("tls_key", client.key.as_path()));
        let secret = match self {
            Self::Http(http) => http.token_file.as_deref().map(|file| ("token_file", file)),
            Self::Nats(nats) => nats.credentials.as_deref().map(|file| ("credentials_file", file)),
            _ => None,
        };
        key.into_iter().chain(secret).collect()
    }

    fn tls(&self) -> Option<&Tls> {
        match self {
            Self::Syslog(SyslogTarget { receiver: SyslogReceiver::Tls(_, tls), .. }) => Some(tls),
            Self::Http(http) => Some(&http.tls),
            Self::Nats(nats) => Some(&nats.tls),
            _ => None,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => write!(out, "standard output"),
            Self::File(file) => write!(out, "{}", file.path.display()),
            Self::Syslog(syslog) => match &syslog.receiver {
                SyslogReceiver::Unix(path) => write!(out, "syslog at {}", path.display()),
                SyslogReceiver::Udp(remote) => write!(out, "syslog at {remote} by UDP"),
                SyslogReceiver::Tcp(remote) => write!(out, "syslog at {remote} by TCP"),
                SyslogReceiver::Tls(remote, _) => write!(out, "syslog at {remote} by TLS"),
            },
            Self::Journald(journald) => write!(out, "the journal at {}", journald.socket.display()),
            Self::Http(http) => write!(out, "{}", http.url),
            Self::Nats(nats) => write!(out, "{} below {}", nats.servers.join(", "), nats.subject),
        }
    }
}
