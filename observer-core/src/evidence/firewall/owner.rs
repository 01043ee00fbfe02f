//! Who wrote a rule, as far as the names of chains and tables tell.

/// Chains that ConfigServer Firewall makes.
const CSF: [&str; 15] = [
    "LOCALOUTPUT",
    "SMTPOUTPUT",
    "DENYOUT",
    "ALLOWOUT",
    "LOGDROPOUT",
    "GDENYOUT",
    "GALLOWOUT",
    "DYNDNSOUT",
    "GDYNDNSOUT",
    "UDPFLOOD",
    "INVALID",
    "INVDROP",
    "LOCALINPUT",
    "DENYIN",
    "ALLOWIN",
];

/// How a chain's name begins.
const BEGINNINGS: [(&str, &str); 25] = [
    ("ufw-", "ufw"),
    ("ufw6-", "ufw"),
    ("f2b-", "fail2ban"),
    ("fail2ban-", "fail2ban"),
    ("DOCKER", "Docker"),
    ("cali-", "Calico"),
    ("filter_OUT", "firewalld"),
    ("filter_FWD", "firewalld"),
    ("filter_FORWARD", "firewalld"),
    ("nat_OUT", "firewalld"),
    ("OUTPUT_direct", "firewalld"),
    ("FORWARD_direct", "firewalld"),
    ("CC_", "CSF"),
    ("cP-Firewall", "cPanel"),
    ("cPanel", "cPanel"),
    ("KUBE-", "Kubernetes"),
    ("ISTIO_", "Istio"),
    ("CILIUM_", "Cilium"),
    ("NETAVARK", "Podman"),
    ("CNI-", "CNI plugins"),
    ("LIBVIRT_", "libvirt"),
    ("ts-", "Tailscale"),
    ("imunify360", "Imunify360"),
    ("i360", "Imunify360"),
    ("sshguard", "SSHGuard"),
];

/// Of tables.
const TABLES: [(&str, &str); 8] = [
    ("firewalld", "firewalld"),
    ("f2b-table", "fail2ban"),
    ("calico", "Calico"),
    ("crowdsec", "CrowdSec"),
    ("crowdsec6", "CrowdSec"),
    ("cPanel", "cPanel"),
    ("netavark", "Podman"),
    ("docker-bridges", "Docker"),
];

/// By the names of a table and of a chain in it.
pub(super) fn named(table: &str, chain: &str) -> Option<&'static str> {
    let by_chain = BEGINNINGS.iter().find(|(beginning, _)| chain.starts_with(beginning)).map(|(_, owner)| *owner);
    let by_table = || TABLES.iter().find(|(name, _)| *name == table).map(|(_, owner)| *owner);
    let of_firewalld = || chain.ends_with("_direct").then_some("firewalld");
    by_chain.or_else(|| CSF.contains(&chain).then_some("CSF")).or_else(by_table).or_else(of_firewalld)
}

/// Of a base chain, by the chains that it leads to, if they have one owner. Docker's and
/// fail2ban's chains hang in everybody's.
pub(super) fn of_base<'a>(table: &str, targets: impl Iterator<Item = &'a str>) -> Option<&'static str> {
    let mut owner = None;
    for name in targets.filter_map(|target| named(table, target)).filter(|name| !["Docker", "fail2ban"].contains(name))
    {
        if *owner.get_or_insert(name) != name {
            return None;
        }
    }
    owner
}
