//! Configurations that a person might write, good and bad parts together: what the check passes,
//! the parts of `observer run` start with.

use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use observer_core::metrics::Metrics;

use super::super::super::alerts::Alerts;
use super::super::super::metrics::MetricsServer;
use super::super::super::mta_log::MtaLog;
use super::super::super::outlets::Outlets;
use super::super::super::record::Recording;
use super::super::super::socket::Socket;
use super::*;
use crate::config::{Config, parse};
use crate::host::surroundings::host;

const CONFIGURATIONS: u64 = 100;
/// Of each kind, so that the test says something.
const LEAST: usize = 15;

struct Generator {
    random: fastrand::Rng,
    /// In use by another process.
    port: u16,
}

impl Generator {
    /// The first is good, and comes as often as all others together.
    fn one_of(&mut self, choices: &[&str]) -> String {
        let is_good = self.random.u8(..10) < 8;
        let nth = if is_good { 0 } else { self.random.usize(..choices.len()) };
        choices[nth].to_owned()
    }

    fn configuration(&mut self) -> String {
        let group = own_group();
        let history = self.one_of(&[
            "path = 'DIR/h.sqlite'",
            "path = 'DIR/new/h.sqlite'",
            "path = 'DIR/new/new/h.sqlite'",
            "path = 'DIR/text'",
            "path = 'DIR/directory'",
            "path = 'DIR/text/h.sqlite'",
            "path = 'DIR/dangling'",
            "enabled = false",
        ]);
        let socket = self.one_of(&[
            "path = 'DIR/s'",
            "path = 'DIR/run/run/s'",
            "path = 'DIR/h.sqlite'",
            "path = 'DIR/directory/..//h.sqlite'",
            "path = 'DIR/text'",
            "path = 'DIR/directory'",
            "path = 'DIR/dangling'",
            "enabled = false",
        ]);
        let port = format!("listen = '127.0.0.1:{}'", self.port);
        let metrics = self.one_of(&[
            "",
            "listen = 'unix:DIR/m'",
            "listen = '127.0.0.1:0'",
            &port,
            "listen = 'unix:DIR/s'",
            "listen = 'unix:DIR/text/m'",
            "listen = 'unix:DIR/directory'",
        ]);
        let spool = self.one_of(&["DIR/spool", "DIR/new/new/spool", "DIR/text/spool", "DIR/text", "DIR/h.sqlite"]);
        let mta = self.one_of(&[
            "",
            "kind = 'postfix'\nlog = 'DIR/text'",
            "kind = 'exim'\nlog = 'DIR/none'",
            "kind = 'postfix'\nlog = 'DIR/text'\ndomain_key_file = 'DIR/none'",
            "kind = 'postfix'\nlog = 'DIR/text'\ndomain_key_file = 'DIR/directory'",
        ]);
        let mut text = format!(
            "[history]\n{history}\n[socket]\n{socket}\ngroup = '{group}'\n[metrics]\n{metrics}\n[spool]\ndirectory = '{spool}'\n\
             [mta]\n{mta}\n"
        );
        for nth in 0..self.random.usize(..3) {
            let sink = self.one_of(&[
                "type = 'syslog'\naddress = 'DIR/log'",
                "type = 'file'\npath = 'DIR/events'",
                "type = 'file'\npath = 'DIR/none/events'",
                "type = 'file'\npath = 'DIR/h.sqlite-wal'",
                "type = 'file'\npath = 'DIR/directory'",
                "type = 'splunk-hec'\nurl = 'http://127.0.0.1:1/'\ntoken_file = 'DIR/text'",
                "type = 'splunk-hec'\nurl = 'http://127.0.0.1:1/'\ntoken_file = 'DIR/none'",
                "type = 'syslog'\ntransport = 'tls'\naddress = '127.0.0.1:1'\ntls_ca = 'DIR/text'",
                "type = 'stdout'\nsend = []",
            ]);
            text.push_str(&format!("[sink.s{nth}]\n{sink}\n"));
        }
        text
    }
}

/// What `observer run` starts after it has attached, in its order.
fn start(config: &Config) -> Result<(), String> {
    let said = |failure: Failure| failure.text;
    let record = config.history.as_ref().map(Recording::open).transpose().map_err(said)?;
    let outlets = Outlets::start(&config.sinks, config.spool.clone(), host().unwrap()).map_err(said)?;
    let mta = config.mta.as_ref().map(MtaLog::start).transpose().map_err(said);
    let alerts = Alerts::listed(config).map_err(said);
    let socket = config.socket.as_ref().map(|socket| Socket::listen(&socket.path, &socket.group));
    let socket = socket.transpose().map_err(|error| error.to_string());
    let metrics = config.metrics.as_ref().map(|metrics| {
        MetricsServer::serve(&metrics.listen, &own_group(), Metrics::new(Timestamp::now(), 0))
            .map_err(|error| error.to_string())
    });
    let metrics = metrics.transpose();
    let started = (mta.as_ref().err().cloned(), socket.as_ref().err().cloned(), metrics.as_ref().err().cloned());
    drop((socket, metrics));
    if let Ok(Some(mta)) = mta {
        drop(mta.finish());
    }
    outlets.finish(Duration::from_millis(200));
    drop(record.map(Recording::finish));
    alerts?.finish();
    match started {
        (None, None, None) => Ok(()),
        (a, b, c) => Err([a, b, c].into_iter().flatten().collect::<Vec<_>>().join("; ")),
    }
}

fn own_group() -> String {
    rustix::process::getegid().as_raw().to_string()
}

fn furnish(place: &Path) {
    std::fs::write(place.join("text"), "one line\n").unwrap();
    std::fs::create_dir(place.join("directory")).unwrap();
    symlink("nowhere/at/all", place.join("dangling")).unwrap();
}

#[tokio::test]
async fn what_the_check_passes_starts() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (mut passed, mut refused) = (0, 0);
    for seed in 0..CONFIGURATIONS {
        let place = Place::new();
        furnish(place.path());
        let text = Generator { random: fastrand::Rng::with_seed(seed), port }.configuration();
        let text = text.replace("DIR", &place.path().display().to_string());
        let Ok(config) = parse(&[("observer.toml", &text)], &Surroundings::default()) else { panic!("{text}") };
        let (places, files, remarks) = Default::default();
        let loaded = Loaded { config, places, files, remarks };
        let check = as_user(None, || examine(&loaded, Purpose::Check)).unwrap();
        let run = as_user(None, || examine(&loaded, Purpose::Start)).unwrap();
        // Nobody is up: both find the same.
        assert_eq!(check, run, "{text}");
        let is_passed = check.reject().is_ok();
        if is_passed {
            assert_eq!(start(&loaded.config), Ok(()), "seed {seed}: passed, and does not start:\n{text}");
            passed += 1;
        } else {
            refused += 1;
        }
        // Nothing that was there has been touched.
        assert_eq!(std::fs::read_to_string(place.path().join("text")).unwrap(), "one line\n", "seed {seed}:\n{text}");
    }
    assert!(passed >= LEAST && refused >= LEAST, "{passed} passed, {refused} refused");
}
