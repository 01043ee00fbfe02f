//! `observer doctor`.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{Failure, configuration, mta_log, print};
use crate::cli::DoctorArgs;
use crate::config;
use crate::follow::{Follower, From, Place};
use crate::kernel::{Session, Settings, environment};
use crate::ui::doctor::{self, MailLog};

/// So much of the end of a mail server's log is looked at.
const LOOKED_AT: u64 = 256 << 10;
/// journalctl has read its part within this time.
const JOURNAL_READ_WITHIN: Duration = Duration::from_secs(3);

pub(super) fn run(args: &DoctorArgs) -> Result<(), Failure> {
    let attached = Session::attach(&settings(args)).map(|(session, _)| session);
    let environment = environment();
    let reports = attached.as_ref().map(Session::reports).unwrap_or_default();
    let config = configuration::load_to_read(args.config.as_deref())?;
    let mail = config.mta.as_ref().map(mail_log);
    let text = if args.json {
        doctor::json(&environment, reports, mail.as_ref())
    } else {
        doctor::text(&environment, reports) + &mail.as_ref().map(doctor::mail_log).unwrap_or_default()
    };
    print(text.as_bytes())?;
    attached.map(drop).map_err(Failure::from)
}

/// As small as can be: the hooks are taken off again at once.
fn settings(args: &DoctorArgs) -> Settings {
    Settings {
        ports: vec![25],
        successes: false,
        syscall_hooks: !args.no_syscall_hooks,
        without: args.without_hook.clone(),
        max_in_flight: 64,
        max_destinations: 64,
        ring_bytes: 64 << 10,
        log: false,
        watch_self: false,
    }
}

/// What is understood of the end of the mail server's log.
fn mail_log(config: &config::MtaLog) -> MailLog {
    let mut found = MailLog { log: mta_log::named(config.kind, &config.log), ..MailLog::default() };
    match read_end(config) {
        Ok(follower) => {
            let counts = follower.counts();
            (found.lines, found.understood, found.deliveries) = (counts.lines, counts.understood, counts.deliveries);
            found.first = follower.not_understood().map(|(_, first)| match mta_log::domain_key(config) {
                Ok(None) => first.to_owned(),
                Ok(Some(key)) => key.hide_line(first),
                Err(_) => "(not shown: the key that hides its names cannot be read)".to_owned(),
            });
        }
        Err(error) => found.trouble = Some(error.to_string()),
    }
    found
}

fn read_end(config: &config::MtaLog) -> io::Result<Follower> {
    let mut follower = Follower::open(config.kind, &config.log, From::Back(LOOKED_AT))?;
    let begun = Instant::now();
    // A file is read to its end; one that grows all the time not further than what is allowed for the journal.
    while begun.elapsed() < JOURNAL_READ_WITHIN {
        let is_more = follower.poll(Timestamp::now(), drop)?;
        let is_waiting = config.log == Place::Journal && follower.counts().lines == 0;
        if !is_more && !is_waiting {
            break;
        }
        if !is_more {
            thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(follower)
}
