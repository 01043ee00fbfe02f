//! Mail servers that are set up otherwise, each with a few messages.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use observer_core::event::Event;
use observer_core::join::Verdict;
use observer_core::label::{Label, Reason};
use serde_json::Value;

use crate::compare::{Tried, trial_of};
use crate::exchangers::diagnose;
use crate::post::{BROKEN_TLS, Manner, NARROW};
use crate::run;
use crate::server::{Server, Setting, Way};

const POSTFIX: Setting = Setting::plain(Server::Postfix);
const EXIM: Setting = Setting::plain(Server::Exim);
const CALLOUTS: Setting = Setting { way: Way::Callouts, ..EXIM };

pub(crate) fn trials() -> Vec<Trial> {
    let of = |name: &str, setting: Setting, check: fn(&Tried) -> Result<()>| {
        Trial::test(name, move || run(|| checked(&trial_of(setting)?, check)))
    };
    let tls = |lines, logs| Setting { rows: BROKEN_TLS, lines, logs, ..POSTFIX };
    let narrow = |length, logs| Setting {
        rows: NARROW,
        length,
        lines: "smtp_data_xfer_timeout = 4s\nsmtp_data_done_timeout = 4s",
        logs,
        ..POSTFIX
    };
    vec![
        of("exim_fastopen", Setting { lines: "", ..EXIM }, asks_for_cookies),
        of("exim_callouts", CALLOUTS, callouts_are_of_no_message),
        of(
            "exim_bound_elsewhere",
            Setting { lines: "hosts_try_fastopen =\n  interface = 192.0.2.99", connects: false, ..EXIM },
            nothing_is_tried,
        ),
        of("exim_tls_broken", Setting { rows: BROKEN_TLS, lines: "hosts_try_fastopen =", ..EXIM }, nothing_more),
        of(
            "exim_tls_broken_required",
            Setting {
                rows: BROKEN_TLS,
                lines: "hosts_try_fastopen =\n  hosts_require_tls = *",
                unlogged: &[Manner::Garble, Manner::CutTls],
                ..EXIM
            },
            nothing_more,
        ),
        of(
            "exim_narrow_path",
            Setting {
                rows: NARROW,
                length: 100,
                lines: "hosts_try_fastopen =\n  data_timeout = 4s\n  final_timeout = 4s",
                ..EXIM
            },
            the_path_is_narrow,
        ),
        of(
            "postfix_soft_bounce",
            Setting { lines: "soft_bounce = yes", logs: "status=SOFTBOUNCE", ..POSTFIX },
            nothing_more,
        ),
        of(
            "postfix_bound_to_loopback",
            Setting { lines: "smtp_bind_address = 127.0.0.1", logs: "Invalid argument", ..POSTFIX },
            nothing_more,
        ),
        of(
            "postfix_bound_elsewhere",
            Setting {
                lines: "smtp_bind_address = 192.0.2.99\nsmtp_bind_address_enforce = yes",
                logs: "Cannot assign requested address",
                connects: false,
                ..POSTFIX
            },
            nothing_is_tried,
        ),
        of(
            "postfix_tls_required",
            Setting { lines: "smtp_tls_security_level = encrypt", logs: "TLS is required", ..POSTFIX },
            nothing_more,
        ),
        of("postfix_tls_broken", tls("smtp_tls_security_level = may", "Cannot start TLS"), nothing_more),
        // It tries without TLS what has waited so long.
        of(
            "postfix_tls_given_up",
            tls("smtp_tls_security_level = may\nminimal_backoff_time = 1s", "Cannot start TLS"),
            nothing_more,
        ),
        of("postfix_narrow_path", narrow(4_000, "timed out while sending message body"), the_path_is_narrow),
        of("postfix_narrow_end", narrow(100, "timed out while sending end of data"), the_path_is_narrow),
        of("postfix_two_instances", Setting { instances: 2, logs: "postfix-1/smtp[", ..POSTFIX }, nothing_more),
        of("postfix_probes", Setting { logs: "status=deliverable", way: Way::Probes, ..POSTFIX }, nothing_more),
        of(
            "postfix_probes_of_smtpd",
            Setting {
                lines: "smtpd_recipient_restrictions = reject_unverified_recipient, permit\naddress_verify_map =\n\
                        address_verify_poll_count = 1\nsmtpd_error_sleep_time = 0\nsmtpd_hard_error_limit = 1000",
                logs: "status=deliverable",
                way: Way::ProbesOfSmtpd,
                ..POSTFIX
            },
            nothing_more,
        ),
    ]
}

fn checked(tried: &Tried, check: fn(&Tried) -> Result<()>) -> Result<()> {
    check(tried).with_context(|| tried.log.clone())
}

/// Every delivery with its attempts, and no other, is enough.
fn nothing_more(_: &Tried) -> Result<()> {
    Ok(())
}

fn asks_for_cookies(tried: &Tried) -> Result<()> {
    let asked = tried.world.lab().server().inside(cookies_asked_for)?;
    println!("TFO cookies that were asked for: {asked}");
    ensure!(asked > 0, "Exim did not try TFO");
    Ok(())
}

/// SYNs that came with a request for a cookie of TFO.
fn cookies_asked_for() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/net/netstat")?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt: "));
    let (names, values) = lines.next().zip(lines.next()).context("no TcpExt in netstat")?;
    let mut counters = names.split(' ').zip(values.split(' '));
    let asked = counters.find(|(name, _)| *name == "TCPFastOpenCookieReqd").context("no TCPFastOpenCookieReqd")?;
    Ok(asked.1.parse()?)
}

/// Events at hosts of this manner.
fn events_at(tried: &Tried, manner: Manner) -> Vec<&Event> {
    let ips: BTreeSet<_> = tried.messages.iter().map(|message| message.ip(manner)).collect();
    tried.events.iter().filter(|event| event.dst.ip.is_some_and(|ip| ips.contains(&ip))).collect()
}

/// A host asks for the message, and what is sent then does not get there.
fn the_path_is_narrow(tried: &Tried) -> Result<()> {
    let events = events_at(tried, Manner::Narrow);
    let messages = tried.messages.iter().filter(|message| message.hosts.contains(&Manner::Narrow)).count();
    ensure!(events.len() == messages, "{} attempts for {messages} messages", events.len());
    for event in events {
        let is_stalled = event.label == Label::Timeout && event.reason == Some(Reason::Stalled);
        ensure!(is_stalled && event.evidence.unacked_bytes > Some(600), "no stall: {event:?}");
    }
    let of = tried.messages.iter().find(|message| message.hosts == [Manner::Narrow]).context("a message")?;
    first_cause(tried, &[&of.ip(Manner::Narrow).to_string()], "session-cut")
}

/// The server binds its sockets to an address that this host does not have, so it never calls connect().
fn nothing_is_tried(tried: &Tried) -> Result<()> {
    ensure!(tried.events.is_empty(), "connected: {:?}", tried.events);
    ensure!(tried.settled.deliveries.len() >= tried.messages.len(), "{:?}", tried.settled);
    first_cause(tried, &[], "wrong-source-address")
}

/// A callout's attempt is an attempt, and none of a message. Where the message follows at once, by
/// another process that Exim does not log, either can be its attempt.
fn callouts_are_of_no_message(tried: &Tried) -> Result<()> {
    let mut callouts = 0;
    for message in tried.messages.iter().filter(|message| !CALLOUTS.is_tried(message)) {
        let ips: Vec<_> = message.hosts.iter().map(|manner| message.ip(*manner)).collect();
        let events = tried.events.iter().filter(|event| event.dst.ip.is_some_and(|ip| ips.contains(&ip)));
        for event in events {
            let judged = tried.settled.attempts.iter().find(|judged| judged.id == event.id).context("an attempt")?;
            ensure!(judged.verdict == Verdict::Nothing && event.mta.is_none(), "{judged:?} {event:?}");
            callouts += 1;
        }
    }
    println!("{callouts} callouts failed, and are of no message");
    ensure!(callouts > 0, "there was no callout that failed");
    Ok(())
}

/// What diagnosis names first.
fn first_cause(tried: &Tried, words: &[&str], cause: &str) -> Result<()> {
    let diagnosis = diagnose(&tried.world, words)?;
    let first = diagnosis.pointer("/causes/0/cause").and_then(Value::as_str);
    ensure!(first == Some(cause), "{diagnosis:#}");
    println!("named first: {cause}");
    Ok(())
}
