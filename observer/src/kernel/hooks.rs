//! The table of hooks: what each gives, and what is lost without it.

use super::btf::Btf;

/// How a kernel program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookKind {
    /// A raw tracepoint that reads this many arguments.
    RawTracepoint {
        /// Reading an argument that the kernel does not give fails at attach.
        args: usize,
    },
    /// At the entry of a kernel function with at least this many parameters.
    Fentry {
        /// Parameters read.
        params: usize,
    },
    /// At the return of a kernel function.
    Fexit {
        /// Parameters read.
        params: usize,
    },
    /// A classic tracepoint of this category, through tracefs.
    Tracepoint {
        /// Category in tracefs.
        category: &'static str,
    },
}

impl HookKind {
    /// The kind as `doctor` shows it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RawTracepoint { .. } => "raw tracepoint",
            Self::Fentry { .. } => "fentry",
            Self::Fexit { .. } => "fexit",
            Self::Tracepoint { .. } => "tracepoint",
        }
    }
}

/// Which hooks stand or fall together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Without it there is nothing to observe.
    Core,
    /// Stands in for the next one where that could be preempted.
    Unpreempted,
    /// More evidence; each is attached on its own.
    Evidence,
    /// connect() failures before SYN-SENT, the cheap way.
    ConnectFunction,
    /// The same by system call, where the cheap way does not load.
    ConnectSyscall,
    /// The same of sendto(MSG_FASTOPEN).
    FastOpen,
}

/// A kernel program and the kernel symbol that it is attached to.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    /// Name of the program in the object.
    pub program: &'static str,
    /// Kernel symbol.
    pub symbol: &'static str,
    /// How it is attached.
    pub kind: HookKind,
    /// What it belongs to.
    pub group: Group,
    /// First kernel that has it.
    pub since: &'static str,
    /// The facts that it gives.
    pub gives: &'static str,
    /// What nobody can tell without it.
    pub lost_without: &'static str,
}

const fn raw(
    symbol: &'static str,
    args: usize,
    group: Group,
    since: &'static str,
    gives: &'static str,
    lost_without: &'static str,
) -> Hook {
    Hook { program: symbol, symbol, kind: HookKind::RawTracepoint { args }, group, since, gives, lost_without }
}

/// Every hook, in the order in which they are attached.
///
/// The state hook comes behind those that give evidence: an attempt that it
/// begins is seen by all of them.
pub const HOOKS: &[Hook] = &[
    raw(
        "tcp_receive_reset",
        1,
        Group::Evidence,
        "4.15",
        "a RST was accepted, while the socket still tells whether its SYN had left",
        "this host's own firewall's RST, where kfree_skb is missing too",
    ),
    raw("tcp_destroy_sock", 1, Group::Core, "4.16", "ends that a skipped run missed", "everything"),
    raw(
        "inet_sk_error_report",
        1,
        Group::Evidence,
        "5.14",
        "ICMP errors: type, code and sender (IPv4)",
        "exact ICMP code; who sent it",
    ),
    Hook {
        program: "kfree_skb_classic",
        symbol: "kfree_skb",
        kind: HookKind::Tracepoint { category: "skb" },
        group: Group::Unpreempted,
        since: "6.11",
        gives: "as the next, but cannot be preempted; used since 7.0",
        lost_without: "drops while a kernel program on that CPU is preempted",
    },
    raw(
        "kfree_skb",
        2,
        Group::Evidence,
        "all",
        "SYNs dropped by this host's firewall; no neighbour (since 5.17)",
        "blocked/local-firewall",
    ),
    raw("tcp_retransmit_skb", 1, Group::Evidence, "4.15", "SYN retransmits, as they happen", "nothing"),
    raw("icmp_send", 2, Group::Evidence, "5.12", "ICMP errors that this host sends itself (IPv4)", "nothing"),
    Hook {
        program: "tcp_reset",
        symbol: "tcp_reset",
        kind: HookKind::Fentry { params: 2 },
        group: Group::Evidence,
        since: "5.11",
        gives: "TTL and interface of a RST",
        lost_without: "origin suspected-middlebox by TTL; a RST of this host itself in another's name",
    },
    Hook {
        program: "tcp_v4_err",
        symbol: "tcp_v4_err",
        kind: HookKind::Fentry { params: 2 },
        group: Group::Evidence,
        since: "5.5",
        gives: "ICMP errors before 5.18 (IPv4)",
        lost_without: "ICMP code and sender before 5.18",
    },
    Hook {
        program: "tcp_v6_err",
        symbol: "tcp_v6_err",
        kind: HookKind::Fentry { params: 6 },
        group: Group::Evidence,
        since: "5.5",
        gives: "ICMPv6 errors: type, code and sender",
        lost_without: "ICMPv6 code 1/5 and 1/6 told from 1/1, time exceeded from address unreachable; who sent an ICMPv6 error",
    },
    Hook {
        program: "inet_sock_set_state_classic",
        symbol: "inet_sock_set_state",
        kind: HookKind::Tracepoint { category: "sock" },
        group: Group::Unpreempted,
        since: "4.16",
        gives: "as the next, but cannot be preempted; used since 7.0",
        lost_without: "what a CPU does while a kernel program on it is preempted",
    },
    raw("inet_sock_set_state", 3, Group::Core, "4.16", "start, handshake and end of every attempt", "everything"),
    Hook {
        program: "connect_file_exit",
        symbol: "__sys_connect_file",
        kind: HookKind::Fexit { params: 4 },
        group: Group::ConnectFunction,
        since: "5.10",
        gives: "connect() that fails before SYN-SENT",
        lost_without: LOST_WITHOUT_CONNECT,
    },
    Hook {
        program: "fast_open_exit",
        symbol: "__inet_stream_connect",
        kind: HookKind::Fexit { params: 5 },
        group: Group::FastOpen,
        since: "4.13",
        gives: "the same by sendto(MSG_FASTOPEN)",
        lost_without: "sendto(MSG_FASTOPEN) that fails before a SYN",
    },
    raw(
        "io_uring_complete",
        3,
        Group::ConnectSyscall,
        "6.10",
        "the same by io_uring; costs every completion of an io_uring",
        LOST_WITHOUT_CONNECT,
    ),
    Hook {
        program: "sys_enter_connect",
        symbol: "sys_enter_connect",
        kind: HookKind::Tracepoint { category: "syscalls" },
        group: Group::ConnectSyscall,
        since: "all",
        gives: "connect() that fails before SYN-SENT (not by io_uring)",
        lost_without: LOST_WITHOUT_CONNECT,
    },
    Hook {
        program: "sys_exit_connect",
        symbol: "sys_exit_connect",
        kind: HookKind::Tracepoint { category: "syscalls" },
        group: Group::ConnectSyscall,
        since: "all",
        gives: "its errno; costs every system call of the host some 50 ns",
        lost_without: LOST_WITHOUT_CONNECT,
    },
];

const LOST_WITHOUT_CONNECT: &str =
    "unreachable/no-route, route-prohibited; blocked/permission-denied, security-policy, no-source-address";

/// What became of a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookStatus {
    /// It is attached.
    Attached,
    /// It is not wanted or not needed here; why.
    Skipped(String),
    /// This kernel does not have it, or refused it; why.
    Failed(String),
}

/// A hook and what became of it.
#[derive(Clone, Debug)]
pub struct HookReport {
    /// The hook.
    pub hook: &'static Hook,
    /// What became of it.
    pub status: HookStatus,
}

impl HookReport {
    /// True if it is attached.
    pub fn is_attached(&self) -> bool {
        self.status == HookStatus::Attached
    }
}

/// True for the named BTF types that [`Hook::absence`] asks for.
pub(super) fn is_wanted(name: &str) -> bool {
    let symbol = name.strip_prefix("btf_trace_").unwrap_or(name);
    HOOKS.iter().any(|hook| hook.symbol == symbol)
}

impl Hook {
    /// Why this kernel cannot have the hook, as far as BTF knows.
    pub(super) fn absence(&self, btf: &Btf) -> Option<String> {
        let (has, wants, what) = match self.kind {
            HookKind::RawTracepoint { args } => (btf.tracepoint_args(self.symbol), args, "arguments"),
            HookKind::Fentry { params } | HookKind::Fexit { params } => {
                (btf.function_params(self.symbol), params, "parameters")
            }
            HookKind::Tracepoint { .. } => return None,
        };
        match has {
            None => Some("this kernel does not have it".to_owned()),
            // Earlier kernels give it more arguments, of other kinds.
            Some(has) if self.symbol == "io_uring_complete" && has != wants => {
                Some(format!("this kernel gives it {has} arguments, not {wants}"))
            }
            Some(has) if has < wants => Some(format!("this kernel gives it {has} {what}, {wants} are needed")),
            Some(_) => None,
        }
    }
}

impl HookReport {
    /// True if observer cannot run without it.
    pub(super) fn is_core_lost(&self, all: &[Self]) -> bool {
        let is_attached = |other: &Self| other.hook.symbol == self.hook.symbol && other.is_attached();
        self.hook.group == Group::Core && !all.iter().any(is_attached)
    }
}
