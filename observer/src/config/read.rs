//! From the keys of the files to what they mean.

mod sink;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use observer_common::MAX_PORTS;
use observer_core::choice::Choice;
use observer_core::mta;

use super::document::{Documents, Section};
use super::{Config, Diagnose, History, Kernel, Listen, Metrics, MtaLog, Socket};
use crate::config::value;
use crate::follow::Place;
use crate::host::dns::Zone;
use crate::store::history::Retention;

/// Bytes of the smallest queue: a second of a busy host.
const QUEUE_MIN: u64 = 1 << 20;

/// What values can depend on beside the files.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// This host's name.
    pub host: String,
    /// `$CREDENTIALS_DIRECTORY`: where systemd has put credentials.
    pub credentials: Option<PathBuf>,
}

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
        sinks: sink::sinks(&root.section("sink"), surroundings),
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
    if section.length("ports") == Some(0) {
        section.object("ports", "\"ports\" is []: name the port of the mail servers, 25, or others".to_owned());
    }
    if ports.len() > MAX_PORTS {
        let count = ports.len();
        section.object(
            "ports",
            format!("\"ports\" has {count} ports: at most {MAX_PORTS} can be watched, leave some out"),
        );
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
        queue_bytes: section.value("queue_size", default.queue_bytes, queue_size),
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
    let kind = section.optional("kind", choice::<mta::MtaKind>);
    let log = section.optional("log", log_place);
    let domain_key = section.optional("domain_key_file", |text| secret(text, surroundings));
    let has_own_process_ids = section.flag("own_process_ids", false);
    // One that is wrong was named all the same.
    for (key, other) in [("kind", "log"), ("log", "kind")] {
        if section.has(key) && !section.has(other) {
            section
                .object(key, format!("\"{key}\" needs \"{other}\" beside it: [mta] says whose log it is, and where"));
        }
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
        path => {
            absolute(path).map(Place::File).map_err(|_| "expected journal, or a path that begins with /".to_owned())
        }
    }
}

fn spool(section: Section<'_, '_>) -> PathBuf {
    let directory = section.value("directory", PathBuf::from(super::SPOOL), absolute);
    section.finish("");
    directory
}

fn choice<T: Choice>(text: &str) -> Result<T, String> {
    T::of(text).ok_or_else(|| {
        let names: Vec<_> = T::ALL.iter().map(|value| value.name()).collect();
        format!("expected one of {}", names.join(", "))
    })
}

/// A whole number, `MAX` at most.
fn number<T: std::str::FromStr, const MAX: usize>(text: &str) -> Result<T, String> {
    let fits = text.parse::<usize>().is_ok_and(|number| number <= MAX);
    text.parse().ok().filter(|_| fits).ok_or_else(|| format!("expected a whole number up to {MAX}"))
}

fn size(text: &str, least: u64) -> Result<u64, String> {
    let size = value::bytes(text).filter(|&size| (least..=1 << 44).contains(&size));
    size.ok_or_else(|| format!("expected a size from {}K, such as 256M", least >> 10))
}

fn queue_size(text: &str) -> Result<u64, String> {
    size(text, QUEUE_MIN)
}

fn days(text: &str) -> Result<Duration, String> {
    let days = text.parse::<u64>().ok().filter(|days| (1..=36_500).contains(days));
    days.map(|days| Duration::from_hours(24 * days))
        .ok_or_else(|| "expected a number of days from 1 to 36500".to_owned())
}

fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    if path.is_absolute() {
        Ok(path.to_owned())
    } else {
        Err("expected an absolute path, which begins with /".to_owned())
    }
}

/// A file that holds a secret: a path, or the name of a systemd credential.
fn secret(text: &str, surroundings: &Surroundings) -> Result<PathBuf, String> {
    if let Ok(path) = absolute(text) {
        return Ok(path);
    }
    let is_name = !text.is_empty() && !text.contains('/') && text != "..";
    match &surroundings.credentials {
        Some(directory) if is_name => Ok(directory.join(text)),
        _ => Err("expected an absolute path, which begins with /, or the name of a credential, for which the unit has LoadCredential=".to_owned()),
    }
}

fn word(text: &str) -> Result<String, String> {
    let is_word = !text.is_empty() && text.chars().all(|c| !c.is_whitespace() && !c.is_control());
    if is_word { Ok(text.to_owned()) } else { Err("expected a name without spaces".to_owned()) }
}

fn listen(text: &str) -> Result<Listen, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return absolute(path).map(Listen::Unix);
    }
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Ok(Listen::Tcp(address)),
        Ok(_) => Err("expected a loopback address, such as 127.0.0.1:9625: metrics are for this host alone; for others, put a proxy before it".to_owned()),
        Err(_) => Err("expected an address, such as unix:/run/observer/metrics.sock or 127.0.0.1:9625".to_owned()),
    }
}
