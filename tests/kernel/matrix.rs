//! The confusion matrix: every scenario × family × mode.

use std::collections::{BTreeMap, HashMap};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use observer_lab::{Case, Family, Ip, Lab, LabConfig, Mode, Observation, Scenario, Truth, Verdict, matrix, port};
use serde::Serialize;
use serde_json::Value;

use crate::condition::root;
use crate::watcher::{Watcher, number, text};

/// Rounds for cases of which only the time differs: on a busy machine a client
/// can be woken late; and for those that lack evidence, as their event says or as hooks were
/// left out: a hook can miss a call while another program attaches to the same function. What
/// differs in every round is wrong.
const ROUNDS: usize = 4;
/// So few cases may lack evidence in a round: one in a hundred.
const FEW: usize = 100;
/// Leaves hooks out.
const WITHOUT_HOOK: &str = "OBSERVER_WITHOUT_HOOK";

pub(crate) fn every_outcome_is_named_rightly() -> Result<()> {
    ensure!(
        Able::of_this_kernel()?.sees_connect_syscalls(),
        "root cannot see connect() fail: observer doctor says why"
    );
    judge(&Lab::up(LabConfig::default())?, &root, matrix())
}

/// The kernel skips a program's run while that CPU runs the program already. Without
/// the hooks that see an answer, what the socket keeps of it must be enough.
pub(crate) fn a_socket_tells_of_answers_that_no_hook_saw() -> Result<()> {
    const ANSWERS: &str = "tcp_receive_reset,inet_sk_error_report";
    let observer = || {
        let mut command = root();
        command.env(WITHOUT_HOOK, ANSWERS);
        command
    };
    let is_answered =
        |case: &Case| ["refused", "reset", "blocked", "unreachable"].contains(&case.scenario.truth().label);
    judge(&Lab::up(LabConfig::default())?, &observer, matrix().into_iter().filter(is_answered).collect())
}

/// The same for SYNs that never left, of which only some sockets tell.
pub(crate) fn a_socket_tells_of_syns_that_never_left() -> Result<()> {
    let observer = || {
        let mut command = root();
        command.env(WITHOUT_HOOK, "kfree_skb,kfree_skb_classic");
        command
    };
    let is_told = |case: &Case| match case.scenario {
        Scenario::LocalFirewall(_, verdict) => matches!(verdict, Verdict::Reset | Verdict::DropAbandoned),
        _ => matches!(case.scenario.truth().reason, Some("rst" | "abandoned" | "early")),
    };
    judge(&Lab::up(LabConfig::default())?, &observer, matrix().into_iter().filter(is_told).collect())
}

/// Runs the cases that this kernel can run, seen by `observer`, and fails unless
/// all are named rightly.
pub(crate) fn judge(lab: &Lab, observer: &dyn Fn() -> Command, cases: Vec<Case>) -> Result<()> {
    let able = Able::by(observer)?;
    let has_landlock = observer_lab::can_deny_connect();
    let can_run =
        |case: &Case| case.since() <= able.release && (has_landlock || case.scenario != Scenario::SecurityPolicy);
    let mut cases: Vec<Case> = cases.into_iter().filter(can_run).collect();
    if !has_landlock {
        println!(
            "not run: {}, for this kernel has no Landlock that knows of connect()",
            Scenario::SecurityPolicy.name()
        );
    }
    let mut table = Table { cases: cases.len(), ..Table::default() };
    for round in 1..=ROUNDS {
        cases = run_round(lab, &able, &cases, &mut table, round == ROUNDS)?;
        if cases.is_empty() {
            break;
        }
        let (count, blind) = (cases.len(), table.blind.len());
        println!("{count} cases run once more: their events came late, or of {blind} lacked evidence");
        ensure!(blind * FEW <= table.cases.max(FEW), "these lacked evidence: {:?}", table.blind);
        table.blind.clear();
    }
    table.print();
    table.print_json()?;
    ensure!(table.wrong.is_empty(), "{} cases are wrong:\n{}", table.wrong.len(), table.wrong.join("\n"));
    Ok(())
}

/// Runs the cases once. Returns those of which only the time differed, unless
/// this was the last round.
fn run_round(lab: &Lab, able: &Able<'_>, cases: &[Case], table: &mut Table, is_last: bool) -> Result<Vec<Case>> {
    let watcher = Watcher::start_as((able.observer)(), &["--successes"])?;
    let observations = lab.run(cases, port())?;
    watcher.wait_for(cases.iter().filter(|case| able.sees(case)).count(), Duration::from_secs(30))?;
    // Events beyond those expected would come now.
    std::thread::sleep(Duration::from_millis(300));
    let seen = watcher.stop()?;
    let mut by_pid: HashMap<u64, Vec<&Value>> = HashMap::new();
    for event in &seen.events {
        by_pid.entry(number(event, "/process/pid").unwrap_or(0.0) as u64).or_default().push(event);
    }
    let mut late = Vec::new();
    for (case, saw) in cases.iter().zip(&observations) {
        let events = by_pid.remove(&u64::from(saw.pid)).unwrap_or_default();
        if !table.add(case, saw, &events, able, is_last) {
            late.push(*case);
        }
    }
    ensure!(by_pid.is_empty(), "events of no case: {by_pid:?}");
    println!("{}", seen.line("ledger:")?);
    seen.ensure_balanced()?;
    Ok(late)
}

/// What this kernel lets observer see, by `observer doctor`.
pub(crate) struct Able<'a> {
    observer: &'a dyn Fn() -> Command,
    release: (u32, u32),
    connect_function: bool,
    connect_syscall: bool,
    io_uring_complete: bool,
    fast_open: bool,
    tcp_reset: bool,
    icmp_v4: bool,
    icmp_v6: bool,
    syn_drops: bool,
    /// Hooks are left out on purpose. What the others see is all there is then, and the kernel
    /// may skip one of those too: an event cannot say so, as it does not know.
    lacks_hooks: bool,
}

impl Able<'_> {
    pub(crate) fn of_this_kernel() -> Result<Self> {
        Self::by(&root)
    }
}

impl<'a> Able<'a> {
    /// With the privileges of this command, which becomes observer.
    pub(crate) fn by(observer: &'a dyn Fn() -> Command) -> Result<Self> {
        let output = observer().args(["doctor", "--json"]).output()?;
        let report: Value = serde_json::from_slice(&output.stdout)?;
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
        let hooks = report.pointer("/hooks").and_then(Value::as_array).cloned().unwrap_or_default();
        ensure!(!hooks.is_empty(), "doctor names no hooks: {report}");
        let has = |symbol: &str| {
            let mut of_symbol =
                hooks.iter().filter(|hook| text(hook, "/symbol") == symbol || text(hook, "/name") == symbol);
            of_symbol.any(|hook| text(hook, "/status") == "attached")
        };
        let release = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        Ok(Self {
            observer,
            release,
            connect_function: has("__sys_connect_file"),
            connect_syscall: has("sys_enter_connect") && has("sys_exit_connect"),
            io_uring_complete: has("io_uring_complete"),
            fast_open: has("__inet_stream_connect"),
            tcp_reset: has("tcp_reset"),
            // Since then the socket keeps what it was told.
            icmp_v4: has("tcp_v4_err") || release >= (5, 18),
            syn_drops: has("kfree_skb"),
            lacks_hooks: observer().get_envs().any(|(name, _)| name == WITHOUT_HOOK),
            icmp_v6: has("tcp_v6_err"),
        })
    }

    /// Whether a RST's TTL is to be had.
    pub(crate) fn has_rst_ttl(&self) -> bool {
        self.tcp_reset
    }

    /// A connect that fails before SYN-SENT leaves no trace but its return: of the
    /// function, or else of the system call or the completion in an io_uring.
    fn sees(&self, case: &Case) -> bool {
        let sees_return = match case.mode {
            Mode::FastOpen => self.fast_open,
            Mode::IoUring => self.connect_function || self.io_uring_complete,
            Mode::Blocking | Mode::NonBlocking => self.sees_connect_syscalls(),
        };
        // An IPv6 socket bound to ::1 sends its SYN.
        let is_sent = case.scenario == Scenario::BoundToLoopback && case.family == Family::V6;
        !is_before_syn(case) || is_sent || sees_return
    }

    /// What is true of a case, as far as this kernel tells: for an ICMP error it may keep
    /// nothing but the errno, which time exceeded and address unreachable share.
    fn truth(&self, case: &Case) -> Truth {
        let truth = case.scenario.truth();
        let sees_icmp = if case.family.ip() == Ip::V4 { self.icmp_v4 } else { self.icmp_v6 };
        if case.scenario == Scenario::TimeExceeded && !sees_icmp {
            return Truth { reason: Some("icmp-host-unreachable"), ..truth };
        }
        truth
    }

    /// Whether connect() that fails before SYN-SENT is to be seen.
    pub(crate) fn sees_connect_syscalls(&self) -> bool {
        self.connect_function || self.connect_syscall
    }
}

fn is_before_syn(case: &Case) -> bool {
    matches!(
        case.scenario.truth().reason,
        Some("no-route" | "route-prohibited" | "permission-denied" | "security-policy" | "no-source-address")
    )
}

/// What is known of one true outcome: a line of what [`Table::print_json`] writes.
#[derive(Default, Serialize)]
struct Row {
    cases: u32,
    right: u32,
    unseen: u32,
    /// Events that name this evidence as missing.
    missing: BTreeMap<String, u32>,
}

#[derive(Default)]
struct Table {
    cells: BTreeMap<String, BTreeMap<String, u32>>,
    rows: BTreeMap<String, Row>,
    wrong: Vec<String>,
    unseen: Vec<String>,
    /// Those of this round that were wrong and lacked evidence.
    blind: Vec<String>,
    cases: usize,
}

impl Table {
    /// Judges one case. False if only the time differs, or evidence is missing, and there is
    /// another round for it.
    fn add(&mut self, case: &Case, saw: &Observation, events: &[&Value], able: &Able<'_>, is_last: bool) -> bool {
        let truth = able.truth(case);
        let expected = outcome(truth.label, truth.reason.unwrap_or(""));
        let line = self.rows.entry(expected.clone()).or_default();
        let row = self.cells.entry(expected).or_default();
        if events.is_empty() && !able.sees(case) {
            *row.entry("(not visible to this kernel)".to_owned()).or_default() += 1;
            self.unseen.push(case.name());
            (line.cases, line.unseen) = (line.cases + 1, line.unseen + 1);
            return true;
        }
        let [event] = events else {
            *row.entry(format!("({} events)", events.len())).or_default() += 1;
            self.wrong.push(format!("{}: {} events, not 1: {events:?}", case.name(), events.len()));
            line.cases += 1;
            return true;
        };
        let mut wrong = differences(case, &truth, saw, event, able);
        if !wrong.is_empty() && (able.lacks_hooks || missing(event).next().is_some()) && !is_last {
            self.blind.push(case.name());
            return false;
        }
        if let Some(late) = elapsed_difference(saw, event) {
            if wrong.is_empty() && !is_last {
                return false;
            }
            wrong.push(late);
        }
        *row.entry(outcome(text(event, "/label"), text(event, "/reason"))).or_default() += 1;
        line.cases += 1;
        line.right += u32::from(wrong.is_empty());
        for name in missing(event) {
            *line.missing.entry(name.to_owned()).or_default() += 1;
        }
        if !wrong.is_empty() {
            self.wrong.push(format!("{}: {}\n    {event}\n    {saw:?}", case.name(), wrong.join("; ")));
        }
        true
    }

    /// The rows for a program, if it asks for them.
    fn print_json(&self) -> Result<()> {
        if std::env::var_os("OBSERVER_MATRIX_JSON").is_some() {
            println!("matrix: {}", serde_json::to_string(&self.rows)?);
        }
        Ok(())
    }

    fn print(&self) {
        println!("\n{:<42} seen as", "truth");
        for (truth, row) in &self.cells {
            for (seen, count) in row {
                let mark = if truth == seen { "" } else { "   <--" };
                println!("{truth:<42} {seen:<42} {count:>4}{mark}");
            }
        }
        let right = self.cases - self.wrong.len() - self.unseen.len();
        println!(
            "{right} of {} cases right, {} wrong, {} not visible to this kernel",
            self.cases,
            self.wrong.len(),
            self.unseen.len()
        );
        for name in &self.unseen {
            println!("    not visible: {name} (no hook is attached to the return of its connect)");
        }
    }
}

fn outcome(label: &str, reason: &str) -> String {
    format!("{label} {reason}").trim_end().to_owned()
}

/// Everything in which an event differs from the truth.
pub(crate) fn differences(
    case: &Case,
    truth: &Truth,
    saw: &Observation,
    event: &Value,
    able: &Able<'_>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut check = |what: &str, got: String, expected: String| {
        if got != expected {
            wrong.push(format!("{what} {got}, not {expected}"));
        }
    };
    check("label", text(event, "/label").into(), truth.label.into());
    check("reason", text(event, "/reason").into(), truth.reason.unwrap_or("").into());
    if let Some(active) = truth.active_refusal {
        check(
            "active_refusal",
            format!("{:?}", event.pointer("/active_refusal")),
            format!("{:?}", Some(&Value::Bool(active))),
        );
    }
    check("comm", text(event, "/process/comm").into(), saw.comm.clone());
    check("uid", format!("{:?}", number(event, "/process/uid")), format!("{:?}", Some(f64::from(saw.uid))));
    check("destination", text(event, "/dst/ip").into(), saw.dst_ip.to_string());
    check(
        "destination port",
        format!("{:?}", number(event, "/dst/port")),
        format!("{:?}", Some(f64::from(saw.dst_port))),
    );
    if let Some(ip) = saw.src_ip.filter(|ip| !ip.is_unspecified() && !is_before_syn(case)) {
        check("source", text(event, "/src/ip").into(), ip.to_string());
    }
    if let Some(port) = saw.src_port.filter(|&port| port != 0) {
        check("source port", format!("{:?}", number(event, "/src/port")), format!("{:?}", Some(f64::from(port))));
    }
    if let Some(retransmits) = saw.retransmits.filter(|_| event.pointer("/handshake_ms").is_none()) {
        check(
            "retransmits",
            format!("{:?}", number(event, "/syn_retransmits")),
            format!("{:?}", Some(f64::from(retransmits))),
        );
    }
    let origin = text(event, "/origin");
    let origins: &[&str] = if truth.origins.is_empty() { &[""] } else { truth.origins };
    // Whose RST it is that comes at once no kernel tells where no hook sees it as a packet.
    let is_known = able.icmp_v6 && (able.tcp_reset || case.scenario != Scenario::RedirectedRefused);
    if !origins.contains(&origin) || (origin == "unknown" && is_known) {
        wrong.push(format!("origin {origin}, not one of {origins:?}"));
    }
    wrong.extend(evidence_differences(case, truth, event, able));
    wrong
}

/// What an attached hook gives must be there, and what is not there must be
/// named as missing.
fn evidence_differences(case: &Case, truth: &Truth, event: &Value, able: &Able<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    let has = |name: &str| number(event, &format!("/evidence/{name}"));
    let is_named = |name: &str| missing(event).any(|missing| missing == name);
    if truth.reason == Some("rst") {
        // All of the lab starts with 64, and no way in it has more hops than two.
        let ttl = has("rst_ttl");
        if able.tcp_reset != ttl.is_some_and(|ttl| (62.0..=64.0).contains(&ttl)) || ttl.is_none() != is_named("rst_ttl")
        {
            wrong.push(format!("rst_ttl {ttl:?}, with tcp_reset attached: {}", able.tcp_reset));
        }
    }
    if let Scenario::Icmp(kind, _) = case.scenario {
        let (kind, code) = kind.icmp();
        let is_able = if case.family.ip() == Ip::V4 { able.icmp_v4 } else { able.icmp_v6 };
        let is_right = has("icmp_type") == Some(f64::from(kind)) && has("icmp_code") == Some(f64::from(code));
        let is_told = is_right && !text(event, "/evidence/icmp_from").is_empty();
        if is_able != is_told || is_told == is_named("icmp_from") {
            wrong.push(format!("not ICMP {kind}/{code} with its sender, which this kernel shows: {is_able}"));
        }
    }
    wrong.extend(session_differences(case, event, able));
    if truth.label == "timeout" && truth.reason != Some("stalled") && able.syn_drops == is_named("syn_drops") {
        wrong.push("syn_drops is missing where kfree_skb is attached, or the other way round".to_owned());
    }
    wrong
}

/// The same of answers that this host dropped or gave itself, of what a peer did not
/// acknowledge, and of ICMP errors that are no unreachables.
fn session_differences(case: &Case, event: &Value, able: &Able<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut expect = |name: &str, is_expected: bool| {
        let value = event.pointer(&format!("/evidence/{name}"));
        if value.is_some() != is_expected {
            wrong.push(format!("{name} {value:?}, expected: {is_expected}"));
        }
    };
    let is_stalled = matches!(case.scenario, Scenario::Stalled | Scenario::StalledAbandoned);
    expect("unacked_bytes", is_stalled);
    expect("answer_drops", case.scenario == Scenario::AnswerDropped && able.syn_drops);
    let is_redirected = match case.scenario {
        Scenario::RedirectedReset => true,
        Scenario::RedirectedRefused => able.tcp_reset && able.syn_drops,
        _ => false,
    };
    expect("redirected", is_redirected);
    if case.scenario == Scenario::TimeExceeded {
        let is_missing = missing(event).any(|name| name == "icmp_type");
        let sees_icmp = if case.family.ip() == Ip::V4 { able.icmp_v4 } else { able.icmp_v6 };
        expect("icmp_type", sees_icmp);
        if is_missing == sees_icmp {
            wrong.push(format!("icmp_type named as missing: {is_missing}"));
        }
    }
    wrong
}

/// Evidence that an event names as missing.
fn missing(event: &Value) -> impl Iterator<Item = &str> {
    event.pointer("/evidence/missing").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// Within 5 ms or 5 %.
fn elapsed_difference(saw: &Observation, event: &Value) -> Option<String> {
    let client = saw.elapsed_ns as f64 / 1e6;
    let observer = number(event, "/elapsed_ms").unwrap_or(f64::NAN);
    let is_near = (observer - client).abs() <= f64::max(5.0, client * 0.05);
    (!is_near).then(|| format!("elapsed {observer} ms, the client saw {client:.3} ms"))
}
