//! Every key of the configuration: what it means, and its default. From this come
//! the commented file and the manual page.

use std::fmt::Write as _;

use clap_mangen::roff::{Roff, bold, roman};
use observer_core::wrap::wrap;

/// A section of the file.
struct Section {
    /// Between the brackets.
    name: &'static str,
    /// What it is about.
    about: &'static str,
    keys: &'static [Key],
}

/// A key, its default as TOML, and its meaning. Of a key that has no default the
/// value is an example.
struct Key {
    name: &'static str,
    value: &'static str,
    about: &'static str,
}

const fn key(name: &'static str, value: &'static str, about: &'static str) -> Key {
    Key { name, value, about }
}

const SECTIONS: &[Section] = &[
    Section {
        name: "watch",
        about: "What is observed.",
        keys: &[key(
            "ports",
            "[25]",
            "Destination ports, at most 8. Mail to other servers uses 25; submission uses 465 and 587, some relays 2525.",
        )],
    },
    Section {
        name: "kernel",
        about: "What is asked of the kernel. A change takes effect at the next start.",
        keys: &[
            key(
                "syscall_hooks",
                "true",
                "Attach the tracepoints on connect() and io_uring where fexit programs cannot be loaded. While they are \
                 attached every system call of this host takes some 50 ns longer; without them connect() calls that send \
                 no SYN are not seen (no route, not permitted).",
            ),
            key(
                "max_in_flight",
                "65536",
                "Attempts that can be followed at the same time. Those beyond are counted as lost.",
            ),
            key(
                "max_destinations",
                "65536",
                "Destinations of which the kernel keeps running counts, and outcomes without an event between two drains.",
            ),
            key(
                "ring_size",
                "\"2M\"",
                "The buffer from the kernel to observer: a power of two. 2M holds some 11,000 events.",
            ),
        ],
    },
    Section {
        name: "history",
        about: "The SQLite file that `observer report` reads.",
        keys: &[
            key("enabled", "true", "Whether attempts are recorded."),
            key(
                "path",
                "\"/var/lib/observer/history.sqlite\"",
                "The file. Its directory is made if it does not exist.",
            ),
            key("retain_days", "30", "What is older is deleted."),
            key("retain_size", "\"1G\"", "The oldest is deleted when the file is larger."),
            key("queue_size", "\"64M\"", "Memory for what waits for the disk, as `queue_size` of a sink."),
        ],
    },
    Section {
        name: "socket",
        about: "Where `observer watch`, `top` and `report --live` read, without root.",
        keys: &[
            key("enabled", "true", "Whether they can."),
            key("path", "\"/run/observer/observer.sock\"", "The unix socket."),
            key("group", "\"observer\"", "Its members may read, and root; nobody else."),
        ],
    },
    Section {
        name: "metrics",
        about: "Metrics for Prometheus, at /metrics. Off unless `listen` says where.",
        keys: &[
            key(
                "listen",
                "\"127.0.0.1:9625\"",
                "A loopback address and port, which every local user can read, or a unix socket for root and the group, \
                 such as \"unix:/run/observer/metrics.sock\". No default.",
            ),
            key(
                "destinations",
                "0",
                "How many destinations get a label of their own: the first that fail, worst first. All others are `other`.",
            ),
        ],
    },
    Section {
        name: "mta",
        about: "The mail server's log, so that an event says which delivery stands behind an attempt: queue id, recipients' \
                domain, MX host, the server's own words; and history what was put off without a connect. Off unless `kind` \
                says whose log it is. Local parts of addresses are never kept. Events reach sinks up to 10 seconds later.",
        keys: &[
            key("kind", "\"postfix\"", "postfix, exim, opensmtpd or kumomta. No default."),
            key(
                "log",
                "\"journal\"",
                "journal, or a file such as /var/log/mail.log, which may be rotated, or have a date in its name as Exim's \
                 (mainlog-%D). Needed with `kind`. The service's user must be allowed to read it: SupplementaryGroups=adm \
                 (files) or systemd-journal in the unit. No default.",
            ),
            key(
                "domain_key_file",
                "\"/etc/observer/domains.key\"",
                "Keep and send domains and host names of the log as keyed hashes only, in its words too: a file with the key, \
                 or the name of a systemd credential. The same key makes the same hashes on every host. Rows that history \
                 has already stay as they are. Default: names as they are.",
            ),
            key(
                "own_process_ids",
                "false",
                "The mail server runs in a container with process ids of its own, which are then not compared.",
            ),
        ],
    },
    Section {
        name: "diagnose",
        about: "What `observer diagnose` does unasked; its options of the same names do it once. It asks nobody anything else.",
        keys: &[
            key("dns", "false", "Ask DNS whenever a destination is named."),
            key(
                "dnsbl",
                "[]",
                "Lists to ask about this host's addresses when DNS is asked, such as a DNSBL that its terms let you ask.",
            ),
            key("name_servers", "[]", "Name servers to ask, ADDR or ADDR:PORT. Default: those of /etc/resolv.conf."),
            key(
                "asn_file",
                "\"/var/lib/GeoIP/GeoLite2-ASN.mmdb\"",
                "A MaxMind DB file that names the operators of the destinations' networks. No default.",
            ),
        ],
    },
    Section {
        name: "spool",
        about: "What waits for sinks whose receiver is away or slow.",
        keys: &[key("directory", "\"/var/lib/observer/spool\"", "A directory for each sink is made below it.")],
    },
];

const SINK: Section = Section {
    name: "sink.NAME",
    about: "Where events are sent. Any number of sinks, each with a name of letters, digits, - and _. Each gets what it asks \
            for, in its own format; a slow or dead one holds up no other.",
    keys: &[
        key("type", "\"syslog\"", "file, stdout, syslog, journald, splunk-hec, elasticsearch, otlp or nats."),
        key(
            "format",
            "\"rfc5424\"",
            "How records are written: json, ecs, ocsf, cef, leef, rfc5424, gelf, splunk-hec, otlp or text, as far as the \
             type takes it. Default: rfc5424 for syslog, ecs for elasticsearch, splunk-hec and otlp for their own, else json.",
        ),
        key(
            "send",
            "[\"failures\", \"alerts\"]",
            "Kinds of records: failures and successes (an event for each attempt), minutes (counts for each minute, exact \
             also when events were lost), alerts (how far failures reach, and what ails the sinks).",
        ),
        key("labels", "[\"refused\", \"timeout\"]", "Only events with one of these labels. Default: all."),
        key("destinations", "[\"203.0.113.0/24\"]", "Only events to these addresses or prefixes. Default: all."),
        key("ports", "[25]", "Only events to these ports. Default: all that are watched."),
        key("comm", "[\"smtp\"]", "Only events of processes of these names. Default: all."),
        key("uid", "[89]", "Only events of these numeric user ids. Default: all."),
        key(
            "cgroup",
            "[\"/system.slice/postfix.service\"]",
            "Only events of processes in these cgroups or below. Default: all.",
        ),
        key(
            "queue_size",
            "\"64M\"",
            "Memory for records that wait for the sink's disk, some 800 bytes an event: attempts a second times the seconds \
             that a disk may stand still times 800. Sinks and history share the events that wait for several of them. What \
             finds no room is dropped, counted and told.",
        ),
    ],
};

const SPOOLED: Section = Section {
    name: "sink.NAME",
    about: "All sinks but those of type file and stdout have a spool: what the receiver has not taken waits on disk, also over \
            a restart, and is delivered in order, at least once; ids tell what came twice. What a receiver refuses for good \
            goes to a dead-letter file beside the spool.",
    keys: &[
        key("spool_size", "\"256M\"", "Bytes that may wait."),
        key(
            "spool_full",
            "\"drop-oldest\"",
            "What goes when it is full: drop-oldest or drop-newest. It is counted and told.",
        ),
        key("timeout", "\"10s\"", "For connecting, and for one write or request. 30s for HTTP."),
    ],
};

const PLAIN: Key = key(
    "allow_plain_token",
    "false",
    "Send the secret also where it is not encrypted and leaves this host: by http:// or nats:// to anything but loopback.",
);

/// What only sinks of one type have.
const TYPES: &[(&str, Section)] = &[
    (
        "file",
        Section {
            name: "sink.archive",
            about: "A file, rotated by renaming. After SIGHUP it is opened anew, for those who rotate it themselves.",
            keys: &[
                key("path", "\"/var/log/observer/events.json\"", "The file. Needed."),
                key("rotate_size", "\"100M\"", "Size at which it becomes PATH.1. Default: never."),
                key("keep", "5", "Rotated files that are kept."),
            ],
        },
    ),
    (
        "stdout",
        Section { name: "sink.console", about: "Standard output, which systemd gives to the journal.", keys: &[] },
    ),
    (
        "syslog",
        Section {
            name: "sink.syslog",
            about: "A syslog receiver, RFC 5424: by a unix socket, UDP (RFC 5426), TCP with octet counting (RFC 6587), or TLS \
                    (RFC 5425). UDP confirms nothing: what is lost on the way is lost.",
            keys: &[
                key("transport", "\"tls\"", "unix, udp, tcp or tls. Default: unix."),
                key(
                    "address",
                    "\"siem.example.net:6514\"",
                    "Host and port; default ports 514, 601, 6514. For unix a path, default /dev/log.",
                ),
                key(
                    "enterprise_number",
                    "32473",
                    "Your private enterprise number, for structured data. The default is for documentation.",
                ),
                key("tls_ca", "\"/etc/observer/ca.pem\"", "Certificate authorities, PEM. Default: those of this host."),
                key(
                    "tls_cert",
                    "\"/etc/observer/client.pem\"",
                    "This client's certificate, PEM, if the receiver asks for one.",
                ),
                key("tls_key", "\"/etc/observer/client.key\"", "And its private key."),
                key(
                    "tls_server_name",
                    "\"siem.example.net\"",
                    "The name in the receiver's certificate. Default: the host of the address.",
                ),
            ],
        },
    ),
    (
        "journald",
        Section {
            name: "sink.journal",
            about: "The journal of this host, with a field OBSERVER_* for each member.",
            keys: &[key("address", "\"/run/systemd/journal/socket\"", "The socket of its native protocol.")],
        },
    ),
    (
        "splunk-hec",
        Section {
            name: "sink.splunk",
            about: "Splunk's HTTP Event Collector. The keys tls_* are as for syslog.",
            keys: &[
                key(
                    "url",
                    "\"https://splunk.example.net:8088/services/collector/event\"",
                    "Its event endpoint. Needed.",
                ),
                key(
                    "token_file",
                    "\"/etc/observer/hec.token\"",
                    "File with the token; or the name of a systemd credential. Needed.",
                ),
                PLAIN,
            ],
        },
    ),
    (
        "elasticsearch",
        Section {
            name: "sink.elastic",
            about: "Elasticsearch or OpenSearch, by _bulk. The keys tls_* are as for syslog.",
            keys: &[
                key("url", "\"https://elastic.example.net:9200/_bulk\"", "The _bulk endpoint. Needed."),
                key("index", "\"logs-observer-default\"", "The index or data stream."),
                key(
                    "token_file",
                    "\"/etc/observer/elastic.token\"",
                    "File with an API key; or the name of a systemd credential.",
                ),
                PLAIN,
            ],
        },
    ),
    (
        "otlp",
        Section {
            name: "sink.otel",
            about: "OpenTelemetry logs over HTTP. The keys tls_* are as for syslog.",
            keys: &[
                key("url", "\"http://127.0.0.1:4318/v1/logs\"", "The logs endpoint. Needed."),
                key(
                    "token_file",
                    "\"/etc/observer/otel.token\"",
                    "File with a bearer token; or the name of a systemd credential.",
                ),
                PLAIN,
            ],
        },
    ),
    (
        "nats",
        Section {
            name: "sink.fleet",
            about: "NATS JetStream, for a fleet of hosts: acknowledged publishes, subjects SUBJECT.LABEL, the event's id as \
                    Nats-Msg-Id. The keys tls_* are as for syslog.",
            keys: &[
                key("servers", "[\"tls://nats.example.net:4222\"]", "Servers of one cluster. Needed."),
                key(
                    "subject",
                    "\"observer.v1.mx1\"",
                    "What subjects begin with. Default: observer.v1 and this host's name.",
                ),
                key(
                    "credentials_file",
                    "\"/etc/observer/nats.credentials\"",
                    "File with USER:PASSWORD or a token; or the name of a systemd credential.",
                ),
                PLAIN,
            ],
        },
    ),
];

/// Width of the file's comments.
const WIDTH: usize = 100;

/// The commented file: every key with its meaning. Uncommented it means the same,
/// but for the examples.
pub fn default_file() -> String {
    let mut file = String::from(
        "# What `observer run` does, as TOML. Every key is here with its default, commented out.\n\
         # The files *.toml of the directory conf.d beside this one are read as well; a key there is stronger.\n\
         # Check it with: observer config check. SIGHUP reads it again. See observer.toml(5).\n",
    );
    for section in SECTIONS {
        let _ = write!(file, "\n{}#[{}]\n", wrapped(section.about), section.name);
        keys(section.keys, &mut file);
    }
    file.push('\n');
    file.push_str(&wrapped(SINK.about));
    file.push_str("# Every sink can have these keys:\n");
    for key in SINK.keys.iter().skip(1) {
        file.push_str(&wrapped(&format!("{} = {}: {}", key.name, key.value, key.about)));
    }
    file.push_str("#\n");
    file.push_str(&wrapped(SPOOLED.about));
    for key in SPOOLED.keys {
        file.push_str(&wrapped(&format!("{} = {}: {}", key.name, key.value, key.about)));
    }
    file.push_str("#\n# An example of each type:\n");
    for (kind, section) in TYPES {
        let _ = write!(file, "\n{}#[{}]\n#type = \"{kind}\"\n", wrapped(section.about), section.name);
        keys(section.keys, &mut file);
    }
    file
}

fn keys(keys: &[Key], file: &mut String) {
    for key in keys {
        let _ = writeln!(file, "{}#{} = {}", wrapped(key.about), key.name, key.value);
    }
}

/// As comment lines.
fn wrapped(text: &str) -> String {
    wrap(text, WIDTH, "# ", "# ") + "\n"
}

/// An empty argument of a macro, which the library would leave out: the page's date, since none is known.
pub(crate) const NOTHING: &str = "\"\"";

/// The manual page observer.toml(5), in roff.
///
/// # Errors
/// Those of writing to memory: none.
pub fn man() -> std::io::Result<Vec<u8>> {
    let mut roff = Roff::new();
    let source = concat!("observer ", env!("CARGO_PKG_VERSION"));
    roff.control("TH", ["observer.toml", "5", NOTHING, source, "File formats"]);
    roff.control("SH", ["NAME"]).text([roman("observer.toml - configuration of observer run")]);
    roff.control("SH", ["SYNOPSIS"]);
    roff.text([roman("/etc/observer/observer.toml")]).control("br", []).text([roman("/etc/observer/conf.d/*.toml")]);
    roff.control("SH", ["DESCRIPTION"]).text([roman(
        "What observer run does, as TOML. All keys are optional but those that are needed. The files of conf.d are read in \
         the order of their names, and a key in a later one is stronger. Keys that are not known are errors; observer \
         config check names all that is wrong, each with its place and its cure. SIGHUP reads the files again: sinks change \
         without a lost event, all else takes effect at the next start. If something is wrong then, the old configuration \
         stays.",
    )]);
    let sections = SECTIONS.iter().chain([&SINK, &SPOOLED]).map(|section| (format!("[{}]", section.name), section));
    // Within a macro's argument roff takes a plain quote for the argument's end.
    let types = TYPES
        .iter()
        .map(|(kind, section)| (format!(r"[sink.NAME], type = \(dq{}\(dq", kind.replace('-', r"\-")), section));
    for (title, section) in sections.chain(types) {
        roff.control("SH", [title.as_str()]).text([roman(section.about)]);
        for key in section.keys {
            roff.control("TP", []).text([bold(key.name), roman(" = "), roman(key.value)]).text([roman(key.about)]);
        }
    }
    roff.control("SH", ["EXAMPLES"]).control("nf", []);
    for line in EXAMPLE.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    roff.control("SH", ["SEE ALSO"]).text([roman("observer(8)")]);
    let mut page = Vec::new();
    roff.to_writer(&mut page)?;
    Ok(page)
}

const EXAMPLE: &str = "[watch]
ports = [25, 587]

[sink.siem]
type = \"syslog\"
transport = \"tls\"
address = \"siem.example.net\"
format = \"cef\"
send = [\"failures\", \"alerts\"]
";

/// The names of the keys of each section, as its brackets have it.
pub(super) fn names() -> Vec<(&'static str, Vec<&'static str>)> {
    let all = SECTIONS.iter().chain(std::iter::once(&SINK));
    all.map(|section| (section.name, section.keys.iter().map(|key| key.name).collect())).collect()
}

/// The same; of sinks, those of a type and those that all have.
#[cfg(test)]
pub(super) fn names_by_type() -> Vec<(&'static str, Vec<&'static str>)> {
    let names = |section: &'static Section| section.keys.iter().map(|key| key.name);
    let mut all: Vec<_> = SECTIONS.iter().map(|section| (section.name, names(section).collect())).collect();
    all.extend(TYPES.iter().map(|(kind, section)| {
        let own = names(section).chain(SINK.keys.iter().map(|key| key.name));
        (*kind, own.collect())
    }));
    all
}
