//! Tenzir: what its own parsers and servers make of what observer sends, in every
//! format and protocol that it knows.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::daemon::{Daemon, Place, free_port, mortal, wait};
use crate::delivery::ALL;
use crate::nats::{Nats, Security};
use crate::reading::{self, Fields};
use crate::traffic;

/// It is half a gigabyte, and starts so.
const UP_WITHIN: Duration = Duration::from_secs(60);
const ARRIVED_WITHIN: Duration = Duration::from_secs(60);
const TOKEN: &str = "b1946ac9-2492-4d23-8f1e-6a9d1f3c7e52";

/// What is sent, and how it is received.
struct Case {
    name: &'static str,
    format: &'static str,
    /// The sink's keys beside `format`; `PORT` is the receiver's, `HERE` the directory.
    sink: &'static str,
    /// Operators of Tenzir's, before those that write.
    pipeline: &'static str,
    /// Reads a line of the same format that observer wrote to a file.
    expected: fn(&str) -> Result<Fields>,
    /// Reads an object that Tenzir wrote.
    found: fn(Value) -> Result<Fields>,
    /// The field that is the record's id.
    id: &'static str,
}

const SYSLOG: &str = "type = 'syslog'\ntransport = 'tcp'\naddress = '127.0.0.1:PORT'\n";

const CASES: [Case; 7] = [
    Case {
        name: "cef",
        format: "cef",
        sink: SYSLOG,
        pipeline: "accept_tcp \"127.0.0.1:PORT\" { read_syslog octet_counting=true }\nthis = message.parse_cef()",
        expected: reading::cef,
        found: reading::object,
        id: "extension.externalId",
    },
    Case {
        name: "leef",
        format: "leef",
        sink: SYSLOG,
        pipeline: "accept_tcp \"127.0.0.1:PORT\" { read_syslog octet_counting=true }\nthis = message.parse_leef()",
        expected: reading::leef,
        found: reading::object,
        id: "attributes.id",
    },
    Case {
        name: "rfc5424",
        format: "rfc5424",
        sink: SYSLOG,
        pipeline: "accept_tcp \"127.0.0.1:PORT\" { read_syslog octet_counting=true }",
        expected: reading::rfc5424,
        found: reading::object,
        id: "structured_data.observer@32473.id",
    },
    Case {
        name: "hec",
        format: "splunk-hec",
        sink: "type = 'splunk-hec'\nurl = 'http://127.0.0.1:PORT/services/collector/event'\ntoken_file = 'HERE/token'\n",
        pipeline: "accept_splunk \"127.0.0.1:PORT\", hec_token=\"TOKEN\"\ndrop receiver",
        expected: reading::hec,
        found: reading::hec_object,
        id: "event.id",
    },
    Case {
        name: "bulk",
        format: "ecs",
        sink: "type = 'elasticsearch'\nurl = 'http://127.0.0.1:PORT/_bulk'\n",
        pipeline: "accept_elasticsearch \"http://127.0.0.1:PORT\"",
        expected: reading::json,
        found: reading::object,
        id: "event.id",
    },
    Case {
        name: "otlp",
        format: "otlp",
        sink: "type = 'otlp'\nurl = 'http://127.0.0.1:PORT/v1/logs'\n",
        pipeline: "accept_otlp \"127.0.0.1:PORT\", transport=\"http\", signals=[\"logs\"]",
        expected: reading::otlp,
        found: reading::otlp_object,
        id: "attributes.log.record.uid",
    },
    Case {
        name: "nats",
        format: "json",
        sink: "type = 'nats'\nservers = ['nats://127.0.0.1:PORT']\n",
        pipeline: "from_nats \"observer.v1.>\", url=\"nats://127.0.0.1:PORT\"\nthis = message.string().parse_json()",
        expected: reading::json,
        found: reading::object,
        id: "id",
    },
];

/// All that observer sends, in seven formats and protocols at once.
pub(crate) fn tenzir_reads_every_event_with_every_field() -> Result<()> {
    let place = Place::new()?;
    place.keep_secret("token", TOKEN)?;
    let ports = CASES.iter().map(|_| free_port()).collect::<Result<Vec<u16>>>()?;
    let (_, nats) = CASES.iter().zip(&ports).find(|(case, _)| case.name == "nats").context("no NATS")?;
    let _nats = Nats::start(&place, *nats, Security::Plain)?;
    let started = CASES.iter().zip(&ports).map(|(case, port)| Tenzir::start(&place, case, *port));
    let _tenzirs = started.collect::<Result<Vec<_>>>()?;
    let here = place.directory().display().to_string();
    let sinks = CASES.iter().zip(&ports).map(|(Case { name, format, sink, .. }, port)| {
        let sink = sink.replace("PORT", &port.to_string()).replace("HERE", &here);
        format!(
            "[sink.{name}]\n{sink}format = '{format}'\n{ALL}\n\
             [sink.{name}-lines]\ntype = 'file'\nformat = '{format}'\npath = '{here}/{name}.lines'\n{ALL}\n"
        )
    });
    place.configure(&sinks.collect::<String>())?;
    let recorded = traffic::record(&place)?;
    let daemon = Daemon::start(&place)?;
    for case in &CASES {
        let count = recorded.records.len();
        wait(ARRIVED_WITHIN, || Ok(found(&place, case)?.len() >= count)).with_context(|| {
            let said = std::fs::read_to_string(place.path(&format!("{}.log", case.name))).unwrap_or_default();
            format!("{}: not all {count} came: {said}\n{}", case.name, daemon.said())
        })?;
    }
    daemon.end()?;
    CASES.iter().try_for_each(|case| compare(&place, case).with_context(|| case.name))?;
    recorded.print("Tenzir, in seven formats and protocols");
    Ok(())
}

/// What Tenzir wrote, by id.
fn found(place: &Place, case: &Case) -> Result<BTreeMap<String, Fields>> {
    let mut found = BTreeMap::new();
    for line in place.lines(&format!("{}.out", case.name))? {
        // The last one may be half written yet.
        let Ok(record) = serde_json::from_str(&line) else { continue };
        let fields = (case.found)(record)?;
        found.insert(id(case, &fields)?, fields);
    }
    Ok(found)
}

fn id(case: &Case, fields: &Fields) -> Result<String> {
    fields.get(case.id).cloned().with_context(|| format!("no {}: {fields:?}", case.id))
}

/// Fails unless every record is there, and nothing else.
fn compare(place: &Place, case: &Case) -> Result<()> {
    let mut found = found(place, case)?;
    for line in place.lines(&format!("{}.lines", case.name))? {
        let expected = (case.expected)(&line)?;
        let found = found.remove(&id(case, &expected)?).with_context(|| format!("it has not {line}"))?;
        let differs = |name: &&String| expected.get(*name) != found.get(*name);
        let name = expected.keys().chain(found.keys()).find(differs);
        let values = name.map(|name| (name, expected.get(name), found.get(name)));
        ensure!(values.is_none(), "{values:?} of {line}");
    }
    ensure!(found.is_empty(), "nobody sent {:?}", found.values().next());
    Ok(())
}

struct Tenzir(Child);

impl Tenzir {
    /// Writes what it reads to `NAME.out`, one object a line, and what it says to
    /// `NAME.log`.
    fn start(place: &Place, case: &Case, port: u16) -> Result<Self> {
        let file = |ending: &str| std::fs::File::create(place.path(&format!("{}.{ending}", case.name)));
        let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/tenzir/lib");
        let version = std::fs::read_dir(&python).ok().and_then(|mut entries| entries.next()?.ok());
        let version = version.context("no Tenzir here: ./x receivers fetches it")?.path();
        let mut command = mortal(Command::new(version.join("site-packages/tenzir/bundled/bin/tenzir")));
        let pipeline = case.pipeline.replace("PORT", &port.to_string()).replace("TOKEN", TOKEN);
        command.arg(format!("{pipeline}\nwrite_ndjson")).current_dir(place.directory());
        command.stdin(Stdio::null()).stdout(file("out")?).stderr(file("log")?);
        let tenzir = Self(command.spawn().context("Tenzir: ./x receivers fetches it")?);
        // Of NATS it is a client, and takes what is there already.
        let is_up = || Ok(TcpStream::connect(("127.0.0.1", port)).is_ok());
        wait(UP_WITHIN, is_up).with_context(|| {
            let said = std::fs::read_to_string(place.path(&format!("{}.log", case.name))).unwrap_or_default();
            format!("{} does not listen: {said}", case.name)
        })?;
        Ok(tenzir)
    }
}

impl Drop for Tenzir {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
