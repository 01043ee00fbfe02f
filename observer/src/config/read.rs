//! From the keys of the files to what they mean.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;

use super::document::{Documents, Section};
use super::{Config, Diagnose, History, Kernel, Kinds, Listen, Metrics, MtaLog, SinkConfig, Socket};
use crate::cli::value;
use crate::dns::Zone;
use crate::filter::Filter;
use crate::format::Format;
use crate::format::rfc5424::DOCUMENTATION_PEN;
use crate::history::Retention;
use crate::label::Label;
use crate::mta;
use crate::mta::follow::Place;
use crate::sink::target::{
    ClientCertificate, FileTarget, HttpProtocol, HttpTarget, JOURNAL_SOCKET, JournaldTarget, NatsTarget, Remote,
    SyslogReceiver, SyslogTarget, Target, Tls,
};
use crate::spool::{Limits, WhenFull};

/// What values can depend on beside the files.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// This host's name.
    pub host: String,
    /// `$CREDENTIALS_DIRECTORY`: where systemd has put credentials.
    pub credentials: Option<PathBuf>,
}

/// Bytes of a spool's segments. Several make up the smallest spool.
const SEGMENT_MAX: u64 = 16 << 20;
const SEGMENTS: u64 = 16;
const SPOOL_MIN: u64 = 1 << 20;

pub(super) fn config(documents: &Documents<'_>, surroundings: &Surroundings) -> Config {
    let root = documents.root();
    let config = Config {
        ports: ports(root.section("watch")),
        kernel: kernel(root.section("kernel")),
        history: history(root.section("history")),
        socket: socket(root.section("socket")),
        metrics: metrics(root.section("metrics")),
        mta: mta(root.section("mta"), surroundings),
        diagnose: diagnose(root.section("diagnose")),
        spool: spool(root.section("spool")),
        sinks: sinks(&root.section("sink"), surroundings),
    };
    root.finish("");
    config
}

fn ports(section: Section<'_, '_>) -> Vec<u16> {
    let mut ports = section.list("ports", value::port).unwrap_or_else(|| vec![25]);
    let mut seen = Vec::new();
    ports.retain(|port| {
        let is_new = !seen.contains(port);
        seen.push(*port);
        is_new
    });
    if ports.is_empty() || ports.len() > observer_common::MAX_PORTS {
        section.object("ports", format!("\"ports\" takes one to {} ports", observer_common::MAX_PORTS));
    }
    section.finish("");
    ports
}

fn kernel(section: Section<'_, '_>) -> Kernel {
    let default = Kernel::default();
    let kernel = Kernel {
        syscall_hooks: section.flag("syscall_hooks", default.syscall_hooks),
        max_in_flight: section.value("max_in_flight", default.max_in_flight, value::table_size),
        max_destinations: section.value("max_destinations", default.max_destinations, value::table_size),
        ring_bytes: section.value("ring_size", default.ring_bytes, value::ring_size),
    };
    section.finish("");
    kernel
}

fn history(section: Section<'_, '_>) -> Option<History> {
    let default = History::default();
    let is_enabled = section.flag("enabled", true);
    let history = History {
        path: section.value("path", default.path, absolute),
        retention: Retention {
            age: section.value("retain_days", default.retention.age, days),
            bytes: section.value("retain_size", default.retention.bytes, value::history_size),
        },
    };
    section.finish("");
    is_enabled.then_some(history)
}

fn socket(section: Section<'_, '_>) -> Option<Socket> {
    let default = Socket::default();
    let is_enabled = section.flag("enabled", true);
    let socket = Socket {
        path: section.value("path", default.path, absolute),
        group: section.value("group", default.group, word),
    };
    section.finish("");
    is_enabled.then_some(socket)
}

fn metrics(section: Section<'_, '_>) -> Option<Metrics> {
    let listen = section.optional("listen", listen);
    let destinations = section.value("destinations", 0, number::<usize, 10_000>);
    section.finish("");
    listen.map(|listen| Metrics { listen, destinations })
}

fn mta(section: Section<'_, '_>, surroundings: &Surroundings) -> Option<MtaLog> {
    let kind = section.optional("kind", choice::<mta::Kind>);
    let log = section.optional("log", log_place);
    let domain_key = section.optional("domain_key_file", |text| secret(text, surroundings));
    let has_own_process_ids = section.flag("own_process_ids", false);
    if kind.is_some() != log.is_some() {
        section.lacks("[mta] needs both \"kind\" and \"log\": whose log it is, and where");
    }
    section.finish("");
    Some(MtaLog { kind: kind?, log: log?, domain_key, has_own_process_ids })
}

fn diagnose(section: Section<'_, '_>) -> Diagnose {
    let diagnose = Diagnose {
        dns: section.flag("dns", false),
        dnsbl: section.list("dnsbl", zone).unwrap_or_default(),
        name_servers: section.list("name_servers", value::name_server).unwrap_or_default(),
        asn_file: section.optional("asn_file", absolute),
    };
    section.finish("");
    diagnose
}

fn zone(text: &str) -> Result<String, String> {
    Zone::new(text, Vec::new()).map(|_| text.to_owned())
}

fn log_place(text: &str) -> Result<Place, String> {
    match text {
        "journal" => Ok(Place::Journal),
        path => absolute(path).map(Place::File).map_err(|error| format!("{error}; or say journal")),
    }
}

fn spool(section: Section<'_, '_>) -> PathBuf {
    let directory = section.value("directory", PathBuf::from(super::SPOOL), absolute);
    section.finish("");
    directory
}

fn sinks(section: &Section<'_, '_>, surroundings: &Surroundings) -> Vec<SinkConfig> {
    section.sections().into_iter().filter_map(|(name, section)| sink(&name, section, surroundings)).collect()
}

fn sink(name: &str, section: Section<'_, '_>, surroundings: &Surroundings) -> Option<SinkConfig> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 64 || !name.chars().all(is_plain) {
        section.lacks("a sink's name has letters, digits, - and _ alone, and names its spool too");
        return None;
    }
    let kind = section.required("type", choice::<Kind>)?;
    let target = target(kind, &section, surroundings);
    let config = SinkConfig {
        name: name.to_owned(),
        format: format(kind, &section),
        enterprise: if kind == Kind::Syslog {
            section.value("enterprise_number", DOCUMENTATION_PEN, number::<u32, { u32::MAX as usize }>)
        } else {
            DOCUMENTATION_PEN
        },
        spool: if kind.is_spooled() { limits(&section) } else { NO_SPOOL },
        kinds: kinds(&section),
        filter: filter(&section),
        // Whatever is wrong with it is a problem already.
        target: target.unwrap_or(Target::Stdout),
    };
    section.finish(&format!(", a sink of type {}", kind.as_str()));
    Some(config)
}

/// What a sink sends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    File,
    Stdout,
    Syslog,
    Journald,
    SplunkHec,
    Elasticsearch,
    Otlp,
    Nats,
}

impl Kind {
    pub(super) const fn as_str(self) -> &'static str {
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

fn format(kind: Kind, section: &Section<'_, '_>) -> Format {
    let formats = kind.formats();
    section.value("format", formats[0], |text| match choice::<Format>(text) {
        Ok(format) if formats.contains(&format) => Ok(format),
        _ => {
            let names: Vec<_> = formats.iter().map(|format| format.name()).collect();
            Err(format!("no format of a {} sink: choose of {}", kind.as_str(), names.join(", ")))
        }
    })
}

fn target(kind: Kind, section: &Section<'_, '_>, surroundings: &Surroundings) -> Option<Target> {
    let timeout = || section.value("timeout", Duration::from_secs(10), value::duration);
    Some(match kind {
        Kind::Stdout => Target::Stdout,
        Kind::File => Target::File(FileTarget {
            rotate_bytes: section.optional("rotate_size", |text| size(text, 4 << 10)),
            keep: section.value("keep", 5, number::<u32, 1_000>),
            path: section.required("path", absolute)?,
        }),
        Kind::Syslog => {
            let timeout = timeout();
            Target::Syslog(SyslogTarget { receiver: receiver(section)?, timeout })
        }
        Kind::Journald => Target::Journald(JournaldTarget {
            socket: section.value("address", PathBuf::from(JOURNAL_SOCKET), absolute),
            timeout: timeout(),
        }),
        Kind::SplunkHec => Target::Http(http(section, surroundings, HttpProtocol::SplunkHec, true)?),
        Kind::Elasticsearch => {
            let index = section.value("index", "logs-observer-default".to_owned(), word);
            Target::Http(http(section, surroundings, HttpProtocol::Bulk { index }, false)?)
        }
        Kind::Otlp => Target::Http(http(section, surroundings, HttpProtocol::Otlp, false)?),
        Kind::Nats => nats(section, surroundings),
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Transport {
    Unix,
    Udp,
    Tcp,
    Tls,
}

fn tls(section: &Section<'_, '_>) -> Tls {
    let chain = section.optional("tls_cert", absolute);
    let key = section.optional("tls_key", absolute);
    let client = match (chain, key) {
        (Some(chain), Some(key)) => Some(ClientCertificate { chain, key }),
        (None, None) => None,
        (Some(_), None) => {
            section.object("tls_cert", "\"tls_cert\" needs \"tls_key\" beside it".to_owned());
            None
        }
        (None, Some(_)) => {
            section.object("tls_key", "\"tls_key\" needs \"tls_cert\" beside it".to_owned());
            None
        }
    };
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
    Some(HttpTarget { protocol, url: section.required("url", url)?, token_file, tls, timeout })
}

fn nats(section: &Section<'_, '_>, surroundings: &Surroundings) -> Target {
    if !cfg!(feature = "nats") {
        section.object("type", "this observer was built without NATS: build it with --features nats".to_owned());
    }
    let servers = section.list("servers", server).unwrap_or_default();
    if servers.is_empty() {
        section.object(
            "servers",
            "\"servers\" takes one server at least, such as nats://nats.example.net:4222".to_owned(),
        );
    }
    // A dot would begin another level.
    let host = surroundings.host.replace(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'), "-");
    let target = NatsTarget {
        subject: section.value("subject", format!("observer.v1.{host}"), subject),
        credentials: section.optional("credentials_file", |text| secret(text, surroundings)),
        tls: tls(section),
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Sent {
    Failures,
    Successes,
    Minutes,
    Alerts,
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

fn choice<T: ValueEnum>(text: &str) -> Result<T, String> {
    T::from_str(text, false).map_err(|_| {
        let names = T::value_variants().iter().filter_map(ValueEnum::to_possible_value);
        let names: Vec<_> = names.map(|value| value.get_name().to_owned()).collect();
        format!("no choice: it is one of {}", names.join(", "))
    })
}

/// A whole number, `MAX` at most.
fn number<T: std::str::FromStr, const MAX: usize>(text: &str) -> Result<T, String> {
    let fits = text.parse::<usize>().is_ok_and(|number| number <= MAX);
    text.parse().ok().filter(|_| fits).ok_or_else(|| format!("no number: give a whole one up to {MAX}"))
}

fn size(text: &str, least: u64) -> Result<u64, String> {
    let size = value::bytes(text).filter(|&size| (least..=1 << 44).contains(&size));
    size.ok_or_else(|| format!("no size: give one from {}K, such as 256M", least >> 10))
}

fn days(text: &str) -> Result<Duration, String> {
    let days = text.parse::<u64>().ok().filter(|days| (1..=36_500).contains(days));
    days.map(|days| Duration::from_hours(24 * days))
        .ok_or_else(|| "no number of days: give one from 1 to 36500".to_owned())
}

fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    if path.is_absolute() { Ok(path.to_owned()) } else { Err("no absolute path: begin it with /".to_owned()) }
}

/// A file that holds a secret: a path, or the name of a systemd credential.
fn secret(text: &str, surroundings: &Surroundings) -> Result<PathBuf, String> {
    if let Ok(path) = absolute(text) {
        return Ok(path);
    }
    let is_name = !text.is_empty() && !text.contains('/') && text != "..";
    match &surroundings.credentials {
        Some(directory) if is_name => Ok(directory.join(text)),
        _ => Err("no absolute path, and no credential: begin it with /, or add LoadCredential= to the unit".to_owned()),
    }
}

fn word(text: &str) -> Result<String, String> {
    let is_word = !text.is_empty() && text.chars().all(|c| !c.is_whitespace() && !c.is_control());
    if is_word { Ok(text.to_owned()) } else { Err("no name: give one without spaces".to_owned()) }
}

fn url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match rest {
        Some(rest) if rest.contains('@') => {
            Err("no URL for here: a password does not belong in it, use \"token_file\"".to_owned())
        }
        Some(rest) if !rest.is_empty() && !rest.starts_with('/') => word(text),
        _ => Err("no URL: give one such as https://siem.example.net:8088/services/collector/event".to_owned()),
    }
}

fn server(text: &str) -> Result<String, String> {
    let is_server = text.starts_with("nats://") || text.starts_with("tls://");
    if is_server { word(text) } else { Err("no server: give one such as nats://nats.example.net:4222".to_owned()) }
}

fn subject(text: &str) -> Result<String, String> {
    let is_level = |level: &str| !level.is_empty() && !level.contains(['*', '>', ' ', '\t']);
    if text.split('.').all(is_level) {
        Ok(text.to_owned())
    } else {
        Err("no subject: give one such as observer.v1.mx1".to_owned())
    }
}

/// `HOST`, `HOST:PORT`, `[V6]:PORT`.
fn remote(text: &str, port: u16) -> Result<Remote, String> {
    let error = || "no address: give one such as siem.example.net:6514 or [2001:db8::1]:6514".to_owned();
    if let Ok(ip) = text.parse::<std::net::IpAddr>() {
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

fn listen(text: &str) -> Result<Listen, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return absolute(path).map(Listen::Unix);
    }
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Ok(Listen::Tcp(address)),
        Ok(_) => Err("no address of this host's own: metrics are served on loopback alone, such as 127.0.0.1:9625; put a proxy before it".to_owned()),
        Err(_) => Err("no address: give one such as unix:/run/observer/metrics.sock or 127.0.0.1:9625".to_owned()),
    }
}
