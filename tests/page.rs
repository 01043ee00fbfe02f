//! The report's page in a browser: headless Chromium, which `./x setup` installs.

#![expect(clippy::unwrap_used, reason = "what goes wrong here fails the test")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use observer::store::history::{Entry, Recorder, Retention};
use observer_core::event::{Endpoint, Evidence, Process};
use observer_core::label::{Label, Origin, Reason};
use serde_json::Value;

const START: &str = "2026-11-23T16:00:00Z";

/// Every label, both families, two sources and none, and a process whose name is a
/// trap.
fn entry(number: u64) -> Entry {
    let start: Timestamp = START.parse().unwrap();
    let label = Label::ALL[(number % 9) as usize];
    let host = (number % 9) as u8 + 1;
    let is_v6 = number.is_multiple_of(2);
    let ip = if is_v6 { format!("2001:db8:25:1234:5678:9abc:def0:{host}") } else { format!("203.0.113.{host}") };
    let reason = |reason: &str| serde_json::from_value::<Reason>(reason.into()).unwrap();
    Entry {
        id: format!("mx1-6f0c2d9e-{number:x}.0"),
        time: start + SignedDuration::from_secs(i64::try_from(number).unwrap() * 7),
        label,
        reason: (label != Label::Connected)
            .then(|| reason(if label == Label::Refused { "rst" } else { "before-banner" })),
        origin: (label != Label::Connected).then_some(Origin::Remote),
        active_refusal: None,
        errno: None,
        src: Endpoint {
            ip: [Some("192.0.2.10"), Some("2001:db8::10"), None][(number % 3) as usize].map(|ip| ip.parse().unwrap()),
            port: None,
        },
        dst: Endpoint { ip: Some(ip.parse().unwrap()), port: Some(25) },
        elapsed: Some(Duration::from_micros(700 + number * number)),
        handshake: None,
        syn_retransmits: 0,
        process: Some(Process { pid: 1, uid: 89, comm: "<img src=x>\u{1b}[2J".to_owned(), cgroup: None, netns: 1 }),
        evidence: Evidence::default(),
    }
}

fn page(directory: &Path) -> String {
    let history = directory.join("history.sqlite");
    let entries: Vec<Entry> = (0..500).map(entry).collect();
    let retention = Retention { age: Duration::from_hours(24 * 36_500), ..Retention::default() };
    let mut recorder = Recorder::open(&history, retention, entries[499].time).unwrap();
    recorder.record(&entries, &[]).unwrap();
    drop(recorder);
    let report = Command::new(env!("CARGO_BIN_EXE_observer"))
        .args([
            "report",
            "--since",
            "2026-11-23T16:00:00Z",
            "--until",
            "2026-11-23T17:00:00Z",
            "-f",
            "html",
            "--history",
        ])
        .arg(&history)
        .env("TZ", "UTC")
        .output()
        .unwrap();
    assert!(report.status.success(), "{}", String::from_utf8_lossy(&report.stderr));
    String::from_utf8(report.stdout).unwrap()
}

/// Opens a page; returns the document as it is then, and what the browser's console
/// says.
fn open(directory: &Path, page: &str, options: &[&str]) -> (String, Vec<String>) {
    let file = directory.join("page.html");
    std::fs::write(&file, page).unwrap();
    let user = tempfile::tempdir().unwrap();
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"])
        .args(["--disable-background-networking", "--disable-component-update", "--enable-logging=stderr", "--v=0"])
        .arg(format!("--user-data-dir={}", user.path().display()))
        .args(options)
        .arg("--dump-dom")
        .arg(format!("file://{}", file.display()))
        .output()
        .expect("chromium, which ./x setup installs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let console = said.lines().filter(|line| line.contains(":CONSOLE")).map(str::to_owned).collect();
    (String::from_utf8_lossy(&output.stdout).into_owned(), console)
}

fn findings(document: &str) -> Value {
    let (_, rest) = document.rsplit_once("FOUND{").expect("the script did not run");
    let (found, _) = rest.split_once("DNUOF").unwrap();
    serde_json::from_str(&format!("{{{found}")).unwrap()
}

#[test]
fn the_page_is_in_order_light_and_dark_wide_and_narrow() {
    let directory = tempfile::tempdir().unwrap();
    let page = page(directory.path());
    assert!(page.contains("@media print") && !page.contains("<script"), "{page}");
    let (_, console) = open(directory.path(), &page, &["--window-size=1280,9000"]);
    assert!(console.is_empty(), "{console:?}");
    let script = include_str!("page/look.js");
    // The page forbids all that it does not have itself.
    assert!(page.contains("default-src 'none'"), "{page}");
    let looked_at = page.replacen("default-src 'none'", "default-src 'none'; script-src 'unsafe-inline'", 1);
    let looked_at = looked_at.replacen("</body>", &format!("<script>{script}</script></body>"), 1);
    for (width, is_dark) in [(1280, false), (1280, true), (500, false), (500, true)] {
        let size = format!("--window-size={width},12000");
        let dark: &[&str] = if is_dark { &["--force-dark-mode"] } else { &[] };
        let (document, console) = open(directory.path(), &looked_at, &[&[size.as_str()], dark].concat());
        assert!(console.is_empty(), "{console:?}");
        let found = findings(&document);
        assert_eq!(found["dark"], is_dark, "{found}");
        assert_eq!(found["problems"], serde_json::json!([]), "at {width} pixels, dark: {is_dark}");
        assert!(found["plots"].as_u64() >= Some(4) && found["tables"].as_u64() >= Some(4), "{found}");
    }
}

/// The look finds what is wrong: or the test above could not fail.
#[test]
fn a_page_that_is_not_in_order_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let script = include_str!("page/look.js");
    let page = format!(
        "<!DOCTYPE html><html><body><h1>a</h1><h3>b</h3><p style='color:#aaa;background:#fff'>pale</p><table><tr><td>1</td></tr></table>\
         <div style='width:3000px'>wide</div><img src='data:,'><svg></svg><script>{script}</script></body></html>"
    );
    let (document, _) = open(directory.path(), &page, &["--window-size=1280,2000"]);
    let found = findings(&document).to_string();
    for problem in
        ["contrast 2.32 of pale", "no title", "no headers", "alt text", "leave out a level", "no language", "wider"]
    {
        assert!(found.contains(problem), "{problem}: {found}");
    }
}
