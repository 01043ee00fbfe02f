//! What history keeps of a mail server's log: rows of the table `delivery`.

pub use observer_core::join::row::{Connect, DeliveryRow};
use rusqlite::{Row, Statement};

use super::Result;
use super::entry::{Stored, address, nanoseconds, read_address, required_word, text, time_of_nanoseconds, word};
use observer_core::mta::DeliveryStatus;

/// The columns that [`Stored::bind`] fills and [`Stored::read`] reads, in order.
pub(super) const COLUMNS: &str =
    "time, kind, queue_id, recipient_domain, status, host, ip, said, words, connect, attempt";

impl Stored for DeliveryRow {
    fn bind(&self, insert: &mut Statement<'_>) -> rusqlite::Result<()> {
        insert.raw_bind_parameter(1, nanoseconds(self.time))?;
        insert.raw_bind_parameter(2, self.kind.as_str())?;
        insert.raw_bind_parameter(3, &self.queue_id)?;
        insert.raw_bind_parameter(4, &self.recipient_domain)?;
        insert.raw_bind_parameter(5, self.status.map(DeliveryStatus::as_str))?;
        insert.raw_bind_parameter(6, &self.host)?;
        insert.raw_bind_parameter(7, address(self.ip))?;
        insert.raw_bind_parameter(8, self.said.as_str())?;
        insert.raw_bind_parameter(9, &self.words)?;
        insert.raw_bind_parameter(10, self.connect.as_str())?;
        insert.raw_bind_parameter(11, &self.attempt)
    }

    fn read(row: &Row<'_>) -> Result<Self> {
        Ok(Self {
            time: time_of_nanoseconds(row.get(0)?)?,
            kind: required_word(row, 1)?,
            queue_id: text(row, 2)?,
            recipient_domain: text(row, 3)?,
            status: word(row, 4)?,
            host: text(row, 5)?,
            ip: read_address(row, 6)?,
            said: required_word(row, 7)?,
            words: text(row, 8)?.unwrap_or_default(),
            connect: required_word(row, 9)?,
            attempt: text(row, 10)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::ops::ControlFlow;
    use std::path::Path;

    use jiff::SignedDuration;
    use proptest::prelude::*;

    use super::super::tests::{entry, place, recorder};
    use super::super::{History, Question};
    use super::*;
    use observer_core::mta::{MtaKind, Said};
    use observer_core::sample;

    const ALL: [Connect; 8] = [
        Connect::Seen,
        Connect::Ambiguous,
        Connect::Unseen,
        Connect::Reused,
        Connect::None,
        Connect::Unlogged,
        Connect::Unsought,
        Connect::Untold,
    ];

    fn any_delivery() -> impl Strategy<Value = DeliveryRow> {
        let connect = prop::sample::select(ALL.to_vec());
        (sample::any_mta(), connect, prop::option::of(any::<IpAddr>()), 0_i64..3_600).prop_map(
            |(mta, connect, ip, seconds)| DeliveryRow {
                time: sample::time() + SignedDuration::from_secs(seconds),
                kind: mta.kind,
                queue_id: mta.queue_id,
                recipient_domain: mta.recipient_domain,
                status: mta.status,
                host: mta.host,
                ip: ip.map(|ip| ip.to_canonical()),
                said: mta.said.unwrap_or(Said::Nothing),
                words: mta.words.unwrap_or_default(),
                connect,
                attempt: None,
            },
        )
    }

    fn read(path: &Path, question: &Question, domains: &[String]) -> Vec<DeliveryRow> {
        let mut found = Vec::new();
        let history = History::open_read_only(path).unwrap();
        history
            .deliveries(question, domains, |delivery| {
                found.push(delivery);
                ControlFlow::Continue(())
            })
            .unwrap();
        found
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn what_was_written_is_read(mut deliveries in prop::collection::vec(any_delivery(), 0..20)) {
            let (_directory, path) = place();
            recorder(&path).record_deliveries(&deliveries).unwrap();
            deliveries.sort_by_key(|delivery| delivery.time);
            // NUL ends no text here, and no query.
            prop_assert_eq!(read(&path, &Question::default(), &[]), deliveries);
        }
    }

    fn delivery(domain: &str, ip: &str, seconds: i64) -> DeliveryRow {
        DeliveryRow {
            time: sample::time() + SignedDuration::from_secs(seconds),
            kind: MtaKind::Exim,
            queue_id: None,
            recipient_domain: Some(domain.to_owned()),
            status: Some(DeliveryStatus::Deferred),
            host: None,
            ip: ip.parse().ok(),
            said: Said::Refused,
            words: "Connection refused".to_owned(),
            connect: Connect::Seen,
            attempt: None,
        }
    }

    #[test]
    fn destinations_and_domains_are_alternatives() {
        let (_directory, path) = place();
        let all = [
            delivery("a.example", "203.0.113.1", 0),
            delivery("b.example", "203.0.113.2", 1),
            delivery("B.example", "", 2),
        ];
        recorder(&path).record_deliveries(&all).unwrap();
        let to_first = Question { destinations: vec!["203.0.113.1/32".parse().unwrap()], ..Question::default() };
        assert_eq!(read(&path, &to_first, &[]), all[..1]);
        assert_eq!(read(&path, &Question::default(), &["b.example".to_owned()]), all[1..]);
        assert_eq!(read(&path, &to_first, &["b.example".to_owned()]), all);
        let late = Question { since: Some(all[2].time), ..Question::default() };
        assert_eq!(read(&path, &late, &[]), all[2..]);
    }

    #[test]
    fn an_address_has_each_of_its_names_once() {
        let (_directory, path) = place();
        let all = [
            delivery("a.example", "203.0.113.1", 0),
            delivery("a.example", "203.0.113.1", 1),
            DeliveryRow { host: Some("mx.example".to_owned()), ..delivery("b.example", "203.0.113.1", 2) },
            delivery("c.example", "203.0.113.2", 3),
            delivery("d.example", "", 4),
            delivery("late.example", "203.0.113.1", 9),
        ];
        recorder(&path).record_deliveries(&all).unwrap();
        let history = History::open_read_only(&path).unwrap();
        let names = |destinations: &[&str]| {
            let destinations = destinations.iter().map(|net| net.parse().unwrap()).collect();
            let question = Question { until: Some(all[5].time), destinations, ..Question::default() };
            let mut found = Vec::new();
            let take = |ip: IpAddr, domain: Option<&str>, host: Option<&str>| {
                found.push(format!("{ip} {} {}", domain.unwrap_or("-"), host.unwrap_or("-")));
                ControlFlow::Continue(())
            };
            history.names(&question, take).unwrap();
            found.sort();
            found
        };
        let of_first = ["203.0.113.1 a.example -", "203.0.113.1 b.example mx.example"];
        assert_eq!(names(&[]), [&of_first[..], &["203.0.113.2 c.example -"]].concat());
        assert_eq!(names(&["203.0.113.1/32"]), of_first);
    }

    #[test]
    fn deliveries_go_with_the_attempts_of_their_time() {
        let (_directory, path) = place();
        let mut recorder = recorder(&path);
        recorder.record(&[entry(1, 0), entry(2, 7_200)], &[]).unwrap();
        recorder.record_deliveries(&[delivery("a.example", "", 0), delivery("b.example", "", 7_200)]).unwrap();
        let age = recorder.retention().age;
        let now = sample::time() + SignedDuration::try_from(age).unwrap() + SignedDuration::from_secs(3_600);
        while recorder.retain(now).unwrap() {}
        let left = read(&path, &Question::default(), &[]);
        assert_eq!(left, [delivery("b.example", "", 7_200)]);
    }
}
