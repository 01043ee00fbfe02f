//! Situations that real hosts met and public threads describe, as attempts and what was
//! looked up: one test for each, named after it. The module is part of `observer-core`'s unit
//! tests, whose cases it shares.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};

use super::walls::{AT_ONCE, FULL};
use super::{AttemptKind, CONNECTED, PROHIBITED, RST, SILENCE, START, entry, failed, now, walls};
use crate::diagnose::{Cause, Confidence, Diagnosis, Evidence, Seen, diagnose, together};
use crate::event::Evidence as Facts;
use crate::evidence::route::Route;
use crate::fact::own::OwnAddresses;
use crate::join::row::{Connect, DeliveryRow};
use crate::label::{Label, Origin, Reason};
use crate::mta::{DeliveryStatus, MtaKind as Server, Said};
use crate::record::entry::{DestinationTotals, Entry, Tally, minute};
use crate::sample;

/// A situation, and what is the case in it.
pub(super) struct Case {
    /// Named after it.
    pub(super) name: &'static str,
    /// Cases of one kind are mended together.
    pub(super) kind: &'static str,
    /// What is the case: any of these is right.
    pub(super) truth: &'static [Cause],
    /// What is to be said: the first cause, or the two that cannot be told apart.
    said: &'static [Cause],
    /// How surely.
    word: Confidence,
    build: fn() -> Evidence,
}

impl Case {
    pub(super) fn diagnosis(&self) -> Diagnosis {
        diagnose(&(self.build)(), now())
    }

    fn check(&self) {
        let diagnosis = self.diagnosis();
        let causes: Vec<Cause> = diagnosis.causes.iter().map(|likely| likely.cause).take(self.said.len()).collect();
        assert_eq!(causes, self.said, "{}: {:#?}", self.name, diagnosis.causes);
        assert_eq!(diagnosis.is_open, self.said.len() > 1, "{}: {:#?}", self.name, diagnosis.causes);
        let word = diagnosis.causes.first().map(|likely| likely.confidence);
        assert_eq!(word, (!self.said.is_empty()).then_some(self.word), "{}: {:#?}", self.name, diagnosis.causes);
    }
}

/// What a host recorded, in the order of time.
#[derive(Default)]
struct Host {
    entries: Vec<Entry>,
    own: OwnAddresses,
    second: i64,
}

impl Host {
    /// With the addresses that attempts come from unless told otherwise.
    fn new() -> Self {
        let own: [IpNet; 3] = ["192.0.2.10/32", "192.0.2.11/32", "2001:db8:1::10/128"].map(|own| own.parse().unwrap());
        Self { own: own.into_iter().collect(), ..Self::default() }
    }

    /// So many attempts, a second apart.
    fn tried(mut self, count: usize, kind: AttemptKind) -> Self {
        for _ in 0..count {
            let entry = entry(kind, self.second);
            self.own.learn(entry.src.ip, kind.dst.parse().unwrap());
            self.entries.push(entry);
            self.second += 1;
        }
        self
    }

    /// So many to each of these.
    fn each(self, destinations: &[&'static str], count: usize, kind: AttemptKind) -> Self {
        destinations.iter().fold(self, |host, dst| {
            let src = if dst.contains(':') && !kind.src.contains(':') { "2001:db8:1::10" } else { kind.src };
            host.tried(count, AttemptKind { dst, src, ..kind })
        })
    }

    /// As `observer diagnose` gathers it of history.
    fn about(&self, destination: &str) -> Evidence {
        let destination: IpAddr = destination.parse().unwrap();
        let mut subject = Seen::default();
        let to_it = |entry: &&Entry| entry.dst.ip == Some(destination);
        self.entries.iter().filter(to_it).for_each(|entry| subject.add(entry));
        let mut evidence = Evidence::about(destination, 25, self.own.clone(), subject);
        for totals in self.totals() {
            match totals.destination.ip() == destination {
                true => evidence.subject.complete(&totals),
                false => evidence.add_other(&totals),
            }
        }
        self.entries.iter().for_each(|entry| evidence.add_other_facts(entry));
        evidence
    }

    fn totals(&self) -> Vec<DestinationTotals> {
        let mut all: BTreeMap<_, DestinationTotals> = BTreeMap::new();
        for entry in &self.entries {
            let destination = (entry.dst.ip.unwrap(), 25).into();
            let totals =
                all.entry(destination).or_insert_with(|| DestinationTotals { destination, outcomes: BTreeMap::new() });
            let at = Timestamp::from_second(minute(entry.time)).unwrap();
            let tally = totals.outcomes.entry((entry.label, entry.reason));
            let tally = tally.or_insert(Tally { count: 0, redirected: 0, not_known: 0, first: at, last: at });
            (tally.count, tally.last) = (tally.count + 1, at);
            tally.redirected += u64::from(entry.evidence.redirected);
        }
        all.into_values().collect()
    }

    /// Every destination by itself, and those that fail alike together.
    fn judged(&self, asked: Option<&str>) -> Vec<Diagnosis> {
        let all: BTreeSet<IpAddr> = self.entries.iter().filter_map(|entry| entry.dst.ip).collect();
        together(all.iter().map(|dst| diagnose(&self.about(&dst.to_string()), now())).collect(), asked)
    }
}

/// Of three owners.
const THREE: [&str; 3] = ["203.0.113.5", "198.51.100.7", "233.252.0.9"];
const THREE_V6: [&str; 3] = ["2001:db8:a::1", "2001:db8:b::1", "2001:db8:c::1"];
const LOOPBACK: AttemptKind = AttemptKind { dst: "127.0.0.1", src: "127.0.0.1", ..CONNECTED };
const NO_ROUTE_V6: AttemptKind =
    AttemptKind { dst: "2001:db8:a::1", src: "", ..failed(Label::Unreachable, Reason::NoRoute, Origin::Local) };

const EACCES: AttemptKind = failed(Label::Unreachable, Reason::RouteProhibited, Origin::Local);

/// Evidence that the kernel withheld.
fn lacking(name: &'static str) -> Facts {
    Facts { missing: vec![name.into()], ..Facts::default() }
}

fn logged(said: Said, words: &str, connect: Connect) -> Vec<DeliveryRow> {
    let row = DeliveryRow {
        time: sample::time(),
        kind: Server::Postfix,
        queue_id: Some("4Wx".to_owned()),
        recipient_domain: Some("example.net".to_owned()),
        status: Some(DeliveryStatus::Deferred),
        host: Some("mx.example.net".to_owned()),
        ip: Some(sample::ip("203.0.113.5")),
        said,
        words: words.to_owned(),
        connect,
        attempt: None,
    };
    vec![row; 4]
}

fn with_log(mut evidence: Evidence, said: Said, words: &str, connect: Connect) -> Evidence {
    logged(said, words, connect).iter().for_each(|row| evidence.mail.add(row));
    evidence
}

/// Three owners are silent, beside so many attempts of another kind.
fn blocked_beside(count: usize, other: AttemptKind) -> Evidence {
    Host::new().each(&THREE, 5, SILENCE).tried(count, other).each(&THREE, 2, SILENCE).about("203.0.113.5")
}

/// Nine attempts of which the kernel showed more, while others fail alike.
fn shown(kind: AttemptKind, facts: Facts) -> Evidence {
    let mut host = Host::new().each(&THREE, 5, kind);
    host.entries.iter_mut().for_each(|entry| entry.evidence = facts.clone());
    host.about("203.0.113.5")
}

/// Nine more that no SYN left for: its firewall, its routes and its source address.
fn failing_here(host: Host) -> Host {
    let no_source = failed(Label::Blocked, Reason::NoSourceAddress, Origin::Local);
    host.each(&["192.88.99.1", "192.88.99.2", "192.88.99.3"], 3, super::OWN_FIREWALL)
        .each(
            &["198.18.2.1", "198.18.3.1", "198.18.4.1"],
            3,
            failed(Label::Unreachable, Reason::NoRoute, Origin::Local),
        )
        .each(&["198.18.5.1", "198.18.6.1", "198.18.7.1"], 3, no_source)
}

/// A rule stops what comes from one source; what comes from the other leaves, and nobody answers.
fn stopped_in_part(destination: &str) -> Evidence {
    let (stopped, silent) = (AttemptKind { src: "192.0.2.11", ..super::OWN_FIREWALL }, SILENCE);
    let host = (0..3).fold(Host::new(), |host, _| host.each(&THREE[..2], 3, stopped).each(&THREE[..2], 3, silent));
    Evidence { firewall: Some(walls::stops(true)), ..host.about(destination) }
}

/// Nine attempts to an address of this host itself, while others answer.
fn at_home(kind: AttemptKind) -> Evidence {
    Host::new()
        .each(&THREE, 5, CONNECTED)
        .tried(9, AttemptKind { dst: "127.0.0.9", src: "127.0.0.1", ..kind })
        .about("127.0.0.9")
}

macro_rules! cases {
    ($($name:ident, $kind:literal, $truth:expr => $said:expr, $word:ident, $build:expr;)*) => {
        pub(super) fn cases() -> Vec<Case> {
            vec![$(Case {
                name: stringify!($name),
                kind: $kind,
                truth: &$truth,
                said: &$said,
                word: Confidence::$word,
                build: $build,
            }),*]
        }

        $(#[test]
        fn $name() {
            cases().iter().find(|case| case.name == stringify!($name)).unwrap().check();
        })*
    };
}

cases! {
    web_mail_submits_to_loopback_while_the_provider_blocks_port_25, "local traffic",
        [Cause::PortBlockedOutbound] => [Cause::PortBlockedOutbound], Likely,
        || blocked_beside(40, LOOPBACK);
    submissions_to_ipv6_loopback_while_the_provider_blocks_port_25, "local traffic",
        [Cause::PortBlockedOutbound] => [Cause::PortBlockedOutbound], Likely,
        || blocked_beside(40, AttemptKind { dst: "::1", src: "::1", ..CONNECTED });
    submissions_to_an_address_of_this_host_while_the_provider_blocks_port_25, "local traffic",
        [Cause::PortBlockedOutbound] => [Cause::PortBlockedOutbound], Likely,
        || blocked_beside(40, AttemptKind { dst: "192.0.2.11", src: "192.0.2.10", ..CONNECTED });
    a_container_submits_to_itself_while_the_provider_blocks_port_25, "local traffic",
        [Cause::PortBlockedOutbound] => [Cause::PortBlockedOutbound], Likely,
        || blocked_beside(40, AttemptKind { dst: "172.17.0.5", src: "172.17.0.5", ..CONNECTED });
    an_internal_relay_works_while_the_provider_blocks_port_25, "local traffic",
        [Cause::PortBlockedOutbound] => [Cause::PortBlockedOutbound], Likely,
        || blocked_beside(40, AttemptKind { dst: "10.0.0.5", ..CONNECTED });
    submissions_to_ipv6_loopback_where_ipv6_has_no_way_out, "local traffic",
        [Cause::Ipv6Broken] => [Cause::Ipv6Broken], Certain,
        || Host::new()
            .each(&THREE, 5, CONNECTED)
            .tried(40, AttemptKind { dst: "::1", src: "::1", ..CONNECTED })
            .each(&THREE_V6, 3, NO_ROUTE_V6)
            .about("2001:db8:a::1");
    the_own_server_does_not_listen_while_others_answer, "local traffic",
        [Cause::ServerDown] => [Cause::ServerDown, Cause::LocalFirewall], Possible,
        || Host::new().each(&THREE, 5, CONNECTED).tried(9, AttemptKind { dst: "127.0.0.1", src: "127.0.0.1", ..RST })
            .about("127.0.0.1");
    the_own_firewall_rejects_on_loopback, "local traffic",
        [Cause::LocalFirewall] => [Cause::LocalFirewall], Certain,
        || at_home(failed(Label::Refused, Reason::IcmpPortUnreachable, Origin::Remote));
    the_own_firewall_drops_on_loopback, "local traffic",
        [Cause::LocalFirewall] => [Cause::LocalFirewall, Cause::NotServed], Possible,
        || at_home(SILENCE);
    port_25_is_blocked_and_submission_works, "blocked on the way out",
        [Cause::PortBlockedOutbound] => [Cause::PortBlockedOutbound], Certain,
        || {
            let mut evidence = blocked_beside(40, LOOPBACK);
            evidence.other_ports.add_count(sample::ip("198.51.100.20"), Label::Connected, None, 9);
            evidence
        };
    port_25_is_blocked_from_some_minute_on, "blocked on the way out",
        [Cause::PortBlockedOutbound] => [Cause::PortBlockedOutbound], Likely,
        || Host::new().each(&THREE, 70, CONNECTED).each(&THREE, 70, SILENCE).about("203.0.113.5");
    the_provider_lets_its_own_relay_through, "blocked on the way out",
        [Cause::PortBlockedOutbound] => [Cause::RemoteFirewallDrops, Cause::PortBlockedOutbound], Possible,
        || Host::new().each(&THREE, 5, SILENCE).tried(30, AttemptKind { dst: "198.18.0.1", ..CONNECTED })
            .tried(5, AttemptKind { dst: "192.88.99.1", ..SILENCE }).about("203.0.113.5");
    two_are_silent_while_this_host_stops_the_rest_itself, "blocked on the way out",
        [Cause::RemoteFirewallDrops, Cause::ServerDown] => [Cause::RemoteFirewallDrops, Cause::ServerDown], Possible,
        || failing_here(Host::new()).each(&THREE[..2], 5, SILENCE).about("203.0.113.5");
    three_are_silent_while_another_refuses, "blocked on the way out",
        [Cause::RemoteFirewallDrops, Cause::ServerDown] => [Cause::RemoteFirewallDrops, Cause::ServerDown], Possible,
        || Host::new().each(&THREE, 5, SILENCE).tried(8, AttemptKind { dst: "198.18.0.1", ..RST }).each(&THREE, 1, SILENCE)
            .tried(1, AttemptKind { dst: "198.18.0.1", ..RST }).about("203.0.113.5");
    silence_on_the_own_link_and_elsewhere, "blocked on the way out",
        [Cause::RemoteFirewallDrops, Cause::ServerDown] => [Cause::RemoteFirewallDrops, Cause::ServerDown], Possible,
        || Evidence {
            is_on_link: true,
            ..Host::new().each(&THREE, 5, SILENCE).about("203.0.113.5")
        };
    one_is_silent_one_answers_and_this_host_stops_the_rest_itself, "blocked on the way out",
        [Cause::RemoteFirewallDrops, Cause::ServerDown] => [Cause::RemoteFirewallDrops, Cause::ServerDown], Possible,
        || failing_here(Host::new()).tried(8, AttemptKind { dst: "198.18.0.1", ..RST })
            .tried(9, AttemptKind { dst: "198.18.1.1", ..CONNECTED }).each(&THREE[..1], 5, SILENCE).about("203.0.113.5");
    a_few_dead_destinations_were_tried_last, "blocked on the way out",
        [Cause::RemoteFirewallDrops, Cause::ServerDown] => [Cause::RemoteFirewallDrops], Likely,
        || Host::new().each(&["198.18.0.1", "198.18.1.1"], 90, CONNECTED).each(&THREE, 4, SILENCE)
            .about("203.0.113.5");
    ipv6_to_many_is_dropped_while_ipv4_works, "IPv6",
        [Cause::Ipv6Broken] => [Cause::Ipv6Broken], Likely,
        || Host::new().each(&THREE, 5, CONNECTED).each(&THREE_V6, 4, SILENCE).about("2001:db8:a::1");
    the_route_for_ipv6_is_missing, "IPv6",
        [Cause::Ipv6Broken, Cause::RouteFault] => [Cause::Ipv6Broken], Certain,
        || Host::new().each(&THREE, 5, CONNECTED).tried(4, NO_ROUTE_V6).about("2001:db8:a::1");
    one_destination_drops_ipv6, "IPv6",
        [Cause::RemoteFirewallDrops, Cause::ServerDown] => [Cause::RemoteFirewallDrops], Likely,
        || Host::new().each(&THREE, 5, CONNECTED).each(&THREE_V6[1..], 5, CONNECTED)
            .each(&THREE_V6[..1], 9, SILENCE).about("2001:db8:a::1");
    a_rule_stops_others_and_the_destination_refuses, "firewall of this host",
        [Cause::ServerDown] => [Cause::ServerDown, Cause::RemoteFirewallRejects], Possible,
        || Evidence {
            firewall: Some(walls::stops(true)),
            ..Host::new().each(&THREE[1..], 5, CONNECTED).tried(9, RST).about("203.0.113.5")
        };
    csf_lets_the_sender_through_and_the_destination_is_silent, "firewall of this host",
        [Cause::RemoteFirewallDrops, Cause::ServerDown] => [Cause::RemoteFirewallDrops], Likely,
        || Evidence {
            firewall: Some(walls::passes()),
            ..Host::new().each(&THREE[1..], 5, CONNECTED).tried(9, SILENCE).about("203.0.113.5")
        };
    a_panel_redirects_port_25_to_itself, "firewall of this host",
        [Cause::LocalRedirect] => [Cause::LocalRedirect], Likely,
        || Evidence {
            firewall: Some(walls::redirects(true)),
            ..Host::new().each(&THREE, 5, AT_ONCE).about("203.0.113.5")
        };
    the_connection_tracking_table_is_full, "firewall of this host",
        [Cause::ConntrackFull] => [Cause::ConntrackFull], Likely,
        || Evidence {
            conntrack: Some(FULL),
            firewall: Some(walls::passes()),
            ..Host::new().each(&THREE, 5, super::OWN_FIREWALL).about("203.0.113.5")
        };
    a_rule_of_netdev_egress_drops, "firewall of this host",
        [Cause::LocalFirewall] => [Cause::LocalFirewall], Certain,
        || Host::new().each(&THREE, 5, super::OWN_FIREWALL).about("203.0.113.5");
    a_rule_stops_one_of_two_sources, "firewall of this host",
        [Cause::LocalFirewall] => [Cause::LocalFirewall], Likely,
        || stopped_in_part("203.0.113.5");
    the_input_chain_drops_some_answers, "firewall of this host",
        [Cause::LocalFirewall] => [Cause::RemoteFirewallDrops, Cause::LocalFirewall], Possible,
        || {
            let mut host = Host::new().each(&THREE[1..], 5, CONNECTED).tried(9, SILENCE);
            let dropped = host.entries.iter_mut().filter(|entry| entry.label == Label::Timeout).take(5);
            dropped.for_each(|entry| entry.evidence = Facts { answer_drops: Some(2), ..Facts::default() });
            host.about("203.0.113.5")
        };
    a_program_of_the_cgroup_denies, "firewall of this host",
        [Cause::LocalFirewall] => [Cause::LocalFirewall], Likely,
        || Host::new().each(&THREE, 5, failed(Label::Blocked, Reason::PermissionDenied, Origin::Local))
            .about("203.0.113.5");
    the_input_chain_drops_every_answer, "firewall of this host",
        [Cause::LocalFirewall] => [Cause::LocalFirewall], Certain,
        || shown(SILENCE, Facts { answer_drops: Some(2), ..Facts::default() });
    // Where the kernel does not show that, nothing tells it from a block on the way.
    the_input_chain_drops_every_answer_unseen, "firewall of this host",
        [Cause::LocalFirewall] => [Cause::PortBlockedOutbound], Likely,
        || Host::new().each(&THREE, 5, SILENCE).about("203.0.113.5");
    a_panel_redirects_port_25_as_the_kernel_sees_it, "firewall of this host",
        [Cause::LocalRedirect] => [Cause::LocalRedirect], Certain,
        || shown(failed(Label::Refused, Reason::Rst, Origin::Local), Facts { redirected: true, ..Facts::default() });
    selinux_does_not_let_php_connect, "policy or route of this host",
        [Cause::SecurityPolicy] => [Cause::SecurityPolicy], Certain,
        || Host::new().each(&THREE, 5, failed(Label::Blocked, Reason::SecurityPolicy, Origin::Local))
            .about("203.0.113.5");
    selinux_on_a_kernel_that_does_not_show_it, "policy or route of this host",
        [Cause::SecurityPolicy] => [Cause::RouteFault, Cause::SecurityPolicy], Possible,
        || shown(EACCES, lacking("connect_order"));
    selinux_unseen_and_the_route_is_there, "policy or route of this host",
        [Cause::SecurityPolicy] => [Cause::SecurityPolicy], Likely,
        || Evidence {
            route: Some(Route::Goes { interface: "eth0".to_owned(), gateway: None, source: None }),
            ..shown(EACCES, lacking("connect_order"))
        };
    a_route_prohibited_the_destination_and_is_mended, "policy or route of this host",
        [Cause::RouteFault] => [Cause::RouteFault], Likely,
        || Evidence {
            route: Some(Route::Goes { interface: "eth0".to_owned(), gateway: None, source: None }),
            ..shown(EACCES, Facts::default())
        };
    a_route_prohibits_the_destination, "policy or route of this host",
        [Cause::RouteFault] => [Cause::RouteFault], Certain,
        || Evidence {
            route: Some(Route::Refused { why: "Permission denied".to_owned() }),
            ..shown(EACCES, Facts::default())
        };
    a_loop_of_routes, "policy or route of this host",
        [Cause::NetworkFault] => [Cause::NetworkFault], Likely,
        || Host::new().each(&THREE[1..], 5, CONNECTED)
            .tried(5, failed(Label::Unreachable, Reason::IcmpTimeExceeded, Origin::Network)).about("203.0.113.5");
    a_loop_of_routes_on_a_kernel_that_keeps_the_errno_alone, "policy or route of this host",
        [Cause::NetworkFault] => [Cause::ServerDown, Cause::NetworkFault], Possible,
        || Host::new().each(&THREE[1..], 5, CONNECTED)
            .tried(5, failed(Label::Unreachable, Reason::IcmpHostUnreachable, Origin::Unknown)).about("203.0.113.5");
    the_socket_is_bound_to_loopback, "source address",
        [Cause::WrongSourceAddress] => [Cause::WrongSourceAddress], Certain,
        || {
            let bound = failed(Label::Blocked, Reason::NoSourceAddress, Origin::Local);
            Host::new().each(&THREE, 5, AttemptKind { src: "127.0.0.1", ..bound }).about("203.0.113.5")
        };
    bind_fails_before_anything_is_tried, "source address",
        [Cause::WrongSourceAddress] => [Cause::WrongSourceAddress], Likely,
        || {
            let words = "connect to mx.example.net[203.0.113.5]:25: Cannot assign requested address";
            with_log(Host::new().about("203.0.113.5"), Said::NotPermitted, words, Connect::Unseen)
        };
    one_of_two_uplinks_is_blocked, "source address",
        [Cause::PortBlockedOutbound] => [Cause::PortBlockedOutbound], Possible,
        || {
            let other = AttemptKind { src: "192.0.2.11", ..CONNECTED };
            (0..4).fold(Host::new().each(&THREE[1..], 5, other), |host, _| {
                host.tried(3, SILENCE).tried(3, other).each(&THREE[1..], 2, SILENCE)
            }).about("203.0.113.5")
        };
    one_of_our_addresses_is_refused_all_along, "source address",
        [Cause::AddressBlocked] => [Cause::AddressBlocked], Likely,
        || (0..4).fold(Host::new().each(&THREE[1..], 5, CONNECTED), |host, _| {
            host.tried(3, RST).tried(3, AttemptKind { src: "192.0.2.11", ..CONNECTED })
        }).about("203.0.113.5");
    an_outage_ended_before_the_other_address_was_used, "source address",
        [Cause::ServerDown] => [Cause::ServerDown, Cause::AddressBlocked], Possible,
        || Host::new().each(&THREE[1..], 5, CONNECTED).tried(9, RST).tried(9, AttemptKind { src: "192.0.2.11", ..CONNECTED })
            .about("203.0.113.5");
    a_token_bucket_resets_what_is_too_much, "rate limit",
        [Cause::RateLimited] => [Cause::RateLimited], Likely,
        || (0..4).fold(Host::new().each(&THREE[1..], 5, CONNECTED).tried(4, CONNECTED), |host, _| {
            host.tried(40, RST).tried(1, CONNECTED)
        }).about("203.0.113.5");
    a_token_bucket_drops_what_is_too_much, "rate limit",
        [Cause::RateLimited] => [Cause::RateLimited], Likely,
        || (0..4).fold(Host::new().each(&THREE[1..], 5, CONNECTED).tried(4, CONNECTED), |host, _| {
            host.tried(40, SILENCE).tried(1, CONNECTED)
        }).about("203.0.113.5");
    two_outages_in_a_day, "rate limit",
        [Cause::ServerDown] => [Cause::RateLimited], Possible,
        || (0..2).fold(Host::new().each(&THREE[1..], 5, CONNECTED).tried(9, CONNECTED), |host, _| {
            host.tried(9, RST).tried(9, CONNECTED)
        }).about("203.0.113.5");
    a_server_stopped, "server or firewall there",
        [Cause::ServerDown] => [Cause::ServerDown], Likely,
        || Host::new().each(&THREE[1..], 5, CONNECTED).tried(30, CONNECTED).tried(9, RST).about("203.0.113.5");
    a_destination_was_never_seen_to_answer, "server or firewall there",
        [Cause::ServerDown] => [Cause::ServerDown, Cause::RemoteFirewallRejects], Possible,
        || Host::new().each(&THREE[1..], 5, CONNECTED).tried(9, RST).about("203.0.113.5");
    a_neighbour_on_the_own_link_is_down, "server or firewall there",
        [Cause::ServerDown] => [Cause::ServerDown, Cause::RouteFault], Possible,
        || Evidence {
            route: Some(Route::Goes { interface: "eth0".to_owned(), gateway: None, source: None }),
            ..Host::new().each(&THREE[1..], 5, CONNECTED)
                .tried(9, failed(Label::Unreachable, Reason::NoNeighbour, Origin::Local)).about("203.0.113.5")
        };
    the_gateway_is_gone, "server or firewall there",
        [Cause::RouteFault] => [Cause::RouteFault], Certain,
        || Evidence {
            route: Some(Route::Goes { interface: "eth0".to_owned(), gateway: Some(sample::ip("192.0.2.1")), source: None }),
            ..Host::new().each(&THREE, 5, failed(Label::Unreachable, Reason::NoNeighbour, Origin::Local))
                .about("203.0.113.5")
        };
    a_router_of_the_provider_rejects_the_only_destination, "server or firewall there",
        [Cause::PortBlockedOutbound] => [Cause::RemoteFirewallRejects], Possible,
        || Host::new().tried(9, PROHIBITED).about("203.0.113.5");
    a_load_balancer_refuses_with_a_ttl_of_its_own, "server or firewall there",
        [Cause::ServerDown] => [Cause::MiddleboxForges], Possible,
        || Host::new().each(&THREE[1..], 5, CONNECTED).tried(20, CONNECTED)
            .tried(9, failed(Label::Refused, Reason::Rst, Origin::SuspectedMiddlebox)).about("203.0.113.5");
    a_black_hole_for_full_segments_as_the_kernel_sees_it, "in the session",
        [Cause::SessionCut] => [Cause::SessionCut], Likely,
        || Host::new().each(&THREE[1..], 5, CONNECTED)
            .tried(5, failed(Label::Timeout, Reason::Stalled, Origin::None)).about("203.0.113.5");
    a_black_hole_for_full_segments_in_the_words_of_postfix, "in the session",
        [Cause::SessionCut] => [Cause::SessionCut], Likely,
        || {
            let words = "conversation with mx.example.net[203.0.113.5] timed out while sending message body";
            with_log(Host::new().tried(5, CONNECTED).about("203.0.113.5"), Said::LostInSession, words, Connect::Seen)
        };
    a_black_hole_for_full_segments_in_the_words_of_exim, "in the session",
        [Cause::SessionCut] => [Cause::SessionCut], Likely,
        || {
            let words = "SMTP timeout after end of data (20480 bytes written): Connection timed out";
            with_log(Host::new().tried(5, CONNECTED).about("203.0.113.5"), Said::LostInSession, words, Connect::Seen)
        };
    an_ssh_server_answers_on_port_25, "in the session",
        [Cause::NotMailServer] => [Cause::NotMailServer], Likely,
        || {
            let words = "host mx.example.net[203.0.113.5] refused to talk to me: SSH-2.0-OpenSSH_9.2";
            with_log(Host::new().tried(5, CONNECTED).about("203.0.113.5"), Said::Answered, words, Connect::Seen)
        };
    greylisted, "answers",
        [Cause::Greylisting] => [Cause::Greylisting], Likely,
        || {
            let words = "host mx.example.net[203.0.113.5] said: 450 4.2.0 Greylisted, please try again in 300 s \
                         (in reply to RCPT TO command)";
            with_log(Host::new().tried(5, CONNECTED).about("203.0.113.5"), Said::Answered, words, Connect::Seen)
        };
    too_many_recipients_is_no_rate_limit, "answers",
        [Cause::MessageRefused] => [Cause::MessageRefused], Likely,
        || {
            let words = "host mx.example.net[203.0.113.5] said: 452 4.5.3 Error: too many recipients";
            with_log(Host::new().tried(5, CONNECTED).about("203.0.113.5"), Said::Answered, words, Connect::Seen)
        };
}

/// What was left out is shown apart, and nothing counts it.
#[test]
fn attempts_to_this_host_itself_are_in_no_share() {
    let evidence = blocked_beside(40, LOOPBACK);
    assert_eq!((evidence.local.attempts, evidence.elsewhere.all.attempts), (40, 14));
    assert_eq!(evidence.elsewhere.destinations.len(), 2);
    let evidence = blocked_beside(40, AttemptKind { dst: "10.0.0.5", ..CONNECTED });
    assert_eq!((evidence.local.attempts, evidence.inner.attempts), (0, 40));
    assert_eq!(diagnose(&evidence, now()).inner.attempts, 40);
}

/// Seven hosts of a /24 fail and one works: no limit, and each is judged by itself.
#[test]
fn a_network_of_which_seven_fail_and_one_works() {
    const HOSTS: [&str; 7] =
        ["203.0.113.1", "203.0.113.2", "203.0.113.3", "203.0.113.4", "203.0.113.5", "203.0.113.6", "203.0.113.7"];
    let mut host = Host::new();
    for _ in 0..6 {
        host = host.each(&HOSTS, 1, SILENCE).tried(1, AttemptKind { dst: "203.0.113.8", ..CONNECTED });
    }
    let judged = host.judged(Some("203.0.113.0/24"));
    let brief: Vec<_> = judged
        .iter()
        .map(|of| (of.destinations.len(), of.attempts.failed(), of.causes.first().map(|likely| likely.cause)))
        .collect();
    assert_eq!(brief, [(7, 42, Some(Cause::RemoteFirewallDrops)), (1, 0, None)]);
    assert_eq!(judged[0].asked, "203.0.113.0/24: 203.0.113.1, 203.0.113.2, 203.0.113.3, 203.0.113.4 and 3 more");
    assert!(judged[0].causes[0].confidence < Confidence::Certain);
    assert_eq!(judged[1].asked, "203.0.113.0/24: 203.0.113.8");
}

/// A name with an address that works and one that has no route.
#[test]
fn a_name_whose_ipv6_has_no_route() {
    let mut host = Host::new().each(&THREE[1..], 5, CONNECTED);
    for _ in 0..5 {
        host = host.tried(1, CONNECTED).tried(1, NO_ROUTE_V6);
    }
    let judged: Vec<_> = ["203.0.113.5", "2001:db8:a::1"].map(|dst| diagnose(&host.about(dst), now())).into();
    let judged = together(judged, Some("mx.example.net"));
    assert_eq!(judged[0].destinations, ["2001:db8:a::1"]);
    assert_eq!(judged[0].causes[0].cause, Cause::Ipv6Broken);
    let text = format!("{:?}", judged[0].causes);
    assert!(!text.contains("203.0.113.5"), "{text}");
    assert_eq!((judged[1].asked.as_str(), judged[1].causes.len()), ("mx.example.net: 203.0.113.5", 0));
}

/// Two that fail alike, each from one address.
#[test]
fn what_one_destination_did_is_no_evidence_on_another() {
    let host = Host::new()
        .each(&THREE[2..], 9, CONNECTED)
        .tried(9, RST)
        .tried(9, AttemptKind { dst: "198.51.100.7", src: "192.0.2.11", ..RST });
    let judged = host.judged(None);
    assert_eq!((judged[0].destinations.len(), judged[0].attempts.failed()), (2, 18));
    let text = format!("{:?}", judged[0].causes);
    assert!(!text.contains("refused-from-every-source") && text.contains("198.51.100.7: all 9"), "{text}");
}

/// Two of ten never failed.
#[test]
fn every_and_none_are_claimed_only_where_it_is_so() {
    let failing = [
        "203.0.113.5",
        "198.51.100.7",
        "233.252.0.9",
        "198.18.0.1",
        "198.19.0.1",
        "192.88.99.1",
        "203.0.0.1",
        "198.20.0.1",
    ];
    let host = Host::new()
        .each(&failing, 5, SILENCE)
        .each(&["198.21.0.1", "198.22.0.1"], 5, CONNECTED)
        .each(&failing, 5, SILENCE);
    let diagnosis = diagnose(&host.about("203.0.113.5"), now());
    let text = format!("{:?}", diagnosis.causes);
    assert!(!text.contains("none of") && !text.contains("every"), "{text}");
    assert!(diagnosis.causes.iter().all(|likely| likely.confidence < Confidence::Likely), "{text}");
}

/// However many there are, the last of them counts.
#[test]
fn successes_after_more_refusals_than_any_table_holds() {
    let start = Timestamp::from_second(START).unwrap();
    let mut seen = Seen::default();
    for number in 0..148_030_i64 {
        let kind = if number < 148_000 { RST } else { CONNECTED };
        seen.add(&Entry { time: start + SignedDuration::from_millis(number * 100), ..entry(kind, 0) });
    }
    let diagnosis = diagnose(&Evidence::about(sample::ip("203.0.113.5"), 25, OwnAddresses::default(), seen), now());
    assert_eq!(
        (diagnosis.attempts.attempts, diagnosis.attempts.connected, diagnosis.attempts.streak),
        (148_030, 30, 0)
    );
    assert_eq!(diagnosis.times.last, diagnosis.times.connected);
    assert_eq!(diagnosis.times.failing_since, None);
}

/// A count without its event is counted, and said to be that.
#[test]
fn what_is_known_by_its_count_alone_is_counted() {
    let host = Host::new().tried(9, RST);
    let mut totals = host.totals().remove(0);
    totals.outcomes.get_mut(&(Label::Refused, Some(Reason::Rst))).unwrap().count += 91;
    let mut evidence = host.about("203.0.113.5");
    evidence.subject.complete(&totals);
    assert_eq!((evidence.subject.all.failed(), evidence.subject.counted_only), (100, 91));
}

#[test]
fn a_letter_is_for_what_the_other_side_can_mend() {
    let theirs = |evidence: &Evidence| diagnose(evidence, now()).is_theirs();
    let host = Host::new().each(&THREE[1..], 5, CONNECTED).tried(9, PROHIBITED);
    assert_eq!(theirs(&host.about("203.0.113.5")), Ok(()));
    assert_eq!(theirs(&host.about("198.51.100.7")), Err("no attempt to 198.51.100.7 failed".to_owned()));
    let own = theirs(&Host::new().each(&THREE, 5, super::OWN_FIREWALL).about("203.0.113.5"));
    assert_eq!(own, Err("the cause is at this end: this host's own firewall stops connections to port 25".to_owned()));
    let blocked = theirs(&blocked_beside(40, LOOPBACK)).unwrap_err();
    assert!(blocked.starts_with("the cause is at this end: port 25 is blocked on the way out"), "{blocked}");
    let loopback = Host::new().tried(9, AttemptKind { dst: "127.0.0.1", src: "127.0.0.1", ..RST });
    assert_eq!(theirs(&loopback.about("127.0.0.1")), Err("127.0.0.1 is this host itself".to_owned()));
}

/// What never left says nothing of others, and is not counted with those who do not answer.
#[test]
fn only_what_left_this_host_went_unanswered() {
    let blocked = diagnose(&failing_here(Host::new()).each(&THREE, 5, SILENCE).about("203.0.113.5"), now());
    let line = blocked.causes.iter().flat_map(|likely| &likely.evidence).find(|line| line.rule == "nothing-gets-out");
    let text = "none of 3 destinations by IPv4 answers, and none did in this period";
    assert_eq!(line.map(|line| line.text.as_str()), Some(text), "{:#?}", blocked.causes);

    let little =
        failing_here(Host::new()).each(&THREE, 5, SILENCE).tried(2, AttemptKind { dst: "192.31.196.1", ..SILENCE });
    let little = little.tried(9, AttemptKind { dst: "198.18.1.1", ..CONNECTED });
    let little = diagnose(&little.about("203.0.113.5"), now());
    let line = little.causes.iter().flat_map(|likely| &likely.evidence).find(|line| line.rule == "little-gets-out");
    let text = "4 of 5 destinations in 4 networks never answered";
    assert_eq!(line.map(|line| line.text.as_str()), Some(text), "{:#?}", little.causes);

    let refused = diagnose(&Host::new().each(&THREE, 5, RST).about("203.0.113.5"), now());
    let line = refused.causes.iter().flat_map(|likely| &likely.evidence).find(|line| line.rule == "nothing-gets-out");
    let text = "all 3 destinations by IPv4 are refused by RST, and none was reached in this period";
    assert_eq!(line.map(|line| line.text.as_str()), Some(text), "{:#?}", refused.causes);
}

#[test]
fn a_rule_is_claimed_for_what_it_stopped() {
    let diagnosis = diagnose(&stopped_in_part("203.0.113.5"), now());
    let first = &diagnosis.causes[0];
    let verdict = "this host's own firewall stops part of the connections to port 25: 9 of 18 failures, all from \
                   192.0.2.11";
    assert_eq!((first.verdict.as_str(), first.confidence), (verdict, Confidence::Likely), "{first:#?}");

    // Nine in ten are not all.
    let most = Host::new().tried(19, super::OWN_FIREWALL).tried(1, SILENCE).about("203.0.113.5");
    let first = &diagnose(&Evidence { firewall: Some(walls::stops(true)), ..most }, now()).causes[0];
    assert_eq!((first.cause, first.confidence), (Cause::LocalFirewall, Confidence::Likely), "{first:#?}");
    assert!(first.verdict.ends_with(": 19 of 20 failures"), "{first:#?}");
}

#[test]
fn a_rule_is_quoted_for_several_only_where_it_stopped_them_all() {
    let of_one = |destination: &str, verdict| {
        let evidence = Host::new().each(&THREE[..2], 5, super::OWN_FIREWALL).about(destination);
        diagnose(&Evidence { firewall: Some(walls::stops_by(verdict)), ..evidence }, now())
    };
    let quoted = |other| {
        let merged = together(vec![of_one(THREE[0], "drop"), of_one(THREE[1], other)], None);
        assert_eq!(merged.len(), 1, "{merged:#?}");
        let lines = &merged[0].causes[0].evidence;
        let is_quoted = lines.iter().any(|line| line.text.contains("tcp dport 25 drop"));
        (is_quoted, merged[0].firewall.is_some())
    };
    assert_eq!(quoted("drop"), (true, true));
    assert_eq!(quoted("reject"), (false, false));

    let parts = THREE[..2].iter().map(|dst| diagnose(&stopped_in_part(dst), now())).collect();
    let merged = together(parts, None);
    assert_eq!(merged.len(), 1, "{merged:#?}");
    assert_eq!(merged[0].causes[0].verdict, "this host's own firewall stops part of the connections to port 25");
}

/// A letter blames the other side, and from a host that reaches nobody it has no ground to.
#[test]
fn a_host_that_reaches_nobody_writes_no_letter() {
    let letter = |host: Host| diagnose(&host.about("203.0.113.5"), now()).is_theirs();
    // The one destination that is silent in silence of its own, while nothing else even leaves.
    let cut_off = || failing_here(Host::new()).each(&THREE_V6, 3, NO_ROUTE_V6).tried(9, SILENCE);
    let why = "nothing that was tried from this host got an answer in this period, by IPv4 or by IPv6: look at its own \
               way out first";
    assert_eq!(letter(cut_off()), Err(why.to_owned()));
    assert_eq!(
        letter(cut_off().tried(9, AttemptKind { dst: "127.0.0.1", src: "127.0.0.1", ..CONNECTED })),
        Err(why.to_owned())
    );
    // Whoever answers, and however, shows that something gets out.
    assert_eq!(letter(cut_off().tried(1, AttemptKind { dst: "198.18.1.1", ..RST })), Ok(()));
    assert_eq!(
        letter(cut_off().tried(1, AttemptKind { dst: "2001:db8:d::1", src: "2001:db8:1::10", ..CONNECTED })),
        Ok(())
    );
    assert_eq!(letter(Host::new().tried(9, RST)), Ok(()));
    // Nothing else was tried.
    assert_eq!(letter(Host::new().tried(9, SILENCE)), Ok(()));
}

/// Whatever fails at an address of this host itself, nobody else is blamed or asked.
#[test]
fn what_fails_at_home_is_nobody_elses() {
    let closed = failed(Label::Closed, Reason::BeforeBanner, Origin::Remote);
    let forged = failed(Label::Refused, Reason::Rst, Origin::SuspectedMiddlebox);
    let no_way = failed(Label::Unreachable, Reason::IcmpNetUnreachable, Origin::Network);
    let stalled = failed(Label::Timeout, Reason::Stalled, Origin::None);
    let mut all: Vec<Evidence> =
        [RST, SILENCE, PROHIBITED, closed, forged, no_way, stalled, super::OWN_FIREWALL].map(at_home).into();
    let in_turn = AttemptKind { dst: "127.0.0.9", src: "127.0.0.1", ..CONNECTED };
    let host = (0..8).fold(Host::new(), |host, _| {
        host.tried(1, in_turn).tried(2, AttemptKind { src: "127.0.0.1", dst: "127.0.0.9", ..RST })
    });
    all.push(host.about("127.0.0.9"));
    let reset = AttemptKind { label: RST.label, reason: RST.reason, origin: RST.origin, ..in_turn };
    let mixed =
        Host::new().tried(3, in_turn).tried(5, AttemptKind { dst: "127.0.0.9", src: "127.0.0.1", ..PROHIBITED });
    all.push(mixed.tried(5, reset).about("127.0.0.9"));
    all.push(Host::new().tried(9, in_turn).tried(9, reset).about("127.0.0.9"));
    let foreign = ["there", "postmaster", "--evidence", "another network", "traceroute", "provider", "the destination"];
    for evidence in &all {
        let diagnosis = diagnose(evidence, now());
        for likely in &diagnosis.causes {
            let texts = [&likely.verdict, &likely.next_step, &likely.by_hand, &likely.surer];
            let lines = likely.evidence.iter().chain(&likely.against).map(|line| &line.text);
            for text in texts.into_iter().chain(lines) {
                let found = foreign.iter().find(|words| text.contains(**words));
                assert!(found.is_none(), "{:?}: {found:?} in: {text}", likely.cause);
            }
        }
    }
    let every: Vec<Evidence> = cases().iter().map(|case| (case.build)()).collect();
    for rule in crate::diagnose::home::RULES {
        assert!(all.iter().any(|evidence| (rule.holds)(evidence).is_some()), "{} holds nowhere", rule.name);
        assert!(every.iter().any(|evidence| (rule.holds)(evidence).is_none()), "{} holds everywhere", rule.name);
    }
    // Not put together with others of the same cause.
    let host = Host::new().tried(9, AttemptKind { dst: "127.0.0.9", src: "127.0.0.1", ..super::OWN_FIREWALL });
    assert_eq!(host.tried(9, super::OWN_FIREWALL).judged(None).len(), 2);
}

#[test]
fn an_address_that_is_there_is_not_to_be_added() {
    let advice = |src: &'static str| {
        let bound = failed(Label::Blocked, Reason::NoSourceAddress, Origin::Local);
        let evidence = Host::new().each(&THREE, 5, AttemptKind { src, ..bound }).about("203.0.113.5");
        diagnose(&evidence, now()).causes[0].next_step.contains("add the address to this host")
    };
    assert_eq!([advice("127.0.0.1"), advice("192.0.2.10"), advice("192.0.2.99")], [false, false, true]);
}

#[test]
fn one_is_not_many() {
    let wrong =
        [" 1 failures", " 1 attempts", " 1 connections", " 1 other destinations", "failure are ", "failure come "];
    let kinds = [
        RST,
        SILENCE,
        PROHIBITED,
        super::OWN_FIREWALL,
        failed(Label::Closed, Reason::BeforeBanner, Origin::Remote),
        failed(Label::Reset, Reason::MidSession, Origin::Remote),
        failed(Label::Unreachable, Reason::IcmpHostUnreachable, Origin::Network),
        failed(Label::Refused, Reason::Rst, Origin::SuspectedMiddlebox),
        failed(Label::Unreachable, Reason::NoRoute, Origin::Local),
    ];
    let facts = Facts { redirected: true, answer_drops: Some(1), unacked_bytes: Some(1), ..lacking("src_is_local") };
    for kind in kinds {
        let mut evidence =
            Host::new().tried(5, AttemptKind { dst: THREE[1], ..CONNECTED }).tried(1, kind).about("203.0.113.5");
        evidence.subject.facts = Seen::default().facts;
        evidence.subject.add_facts(&Entry { evidence: facts.clone(), ..entry(kind, 0) });
        for likely in diagnose(&evidence, now()).causes {
            for line in likely.evidence.iter().chain(&likely.against) {
                let found = wrong.iter().find(|words| format!(" {} ", line.text).contains(**words));
                assert!(found.is_none(), "{found:?} in: {}", line.text);
            }
        }
    }
}

#[test]
fn a_redirected_success_reached_nobody_elsewhere() {
    let mut host = Host::new().each(&THREE[1..], 9, CONNECTED).tried(9, SILENCE);
    let to_others = |entry: &&mut Entry| entry.label == Label::Connected;
    host.entries.iter_mut().filter(to_others).for_each(|entry| entry.evidence.redirected = true);
    let evidence = host.about("203.0.113.5");
    assert_eq!((evidence.elsewhere.all.attempts, evidence.redirected.connected), (0, 18));
    assert!(evidence.elsewhere.sources.is_empty());
    let diagnosis = diagnose(&evidence, now());
    let lines = || diagnosis.causes.iter().flat_map(|likely| &likely.evidence);
    assert!(lines().all(|line| line.rule != "others-answer"), "{:?}", lines().collect::<Vec<_>>());
}

#[test]
fn redirected_sessions_are_not_the_destinations() {
    // A control panel redirects what is not the mail server's own to this host.
    let mut host = Host::new().tried(9, SILENCE).tried(9, CONNECTED).tried(9, SILENCE);
    let of_the_panel = |entry: &&mut Entry| entry.label == Label::Connected;
    host.entries.iter_mut().filter(of_the_panel).for_each(|entry| entry.evidence.redirected = true);
    let evidence = host.about("203.0.113.5");
    assert_eq!((evidence.subject.all.attempts, evidence.subject.all.connected), (18, 0));
    let diagnosis = diagnose(&evidence, now());
    assert_eq!((diagnosis.attempts.attempts, diagnosis.redirected.connected), (18, 9));
}

#[test]
fn what_an_older_version_counted_is_taken_to_be_as_the_rest() {
    let host = Host::new().each(&THREE[1..], 9, CONNECTED);
    let elsewhere = |redirected: u64, not_known: u64| {
        let mut evidence = Evidence::about("203.0.113.5".parse().unwrap(), 25, host.own.clone(), Seen::default());
        for mut totals in host.totals() {
            for tally in totals.outcomes.values_mut() {
                (tally.redirected, tally.not_known) = (redirected, not_known);
            }
            evidence.add_other(&totals);
        }
        (evidence.elsewhere.all.connected, evidence.redirected.connected)
    };
    assert_eq!(elsewhere(0, 9), (18, 0));
    assert_eq!(elsewhere(2, 7), (0, 18));
    assert_eq!(elsewhere(2, 3), (8, 10));
}
