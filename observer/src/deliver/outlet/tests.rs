use jiff::Timestamp;
use observer_core::label::{Label, Reason};
use observer_core::minute::{MinuteOutcome, Minutes};
use observer_core::sample::{event, host, ip};

use super::*;
use crate::config::{Surroundings, parse};

const LONG: Duration = Duration::from_secs(60);

fn config(text: &str) -> SinkConfig {
    parse(&[("test", text)], &Surroundings::default()).unwrap().sinks.remove(0)
}

fn file_sink(directory: &Path, more: &str) -> (Outlet, PathBuf) {
    let path = directory.join("events");
    let text =
        format!("[sink.test]\ntype = 'file'\npath = '{}'\nsend = ['failures', 'minutes']\n{more}", path.display());
    (Outlet::start(config(&text), directory).unwrap(), path)
}

fn refused() -> SharedRecord {
    event(Label::Refused, Some(Reason::Rst)).into()
}

/// As many outcomes as a minute can have, at the end, when there is no later.
#[test]
fn the_largest_minute_fits_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let (mut outlet, path) = file_sink(directory.path(), "");
    let mut minutes = Minutes::new(Timestamp::UNIX_EPOCH);
    for nth in 0..65_536_u32 {
        let dst_ip = Some(std::net::Ipv4Addr::from_bits(0x0a00_0000 + nth).into());
        let src_ip = Some(ip("192.0.2.1"));
        let reason = Some(Reason::Rst);
        let (label, redirected) = (Label::Refused, false);
        let outcome = MinuteOutcome { src_ip, dst_ip, dst_port: Some(25), label, reason, redirected };
        minutes.add(Timestamp::UNIX_EPOCH, outcome, 1);
    }
    let minutes = minutes.take_all(&host());
    let count = minutes.len();
    assert_eq!(count, 65_536);
    minutes.into_iter().for_each(|minute| outlet.offer(&minute.into()));
    end_all(std::slice::from_mut(&mut outlet), LONG);
    let status = outlet.status();
    assert_eq!((status.delivered, status.dropped_total(), status.queued), (count as u64, 0, 0));
    assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), count);
}

#[test]
fn a_queue_takes_what_fits_and_counts_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let (mut outlet, path) = file_sink(directory.path(), "queue_size = '1M'\n");
    let room = (1 << 20) / refused().retained_bytes();
    for _ in 0..room + 7 {
        outlet.offer(&refused());
    }
    let status = outlet.status();
    assert_eq!((status.queued, status.dropped.get(QUEUE_FULL)), (room, Some(&7)));
    assert!(status.queue_bytes <= status.queue_limit && status.queue_limit == 1 << 20, "{status:?}");
    end_all(std::slice::from_mut(&mut outlet), LONG);
    assert_eq!(std::fs::read_to_string(path).unwrap().lines().count() as u64, room);
    assert_eq!((outlet.status().queued, outlet.status().queue_bytes), (0, 0));
}

/// What the documentation says an event takes.
#[test]
fn an_event_takes_less_than_800_bytes() {
    let bytes = refused().retained_bytes();
    assert!((400..800).contains(&bytes), "{bytes}");
}

#[test]
fn a_spool_is_adopted_only_by_what_writes_the_same_messages() {
    let syslog = |name: &str, format: &str, address: &str| {
        config(&format!(
            "[sink.{name}]\ntype = 'syslog'\ntransport = 'tcp'\naddress = '{address}'\nformat = '{format}'\n"
        ))
    };
    let directory = tempfile::tempdir().unwrap();
    let outlet = Outlet::start(syslog("siem", "json", "127.0.0.1:1"), directory.path()).unwrap();
    assert!(outlet.can_adopt(&syslog("siem", "json", "127.0.0.1:2")));
    assert!(!outlet.can_adopt(&syslog("siem", "cef", "127.0.0.1:1")));
    assert!(!outlet.can_adopt(&syslog("other", "json", "127.0.0.1:1")));
    let bulk = config("[sink.siem]\ntype = 'elasticsearch'\nurl = 'http://127.0.0.1:1/_bulk'\nformat = 'json'\n");
    assert!(!outlet.can_adopt(&bulk), "lines are not syslog messages");
    let file = config("[sink.siem]\ntype = 'file'\npath = '/tmp/x'\nformat = 'json'\n");
    assert!(!outlet.can_adopt(&file));
}
