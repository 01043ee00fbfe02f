//! Which numbers of the running kernel the programs need, and where BTF has
//! them.

use std::fmt;
use std::ops::Range;

use observer_common::SOCK_HEAD_LEN;

use super::btf::Btf;
use super::symbols;

/// A global of the kernel programs that holds a member's byte offset.
struct Member {
    global: &'static str,
    of: &'static str,
    path: &'static [&'static str],
    need: Need,
}

impl fmt::Display for Member {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "struct {}.{}", self.of, self.path.join("."))
    }
}

/// What a member is needed for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Without it the core cannot run.
    Core,
    /// Without it connect() cannot be followed before SYN-SENT.
    Connect,
    /// Without it a fact reads as absent.
    Evidence,
}

const fn core(global: &'static str, of: &'static str, path: &'static [&'static str]) -> Member {
    Member { global, of, path, need: Need::Core }
}

const fn optional(global: &'static str, of: &'static str, path: &'static [&'static str]) -> Member {
    Member { global, of, path, need: Need::Connect }
}

const fn evidence(global: &'static str, of: &'static str, path: &'static [&'static str]) -> Member {
    Member { global, of, path, need: Need::Evidence }
}

const MEMBERS: &[Member] = &[
    core("SOCK_FAMILY", "sock", &["__sk_common", "skc_family"]),
    core("SOCK_DPORT", "sock", &["__sk_common", "skc_dport"]),
    core("SOCK_DADDR", "sock", &["__sk_common", "skc_daddr"]),
    core("SOCK_RCV_SADDR", "sock", &["__sk_common", "skc_rcv_saddr"]),
    core("SOCK_V6_DADDR", "sock", &["__sk_common", "skc_v6_daddr"]),
    core("SOCK_V6_RCV_SADDR", "sock", &["__sk_common", "skc_v6_rcv_saddr"]),
    core("SOCK_NET", "sock", &["__sk_common", "skc_net"]),
    core("SOCK_STATE", "sock", &["__sk_common", "skc_state"]),
    core("SOCK_ERR", "sock", &["sk_err"]),
    core("SOCK_ERR_SOFT", "sock", &["sk_err_soft"]),
    core("SOCK_SHUTDOWN", "sock", &["sk_shutdown"]),
    evidence("TCP_SENT_QUEUE", "tcp_sock", &["tsorted_sent_queue"]),
    optional("SOCK_PROTOCOL", "sock", &["sk_protocol"]),
    core("SOCK_ERROR_QUEUE", "sock", &["sk_error_queue"]),
    core("SOCK_DST_CACHE", "sock", &["sk_dst_cache"]),
    core("INET_SPORT", "inet_sock", &["inet_sport"]),
    core("TCP_SEGS_OUT", "tcp_sock", &["segs_out"]),
    core("TCP_SEGS_IN", "tcp_sock", &["segs_in"]),
    core("TCP_TOTAL_RETRANS", "tcp_sock", &["total_retrans"]),
    core("TCP_BYTES_RECEIVED", "tcp_sock", &["bytes_received"]),
    evidence("TCP_SND_UNA", "tcp_sock", &["snd_una"]),
    evidence("TCP_SND_NXT", "tcp_sock", &["snd_nxt"]),
    evidence("ICSK_RETRANSMITS", "inet_connection_sock", &["icsk_retransmits"]),
    // It moved in Linux 5.16.
    evidence("SOCK_RX_IFINDEX", "sock", &["sk_rx_dst_ifindex"]),
    evidence("SOCK_RX_IFINDEX", "inet_sock", &["rx_dst_ifindex"]),
    evidence("INET_FLOW_DADDR", "inet_sock", &["cork", "fl", "u", "ip4", "daddr"]),
    core("NET_INUM", "net", &["ns", "inum"]),
    core("DST_DEV", "dst_entry", &["dev"]),
    core("DEV_IFINDEX", "net_device", &["ifindex"]),
    core("SKB_SK", "sk_buff", &["sk"]),
    core("SKB_HEAD", "sk_buff", &["head"]),
    core("SKB_NETWORK_HEADER", "sk_buff", &["network_header"]),
    core("SKB_TRANSPORT_HEADER", "sk_buff", &["transport_header"]),
    core("SKB_DATA", "sk_buff", &["data"]),
    core("SKB_IIF", "sk_buff", &["skb_iif"]),
    core("SKB_CB", "sk_buff", &["cb"]),
    core("QUEUE_PREV", "sk_buff_head", &["prev"]),
    core("EXTERR_EE", "sock_exterr_skb", &["ee"]),
    core("TASK_FLAGS", "task_struct", &["flags"]),
    core("TASK_GROUP_LEADER", "task_struct", &["group_leader"]),
    core("TASK_COMM", "task_struct", &["comm"]),
    optional("TASK_FILES", "task_struct", &["files"]),
    optional("FILES_FDT", "files_struct", &["fdt"]),
    optional("FDTABLE_FD", "fdtable", &["fd"]),
    optional("FDTABLE_MAX_FDS", "fdtable", &["max_fds"]),
    optional("FILE_PRIVATE_DATA", "file", &["private_data"]),
    optional("SOCKET_STATE", "socket", &["state"]),
    optional("SOCKET_FILE", "socket", &["file"]),
    optional("SOCKET_SK", "socket", &["sk"]),
    optional("URING_OPCODE", "io_kiocb", &["opcode"]),
    optional("URING_ADDR", "io_connect", &["addr"]),
    optional("URING_ADDR_LEN", "io_connect", &["addr_len"]),
    optional("URING_IN_PROGRESS", "io_connect", &["in_progress"]),
];

/// The record of a classic tracepoint, as its program reads it: verified code has
/// no variable offsets into it.
struct TraceRecord {
    symbol: &'static str,
    of: &'static str,
    members: &'static [(&'static str, u32)],
}

const RECORDS: [TraceRecord; 2] = [
    TraceRecord {
        symbol: "inet_sock_set_state",
        of: "trace_event_raw_inet_sock_set_state",
        members: &[("skaddr", 8), ("oldstate", 16), ("newstate", 20)],
    },
    TraceRecord { symbol: "kfree_skb", of: "trace_event_raw_kfree_skb", members: &[("skbaddr", 8), ("reason", 36)] },
];

impl TraceRecord {
    fn is_as_read(&self, btf: &Btf) -> bool {
        self.members.iter().all(|&(name, at)| btf.offset(self.of, &[name]) == Some(at))
    }
}

/// Globals that hold the value of an enumerator; 0 where the kernel has none.
const ENUMERATORS: &[(&str, &str, &str)] = &[
    ("REASON_NETFILTER_DROP", "skb_drop_reason", "SKB_DROP_REASON_NETFILTER_DROP"),
    ("REASON_BPF_CGROUP_EGRESS", "skb_drop_reason", "SKB_DROP_REASON_BPF_CGROUP_EGRESS"),
    ("REASON_NEIGH_FAILED", "skb_drop_reason", "SKB_DROP_REASON_NEIGH_FAILED"),
    ("REASON_NOT_SPECIFIED", "skb_drop_reason", "SKB_DROP_REASON_NOT_SPECIFIED"),
];

/// The numbers of one kernel.
#[derive(Debug)]
pub(super) struct Layout {
    /// Name and value of every global to set.
    pub(super) globals: Vec<(&'static str, u32)>,
    /// Members on the way to a socket before SYN-SENT that this kernel's BTF does
    /// not have.
    pub(super) absent: Vec<String>,
    /// All members on the way from a file descriptor to its socket are there.
    pub(super) can_follow_connect: bool,
    /// All members of an io_uring connect request are there.
    pub(super) can_follow_uring: bool,
    /// Where netfilter drops packets, from its first byte to the one behind its
    /// last; wanted only where the kernel gives no reasons for drops.
    pub(super) netfilter_drop: Option<Range<u64>>,
    /// Programs on raw tracepoints can be preempted: since Linux 7.0.
    pub(super) has_preemptible_tracepoints: bool,
    /// Symbols whose classic tracepoint has the members that are read.
    pub(super) records: Vec<&'static str>,
    /// `enum skb_drop_reason` has NETFILTER_DROP.
    pub(super) has_drop_reasons: bool,
}

/// True for the named types that [`Layout::read`] and the hook table ask for.
pub(super) fn is_wanted(name: &str) -> bool {
    MEMBERS.iter().any(|member| member.of == name)
        || name == "skb_drop_reason"
        || RECORDS.iter().any(|record| record.of == name)
        || super::hooks::is_wanted(name)
}

impl Layout {
    /// Finds every number in the kernel's BTF.
    ///
    /// # Errors
    /// Names the first member that the core needs and BTF does not have.
    pub(super) fn read(btf: &Btf, release: (u32, u32)) -> Result<Self, String> {
        check_head(btf)?;
        let mut globals = Vec::with_capacity(MEMBERS.len() + ENUMERATORS.len());
        let mut absent = Vec::new();
        for member in MEMBERS {
            match btf.offset(member.of, member.path) {
                Some(offset) => globals.push((member.global, offset)),
                None if member.need == Need::Core => return Err(member.to_string()),
                None if member.need == Need::Connect => absent.push(member.to_string()),
                None => {}
            }
        }
        let reasons = ENUMERATORS.iter().map(|&(global, of, name)| (global, btf.enumerator(of, name).unwrap_or(0)));
        globals.extend(reasons);
        let has_drop_reasons = globals.iter().any(|&(global, value)| global == "REASON_NETFILTER_DROP" && value != 0);
        let lacks_uring = |member: &String| member.starts_with("struct io_");
        Ok(Self {
            globals,
            can_follow_connect: absent.iter().all(lacks_uring),
            can_follow_uring: absent.is_empty(),
            absent,
            netfilter_drop: if has_drop_reasons { None } else { symbols::range("nf_hook_slow") },
            has_preemptible_tracepoints: release >= (7, 0),
            records: RECORDS.iter().filter(|record| record.is_as_read(btf)).map(|record| record.symbol).collect(),
            has_drop_reasons,
        })
    }
}

/// The programs read these members with one read.
fn check_head(btf: &Btf) -> Result<(), String> {
    for member in ["skc_daddr", "skc_rcv_saddr", "skc_dport", "skc_family"] {
        let path = ["__sk_common", member];
        if btf.offset("sock", &path).is_some_and(|offset| offset as usize + 4 > SOCK_HEAD_LEN) {
            return Err(format!("struct sock.__sk_common.{member} within its first {SOCK_HEAD_LEN} bytes"));
        }
    }
    Ok(())
}
