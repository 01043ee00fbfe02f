//! What the hooks share: beginning, looking up and ending an attempt.

use aya_ebpf::{
    bindings::{BPF_NOEXIST, BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP, bpf_pidns_info},
    helpers::{
        bpf_get_current_pid_tgid, bpf_get_current_uid_gid,
        generated::{
            bpf_get_current_cgroup_id, bpf_get_ns_current_pid_tgid, bpf_get_smp_processor_id, bpf_ktime_get_boot_ns,
        },
    },
    maps::HashMap,
};
use observer_common::{
    address::Address,
    attempt::{STALLED_AFTER, SocketAtEnd, is_source_at_fault},
    prober,
    record::{AttemptRecord, DestinationCounters, DestinationKey, FAMILY_V6, OutcomeKey, end, fact, phase},
    stat,
};

use crate::{
    maps::*,
    sock::{self, QueuedError, SockHead},
};

const EACCES: u16 = 13;
const EAFNOSUPPORT: u16 = 97;
const ECONNRESET: u16 = 104;
const ETIMEDOUT: u16 = 110;
const ECONNREFUSED: u16 = 111;

/// Where a connect() call goes to.
pub(crate) struct Target {
    pub(crate) family: u8,
    pub(crate) daddr: Address,
    pub(crate) dport: u16,
}

/// A RST in the caller's own context within this time of connect() crossed no
/// wire: it took less than 0.4 ms where it was measured.
const LOCAL_ANSWER_NS: u64 = 1_000_000;

/// Nanoseconds of CLOCK_BOOTTIME, so that a suspend does not shift what began before it.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: the helper takes no argument and cannot fail.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// The current process id; that of another task in softirq context.
#[inline(always)]
pub(crate) fn current_pid() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}

/// The current process id as observer sees it, where it is `pid` in the initial namespace;
/// 0 where observer sees none.
#[inline(always)]
fn pid_here(pid: u32) -> u32 {
    if PID_NAMESPACE.load() == 0 {
        return pid;
    }
    let mut seen = bpf_pidns_info { pid: 0, tgid: 0 };
    let size = size_of::<bpf_pidns_info>() as u32;
    // SAFETY: the helper writes `size` bytes to `seen`, zeroes where the task is of another namespace.
    unsafe { bpf_get_ns_current_pid_tgid(PID_NAMESPACE_DEV.load(), PID_NAMESPACE.load(), &raw mut seen, size) };
    seen.tgid
}

/// True if a connection of the current task, whose process id in the initial namespace is
/// `pid`, is observer's own, or that of one that probes for it; counts it.
#[inline(always)]
fn is_own(pid: u32) -> bool {
    let pid = pid_here(pid);
    let is_own = pid != 0 && (pid == OBSERVER_PID.load() || is_prober(pid));
    if is_own {
        count(stat::OWN);
    }
    is_own
}

/// The attempt in flight on a socket.
#[inline(always)]
pub(crate) fn of(sk: u64) -> Option<&'static mut AttemptRecord> {
    if !may_be_followed(sk) {
        return None;
    }
    // SAFETY: hooks of one socket run under its lock or after its last user,
    // so nobody else changes this element; the map outlives every program.
    ATTEMPTS.get_ptr_mut(&sk).map(|record| unsafe { &mut *record })
}

/// A socket entered SYN-SENT, in the context of the task that connects.
#[inline(always)]
pub(crate) fn begin(sk: u64) {
    let head = sock::head(sk);
    let Some(dport) = head.watched_dport() else { return };
    // It knows a destination only if it connects once more.
    if sock::is_mptcp(sk) {
        return;
    }
    let pid = current_pid();
    if is_own(pid) {
        // Whoever sees its end cannot tell whose it is. Of no matter if there is no room.
        let _ = OWN_SOCKETS.insert(&sk, &1, 0);
        return;
    }
    if FOLLOW_CONNECT.load() != 0 {
        has_ended(sk);
    }
    let Some(record) = make_up(sk, &head, dport) else { return };
    identify(record, now(), pid);
    count_attempt(record);
    if insert(sk, record) {
        return;
    }
    if of(sk).is_some() {
        // The end of this socket's earlier attempt was not seen.
        finish(sk, end::REPLACED);
        if insert(sk, record) {
            return;
        }
    }
    count(stat::LOST_ATTEMPTS_FULL);
    remember_end(sk, pid);
    if let Some(was_full) = WAS_FULL.get_ptr_mut(0) {
        // SAFETY: an element of a map; every writer writes the same value.
        unsafe { *was_full = 1 };
    }
}

#[inline(always)]
fn is_prober(pid: u32) -> bool {
    for index in 0..prober::SLOTS {
        let Some(slot) = PROBERS.get_ptr_mut(index) else { return false };
        // SAFETY: an element of a map.
        if prober::admits(unsafe { slot.read_volatile() }, pid) {
            // SAFETY: as above. Atomic, so that it undoes nothing that user space writes.
            unsafe { take_one(slot, prober::ONE) };
            return true;
        }
    }
    false
}

/// A new record of a socket in SYN-SENT, in the state hook's scratch.
#[inline(always)]
fn make_up(sk: u64, head: &SockHead, dport: u16) -> Option<&'static mut AttemptRecord> {
    let sock::Addresses { family, saddr, daddr } = head.addresses(sk)?;
    let record = scratch(STATE_HOOK)?;
    record.saddr = saddr;
    record.daddr = daddr;
    record.dport = dport;
    record.netns = sock::netns(sk);
    record.code.family = family;
    record.code.phase = phase::SYN_SENT;
    if family == FAMILY_V6 && saddr.is_loopback() {
        // A socket that gets no answer looks for another route, and has none at its end.
        record.oif = sock::route_ifindex(sk);
    }
    Some(record)
}

/// Elements of [`SCRATCH`].
const STATE_HOOK: u32 = 0;
const CONNECT_HOOK: u32 = 1;

/// An empty record in which to make up an attempt.
#[inline(always)]
fn scratch(element: u32) -> Option<&'static mut AttemptRecord> {
    const WORDS: usize = size_of::<AttemptRecord>() / size_of::<u64>();
    let record = SCRATCH.get_ptr_mut(element)?;
    for word in 0..WORDS {
        // Volatile, or it becomes a call of memset, which on BPF goes by bytes.
        // SAFETY: within the record, which is all words and has no padding.
        unsafe { record.cast::<u64>().add(word).write_volatile(0) };
    }
    // SAFETY: this CPU's own; the kernel runs no program on top of itself, and
    // no two that may interrupt each other share an element.
    Some(unsafe { &mut *record })
}

/// Puts an attempt into the map. False if there is no room, or one already.
#[inline(always)]
fn insert(sk: u64, record: &AttemptRecord) -> bool {
    follow(sk, 1);
    let is_in = ATTEMPTS.insert(&sk, record, u64::from(BPF_NOEXIST)).is_ok();
    if !is_in {
        follow(sk, -1);
    }
    is_in
}

/// A transition out of SYN-SENT on a socket that is not in the map: its attempt
/// began before the programs were attached, or that run was skipped.
#[inline(always)]
pub(crate) fn begin_late(sk: u64) -> Option<&'static mut AttemptRecord> {
    if OWN_SOCKETS.remove(&sk).is_ok() {
        return None;
    }
    // Its beginning passed unseen, for it had no destination yet.
    if sock::is_mptcp(sk) {
        return None;
    }
    // A map that was full explains it as well, and such an attempt is counted.
    if WAS_FULL.get(0).is_none_or(|&was_full| was_full != 0) {
        return None;
    }
    let head = sock::head(sk);
    let record = make_up(sk, &head, head.watched_dport()?)?;
    record.started_ns = now();
    // SAFETY: the helper takes no argument and cannot fail.
    record.cpu = unsafe { bpf_get_smp_processor_id() };
    record.code.facts = fact::LATE_START;
    count_attempt(record);
    if !insert(sk, record) {
        count(stat::LOST_ATTEMPTS_FULL);
        return None;
    }
    count(stat::LATE_STARTS);
    of(sk)
}

/// Writes down who connects, and when.
#[inline(always)]
fn identify(record: &mut AttemptRecord, started_ns: u64, pid: u32) {
    record.started_ns = started_ns;
    // SAFETY: the helpers take no argument and cannot fail.
    (record.cgroup, record.cpu) = unsafe { (bpf_get_current_cgroup_id(), bpf_get_smp_processor_id()) };
    sock::comm(&mut record.comm);
    record.pid = pid;
    record.uid = bpf_get_current_uid_gid() as u32;
}

/// The handshake of a socket completed.
#[inline(always)]
pub(crate) fn establish(sk: u64, record: &mut AttemptRecord) {
    record.establish(now(), sock::read(sk, &TCP_TOTAL_RETRANS));
    record.sport = sock::sport(sk);
    count(stat::ESTABLISHED);
    if let Some(counters) = DESTINATIONS.get_ptr_mut(&destination(record)) {
        // SAFETY: an element of the map.
        unsafe { add_one(&raw mut (*counters).established) };
        if record.syn_retransmits == 0 && record.code.facts & fact::LATE_START == 0 {
            let took = record.established_ns.saturating_sub(record.started_ns);
            // SAFETY: as above. CPUs may race: then the next handshake sets it.
            let fastest = unsafe { &mut (*counters).fastest_handshake_ns };
            if *fastest == 0 || took < *fastest {
                *fastest = took;
            }
        }
    }
}

/// True for a client that sends no more and has not closed. One that was not greeted has given up.
#[inline(always)]
pub(crate) fn waits_for_answers(sk: u64) -> bool {
    !sock::is_shut_down(sk) && sock::read::<u64>(sk, &TCP_BYTES_RECEIVED) > 0
}

/// The socket accepted a RST.
#[inline(always)]
pub(crate) fn reset(record: &mut AttemptRecord) {
    // Only a SYN that this host dropped makes the difference.
    let in_caller = record.syn_drops > 0
        && current_pid() == record.pid
        && now().saturating_sub(record.started_ns) < LOCAL_ANSWER_NS;
    record.reset(in_caller);
}

/// An ICMP error that the socket keeps answered the SYN.
#[inline(always)]
pub(crate) fn answer_by_icmp(record: &mut AttemptRecord, error: &QueuedError) {
    let sender = sock::sender(error.skb);
    let ttl = sender.as_ref().map_or(0, |sender| sender.ttl);
    record.icmp(error.icmp_type, error.icmp_code, error.errno, ttl);
    if let Some(sender) = sender {
        record.icmp_sender(sender.addr);
    }
}

/// Finds a first SYN that never left though no hook saw it dropped. To be asked
/// while the socket lives.
#[inline(always)]
pub(crate) fn find_unsent(sk: u64, record: &mut AttemptRecord) {
    if record.code.phase == phase::SYN_SENT && record.syn_drops == 0 && !sock::has_sent(sk) {
        record.drop_syn();
        count(stat::RECOVERED_FACTS);
    }
}

/// Ends the attempt of a socket: counts it, sends its event.
#[inline(always)]
pub(crate) fn finish(sk: u64, end: u8) {
    if let Some(record) = of(sk) {
        finish_record(sk, record, end);
    }
}

/// As [`finish`], for the attempt that [`of`] gave.
#[inline(always)]
pub(crate) fn finish_record(sk: u64, record: &mut AttemptRecord, end: u8) {
    if record.ended_ns != 0 {
        // It has been counted, and could not be removed: its bucket was locked.
        return forget(sk);
    }
    if end == end::DESTROYED || end == end::REPLACED {
        count(stat::RECOVERED_ENDS);
    }
    let at_end = read_end(sk, record);
    if record.sport == 0 {
        record.sport = sock::sport(sk);
    }
    let oif = sock::route_ifindex(sk);
    if oif != 0 {
        record.oif = oif;
    }
    if record.oif == sock::LOOPBACK_IFINDEX {
        record.code.facts |= fact::LOOPBACK;
    }
    if record.code.facts & (fact::RST | fact::ICMP) == 0 {
        recall_answer(sk, record, &at_end);
    }
    record.finish(now(), end, &at_end);
    publish(record);
    if record.code.phase == phase::SYN_SENT
        && record.code.sk_err != ETIMEDOUT
        && record.code.facts & (fact::RST | fact::SHUTDOWN) == 0
    {
        // connect() may return an error that looks as if no SYN had been sent.
        remember_end(sk, record.pid);
    }
    forget(sk);
}

#[inline(always)]
fn forget(sk: u64) {
    if ATTEMPTS.remove(&sk).is_ok() {
        follow(sk, -1);
    }
}

#[inline(always)]
fn remember_end(sk: u64, pid: u32) {
    if FOLLOW_CONNECT.load() == 0 {
        return;
    }
    follow(sk, 1);
    if ENDED.insert(&sk, &pid, u64::from(BPF_NOEXIST)).is_err() {
        follow(sk, -1);
        count(stat::ENDED_FULL);
    }
}

/// True if an attempt of this socket and this process has been counted already.
/// Asked once: the answer is forgotten.
#[inline(always)]
pub(crate) fn has_ended(sk: u64) -> bool {
    if !may_be_followed(sk) {
        return false;
    }
    // SAFETY: an entry is never changed, only inserted and removed.
    let Some(&pid) = (unsafe { ENDED.get(&sk) }) else { return false };
    if ENDED.remove(&sk).is_ok() {
        follow(sk, -1);
    }
    pid == current_pid()
}

/// The errnos with which connect() fails before SYN-SENT.
#[inline(always)]
pub(crate) fn is_connect_errno(errno: i32) -> bool {
    const EPERM: i32 = 1;
    const ENOMEM: i32 = 12;
    const EACCES: i32 = 13;
    const EINVAL: i32 = 22;
    const EADDRNOTAVAIL: i32 = 99;
    const EAFNOSUPPORT: i32 = 97;
    const ENETDOWN: i32 = 100;
    const ENETUNREACH: i32 = 101;
    const ENOBUFS: i32 = 105;
    const EHOSTUNREACH: i32 = 113;
    matches!(
        errno,
        EPERM
            | ENOMEM
            | EACCES
            | EINVAL
            | EAFNOSUPPORT
            | EADDRNOTAVAIL
            | ENETDOWN
            | ENETUNREACH
            | ENOBUFS
            | EHOSTUNREACH
    )
}

/// No hook has seen an answer, and there may have been one: a run that the kernel
/// skipped leaves its traces in the socket.
#[inline(always)]
fn recall_answer(sk: u64, record: &mut AttemptRecord, at_end: &SocketAtEnd) {
    if record.code.phase == phase::ESTABLISHED {
        // Nothing but a RST ends a session with this.
        if at_end.sk_err == ECONNRESET {
            count(stat::RECOVERED_FACTS);
            reset(record);
        }
        return;
    }
    if at_end.sk_err == ECONNREFUSED && sock::read::<u32>(sk, &TCP_SEGS_IN) > 0 {
        // An ICMP error is no segment.
        count(stat::RECOVERED_FACTS);
        return reset(record);
    }
    if at_end.sk_err == 0 && at_end.shutdown && at_end.segs_out > 0 {
        find_unsent(sk, record);
    }
    let errno = if at_end.sk_err == 0 || at_end.sk_err == ETIMEDOUT { at_end.sk_err_soft } else { at_end.sk_err };
    if errno != 0
        && let Some(error) = sock::newest_icmp_error(sk)
        && u16::from(error.errno) == errno
    {
        count(stat::RECOVERED_FACTS);
        answer_by_icmp(record, &error);
    } else if errno != 0 || at_end.sk_err != ETIMEDOUT {
        // A socket with no error may have told its application of one already.
        recall_icmp(record);
    }
}

/// The socket died of an answer that was no RST and that it did not keep: an
/// ICMP error that the packet hooks may have seen.
#[inline(always)]
fn recall_icmp(record: &mut AttemptRecord) {
    let connection = Connection { saddr: record.saddr, daddr: record.daddr, sport: record.sport, dport: record.dport };
    // SAFETY: the copy may be torn if the same connection gets a second error
    // at this moment; both are errors of this attempt.
    let Some(&error) = (unsafe { ICMP_ERRORS.get(&connection) }) else { return };
    if error.at_ns >= record.started_ns {
        record.icmp(error.icmp_type, error.icmp_code, 0, error.ttl);
        record.icmp_sender(error.from);
        record.iif = error.iif;
        if error.iif == sock::LOOPBACK_IFINDEX {
            // This host itself, whichever of its addresses it speaks by.
            record.code.facts |= fact::ICMP_FROM_SOURCE;
        }
    }
}

/// A connect() call on this socket, which is no longer connecting, failed with
/// `errno`; one of a watched port that sent no SYN is an attempt.
#[inline(always)]
pub(crate) fn fail_connect(sk: u64, target: &Target, errno: i32) {
    let pid = current_pid();
    if has_ended(sk) || !is_connect_errno(errno) || !sock::is_tcp(sk) || is_own(pid) {
        return;
    }
    let errno = errno as u16;
    let source = sock::bound_source(sk);
    let is_source = is_source_at_fault(errno, source, target.daddr);
    if errno == EAFNOSUPPORT && !is_source {
        // A mistake of the application's, of which no network knows.
        return;
    }
    let Some(record) = scratch(CONNECT_HOOK) else { return };
    record.saddr = source;
    record.daddr = target.daddr;
    record.dport = target.dport;
    record.sport = sock::sport(sk);
    record.netns = sock::netns(sk);
    record.code.family = target.family;
    // Nothing that takes time comes before the SYN.
    identify(record, now(), pid);
    record.fail_connect(now(), errno);
    if is_source {
        record.code.facts |= fact::SOURCE_UNUSABLE;
    }
    if errno == EACCES {
        record.code.facts |= how_far(sk, target.daddr);
    }
    count_attempt(record);
    publish(record);
}

/// Whether a connect() that was denied had looked for a route: a security module denies it
/// before, a prohibited route after. No fact where the socket does not tell.
#[inline(always)]
fn how_far(sk: u64, destination: Address) -> u32 {
    match sock::looked_up(sk) {
        Some(Address::UNSPECIFIED) => fact::BEFORE_ROUTE,
        Some(looked_up) if looked_up == destination => fact::AFTER_ROUTE,
        _ => 0,
    }
}

/// Reads what the outcome depends on, and no more: each read costs.
#[inline(always)]
fn read_end(sk: u64, record: &AttemptRecord) -> SocketAtEnd {
    let mut at_end = SocketAtEnd { sk_err: sock::sk_err(sk), segs_out: 1, ..SocketAtEnd::default() };
    if record.code.phase == phase::ESTABLISHED {
        at_end.bytes_received = sock::read(sk, &TCP_BYTES_RECEIVED);
        at_end.timeouts = sock::timeouts(sk);
        if at_end.timeouts >= STALLED_AFTER || at_end.sk_err == ETIMEDOUT {
            at_end.unacked_bytes = sock::unacked_bytes(sk);
        }
        at_end.from_loopback = sock::receives_by_loopback(sk);
        return at_end;
    }
    at_end.total_retrans = sock::read(sk, &TCP_TOTAL_RETRANS);
    if record.code.facts & fact::RST != 0 {
        return at_end;
    }
    at_end.sk_err_soft = sock::sk_err_soft(sk);
    if at_end.sk_err == 0 || at_end.sk_err == ETIMEDOUT {
        at_end.shutdown = sock::is_shut_down(sk);
        at_end.segs_out = sock::read(sk, &TCP_SEGS_OUT);
        at_end.exiting = at_end.shutdown && sock::is_exiting();
    }
    at_end
}

/// Counts a finished attempt, and tells of it: by its event, or, where there is none, by the
/// counter of its outcome.
#[inline(always)]
fn publish(record: &mut AttemptRecord) {
    count(stat::OUTCOMES);
    if !record.is_success() || SEND_SUCCESSES.load() != 0 {
        // SAFETY: a counter that changes meanwhile is read before or after.
        record.counters = unsafe { DESTINATIONS.get(&destination(record)) }.copied().unwrap_or_default();
        if send(record) {
            return;
        }
    }
    let is_counted = count_outcome(&OutcomeKey::of(record));
    count(if is_counted { stat::UNTOLD } else { stat::OUTCOMES_FULL });
}

/// Counts an outcome in the map that counts now. False if that is full.
#[inline(always)]
fn count_outcome(key: &OutcomeKey) -> bool {
    // SAFETY: an element of a map; user space may change it at any time.
    let counting = COUNTING.get_ptr(0).map_or(0, |counting| unsafe { counting.read_volatile() });
    if counting == 0 { add_outcome(&OUTCOMES_0, key) } else { add_outcome(&OUTCOMES_1, key) }
}

/// False if the map is full.
#[inline(always)]
fn add_outcome(map: &HashMap<OutcomeKey, u64>, key: &OutcomeKey) -> bool {
    if let Some(outcomes) = map.get_ptr_mut(key) {
        // SAFETY: an element of the map.
        unsafe { add_one(outcomes) };
        return true;
    }
    if map.insert(key, &1, u64::from(BPF_NOEXIST)).is_ok() {
        return true;
    }
    // Full, or another CPU was first with the same key.
    let Some(outcomes) = map.get_ptr_mut(key) else { return false };
    // SAFETY: an element of the map.
    unsafe { add_one(outcomes) };
    true
}

/// The wake-up is the dearest part of an event, so user space polls; it is
/// woken only when its timer would come too late. False if the ring buffer is full.
#[inline(always)]
fn send(record: &AttemptRecord) -> bool {
    let is_filling = EVENTS.query(u64::from(BPF_RB_AVAIL_DATA)) >= WAKE_BYTES.load();
    let flags = if is_filling { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP };
    let is_sent = EVENTS.output(record, u64::from(flags)).is_ok();
    count(if is_sent { stat::EVENTS } else { stat::RING_FULL });
    is_sent
}

/// Counts the beginning of an attempt.
#[inline(always)]
fn count_attempt(record: &AttemptRecord) {
    count(stat::ATTEMPTS);
    let key = &destination(record);
    if let Some(counters) = DESTINATIONS.get_ptr_mut(key) {
        // SAFETY: an element of the map.
        unsafe { add_one(&raw mut (*counters).attempts) };
        return;
    }
    let first = DestinationCounters { since_ns: record.started_ns, attempts: 1, ..DestinationCounters::default() };
    if DESTINATIONS.insert(key, &first, u64::from(BPF_NOEXIST)).is_ok() {
        count(stat::DESTINATIONS);
    } else if let Some(counters) = DESTINATIONS.get_ptr_mut(key) {
        // Another CPU was first with the same key.
        // SAFETY: an element of the map.
        unsafe { add_one(&raw mut (*counters).attempts) };
    }
}

#[inline(always)]
fn destination(record: &AttemptRecord) -> DestinationKey {
    DestinationKey { daddr: record.daddr, dport: record.dport, reserved: 0 }
}
