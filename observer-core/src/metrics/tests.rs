use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use observer_common::address::Address;
use observer_common::record::{DestinationKey, EndCode, OutcomeKey, end, fact, phase};

use super::*;
use crate::count::{Totals, missing};
use crate::sample::{event, time};

mod monotonic;
mod text;

/// A sample's name with its labels, and its value.
type Samples = BTreeMap<(String, Vec<(String, String)>), f64>;

const REFUSED: EndCode = EndCode {
    facts: fact::RST,
    sk_err: libc::ECONNREFUSED as u16,
    phase: phase::SYN_SENT,
    end: end::CLOSE,
    icmp_type: 0,
    icmp_code: 0,
    soft_err: 0,
    family: 4,
};
const CONNECTED: EndCode =
    EndCode { facts: fact::BYTES_RECEIVED, sk_err: 0, phase: phase::ESTABLISHED, end: end::LOCAL_FIN, ..REFUSED };

fn outcome(last: u8, dport: u16, code: EndCode) -> OutcomeKey {
    let daddr = Address::from_octets(Ipv4Addr::new(203, 0, 113, last).to_ipv6_mapped().octets());
    OutcomeKey { saddr: Address::UNSPECIFIED, destination: DestinationKey { daddr, dport, reserved: 0 }, code }
}

fn totals(outcomes: &[(OutcomeKey, u64)]) -> Totals {
    let ended: u64 = outcomes.iter().map(|(_, count)| count).sum();
    let mut totals = Totals { in_flight: 3, ..Totals::default() };
    totals.stats[stat::ATTEMPTS as usize] = ended + 4;
    totals.stats[stat::OUTCOMES as usize] = ended;
    totals.stats[stat::LOST_ATTEMPTS_FULL as usize] = 1;
    totals.stats[stat::RING_FULL as usize] = 2;
    totals.known.add(outcomes);
    totals
}

fn reading(totals: Totals) -> Reading {
    Reading {
        now: time(),
        totals,
        events_delivered: 40,
        events_malformed: 0,
        events_unnamed: 0,
        limits: Vec::new(),
        skipped_runs: 5,
        hooks: vec![HookMetrics { name: "tcp_reset".to_owned(), group: "evidence".to_owned(), is_attached: false }],
        sinks: Vec::new(),
        history: None,
        readers: None,
        mta: None,
    }
}

fn sink(name: &str) -> SinkMetrics {
    SinkMetrics {
        name: name.to_owned(),
        delivered: 17,
        refused: 1,
        dropped: BTreeMap::from([("queue full".to_owned(), 2)]),
        queued: 3,
        queue_bytes: 2_400,
        queue_limit_bytes: 64 << 20,
        trouble_since: Some(time() - Duration::from_secs(90)),
        spool: Some(SpoolMetrics {
            messages: 7,
            bytes: 4_096,
            limit_bytes: 65_536,
            oldest: Some(time() - Duration::from_millis(1_500)),
            dropped: BTreeMap::from([("spool full".to_owned(), 4)]),
            corrupt: 1,
        }),
    }
}

/// The text of a metrics endpoint, read as the format says it is to be read:
/// <https://prometheus.io/docs/instrumenting/exposition_formats/>.
fn parse(text: &str) -> Samples {
    assert!(text.ends_with('\n'), "the last line must end with a line feed");
    let lines = text.split('\n').filter(|line| !line.is_empty() && !line.starts_with("# "));
    let mut samples = Samples::new();
    for line in lines {
        let (sample, value) = sample(line);
        assert!(samples.insert(sample.clone(), value).is_none(), "twice: {sample:?}");
    }
    samples
}

fn sample(line: &str) -> ((String, Vec<(String, String)>), f64) {
    let end = line.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap();
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        (labels, rest) = label_set(inside);
    }
    let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("no value in {line:?}"));
    ((name.to_owned(), labels), value.parse().unwrap_or_else(|_| panic!("no number in {line:?}")))
}

fn label_set(mut rest: &str) -> (Vec<(String, String)>, &str) {
    let mut labels = Vec::new();
    while !rest.starts_with('}') {
        let (name, after) = rest.split_once("=\"").unwrap();
        let (value, after) = quoted(after);
        labels.push((name.to_owned(), value));
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    (labels, &rest[1..])
}

/// Up to the closing quote.
fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => match chars.next().unwrap().1 {
                'n' => value.push('\n'),
                c @ ('\\' | '"') => value.push(c),
                other => panic!("no escape: {other:?}"),
            },
            other => value.push(other),
        }
    }
    panic!("no closing quote in {text:?}");
}

fn get(samples: &Samples, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    samples.get(&(name.to_owned(), labels)).copied()
}
