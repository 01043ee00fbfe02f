//! This host's routing decision for a destination, as ip-route(8) tells it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// What the routing table decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "decision", rename_all = "kebab-case")]
pub enum Route {
    /// It goes out.
    Goes {
        /// By this interface.
        interface: String,
        /// To this next hop; none: the destination is on the link.
        #[serde(skip_serializing_if = "Option::is_none")]
        gateway: Option<IpAddr>,
        /// From this address, unless the program has chosen another.
        #[serde(skip_serializing_if = "Option::is_none")]
        source: Option<IpAddr>,
    },
    /// It does not.
    Refused {
        /// As the kernel says it.
        why: String,
    },
}

impl Route {
    /// Reads what `ip -j route get` wrote.
    ///
    /// # Errors
    /// If it is not understood: why, in a line.
    pub fn read(json: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Decision {
            dev: String,
            gateway: Option<IpAddr>,
            prefsrc: Option<IpAddr>,
            #[serde(rename = "type")]
            kind: Option<String>,
        }
        let decisions: Vec<Decision> = serde_json::from_str(json).map_err(|error| format!("ip route get: {error}"))?;
        let decision = decisions.into_iter().next().ok_or("ip route get: no answer")?;
        match decision.kind.as_deref() {
            // IPv6 answers with such a route instead of an error.
            Some(kind @ ("unreachable" | "prohibit" | "blackhole")) => {
                Ok(Self::Refused { why: format!("a route of type {kind}") })
            }
            _ => Ok(Self::Goes { interface: decision.dev, gateway: decision.gateway, source: decision.prefsrc }),
        }
    }

    /// The interface of a route without a next hop: the destination is on its link, or the link is
    /// one from point to point, which leads everywhere.
    pub fn link(&self) -> Option<&str> {
        match self {
            Self::Goes { interface, gateway: None, .. } => Some(interface),
            _ => None,
        }
    }

    /// Whether neighbours are looked up on an interface, as `ip -j link show` tells; not on a link
    /// from point to point.
    pub fn has_neighbours(json: &str) -> bool {
        #[derive(Deserialize)]
        struct Link {
            flags: Vec<String>,
        }
        let links: Vec<Link> = serde_json::from_str(json).unwrap_or_default();
        let has = |link: &Link| !link.flags.iter().any(|flag| flag == "POINTOPOINT" || flag == "NOARP");
        links.first().is_some_and(has)
    }

    /// What the kernel answers where it has no route.
    pub fn refused(error: &str) -> Option<Self> {
        let (_, why) = error.split_once("RTNETLINK answers: ")?;
        let why = match why.trim() {
            why @ "Network is unreachable" => why.to_owned(),
            why @ "No route to host" => format!("{why}, which a route of type unreachable answers"),
            why @ "Permission denied" => format!("{why}, which a route of type prohibit answers"),
            why @ "Invalid argument" => format!("{why}, which a route of type blackhole answers"),
            _ => return None,
        };
        Some(Self::Refused { why })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Route;

    #[test]
    fn a_route_is_read() {
        let json = r#"[{"dst":"203.0.113.5","gateway":"192.0.2.1","dev":"eth0","prefsrc":"192.0.2.10","flags":[],"uid":0,"cache":[]}]"#;
        let (gateway, source) = ("192.0.2.1".parse().ok(), "192.0.2.10".parse().ok());
        assert_eq!(Route::read(json), Ok(Route::Goes { interface: "eth0".to_owned(), gateway, source }));
        let json = r#"[{"type":"unreachable","dst":"2001:db8::1","dev":"lo","metric":1024}]"#;
        assert_eq!(Route::read(json), Ok(Route::Refused { why: "a route of type unreachable".to_owned() }));
    }

    #[test]
    fn a_link_from_point_to_point_has_no_neighbours() {
        for (json, expected) in [
            (r#"[{"ifindex":2,"ifname":"eth0","flags":["BROADCAST","MULTICAST","UP","LOWER_UP"],"mtu":1500}]"#, true),
            (r#"[{"ifindex":3,"ifname":"tun0","flags":["POINTOPOINT","MULTICAST","NOARP","UP"]}]"#, false),
            (r#"[{"ifindex":4,"ifname":"wg0","flags":["POINTOPOINT","NOARP","UP"]}]"#, false),
            ("[]", false),
            ("", false),
        ] {
            assert_eq!(Route::has_neighbours(json), expected, "{json}");
        }
    }

    #[test]
    fn a_refusal_is_a_decision_and_other_errors_are_not() {
        let refused = |why: &str| Some(Route::Refused { why: why.to_owned() });
        assert_eq!(Route::refused("RTNETLINK answers: Network is unreachable"), refused("Network is unreachable"));
        for (why, kind) in
            [("No route to host", "unreachable"), ("Permission denied", "prohibit"), ("Invalid argument", "blackhole")]
        {
            let named = format!("{why}, which a route of type {kind} answers");
            assert_eq!(Route::refused(&format!("RTNETLINK answers: {why}")), refused(&named));
        }
        assert_eq!(Route::refused("RTNETLINK answers: Operation not supported"), None);
        assert_eq!(Route::refused("No such file or directory"), None);
    }

    proptest! {
        #[test]
        fn no_answer_breaks_it(text in ".{0,200}") {
            let _ = Route::read(&text);
            Route::refused(&text);
        }
    }
}
