//! From the keys of a sink's section to what it sends, and where to.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use observer_core::choice::Choice;
use observer_core::filter::Filter;
use observer_core::format::Format;
use observer_core::format::rfc5424::DOCUMENTATION_PEN;
use observer_core::label::Label;
use ureq::http::Uri;

use super::super::document::Section;
use super::super::{Kinds, QUEUE, SinkConfig};
use super::{Surroundings, absolute, choice, number, queue_size, secret, size, word};
use crate::config::target::{
    ClientCertificate, FileTarget, HttpProtocol, HttpTarget, JOURNAL_SOCKET, JournaldTarget, NatsTarget, Remote,
    SyslogReceiver, SyslogTarget, Target, Tls,
};
use crate::config::value;
use crate::store::spool::{Limits, WhenFull};

/// Bytes of a spool's segments. Several make up the smallest spool.
const SEGMENT_MAX: u64 = 16 << 20;
const SEGMENTS: u64 = 16;
const SPOOL_MIN: u64 = 1 << 20;

pub(super) fn sinks(section: &Section<'_, '_>, surroundings: &Surroundings) -> Vec<SinkConfig> {
    section.sections().into_iter().filter_map(|(name, section)| sink(&name, section, surroundings)).collect()
}

fn sink(name: &str, section: Section<'_, '_>, surroundings: &Surroundings) -> Option<SinkConfig> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 64 || !name.chars().all(is_plain) {
        section.lacks("a sink's name has letters, digits, - and _ alone, and names its spool too");
        return None;
    }
    let kind = section.required("type", choice::<SinkKind>)?;
    let target = target(kind, &section, surroundings);
    let config = SinkConfig {
        name: name.to_owned(),
        format: format(kind, &section),
        enterprise: if kind == SinkKind::Syslog {
            section.value("enterprise_number", DOCUMENTATION_PEN, number::<u32, { u32::MAX as usize }>)
        } else {
            DOCUMENTATION_PEN
        },
        queue_bytes: section.value("queue_size", QUEUE, queue_size),
        spool: if kind.is_spooled() { limits(&section) } else { NO_SPOOL },
        kinds: kinds(&section),
        filter: filter(&section),
        // Whatever is wrong with it is a problem already.
        target: target.unwrap_or(Target::Stdout),
    };
    section.finish(&format!(", a sink of type {}", kind.name()));
    Some(config)
}

/// What a sink sends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SinkKind {
    File,
    Stdout,
    Syslog,
    Journald,
    SplunkHec,
    Elasticsearch,
    Otlp,
    Nats,
}

impl Choice for SinkKind {
    const ALL: &'static [Self] = &[
        Self::File,
        Self::Stdout,
        Self::Syslog,
        Self::Journald,
        Self::SplunkHec,
        Self::Elasticsearch,
        Self::Otlp,
        Self::Nats,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Stdout => "stdout",
            Self::Syslog => "syslog",
            Self::Journald => "journald",
            Self::SplunkHec => "splunk-hec",
            Self::Elasticsearch => "elasticsearch",
            Self::Otlp => "otlp",
            Self::Nats => "nats",
        }
    }
}

impl SinkKind {
    const fn is_spooled(self) -> bool {
        !matches!(self, Self::File | Self::Stdout)
    }

    /// The formats that its receivers understand, the default first.
    const fn formats(self) -> &'static [Format] {
        use Format::{Cef, Ecs, Gelf, Json, Leef, Ocsf, Otlp, Rfc5424, SplunkHec, Text};
        match self {
            Self::File | Self::Stdout => &[Json, Text, Ecs, Ocsf, Cef, Leef, Rfc5424, Gelf, SplunkHec, Otlp],
            Self::Syslog => &[Rfc5424, Json, Ecs, Ocsf, Cef, Leef, Text],
            Self::Journald => &[Json],
            Self::SplunkHec => &[SplunkHec],
            Self::Elasticsearch => &[Ecs, Ocsf, Json],
            Self::Otlp => &[Otlp],
            Self::Nats => &[Json, Ecs, Ocsf, Gelf],
        }
    }
}

fn format(kind: SinkKind, section: &Section<'_, '_>) -> Format {
    let formats = kind.formats();
    section.value("format", formats[0], |text| match choice::<Format>(text) {
        Ok(format) if formats.contains(&format) => Ok(format),
        _ => {
            let names: Vec<_> = formats.iter().map(|format| format.name()).collect();
            Err(format!("expected a format of a {} sink: one of {}", kind.name(), names.join(", ")))
        }
    })
}

fn target(kind: SinkKind, section: &Section<'_, '_>, surroundings: &Surroundings) -> Option<Target> {
    let timeout = || section.value("timeout", Duration::from_secs(10), value::duration);
    Some(match kind {
        SinkKind::Stdout => Target::Stdout,
        SinkKind::File => Target::File(FileTarget {
            rotate_bytes: section.optional("rotate_size", |text| size(text, 4 << 10)),
            keep: section.value("keep", 5, number::<u32, 1_000>),
            path: section.required("path", absolute)?,
        }),
        SinkKind::Syslog => {
            let timeout = timeout();
            Target::Syslog(SyslogTarget { receiver: receiver(section)?, timeout })
        }
        SinkKind::Journald => Target::Journald(JournaldTarget {
            socket: section.value("address", PathBuf::from(JOURNAL_SOCKET), absolute),
            timeout: timeout(),
        }),
        SinkKind::SplunkHec => Target::Http(http(section, surroundings, HttpProtocol::SplunkHec, true)?),
        SinkKind::Elasticsearch => {
            let index = section.value("index", "logs-observer-default".to_owned(), index);
            Target::Http(http(section, surroundings, HttpProtocol::Bulk { index }, false)?)
        }
        SinkKind::Otlp => Target::Http(http(section, surroundings, HttpProtocol::Otlp, false)?),
        SinkKind::Nats => nats(section, surroundings),
    })
}

fn receiver(section: &Section<'_, '_>) -> Option<SyslogReceiver> {
    let transport = section.value("transport", Transport::Unix, choice::<Transport>);
    let remote = |port: u16| section.required("address", move |text| remote(text, port));
    Some(match transport {
        Transport::Unix => SyslogReceiver::Unix(section.value("address", PathBuf::from("/dev/log"), absolute)),
        Transport::Udp => SyslogReceiver::Udp(remote(514)?),
        Transport::Tcp => SyslogReceiver::Tcp(remote(601)?),
        Transport::Tls => {
            let tls = tls(section);
            SyslogReceiver::Tls(remote(6514)?, tls)
        }
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Unix,
    Udp,
    Tcp,
    Tls,
}

impl Choice for Transport {
    const ALL: &'static [Self] = &[Self::Unix, Self::Udp, Self::Tcp, Self::Tls];

    fn name(self) -> &'static str {
        match self {
            Self::Unix => "unix",
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

fn tls(section: &Section<'_, '_>) -> Tls {
    let chain = section.optional("tls_cert", absolute);
    let key = section.optional("tls_key", absolute);
    for (one, other) in [("tls_cert", "tls_key"), ("tls_key", "tls_cert")] {
        if section.has(one) && !section.has(other) {
            section.object(one, format!("\"{one}\" needs \"{other}\" beside it"));
        }
    }
    let client = chain.zip(key).map(|(chain, key)| ClientCertificate { chain, key });
    Tls { ca: section.optional("tls_ca", absolute), client, server_name: section.optional("tls_server_name", word) }
}

fn http(
    section: &Section<'_, '_>,
    surroundings: &Surroundings,
    protocol: HttpProtocol,
    needs_token: bool,
) -> Option<HttpTarget> {
    let secret = |text: &str| secret(text, surroundings);
    let token_file =
        if needs_token { section.required("token_file", secret) } else { section.optional("token_file", secret) };
    let timeout = section.value("timeout", Duration::from_secs(30), value::duration);
    let tls = tls(section);
    let may_be_plain = section.flag(ALLOW_PLAIN, false);
    let url = section.required("url", url)?;
    if token_file.is_some() && !may_be_plain && is_plain_to_others(&url) {
        section.object("url", plain("token", "url", &url, "https://"));
    }
    Some(HttpTarget { protocol, url, token_file, tls, timeout })
}

/// The key by which a secret may cross a network in clear.
const ALLOW_PLAIN: &str = "allow_plain_token";

fn plain(secret: &str, key: &str, url: &str, instead: &str) -> String {
    format!(
        "\"{key}\" would send the {secret} unencrypted over the network, to {url}: use {instead}, or set {ALLOW_PLAIN} = true"
    )
}

/// True where who listens on the network reads along: not encrypted, and to another host.
fn is_plain_to_others(url: &str) -> bool {
    let is_encrypted = ["https://", "tls://"].iter().any(|scheme| url.starts_with(scheme));
    let uri = url.parse::<Uri>().ok();
    let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    // RFC 6761, 6.3: never another host.
    let is_local = address.map_or(host.eq_ignore_ascii_case("localhost"), |ip| ip.to_canonical().is_loopback());
    !is_encrypted && !is_local
}

fn nats(section: &Section<'_, '_>, surroundings: &Surroundings) -> Target {
    if !cfg!(feature = "nats") {
        section.object("type", "this observer was built without NATS: build it with --features nats".to_owned());
    }
    let servers = section.list("servers", server).unwrap_or_default();
    if section.length("servers").is_none_or(|length| length == 0) {
        section.object(
            "servers",
            "\"servers\" takes one server at least, such as nats://nats.example.net:4222".to_owned(),
        );
    }
    // A dot would begin another level.
    let host = surroundings.host.replace(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'), "-");
    let may_be_plain = section.flag(ALLOW_PLAIN, false);
    let credentials = section.optional("credentials_file", |text| secret(text, surroundings));
    let tls = tls(section);
    // With a key tls_* the transport requires TLS of every server.
    let is_plain = |server: &&String| tls == Tls::default() && is_plain_to_others(server);
    if let Some(server) = servers.iter().find(is_plain)
        && credentials.is_some()
        && !may_be_plain
    {
        section.object("servers", plain("credentials", "servers", server, "tls://"));
    }
    let target = NatsTarget {
        subject: section.value("subject", format!("observer.v1.{host}"), subject),
        credentials,
        tls,
        timeout: section.value("timeout", Duration::from_secs(10), value::duration),
        servers,
    };
    Target::Nats(target)
}

fn limits(section: &Section<'_, '_>) -> Limits {
    let bytes = section.value("spool_size", 256 << 20, |text| size(text, SPOOL_MIN));
    let when_full = section.value("spool_full", WhenFull::DropOldest, choice::<WhenFull>);
    Limits { bytes, segment_bytes: (bytes / SEGMENTS).min(SEGMENT_MAX), when_full }
}

const NO_SPOOL: Limits = Limits { bytes: 0, segment_bytes: 0, when_full: WhenFull::DropOldest };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Failures,
    Successes,
    Minutes,
    Alerts,
}

impl Choice for Sent {
    const ALL: &'static [Self] = &[Self::Failures, Self::Successes, Self::Minutes, Self::Alerts];

    fn name(self) -> &'static str {
        match self {
            Self::Failures => "failures",
            Self::Successes => "successes",
            Self::Minutes => "minutes",
            Self::Alerts => "alerts",
        }
    }
}

fn kinds(section: &Section<'_, '_>) -> Kinds {
    let sent = section.list("send", choice::<Sent>).unwrap_or_else(|| vec![Sent::Failures, Sent::Alerts]);
    let has = |kind| sent.contains(&kind);
    Kinds {
        failures: has(Sent::Failures),
        successes: has(Sent::Successes),
        minutes: has(Sent::Minutes),
        alerts: has(Sent::Alerts),
    }
}

fn filter(section: &Section<'_, '_>) -> Filter {
    section.remark("destinations", value::host_bits);
    section.remark("comm", value::cut_name);
    section.remark("cgroup", value::relative_cgroup);
    Filter {
        labels: section.list("labels", choice::<Label>).unwrap_or_default(),
        destinations: section.list("destinations", value::destination).unwrap_or_default(),
        ports: section.list("ports", value::port).unwrap_or_default(),
        pids: Vec::new(),
        comms: section.list("comm", word).unwrap_or_default(),
        uids: section.list("uid", number::<u32, { u32::MAX as usize }>).unwrap_or_default(),
        cgroups: section.list("cgroup", value::cgroup).unwrap_or_default(),
        // Kinds decide about those.
        successes: true,
    }
}

/// What Elasticsearch and OpenSearch take for the name of an index or a data stream.
fn index(text: &str) -> Result<String, String> {
    const FORBIDDEN: [char; 12] = ['\\', '/', '*', '?', '"', '<', '>', '|', ' ', ',', '#', ':'];
    const BYTES_MAX: usize = 255;
    let is_taken = (1..=BYTES_MAX).contains(&text.len())
        && ![".", ".."].contains(&text)
        && !text.starts_with(['-', '_', '+'])
        && !text.contains(FORBIDDEN)
        && text.chars().all(|c| c.to_lowercase().eq([c]) && !c.is_control() && !c.is_whitespace());
    let error = "expected the name of an index, such as logs-observer-default: in lower case, and none of \\ / * ? \" < > | , # : in it";
    if is_taken { Ok(text.to_owned()) } else { Err(error.to_owned()) }
}

fn url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match rest {
        Some(rest) if rest.contains('@') => {
            Err("expected a URL without a password, which \"token_file\" is for".to_owned())
        }
        Some(rest) if !rest.is_empty() && !rest.starts_with('/') => word(text),
        _ => Err("expected a URL, such as https://siem.example.net:8088/services/collector/event".to_owned()),
    }
}

fn server(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("nats://").or_else(|| text.strip_prefix("tls://"));
    let has_host =
        |rest: &str| rest.rsplit('@').next().is_some_and(|host| !host.is_empty() && !host.starts_with([':', '/']));
    if rest.is_some_and(has_host) {
        word(text)
    } else {
        Err("expected a server, such as nats://nats.example.net:4222".to_owned())
    }
}

fn subject(text: &str) -> Result<String, String> {
    let is_level = |level: &str| !level.is_empty() && !level.contains(['*', '>', ' ', '\t']);
    if text.split('.').all(is_level) {
        Ok(text.to_owned())
    } else {
        Err("expected a subject, such as observer.v1.mx1".to_owned())
    }
}

/// `HOST`, `HOST:PORT`, `[V6]:PORT`.
fn remote(text: &str, port: u16) -> Result<Remote, String> {
    let error = || "expected an address, such as siem.example.net:6514 or [2001:db8::1]:6514".to_owned();
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(Remote { host: ip.to_string(), port });
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(Remote { host: address.ip().to_string(), port: address.port() });
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, value::port(port).map_err(|_| error())?),
        None => (text, port),
    };
    let is_name =
        !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_');
    if is_name { Ok(Remote { host: host.to_owned(), port }) } else { Err(error()) }
}
