//! The causes that can be told, and what to do about each.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;

use super::Evidence;
use super::seen::Share;

/// The verdict of a firewall of this host that stops some of what fails.
pub(super) fn in_part(port: u16) -> String {
    format!("this host's own firewall stops part of the connections to port {port}")
}

/// What to do where the address that the mail server sends from is this host's.
pub(super) const FROM_ELSEWHERE: &str = "correct the mail server's source address (Postfix: smtp_bind_address and \
                                         smtp_bind_address6; Exim: interface; KumoMTA: source_address): this host has \
                                         {src}, and from it the destination cannot be reached";

/// Why connections fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The destination's mail server does not run, or its host is down.
    ServerDown,
    /// A firewall at the destination, or before it, says no.
    RemoteFirewallRejects,
    /// A firewall at the destination, or before it, drops in silence.
    RemoteFirewallDrops,
    /// This host's own firewall.
    LocalFirewall,
    /// This host sends connections to the port elsewhere.
    LocalRedirect,
    /// A security module of this host does not let the program connect.
    SecurityPolicy,
    /// The table of connection tracking is full.
    ConntrackFull,
    /// The provider or network blocks the port on its way out.
    PortBlockedOutbound,
    /// The destination does not want one of our addresses.
    AddressBlocked,
    /// The destination limits our rate, or has too much to do.
    RateLimited,
    /// The destination turns new senders away at first, and takes the mail later.
    Greylisting,
    /// The destination takes connections, and refuses messages or recipients.
    MessageRefused,
    /// The destination accepts connections, and serves none.
    NotServed,
    /// What answers there is no mail server.
    NotMailServer,
    /// IPv6 does not work here, while IPv4 does.
    Ipv6Broken,
    /// This host's routing table, or its next hop.
    RouteFault,
    /// The network has no way to the destination.
    NetworkFault,
    /// This host has no ports left to connect from.
    LocalResource,
    /// The address that the mail server sends from cannot reach the destination.
    WrongSourceAddress,
    /// Something on the way forges RSTs.
    MiddleboxForges,
    /// Connections die in the middle of a session.
    SessionCut,
    /// The domain's mail goes to the wrong place, or to none.
    WrongExchanger,
}

/// What a person reads about a cause.
pub(super) struct Words {
    /// `mx.example.net: its mail server is down`, without the name.
    pub(super) verdict: &'static str,
    /// What to do.
    pub(super) next_step: &'static str,
    /// How to check it by hand; `{dst}`, `{src}` and `{port}` stand for what is known.
    pub(super) by_hand: &'static str,
    /// What would make it surer.
    pub(super) surer: &'static str,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 22] = [
        Self::ServerDown,
        Self::RemoteFirewallRejects,
        Self::RemoteFirewallDrops,
        Self::LocalFirewall,
        Self::LocalRedirect,
        Self::SecurityPolicy,
        Self::ConntrackFull,
        Self::PortBlockedOutbound,
        Self::AddressBlocked,
        Self::RateLimited,
        Self::Greylisting,
        Self::MessageRefused,
        Self::NotServed,
        Self::NotMailServer,
        Self::Ipv6Broken,
        Self::RouteFault,
        Self::NetworkFault,
        Self::LocalResource,
        Self::WrongSourceAddress,
        Self::MiddleboxForges,
        Self::SessionCut,
        Self::WrongExchanger,
    ];

    /// The cause as JSON writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ServerDown => "server-down",
            Self::RemoteFirewallRejects => "remote-firewall-rejects",
            Self::RemoteFirewallDrops => "remote-firewall-drops",
            Self::LocalFirewall => "local-firewall",
            Self::LocalRedirect => "local-redirect",
            Self::SecurityPolicy => "security-policy",
            Self::ConntrackFull => "conntrack-full",
            Self::PortBlockedOutbound => "port-blocked-outbound",
            Self::AddressBlocked => "address-blocked",
            Self::RateLimited => "rate-limited",
            Self::Greylisting => "greylisting",
            Self::MessageRefused => "message-refused",
            Self::NotServed => "not-served",
            Self::NotMailServer => "not-mail-server",
            Self::Ipv6Broken => "ipv6-broken",
            Self::RouteFault => "route-fault",
            Self::NetworkFault => "network-fault",
            Self::LocalResource => "local-resource",
            Self::WrongSourceAddress => "wrong-source-address",
            Self::MiddleboxForges => "middlebox-forges",
            Self::SessionCut => "session-cut",
            Self::WrongExchanger => "wrong-exchanger",
        }
    }

    /// True for what is to be mended at this end: here, or at this host's provider.
    pub const fn is_ours(self) -> bool {
        matches!(
            self,
            Self::LocalFirewall
                | Self::LocalRedirect
                | Self::SecurityPolicy
                | Self::ConntrackFull
                | Self::PortBlockedOutbound
                | Self::Ipv6Broken
                | Self::RouteFault
                | Self::LocalResource
                | Self::WrongSourceAddress
        )
    }

    pub(super) const fn words(self) -> Words {
        match self {
            Self::ServerDown => Words {
                verdict: "the mail server there is down, or nothing listens on port {port}",
                next_step: "nothing is wrong here: leave the mail in the queue. If it lasts, tell their postmaster by \
                            other means; --evidence writes the text",
                by_hand: "nc -vz {dst} {port}; nc -vz {dst} 443",
                surer: "an attempt from another network: if it is refused too, it is not about this host",
            },
            Self::RemoteFirewallRejects => Words {
                verdict: "a firewall there rejects connections to port {port}",
                next_step: "ask their postmaster to let this host's address through; --evidence writes the text",
                by_hand: "traceroute -T -p {port} {dst}",
                surer: "an attempt from another of this host's addresses, or from another network",
            },
            Self::RemoteFirewallDrops => Words {
                verdict: "a firewall there drops connections to port {port}, or the host is down",
                next_step: "ask their postmaster whether the host is up and lets this host's address through; --evidence \
                            writes the text",
                by_hand: "traceroute -T -p {port} {dst}; ping {dst}",
                surer: "any sign of life of that host, such as an answer to ping or on another port",
            },
            Self::LocalFirewall => Words {
                verdict: "this host's own firewall stops connections to port {port}",
                next_step: "allow outbound TCP to port {port} for the mail server in this host's firewall",
                by_hand: "nft list ruleset; iptables-save; ip6tables-save; if no rule there stops it: tc filter show dev \
                          INTERFACE egress; bpftool cgroup tree",
                surer: "the counters of the rules: the one that stops it goes up with each attempt",
            },
            Self::LocalRedirect => Words {
                verdict: "this host itself redirects connections to port {port}: they never reach the destination",
                next_step: "exempt the mail server's user or group from the redirect (cPanel: SMTP Restrictions; a \
                            sidecar: its excluded outbound ports), or submit to the local mail server",
                by_hand: "iptables -t nat -S OUTPUT; nft list ruleset | grep -E 'redirect|dnat'",
                surer: "the same attempt as root or as the mail server's user: if it gets through, it is the redirect",
            },
            Self::SecurityPolicy => Words {
                verdict: "a security policy of this host (SELinux, AppArmor, Landlock) does not let the program connect to \
                          port {port}",
                next_step: "allow it in the policy (SELinux, for a web application: setsebool -P httpd_can_sendmail on; \
                            AppArmor: its profile; systemd: the unit), or have it submit to the local mail server",
                by_hand: "ausearch -m avc -ts recent; getsebool -a | grep -E 'sendmail|network_connect'; aa-status; dmesg | \
                          grep -i denied",
                surer: "the same attempt by another program or user: if it gets through, it is the policy",
            },
            Self::ConntrackFull => Words {
                verdict: "this host's table of tracked connections is full, so the kernel drops new ones",
                next_step: "raise net.netfilter.nf_conntrack_max, or find what fills the table; no firewall rule needs a \
                            change",
                by_hand: "sysctl net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max; dmesg | grep 'table full'",
                surer: "the kernel's log at the time of the failures: nf_conntrack: table full, dropping packet",
            },
            Self::PortBlockedOutbound => Words {
                verdict: "port {port} is blocked on the way out, by this host's provider or network",
                next_step: "ask the provider to open outbound port {port}, or send through a relay on port 587",
                by_hand: "nc -vz gmail-smtp-in.l.google.com {port}; nc -vz smtp.gmail.com 587",
                surer: "the same attempt on port 587 or 465: if it works, it is about port {port}",
            },
            Self::AddressBlocked => Words {
                verdict: "the destination blocks one of this host's addresses",
                next_step: "see whether the address is on a block list, cure the reason, and ask their postmaster to lift \
                            the block; until then send from another address",
                by_hand: "nc -vz -s {src} {dst} {port}",
                surer: "an attempt from each of this host's addresses at the same time",
            },
            Self::RateLimited => Words {
                verdict: "the destination limits how many connections this host may make, or has too much to do",
                next_step: "send to it with fewer connections at a time and more pause between them",
                by_hand: "nc {dst} {port}, once now and once after a quarter of an hour of silence",
                surer: "an hour with fewer connections: if the failures cease, it is the rate",
            },
            Self::Greylisting => Words {
                verdict: "the destination greylists: it turns new senders away at first and takes their mail later",
                next_step: "wait: the mail server tries again by itself and is then let in. Do not shorten its retry \
                            times, and retry from the same address",
                by_hand: "grep the mail server's log for the next delivery to the same recipient: it should be accepted",
                surer: "the next try: if it is accepted after the same time as others before it, it is greylisting",
            },
            Self::MessageRefused => Words {
                verdict: "the destination takes connections and refuses messages or recipients",
                next_step: "read the answer: it is about the message, the sender or the recipient, and not about the \
                            connection",
                by_hand: "grep the mail server's log for the answers to RCPT TO and DATA",
                surer: "another message, from another sender or to another recipient there",
            },
            Self::NotServed => Words {
                verdict: "the destination accepts connections and does not serve them",
                next_step: "try again later: an overloaded server, or one that does not want this host, does this. If it \
                            lasts, ask their postmaster; --evidence writes the text",
                by_hand: "nc {dst} {port}, and wait five minutes for a banner (RFC 5321, 4.5.3.2.1)",
                surer: "an attempt from another address: if that one is served, it is about this host's address",
            },
            Self::NotMailServer => Words {
                verdict: "what answers there on port {port} is not a mail server",
                next_step: "check the address: DNS or a route of the mail server may name the wrong host or port, or a \
                            proxy on the way answers instead; if it is right, tell their postmaster; --evidence writes \
                            the text",
                by_hand: "nc {dst} {port}, and read the first line: a mail server's begins with 220",
                surer: "the same from another network: if a mail server answers there, something on the way intercepts",
            },
            Self::Ipv6Broken => Words {
                verdict: "IPv6 to port {port} does not work from this host, while IPv4 does",
                next_step: "fix IPv6 here, or ask the provider whether it blocks port {port} over IPv6; until then have the \
                            mail server use IPv4 (Postfix: inet_protocols = ipv4)",
                by_hand: "ip -6 route; ping -6 -c 3 2001:4860:4860::8888",
                surer: "a connection by IPv6 to any other port",
            },
            Self::RouteFault => Words {
                verdict: "this host has no working route there",
                next_step: "correct this host's routing table or its next hop",
                by_hand: "ip route get {dst}; ip neigh; ip route show table all type blackhole (or unreachable, prohibit)",
                surer: "the routing decision for that address, and whether the next hop answers",
            },
            Self::NetworkFault => Words {
                verdict: "the network has no way to the destination",
                next_step: "wait, or tell the provider whose router says so; --evidence writes the text",
                by_hand: "traceroute -T -p {port} {dst}",
                surer: "an attempt from another network",
            },
            Self::LocalResource => Words {
                verdict: "this host has no free port to connect from",
                next_step: "widen net.ipv4.ip_local_port_range, or lower the mail server's concurrency",
                by_hand: "ss -s; sysctl net.ipv4.ip_local_port_range",
                surer: "how many connections to that destination are in TIME-WAIT",
            },
            Self::WrongSourceAddress => Words {
                verdict: "the address that the mail server sends from cannot reach the destination",
                next_step: "correct the mail server's source address (Postfix: smtp_bind_address and smtp_bind_address6; \
                            Exim: interface; KumoMTA: source_address), or add the address to this host",
                by_hand: "ip address; ip route get {dst} from {src}; postconf smtp_bind_address smtp_bind_address6",
                surer: "the same attempt from another of this host's addresses: if it gets through, it is the address",
            },
            Self::MiddleboxForges => Words {
                verdict: "something on the way forges resets in the destination's name",
                next_step: "ask the provider which firewall or proxy intercepts port {port}; a load balancer at the destination \
                            can look the same",
                by_hand: "traceroute -T -p {port} {dst}",
                surer: "the hop at which the reset is born",
            },
            Self::SessionCut => Words {
                verdict: "connections are cut in the middle of a session",
                next_step: "look for a path whose MTU is too small for large segments (a tunnel, or a firewall that drops \
                            ICMP; try a smaller MTU or advmss on the route), and for a firewall that forgets connections; ask their postmaster for what their log says",
                by_hand: "tracepath {dst}; ping -M do -s 1472 {dst}; ss -ti dst {dst} during a delivery (unacked, backoff)",
                surer: "whether short messages get through where long ones do not",
            },
            Self::WrongExchanger => Words {
                verdict: "the domain's MX is wrong or stale, or it takes no mail",
                next_step: "flush this host's DNS cache and remove routes that were set by hand; if DNS itself is wrong, tell \
                            the domain's owner by other means",
                by_hand: "dig MX DOMAIN; dig A DOMAIN; dig AAAA DOMAIN",
                surer: "the same question to the domain's own name servers",
            },
        }
    }

    /// `text` with what is known of this evidence filled in.
    pub(super) fn fill(text: &str, evidence: &Evidence) -> String {
        // One that fails, if any does.
        let first = |addresses: &BTreeMap<IpAddr, Share>| {
            let failing = addresses.iter().find(|(_, share)| share.failed() > 0);
            failing
                .or_else(|| addresses.first_key_value())
                .map_or("ADDRESS".to_owned(), |(address, _)| address.to_string())
        };
        let (dst, src) = (first(&evidence.subject.destinations), first(&evidence.subject.sources));
        text.replace("{dst}", &dst).replace("{src}", &src).replace("{port}", &evidence.port.to_string())
    }
}
