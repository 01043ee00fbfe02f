//! Routes, addresses and firewall rules of the three namespaces, as text.

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::addr::{self, Ip, destination};
use crate::icmp::Unreachable;
use crate::scenario::{Hop, Place, Scenario, Tool, Verdict};

/// Sysctls that every namespace needs.
pub(crate) const EVERYWHERE: &[(&str, &str)] = &[
    ("ipv6/conf/all/disable_ipv6", "0"),
    ("ipv6/conf/default/disable_ipv6", "0"),
    // An address must be usable at once.
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/router_solicitations", "0"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    // Thousands of ICMP errors a second to one client are the point here.
    ("ipv4/icmp_ratelimit", "0"),
    ("ipv4/icmp_ratemask", "0"),
    ("ipv6/icmp/ratelimit", "0"),
];

/// The client's own.
pub(crate) const CLIENT: &[(&str, &str)] = &[
    // Few ports, so that they are reused quickly.
    ("ipv4/ip_local_port_range", "40000 47999"),
    ("ipv4/tcp_tw_reuse", "1"),
    // TCP_SYNCNT counts what it says, on 6.5 and later too.
    ("?ipv4/tcp_syn_linear_timeouts", "0"),
];

/// The client's, once its links exist: an absent neighbour is given up after 0.8 s.
pub(crate) const CLIENT_LINKS: &[(&str, &str)] = &[
    ("ipv4/neigh/edge0/mcast_solicit", "2"),
    ("ipv4/neigh/edge0/retrans_time_ms", "400"),
    ("ipv6/neigh/edge0/mcast_solicit", "2"),
    ("ipv6/neigh/edge0/retrans_time_ms", "400"),
    ("ipv6/conf/bare0/use_oif_addrs_only", "1"),
];

/// Makes the router one.
pub(crate) const ROUTER: &[(&str, &str)] = &[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")];

/// Room for thousands of handshakes at a time.
pub(crate) const SERVER: &[(&str, &str)] =
    &[("core/somaxconn", "16384"), ("ipv4/tcp_max_syn_backlog", "16384"), ("ipv4/tcp_syncookies", "1")];

/// Links and addresses of the client, apart from the relay's TUN device. Nobody
/// answers at `edge1`, and `bare0` has no address at all.
pub(crate) const CLIENT_LINKS_IP: &str = "\
link set lo up
link add edge0 type veth peer name edge1
link add bare0 type veth peer name bare1
link set edge0 up
link set edge1 up arp off
link set bare0 addrgenmode none
link set bare0 up
link set bare1 up
addr add 198.51.100.129/25 dev edge0
addr add 2001:db8:4::1/64 dev edge0 nodad
";

/// What the client adds once the relay's TUN device exists.
pub(crate) fn client_ip() -> String {
    let mut lines = String::from("link set wan0 up txqueuelen 20000\n");
    for ip in Ip::BOTH {
        let prefix = prefix(ip);
        for source in addr::sources(ip) {
            _ = writeln!(lines, "addr add {source}/{prefix} dev wan0 {}", nodad(ip));
        }
    }
    // Not a default route: what has no route of its own is unreachable.
    let (v4, v6) = (addr::sources(Ip::V4)[0], addr::sources(Ip::V6)[0]);
    _ = writeln!(lines, "route add 203.0.113.0/25 dev wan0 src {v4}");
    _ = writeln!(lines, "route add 198.51.100.0/25 dev wan0 src {v4}");
    _ = writeln!(lines, "route add 2001:db8:3::/64 dev wan0 src {v6}");
    _ = writeln!(lines, "route add 2001:db8:2::/64 dev wan0 src {v6}");
    for ip in Ip::BOTH {
        for (kind, scenario) in [
            ("unreachable", Scenario::UnreachableRoute),
            ("prohibit", Scenario::ProhibitRoute),
            ("blackhole", Scenario::BlackholeRoute),
        ] {
            _ = writeln!(lines, "route add {kind} {}", destination(scenario, ip));
        }
    }
    _ = writeln!(lines, "route add {} dev bare0", destination(Scenario::NoSourceAddress, Ip::V6));
    lines
}

/// The router's links; `lan0` reaches into the server's namespace.
pub(crate) fn router_links_ip(server: &str) -> String {
    format!(
        "link set lo up
link add lan0 type veth peer name lan0 netns {server}
link set lan0 up
addr add 198.51.100.1/25 dev lan0
addr add 2001:db8:2::1/64 dev lan0 nodad
route add 203.0.113.0/25 via 198.51.100.2
route add 2001:db8:3::/64 via 2001:db8:2::2
"
    )
}

/// What the router adds once the relay's TUN device exists.
pub(crate) fn router_ip() -> String {
    let mut lines = String::from("link set wan0 up txqueuelen 20000\n");
    for ip in Ip::BOTH {
        _ = writeln!(lines, "addr add {}/{} dev wan0 {}", addr::router(ip), prefix(ip), nodad(ip));
    }
    lines
}

/// The server's addresses: one for each scenario that lies behind the router.
pub(crate) fn server_ip() -> String {
    let mut lines = String::from(
        "link set lo up
link set lan0 up
addr add 198.51.100.2/25 dev lan0
addr add 2001:db8:2::2/64 dev lan0 nodad
route add default via 198.51.100.1
route add default via 2001:db8:2::1
",
    );
    for scenario in Scenario::all().filter(|scenario| scenario.place() == Place::Behind) {
        for ip in Ip::BOTH.into_iter().filter(|ip| scenario.exists_for(*ip)) {
            _ = writeln!(lines, "addr add {} dev lo {}", destination(scenario, ip), nodad(ip));
        }
    }
    lines
}

/// A namespace's nft ruleset.
pub(crate) fn nft(node: Node) -> String {
    let hook = node.hook();
    let mut rules =
        format!("table inet lab {{\n chain {hook} {{\n  type filter hook {hook} priority 0; policy accept;\n");
    for_each_rule(node, Tool::Nft, |ip, address, action| {
        let action = match action {
            Action::Drop => "drop".to_owned(),
            // The client speaks, the server never hears it: handshake and
            // acknowledgements carry no PSH.
            Action::DropData => "tcp flags & psh == psh drop".to_owned(),
            Action::Reset => "reject with tcp reset".to_owned(),
            Action::Icmp(kind) => format!("reject with {}", kind.nft()),
        };
        _ = writeln!(rules, "  {} daddr {address} meta l4proto tcp {action}", field(ip));
    });
    rules.push_str(" }\n");
    if node == Node::Client {
        rules.push_str(" chain input {\n  type filter hook input priority 0; policy accept;\n");
        for ip in Ip::BOTH {
            let from = destination(Scenario::AnswerDropped, ip);
            _ = writeln!(rules, "  {} saddr {from} meta l4proto tcp drop", field(ip));
        }
        rules.push_str(" }\n");
    }
    rules.push_str("}\n");
    rules
}

/// A table of the client's by which it redirects connections to itself.
pub(crate) fn redirects() -> String {
    let mut rules =
        String::from("table inet redirects {\n chain output {\n  type nat hook output priority -100; policy accept;\n");
    for ip in Ip::BOTH {
        for (scenario, port) in
            [(Scenario::RedirectedReset, REDIRECTED), (Scenario::RedirectedRefused, REDIRECTED_CLOSED)]
        {
            _ = writeln!(
                rules,
                "  {} daddr {} tcp dport 1-65535 redirect to :{port}",
                field(ip),
                destination(scenario, ip)
            );
        }
    }
    rules.push_str(" }\n}\n");
    rules
}

/// The same for these destinations, whose connections are served.
pub(crate) fn serve_instead(destinations: &[IpAddr]) -> String {
    let mut rules = String::new();
    for address in destinations {
        let field = field(if address.is_ipv4() { Ip::V4 } else { Ip::V6 });
        _ = writeln!(
            rules,
            "add rule inet redirects output {field} daddr {address} tcp dport 1-65535 redirect to :{REDIRECTED_AND_SERVED}"
        );
    }
    rules
}

/// Where the client's own program resets what it is redirected to.
pub(crate) const REDIRECTED: u16 = 20_025;
/// Where it serves it.
pub(crate) const REDIRECTED_AND_SERVED: u16 = 20_027;
/// Where nobody listens.
const REDIRECTED_CLOSED: u16 = 20_026;

const fn field(ip: Ip) -> &'static str {
    match ip {
        Ip::V4 => "ip",
        Ip::V6 => "ip6",
    }
}

/// A namespace's iptables rules for one IP version.
pub(crate) fn iptables(node: Node, wanted: Ip) -> String {
    let chain = node.hook().to_uppercase();
    let mut rules = String::from("*filter\n");
    for_each_rule(node, Tool::Iptables, |ip, address, action| {
        let target = match (action, ip) {
            (Action::Drop | Action::DropData, _) => "DROP",
            (Action::Reset, _) => "REJECT --reject-with tcp-reset",
            (Action::Icmp(Unreachable::Port | Unreachable::V6Port), Ip::V4) => {
                "REJECT --reject-with icmp-port-unreachable"
            }
            (Action::Icmp(Unreachable::Port | Unreachable::V6Port), Ip::V6) => {
                "REJECT --reject-with icmp6-port-unreachable"
            }
            (Action::Icmp(_), Ip::V4) => "REJECT --reject-with icmp-admin-prohibited",
            (Action::Icmp(_), Ip::V6) => "REJECT --reject-with icmp6-adm-prohibited",
        };
        if ip == wanted {
            _ = writeln!(rules, "-A {chain} -d {address} -p tcp -j {target}");
        }
    });
    rules.push_str("COMMIT\n");
    rules
}

/// The namespace that a rule lives in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Client,
    Router,
    Server,
}

impl Node {
    const fn hook(self) -> &'static str {
        match self {
            Self::Client => "output",
            Self::Router => "forward",
            Self::Server => "input",
        }
    }

    const fn of(hop: Hop) -> Self {
        match hop {
            Hop::Router => Self::Router,
            Hop::Server => Self::Server,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Drop,
    DropData,
    Reset,
    Icmp(Unreachable),
}

fn for_each_rule(node: Node, tool: Tool, mut emit: impl FnMut(Ip, IpAddr, Action)) {
    for scenario in Scenario::all() {
        for ip in Ip::BOTH.into_iter().filter(|ip| scenario.exists_for(*ip)) {
            if let Some((place, with, action)) = rule(scenario, ip)
                && (place, with) == (node, tool)
            {
                emit(ip, destination(scenario, ip), action);
            }
        }
    }
}

/// Which namespace stops a scenario's packets, with which tool, and how.
fn rule(scenario: Scenario, ip: Ip) -> Option<(Node, Tool, Action)> {
    Some(match scenario {
        Scenario::RemoteReset(hop, tool) => (Node::of(hop), tool, Action::Reset),
        Scenario::Icmp(kind, hop) => (Node::of(hop), Tool::Nft, Action::Icmp(kind)),
        Scenario::DropTimeout | Scenario::Cancelled | Scenario::Killed | Scenario::Destroyed => {
            (Node::Server, Tool::Nft, Action::Drop)
        }
        Scenario::DropAbandoned | Scenario::DropAbandonedLate => (Node::Router, Tool::Nft, Action::Drop),
        Scenario::Stalled | Scenario::StalledAbandoned => (Node::Router, Tool::Nft, Action::DropData),
        Scenario::LocalFirewall(tool, verdict) => (Node::Client, tool, local_action(verdict, ip)),
        _ => return None,
    })
}

const fn local_action(verdict: Verdict, ip: Ip) -> Action {
    match (verdict, ip) {
        (Verdict::Drop | Verdict::DropAbandoned, _) => Action::Drop,
        (Verdict::Reset, _) => Action::Reset,
        (Verdict::IcmpPort, Ip::V4) => Action::Icmp(Unreachable::Port),
        (Verdict::IcmpPort, Ip::V6) => Action::Icmp(Unreachable::V6Port),
        (Verdict::IcmpAdmin, Ip::V4) => Action::Icmp(Unreachable::AdminProhibited),
        (Verdict::IcmpAdmin, Ip::V6) => Action::Icmp(Unreachable::V6AdminProhibited),
    }
}

const fn prefix(ip: Ip) -> u8 {
    match ip {
        Ip::V4 => 24,
        Ip::V6 => 64,
    }
}

const fn nodad(ip: Ip) -> &'static str {
    match ip {
        Ip::V4 => "",
        Ip::V6 => "nodad",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_icmp_scenario_has_its_rule() {
        let rules = nft(Node::Router);
        for kind in Unreachable::ALL {
            let address = destination(Scenario::Icmp(kind, Hop::Router), kind.ip());
            assert!(rules.contains(&format!("daddr {address} meta l4proto tcp reject with {}", kind.nft())));
        }
    }

    #[test]
    fn iptables_rules_keep_to_their_ip_version() {
        assert!(!iptables(Node::Client, Ip::V4).contains("2001:"));
        assert!(!iptables(Node::Client, Ip::V6).contains("203.0.113"));
    }
}
