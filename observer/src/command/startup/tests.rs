mod generated;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::*;
use crate::config::{Config, Surroundings};
use crate::follow;

/// A directory in which configurations are tried, with a syslog socket `log`; `DIR` in their text
/// is its path.
struct Place(tempfile::TempDir, #[expect(dead_code, reason = "it is to be there")] UnixDatagram);

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let log = UnixDatagram::bind(directory.path().join("log")).unwrap();
        let place = Self(directory, log);
        fs::create_dir(place.path().join("conf")).unwrap();
        place
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn keep(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
    }

    fn of(&self, text: &str, purpose: Purpose) -> Findings {
        let file = self.path().join("conf/observer.toml");
        let group = format!("group = '{}'", rustix::process::getegid().as_raw());
        let text = text.replace("DIR", &self.path().display().to_string()).replace("group = '0'", &group);
        fs::write(&file, text).unwrap();
        let loaded = Config::load(Some(&file), &Surroundings::default()).unwrap();
        as_user(None, || examine(&loaded, purpose)).unwrap()
    }

    /// Refusals, defects and remarks, a line each, as they are said.
    fn found(&self, text: &str) -> String {
        let quiet = "[history]\nenabled = false\n";
        let quiet = if text.contains("[history]") { "" } else { quiet };
        let socket = if text.contains("[socket]") { "" } else { "[socket]\nenabled = false\n" };
        let spool = if text.contains("[spool]") { "" } else { "[spool]\ndirectory = 'DIR/spool'\n" };
        let Findings { refusals, defects, remarks } = self.of(&[text, quiet, socket, spool].join("\n"), Purpose::Start);
        let kinds = [("refused", refusals), ("broken", defects), ("odd", remarks)];
        let lines =
            kinds.iter().flat_map(|(kind, found)| found.iter().map(move |problem| format!("{kind}: {problem}\n")));
        let text = lines.collect::<String>().replace(&self.path().display().to_string(), "DIR");
        let user = user::current();
        text.replace(&format!("{user} may"), "USER may").replace(&format!("for {user} to"), "for USER to")
    }
}

#[test]
fn one_path_for_two_things_is_refused_however_it_is_written() {
    let place = Place::new();
    fs::create_dir(place.path().join("real")).unwrap();
    symlink("real", place.path().join("alias")).unwrap();
    place.keep("real/h.sqlite", "");
    fs::hard_link(place.path().join("real/h.sqlite"), place.path().join("hard")).unwrap();
    symlink("real/h.sqlite", place.path().join("soft")).unwrap();
    symlink("real/later", place.path().join("dangling")).unwrap();
    let history = "[history]\npath = 'DIR/real/h.sqlite'\n";
    let file = |path: &str| format!("{history}[sink.a]\ntype = 'file'\npath = '{path}'\n");
    let socket = |path: &str| format!("{history}[socket]\npath = '{path}'\ngroup = '0'\n");
    for text in [
        socket("DIR/real/h.sqlite"),
        socket("DIR//real/./h.sqlite"),
        socket("DIR/real/../alias/h.sqlite"),
        socket("DIR/alias/h.sqlite"),
        socket("DIR/hard"),
        socket("DIR/soft"),
        socket("DIR/real/h.sqlite-wal"),
        socket("DIR/real/h.sqlite/socket"),
        file("DIR/alias/h.sqlite"),
        file("DIR/hard"),
        file("DIR/alias/h.sqlite-lock"),
        format!("{history}[metrics]\nlisten = 'unix:DIR/soft'\n"),
        format!("{history}[spool]\ndirectory = 'DIR/alias/h.sqlite'\n[sink.a]\ntype = 'syslog'\naddress = 'DIR/log'\n"),
        "[socket]\npath = 'DIR/s'\ngroup = '0'\n[metrics]\nlisten = 'unix:DIR/alias/../s'\n".to_owned(),
        "[socket]\npath = 'DIR/s'\ngroup = '0'\n[metrics]\nlisten = 'unix:DIR/s.new'\n".to_owned(),
        "[sink.a]\ntype = 'file'\npath = 'DIR/real/later'\n[sink.b]\ntype = 'file'\npath = 'DIR/dangling'\n".to_owned(),
        "[sink.a]\ntype = 'file'\npath = 'DIR/e'\nrotate_size = '1M'\n[sink.b]\ntype = 'file'\npath = 'DIR/e.2'\n".to_owned(),
        "[sink.a]\ntype = 'syslog'\naddress = 'DIR/log'\n[sink.b]\ntype = 'file'\npath = 'DIR/alias/../spool/a.dead'\n".to_owned(),
        "[sink.a]\ntype = 'syslog'\naddress = 'DIR/log'\n[sink.b]\ntype = 'file'\npath = 'DIR/spool/a.syslog-rfc5424/lock'\n".to_owned(),
        "[sink.a]\ntype = 'file'\npath = 'DIR/conf/observer.toml'\n".to_owned(),
        "[sink.a]\ntype = 'file'\npath = 'DIR/t'\n[sink.b]\ntype = 'splunk-hec'\nurl = 'https://s/'\ntoken_file = 'DIR/t'\n".to_owned(),
        "[mta]\nkind = 'postfix'\nlog = 'DIR/real/mail'\n[sink.a]\ntype = 'file'\npath = 'DIR/alias/mail'\n".to_owned(),
    ] {
        let found = place.found(&text);
        assert!(found.contains("give each a path of its own"), "{text}\n{found}");
        // A reload that would do it is refused as well.
        let spool = if text.contains("[spool]") { "" } else { "[spool]\ndirectory = 'DIR/spool'\n" };
        let reload = place.of(&(text.clone() + spool), Purpose::Reload);
        assert!(!reload.refusals.is_empty(), "{text}");
    }
    insta::assert_snapshot!(place.found(&socket("DIR/real/../alias/h.sqlite")));
    insta::assert_snapshot!(place.found(&file("DIR/alias/h.sqlite-lock")));
}

#[test]
fn paths_that_lie_beside_each_other_are_no_matter() {
    let place = Place::new();
    let text = "[history]\npath = 'DIR/h.sqlite'\n[socket]\npath = 'DIR/s'\ngroup = '0'\n[metrics]\nlisten = 'unix:DIR/m'\n\
                [spool]\ndirectory = 'DIR/spool'\n[sink.a]\ntype = 'file'\npath = 'DIR/e'\nrotate_size = '1M'\n[sink.b]\n\
                type = 'file'\npath = 'DIR/e.20'\n[sink.c]\ntype = 'syslog'\naddress = 'DIR/log'\n[sink.d]\ntype = 'syslog'\naddress = 'DIR/log'\n[sink.f]\n\
                type = 'file'\npath = '/dev/null'\n[sink.g]\ntype = 'file'\npath = '/dev/null'\n";
    assert_eq!(place.found(text), "");
}

#[test]
fn what_a_configuration_names_is_opened() {
    let place = Place::new();
    place.keep("text", "not PEM\n");
    place.keep("token", "");
    fs::create_dir(place.path().join("directory")).unwrap();
    let foreign = rusqlite::Connection::open(place.path().join("foreign")).unwrap();
    foreign.execute_batch("CREATE TABLE mail (id)").unwrap();
    place.keep("history", "root:x:0:0\n");
    drop(UnixListener::bind(place.path().join("stale")).unwrap());
    mknodat(CWD, place.path().join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let of = |text: &str| place.found(text);
    let tls = |keys: &str| of(&format!("[sink.a]\ntype = 'syslog'\ntransport = 'tls'\naddress = 'siem'\n{keys}\n"));
    let hec = |keys: &str| of(&format!("[sink.a]\ntype = 'splunk-hec'\nurl = 'http://127.0.0.1/e'\n{keys}\n"));
    let all = [
        tls("tls_ca = 'DIR/none.pem'"),
        tls("tls_ca = 'DIR/text'"),
        tls("tls_ca = 'DIR/directory'"),
        tls("tls_cert = 'DIR/text'\ntls_key = 'DIR/none'"),
        hec("token_file = 'DIR/none'"),
        hec("token_file = 'DIR/token'"),
        of("[socket]\ngroup = 'no-such-group'\npath = 'DIR/s'\n"),
        of("[socket]\ngroup = '0'\npath = 'DIR/text'\n"),
        of("[history]\npath = 'DIR/history'\n"),
        of("[history]\npath = 'DIR/foreign'\n"),
        of("[history]\npath = 'DIR/directory'\n"),
        of("[history]\npath = 'DIR/a/b/h.sqlite'\n"),
        of("[spool]\ndirectory = 'DIR/text/spool'\n[sink.a]\ntype = 'syslog'\naddress = 'DIR/log'\n"),
        of("[sink.a]\ntype = 'file'\npath = 'DIR/none/events'\n"),
        of("[sink.a]\ntype = 'file'\npath = '/dev/full'\n"),
        of("[sink.a]\ntype = 'file'\npath = 'DIR/log'\n"),
        of("[sink.a]\ntype = 'file'\npath = 'DIR/fifo'\n"),
        of("[sink.a]\ntype = 'syslog'\naddress = 'DIR/none'\n"),
        of("[sink.a]\ntype = 'syslog'\naddress = 'DIR/text'\n"),
        of("[sink.a]\ntype = 'journald'\naddress = 'DIR/stale'\n"),
        of("[mta]\nkind = 'postfix'\nlog = 'DIR/mail.log'\n"),
        of("[mta]\nkind = 'postfix'\nlog = 'DIR/text'\ndomain_key_file = 'DIR/none'\n"),
        of("[diagnose]\nasn_file = 'DIR/none.mmdb'\n"),
    ];
    insta::assert_snapshot!(all.concat());
}

#[test]
fn a_mail_log_is_looked_at_as_run_reads_it() {
    let place = Place::new();
    let of = |log: &str| place.found(&format!("[mta]\nkind = 'postfix'\nlog = '{log}'\n[sink.a]\ntype = 'stdout'\n"));
    place.keep("mail.log", "Nov 26 16:07:01 mx1 postfix/smtp[7]: 4bQ: to=<a@b.example>, status=deferred\n");
    place.keep("empty", "");
    place.keep("export", "__CURSOR=s=06\n__REALTIME_TIMESTAMP=1764173221440526\nMESSAGE=x\n\n");
    fs::create_dir(place.path().join("directory")).unwrap();
    mknodat(CWD, place.path().join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    for right in ["DIR/mail.log", "DIR/empty", "DIR/mail-%D"] {
        assert_eq!(of(right), "", "{right}");
    }
    let wrong = ["DIR/none.log", "DIR/directory", "DIR/fifo", "DIR/mail.log/x", "DIR/none/mail-%D", "DIR/export"];
    insta::assert_snapshot!(wrong.map(of).concat());
    // The journal is read where there is what reads it.
    assert_eq!(of("journal").is_empty(), follow::journalctl().is_some());
}

#[test]
fn only_of_a_file_it_is_said_how_to_close_it() {
    let place = Place::new();
    let mta =
        |key: &str| place.found(&format!("[mta]\nkind = 'postfix'\nlog = 'DIR/text'\ndomain_key_file = '{key}'\n"));
    place.keep("text", "");
    place.keep("key", "0123456789abcdef0123456789abcdef");
    fs::set_permissions(place.path().join("key"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(mta("DIR/key").contains("chmod o= DIR/key"), "{}", mta("DIR/key"));
    for no_file in ["/dev/null", "DIR/conf"] {
        let found = mta(no_file);
        assert!(found.starts_with("refused: ") && !found.contains("chmod"), "{found}");
    }
}

/// Even root makes no file in these.
#[test]
fn what_holds_no_files_is_no_place_for_them() {
    let place = Place::new();
    for (kind, text) in [
        ("refused", "[history]\npath = '/proc/h.sqlite'\n"),
        ("refused", "[history]\npath = '/proc/observer/h.sqlite'\n"),
        ("refused", "[spool]\ndirectory = '/proc/observer'\n[sink.a]\ntype = 'syslog'\naddress = 'DIR/log'\n"),
        ("refused", "[spool]\ndirectory = '/sys/kernel'\n[sink.a]\ntype = 'syslog'\naddress = 'DIR/log'\n"),
        ("refused", "[metrics]\nlisten = 'unix:/proc/m'\n"),
        ("broken", "[socket]\npath = '/sys/s'\ngroup = '0'\n"),
        ("broken", "[sink.a]\ntype = 'file'\npath = '/proc/events'\n"),
    ] {
        let found = place.found(text);
        assert!(found.starts_with(&format!("{kind}: ")), "{text}\n{found}");
    }
}

/// `observer run` has given up the capability by the time it listens.
#[test]
fn a_low_port_is_refused_where_it_takes_a_capability() {
    const PORT: u32 = 7;
    let first_free = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    let first_free: u32 = first_free.trim().parse().unwrap();
    let found = Place::new().found(&format!("[metrics]\nlisten = '127.0.0.1:{PORT}'\n"));
    let is_refused = found.starts_with("refused: ") && found.contains("name a port from 1024 on");
    assert_eq!(is_refused, PORT < first_free, "{found}");
}

#[test]
fn who_may_not_is_named() {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "needs root to become somebody else");
        eprintln!("NOT TRIED: needs root to become somebody else");
        return;
    }
    let place = Place::new();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for (name, mode) in [("token", 0o600), ("open", 0o644), ("h.sqlite", 0o600)] {
        place.keep(name, "secret");
        fs::set_permissions(place.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    place.keep("h.sqlite", "");
    let text = "[watch]\nports = 25\n[history]\npath = 'DIR/h.sqlite'\n[socket]\npath = 'DIR/s'\ngroup = '0'\n[spool]\n\
                directory = 'DIR/spool'\n[sink.a]\ntype = 'splunk-hec'\nurl = 'http://127.0.0.1/e'\ntoken_file = 'DIR/token'\n\
                [sink.b]\ntype = 'splunk-hec'\nurl = 'http://127.0.0.1/e'\ntoken_file = 'DIR/open'\n";
    let file = place.path().join("observer.toml");
    fs::write(&file, text.replace("DIR", &place.path().display().to_string())).unwrap();
    let loaded = Config::load(Some(&file), &Surroundings::default()).unwrap();
    let nobody = User::named("nobody").unwrap();
    let look = || examine(&loaded, Purpose::Check);
    let found = as_user(Some(&nobody), look).unwrap();
    let all = [found.refusals, found.defects, found.remarks].concat();
    let lines: String = all.iter().map(|problem| format!("{problem}\n")).collect();
    insta::assert_snapshot!(lines.replace(&place.path().display().to_string(), "DIR"));
    // The thread was another user, and this one is not.
    assert!(rustix::process::geteuid().is_root());
    assert!(User::named("no such user").is_err());
}

#[test]
fn what_makes_no_sense_is_worth_a_word() {
    let place = Place::new();
    let file = |keys: &str| place.found(&format!("[sink.a]\ntype = 'stdout'\n{keys}\n"));
    let all = [
        file("send = []"),
        file("ports = [587]"),
        file("ports = [25, 587]"),
        file("labels = ['connected']"),
        file("labels = ['connected', 'refused']"),
        file("labels = ['refused']\nsend = ['failures', 'successes']"),
        file("labels = ['refused']\nsend = ['successes']"),
        file("labels = ['connected']\nsend = ['failures', 'successes']"),
        file("labels = ['refused']\nsend = ['alerts']\nuid = [0]"),
        file(
            "destinations = ['192.0.2.1/24', '192.0.2.0/24']\ncomm = 'a-name-longer-than-15'\ncgroup = ['postfix.service']",
        ),
        place.found("[sink.a]\ntype = 'file'\npath = 'DIR/e'\nkeep = 3\n"),
        place.found("[sink.a]\ntype = 'file'\npath = 'DIR/e'\nrotate_size = '1M'\nkeep = 0\n"),
        place.found("[sink.a]\ntype = 'otlp'\nurl = 'http://127.0.0.1/'\ntls_server_name = 'siem'\n"),
        place.found("[kernel]\n"),
    ];
    insta::assert_snapshot!(all.concat());
    for sense in
        ["labels = ['connected', 'refused']\nsend = ['failures', 'successes']", "ports = [25]", "send = ['alerts']"]
    {
        assert_eq!(file(sense), "", "{sense}");
    }
}

/// What is found beside a wrong key is what is wrong beside it: nothing of the default that stands
/// for a wrong value, nor of what is built in.
#[test]
fn a_wrong_key_hides_nothing_else() {
    let place = Place::new();
    place.keep("text", "not PEM\n");
    let file = place.path().join("conf/observer.toml");
    let text = "[watch]\nports = [0]\n[history]\npath = 'h.sqlite'\n[socket]\npath = 'DIR/text'\n[metrics]\nlisten = 'here'\n\
                [mta]\nkind = 'postfix'\nlog = 'DIR/mail.log'\n[sink.a]\ntype = 'file'\npath = 'DIR/none/e'\nkeeps = 1\n\
                send = []\n[sink.b]\ntype = 'syslog'\ntransport = 'tls'\naddress = 'siem'\ntls_ca = 'DIR/text'\nsend = ['all']\n";
    fs::write(&file, text.replace("DIR", &place.path().display().to_string())).unwrap();
    let (_, found) = as_user(None, || look(Some(&file), |_| {}, Purpose::Start)).unwrap().unwrap();
    let lines = [("refused", found.refusals), ("broken", found.defects), ("odd", found.remarks)]
        .map(|(kind, found)| found.iter().map(|problem| format!("{kind}: {problem}\n")).collect::<String>());
    insta::assert_snapshot!(lines.concat().replace(&place.path().display().to_string(), "DIR"));
    fs::write(&file, "[watch\n").unwrap();
    assert!(as_user(None, || look(Some(&file), |_| {}, Purpose::Start)).unwrap().is_err());
}

#[test]
fn a_socket_in_use_is_refused() {
    let place = Place::new();
    let _listener = UnixListener::bind(place.path().join("s")).unwrap();
    let text = "[history]\nenabled = false\n[socket]\npath = 'DIR/s'\ngroup = '0'\n";
    // The process that listens has another name than observer.
    for purpose in [Purpose::Check, Purpose::Start] {
        let refusals = place.of(text, purpose).refusals;
        assert!(refusals[0].text.contains("in use by another process"), "{refusals:?}");
    }
}
