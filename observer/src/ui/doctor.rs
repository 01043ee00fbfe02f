//! What the doctor found: the host, and the hooks one by one.

use std::fmt::Write;

use observer_core::mta::advice;
use observer_core::sanitize::sanitize;
use serde::Serialize;

use super::table::{Align, columns};
use crate::kernel::hooks::{Group, HOOKS, HookReport, HookStatus};
use crate::kernel::{Environment, Tracefs};

const CAP_SYS_ADMIN: u32 = 21;
const CAPABILITIES: [(&str, u32); 3] = [("CAP_BPF", 39), ("CAP_PERFMON", 38), ("CAP_SYS_ADMIN", CAP_SYS_ADMIN)];

/// The findings for a person. Without reports, the hooks were not tried.
pub fn text(environment: &Environment, reports: &[HookReport]) -> String {
    let mut text = host(environment);
    if reports.is_empty() {
        text.push_str("\nhooks were not tried\n");
        return text;
    }
    for (title, is_core) in [("core, needed to observe at all", true), ("optional, more evidence", false)] {
        let _ = writeln!(text, "\n{title}:");
        text.push_str(&hooks(reports, is_core));
    }
    text.push_str(&losses(environment, reports));
    text
}

/// What was found in the end of the mail server's log.
#[derive(Clone, Debug, Default, Serialize)]
pub struct MailLog {
    /// Which log.
    pub log: String,
    /// Lines that were read.
    pub lines: u64,
    /// Those that have the form of the mail server's own.
    pub understood: u64,
    /// Those on deliveries.
    pub deliveries: u64,
    /// The first line, where none is understood.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
    /// Why it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// The same for a person.
pub fn mail_log(found: &MailLog) -> String {
    let MailLog { log, lines, understood, deliveries, first, trouble } = found;
    let log = sanitize(log);
    match (trouble, first) {
        (Some(trouble), _) => format!("\nmail log: cannot read {log}: {}\n", sanitize(trouble)),
        (None, Some(first)) => format!(
            "\nmail log: cannot understand {log}: none of {lines} lines is of a form that observer knows: {}; the first \
             line: {}\n",
            advice(first),
            sanitize(first)
        ),
        (None, None) => {
            format!("\nmail log: {log}: {lines} lines read, {understood} understood, {deliveries} on deliveries\n")
        }
    }
}

/// The findings for a program: one JSON object, newline included.
pub fn json(environment: &Environment, reports: &[HookReport], mail_log: Option<&MailLog>) -> String {
    let findings = Findings {
        kernel: &environment.release,
        btf: environment.has_btf,
        can_load: environment.can_load(),
        capabilities: held(environment).collect(),
        lockdown: environment.lockdown.as_deref(),
        unprivileged_bpf_disabled: environment.unprivileged_bpf_disabled.as_deref(),
        tracefs: environment.tracefs,
        memlock_bytes: environment.memlock,
        hooks: reports.iter().map(|report| Finding::new(report, environment, reports)).collect(),
        mail_log,
    };
    // Serialising plain structs of strings cannot fail.
    serde_json::to_string(&findings).unwrap_or_default() + "\n"
}

#[derive(Serialize)]
struct Findings<'a> {
    kernel: &'a str,
    btf: bool,
    can_load: bool,
    capabilities: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lockdown: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unprivileged_bpf_disabled: Option<&'a str>,
    tracefs: Tracefs,
    #[serde(skip_serializing_if = "Option::is_none")]
    memlock_bytes: Option<u64>,
    hooks: Vec<Finding<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mail_log: Option<&'a MailLog>,
}

#[derive(Serialize)]
struct Finding<'a> {
    symbol: &'static str,
    program: &'static str,
    kind: &'static str,
    is_core: bool,
    since_kernel: &'static str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'a str>,
    gives: &'static str,
    lost_without: &'static str,
    is_lost: bool,
}

impl<'a> Finding<'a> {
    fn new(report: &'a HookReport, environment: &Environment, all: &[HookReport]) -> Self {
        let hook = report.hook;
        let (status, cause) = status(report);
        Self {
            symbol: hook.symbol,
            program: hook.program,
            kind: hook.kind.as_str(),
            is_core: is_core(report),
            since_kernel: hook.since,
            status,
            cause,
            gives: hook.gives,
            lost_without: hook.lost_without,
            is_lost: is_lost(report, environment, all),
        }
    }
}

fn host(environment: &Environment) -> String {
    let rows = [
        ("kernel", sanitize(&environment.release).into_owned()),
        ("BTF", either(environment.has_btf, "yes", "no: observer needs it to find its way in the kernel")),
        ("privileges", privileges(environment)),
        ("lockdown", lockdown(environment)),
        ("unprivileged bpf", unprivileged(environment.unprivileged_bpf_disabled.as_deref())),
        ("tracefs", tracefs(environment).to_owned()),
        ("memlock", memlock(environment)),
    ];
    columns([Align::Left, Align::Left], &rows.map(|(name, value)| [name.to_owned(), value]))
}

fn either(is_so: bool, yes: &str, no: &str) -> String {
    if is_so { yes } else { no }.to_owned()
}

fn held(environment: &Environment) -> impl Iterator<Item = &'static str> {
    CAPABILITIES.iter().filter(|(_, bit)| environment.has(*bit)).map(|(name, _)| *name)
}

fn tracefs(environment: &Environment) -> &'static str {
    match environment.tracefs {
        Tracefs::Readable => "mounted",
        Tracefs::Forbidden => "not readable for this user; tracepoints need it: grant CAP_DAC_READ_SEARCH",
        Tracefs::Absent if environment.has(CAP_SYS_ADMIN) => {
            "not mounted; tracepoints need it: observer mounts it for itself"
        }
        Tracefs::Absent => "not mounted; tracepoints need it: mount -t tracefs tracefs /sys/kernel/tracing",
    }
}

fn privileges(environment: &Environment) -> String {
    let held: Vec<_> = held(environment).collect();
    let held = if held.is_empty() { "none that matter".to_owned() } else { held.join(", ") };
    match environment.can_load() {
        true => format!("{held}: enough"),
        false => format!("{held}: not enough, run as root, or with CAP_BPF and CAP_PERFMON"),
    }
}

fn unprivileged(disabled: Option<&str>) -> String {
    match disabled {
        Some("0") => "allowed (observer does not need it)".to_owned(),
        Some(_) => "off".to_owned(),
        None => "not known".to_owned(),
    }
}

fn lockdown(environment: &Environment) -> String {
    match &environment.lockdown {
        None => "not in this kernel, or not readable".to_owned(),
        Some(mode) if environment.is_confidential() => format!("{mode}: no program may read kernel memory"),
        Some(mode) => sanitize(mode).into_owned(),
    }
}

fn memlock(environment: &Environment) -> String {
    match (environment.memlock, environment.memlock_limit()) {
        (None, _) => "unlimited".to_owned(),
        (Some(bytes), None) => format!("{} KiB; does not count for maps here", bytes >> 10),
        (Some(bytes), Some(_)) => format!("{} KiB; maps count, observer raises it if it may", bytes >> 10),
    }
}

fn is_core(report: &HookReport) -> bool {
    HOOKS.iter().any(|hook| hook.group == Group::Core && hook.symbol == report.hook.symbol)
}

fn status(report: &HookReport) -> (&'static str, Option<&str>) {
    match &report.status {
        HookStatus::Attached => ("attached", None),
        HookStatus::Skipped(why) => ("skipped", Some(why)),
        HookStatus::Failed(cause) => ("failed", Some(cause)),
    }
}

/// True if what the hook gives is not to be had: it is not attached, and no other
/// stands in for it.
fn is_lost(report: &HookReport, environment: &Environment, all: &[HookReport]) -> bool {
    let hook = report.hook;
    let is_attached = |symbol| all.iter().any(|other| other.hook.symbol == symbol && other.is_attached());
    let is_group_attached = |group| {
        let mut members = all.iter().filter(|other| other.hook.group == group).peekable();
        members.peek().is_some() && members.all(HookReport::is_attached)
    };
    let has_stand_in = match (hook.group, hook.symbol) {
        (Group::ConnectFunction, _) => is_group_attached(Group::ConnectSyscall),
        (Group::ConnectSyscall, _) => is_group_attached(Group::ConnectFunction),
        (Group::Unpreempted, _) => matches!(report.status, HookStatus::Skipped(_)),
        // Of one symbol the first that attaches does the work.
        (_, symbol) if is_attached(symbol) => true,
        (Group::Core | Group::FastOpen, _) => false,
        (Group::Evidence, "tcp_v4_err") => environment.version() >= (5, 18) && is_attached("inet_sk_error_report"),
        (Group::Evidence, "inet_sk_error_report") => is_attached("tcp_v4_err"),
        (Group::Evidence, _) => hook.lost_without == "nothing",
    };
    !report.is_attached() && !has_stand_in
}

fn hooks(reports: &[HookReport], core: bool) -> String {
    let chosen: Vec<_> = reports.iter().filter(|report| is_core(report) == core).collect();
    let row = |report: &&HookReport| {
        let hook = report.hook;
        [&format!("  {}", status(report).0), hook.symbol, hook.kind.as_str(), hook.since, hook.gives].map(str::to_owned)
    };
    let mut rows = vec![["  status", "hook", "kind", "since", "gives"].map(str::to_owned)];
    rows.extend(chosen.iter().map(row));
    let table = columns([Align::Left; 5], &rows);
    let mut lines = table.lines();
    let mut text = lines.next().map(|header| format!("{header}\n")).unwrap_or_default();
    for (line, report) in lines.zip(chosen) {
        let _ = writeln!(text, "{line}");
        if let Some(cause) = status(report).1 {
            // A verifier's log is for --json.
            let _ = writeln!(text, "    why: {}", sanitize(cause.lines().next().unwrap_or_default()));
        }
    }
    text
}

fn losses(environment: &Environment, reports: &[HookReport]) -> String {
    let mut lost: Vec<_> = Vec::new();
    for report in reports.iter().filter(|report| is_lost(report, environment, reports)) {
        if !lost.contains(&report.hook.lost_without) {
            lost.push(report.hook.lost_without);
        }
    }
    let attached = reports.iter().filter(|report| report.is_attached()).count();
    let mut text = format!("\n{attached} of {} hooks attached; ", reports.len());
    if lost.is_empty() {
        return text + "nothing is lost\n";
    }
    text.push_str("lost on this host:\n");
    for lost in lost {
        let _ = writeln!(text, "  {lost}");
    }
    text
}

#[cfg(test)]
mod tests;
