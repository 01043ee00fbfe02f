//! Real mail servers, and what observer makes of their logs: needs root, and Debian's
//! packages unpacked in `.cache/mta`, which `./x setup` does.
//!
//! - `postfix`, `exim`, `opensmtpd`: a thousand messages, to hosts that refuse, drop,
//!   reject by ICMP, reset or close before the banner, stay silent, work, or have no
//!   route, alone and one after the other. Each attempt that belongs to a message has
//!   to be found, and none may be given to another; `observer run` has to tell the same
//!   while it runs.
//! - those of tests/mta/unusual.rs: the same with a few messages and a server that is set up otherwise.
//! - `exchangers`: domains whose mail goes to the wrong place or to none, by DNS.
//!
//! Truth is the address: each message has hosts of its own. The servers run in the
//! lab's namespaces, with a file system that has their packages laid over the host's.

#[path = "mta/client.rs"]
mod client;
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
#[path = "mta/starttls.rs"]
mod starttls;
#[path = "mta/unusual.rs"]
mod unusual;
#[path = "mta/world.rs"]
mod world;

use std::process::ExitCode;

use libtest_mimic::Trial;

use crate::server::Server;

fn main() -> ExitCode {
    let args = match privileged::begin("mail servers' tests") {
        Ok(args) => args,
        Err(code) => return code,
    };
    let mut trials = vec![
        Trial::test("exchangers", || run(exchangers::wrong_exchangers_are_named)),
        Trial::test("postfix", || run(|| compare::trial(Server::Postfix))),
        Trial::test("exim", || run(|| compare::trial(Server::Exim))),
        Trial::test("opensmtpd", || run(|| compare::trial(Server::OpenSmtpd))),
    ];
    trials.extend(unusual::trials());
    privileged::run(&args, trials).exit_code()
}

fn run(trial: impl FnOnce() -> anyhow::Result<()>) -> Result<(), libtest_mimic::Failed> {
    trial().map_err(|error| format!("{error:?}").into())
}
