//! Configurations that a person might write: every documented key, right and wrong values of it.

use std::fmt::Write as _;

/// Makes one configuration; the same seed, the same one. In its text `DIR` stands for a directory.
pub(crate) struct Generator {
    random: fastrand::Rng,
    /// A port that may be watched.
    watched: u16,
    /// One that nobody else listens on.
    free: u16,
    text: String,
    /// Lines of it with a value that is wrong whatever stands beside it.
    wrong: Vec<usize>,
    is_careless: bool,
}

/// A key, right values and wrong ones. An empty list of right ones: there is none.
type Key<'k> = (&'k str, &'k [&'k str], &'k [&'k str]);

/// Keys of a hundred that get a wrong value, where the writer is careless.
const WRONG: u8 = 8;
/// Values that are wrong or not by what stands elsewhere.
const DEPENDS: [&str; 5] =
    ["'DIR/h.sqlite'", "'DIR/h.sqlite-wal'", "'DIR/directory/..//h.sqlite'", "'unix:DIR/s'", "['connected']"];
/// Of a sink, and none that one can have.
const ODD_NAME: &str = "'a sink'";
const SIZES: (&[&str], &[&str]) = (&["'1M'", "'64M'", "2097152"], &["'1X'", "'1K'", "-1", "1.5", "''"]);
const FLAG: (&[&str], &[&str]) = (&["true", "false"], &["'yes'", "1"]);

impl Generator {
    pub(crate) fn new(seed: u64, watched: u16, free: u16) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            watched,
            free,
            text: String::new(),
            wrong: Vec::new(),
            is_careless: seed % 2 == 1,
        }
    }

    /// The text, and the numbers of its lines of which something must be said.
    pub(crate) fn configuration(mut self) -> (String, Vec<usize>) {
        self.host();
        self.history();
        self.socket();
        self.metrics();
        self.mail();
        let begin = self.text.lines().count();
        self.section(
            "spool",
            &[(
                "directory",
                &["'DIR/spool'", "'DIR/new/new/spool'"],
                &["'DIR/text'", "'DIR/text/spool'", "'DIR/h.sqlite'", "'/proc/spool'", "'spool'", "7"],
            )],
            &[],
        );
        // Of no matter where no sink has a spool.
        self.forget(begin);
        for nth in 0..self.random.u8(..4) {
            let name =
                if self.is_careless && self.is_one_of_a_hundred(3) { ODD_NAME.to_owned() } else { format!("s{nth}") };
            let begin = self.text.lines().count();
            self.sink(&name);
            if name == ODD_NAME || self.text.lines().skip(begin).any(|line| line == "type = 'kafka'") {
                self.forget(begin);
            }
        }
        if self.is_careless && self.is_one_of_a_hundred(4) {
            let slips = [
                "[socket]\n",
                "[watch\n",
                "[sinks.a]\ntype = 'stdout'\n",
                "[sink.x]\npath = '/x'\n",
                "ports = 25\n[x]\n",
            ];
            let slip = self.one(&slips);
            self.text.push_str(slip);
            // Where a file is not TOML, nothing else can be known of it.
            if slips[..2].contains(&slip) {
                self.wrong.clear();
            }
        }
        (self.text, self.wrong)
    }

    fn one<'v>(&mut self, of: &[&'v str]) -> &'v str {
        of[self.random.usize(..of.len())]
    }

    fn is_one_of_a_hundred(&mut self, times: u8) -> bool {
        self.random.u8(..100) < times
    }

    /// `always` are there, and each of `at_times` is or is not.
    fn section(&mut self, name: &str, always: &[Key<'_>], at_times: &[Key<'_>]) {
        let _ = writeln!(self.text, "[{name}]");
        self.keys(always, at_times);
    }

    fn keys(&mut self, always: &[Key<'_>], at_times: &[Key<'_>]) {
        let kept: Vec<_> = at_times.iter().filter(|_| self.random.u8(..3) == 0).collect();
        for (key, right, wrong) in always.iter().chain(kept) {
            let is_wrong = self.is_careless && (right.is_empty() || self.is_one_of_a_hundred(WRONG));
            let values = if is_wrong { wrong } else { right };
            if values.is_empty() {
                continue;
            }
            let value = self.one(values);
            let is_mistyped = self.is_careless && self.is_one_of_a_hundred(1);
            let key = if is_mistyped { format!("{key}s") } else { (*key).to_owned() };
            let _ = writeln!(self.text, "{key} = {value}");
            if is_mistyped || is_wrong && !DEPENDS.contains(&value) {
                self.wrong.push(self.text.lines().count());
            }
        }
    }

    /// What was wrong since then is part of something that is not used.
    fn forget(&mut self, begin: usize) {
        self.wrong.retain(|line| *line <= begin);
    }

    fn forget_if_off(&mut self, begin: usize) {
        if self.text.lines().skip(begin).any(|line| line == "enabled = false") {
            self.forget(begin);
        }
    }

    fn host(&mut self) {
        let ports = [format!("[{}]", self.watched), format!("[{}, 587]", self.watched), self.watched.to_string()];
        let ports = ports.each_ref().map(String::as_str);
        let wrong = ["[]", "[0]", "[70000]", "'smtp'", "[1, 2, 3, 4, 5, 6, 7, 8, 9]", "2.5"];
        self.section("watch", &[("ports", &ports, &wrong)], &[]);
        let table: (&[&str], &[&str]) = (&["1024", "65536"], &["0", "-1", "5000000", "'many'"]);
        self.section(
            "kernel",
            &[],
            &[
                ("syscall_hooks", FLAG.0, FLAG.1),
                ("max_in_flight", table.0, table.1),
                ("max_destinations", table.0, table.1),
                ("ring_size", &["'64K'", "'1M'"], &["'3M'", "'2G'", "100000"]),
            ],
        );
        self.section(
            "diagnose",
            &[],
            &[
                ("dns", FLAG.0, FLAG.1),
                ("dnsbl", &["[]", "['dnsbl.example']"], &["['a b']", "['']"]),
                ("name_servers", &["['127.0.0.1']", "['[::1]:53']"], &["['ns.example']"]),
                ("asn_file", &[], &["'DIR/none.mmdb'", "'none'", "'DIR/directory'"]),
            ],
        );
    }

    fn history(&mut self) {
        let wrong = [
            "'DIR/text'",
            "'DIR/directory'",
            "'DIR/text/h.sqlite'",
            "'DIR/new/new/h.sqlite'",
            "'DIR/dangling'",
            "'DIR/fifo'",
            "'/proc/h.sqlite'",
            "'h.sqlite'",
            "'/dev/null'",
            "''",
        ];
        let begin = self.text.lines().count();
        self.section(
            "history",
            &[("path", &["'DIR/h.sqlite'", "'DIR/new/h.sqlite'", "'DIR/empty'"], &wrong)],
            &[
                ("enabled", FLAG.0, FLAG.1),
                ("retain_days", &["1", "30"], &["0", "'ever'", "40000"]),
                ("retain_size", &["'16M'", "'1G'"], &["'1M'", "'2000G'", "1.5"]),
                ("queue_size", SIZES.0, SIZES.1),
            ],
        );
        self.forget_if_off(begin);
    }

    fn socket(&mut self) {
        let wrong = [
            "'DIR/text'",
            "'DIR/directory'",
            "'DIR/taken'",
            "'DIR/fifo'",
            "'DIR/dangling'",
            "'DIR/h.sqlite'",
            "'DIR/directory/..//h.sqlite'",
            "'DIR/text/s'",
            "'/proc/s'",
            "'s'",
        ];
        let begin = self.text.lines().count();
        self.section(
            "socket",
            &[("path", &["'DIR/s'", "'DIR/run/run/s'", "'DIR/stale'"], &wrong)],
            &[
                ("enabled", FLAG.0, FLAG.1),
                ("group", &["'0'", "'root'"], &["'no-such-group'", "'two words'", "7.5", "''"]),
            ],
        );
        self.forget_if_off(begin);
    }

    fn metrics(&mut self) {
        if self.random.bool() {
            return;
        }
        let free = format!("'127.0.0.1:{}'", self.free);
        let wrong = [
            "'unix:DIR/s'",
            "'unix:DIR/text'",
            "'unix:DIR/text/m'",
            "'unix:DIR/taken'",
            "'unix:m'",
            "'127.0.0.1:7'",
            "'0.0.0.0:9625'",
            "'127.0.0.1'",
            "'127.9.9.9:9625 '",
            "9625",
        ];
        self.section(
            "metrics",
            &[("listen", &[&free, "'unix:DIR/m'", "'unix:DIR/run/m'"], &wrong)],
            &[("destinations", &["0", "100"], &["-1", "10001", "'all'"])],
        );
    }

    fn mail(&mut self) {
        if self.random.bool() {
            return;
        }
        let wrong_log =
            ["'DIR/none.log'", "'DIR/directory'", "'DIR/fifo'", "'mail.log'", "'DIR/none/mail-%D'", "'DIR/text/x'"];
        let log: Key<'_> = ("log", &["'DIR/mail.log'", "'DIR/mail-%D'"], &wrong_log);
        let kind: Key<'_> = ("kind", &["'postfix'", "'exim'", "'opensmtpd'", "'kumomta'"], &["'sendmail'", "7"]);
        let both = [kind, log];
        let of = if self.is_careless && self.is_one_of_a_hundred(4) { &both[..1] } else { &both[..] };
        let wrong_key = ["'DIR/none'", "'DIR/directory'", "'DIR/empty'", "'DIR/fifo'", "'/dev/null'"];
        self.section(
            "mta",
            of,
            &[("domain_key_file", &["'DIR/domains.key'"], &wrong_key), ("own_process_ids", FLAG.0, FLAG.1)],
        );
    }

    fn sink(&mut self, name: &str) {
        let kinds = ["file", "file", "stdout", "syslog", "journald", "splunk-hec", "elasticsearch", "otlp", "nats"];
        let kind = if self.is_careless && self.is_one_of_a_hundred(3) { "kafka" } else { self.one(&kinds) };
        let _ = writeln!(self.text, "[sink.{name}]\ntype = '{kind}'");
        match kind {
            "file" => self.file(),
            "syslog" => self.syslog(),
            "journald" => self.keys(&[("address", &["'DIR/log'"], &["'journal'", "'DIR/none'"])], &[]),
            "splunk-hec" | "elasticsearch" | "otlp" => self.http(kind),
            "nats" => self.nats(),
            _ => {}
        }
        if !["file", "stdout"].contains(&kind) {
            self.keys(
                &[],
                &[
                    ("spool_size", SIZES.0, SIZES.1),
                    ("spool_full", &["'drop-oldest'", "'drop-newest'"], &["'drop'"]),
                    ("timeout", &["'10s'", "'1m'"], &["'0s'", "10", "'soon'"]),
                ],
            );
        }
        self.of_any_sink();
    }

    fn of_any_sink(&mut self) {
        let watched = format!("[{}]", self.watched);
        self.keys(
            &[],
            &[
                (
                    "send",
                    &["['failures']", "['failures', 'successes', 'minutes', 'alerts']"],
                    &["[]", "['all']", "true"],
                ),
                ("labels", &["['refused', 'timeout']", "'refused'"], &["['denied']", "['connected']"]),
                (
                    "destinations",
                    &["['192.0.2.0/24', '2001:db8::1']"],
                    &["['192.0.2.1/24']", "['192.0.2.0/33']", "['mx']"],
                ),
                ("ports", &[&watched], &["[26]", "[0]"]),
                ("comm", &["['smtp']"], &["['a-name-longer-than-15']", "['a b']"]),
                ("uid", &["[0]"], &["['root']", "[-1]"]),
                ("cgroup", &["['/system.slice']"], &["['system.slice']", "['/a/../b']", "['']"]),
                ("queue_size", SIZES.0, SIZES.1),
            ],
        );
    }

    fn file(&mut self) {
        let path = format!("'DIR/events{}'", self.random.u8(..4));
        let wrong = [
            "'DIR/directory'",
            "'DIR/none/events'",
            "'DIR/h.sqlite-wal'",
            "'DIR/fifo'",
            "'DIR/taken'",
            "'DIR/dangling'",
            "'/dev/full'",
            "'/proc/events'",
            "'events'",
            "'DIR/observer.toml'",
            "'DIR/text/events'",
        ];
        self.keys(
            &[("path", &[&path, "'/dev/null'"], &wrong)],
            &[
                ("rotate_size", &["'1M'", "'4K'"], &["'1K'", "'1X'"]),
                ("keep", &["1", "5"], &["0", "-1", "1001"]),
                ("format", &["'json'", "'cef'", "'text'"], &["'xml'"]),
            ],
        );
    }

    fn syslog(&mut self) {
        let tls = [
            (
                "tls_ca",
                &["'DIR/cert.pem'"][..],
                &["'DIR/text'", "'DIR/none'", "'DIR/directory'", "'ca'", "'DIR/fifo'"][..],
            ),
            ("tls_server_name", &["'localhost'"][..], &["'a b'", "'-'"][..]),
        ];
        match self.random.u8(..3) {
            0 => self.keys(&[("address", &["'DIR/log'"], &["'DIR/none'", "'DIR/text'", "'log'"])], &[]),
            1 => {
                let addresses: (&[&str], &[&str]) =
                    (&["'127.0.0.1:1'", "'[::1]:1'", "'localhost'"], &["'a b'", "'x:0'", "'::1:y'"]);
                self.keys(
                    &[("transport", &["'udp'", "'tcp'"], &["'sctp'"]), ("address", addresses.0, addresses.1)],
                    &[],
                );
            }
            _ => {
                self.keys(
                    &[("transport", &["'tls'"], &["'ssl'"]), ("address", &["'127.0.0.1:1'"], &["'/dev/log'"])],
                    &tls,
                );
                self.client();
            }
        }
        self.keys(
            &[],
            &[("format", &["'rfc5424'", "'cef'"], &["'otlp'"]), ("enterprise_number", &["1"], &["-1", "'me'"])],
        );
    }

    fn client(&mut self) {
        if self.random.bool() {
            return;
        }
        let both: [Key<'_>; 2] = [
            ("tls_cert", &["'DIR/cert.pem'"], &["'DIR/text'", "'DIR/none'", "'cert'"]),
            ("tls_key", &["'DIR/cert.key'"], &["'DIR/text'", "'DIR/none'", "'DIR/cert.pem'"]),
        ];
        let of = if self.is_careless && self.is_one_of_a_hundred(5) { &both[..1] } else { &both[..] };
        self.keys(of, &[]);
    }

    fn http(&mut self, kind: &str) {
        let url: Key<'_> = (
            "url",
            &["'http://127.0.0.1:1/x'", "'https://127.0.0.1:1/x'", "'http://localhost:1'"],
            &[
                "'127.0.0.1'",
                "'http://'",
                "'http://192.0.2.1/x'",
                "'https://u:p@localhost/'",
                "'http://[::1'",
                "'http://a:b:c/'",
            ],
        );
        let token: Key<'_> = (
            "token_file",
            &["'DIR/token'", "'DIR/open-token'"],
            &["'DIR/none'", "'DIR/empty'", "'DIR/directory'", "'DIR/fifo'", "'t'"],
        );
        let (always, at_times) =
            if kind == "splunk-hec" { (&[url, token][..], &[][..]) } else { (&[url][..], &[token][..]) };
        self.keys(always, at_times);
        if kind == "elasticsearch" {
            let wrong = ["'Logs'", "'a b'", "''", "'_x'", "'a/b'", "'..'", "'a,b'"];
            self.keys(&[], &[("index", &["'logs-observer-default'"], &wrong)]);
        }
        self.keys(
            &[],
            &[("allow_plain_token", FLAG.0, FLAG.1), ("tls_ca", &["'DIR/cert.pem'"], &["'DIR/text'", "'DIR/none'"])],
        );
        self.client();
    }

    fn nats(&mut self) {
        let servers: Key<'_> =
            ("servers", &["['nats://127.0.0.1:1']", "['tls://127.0.0.1:1']"], &["[]", "['siem']", "['nats://']"]);
        self.keys(
            &[servers],
            &[
                ("subject", &["'observer.v1.mx1'"], &["'a..b'", "'a.*'", "''"]),
                ("credentials_file", &["'DIR/token'"], &["'DIR/none'", "'DIR/empty'"]),
                ("tls_ca", &["'DIR/cert.pem'"], &["'DIR/text'"]),
            ],
        );
        self.client();
    }
}
