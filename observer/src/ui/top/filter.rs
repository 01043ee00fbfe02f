//! What was typed after `/`.

use std::net::IpAddr;

use ipnet::IpNet;
use observer_core::tally::Tally;

use super::subject::Subject;

/// Letters from which on a text is looked for in labels and reasons too.
const MIN_WORD: usize = 3;

/// A text to look for, taken apart once.
#[derive(Debug)]
pub(super) struct Needle {
    text: String,
    net: Option<IpNet>,
}

impl Needle {
    pub(super) fn new(text: &str) -> Self {
        let text = text.trim().to_ascii_lowercase();
        let net = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        Self { text, net }
    }

    /// True if the subject's name contains the text, or lies in it if it is an
    /// address or a prefix, or if it has an outcome that is named so.
    pub(super) fn matches(&self, subject: Subject, tally: &Tally) -> bool {
        self.text.is_empty()
            || self.net.is_some_and(|net| subject.is_within(&net))
            || subject.to_string().contains(&self.text)
            || (self.text.len() >= MIN_WORD && self.is_outcome_of(tally))
    }

    fn is_outcome_of(&self, tally: &Tally) -> bool {
        tally.outcomes().any(|((label, reason), _)| {
            label.as_str().contains(&self.text) || reason.is_some_and(|reason| reason.as_str().contains(&self.text))
        })
    }
}
