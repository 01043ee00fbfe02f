//! Maps, and what the loader sets before the programs are verified.

use aya_ebpf::{
    Global,
    bindings::BPF_F_MMAPABLE,
    helpers::bpf_get_smp_processor_id,
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use observer_common::{
    address::Address,
    prober,
    record::{AttemptRecord, DestinationCounters, DestinationKey, OutcomeKey},
    stat::CpuStats,
};

/// Attempts in flight by `struct sock *`. A socket has at most one; the cookie
/// would be a better name but is 0 unless something asked for it.
///
/// Sizes here are defaults, the loader sets the real ones. No LRU: it evicts
/// attempts in flight long before it is full, and says nothing of it. All
/// preallocated: before Linux 6.1, allocating in a tracing program is unsafe.
#[map]
pub(crate) static ATTEMPTS: HashMap<u64, AttemptRecord> = HashMap::with_max_entries(65_536, 0);

/// Running counters by destination, of the most recently used ones. An addition
/// that races with the forgetting of its entry can be lost, or land on the
/// destination that comes in its place: what must be exact is not here.
#[map]
pub(crate) static DESTINATIONS: LruHashMap<DestinationKey, DestinationCounters> =
    LruHashMap::with_max_entries(65_536, 0);

/// Exact counters, by source, destination and end code, of attempts of which no event was
/// sent. User space empties it while [`OUTCOMES_1`] counts, once every program that may
/// still add to it has ended.
#[map]
pub(crate) static OUTCOMES_0: HashMap<OutcomeKey, u64> = HashMap::with_max_entries(65_536, 0);

/// As [`OUTCOMES_0`], when that is being emptied.
#[map]
pub(crate) static OUTCOMES_1: HashMap<OutcomeKey, u64> = HashMap::with_max_entries(65_536, 0);

/// Element 0 says which of the two counts now, 0 or 1; user space sets it.
#[map]
pub(crate) static COUNTING: Array<u32> = Array::with_max_entries(1, 0);

/// What a thread gave to its last connect(), by `pid_tgid`. An element stays for
/// the next call, which is cheaper than to insert and delete one a call, and an
/// LRU forgets threads that are no more.
#[map]
pub(crate) static CALLS: LruHashMap<u64, Call> = LruHashMap::with_max_entries(16_384, 0);

/// Where a record is made up before it is inserted: the stack is too small.
/// Element 0 is the state hook's, element 1 that of the hooks on connect(), which
/// the former may interrupt.
#[map]
pub(crate) static SCRATCH: PerCpuArray<AttemptRecord> = PerCpuArray::with_max_entries(2, 0);

/// ICMP errors by the connection that they quote, until its socket ends. An LRU:
/// most of what passes here is nobody's attempt.
#[map]
pub(crate) static ICMP_ERRORS: LruHashMap<Connection, IcmpError> = LruHashMap::with_max_entries(4_096, 0);

/// Sockets whose attempt ended with an error that connect() may yet return, and
/// the process: that call must not be counted as another attempt. Until the call
/// comes, the socket connects anew, or it is destroyed.
#[map]
pub(crate) static ENDED: HashMap<u64, u32> = HashMap::with_max_entries(16_384, 0);

/// Processes that probe for observer, see [`prober`]; user space fills it.
#[map]
pub(crate) static PROBERS: Array<u64> = Array::with_max_entries(prober::SLOTS, 0);

/// Sockets on which observer itself connects, or one that probes for it, by address, until
/// they leave SYN-SENT.
#[map]
pub(crate) static OWN_SOCKETS: LruHashMap<u64, u8> = LruHashMap::with_max_entries(1_024, 0);

/// Element 0 is 1 once an attempt found [`ATTEMPTS`] full. From then on the end
/// of an unknown attempt is no sign of a beginning that was missed.
#[map]
pub(crate) static WAS_FULL: Array<u32> = Array::with_max_entries(1, 0);

/// The kernel's own counters, see [`observer_common::stat`], an element for each CPU. User space
/// maps them into its memory: to read them it needs no call, during which the kernel would skip
/// programs on classic tracepoints.
#[map]
pub(crate) static STATS: Array<CpuStats> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Finished attempts on their way to user space.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(2 << 20, 0);

/// The arguments of a connect() call.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Call {
    /// `struct sockaddr *` in the caller's memory.
    pub(crate) addr: u64,
    /// File descriptor.
    pub(crate) fd: u32,
    /// Length of the address.
    pub(crate) len: u32,
}

/// A connection as its packets name it: addresses with IPv4 as mapped, ports in
/// host order.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Connection {
    pub(crate) saddr: Address,
    pub(crate) daddr: Address,
    pub(crate) sport: u16,
    pub(crate) dport: u16,
}

/// An ICMP error as the packet carried it.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct IcmpError {
    /// Sender, IPv4 as mapped.
    pub(crate) from: Address,
    /// When it came, as in `AttemptRecord`.
    pub(crate) at_ns: u64,
    /// Interface index by which it came in.
    pub(crate) iif: u32,
    /// ICMP type.
    pub(crate) icmp_type: u8,
    /// ICMP code.
    pub(crate) icmp_code: u8,
    /// TTL or hop limit.
    pub(crate) ttl: u8,
    /// Zero.
    pub(crate) reserved: u8,
}

/// Buckets of [`FOLLOWED`]; a power of two.
const BUCKETS: usize = 16_384;

/// How many entries of [`ATTEMPTS`] and [`ENDED`] fall into each bucket of socket addresses. Most
/// sockets that pass the hooks are nobody's attempt, and an empty bucket says so
/// for a fraction of what a look into [`ATTEMPTS`] costs.
#[unsafe(no_mangle)]
static mut FOLLOWED: [u32; BUCKETS] = [0; BUCKETS];

#[inline(always)]
fn bucket(sk: u64) -> *mut u32 {
    // Sockets are aligned to cache lines, and their slabs to pages.
    let index = ((sk >> 6) ^ (sk >> 18)) as usize & (BUCKETS - 1);
    // SAFETY: the index is within bounds.
    unsafe { (&raw mut FOLLOWED).cast::<u32>().add(index) }
}

/// False if neither [`ATTEMPTS`] nor [`ENDED`] has an entry of this socket.
#[inline(always)]
pub(crate) fn may_be_followed(sk: u64) -> bool {
    // SAFETY: aligned; hooks of one socket run one after the other.
    unsafe { bucket(sk).read_volatile() != 0 }
}

/// To be called before an entry is inserted, with 1, and after it has been
/// removed, with -1.
#[inline(always)]
pub(crate) fn follow(sk: u64, change: i32) {
    // SAFETY: an element of the array; other sockets share it.
    unsafe {
        core::intrinsics::atomic_xadd::<u32, u32, { core::intrinsics::AtomicOrdering::Relaxed }>(
            bucket(sk),
            change as u32,
        );
    }
}

/// Adds one to a counter of [`observer_common::stat`].
#[inline(always)]
pub(crate) fn count(index: u32) {
    // SAFETY: takes nothing and fails never.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    if let Some(stats) = STATS.get_ptr_mut(cpu) {
        // SAFETY: within the element of this CPU; a run that interrupts this
        // one on the same CPU could lose an addition, so it is atomic.
        unsafe { add_one(stats.cast::<u64>().add(index as usize)) };
    }
}

/// Adds one to a shared counter; `AtomicU64::fetch_add` does not exist on BPF.
///
/// # Safety
/// `counter` must point into a map element.
#[inline(always)]
pub(crate) unsafe fn add_one(counter: *mut u64) {
    // SAFETY: the caller's promise.
    unsafe { core::intrinsics::atomic_xadd::<u64, u64, { core::intrinsics::AtomicOrdering::Relaxed }>(counter, 1) };
}

/// Takes from a shared number, as [`add_one`] adds.
///
/// # Safety
/// As [`add_one`].
#[inline(always)]
pub(crate) unsafe fn take_one(number: *mut u64, one: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        core::intrinsics::atomic_xadd::<u64, u64, { core::intrinsics::AtomicOrdering::Relaxed }>(
            number,
            one.wrapping_neg(),
        );
    }
}

macro_rules! globals {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $value:expr;)*) => {
        $(
            $(#[$doc])*
            #[unsafe(no_mangle)]
            pub(crate) static $name: Global<$type> = Global::new($value);
        )*
    };
}

globals! {
    /// Watched destination ports, host order; 0 ends the list.
    PORT_0: u16 = 25;
    /// See [`PORT_0`].
    PORT_1: u16 = 0;
    /// See [`PORT_0`].
    PORT_2: u16 = 0;
    /// See [`PORT_0`].
    PORT_3: u16 = 0;
    /// See [`PORT_0`].
    PORT_4: u16 = 0;
    /// See [`PORT_0`].
    PORT_5: u16 = 0;
    /// See [`PORT_0`].
    PORT_6: u16 = 0;
    /// See [`PORT_0`].
    PORT_7: u16 = 0;
    /// Process id of observer itself, in its own pid namespace: its own connections are no
    /// attempts. 0: they are.
    OBSERVER_PID: u32 = 0;
    /// Inode number of that namespace; 0: it is the initial one.
    PID_NAMESPACE: u64 = 0;
    /// Device number of the file system that the inode is of.
    PID_NAMESPACE_DEV: u64 = 0;
    /// 1: successes too are sent as events.
    SEND_SUCCESSES: u8 = 0;
    /// 1: the hooks on connect() are attached.
    FOLLOW_CONNECT: u8 = 0;
    /// Bytes waiting in the ring buffer that wake user space before its timer.
    WAKE_BYTES: u64 = 1 << 19;
    /// `NETFILTER_DROP` of `enum skb_drop_reason`; 0: this kernel has none.
    REASON_NETFILTER_DROP: u32 = 0;
    /// `BPF_CGROUP_EGRESS` of the same: systemd's IPAddressDeny.
    REASON_BPF_CGROUP_EGRESS: u32 = 0;
    /// `NEIGH_FAILED` of the same (IPv4).
    REASON_NEIGH_FAILED: u32 = 0;
    /// `NOT_SPECIFIED` of the same: what IPv6 neighbour discovery says.
    REASON_NOT_SPECIFIED: u32 = 0;
    /// Address of `nf_hook_slow`, where netfilter drops packets; 0: not needed, or
    /// not known.
    NF_HOOK_SLOW: u64 = 0;
    /// Address of what follows it.
    NF_HOOK_SLOW_END: u64 = 0;
    /// Byte offset of this member; the others below likewise.
    SOCK_FAMILY: u32 = 0;
    /// `sock.__sk_common.skc_dport`, network order.
    SOCK_DPORT: u32 = 0;
    /// `sock.__sk_common.skc_daddr`.
    SOCK_DADDR: u32 = 0;
    /// `sock.__sk_common.skc_rcv_saddr`.
    SOCK_RCV_SADDR: u32 = 0;
    /// `sock.__sk_common.skc_v6_daddr`.
    SOCK_V6_DADDR: u32 = 0;
    /// `sock.__sk_common.skc_v6_rcv_saddr`.
    SOCK_V6_RCV_SADDR: u32 = 0;
    /// `sock.__sk_common.skc_net`.
    SOCK_NET: u32 = 0;
    /// `sock.__sk_common.skc_state`.
    SOCK_STATE: u32 = 0;
    /// `sock.sk_err`.
    SOCK_ERR: u32 = 0;
    /// `sock.sk_err_soft`.
    SOCK_ERR_SOFT: u32 = 0;
    /// `sock.sk_shutdown`.
    SOCK_SHUTDOWN: u32 = 0;
    /// `sock.sk_protocol`.
    SOCK_PROTOCOL: u32 = 0;
    /// `sock.sk_error_queue`.
    SOCK_ERROR_QUEUE: u32 = 0;
    /// `sock.sk_dst_cache`.
    SOCK_DST_CACHE: u32 = 0;
    /// `inet_sock.inet_sport`, network order.
    INET_SPORT: u32 = 0;
    /// `tcp_sock.segs_out`.
    TCP_SEGS_OUT: u32 = 0;
    /// `tcp_sock.segs_in`.
    TCP_SEGS_IN: u32 = 0;
    /// `tcp_sock.tsorted_sent_queue`; 0: this kernel has none.
    TCP_SENT_QUEUE: u32 = 0;
    /// `tcp_sock.total_retrans`.
    TCP_TOTAL_RETRANS: u32 = 0;
    /// `tcp_sock.bytes_received`.
    TCP_BYTES_RECEIVED: u32 = 0;
    /// `tcp_sock.snd_una`; 0: this kernel has none.
    TCP_SND_UNA: u32 = 0;
    /// `tcp_sock.snd_nxt`.
    TCP_SND_NXT: u32 = 0;
    /// `inet_connection_sock.icsk_retransmits`; 0: this kernel has none.
    ICSK_RETRANSMITS: u32 = 0;
    /// Interface by which what the socket receives comes in, once it is established:
    /// `sock.sk_rx_dst_ifindex`, earlier `inet_sock.rx_dst_ifindex`; 0: this kernel has neither.
    SOCK_RX_IFINDEX: u32 = 0;
    /// `inet_sock.cork.fl.u.ip4.daddr`, where connect() looks up its route (IPv4); 0: this
    /// kernel has none.
    INET_FLOW_DADDR: u32 = 0;
    /// `net.ns.inum`.
    NET_INUM: u32 = 0;
    /// `dst_entry.dev`.
    DST_DEV: u32 = 0;
    /// `net_device.ifindex`.
    DEV_IFINDEX: u32 = 0;
    /// `sk_buff.sk`.
    SKB_SK: u32 = 0;
    /// `sk_buff.head`.
    SKB_HEAD: u32 = 0;
    /// `sk_buff.network_header`.
    SKB_NETWORK_HEADER: u32 = 0;
    /// `sk_buff.transport_header`.
    SKB_TRANSPORT_HEADER: u32 = 0;
    /// `sk_buff.skb_iif`.
    SKB_IIF: u32 = 0;
    /// `sk_buff.data`.
    SKB_DATA: u32 = 0;
    /// `sk_buff.cb`.
    SKB_CB: u32 = 0;
    /// `sk_buff_head.prev`.
    QUEUE_PREV: u32 = 0;
    /// `sock_exterr_skb.ee`.
    EXTERR_EE: u32 = 0;
    /// `task_struct.flags`.
    TASK_FLAGS: u32 = 0;
    /// `task_struct.group_leader`.
    TASK_GROUP_LEADER: u32 = 0;
    /// `task_struct.comm`.
    TASK_COMM: u32 = 0;
    /// `task_struct.files`.
    TASK_FILES: u32 = 0;
    /// `files_struct.fdt`.
    FILES_FDT: u32 = 0;
    /// `fdtable.fd`.
    FDTABLE_FD: u32 = 0;
    /// `fdtable.max_fds`.
    FDTABLE_MAX_FDS: u32 = 0;
    /// `file.private_data`.
    FILE_PRIVATE_DATA: u32 = 0;
    /// `socket.state`.
    SOCKET_STATE: u32 = 0;
    /// `socket.file`.
    SOCKET_FILE: u32 = 0;
    /// `socket.sk`.
    SOCKET_SK: u32 = 0;
    /// `io_kiocb.opcode`.
    URING_OPCODE: u32 = 0;
    /// `io_connect.addr`; the struct lies at the start of `io_kiocb`.
    URING_ADDR: u32 = 0;
    /// `io_connect.addr_len`.
    URING_ADDR_LEN: u32 = 0;
    /// `io_connect.in_progress`.
    URING_IN_PROGRESS: u32 = 0;
}
