//! What `observer diagnose --probe` does beside `observer run`.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use observer_lab::{Case, Family, Ip, Lab, LabConfig, LifeTrial, Mode, Scenario, destination, port};
use serde_json::Value;

use crate::daemon::{Daemon, Place, wait};

pub(crate) const TRIALS: &[LifeTrial] = &[LifeTrial {
    promise: "probes of a diagnosis are nobody's attempts, in any network or process namespace",
    name: "life_own_probes",
    trial: probes_are_not_recorded,
}];

fn of_observer(events: &[Value]) -> usize {
    events.iter().filter(|event| event.pointer("/process/comm").and_then(Value::as_str) == Some("observer")).count()
}

/// What a diagnosis with probes says, from the client's network namespace.
fn diagnosis(lab: &Lab, place: &Place, before: &[&str], socket: &str) -> Result<String> {
    let to = destination(Scenario::ClosedPort, Ip::V4).to_string();
    let mut command = Command::new("unshare");
    command.args(before).args(["ip", "netns", "exec", lab.client().name(), env!("CARGO_BIN_EXE_observer")]);
    command
        .args(["diagnose", &to, "--port", &port().to_string(), "--probe", "--force", "--json", "--history"])
        .arg(place.path("history.sqlite"));
    let output = command.arg("--socket").arg(socket).output()?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_str(&text)?;
    ensure!(text.contains("connect_ms"), "no probe: {found:#}");
    Ok(text)
}

/// Whoever may not use the socket hides nothing.
fn ensure_for_members_alone(socket: &str) -> Result<()> {
    let connected = std::thread::scope(|scope| {
        let nobody = scope.spawn(|| {
            let (user, group) = (rustix::process::Uid::from_raw(65_534), rustix::process::Gid::from_raw(65_534));
            rustix::thread::set_thread_groups(&[])?;
            rustix::thread::set_thread_res_gid(group, group, group)?;
            rustix::thread::set_thread_res_uid(user, user, user)?;
            Ok::<_, rustix::io::Errno>(UnixStream::connect(socket).map_err(|error| error.kind()))
        });
        nobody.join()
    });
    let connected = connected.map_err(|_| anyhow::anyhow!("the thread panicked"))??;
    ensure!(connected.is_err_and(|kind| kind == ErrorKind::PermissionDenied), "nobody may use {socket}");
    Ok(())
}

fn probes_are_not_recorded() -> Result<()> {
    let lab = Lab::up(LabConfig::default())?;
    let place = Place::new()?;
    let directory = place.directory().display().to_string();
    let socket = format!("{directory}/observer.sock");
    let port = port();
    let text = format!(
        "[watch]\nports = [{port}]\n[history]\npath = '{directory}/history.sqlite'\n[socket]\npath = '{socket}'\ngroup = '0'\n\
         [spool]\ndirectory = '{directory}/spool'\n[sink.reference]\ntype = 'file'\n\
         path = '{directory}/reference.json'\nsend = ['failures', 'successes', 'alerts', 'minutes']\n"
    );
    std::fs::write(place.path("observer.toml"), text)?;
    let daemon = Daemon::start(&place)?;
    for namespaces in [&["--mount"][..], &["--mount", "--pid", "--fork", "--mount-proc"]] {
        let said = diagnosis(&lab, &place, namespaces, &socket)?;
        ensure!(!said.contains("records these probes"), "{said}");
        daemon.wait_for("has probed: ", Duration::from_secs(10))?;
    }
    ensure_for_members_alone(&socket)?;
    // Others are, also by a process of the same name, once and while it is announced.
    let case = Case { scenario: Scenario::ClosedPort, family: Family::V4, mode: Mode::NonBlocking };
    lab.run(&[case; 3], port)?;
    lab.client().inside(|| {
        rustix::thread::set_name(c"observer").context("PR_SET_NAME")?;
        let to = (destination(Scenario::ClosedPort, Ip::V4), port);
        ensure!(TcpStream::connect(to).is_err(), "something listens");
        Ok(())
    })?;
    let events = || place.json("reference.json");
    let are_there = || Ok(events()?.iter().filter(|event| event["schema"] == "observer.event.v1").count() >= 4);
    wait(Duration::from_secs(20), are_there).context("no events")?;
    let said = daemon.end()?;
    let all: Vec<Value> = events()?.into_iter().filter(|event| event["schema"] == "observer.event.v1").collect();
    ensure!((all.len(), of_observer(&all)) == (4, 1), "{all:#?}");
    let minutes = events()?.iter().filter_map(|event| event["count"].as_u64()).sum::<u64>();
    ensure!(minutes == 4, "{minutes} attempts in the minutes");
    ensure!(said.contains("connections of observer's own"), "{said}");
    let history = rusqlite::Connection::open(place.path("history.sqlite"))?;
    let rows: i64 = history.query_row("SELECT count(*) FROM attempt", (), |row| row.get(0))?;
    ensure!(rows == 4, "{rows} attempts in history");
    Ok(())
}
