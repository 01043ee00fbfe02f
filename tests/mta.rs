//! Real mail servers, and what observer makes of their logs: needs root, and Debian's
//! packages unpacked in `.cache/mta`, which `./x setup` does.
//!
//! - `postfix`, `exim`, `opensmtpd`: a thousand messages, to hosts that refuse, drop,
//!   reject by ICMP, reset or close before the banner, stay silent, work, or have no
//!   route, alone and one after the other. Each attempt that belongs to a message has
//!   to be found, and none may be given to another; `observer run` has to tell the same
//!   while it runs.
//! - `exim_fastopen`, `postfix_soft_bounce`, `postfix_bound_to_loopback`, `postfix_tls_required`,
//!   `postfix_probes`: the same with a few messages and a server that is set up so, among them to hosts that reject.
//! - `exchangers`: domains whose mail goes to the wrong place or to none, by DNS.
//!
//! Truth is the address: each message has hosts of its own. The servers run in the
//! lab's namespaces, with a file system that has their packages laid over the host's.

#[path = "mta/compare.rs"]
mod compare;
#[path = "mta/exchangers.rs"]
mod exchangers;
#[path = "mta/observer.rs"]
mod observer;
#[path = "mta/opensmtpd.rs"]
mod opensmtpd;
#[path = "mta/post.rs"]
mod post;
#[path = "privileged.rs"]
mod privileged;
#[path = "mta/server.rs"]
mod server;
#[path = "mta/world.rs"]
mod world;

use std::process::ExitCode;

use libtest_mimic::Trial;

use crate::server::{Server, Setting};

const POSTFIX: Setting =
    Setting { server: Server::Postfix, lines: "soft_bounce = yes", logs: "status=SOFTBOUNCE", verifies: false };

fn main() -> ExitCode {
    let args = match privileged::begin("mail servers' tests") {
        Ok(args) => args,
        Err(code) => return code,
    };
    let trials = vec![
        Trial::test("exchangers", || run(exchangers::wrong_exchangers_are_named)),
        Trial::test("postfix", || run(|| compare::trial(Server::Postfix))),
        Trial::test("exim", || run(|| compare::trial(Server::Exim))),
        of("exim_fastopen", Setting { server: Server::Exim, lines: "", logs: "", verifies: false }),
        of("postfix_soft_bounce", POSTFIX),
        of(
            "postfix_bound_to_loopback",
            Setting { lines: "smtp_bind_address = 127.0.0.1", logs: "Invalid argument", ..POSTFIX },
        ),
        of(
            "postfix_tls_required",
            Setting { lines: "smtp_tls_security_level = encrypt", logs: "TLS is required", ..POSTFIX },
        ),
        of("postfix_probes", Setting { lines: "", logs: "status=deliverable", verifies: true, ..POSTFIX }),
        Trial::test("opensmtpd", || run(|| compare::trial(Server::OpenSmtpd))),
    ];
    privileged::run(&args, trials).exit_code()
}

/// A trial of a server that is set up otherwise, and whose log has to say so.
fn of(name: &str, setting: Setting) -> Trial {
    Trial::test(name, move || run(|| compare::trial_of(setting)))
}

fn run(trial: impl FnOnce() -> anyhow::Result<()>) -> Result<(), libtest_mimic::Failed> {
    trial().map_err(|error| format!("{error:?}").into())
}
