extern crate std;

use std::collections::HashMap;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

/// A fact about one of a few sockets, as the hooks report them.
#[derive(Clone, Debug)]
enum Fact {
    Transition(i32, i32),
    Reset(bool),
    Retransmit,
    SynDrop,
    Icmp(u8, u8, u8),
    Destroy,
}

fn fact() -> impl Strategy<Value = Fact> {
    let state = || prop::sample::select(std::vec![1, 2, 4, 5, 7, 8, 9, 11]);
    prop_oneof![
        4 => (state(), state()).prop_map(|(old, new)| Fact::Transition(old, new)),
        2 => Just(Fact::Transition(tcp_state::CLOSE, tcp_state::SYN_SENT)),
        1 => any::<bool>().prop_map(Fact::Reset),
        1 => Just(Fact::Retransmit),
        1 => Just(Fact::SynDrop),
        1 => any::<(u8, u8, u8)>().prop_map(|(kind, code, errno)| Fact::Icmp(kind, code, errno)),
        1 => Just(Fact::Destroy),
    ]
}

fn socket_at_end() -> impl Strategy<Value = SocketAtEnd> {
    (0_u16..200, 0_u16..200, any::<bool>(), 0_u32..4, 0_u32..4, 0_u64..4, any::<bool>()).prop_map(
        |(sk_err, sk_err_soft, shutdown, segs_out, total_retrans, bytes_received, exiting)| SocketAtEnd {
            sk_err,
            sk_err_soft,
            shutdown,
            segs_out,
            total_retrans,
            bytes_received,
            exiting,
            ..SocketAtEnd::default()
        },
    )
}

/// The map of attempts in flight and what has come out of it: the hooks
/// without a kernel.
#[derive(Default)]
struct Model {
    in_flight: HashMap<u64, AttemptRecord>,
    outcomes: Vec<AttemptRecord>,
    begun: u64,
}

impl Model {
    fn apply(&mut self, sk: u64, fact: &Fact, now: u64, at_end: &SocketAtEnd) {
        match *fact {
            Fact::Transition(old, new) => match step(old, new) {
                Step::End(end) => self.end(sk, end_from(old, end, at_end.sk_err), now, at_end),
                step => self.transition(sk, step, now, at_end),
            },
            Fact::Destroy => self.end(sk, end::DESTROYED, now, at_end),
            Fact::Reset(in_caller) => self.change(sk, |record| record.reset(in_caller)),
            Fact::Retransmit => self.change(sk, AttemptRecord::retransmit),
            Fact::SynDrop => self.change(sk, AttemptRecord::drop_syn),
            Fact::Icmp(kind, code, errno) => self.change(sk, |record| record.icmp(kind, code, errno, 64)),
        }
    }

    fn transition(&mut self, sk: u64, step: Step, now: u64, at_end: &SocketAtEnd) {
        match step {
            Step::Begin => {
                self.end(sk, end::REPLACED, now, at_end);
                self.begun += 1;
                // The start is unique here, so it identifies the attempt.
                let mut record = AttemptRecord { started_ns: now, ..AttemptRecord::NONE };
                record.code.phase = phase::SYN_SENT;
                self.in_flight.insert(sk, record);
            }
            Step::Establish => self.change(sk, |record| record.establish(now, at_end.total_retrans)),
            Step::Fin if at_end.shutdown => self.end(sk, end::LOCAL_FIN, now, at_end),
            Step::End(_) | Step::Fin | Step::Ignore => {}
        }
    }

    fn change(&mut self, sk: u64, change: impl FnOnce(&mut AttemptRecord)) {
        if let Some(record) = self.in_flight.get_mut(&sk) {
            change(record);
        }
    }

    fn end(&mut self, sk: u64, end: u8, now: u64, at_end: &SocketAtEnd) {
        if let Some(mut record) = self.in_flight.remove(&sk) {
            record.finish(now, end, at_end);
            self.outcomes.push(record);
        }
    }
}

proptest! {
    /// Any order of facts: an attempt has at most one outcome, and none is
    /// lost or made up.
    #[test]
    fn at_most_one_outcome_an_attempt(
        facts in prop::collection::vec((0_u64..4, fact(), socket_at_end()), 0..200),
    ) {
        let mut model = Model::default();
        for (now, (sk, fact, at_end)) in (1..).zip(&facts) {
            model.apply(*sk, fact, now, at_end);
            prop_assert_eq!(model.begun, (model.in_flight.len() + model.outcomes.len()) as u64);
        }
        let mut starts: Vec<u64> = model.outcomes.iter().map(|record| record.started_ns).collect();
        starts.sort_unstable();
        starts.dedup();
        prop_assert_eq!(starts.len(), model.outcomes.len());
        for record in &model.outcomes {
            prop_assert!(record.ended_ns >= record.started_ns);
            prop_assert!((phase::SYN_SENT..=phase::ESTABLISHED).contains(&record.code.phase));
            prop_assert_eq!(record.code.phase == phase::ESTABLISHED, record.established_ns != 0);
        }
    }

    /// Facts of the handshake change nothing once it has completed.
    #[test]
    fn a_session_forgets_the_handshake(facts in prop::collection::vec(fact(), 0..20)) {
        let mut record = AttemptRecord { started_ns: 1, ..AttemptRecord::NONE };
        record.code.phase = phase::SYN_SENT;
        record.establish(2, 0);
        let mut model = Model::default();
        model.in_flight.insert(0, record);
        for fact in facts.iter().filter(|fact| matches!(fact, Fact::Retransmit | Fact::SynDrop | Fact::Icmp(..))) {
            model.apply(0, fact, 3, &SocketAtEnd::default());
        }
        prop_assert_eq!(model.in_flight[&0], record);
    }
}

#[test]
fn a_session_goes_on_when_the_client_shuts_down_one_way() {
    use tcp_state::{CLOSE, CLOSING, ESTABLISHED, FIN_WAIT1, FIN_WAIT2};
    // The states that a socket goes through from ESTABLISHED on, its errno in the end, whether it is
    // shut down both ways at first, and when and how the attempt ends.
    for (states, sk_err, is_closed, expected) in [
        (&[FIN_WAIT1][..], 0, true, Some((FIN_WAIT1, end::LOCAL_FIN))),
        (&[FIN_WAIT1, FIN_WAIT2], 0, false, None),
        (&[FIN_WAIT1, FIN_WAIT1], 0, false, Some((FIN_WAIT1, end::LOCAL_FIN))),
        (&[FIN_WAIT1, FIN_WAIT2, FIN_WAIT2], 0, false, Some((FIN_WAIT2, end::LOCAL_FIN))),
        (&[FIN_WAIT1, FIN_WAIT2, CLOSE], 0, false, Some((CLOSE, end::PEER_FIN))),
        (&[FIN_WAIT1, FIN_WAIT2, CLOSE], 110, false, Some((CLOSE, end::CLOSE))),
        (&[FIN_WAIT1, CLOSING], 0, false, Some((CLOSING, end::PEER_FIN))),
        (&[FIN_WAIT1, CLOSE], 110, false, Some((CLOSE, end::CLOSE))),
    ] {
        let mut old = ESTABLISHED;
        let ended = states.iter().find_map(|&new| {
            let step = step(std::mem::replace(&mut old, new), new);
            match step {
                Step::Fin => is_closed.then_some((new, end::LOCAL_FIN)),
                Step::End(end) => Some((new, end_from(states[states.len() - 2], end, sk_err))),
                _ => None,
            }
        });
        assert_eq!(ended, expected, "{states:?} {sk_err}");
    }
}

#[test]
fn a_session_has_stalled_only_if_nothing_was_acknowledged_for_several_timeouts() {
    let ended = |end, timeouts, unacked_bytes, sk_err| {
        let mut record = AttemptRecord { started_ns: 1, ..AttemptRecord::NONE };
        record.code.phase = phase::SYN_SENT;
        record.establish(2, 0);
        let socket = SocketAtEnd { bytes_received: 8, timeouts, unacked_bytes, sk_err, ..SocketAtEnd::default() };
        record.finish(3, end, &socket);
        (record.code.facts & fact::UNACKED != 0, record.is_success())
    };
    assert_eq!(ended(end::LOCAL_FIN, 2, 24, 0), (true, false));
    assert_eq!(ended(end::CLOSE, 9, 24, 0), (true, false));
    // QUIT that was just sent, one lost packet, nothing to acknowledge, a peer that ends it.
    assert_eq!(ended(end::LOCAL_FIN, 0, 6, 0), (false, true));
    assert_eq!(ended(end::LOCAL_FIN, 1, 6, 0), (false, true));
    assert_eq!(ended(end::LOCAL_FIN, 4, 0, 0), (false, true));
    assert_eq!(ended(end::PEER_FIN, 4, 6, 0), (false, true));
    assert_eq!(ended(end::CLOSE, 15, 24, 110), (false, false));
}

#[test]
fn a_source_is_at_fault_only_where_no_route_explains_the_errno() {
    let (v4, v6) = (|last| Address::mapped(u32::from_ne_bytes([192, 0, 2, last])), Address::from_words([1, 2, 3, 4]));
    let loopback = Address::mapped(u32::from_ne_bytes([127, 0, 0, 1]));
    let loopback_v6 = Address::from_words([0, 0, 0, u32::from_ne_bytes([0, 0, 0, 1])]);
    for (is_at_fault, errno, source, destination) in [
        (true, 22, loopback, v4(1)),
        (true, 101, v6, v4(1)),
        (true, 97, loopback, v6),
        // A blackhole route; no route; a route that is prohibited.
        (false, 22, v4(2), v4(1)),
        (false, 22, loopback_v6, v6),
        (false, 22, Address::UNSPECIFIED, v4(1)),
        (false, 101, loopback, v4(1)),
        (false, 101, Address::UNSPECIFIED, v6),
        (false, 13, loopback, v4(1)),
    ] {
        assert_eq!(is_source_at_fault(errno, source, destination), is_at_fault, "{errno} {source:?} {destination:?}");
    }
}

#[test]
fn a_fin_is_no_byte_of_the_banner() {
    let mut record = AttemptRecord { started_ns: 1, ..AttemptRecord::NONE };
    record.code.phase = phase::SYN_SENT;
    record.establish(2, 0);
    record.finish(3, end::PEER_FIN, &SocketAtEnd { bytes_received: 1, ..SocketAtEnd::default() });
    assert_eq!((record.bytes_received, record.code.facts & fact::BYTES_RECEIVED), (0, 0));
}

#[test]
fn no_syn_that_was_answered_was_kept_back() {
    let dropped = |syns: u8, answers: u8, total_retrans| {
        let mut record = AttemptRecord { started_ns: 1, ..AttemptRecord::NONE };
        record.code.phase = phase::SYN_SENT;
        (0..syns).for_each(|_| record.drop_syn());
        (0..answers).for_each(|_| record.drop_answer());
        record.finish(3, end::CLOSE, &SocketAtEnd { total_retrans, ..SocketAtEnd::default() });
        record.code.facts & (fact::SYN_DROPPED_ALL | fact::SYN_DROPPED_SOME)
    };
    assert_eq!(dropped(3, 0, 2), fact::SYN_DROPPED_ALL);
    assert_eq!(dropped(1, 0, 2), fact::SYN_DROPPED_SOME);
    assert_eq!((dropped(1, 2, 2), dropped(3, 1, 2), dropped(0, 2, 2)), (0, 0, 0));
}
