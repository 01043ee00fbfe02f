//! What the mail server's log says of deliveries to the destinations in question.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::join::row::{Connect, Delivery};
use crate::mta::{Kind, Said, Status};

/// Domains and hosts that are told apart; what comes after is counted in the sums alone.
const KEPT: usize = 256;

/// It, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Mail {
    /// Whose log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// Hosts that deliveries tried, each as often as it was tried.
    pub tried: u64,
    /// Of those, whose attempt is known.
    pub matched: u64,
    /// Attempts that the log has no line on, and whose delivery is known.
    pub unlogged: u64,
    /// Deliveries that were put off without a connect.
    pub without_connect: u64,
    /// Tries of deliveries that were put off or given up in the end.
    pub undelivered: u64,
    /// Recipients' domains, each as often as a host was tried for it.
    pub domains: BTreeMap<String, u64>,
    /// Hosts by the names that the server knows.
    pub hosts: BTreeMap<String, u64>,
    /// What the server says of connections.
    pub said: BTreeMap<Said, u64>,
    /// The last words of each kind.
    pub words: BTreeMap<Said, String>,
}

impl Mail {
    /// Adds a row of history.
    pub fn add(&mut self, delivery: &Delivery) {
        self.kind = Some(delivery.kind);
        let is_put_off = matches!(delivery.status, Some(Status::Deferred | Status::Bounced));
        match delivery.connect {
            Connect::None => {
                // A bounce by this host's own rules tried no host either.
                if delivery.status == Some(Status::Deferred) {
                    self.without_connect += 1;
                    self.add_words(delivery);
                }
                return;
            }
            // Whose connects those were is not known, nor to what host.
            Connect::Untold => return,
            Connect::Unlogged => self.unlogged += 1,
            Connect::Seen | Connect::Reused => self.matched += 1,
            Connect::Ambiguous | Connect::Unseen | Connect::Unsought => {}
        }
        self.tried += u64::from(delivery.connect != Connect::Unlogged);
        self.undelivered += u64::from(is_put_off);
        count(&mut self.domains, delivery.recipient_domain.as_ref());
        count(&mut self.hosts, delivery.host.as_ref());
        self.add_words(delivery);
    }

    fn add_words(&mut self, delivery: &Delivery) {
        if delivery.said != Said::Nothing {
            *self.said.entry(delivery.said).or_default() += 1;
            self.words.insert(delivery.said, delivery.words.clone());
        }
    }

    /// True if the log has nothing on the destinations.
    pub fn is_empty(&self) -> bool {
        self.tried == 0 && self.unlogged == 0 && self.without_connect == 0
    }

    /// How often the other side answered, and said no.
    pub fn answered_no(&self) -> u64 {
        self.said.get(&Said::Answered).copied().unwrap_or(0)
    }

    /// Domains whose mail went there, most of it first.
    pub fn top_domains(&self) -> Vec<&str> {
        let mut domains: Vec<_> = self.domains.iter().collect();
        domains.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        domains.into_iter().map(|(domain, _)| domain.as_str()).collect()
    }
}

fn count(counts: &mut BTreeMap<String, u64>, name: Option<&String>) {
    let Some(name) = name else { return };
    if counts.len() < KEPT || counts.contains_key(name) {
        *counts.entry(name.clone()).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn delivery(connect: Connect, said: Said, words: &str) -> Delivery {
        Delivery {
            time: sample::time(),
            kind: Kind::Postfix,
            queue_id: Some("4Wx".to_owned()),
            recipient_domain: Some("example.net".to_owned()),
            status: Some(Status::Deferred),
            host: (connect != Connect::None).then(|| "mx.example.net".to_owned()),
            ip: (connect != Connect::None).then(|| sample::ip("203.0.113.5")),
            said,
            words: words.to_owned(),
            connect,
            attempt: None,
        }
    }

    #[test]
    fn rows_are_counted_by_what_they_are() {
        let mut mail = Mail::default();
        assert!(mail.is_empty());
        for (connect, said) in [
            (Connect::Seen, Said::Refused),
            (Connect::Unseen, Said::Answered),
            (Connect::Unlogged, Said::Nothing),
            (Connect::None, Said::Suspended),
        ] {
            mail.add(&delivery(connect, said, said.as_str()));
        }
        assert_eq!((mail.tried, mail.matched, mail.unlogged, mail.without_connect), (2, 1, 1, 1));
        assert_eq!((mail.undelivered, mail.answered_no()), (3, 1));
        assert_eq!(mail.words[&Said::Refused], "refused");
        assert_eq!(mail.top_domains(), ["example.net"]);
        assert_eq!(mail.hosts["mx.example.net"], 3);
    }

    #[test]
    fn however_many_domains_there_are_memory_is_bounded() {
        let mut mail = Mail::default();
        for number in 0..2 * KEPT {
            let recipient_domain = Some(format!("d{number}.example"));
            mail.add(&Delivery { recipient_domain, ..delivery(Connect::Seen, Said::Refused, "x") });
        }
        assert_eq!((mail.domains.len(), mail.tried), (KEPT, 2 * KEPT as u64));
    }
}
