//! The messages, and the hosts of their recipients' domains.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

/// How a host treats a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Manner {
    Refuse,
    Drop,
    Icmp,
    Reset,
    Close,
    Silent,
    Work,
    NoRoute,
    /// A mail server that takes no recipient, for good.
    Reject,
    /// One behind a link that drops large packets without an ICMP error.
    Narrow,
    /// One that answers STARTTLS, and then with something else than TLS.
    Garble,
    /// One that answers STARTTLS, and then closes.
    CutTls,
}

use Manner::{Close, CutTls, Drop, Garble, Icmp, Narrow, NoRoute, Refuse, Reject, Reset, Silent, Work};

impl Manner {
    pub(crate) const ALL: [Self; 12] =
        [Refuse, Drop, Icmp, Reset, Close, Silent, Work, NoRoute, Reject, Narrow, Garble, CutTls];

    /// The second octet of its hosts' addresses.
    pub(crate) fn octet(self) -> u8 {
        70 + Self::ALL.iter().position(|manner| *manner == self).map_or(0, |nth| nth as u8)
    }

    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

/// Domains of one host: message after message another row.
const ONE: [&[Manner]; 8] = [&[Refuse], &[Drop], &[Icmp], &[Reset], &[Close], &[Silent], &[Work], &[NoRoute]];
/// The hosts of domains that have several, by preference.
const SEVERAL: [&[Manner]; 4] = [&[Refuse, Work], &[Drop, Work], &[Icmp, Refuse, Reset], &[Silent, Work]];
/// The same where there are few messages.
pub(crate) const FEW: &[&[Manner]] = &[
    &[Refuse],
    &[Drop],
    &[Icmp],
    &[Reset],
    &[Close],
    &[Silent],
    &[Work],
    &[NoRoute],
    &[Reject],
    &[Refuse, Work],
    &[Reject, Work],
];
/// Without those that make Exim send the sender a bounce, which is none of the messages.
pub(crate) const FEW_OF_EXIM: &[&[Manner]] =
    &[&[Refuse], &[Drop], &[Icmp], &[Reset], &[Close], &[Silent], &[Work], &[Refuse, Work]];
pub(crate) const NARROW: &[&[Manner]] = &[&[Narrow], &[Narrow, Work], &[Work], &[Refuse, Narrow]];
pub(crate) const BROKEN_TLS: &[&[Manner]] =
    &[&[Garble], &[CutTls], &[Garble, Work], &[CutTls, Work], &[Refuse, CutTls], &[Work]];

/// Messages to a domain and hosts of their own.
const ALONE: usize = 800;
/// The same of each row where there are few.
const OF_EACH: usize = 4;
/// Messages to one of these domains, which all refuse: after the first failures
/// nothing more is tried.
const TOGETHER: usize = 200;
const SHARED: usize = 10;

/// A message to one recipient.
pub(crate) struct Message {
    pub(crate) number: usize,
    pub(crate) domain: String,
    pub(crate) hosts: &'static [Manner],
    /// Others go to the same domain.
    pub(crate) is_together: bool,
    /// The number in the addresses of its hosts.
    place: usize,
    /// Which instance of the server it is handed to, where there are several: each connects
    /// from an address of its own.
    pub(crate) instance: usize,
}

impl Message {
    /// In no log line that is kept, and in no event, the local part may be found.
    pub(crate) fn recipient(&self) -> String {
        format!("{LOCAL_PART}{}@{}", self.number, self.domain)
    }

    pub(crate) fn ip(&self, manner: Manner) -> IpAddr {
        let (third, fourth) = (self.place / 250, self.place % 250 + 1);
        IpAddr::V4(Ipv4Addr::new(10, manner.octet(), third as u8, fourth as u8))
    }

    /// `refuse, work`; `together` for those that share a domain.
    pub(crate) fn row(&self) -> String {
        if self.is_together {
            return "refuse, together".to_owned();
        }
        self.hosts.iter().map(|manner| manner.name()).collect::<Vec<_>>().join(", ")
    }
}

/// The domain of every sender: what is sent there, servers report.
pub(crate) const SENDERS: &str = "mx1.example";

/// Begins every recipient's local part.
pub(crate) const LOCAL_PART: &str = "secret";

/// Without hosts of one manner, if a server is too patient with those.
pub(crate) fn messages(without: Option<Manner>) -> Vec<Message> {
    let rows: Vec<_> =
        ONE.into_iter().chain(SEVERAL).filter(|row| without.is_none_or(|manner| !row.contains(&manner))).collect();
    let alone = (0..ALONE).map(|number| alone(number, &rows));
    let together = (0..TOGETHER).map(|nth| Message {
        number: ALONE + nth,
        domain: format!("shared{}.example", nth % SHARED),
        hosts: &[Refuse],
        is_together: true,
        place: ALONE + nth % SHARED,
        instance: 0,
    });
    alone.chain(together).collect()
}

/// A few messages to hosts as in these rows. Only messages to different instances of the server share
/// hosts.
pub(crate) fn few_messages(rows: &[&'static [Manner]], instances: usize) -> Vec<Message> {
    let message = |number: usize| Message { number, instance: number % instances, ..alone(number / instances, rows) };
    (0..OF_EACH * rows.len() * instances).map(message).collect()
}

fn alone(number: usize, rows: &[&'static [Manner]]) -> Message {
    Message {
        number,
        domain: format!("d{number}.example"),
        hosts: rows[number % rows.len()],
        is_together: false,
        place: number,
        instance: 0,
    }
}

/// dnsmasq's configuration: MX and A records of all domains.
pub(crate) fn zone(messages: &[Message]) -> String {
    let mut text = String::new();
    let mut seen = std::collections::HashSet::new();
    for message in messages.iter().filter(|message| seen.insert(&message.domain)) {
        for (nth, manner) in message.hosts.iter().enumerate() {
            let host = format!("{}.{}", manner.name(), message.domain);
            let _ = writeln!(text, "mx-host={},{host},{}", message.domain, 10 * (nth + 1));
            let _ = writeln!(text, "host-record={host},{}", message.ip(*manner));
        }
    }
    text
}

/// What a client says to hand these messages in, command by command. Each has so many lines.
pub(crate) fn dialogue<'a>(messages: impl Iterator<Item = &'a Message>, lines: usize) -> impl Iterator<Item = String> {
    let body = format!("{}\r\n", "x".repeat(76)).repeat(lines);
    let commands = move |message: &Message| {
        [
            "MAIL FROM:<sender@mx1.example>\r\n".to_owned(),
            format!("RCPT TO:<{}>\r\n", message.recipient()),
            "DATA\r\n".to_owned(),
            format!("Subject: {}\r\n\r\n{body}.\r\n", message.number),
        ]
    };
    let greeting = std::iter::once("EHLO localhost\r\n".to_owned());
    greeting.chain(messages.flat_map(commands)).chain(std::iter::once("QUIT\r\n".to_owned()))
}
