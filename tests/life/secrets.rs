//! Secrets of sinks.

use std::process::Command;

use anyhow::{Result, ensure};
use observer_lab::LifeTrial;

use crate::daemon::Place;

pub(crate) const TRIALS: &[LifeTrial] = &[LifeTrial {
    promise: "a token crosses a network unencrypted only where the configuration allows it",
    name: "life_plain_token",
    trial: a_token_leaves_this_host_unencrypted_only_where_that_is_allowed,
}];

fn a_token_leaves_this_host_unencrypted_only_where_that_is_allowed() -> Result<()> {
    let place = Place::new()?;
    place.keep_secret("token", "secret")?;
    let check = |url: &str, rest: &str| -> Result<(bool, String)> {
        let token = place.path("token");
        place.configure(&format!(
            "[sink.x]\ntype = 'splunk-hec'\nurl = '{url}'\ntoken_file = '{}'\n{rest}",
            token.display()
        ))?;
        let mut observer = Command::new(env!("CARGO_BIN_EXE_observer"));
        let output = observer.args(["config", "check", "--config"]).arg(place.path("observer.toml")).output()?;
        Ok((output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
    };
    for (url, rest, is_right) in [
        ("http://192.0.2.1:8088/services/collector/event", "", false),
        ("http://192.0.2.1:8088/services/collector/event", "allow_plain_token = true", true),
        ("https://192.0.2.1:8088/services/collector/event", "", true),
        ("http://127.0.0.1:8088/services/collector/event", "", true),
    ] {
        let (is_taken, said) = check(url, rest)?;
        ensure!(is_taken == is_right, "{url} {rest}: {said}");
        ensure!(is_right || said.contains("allow_plain_token = true"), "{url}: no remedy: {said}");
    }
    // Nor is it sent by one that does not ask before.
    check("http://192.0.2.1:8088/services/collector/event", "")?;
    let mut observer = Command::new(env!("CARGO_BIN_EXE_observer"));
    let output = observer.args(["run", "--config"]).arg(place.path("observer.toml")).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success() && said.contains("unencrypted"), "{said}");
    Ok(())
}
