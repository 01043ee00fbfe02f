//! What `observer run` sends, into real receivers: needs root, and from Debian
//! rsyslog, rsyslog-gnutls and nats-server; others are unpacked below `.cache`. `./x`
//! sees to all of them. Traffic stays in namespaces of the lab and on loopback.
//!
//! - `delivery`: refused, timed-out and other connections of the lab; every event
//!   arrives at every receiver with every field equal.
//! - `syslog-ng`: the same for syslog-ng.
//! - `journal`: the same for systemd-journald, read back with journalctl, and for
//!   systemd-journal-remote behind it.
//! - `mail_journal`: the other way round: a mail server's lines in a systemd-journald come
//!   to observer, and with them the deliveries behind attempts.
//! - `prometheus`: what Prometheus has scraped is what the events and the ledger say.
//! - `tenzir`: the same for Tenzir, in seven formats and protocols. Only `./x receivers`
//!   runs it, because Tenzir is large.
//! - `stream`: NATS by TLS, killed in mid-stream, and a spool that is sent twice: the
//!   stream has each event once.
//! - `outage`: every receiver killed and away for a minute, connections cut in the
//!   middle of a record, observer itself killed: nothing is lost, what comes twice has
//!   the same id, and the order is kept.
//! - `expired`: a receiver whose certificate has expired gets nothing, which is said,
//!   and all of it when its certificate is in order again.
//! - `disk`: a full disk below the spool.
//! - `reload`: SIGHUP changes sinks without a lost event, and refuses what is wrong.

#[path = "receivers/certificates.rs"]
mod certificates;
#[path = "receivers/cutter.rs"]
mod cutter;
#[path = "receivers/daemon.rs"]
mod daemon;
#[path = "receivers/delivery.rs"]
mod delivery;
#[path = "receivers/http.rs"]
mod http;
#[path = "receivers/journal.rs"]
mod journal;
#[path = "receivers/mail_journal.rs"]
mod mail_journal;
#[path = "receivers/nats.rs"]
mod nats;
#[path = "receivers/outage.rs"]
mod outage;
#[path = "privileged.rs"]
mod privileged;
#[path = "receivers/prometheus.rs"]
mod prometheus;
#[path = "receivers/reading.rs"]
mod reading;
#[path = "receivers/receiver.rs"]
mod receiver;
#[path = "receivers/reload.rs"]
mod reload;
#[path = "receivers/rsyslog.rs"]
mod rsyslog;
#[path = "receivers/spooled.rs"]
mod spooled;
#[path = "receivers/stream.rs"]
mod stream;
#[path = "receivers/syslog_ng.rs"]
mod syslog_ng;
#[path = "receivers/tenzir.rs"]
mod tenzir;
#[path = "receivers/traffic.rs"]
mod traffic;
#[path = "receivers/unpacked.rs"]
mod unpacked;

use std::process::ExitCode;

use libtest_mimic::Trial;

fn main() -> ExitCode {
    let args = match privileged::begin("receivers' tests") {
        Ok(args) => args,
        Err(code) => return code,
    };
    let trials = vec![
        Trial::test("delivery", run(delivery::every_event_arrives_with_every_field)),
        Trial::test("syslog-ng", run(delivery::syslog_ng_gets_every_event_with_every_field)),
        Trial::test("journal", run(delivery::the_journal_gets_every_event_with_every_field)),
        Trial::test("mail_journal", run(mail_journal::deliveries_come_from_the_journal)),
        Trial::test("prometheus", run(prometheus::prometheus_has_the_ledger)),
        Trial::test("stream", run(stream::a_stream_has_each_event_once)),
        Trial::test("expired", run(delivery::an_expired_certificate_costs_a_delay)),
        Trial::test("disk", run(outage::a_full_disk_below_the_spool_is_said_and_recovered_from)),
        Trial::test("reload", run(reload::sinks_change_without_a_lost_event)),
        // Half a gigabyte: `./x receivers` fetches it and runs this.
        Trial::test("tenzir", run(tenzir::tenzir_reads_every_event_with_every_field)).with_ignored_flag(true),
        Trial::test("outage", run(outage::nothing_is_lost_by_an_outage)),
    ];
    privileged::run(&args, trials).exit_code()
}

fn run(trial: fn() -> anyhow::Result<()>) -> impl FnOnce() -> Result<(), libtest_mimic::Failed> {
    move || trial().map_err(|error| format!("{error:?}").into())
}
