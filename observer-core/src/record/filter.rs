//! Which events a person asked to see.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use crate::event::{Event, Process};
use crate::label::Label;

/// Bytes of a task name that the kernel keeps (`TASK_COMM_LEN` without its NUL).
const COMM_MAX: usize = 15;

/// Values of one kind are alternatives, kinds add up: `--label refused
/// --label timeout --uid 89` is (refused or timeout) and uid 89. A kind without
/// values admits everything.
///
/// An event whose beginning was not seen has no process, and passes no filter
/// that asks for one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Labels.
    pub labels: Vec<Label>,
    /// Destination prefixes; IPv4, never IPv4-mapped, for IPv4 destinations.
    pub destinations: Vec<IpNet>,
    /// Destination ports.
    pub ports: Vec<u16>,
    /// Process ids.
    pub pids: Vec<u32>,
    /// Task names. The kernel keeps 15 bytes of a name, so more are ignored.
    pub comms: Vec<String>,
    /// Real user ids.
    pub uids: Vec<u32>,
    /// cgroups, each with everything below it; absolute within the hierarchy.
    pub cgroups: Vec<PathBuf>,
    /// Admit `connected` too, where no label was asked for.
    pub successes: bool,
}

impl Filter {
    /// True if the event is to be shown.
    pub fn admits(&self, event: &Event) -> bool {
        self.admits_label(event.label)
            && admits_any(&self.destinations, |net| event.dst.ip.is_some_and(|ip| contains(net, ip)))
            && admits_any(&self.ports, |&port| event.dst.port == Some(port))
            && self.admits_process(event.process.as_ref())
    }

    /// True if `connected` attempts can be admitted: the kernel must send them.
    pub fn wants_successes(&self) -> bool {
        self.admits_label(Label::Connected)
    }

    fn admits_label(&self, label: Label) -> bool {
        if self.labels.is_empty() {
            self.successes || label != Label::Connected
        } else {
            self.labels.contains(&label) || (self.successes && label == Label::Connected)
        }
    }

    fn admits_process(&self, process: Option<&Process>) -> bool {
        let is = |test: &dyn Fn(&Process) -> bool| process.is_some_and(test);
        admits_any(&self.pids, |&pid| is(&|process| process.pid == pid))
            && admits_any(&self.comms, |comm| is(&|process| process.comm == as_kept(comm)))
            && admits_any(&self.uids, |&uid| is(&|process| process.uid == uid))
            && admits_any(&self.cgroups, |path| is(&|process| is_below(process.cgroup.as_deref(), path)))
    }
}

fn admits_any<T>(wanted: &[T], test: impl Fn(&T) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(test)
}

fn contains(net: &IpNet, ip: IpAddr) -> bool {
    net.contains(&ip.to_canonical())
}

/// Whole components: `/a/b` holds `/a/b/c`, not `/a/bc`.
fn is_below(cgroup: Option<&str>, path: &Path) -> bool {
    cgroup.is_some_and(|cgroup| Path::new(cgroup).starts_with(path))
}

/// A name as the kernel keeps it and [`crate::attempt::Task`] decodes it.
fn as_kept(comm: &str) -> String {
    let bytes = comm.as_bytes();
    String::from_utf8_lossy(&bytes[..bytes.len().min(COMM_MAX)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::Filter;
    use crate::event::{Event, Process};
    use crate::label::{Label, Reason};
    use crate::sample;

    fn postfix() -> Event {
        let mut event = sample::event(Label::Refused, Some(Reason::Rst));
        event.dst.ip = Some("203.0.113.5".parse().unwrap());
        event.process = Some(Process {
            pid: 1203,
            uid: 89,
            comm: "smtp".to_owned(),
            cgroup: Some("/system.slice/postfix.service/inner".to_owned()),
            netns: 1,
        });
        event
    }

    fn admits(change: impl FnOnce(&mut Filter)) -> bool {
        let mut filter = Filter::default();
        change(&mut filter);
        filter.admits(&postfix())
    }

    #[test]
    fn admits_failures_only_unless_asked() {
        let connected = sample::event(Label::Connected, None);
        assert!(admits(|_| ()));
        assert!(!Filter::default().admits(&connected));
        assert!(Filter { successes: true, ..Filter::default() }.admits(&connected));
        let labels = vec![Label::Connected];
        assert!(Filter { labels, ..Filter::default() }.admits(&connected));
    }

    #[test]
    fn successes_add_to_the_labels_asked_for() {
        let filter = Filter { labels: vec![Label::Timeout], successes: true, ..Filter::default() };
        assert!(filter.wants_successes());
        assert!(filter.admits(&sample::event(Label::Connected, None)));
        assert!(!filter.admits(&postfix()));
        assert!(!Filter { successes: false, ..filter }.wants_successes());
    }

    #[test]
    fn values_of_one_kind_are_alternatives() {
        assert!(admits(|filter| filter.pids = vec![1, 1203]));
        assert!(!admits(|filter| filter.pids = vec![1, 2]));
        assert!(admits(|filter| filter.labels = vec![Label::Timeout, Label::Refused]));
    }

    #[test]
    fn kinds_add_up() {
        assert!(admits(|filter| (filter.uids, filter.pids) = (vec![89], vec![1203])));
        assert!(!admits(|filter| (filter.uids, filter.pids) = (vec![0], vec![1203])));
    }

    #[test]
    fn destinations_match_by_prefix_and_family() {
        for (net, expected) in [
            ("203.0.113.5/32", true),
            ("203.0.113.0/24", true),
            ("203.0.113.6/32", false),
            ("0.0.0.0/0", true),
            ("::/0", false),
        ] {
            assert_eq!(admits(|filter| filter.destinations = vec![net.parse().unwrap()]), expected, "{net}");
        }
    }

    #[test]
    fn a_mapped_destination_is_ipv4() {
        let mut event = postfix();
        event.dst.ip = Some("::ffff:203.0.113.5".parse().unwrap());
        let destinations = vec!["203.0.113.5/32".parse().unwrap()];
        assert!(Filter { destinations, ..Filter::default() }.admits(&event));
    }

    #[test]
    fn comm_matches_whole_names_as_far_as_the_kernel_keeps_them() {
        assert!(!admits(|filter| filter.comms = vec!["smt".to_owned()]));
        assert!(admits(|filter| filter.comms = vec!["smtp".to_owned()]));
        let mut event = postfix();
        event.process.as_mut().unwrap().comm = "a-rather-long-n".to_owned();
        let comms = vec!["a-rather-long-name".to_owned()];
        assert!(Filter { comms, ..Filter::default() }.admits(&event));
    }

    #[test]
    fn cgroups_match_whole_components() {
        for (path, expected) in [
            ("/system.slice/postfix.service", true),
            ("/system.slice/postfix.service/", true),
            ("/system.slice", true),
            ("/", true),
            ("/system.slice/post", false),
            ("/system.slice/postfix.service/inner/more", false),
        ] {
            assert_eq!(admits(|filter| filter.cgroups = vec![path.into()]), expected, "{path}");
        }
    }

    #[test]
    fn an_event_without_process_passes_no_process_filter() {
        let mut event = postfix();
        event.process = None;
        assert!(Filter::default().admits(&event));
        assert!(!Filter { uids: vec![89], ..Filter::default() }.admits(&event));
        let mut unresolved = postfix();
        unresolved.process.as_mut().unwrap().cgroup = None;
        assert!(!Filter { cgroups: vec!["/".into()], ..Filter::default() }.admits(&unresolved));
    }
}
