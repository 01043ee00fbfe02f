mod tracking;

use std::net::IpAddr;
use std::time::Duration;

use jiff::{Timestamp, ToSpan};
use proptest::prelude::*;

use super::{Scope, ScopeTracker, Verdict, assess};
use crate::label::{Label, Origin, Reason};
use crate::sample;
use crate::tally::{Budget, Outcome, Prefixes, Seen, Tallies, Window};

const REFUSED: Outcome = (Label::Refused, Some(Reason::Rst));
const TIMED_OUT: Outcome = (Label::Timeout, Some(Reason::SynTimeout));
const CANCELLED: Outcome = (Label::Cancelled, Some(Reason::Early));
const CONNECTED: Outcome = (Label::Connected, None);

fn after(seconds: i64) -> Timestamp {
    sample::time() + seconds.seconds()
}

#[derive(Default)]
struct Host {
    tallies: Tallies,
    /// What follows is redirected to this host itself.
    redirects: bool,
}

impl Host {
    fn add(&mut self, from: &str, to: &str, outcome: Outcome, count: u64, at: i64) -> &mut Self {
        let handshake = (outcome == CONNECTED).then_some(Duration::from_millis(20));
        let (saddr, daddr, at) = (Some(sample::ip(from)), sample::ip(to), after(at));
        let (dport, elapsed, redirected) = (25, handshake, self.redirects);
        self.tallies.add(&Seen { at, saddr, daddr, dport, outcome, handshake, elapsed, count, redirected }, at);
        self
    }

    /// Attempts from the usual source address of the family.
    fn to(&mut self, to: &str, outcome: Outcome, count: u64) -> &mut Self {
        let from = if to.contains(':') { "2001:db8:9::1" } else { "192.0.2.10" };
        self.add(from, to, outcome, count, 0)
    }

    /// Destinations in three prefixes that work.
    fn healthy(&mut self) -> &mut Self {
        ["198.51.100.1", "198.51.101.1", "198.51.102.1"].iter().for_each(|to| _ = self.to(to, CONNECTED, 20));
        self
    }

    fn verdicts(&self) -> Vec<Verdict> {
        assess(&self.tallies, Window::TenMinutes, after(0))
    }

    fn scopes(&self) -> Vec<Scope> {
        self.verdicts().into_iter().map(|verdict| verdict.scope).collect()
    }

    fn lines(&self) -> Vec<String> {
        self.verdicts().iter().map(ToString::to_string).collect()
    }

    fn kinds(&self) -> Vec<String> {
        self.verdicts().into_iter().map(|verdict| format!("{} {}", verdict.scope.as_str(), verdict.scope)).collect()
    }
}

#[test]
fn everything() {
    let mut host = Host::default();
    for net in 0..4 {
        host.to(&format!("203.0.{net}.1"), TIMED_OUT, 3).to(&format!("2001:db8:{net}::1"), TIMED_OUT, 2);
    }
    host.to("203.0.0.1", CONNECTED, 1);
    assert_eq!(
        host.lines(),
        ["Fails for every destination on port 25, 8 in all: the provider or a firewall may block it: \
          20 of 21 attempts failed in the last ten minutes, mostly timeout"]
    );
}

#[test]
fn what_this_host_itself_stops_is_not_blamed_on_others() {
    const NO_ROUTE: Outcome = (Label::Unreachable, Some(Reason::NoRoute));
    const BY_A_ROUTER: Outcome = (Label::Unreachable, Some(Reason::IcmpNetUnreachable));
    const FILTERED: Outcome = (Label::Blocked, Some(Reason::LocalFirewall));
    let all = |outcomes: &[(Outcome, u64, i64)]| {
        let mut host = Host::default();
        for &(outcome, count, at) in outcomes {
            (0..3).for_each(|net| _ = host.add("192.0.2.10", &format!("203.0.{net}.1"), outcome, count, at));
        }
        host.lines().concat()
    };
    assert_eq!(
        all(&[(NO_ROUTE, 13, 0)]),
        "Fails for every destination on port 25, 3 in all: this host itself stops it: \
         39 of 39 attempts failed in the last ten minutes, mostly unreachable"
    );
    for (outcomes, is_own) in [
        (&[(FILTERED, 5, 0)][..], true),
        (&[(FILTERED, 5, 0), (TIMED_OUT, 4, 0)], true),
        (&[(FILTERED, 4, 0), (TIMED_OUT, 5, 0)], false),
        (&[(BY_A_ROUTER, 5, 0)], false),
        (&[(NO_ROUTE, 5, 0), (BY_A_ROUTER, 4, 0)], true),
        (&[(NO_ROUTE, 4, 0), (BY_A_ROUTER, 5, 0)], false),
        // What it was before the window is no evidence of what it is now.
        (&[(NO_ROUTE, 90, -7_200), (BY_A_ROUTER, 5, 0)], false),
    ] {
        let line = all(outcomes);
        assert_eq!(line.contains("this host itself stops it"), is_own, "{line}");
        assert_eq!(line.contains("the provider or a firewall may block it"), !is_own, "{line}");
    }
}

#[test]
fn one_busy_destination_is_not_everything() {
    let mut host = Host::default();
    host.healthy().to("203.0.113.1", REFUSED, 5_000);
    assert_eq!(
        host.lines(),
        ["Fails for destination 203.0.113.1:25 alone: 5000 of 5000 attempts failed in the last ten minutes, \
          mostly refused; 60 of 60 elsewhere succeeded"]
    );
}

#[test]
fn one_family() {
    let mut host = Host::default();
    host.healthy();
    (0..3).for_each(|net| _ = host.to(&format!("2001:db8:{net}::1"), TIMED_OUT, 2));
    assert_eq!(
        host.lines(),
        ["Fails for IPv6 on port 25 alone, 3 destinations: 6 of 6 attempts failed in the last ten minutes, \
          mostly timeout; 60 of 60 of the other family succeeded"]
    );
    let mut host = Host::default();
    for net in 0..3 {
        host.to(&format!("203.0.{net}.1"), TIMED_OUT, 2).to(&format!("2001:db8:{net}::1"), CONNECTED, 2);
    }
    assert_eq!(host.kinds(), ["only-ipv4 IPv4 on port 25"]);
}

#[test]
fn one_source_address() {
    let mut host = Host::default();
    for net in 0..4 {
        let to = format!("203.0.{net}.1");
        host.add("192.0.2.11", &to, REFUSED, 6, 0).add("192.0.2.10", &to, CONNECTED, 6, 0);
    }
    // This one is called from the bad address only.
    host.add("192.0.2.11", "203.0.9.1", REFUSED, 9, 0);
    assert_eq!(
        host.lines(),
        ["Fails from source address 192.0.2.11 alone, for 5 destinations: 33 of 33 attempts failed in the last \
          ten minutes, mostly refused; 24 of 24 from others succeeded"]
    );
}

#[test]
fn the_source_of_one_destination_is_not_to_blame() {
    let mut host = Host::default();
    host.healthy().add("192.0.2.11", "203.0.113.1", REFUSED, 20, 0);
    assert_eq!(host.kinds(), ["destination destination 203.0.113.1:25"]);
}

/// A web application submits to this host, while the provider lets nothing out.
#[test]
fn what_stays_on_this_host_says_nothing_of_the_outside() {
    for own in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "192.0.2.10"] {
        let mut host = Host::default();
        (0..3).for_each(|net| _ = host.to(&format!("203.0.{net}.1"), TIMED_OUT, 5));
        host.add(if own == "::ffff:127.0.0.1" { "127.0.0.1" } else { own }, own, CONNECTED, 40, 0);
        assert_eq!(
            host.lines(),
            ["Fails for every destination on port 25, 3 in all: the provider or a firewall may block it: \
              15 of 15 attempts failed in the last ten minutes, mostly timeout"],
            "{own}"
        );
    }
    // Two sources, of which one goes nowhere but to this host.
    let mut host = Host::default();
    for net in 0..4 {
        host.add("192.0.2.11", &format!("203.0.{net}.1"), REFUSED, 6, 0);
    }
    host.add("192.0.2.10", "192.0.2.10", CONNECTED, 20, 0);
    assert_eq!(host.kinds(), ["everything every destination on port 25"]);
    // IPv6 fails, and IPv4 is known from this host alone.
    let mut host = Host::default();
    (0..3).for_each(|net| _ = host.to(&format!("2001:db8:{net}::1"), TIMED_OUT, 2));
    host.add("127.0.0.1", "127.0.0.1", CONNECTED, 40, 0);
    assert_eq!(host.kinds(), ["everything every destination on port 25"]);
}

#[test]
fn what_of_this_host_fails_is_told_by_itself() {
    let mut host = Host::default();
    host.healthy();
    // From another of its addresses: the host says that it is its own.
    host.tallies.set_own(["192.0.2.12/32".parse().unwrap()].into_iter().collect());
    host.add("192.0.2.10", "192.0.2.12", CONNECTED, 20, 0).add("127.0.0.1", "127.0.0.1", REFUSED, 20, 0);
    assert_eq!(
        host.lines(),
        [
            "Fails for destination 127.0.0.1:25 alone: 20 of 20 attempts failed in the last ten minutes, mostly refused; \
          80 of 80 elsewhere succeeded"
        ]
    );
}

#[test]
fn a_prefix_and_a_destination_elsewhere() {
    let mut host = Host::default();
    host.healthy().to("203.0.113.1", REFUSED, 4).to("203.0.113.2", TIMED_OUT, 9).to("203.0.114.1", REFUSED, 7);
    assert_eq!(
        host.lines(),
        [
            "Fails for prefix 203.0.113.0/24 on port 25, 2 destinations: 13 of 13 attempts failed in the last ten \
             minutes, mostly timeout; 60 of 67 elsewhere succeeded",
            "Fails for destination 203.0.114.1:25: 7 of 7 attempts failed in the last ten minutes, mostly \
             refused; 60 of 73 elsewhere succeeded",
        ]
    );
}

#[test]
fn a_rate_limit() {
    let mut host = Host::default();
    for minute in 0..10 {
        let load = [8u64, 40, 25, 12, 33, 50, 19, 41, 60, 5][minute as usize];
        let at = minute * 60 - 590;
        host.add("192.0.2.10", "203.0.113.1", CONNECTED, load.min(20), at);
        host.add("192.0.2.10", "203.0.113.1", REFUSED, load.saturating_sub(20), at + 20);
    }
    assert_eq!(
        host.lines(),
        ["Fails for destination 203.0.113.1:25 after about 20 connections in 60 s, a rate limit: 129 of 293 \
          attempts failed in the last ten minutes, mostly refused"]
    );
}

#[test]
fn too_little_data() {
    let short = ["Too little data to tell how far it reaches on port 25: 4 of 4 attempts failed in the last ten \
                  minutes, mostly refused"];
    assert_eq!(Host::default().to("203.0.113.1", REFUSED, 4).lines(), short);
    // Enough attempts, and nothing to compare with.
    assert_eq!(Host::default().to("203.0.113.1", REFUSED, 400).verdicts()[0].scope, Scope::TooLittleData { port: 25 });
}

#[test]
fn what_is_no_failure_of_a_scope() {
    assert_eq!(Host::default().verdicts(), []);
    assert_eq!(Host::default().healthy().verdicts(), []);
    // What the application dropped, some failures among successes, four in a row.
    let mut host = Host::default();
    host.healthy().to("203.0.113.1", CANCELLED, 500);
    host.to("203.0.114.1", REFUSED, 8).to("203.0.114.1", CONNECTED, 3).to("203.0.115.1", REFUSED, 4);
    assert_eq!(host.verdicts(), []);
}

#[test]
fn a_window_ends() {
    let mut host = Host::default();
    host.healthy().to("203.0.113.1", REFUSED, 50);
    let scopes = |window, at| assess(&host.tallies, window, after(at)).len();
    assert_eq!([scopes(Window::TenMinutes, 580), scopes(Window::TenMinutes, 700)], [1, 0]);
    assert_eq!([scopes(Window::Hour, 3_500), scopes(Window::Hour, 3_700)], [1, 0]);
}

#[test]
fn as_json() {
    let mut host = Host::default();
    host.healthy().to("203.0.113.1", REFUSED, 50);
    assert_eq!(
        serde_json::to_value(&host.verdicts()[0]).unwrap(),
        serde_json::json!({
            "scope": "destination", "ip": "203.0.113.1", "port": 25, "window": "10m", "attempts": 50, "failures": 50,
            "destinations": 1, "label": "refused", "elsewhere_attempts": 60, "elsewhere_successes": 60,
        })
    );
}

#[test]
fn what_was_redirected_to_this_host_is_no_success_elsewhere() {
    let with_successes = |redirects: bool| {
        let mut host = Host::default();
        for last in 1..4 {
            host.to(&format!("203.0.{last}.5"), TIMED_OUT, 10);
        }
        host.redirects = redirects;
        for last in 1..9 {
            host.to(&format!("198.51.{last}.7"), CONNECTED, 10);
        }
        host.scopes()
    };
    assert_eq!(with_successes(true), [Scope::Everything { port: 25 }]);
    assert!(!with_successes(false).contains(&Scope::Everything { port: 25 }));
}

#[test]
fn what_fails_because_it_is_redirected_fails_here() {
    let mut host = Host { redirects: true, ..Host::default() };
    for last in 1..5 {
        host.to(&format!("203.0.{last}.5"), REFUSED, 10);
    }
    let verdicts = host.verdicts();
    let numbers: Vec<_> = verdicts.iter().map(|verdict| (verdict.scope.clone(), verdict.numbers.origin)).collect();
    assert_eq!(numbers, [(Scope::Everything { port: 25 }, Some(Origin::Local))]);
    // Beside what fails of itself, it is no sign that the other family does not work.
    let mut host = Host::default();
    for last in 1..5 {
        host.to(&format!("2001:db8:{last}::5"), TIMED_OUT, 10).to(&format!("203.0.{last}.6"), CONNECTED, 10);
    }
    host.redirects = true;
    host.to("203.0.9.5", REFUSED, 30);
    assert!(host.scopes().contains(&Scope::OnlyIpv6 { port: 25 }), "{:?}", host.scopes());
}

/// A few networks of a few hosts, from two addresses, in runs that fail or not.
pub(super) fn any_run() -> impl Strategy<Value = (Seen, i64)> {
    let daddr = prop_oneof![
        (0u8..4, 0u8..3).prop_map(|(net, host)| IpAddr::from([203, 0, net, host])),
        (0u16..3, 0u16..2).prop_map(|(net, host)| IpAddr::from([0x2001, 0xdb8, net, 0, 0, 0, 0, host])),
    ];
    let outcome = prop_oneof![3 => Just(REFUSED), 3 => Just(TIMED_OUT), 3 => Just(CONNECTED), 1 => Just(CANCELLED)];
    let count = prop_oneof![1u64..3, 1u64..40];
    (daddr, 0u8..2, outcome, count, 0i64..90, 25u16..27).prop_map(|(daddr, host, outcome, count, step, dport)| {
        let saddr = Some(IpAddr::from([192, 0, 2, host]));
        let seen = Seen {
            at: after(0),
            saddr,
            daddr,
            dport,
            outcome,
            handshake: None,
            elapsed: None,
            count,
            redirected: false,
        };
        (seen, step)
    })
}

/// No scope within another, and none twice.
fn assert_apart(scopes: &[Scope]) -> Result<(), TestCaseError> {
    for (index, scope) in scopes.iter().enumerate() {
        let others = || scopes.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, other)| other);
        prop_assert!(!others().any(|other| other == scope || other.covers(scope)), "{scopes:?}");
    }
    let ports = scopes.iter().filter_map(|scope| match scope {
        Scope::Everything { port } => Some(*port),
        _ => None,
    });
    for everything in ports {
        let is_alone = |other: &Scope| matches!(other, Scope::Destination { port, .. } if *port == everything);
        prop_assert!(!scopes.iter().any(is_alone));
    }
    Ok(())
}

proptest! {
    #[test]
    fn never_this_host_alone_and_everything(runs in prop::collection::vec(any_run(), 0..60), most in 0u8..3) {
        let mut tallies = Tallies::default();
        for (mut seen, _) in runs {
            // Also hosts for which nearly all fails.
            if most > 0 && seen.dport == 25 {
                seen.outcome = REFUSED;
            }
            tallies.add(&seen, seen.at);
        }
        for window in [Window::TenMinutes, Window::Hour] {
            let verdicts = assess(&tallies, window, after(0));
            assert_apart(&verdicts.iter().map(|verdict| verdict.scope.clone()).collect::<Vec<_>>())?;
            prop_assert!(verdicts.is_sorted_by(|a, b| a.scope < b.scope));
            for Verdict { numbers, .. } in &verdicts {
                prop_assert!(numbers.failures <= numbers.attempts && numbers.failures > 0);
                prop_assert!(numbers.elsewhere_successes <= numbers.elsewhere_attempts);
            }
            prop_assert_eq!(&verdicts, &assess(&tallies, window, after(0)));
        }
    }

    #[test]
    fn the_order_of_arrival_does_not_matter(runs in prop::collection::vec(any_run(), 0..40), seed in any::<u64>()) {
        let fill = |runs: &[(Seen, i64)]| {
            let mut tallies = Tallies::new(Budget::default(), Prefixes::default());
            runs.iter().for_each(|(seen, _)| tallies.add(seen, seen.at));
            assess(&tallies, Window::TenMinutes, after(0))
        };
        let mut shuffled = runs.clone();
        shuffled.sort_by_cached_key(|(seen, step)| seed.wrapping_mul(seen.count * 31 + *step as u64 + 7) >> 40);
        prop_assert_eq!(fill(&runs), fill(&shuffled));
    }
}
