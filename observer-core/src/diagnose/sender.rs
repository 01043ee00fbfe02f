//! Which of the failing attempts the firewall is asked about.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::label::{Label, Reason};
use crate::record::entry::Entry;

/// Whose attempts they are, and where they go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sender {
    /// The destination.
    pub dst: IpAddr,
    /// The source address, where one was chosen.
    pub src: Option<IpAddr>,
    /// The interface of the route, where it was seen.
    pub interface: Option<String>,
    /// The user, where the process was seen.
    pub uid: Option<u32>,
    /// The network namespace, by its inode number.
    pub netns: Option<u32>,
    /// Name of the task; hostile.
    pub comm: Option<String>,
}

impl Sender {
    /// The sender of most failing attempts, and the process of the last of them. Attempts
    /// that this host stopped come first: of those a rule is to be named.
    pub fn of<'a>(attempts: impl Iterator<Item = &'a Entry>) -> Option<(Self, Option<u32>)> {
        /// Senders that are told apart.
        const KEPT: usize = 1_024;
        let mut senders: HashMap<Self, (u64, u64, usize, Option<u32>)> = HashMap::new();
        for (nth, entry) in attempts.enumerate() {
            let Some(sender) = Self::of_one(entry) else { continue };
            if senders.len() >= KEPT && !senders.contains_key(&sender) {
                continue;
            }
            let is_own = matches!(entry.reason, Some(Reason::LocalFirewall | Reason::PermissionDenied));
            let (own, all, last, pid) = senders.entry(sender).or_default();
            *own += u64::from(is_own);
            *all += 1;
            *last = nth;
            *pid = entry.process.as_ref().map(|process| process.pid);
        }
        let most = senders.into_iter().max_by_key(|(_, (own, all, last, _))| (*own, *all, *last));
        most.map(|(sender, (.., pid))| (sender, pid))
    }

    fn of_one(entry: &Entry) -> Option<Self> {
        if matches!(entry.label, Label::Connected | Label::Cancelled) {
            return None;
        }
        let process = entry.process.as_ref();
        Some(Self {
            dst: entry.dst.ip?.to_canonical(),
            src: entry.src.ip.map(|src| src.to_canonical()).filter(|src| !src.is_unspecified()),
            interface: entry.evidence.route_iface.clone(),
            uid: process.map(|process| process.uid),
            netns: process.map(|process| process.netns),
            comm: process.map(|process| process.comm.clone()),
        })
    }
}
