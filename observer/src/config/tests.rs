use insta::assert_snapshot;
use proptest::prelude::*;

use super::keys::{default_file, man, names_by_type};
use super::*;
use crate::cli::{Cli, Command};
use crate::deliver::target::Target;

const FILE: &str = "observer.toml";

fn surroundings() -> Surroundings {
    Surroundings { host: "mx1.example.net".to_owned(), credentials: None }
}

fn read(text: &str) -> Result<Config, Vec<Problem>> {
    parse(&[(FILE, text)], &surroundings())
}

fn problems(text: &str) -> String {
    let problems = read(text).expect_err(text);
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

#[test]
fn an_index_is_one_that_elasticsearch_makes() {
    let of = |index: &str| read(&format!("[sink.a]\ntype = 'elasticsearch'\nurl = 'https://e/'\nindex = '{index}'\n"));
    for right in ["logs-observer-default", "logs.mx1", "observer_2"] {
        of(right).unwrap();
    }
    for wrong in ["Logs", "_logs", "-logs", "a b", "a/b", "a,b", "..", "", &"a".repeat(256)] {
        let problem = of(wrong).unwrap_err().remove(0).to_string();
        assert!(problem.contains("\"index\" is") && problem.contains("in lower case"), "{wrong}: {problem}");
    }
}

#[test]
fn a_server_of_nats_has_a_host() {
    let of = |server: &str| read(&format!("[sink.a]\ntype = 'nats'\nsubject = 'a'\nservers = ['{server}']\n"));
    for right in ["nats://nats.example.net:4222", "tls://[2001:db8::1]:4222", "nats://127.0.0.1"] {
        of(right).unwrap();
    }
    for wrong in ["nats://", "tls://:4222", "nats:///x", "nats://a@", "siem"] {
        let problem = of(wrong).unwrap_err().remove(0).to_string();
        assert!(problem.contains("\"servers\" has") && problem.contains("expected a server"), "{wrong}: {problem}");
    }
}

#[test]
fn nothing_is_the_default() {
    assert_eq!(read("").unwrap(), Config::default());
    assert_eq!(parse(&[], &surroundings()).unwrap(), Config::default());
}

#[test]
fn every_value_has_its_meaning() {
    let config = read(
        r#"
        [watch]
        ports = [25, "587", 25]
        [kernel]
        syscall_hooks = false
        max_in_flight = 1000
        ring_size = "4M"
        [history]
        path = "/srv/history.sqlite"
        retain_days = 7
        [socket]
        enabled = false
        [metrics]
        listen = "[::1]:9625"
        destinations = 20
        [mta]
        kind = "exim"
        log = "/var/log/exim4/mainlog"
        domain_key_file = "/etc/observer/domains.key"
        own_process_ids = true
        [diagnose]
        dns = true
        dnsbl = "bl.example"
        name_servers = ["192.0.2.53", "[2001:db8::53]:5353"]
        asn_file = "/srv/asn.mmdb"
        [spool]
        directory = "/srv/spool"
        "#,
    )
    .unwrap();
    let history = History { path: "/srv/history.sqlite".into(), ..History::default() };
    let retention = Retention { age: Duration::from_hours(7 * 24), ..history.retention };
    let expected = Config {
        ports: vec![25, 587],
        kernel: Kernel { syscall_hooks: false, max_in_flight: 1_000, ring_bytes: 4 << 20, ..Kernel::default() },
        history: Some(History { retention, ..history }),
        socket: None,
        metrics: Some(Metrics { listen: Listen::Tcp("[::1]:9625".parse().unwrap()), destinations: 20 }),
        mta: Some(MtaLog {
            kind: mta::MtaKind::Exim,
            log: Place::File("/var/log/exim4/mainlog".into()),
            domain_key: Some("/etc/observer/domains.key".into()),
            has_own_process_ids: true,
        }),
        diagnose: Diagnose {
            dns: true,
            dnsbl: vec!["bl.example".to_owned()],
            name_servers: vec!["192.0.2.53:53".parse().unwrap(), "[2001:db8::53]:5353".parse().unwrap()],
            asn_file: Some("/srv/asn.mmdb".into()),
        },
        spool: "/srv/spool".into(),
        sinks: Vec::new(),
    };
    assert_eq!(config, expected);
}

#[test]
fn a_key_in_a_later_file_is_stronger_and_sections_add_up() {
    let first = "[watch]\nports = 25\n[history]\nretain_days = 3\n[sink.a]\ntype = 'stdout'\n";
    let second =
        "[watch]\nports = [587]\n[history]\nenabled = true\n[sink.b]\ntype = 'stdout'\n[sink.a]\nformat = 'text'\n";
    let config = parse(&[("a.toml", first), ("conf.d/b.toml", second)], &surroundings()).unwrap();
    assert_eq!(config.ports, [587]);
    assert_eq!(config.history.unwrap().retention.age, Duration::from_hours(72));
    let sinks: Vec<_> = config.sinks.iter().map(|sink| (sink.name.as_str(), sink.format)).collect();
    assert_eq!(sinks, [("a", Format::Text), ("b", Format::Json)]);
}

#[test]
fn the_default_file_means_the_default() {
    let file = default_file();
    assert_eq!(read(&file).unwrap(), Config::default());
    // Uncommented too, as far as its values are no examples.
    let lines = file.lines().take_while(|line| !line.starts_with("#[sink."));
    let plain: Vec<_> = lines.map(|line| uncommented(line).unwrap_or(line)).collect();
    let config = read(&plain.join("\n")).unwrap();
    assert!(config.metrics.is_some() && config.mta.is_some());
    let diagnose = Diagnose { asn_file: None, ..config.diagnose };
    assert_eq!(Config { metrics: None, mta: None, diagnose, ..config }, Config::default());
}

/// A line that is a key or a section, commented out.
fn uncommented(line: &str) -> Option<&str> {
    line.strip_prefix('#').filter(|rest| !rest.is_empty() && !rest.starts_with(' '))
}

#[test]
fn its_examples_of_sinks_are_right() {
    let file = default_file();
    let examples: Vec<_> =
        file.lines().skip_while(|line| !line.starts_with("#[sink.")).filter_map(uncommented).collect();
    let text = examples.join("\n");
    let text = if cfg!(feature = "nats") { text } else { text.split("[sink.fleet]").next().unwrap().to_owned() };
    let kinds: Vec<_> = read(&text).unwrap().sinks.iter().map(|sink| sink.target.to_string()).collect();
    for target in ["/var/log/observer/events.json", "standard output", "syslog at siem.example.net:6514 by TLS"] {
        assert!(kinds.iter().any(|kind| kind == target), "{kinds:?}");
    }
}

#[test]
fn the_packaged_file_is_the_default_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/observer.toml");
    let packaged = std::fs::read_to_string(path).unwrap_or_default();
    assert!(packaged == default_file(), "write it: cargo run -p observer -- config default >packaging/observer.toml");
}

/// A key that is documented is known, and a key that is known is documented: the
/// cure for a key that no one knows lists what is known.
#[test]
fn every_key_is_documented() {
    for (section, documented) in names_by_type() {
        let is_sink =
            ["file", "stdout", "syslog", "journald", "splunk-hec", "elasticsearch", "otlp", "nats"].contains(&section);
        let text = match section {
            "syslog" => "[sink.x]\ntype='syslog'\ntransport='tls'\naddress='a:1'\nqqqqqqqqqqqqqqqq=1".to_owned(),
            _ if is_sink => format!("[sink.x]\ntype='{section}'\nqqqqqqqqqqqqqqqq=1"),
            _ => format!("[{section}]\nqqqqqqqqqqqqqqqq=1"),
        };
        let problems = problems(&text);
        let (_, known) = problems.lines().find_map(|line| line.split_once("it can have ")).unwrap();
        let mut known: Vec<_> =
            known.split(", ").filter(|key| !key.starts_with("tls_") || section == "syslog").collect();
        let common = ["spool_size", "spool_full", "timeout"];
        known.retain(|key| !common.contains(key));
        let mut documented: Vec<_> = documented.clone();
        for list in [&mut known, &mut documented] {
            list.sort_unstable();
            list.dedup();
        }
        assert_eq!(known, documented, "{section}");
    }
}

#[test]
fn sinks() {
    let config = read(
        r#"
        [sink.siem]
        type = "syslog"
        transport = "tls"
        address = "siem.example.net"
        format = "cef"
        send = ["failures", "successes", "minutes"]
        labels = ["refused", "timeout"]
        destinations = ["203.0.113.5", "2001:db8::/32"]
        spool_size = "16M"
        spool_full = "drop-newest"
        tls_ca = "/etc/ca.pem"
        tls_cert = "/etc/client.pem"
        tls_key = "/etc/client.key"
        "#,
    )
    .unwrap();
    let [sink] = &config.sinks[..] else { panic!("{config:?}") };
    assert_eq!((sink.name.as_str(), sink.format), ("siem", Format::Cef));
    assert_eq!(sink.kinds, Kinds { failures: true, successes: true, minutes: true, alerts: false });
    assert_eq!(sink.filter.labels, [Label::Refused, Label::Timeout]);
    assert_eq!(sink.spool.bytes, 16 << 20);
    assert_eq!(sink.target.to_string(), "syslog at siem.example.net:6514 by TLS");
    assert_eq!(sink.target.named_secrets(), [("tls_key", Path::new("/etc/client.key"))]);
}

#[test]
fn a_credential_is_found_where_systemd_puts_it() {
    let text = "[sink.x]\ntype='splunk-hec'\nurl='https://s:8088/e'\ntoken_file='hec'";
    let with = Surroundings { credentials: Some("/run/credentials/observer.service".into()), ..surroundings() };
    let config = parse(&[(FILE, text)], &with).unwrap();
    let Target::Http(http) = &config.sinks[0].target else { panic!("{config:?}") };
    assert_eq!(http.token_file.as_deref(), Some(Path::new("/run/credentials/observer.service/hec")));
    assert!(problems(text).contains("LoadCredential="));
}

#[test]
fn what_is_wrong_has_a_place_and_a_cure() {
    let text = r#"
port = 25
[watch]
ports = [25, 70000, "smtp"]
prots = [25]
[kernel]
ring_size = "3M"
syscall_hooks = "no"
[history]
retain_days = 0
path = "history.sqlite"
[metrics]
listen = "0.0.0.0:9625"
[sinks.x]
type = "file"
[sink."a b"]
type = "stdout"
[sink.siem]
type = "syslog"
adress = "siem:6514"
transport = "tcp"
format = "otlp"
labels = ["denied"]
[sink.hec]
type = "splunk-hec"
url = "https://user:password@splunk/"
[sink.what]
type = "kafka"
[sink.none]
path = "/x"
[sink.key]
type = "syslog"
transport = "tls"
address = "siem"
tls_key = "/k"
"#;
    assert_snapshot!(problems(text));
}

#[test]
fn what_is_no_toml_is_said_in_one_line() {
    for text in ["[watch", "a = ", "x = 1\nx = 2", "\u{1b}[2J = 1", "[sink.a]\ntype='stdout'\n[sink.a]\n"] {
        let problems = problems(text);
        assert_eq!(problems.lines().count(), 1, "{problems}");
        assert!(problems.starts_with("observer.toml:"), "{problems}");
        assert!(problems.contains("invalid TOML") || problems.contains("is there twice"), "{problems}");
        assert!(!problems.contains('\u{1b}'), "{problems:?}");
    }
}

#[test]
fn what_is_wrong_is_quoted_and_said_once() {
    let all = [
        "[watch]\nports = [2.5]",
        "[watch]\nports = true",
        "[watch]\nports = []",
        "[watch]\nports = [1, 2, 3, 4, 5, 6, 7, 8, 9]",
        "[history]\nretain_size = 1.5",
        "[history]\nenabled = 'yes'",
        "port = 25",
        "listen = '127.0.0.1:9625'",
        "[socket]\ngroup = true",
        "[mta]\nkind = 'sendmail'",
        "[mta]\nkind = 'sendmail'\nlog = 'journal'",
        "[mta]\nlog = 'mail.log'",
        "[sink.a]\ntype = 'stdout'\n[sink.a]\ntype = 'stdout'",
        "[watch]\nports = 25\nports = 587",
        "[sink.a]\ntype = 'syslog'\ntransport = 'tls'\naddress = 'siem'\ntls_cert = 'c'\ntls_key = 'k'",
        "[sink.a]\ntype = 'otlp'\nurl = 'https://user:password@siem/v1/logs'",
        "[sink.a]\ntype = 'nats'\nservers = ['siem']",
        "[sink.a]\ntype = 'syslog'\ndestinations = ['203.0.113.5:25', '203.0.113.0/33', 'mx']",
    ];
    let texts = all.into_iter().filter(|text| cfg!(feature = "nats") || !text.contains("nats"));
    let said = texts.map(|text| {
        let problems = problems(text);
        assert!(!problems.contains("password@"), "{problems}");
        format!("{}\n  {problems}", text.replace('\n', " | "))
    });
    let said: String = said.collect();
    assert_snapshot!(said);
}

#[test]
fn a_link_to_nothing_says_where_it_leads() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("observer.toml");
    std::fs::write(&file, "").unwrap();
    std::fs::create_dir(directory.path().join("conf.d")).unwrap();
    std::os::unix::fs::symlink("gone.toml", directory.path().join("conf.d/10.toml")).unwrap();
    let problem = Config::load(Some(&file), &surroundings()).unwrap_err().problems.remove(0).to_string();
    assert!(problem.contains("conf.d/10.toml: it is a symbolic link to gone.toml, which is not there"), "{problem}");
}

#[test]
fn all_files_are_told_of_at_once() {
    let problems = parse(&[("a", "x = 1"), ("b", "["), ("c", "y = 1")], &surroundings()).unwrap_err();
    let places: Vec<_> = problems.iter().map(|problem| problem.place.as_str()).collect();
    assert_eq!(places, ["b:1:2", "a:1:1", "c:1:1"]);
}

#[test]
fn files_are_read_in_order_and_a_missing_one_is_an_error_if_it_was_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("observer.toml");
    let missing = Config::load(Some(&file), &surroundings()).unwrap_err().problems;
    assert!(missing[0].text.contains("name another one with --config"), "{}", missing[0]);
    std::fs::write(&file, "[watch]\nports = [25]\n").unwrap();
    std::fs::create_dir(directory.path().join("conf.d")).unwrap();
    for (name, text) in [("20.toml", "[watch]\nports = [2525]"), ("10.toml", "[watch]\nports = [587]"), ("30.off", "?")]
    {
        std::fs::write(directory.path().join("conf.d").join(name), text).unwrap();
    }
    let loaded = Config::load(Some(&file), &surroundings()).unwrap();
    assert_eq!((loaded.config.ports, loaded.files.len()), (vec![2525], 3));
    std::fs::write(&file, vec![b'#'; 2 << 20]).unwrap();
    assert!(Config::load(Some(&file), &surroundings()).unwrap_err().problems[0].text.contains("larger than 1M"));
    std::fs::write(&file, b"\xff").unwrap();
    assert!(Config::load(Some(&file), &surroundings()).unwrap_err().problems[0].text.contains("UTF-8"));
}

#[test]
fn a_secret_leaves_this_host_unencrypted_only_where_that_is_allowed() {
    let said = |text: &str| {
        read(text).err().unwrap_or_default().iter().map(|problem| format!("{problem}\n")).collect::<String>()
    };
    let hec =
        |url: &str, rest: &str| said(&format!("[sink.x]\ntype='splunk-hec'\ntoken_file='/t'\nurl='{url}'\n{rest}"));
    for local in ["http://127.0.0.1:8088/e", "http://[::1]/e", "http://[::ffff:127.0.0.9]/e", "http://LOCALHOST:1/e"] {
        assert_eq!(hec(local, ""), "", "{local}");
    }
    for other in [
        "http://192.0.2.1/e",
        "http://[2001:db8::1]:1/e",
        "http://localhost.example.net/e",
        "http://127.0.0.1.example.net/e",
    ] {
        let text = hec(other, "");
        assert!(text.starts_with("observer.toml:4:5: \"url\" would send the token unencrypted"), "{text}");
        assert!(text.contains(other) && text.contains("allow_plain_token = true"), "{text}");
        assert_eq!(hec(other, "allow_plain_token = true"), "", "{other}");
    }
    assert_eq!(hec("https://192.0.2.1/e", ""), "");
    // Nothing secret is sent.
    assert_eq!(said("[sink.x]\ntype='otlp'\nurl='http://192.0.2.1/v1/logs'"), "");
    if cfg!(feature = "nats") {
        let nats = |server: &str, rest: &str| {
            said(&format!("[sink.x]\ntype='nats'\ncredentials_file='/c'\nservers=['tls://a:1', '{server}']\n{rest}"))
        };
        assert!(nats("nats://192.0.2.1:4222", "").contains("would send the credentials unencrypted"));
        for rest in ["allow_plain_token = true", "tls_ca = '/ca.pem'"] {
            assert_eq!(nats("nats://192.0.2.1:4222", rest), "");
        }
        assert_eq!(nats("nats://127.0.0.1:4222", ""), "");
    }
}

#[test]
fn what_was_typed_is_stronger() {
    let run = |args: &[&str]| match Cli::from_args([&["observer", "run"], args].concat()).unwrap().command {
        Command::Run(args) => args,
        other => panic!("{other:?}"),
    };
    let config = read("[watch]\nports=[587]\n[history]\nenabled=false\n[kernel]\nring_size='4M'").unwrap();
    assert_eq!(run(&[]).over(config.clone()), config);
    let typed = run(&["--port", "25", "--history", "/x", "--ring-size", "1M", "--socket", "/s", "--socket-group", "0"])
        .over(config);
    assert_eq!(typed.ports, [25]);
    assert_eq!(typed.history.unwrap(), History { path: "/x".into(), ..History::default() });
    assert_eq!(typed.kernel.ring_bytes, 1 << 20);
    assert_eq!(typed.socket.unwrap(), Socket { path: "/s".into(), group: "0".to_owned() });
}

#[test]
fn the_manual_page_names_every_key() {
    let page = String::from_utf8(man().unwrap()).unwrap();
    for (_, keys) in names_by_type() {
        for key in keys {
            assert!(page.contains(&format!("\\fB{key}\\fR")) || page.contains(&key.replace('-', "\\-")), "{key}");
        }
    }
}

/// The arguments of a line that roff reads as a macro, with its own escapes as they are.
fn arguments(line: &str) -> Vec<String> {
    let mut rest = line;
    let mut found = Vec::new();
    while !rest.trim_start().is_empty() {
        rest = rest.trim_start();
        let (argument, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').expect("no end of quotes"),
            None => rest.split_at(rest.find(' ').unwrap_or(rest.len())),
        };
        found.push(argument.to_owned());
        rest = after;
    }
    found
}

#[test]
fn headings_of_the_manual_page_are_read_by_roff_as_they_are_meant() {
    let page = String::from_utf8(man().unwrap()).unwrap();
    let headings: Vec<_> = page.lines().filter_map(|line| line.strip_prefix(".SH ")).map(arguments).collect();
    assert!(headings.iter().all(|heading| heading.len() == 1), "{headings:?}");
    for heading in [r"[sink.NAME], type = \(dqfile\(dq", r"[sink.NAME], type = \(dqsplunk\-hec\(dq", "SEE ALSO"] {
        assert!(headings.iter().any(|found| found[0] == heading), "{heading}: {headings:?}");
    }
    let title = page.lines().find_map(|line| line.strip_prefix(".TH ")).map(arguments).unwrap();
    assert_eq!(title, ["observer.toml", "5", "", concat!("observer ", env!("CARGO_PKG_VERSION")), "File formats"]);
}

proptest! {
    #[test]
    fn no_text_is_too_much(text in "\\PC{0,200}") {
        let _ = read(&text);
    }

    #[test]
    fn no_value_is_too_much(
        section in prop::sample::select(vec!["watch", "kernel", "history", "socket", "metrics", "spool", "sink.x", "sink"]),
        key in "[a-z_]{1,12}",
        value in prop_oneof![Just("1"), Just("-1"), Just("1.5"), Just("true"), Just("[[]]"), Just("{}"), Just("'x'"), Just("2026-01-01"), Just("0x1F")],
    ) {
        let _ = read(&format!("[{section}]\n{key} = {value}\ntype = {value}\nports = {value}\nsend = {value}"));
    }
}
