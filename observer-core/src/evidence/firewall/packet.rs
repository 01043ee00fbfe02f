//! The SYN as it is at a place on its way: rules change its destination, its source and
//! its marks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::condition::{Condition, Conditions, Known, Match};
use super::{Flow, Way};

/// Bits of which some may be unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bits {
    pub(super) value: u64,
    /// One where the bit of `value` is known.
    pub(super) known: u64,
}

impl Bits {
    pub(super) const UNKNOWN: Self = Self { value: 0, known: 0 };

    pub(super) const fn of(value: u64) -> Self {
        Self { value, known: u64::MAX }
    }

    pub(super) const fn and(self, mask: u64) -> Self {
        Self { value: self.value & mask, known: self.known | !mask }
    }

    pub(super) const fn or(self, set: u64) -> Self {
        Self { value: self.value | set, known: self.known | set }
    }

    pub(super) const fn xor(self, other: Self) -> Self {
        Self { value: self.value ^ other.value, known: self.known & other.known }
    }

    /// Either of the two: known is what both have.
    const fn either(self, other: Self) -> Self {
        Self { value: self.value, known: self.known & other.known & !(self.value ^ other.value) }
    }

    /// Whether these are the bits.
    pub(super) fn are(self, value: u64, why: Conditions) -> Match {
        if (self.value ^ value) & self.known != 0 {
            Match::No
        } else if self.known == u64::MAX {
            Match::Yes
        } else {
            Match::Maybe(why)
        }
    }

    /// Whether any of these bits is set.
    pub(super) fn have_any(self, of: u64, why: Conditions) -> Match {
        if self.value & self.known & of != 0 {
            Match::Yes
        } else if self.known & of == of {
            Match::No
        } else {
            Match::Maybe(why)
        }
    }

    /// The number, where all of it is known.
    pub(super) fn number(self, why: Conditions) -> Known<u64> {
        if self.known == u64::MAX { Ok(self.value) } else { Err(why) }
    }
}

/// What connection tracking knows of the SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tracking {
    /// It has not come so far yet: rules see an invalid packet.
    Before,
    New,
    Untracked,
    Unknown,
}

/// Bits of `ct state`.
pub(super) mod state {
    pub(in crate::evidence::firewall) const INVALID: u64 = 1;
    pub(in crate::evidence::firewall) const ESTABLISHED: u64 = 2;
    pub(in crate::evidence::firewall) const RELATED: u64 = 4;
    pub(in crate::evidence::firewall) const NEW: u64 = 8;
    pub(in crate::evidence::firewall) const UNTRACKED: u64 = 64;
}

/// The socket that rules see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Socket {
    Sender,
    /// What is forwarded has none.
    None,
    /// Perhaps the listener's.
    Unknown,
}

#[derive(Clone, Debug)]
pub(super) struct Packet<'a> {
    pub(super) flow: &'a Flow,
    pub(super) src: Known<IpAddr>,
    pub(super) dst: Known<IpAddr>,
    pub(super) port: Known<u16>,
    /// Where it leaves, as rules of this hook see it; none: they see no interface.
    pub(super) out: Option<Known<String>>,
    /// Where it came in; none: it did not.
    pub(super) came_in: Option<Known<String>>,
    pub(super) mark: Bits,
    pub(super) ct_mark: Bits,
    pub(super) tracking: Tracking,
    /// Whether `notrack` was said before connection tracking began.
    pub(super) is_untracked: Match,
    /// Whether the destination was changed.
    pub(super) is_redirected: Match,
    /// Whether the source was changed.
    pub(super) is_masqueraded: Match,
    /// Whose socket it is, where rules see one.
    socket: Socket,
    /// Whether a mark was set that may lead to another route.
    is_rerouted: Match,
    /// Goes up with each change: what was found of another version is out of date.
    pub(super) version: u32,
}

/// Where a flow comes in; none: it does not.
fn came_in(flow: &Flow) -> Option<Known<String>> {
    match &flow.way {
        Way::Out => None,
        Way::Through { from } => Some(from.clone().ok_or(Condition::Interface.into())),
    }
}

impl<'a> Packet<'a> {
    pub(super) fn new(flow: &'a Flow) -> Self {
        Self {
            flow,
            src: flow.src.ok_or(Condition::SourceAddress.into()),
            dst: Ok(flow.dst),
            port: Ok(flow.port),
            out: None,
            came_in: came_in(flow),
            // A program may have set one (SO_MARK).
            mark: Bits::UNKNOWN,
            ct_mark: Bits::of(0),
            tracking: Tracking::Before,
            is_untracked: Match::No,
            is_redirected: Match::No,
            is_masqueraded: Match::No,
            socket: if matches!(flow.way, Way::Out) { Socket::Sender } else { Socket::None },
            is_rerouted: Match::No,
            version: 0,
        }
    }

    /// The interface by which it leaves, as known now.
    pub(super) fn leaves_by(&self) -> Known<String> {
        match self.is_redirected.or(self.is_rerouted) {
            Match::No => self.flow.interface.clone().ok_or(Condition::Interface.into()),
            // To loopback, where it is certain.
            _ if self.is_redirected == Match::Yes && self.dst.is_ok_and(|dst| dst.is_loopback()) => Ok("lo".to_owned()),
            other => Err(other.conditions().with(Condition::Interface.into())),
        }
    }

    /// Enters a hook whose rules see these interfaces; the ports of a bridge are not known.
    pub(super) fn enter(&mut self, sees_out: bool, is_of_bridge: bool) {
        let port = Err(Condition::Interface.into());
        self.out = sees_out.then(|| if is_of_bridge { port.clone() } else { self.leaves_by() });
        self.came_in = came_in(self.flow).map(|interface| if is_of_bridge { port } else { interface });
        self.version += 1;
    }

    /// Whether the interface by which it leaves, or comes in, is a bridge: its name may tell
    /// that it is none.
    pub(super) fn is_bridged(&self, is_out: bool) -> Match {
        /// How names of others begin.
        const OTHERS: [&str; 10] = ["eth", "en", "wl", "ww", "ppp", "tun", "wg", "veth", "bond", "venet"];
        let interface = if is_out { Some(self.leaves_by()) } else { came_in(self.flow) };
        match interface {
            Some(Ok(name)) if name == "lo" || OTHERS.iter().any(|other| name.starts_with(other)) => Match::No,
            Some(_) => Match::maybe(Condition::Interface),
            None => Match::No,
        }
    }

    /// Comes in again by loopback.
    pub(super) fn come_back(&mut self) {
        self.came_in = Some(Ok("lo".to_owned()));
        self.socket = Socket::Unknown;
    }

    /// Whether the destination is this host itself.
    pub(super) fn is_for_this_host(&self) -> Match {
        match (self.dst, self.leaves_by()) {
            (Ok(dst), _) if dst.is_loopback() => Match::Yes,
            (_, Ok(name)) => Match::of(name == "lo"),
            (Err(why), Err(_)) => Match::Maybe(why),
            _ => Match::No,
        }
    }

    /// Connection tracking begins.
    pub(super) fn track(&mut self) {
        self.tracking = match self.is_untracked {
            Match::No => Tracking::New,
            Match::Yes => Tracking::Untracked,
            Match::Maybe(_) => Tracking::Unknown,
        };
        self.version += 1;
    }

    /// Whether connection tracking has an entry for it. What asks about an entry does not match without one, negated
    /// or not.
    pub(super) fn is_tracked(&self) -> Match {
        match self.tracking {
            Tracking::New => Match::Yes,
            Tracking::Before | Tracking::Untracked => Match::No,
            Tracking::Unknown => Match::maybe(Condition::Tracking),
        }
    }

    pub(super) fn states(&self) -> Bits {
        match self.tracking {
            Tracking::Before => match self.is_untracked {
                Match::No => Bits::of(state::INVALID),
                Match::Yes => Bits::of(state::UNTRACKED),
                Match::Maybe(_) => Bits { value: 0, known: !(state::INVALID | state::UNTRACKED) },
            },
            Tracking::New => Bits::of(state::NEW),
            Tracking::Untracked => Bits::of(state::UNTRACKED),
            Tracking::Unknown => Bits { value: 0, known: !(state::NEW | state::UNTRACKED) },
        }
    }

    /// `mark` becomes another, if that matches.
    pub(super) fn set_mark(&mut self, matches: Match, new: Bits, is_routed_by_it: bool) {
        let is_same = new == self.mark && new.known == u64::MAX;
        if matches == Match::No || is_same {
            return;
        }
        self.mark = if matches == Match::Yes { new } else { self.mark.either(new) };
        if is_routed_by_it {
            self.is_rerouted = Match::maybe(Condition::Mark);
        }
        self.version += 1;
    }

    pub(super) fn set_ct_mark(&mut self, matches: Match, new: Bits) {
        if matches != Match::No && self.tracking != Tracking::Before {
            self.ct_mark = if matches == Match::Yes { new } else { self.ct_mark.either(new) };
            self.version += 1;
        }
    }

    /// The destination becomes another; what is none stays.
    pub(super) fn redirect(&mut self, matches: Match, dst: Option<Known<IpAddr>>, port: Option<Known<u16>>) {
        let unknown: Conditions = Condition::Redirect.into();
        match matches {
            Match::No => return,
            Match::Yes => {
                self.dst = dst.unwrap_or(self.dst);
                self.port = port.unwrap_or(self.port);
            }
            Match::Maybe(why) => {
                self.dst = dst.map_or(self.dst, |_| Err(unknown.with(why)));
                self.port = port.map_or(self.port, |_| Err(unknown.with(why)));
            }
        }
        self.is_redirected = self.is_redirected.or(matches);
        self.version += 1;
    }

    /// The source becomes another.
    pub(super) fn masquerade(&mut self, matches: Match, src: Known<IpAddr>) {
        match matches {
            Match::No => return,
            Match::Yes => self.src = src,
            Match::Maybe(why) => self.src = Err(why.with(Condition::SourceAddress.into())),
        }
        self.is_masqueraded = self.is_masqueraded.or(matches);
        self.version += 1;
    }

    pub(super) const fn loopback(&self) -> IpAddr {
        match self.flow.dst {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        }
    }

    /// What kind of address the destination is to the routing table, in lower case.
    pub(super) fn destination_type(&self) -> Known<&'static str> {
        let dst = self.dst?;
        if dst.is_loopback() {
            return Ok("local");
        }
        if dst.is_multicast() {
            return Ok("multicast");
        }
        let routing: Conditions = Condition::Routing.into();
        match self.leaves_by() {
            Ok(name) if name == "lo" => Ok("local"),
            Ok(_) if dst == IpAddr::V4(Ipv4Addr::BROADCAST) => Ok("broadcast"),
            Ok(_) => Ok("unicast"),
            Err(_) => Err(routing),
        }
    }

    /// The same of the source.
    pub(super) const fn source_type(&self) -> Known<&'static str> {
        match self.flow.way {
            Way::Out => Ok("local"),
            Way::Through { .. } => Ok("unicast"),
        }
    }

    /// Whether the connection is one of this host's programs, whose socket rules see.
    pub(super) const fn has_socket(&self) -> bool {
        !matches!(self.socket, Socket::None)
    }

    pub(super) fn user(&self) -> Known<u64> {
        self.id(self.flow.uid, Condition::User)
    }

    pub(super) fn group(&self) -> Known<u64> {
        self.id(self.flow.gid, Condition::Group)
    }

    fn id(&self, id: Option<u32>, unknown: Condition) -> Known<u64> {
        let id = id.filter(|_| self.socket == Socket::Sender);
        id.map(u64::from).ok_or(unknown.into())
    }
}
