use insta::assert_snapshot;
use observer_core::sanitize::is_visible;
use serde_json::Value;

use super::{MailLog, json, mail_log, text};
use crate::kernel::hooks::{Group, HOOKS, Hook, HookKind, HookReport, HookStatus};
use crate::kernel::{Environment, Tracefs};

const STATE: Hook = Hook {
    program: "inet_sock_set_state",
    symbol: "inet_sock_set_state",
    kind: HookKind::RawTracepoint { args: 3 },
    group: Group::Core,
    since: "4.16",
    gives: "start and end",
    lost_without: "everything",
};
const RESET: Hook = Hook {
    program: "tcp_reset",
    symbol: "tcp_reset",
    kind: HookKind::Fentry { params: 2 },
    group: Group::Evidence,
    since: "5.11",
    gives: "TTL of a RST",
    lost_without: "suspected-middlebox by TTL",
};
const FUNCTION: Hook = Hook {
    program: "connect_file_exit",
    symbol: "__sys_connect_file",
    kind: HookKind::Fexit { params: 4 },
    group: Group::ConnectFunction,
    since: "5.10",
    gives: "failing connect()",
    lost_without: "unreachable/no-route",
};
const SYSCALL: Hook = Hook {
    program: "sys_exit_connect",
    symbol: "sys_exit_connect",
    kind: HookKind::Tracepoint { category: "syscalls" },
    group: Group::ConnectSyscall,
    since: "all",
    ..FUNCTION
};

fn report(hook: &'static Hook, status: HookStatus) -> HookReport {
    HookReport { hook, status }
}

fn environment() -> Environment {
    Environment {
        release: "6.12.1".to_owned(),
        has_btf: true,
        capabilities: 1 << 39 | 1 << 38,
        lockdown: Some("none".to_owned()),
        unprivileged_bpf_disabled: Some("2".to_owned()),
        tracefs: Tracefs::Readable,
        memlock: Some(8 << 20),
    }
}

fn failed(cause: &str) -> HookStatus {
    HookStatus::Failed(cause.to_owned())
}

fn partial() -> Vec<HookReport> {
    vec![
        report(&STATE, HookStatus::Attached),
        report(&RESET, failed("Operation not permitted\nverifier log")),
        report(&FUNCTION, failed("Operation not permitted")),
        report(&SYSCALL, HookStatus::Attached),
    ]
}

#[test]
fn a_kernel_without_fentry() {
    assert_snapshot!(text(&environment(), &partial()), @"
    kernel            6.12.1
    BTF               yes
    privileges        CAP_BPF, CAP_PERFMON: enough
    lockdown          none
    unprivileged bpf  off
    tracefs           mounted
    memlock           8192 KiB; does not count for maps here

    core, needed to observe at all:
      status    hook                 kind            since  gives
      attached  inet_sock_set_state  raw tracepoint  4.16   start and end

    optional, more evidence:
      status    hook                kind        since  gives
      failed    tcp_reset           fentry      5.11   TTL of a RST
        why: Operation not permitted
      failed    __sys_connect_file  fexit       5.10   failing connect()
        why: Operation not permitted
      attached  sys_exit_connect    tracepoint  all    failing connect()

    2 of 4 hooks attached; lost on this host:
      suspected-middlebox by TTL
    ");
}

#[test]
fn everything_attached() {
    let all: Vec<_> = HOOKS
        .iter()
        .map(|hook| match hook.group {
            Group::ConnectSyscall => report(hook, HookStatus::Skipped("not needed".to_owned())),
            _ => report(hook, HookStatus::Attached),
        })
        .collect();
    assert!(text(&environment(), &all).contains("hooks attached; nothing is lost\n"));
}

#[test]
fn without_either_pair_connect_failures_are_lost_and_said_once() {
    let reports = [
        report(&FUNCTION, failed("x")),
        report(&SYSCALL, HookStatus::Skipped("switched off by --no-syscall-hooks".to_owned())),
    ];
    let text = text(&environment(), &reports);
    assert_eq!(text.matches("unreachable/no-route").count(), 1, "{text}");
    assert!(text.contains("why: switched off"), "{text}");
}

#[test]
fn the_socket_keeps_icmp_errors_since_5_18() {
    let hook = |symbol| HOOKS.iter().find(|hook| hook.symbol == symbol).unwrap();
    let said = |release: &str, error_report| {
        let reports = [
            report(hook("inet_sk_error_report"), error_report),
            report(hook("tcp_v4_err"), failed("Operation not permitted")),
        ];
        text(&Environment { release: release.to_owned(), ..environment() }, &reports)
    };
    let lost = hook("tcp_v4_err").lost_without;
    assert!(said("5.15.0-100-generic", HookStatus::Attached).contains(lost));
    assert!(!said("5.18.0", HookStatus::Attached).contains(lost));
    assert!(!said("6.1.0-13-amd64", HookStatus::Attached).contains(lost));
    assert!(said("6.1.0-13-amd64", failed("x")).contains(lost));
}

#[test]
fn the_packet_hook_sees_icmp_errors_before_5_14() {
    let hook = |symbol| HOOKS.iter().find(|hook| hook.symbol == symbol).unwrap();
    let said = |packet_hook| {
        let absent = failed("this kernel does not have it");
        let reports = [report(hook("inet_sk_error_report"), absent), report(hook("tcp_v4_err"), packet_hook)];
        text(&Environment { release: "5.10.0-46-amd64".to_owned(), ..environment() }, &reports)
    };
    let lost = hook("inet_sk_error_report").lost_without;
    assert!(!said(HookStatus::Attached).contains(lost));
    assert!(said(failed("Operation not permitted")).contains(lost));
}

#[test]
fn one_of_two_state_hooks_is_enough_unless_it_can_be_preempted() {
    let of = |group| HOOKS.iter().find(|hook| hook.symbol == STATE.symbol && hook.group == group).unwrap();
    let (classic, raw) = (of(Group::Unpreempted), of(Group::Core));
    let skipped = || HookStatus::Skipped("not needed".to_owned());
    let said = |first, second| text(&environment(), &[report(classic, first), report(raw, second)]);
    assert!(said(HookStatus::Attached, skipped()).contains("nothing is lost"));
    assert!(said(skipped(), HookStatus::Attached).contains("nothing is lost"));
    let preempted = said(failed("tracefs is not mounted"), HookStatus::Attached);
    assert!(preempted.contains(classic.lost_without) && !preempted.contains(raw.lost_without), "{preempted}");
}

#[test]
fn a_bare_host() {
    let bare = Environment {
        has_btf: false,
        capabilities: 0,
        lockdown: None,
        unprivileged_bpf_disabled: None,
        tracefs: Tracefs::Absent,
        memlock: None,
        ..environment()
    };
    assert_snapshot!(text(&bare, &[]), @"
    kernel            6.12.1
    BTF               no: observer needs it to find its way in the kernel
    privileges        none that matter: not enough, run as root, or with CAP_BPF and CAP_PERFMON
    lockdown          not in this kernel, or not readable
    unprivileged bpf  not known
    tracefs           not mounted; tracepoints need it: mount -t tracefs tracefs /sys/kernel/tracing
    memlock           unlimited

    hooks were not tried
    ");
}

#[test]
fn tracefs_and_its_cure() {
    let line = |tracefs, capabilities| {
        let text = text(&Environment { tracefs, capabilities, ..environment() }, &[]);
        text.lines().find(|line| line.starts_with("tracefs")).unwrap().to_owned()
    };
    assert!(line(Tracefs::Forbidden, 0).contains("CAP_DAC_READ_SEARCH"));
    assert!(line(Tracefs::Absent, 0).contains("mount -t tracefs"));
    assert!(line(Tracefs::Absent, u64::MAX).contains("mounts it for itself"));
}

#[test]
fn causes_cannot_break_out() {
    let reports = [report(&RESET, failed("\x1b[2J\u{202e}"))];
    let text = text(&Environment { release: "\x1b]0;x\x07".to_owned(), ..environment() }, &reports);
    assert!(text.lines().all(|line| line.chars().all(is_visible)), "{text:?}");
}

#[test]
fn json_says_the_same() {
    let findings: Value = serde_json::from_str(&json(&environment(), &partial(), None)).unwrap();
    assert_eq!(findings["kernel"], "6.12.1");
    assert_eq!(findings["can_load"], true);
    assert_eq!(findings["capabilities"], serde_json::json!(["CAP_BPF", "CAP_PERFMON"]));
    let hooks = findings["hooks"].as_array().unwrap();
    let seen: Vec<_> = hooks.iter().map(|hook| (hook["status"].as_str().unwrap(), hook["is_lost"] == true)).collect();
    assert_eq!(seen, [("attached", false), ("failed", true), ("failed", false), ("attached", false)]);
    assert_eq!(hooks[1]["cause"], "Operation not permitted\nverifier log");
    assert_eq!(hooks[0].get("cause"), None);
}

#[test]
fn a_mail_log_of_which_nothing_is_understood_shows_its_first_line() {
    let found = MailLog { log: "the log of postfix, /var/log/x".to_owned(), lines: 12, ..MailLog::default() };
    assert_eq!(
        mail_log(&MailLog { understood: 11, deliveries: 3, ..found.clone() }),
        "\nmail log: the log of postfix, /var/log/x: 12 lines read, 11 understood, 3 on deliveries\n"
    );
    let lost = MailLog { first: Some("what\x1b[2J".to_owned()), ..found.clone() };
    let text = mail_log(&lost);
    assert!(text.contains("none of 12 lines") && text.contains("the first line: what"), "{text}");
    assert!(text.lines().all(|line| line.chars().all(is_visible)), "{text:?}");
    let findings: Value = serde_json::from_str(&json(&environment(), &partial(), Some(&lost))).unwrap();
    assert_eq!((&findings["mail_log"]["lines"], &findings["mail_log"]["first"]), (&12.into(), &"what\x1b[2J".into()));
    let unread = MailLog { trouble: Some("Permission denied".to_owned()), ..found };
    assert_eq!(mail_log(&unread), "\nmail log: cannot read the log of postfix, /var/log/x: Permission denied\n");
}
