//! What somebody does who does not know observer yet: wrong paths, and any signal.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use observer_lab::LifeTrial;
use rustix::process::{Pid, Signal, kill_process};

use crate::daemon::{Daemon, Place, free_port, mortal};
use crate::watcher::OBSERVER;

pub(crate) const TRIALS: &[LifeTrial] = &[
    LifeTrial {
        promise: "no file is removed for a socket, and check and run say the same",
        name: "life_occupied",
        trial: no_file_is_removed_for_a_socket,
    },
    LifeTrial {
        promise: "SIGUSR1 and SIGUSR2 end nothing; watch sums up on SIGHUP, but for nohup",
        name: "life_signals",
        trial: signals_end_in_order_or_nothing,
    },
];

const SOON: Duration = Duration::from_secs(30);

fn observer(place: &Place, args: &[&str]) -> Result<(bool, String)> {
    let output = mortal(Command::new(OBSERVER)).args(args).arg("--config").arg(place.path("observer.toml")).output()?;
    Ok((output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

fn no_file_is_removed_for_a_socket() -> Result<()> {
    let place = Place::new()?;
    let directory = place.directory().display();
    let precious = place.path("precious");
    std::fs::write(&precious, "precious")?;
    let configure = |rest: &str| {
        let text =
            format!("[watch]\nports = [{}]\n[history]\npath = '{directory}/h.sqlite'\n{rest}", observer_lab::port());
        std::fs::write(place.path("observer.toml"), text)
    };
    for rest in [
        format!("[socket]\npath = '{directory}/precious'\ngroup = '0'\n"),
        format!("[socket]\nenabled = false\n[metrics]\nlisten = 'unix:{directory}/precious'\n"),
        format!("[socket]\npath = '{directory}/x/../h.sqlite'\ngroup = '0'\n"),
    ] {
        configure(&rest)?;
        for command in [&["config", "check"][..], &["run"]] {
            let (is_taken, said) = observer(&place, command)?;
            ensure!(!is_taken, "{command:?} took it:\n{rest}");
            ensure!(said.contains("observer.toml:") && said.contains(&format!("{directory}")), "{said}");
            ensure!(said.contains("name another path") || said.contains("give each a path of its own"), "{said}");
        }
        ensure!(std::fs::read_to_string(&precious)? == "precious", "{rest}");
    }
    // Its own configuration is in order while it is up, and is not taken twice.
    let port = free_port()?;
    configure(&format!("[socket]\npath = '{directory}/s'\ngroup = '0'\n[metrics]\nlisten = '127.0.0.1:{port}'\n"))?;
    let daemon = Daemon::start(&place)?;
    let (is_taken, said) = observer(&place, &["config", "check"])?;
    ensure!(is_taken && said.is_empty(), "{said}");
    let (is_taken, said) = observer(&place, &["run"])?;
    ensure!(!is_taken && said.contains("in use by another process"), "{said}");
    daemon.end()?;
    ensure!(!place.path("s").exists(), "its socket is left");
    Ok(())
}

fn signals_end_in_order_or_nothing() -> Result<()> {
    let place = Place::new()?;
    let directory = place.directory().display();
    let text = format!(
        "[watch]\nports = [{}]\n[history]\nenabled = false\n[socket]\npath = '{directory}/s'\ngroup = '0'\n",
        observer_lab::port()
    );
    std::fs::write(place.path("observer.toml"), text)?;
    let daemon = Daemon::start(&place)?;
    daemon.signal(Signal::USR1)?;
    daemon.signal(Signal::USR2)?;
    // What it does next shows that it goes on.
    daemon.signal(Signal::HUP)?;
    daemon.wait_for("configuration loaded again", SOON)?;
    let config = place.path("observer.toml");
    for (program, args, lasts, is_ended) in [(OBSERVER, &[][..], 300, true), ("nohup", &[OBSERVER][..], 6, false)] {
        let begun = Instant::now();
        let mut watch = mortal(Command::new(program))
            .args(args)
            .args(["watch", "--config"])
            .arg(&config)
            .args(["--duration", &format!("{lasts}s")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut stderr = BufReader::new(watch.stderr.take().context("no stderr")?);
        let mut said = String::new();
        while !said.contains("watching outbound") {
            ensure!(stderr.read_line(&mut said)? > 0, "{program}: {said}");
        }
        for signal in [Signal::USR1, Signal::USR2, Signal::HUP] {
            kill_process(Pid::from_child(&watch), signal)?;
        }
        stderr.read_to_string(&mut said)?;
        let status = watch.wait()?;
        ensure!(status.success() && said.contains(": balances"), "{program}: {status}: {said}");
        // The daemon of the configuration, and no second set of hooks.
        ensure!(said.contains("as observer run sees them"), "{program}: {said}");
        ensure!((begun.elapsed() < Duration::from_secs(lasts)) == is_ended, "{program}: after {:?}", begun.elapsed());
    }
    daemon.end().map(drop)
}
