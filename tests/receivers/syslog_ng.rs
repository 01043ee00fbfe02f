//! syslog-ng, with a configuration of the test's own.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::daemon::{Place, mortal, wait};
use crate::receiver::{Received, Receiver, written};
use crate::rsyslog::Output;
use crate::unpacked;

/// How messages reach it.
#[derive(Clone, Copy)]
pub(crate) enum Input {
    /// A unix stream socket `NAME.sock`.
    UnixStream,
    /// With octet counting.
    Tcp(u16),
    /// With a certificate `server.pem`, for clients with one of `ca.pem`.
    Tls(u16),
}

/// One input, and a file `NAME.out`.
pub(crate) struct SyslogNg {
    child: Child,
    directory: PathBuf,
    name: String,
    input: Input,
}

impl SyslogNg {
    pub(crate) fn start(place: &Place, name: &str, input: Input, output: Output) -> Result<Self> {
        let directory = place.directory();
        std::fs::write(place.path(&format!("{name}.conf")), text(directory, name, input, output))?;
        let child = spawn(directory, name)?;
        let syslog_ng = Self { child, directory: directory.to_owned(), name: name.to_owned(), input };
        syslog_ng.wait()?;
        Ok(syslog_ng)
    }

    fn wait(&self) -> Result<()> {
        let socket = self.directory.join(format!("{}.sock", self.name));
        let is_up = || {
            Ok(match self.input {
                Input::UnixStream => std::os::unix::net::UnixStream::connect(&socket).is_ok(),
                Input::Tcp(port) | Input::Tls(port) => TcpStream::connect(("127.0.0.1", port)).is_ok(),
            })
        };
        let said = || std::fs::read_to_string(self.directory.join(format!("{}.log", self.name))).unwrap_or_default();
        wait(Duration::from_secs(30), is_up).with_context(|| format!("syslog-ng does not listen: {}", said()))
    }
}

impl Receiver for SyslogNg {
    fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn restart(&mut self) -> Result<()> {
        self.child = spawn(&self.directory, &self.name)?;
        self.wait()
    }

    fn events(&self, place: &Place) -> Result<Vec<Received>> {
        written(place, &self.name)
    }
}

impl Drop for SyslogNg {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// All its files are in the directory, and what it says in `NAME.log`.
fn spawn(directory: &Path, name: &str) -> Result<Child> {
    let file = |ending: &str| directory.join(format!("{name}.{ending}"));
    let mut command = mortal(unpacked::program("syslog-ng", "syslog-ng")?);
    command.args(["--foreground", "--no-caps", "--stderr"]);
    command.arg("--module-path").arg(unpacked::directories_with("syslog-ng", "libsyslogformat.so")?);
    for (option, ending) in
        [("--cfgfile", "conf"), ("--persist-file", "persist"), ("--control", "ctl"), ("--pidfile", "pid")]
    {
        command.arg(option).arg(file(ending));
    }
    let log = std::fs::File::options().append(true).create(true).open(file("log"))?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    command.spawn().context("syslog-ng")
}

fn text(directory: &Path, name: &str, input: Input, output: Output) -> String {
    let directory = directory.display();
    let source = match input {
        Input::UnixStream => format!("unix-stream(\"{directory}/{name}.sock\" flags(syslog-protocol))"),
        Input::Tcp(port) => format!("syslog(ip(\"127.0.0.1\") port({port}) transport(\"tcp\"))"),
        Input::Tls(port) => format!(
            "syslog(ip(\"127.0.0.1\") port({port}) transport(\"tls\") tls(key-file(\"{directory}/server.key\") \
             cert-file(\"{directory}/server.pem\") ca-file(\"{directory}/ca.pem\") peer-verify(required-trusted)))"
        ),
    };
    let (parse, template) = match output {
        Output::Parsed => {
            ("", "$(format-json pri=$PRI time=$ISODATE host=$HOST app=$PROGRAM msgid=$MSGID sd=$SDATA msg=$MSG)")
        }
        // Only what its own parser takes gets that far; then the text without the cookie.
        Output::Cee => ("parser { json-parser(prefix(\".cee.\") marker(\"@cee:\")); };", "$(substr \"$MSG\" \"6\")"),
    };
    format!(
        "@version: 3.38\n\
         options {{ keep-hostname(yes); keep-timestamp(yes); ts-format(iso); frac-digits(6); time-zone(\"UTC\"); \
         chain-hostnames(no); use-dns(no); dns-cache(no); log-msg-size(65536); }};\n\
         log {{ source {{ {source}; }}; {parse} destination {{ file(\"{directory}/{name}.out\" template(\"{}\\n\")); }}; }};\n",
        template.replace('"', "\\\"")
    )
}
