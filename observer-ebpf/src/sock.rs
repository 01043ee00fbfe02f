//! The only reads of kernel memory.
//!
//! Members are found by offsets that the loader took from the running kernel's
//! BTF. A read that fails gives zero: that is also what the kernel holds where
//! a fact did not happen.

use aya_ebpf::{
    Global,
    helpers::{bpf_probe_read_kernel, bpf_probe_read_kernel_buf, generated::bpf_get_current_task},
};
use observer_common::{
    SOCK_HEAD_LEN,
    address::Address,
    record::{COMM_LEN, FAMILY_V4, FAMILY_V6},
};

use crate::maps::*;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// `include/linux/sched.h`: the task is going away.
const PF_EXITING: u32 = 0x4;
/// `include/linux/sched.h`: a task of the kernel's own. It closes the sockets
/// that a dead process's io_uring held.
const PF_KTHREAD: u32 = 0x20_0000;
/// `include/linux/sched.h`: an io_uring worker, since Linux 5.12. Bit 4 was
/// unused before.
const PF_IO_WORKER: u32 = 0x10;
/// `include/net/sock.h`.
const SHUTDOWN_MASK: u8 = 3;
/// `LOOPBACK_IFINDEX` of `include/net/flow.h`: the same in every namespace.
pub(crate) const LOOPBACK_IFINDEX: u32 = 1;

/// Reads a member of a kernel struct.
#[inline(always)]
pub(crate) fn read<T: Copy + Default>(base: u64, offset: &Global<u32>) -> T {
    read_at(base + u64::from(offset.load()))
}

/// Reads kernel memory at an address.
#[inline(always)]
pub(crate) fn read_at<T: Copy + Default>(addr: u64) -> T {
    // SAFETY: the helper checks the address; T is plain data.
    unsafe { bpf_probe_read_kernel(addr as *const T) }.unwrap_or_default()
}

/// The first bytes of a struct, read at once: a read costs more than what it
/// reads. `W` is their number in words of eight.
pub(crate) struct Head<const W: usize>([u64; W]);

impl<const W: usize> Head<W> {
    /// The head of the struct at `base`.
    #[inline(always)]
    fn read(base: u64) -> Self {
        // SAFETY: the helper checks the address; words are plain data.
        Self(unsafe { bpf_probe_read_kernel(base as *const [u64; W]) }.unwrap_or([0; W]))
    }

    /// A member of the head.
    #[inline(always)]
    fn member<T: Copy>(&self, offset: &Global<u32>) -> T {
        let head = self.0.as_ptr().cast::<u8>();
        // SAFETY: offsets are known to the verifier, which refuses one that
        // leads out of the head, and members are aligned as their type is.
        unsafe { head.add(offset.load() as usize).cast::<T>().read() }
    }
}

/// The members of a socket that name its connection.
pub(crate) type SockHead = Head<{ SOCK_HEAD_LEN / 8 }>;

/// The head of a socket.
#[inline(always)]
pub(crate) fn head(sk: u64) -> SockHead {
    Head::read(sk)
}

impl SockHead {
    /// The watched destination port, in host order.
    #[inline(always)]
    pub(crate) fn watched_dport(&self) -> Option<u16> {
        let dport = u16::from_be(self.member(&SOCK_DPORT));
        is_watched(dport).then_some(dport)
    }

    /// The addresses of the socket `sk`, in SYN-SENT or later.
    #[inline(always)]
    pub(crate) fn addresses(&self, sk: u64) -> Option<Addresses> {
        let v4 = || Addresses {
            family: FAMILY_V4,
            saddr: Address::mapped(self.member(&SOCK_RCV_SADDR)),
            daddr: Address::mapped(self.member(&SOCK_DADDR)),
        };
        match self.member::<u16>(&SOCK_FAMILY) {
            AF_INET => Some(v4()),
            AF_INET6 => {
                let daddr = v6_address(sk + u64::from(SOCK_V6_DADDR.load()));
                if daddr.is_mapped() {
                    return Some(v4());
                }
                let saddr = v6_address(sk + u64::from(SOCK_V6_RCV_SADDR.load()));
                Some(Addresses { family: FAMILY_V6, saddr, daddr })
            }
            _ => None,
        }
    }
}

/// An `in6_addr` of the kernel's.
#[inline(always)]
pub(crate) fn v6_address(addr: u64) -> Address {
    Address::from_words(read_at(addr))
}

/// True if `port`, in host order, is watched.
#[inline(always)]
pub(crate) fn is_watched(port: u16) -> bool {
    // Zeroes that end the list are known to the verifier: it removes their
    // comparisons.
    port != 0
        && (port == PORT_0.load()
            || is_port(&PORT_1, port)
            || is_port(&PORT_2, port)
            || is_port(&PORT_3, port)
            || is_port(&PORT_4, port)
            || is_port(&PORT_5, port)
            || is_port(&PORT_6, port)
            || is_port(&PORT_7, port))
}

#[inline(always)]
fn is_port(slot: &Global<u16>, port: u16) -> bool {
    let watched = slot.load();
    watched != 0 && watched == port
}

/// Source and destination of a socket, as they are on the wire.
pub(crate) struct Addresses {
    pub(crate) family: u8,
    pub(crate) saddr: Address,
    pub(crate) daddr: Address,
}

/// The local port, in host order.
#[inline(always)]
pub(crate) fn sport(sk: u64) -> u16 {
    u16::from_be(read(sk, &INET_SPORT))
}

/// The address that a socket before SYN-SENT is bound to; unspecified if to none.
#[inline(always)]
pub(crate) fn bound_source(sk: u64) -> Address {
    let source = match read::<u16>(sk, &SOCK_FAMILY) {
        AF_INET => Address::mapped(read(sk, &SOCK_RCV_SADDR)),
        _ => v6_address(sk + u64::from(SOCK_V6_RCV_SADDR.load())),
    };
    if source == Address::mapped(0) { Address::UNSPECIFIED } else { source }
}

/// The destination that the last connect() of a socket before SYN-SENT looked up a route to;
/// unspecified if none has come that far, `None` where this kernel does not tell.
#[inline(always)]
pub(crate) fn looked_up(sk: u64) -> Option<Address> {
    if read::<u16>(sk, &SOCK_FAMILY) != AF_INET {
        return Some(v6_address(sk + u64::from(SOCK_V6_DADDR.load())));
    }
    if INET_FLOW_DADDR.load() == 0 {
        return None;
    }
    let daddr: u32 = read(sk, &INET_FLOW_DADDR);
    Some(if daddr == 0 { Address::UNSPECIFIED } else { Address::mapped(daddr) })
}

/// The inode number of a socket's network namespace.
#[inline(always)]
pub(crate) fn netns(sk: u64) -> u32 {
    read(read(sk, &SOCK_NET), &NET_INUM)
}

/// Retransmission timeouts since something was acknowledged.
#[inline(always)]
pub(crate) fn timeouts(sk: u64) -> u8 {
    if ICSK_RETRANSMITS.load() == 0 { 0 } else { read(sk, &ICSK_RETRANSMITS) }
}

/// Bytes that were sent and not acknowledged.
#[inline(always)]
pub(crate) fn unacked_bytes(sk: u64) -> u32 {
    if TCP_SND_UNA.load() == 0 {
        return 0;
    }
    read::<u32>(sk, &TCP_SND_NXT).wrapping_sub(read(sk, &TCP_SND_UNA))
}

/// True if what an established socket receives comes in by a loopback device.
#[inline(always)]
pub(crate) fn receives_by_loopback(sk: u64) -> bool {
    SOCK_RX_IFINDEX.load() != 0 && read::<u32>(sk, &SOCK_RX_IFINDEX) == LOOPBACK_IFINDEX
}

/// True if a SYN has left, or may have: the kernel lists what it has handed down
/// (`tcp_update_skb_after_send`), and nothing else says whether netfilter or a
/// cgroup program stopped it. Until the socket dies of an error: then the list is
/// empty in any case.
#[inline(always)]
pub(crate) fn has_sent(sk: u64) -> bool {
    let offset = TCP_SENT_QUEUE.load();
    if offset == 0 {
        return true;
    }
    let queue = sk + u64::from(offset);
    // An empty list points at itself.
    read_at::<u64>(queue) != queue
}

/// `sk_err`.
#[inline(always)]
pub(crate) fn sk_err(sk: u64) -> u16 {
    read::<u32>(sk, &SOCK_ERR) as u16
}

/// `sk_err_soft`.
#[inline(always)]
pub(crate) fn sk_err_soft(sk: u64) -> u16 {
    read::<u32>(sk, &SOCK_ERR_SOFT) as u16
}

/// True if the application closed the socket both ways.
#[inline(always)]
pub(crate) fn is_shut_down(sk: u64) -> bool {
    read::<u8>(sk, &SOCK_SHUTDOWN) & SHUTDOWN_MASK == SHUTDOWN_MASK
}

/// The TCP state.
#[inline(always)]
pub(crate) fn state(sk: u64) -> u8 {
    read(sk, &SOCK_STATE)
}

/// The interface by which the route to the destination leaves; 0: no route.
#[inline(always)]
pub(crate) fn route_ifindex(sk: u64) -> u32 {
    let dst: u64 = read(sk, &SOCK_DST_CACHE);
    if dst == 0 {
        return 0;
    }
    let dev: u64 = read(dst, &DST_DEV);
    if dev == 0 { 0 } else { read(dev, &DEV_IFINDEX) }
}

/// True if the current task is exiting, or cleans up behind one that did.
#[inline(always)]
pub(crate) fn is_exiting() -> bool {
    read::<u32>(current(), &TASK_FLAGS) & (PF_EXITING | PF_KTHREAD) != 0
}

/// Name of the current task; of its process where the task is an io_uring
/// worker, which has a name of the kernel's making.
#[inline(always)]
pub(crate) fn comm(comm: &mut [u8; COMM_LEN]) {
    let task = current();
    let is_worker = read::<u32>(task, &TASK_FLAGS) & PF_IO_WORKER != 0;
    let named: u64 = if is_worker { read(task, &TASK_GROUP_LEADER) } else { task };
    let addr = named + u64::from(TASK_COMM.load());
    // SAFETY: the helper checks the address, and fills with zeroes if it fails.
    let _ = unsafe { bpf_probe_read_kernel_buf(addr as *const u8, comm) };
}

#[inline(always)]
fn current() -> u64 {
    // SAFETY: the helper takes no argument and cannot fail.
    unsafe { bpf_get_current_task() }
}

/// What an IP header says of its sender.
pub(crate) struct Sender {
    pub(crate) addr: Address,
    pub(crate) ttl: u8,
}

/// The sender in a packet's IP header.
#[inline(always)]
pub(crate) fn sender(skb: u64) -> Option<Sender> {
    let header = read::<u64>(skb, &SKB_HEAD) + u64::from(read::<u16>(skb, &SKB_NETWORK_HEADER));
    match read_at::<u8>(header) >> 4 {
        4 => Some(Sender { addr: Address::mapped(read_at(header + 12)), ttl: read_at(header + 8) }),
        6 => Some(Sender { addr: v6_address(header + 8), ttl: read_at(header + 7) }),
        _ => None,
    }
}

/// Where a packet's transport header begins.
#[inline(always)]
pub(crate) fn transport_header(skb: u64) -> u64 {
    read::<u64>(skb, &SKB_HEAD) + u64::from(read::<u16>(skb, &SKB_TRANSPORT_HEADER))
}

/// True for the SYN that begins a connection. Not every packet with a socket of ours is one:
/// early demultiplexing gives it to packets that were received.
#[inline(always)]
pub(crate) fn is_first_syn(skb: u64) -> bool {
    const TCP_FLAGS: u64 = 13;
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;
    read_at::<u8>(transport_header(skb) + TCP_FLAGS) & (SYN | ACK) == SYN
}

/// An ICMP error that a socket keeps for its application.
pub(crate) struct QueuedError {
    pub(crate) errno: u8,
    pub(crate) icmp_type: u8,
    pub(crate) icmp_code: u8,
    pub(crate) skb: u64,
}

/// The newest ICMP error in a socket's error queue.
#[inline(always)]
pub(crate) fn newest_icmp_error(sk: u64) -> Option<QueuedError> {
    const SO_EE_ORIGIN_ICMP: u8 = 2;
    const SO_EE_ORIGIN_ICMP6: u8 = 3;
    let queue = sk + u64::from(SOCK_ERROR_QUEUE.load());
    let skb: u64 = read(queue, &QUEUE_PREV);
    if skb == 0 || skb == queue {
        return None;
    }
    // struct sock_extended_err, include/uapi/linux/errqueue.h: a stable ABI.
    let ee = skb + u64::from(SKB_CB.load()) + u64::from(EXTERR_EE.load());
    let [errno, _, _, _, origin, icmp_type, icmp_code, _] = read_at::<u64>(ee).to_le_bytes();
    let is_icmp = origin == SO_EE_ORIGIN_ICMP || origin == SO_EE_ORIGIN_ICMP6;
    is_icmp.then_some(QueuedError { errno, icmp_type, icmp_code, skb })
}

/// The socket behind a file descriptor of the current task, if it is one that
/// is not connecting already.
#[inline(always)]
pub(crate) fn unconnected(fd: u32) -> Option<u64> {
    let table: FdTable = Head::read(read(read(current(), &TASK_FILES), &FILES_FDT));
    if fd >= table.member(&FDTABLE_MAX_FDS) {
        return None;
    }
    let files: u64 = table.member(&FDTABLE_FD);
    unconnected_of_file(read_at(files + u64::from(fd) * 8))
}

/// `struct fdtable`: its size and its array.
type FdTable = Head<2>;
/// `struct socket`, up to `sk`.
type SocketHead = Head<4>;

/// As [`unconnected`], for a `struct file *`.
#[inline(always)]
pub(crate) fn unconnected_of_file(file: u64) -> Option<u64> {
    let socket: SocketHead = Head::read(read(file, &FILE_PRIVATE_DATA));
    // Only a socket points back at its file.
    if file == 0 || socket.member::<u64>(&SOCKET_FILE) != file {
        return None;
    }
    unconnected_of(&socket)
}

/// As [`unconnected`], for a `struct socket *`.
#[inline(always)]
pub(crate) fn unconnected_of_socket(socket: u64) -> Option<u64> {
    unconnected_of(&Head::read(socket))
}

#[inline(always)]
fn unconnected_of(socket: &SocketHead) -> Option<u64> {
    // include/uapi/linux/net.h: a stable ABI.
    const SS_UNCONNECTED: u32 = 1;
    let sk: u64 = socket.member(&SOCKET_SK);
    let is_new = socket.member::<u32>(&SOCKET_STATE) == SS_UNCONNECTED;
    (sk != 0 && is_new).then_some(sk)
}

/// True for the socket that an application has of an MPTCP connection. What goes over the wire
/// are connections of TCP sockets within it.
#[inline(always)]
pub(crate) fn is_mptcp(sk: u64) -> bool {
    const IPPROTO_MPTCP: u16 = 262;
    SOCK_PROTOCOL.load() != 0 && read::<u16>(sk, &SOCK_PROTOCOL) == IPPROTO_MPTCP
}

/// True for a TCP socket.
#[inline(always)]
pub(crate) fn is_tcp(sk: u64) -> bool {
    const IPPROTO_TCP: u16 = 6;
    read::<u16>(sk, &SOCK_PROTOCOL) == IPPROTO_TCP
}
