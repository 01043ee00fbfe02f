//! Runs this host's tools: with limits, without a shell.

use std::io::{self, Read as _};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Longest output that is looked at, in bytes: sets of a firewall may be long.
const BYTES: u64 = 64 << 20;
/// A tool that takes longer has failed.
const WITHIN: Duration = Duration::from_secs(1);
/// Where administrators' tools are, which a user's PATH may lack.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// What a tool writes to stdout.
///
/// # Errors
/// If it cannot be started, takes too long, or fails; then the first line that it said.
pub(crate) fn run(program: &str, arguments: &[&str]) -> io::Result<String> {
    run_within(WITHIN, program, arguments)
}

/// [`run`], with a deadline of its own.
///
/// # Errors
/// As [`run`], and if it writes more than is looked at.
pub(crate) fn run_within(within: Duration, program: &str, arguments: &[&str]) -> io::Result<String> {
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs([("PATH", PATH), ("LC_ALL", "C")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let reader = |pipe: Option<Box<dyn io::Read + Send>>| {
        thread::spawn(move || {
            let mut text = Vec::new();
            pipe.map_or(Ok(0), |pipe| pipe.take(BYTES).read_to_end(&mut text)).map(|_| text)
        })
    };
    let stdout = reader(child.stdout.take().map(|pipe| Box::new(pipe) as _));
    let stderr = reader(child.stderr.take().map(|pipe| Box::new(pipe) as _));
    let deadline = Instant::now() + within;
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if Instant::now() > deadline => {
                child.kill()?;
                child.wait()?;
                let text =
                    format!("it did not end within {} s, or wrote more than {} MiB", within.as_secs_f32(), BYTES >> 20);
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            None => thread::sleep(Duration::from_millis(2)),
        }
    };
    let read = |thread: thread::JoinHandle<io::Result<Vec<u8>>>| {
        let text = thread.join().unwrap_or_else(|_| Err(io::Error::other("reading its output failed")))?;
        Ok::<_, io::Error>(String::from_utf8_lossy(&text).into_owned())
    };
    let (stdout, stderr) = (read(stdout)?, read(stderr)?);
    if stdout.len() as u64 >= BYTES {
        return Err(io::Error::other(format!("it wrote more than {} MiB", BYTES >> 20)));
    }
    if !status.success() {
        return Err(io::Error::other(stderr.lines().next().unwrap_or("it failed without a word").to_owned()));
    }
    Ok(stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_tool_is_waited_for_and_one_that_does_not_end_is_said() {
        let slow = ["-c", "sleep 1.2; echo listed"];
        assert_eq!(run_within(Duration::from_secs(60), "sh", &slow).ok().as_deref(), Some("listed\n"));
        let error = run_within(Duration::from_millis(50), "sleep", &["60"]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(error.to_string().starts_with("it did not end within"), "{error}");
    }
}
