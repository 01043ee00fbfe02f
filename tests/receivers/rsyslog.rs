//! rsyslogd, with a configuration of the test's own.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::daemon::{Place, mortal, wait};
use crate::receiver::{Received, Receiver, written};

/// How messages reach it.
#[derive(Clone, Copy)]
pub(crate) enum Input {
    /// A unix datagram socket `NAME.sock`.
    Unix,
    Udp(u16),
    Tcp(u16),
    /// With a certificate `server.pem`, for clients with one of `ca.pem`.
    Tls(u16),
}

/// How it writes them.
#[derive(Clone, Copy)]
pub(crate) enum Output {
    /// What its parser of RFC 5424 found, as JSON.
    Parsed,
    /// The JSON behind the cookie `@cee:`.
    Cee,
}

/// One input, and a file `NAME.out`.
pub(crate) struct Rsyslog {
    child: Child,
    name: String,
    configuration: PathBuf,
    input: Input,
    socket: PathBuf,
}

impl Rsyslog {
    pub(crate) fn start(place: &Place, name: &str, input: Input, output: Output) -> Result<Self> {
        let configuration = place.path(&format!("{name}.conf"));
        std::fs::create_dir_all(place.path(&format!("{name}.work")))?;
        let socket = place.path(&format!("{name}.sock"));
        std::fs::write(&configuration, text(place.directory(), name, &socket, input, output))?;
        let child = spawn(&configuration)?;
        let rsyslog = Self { child, name: name.to_owned(), configuration, input, socket };
        rsyslog.wait()?;
        Ok(rsyslog)
    }

    fn wait(&self) -> Result<()> {
        let is_up = || {
            Ok(match self.input {
                Input::Unix => std::os::unix::net::UnixDatagram::unbound()?.connect(&self.socket).is_ok(),
                // There is nothing that tells.
                Input::Udp(_) => {
                    std::thread::sleep(Duration::from_secs(1));
                    true
                }
                Input::Tcp(port) | Input::Tls(port) => TcpStream::connect(("127.0.0.1", port)).is_ok(),
            })
        };
        wait(Duration::from_secs(30), is_up).context("rsyslogd does not listen")
    }
}

impl Receiver for Rsyslog {
    fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn restart(&mut self) -> Result<()> {
        self.child = spawn(&self.configuration)?;
        self.wait()
    }

    fn events(&self, place: &Place) -> Result<Vec<Received>> {
        written(place, &self.name)
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn spawn(configuration: &Path) -> Result<Child> {
    let mut command = mortal(Command::new("rsyslogd"));
    command.arg("-n").arg("-f").arg(configuration).args(["-i", "NONE"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().context("rsyslogd, of the Debian package rsyslog: ./x setup installs it")
}

fn text(directory: &Path, name: &str, socket: &Path, input: Input, output: Output) -> String {
    let directory = directory.display();
    let global = match input {
        Input::Tls(_) => format!(
            "defaultNetstreamDriverCAFile=\"{directory}/ca.pem\" defaultNetstreamDriverCertFile=\"{directory}/server.pem\" \
             defaultNetstreamDriverKeyFile=\"{directory}/server.key\""
        ),
        _ => String::new(),
    };
    let listen = match input {
        Input::Unix => format!(
            "module(load=\"imuxsock\" SysSock.Use=\"off\")\n\
             input(type=\"imuxsock\" Socket=\"{}\" UseSpecialParser=\"off\" ParseHostname=\"on\" IgnoreTimestamp=\"off\" \
             UseSysTimeStamp=\"off\" RateLimit.Interval=\"0\" ruleset=\"all\")",
            socket.display()
        ),
        Input::Udp(port) => {
            format!(
                "module(load=\"imudp\")\ninput(type=\"imudp\" address=\"127.0.0.1\" port=\"{port}\" rcvbufSize=\"32m\" ruleset=\"all\")"
            )
        }
        Input::Tcp(port) => {
            format!(
                "module(load=\"imtcp\")\ninput(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\" ruleset=\"all\")"
            )
        }
        Input::Tls(port) => format!(
            "module(load=\"imtcp\" StreamDriver.Name=\"gtls\" StreamDriver.Mode=\"1\" StreamDriver.AuthMode=\"x509/certvalid\")\n\
             input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\" ruleset=\"all\")"
        ),
    };
    let (parse, template) = match output {
        Output::Parsed => (
            "",
            "template(name=\"line\" type=\"list\" option.jsonf=\"on\") {\n\
             property(outname=\"pri\" name=\"pri\" format=\"jsonf\")\n\
             property(outname=\"time\" name=\"timereported\" dateFormat=\"rfc3339\" format=\"jsonf\")\n\
             property(outname=\"host\" name=\"hostname\" format=\"jsonf\")\n\
             property(outname=\"app\" name=\"app-name\" format=\"jsonf\")\n\
             property(outname=\"msgid\" name=\"msgid\" format=\"jsonf\")\n\
             property(outname=\"sd\" name=\"structured-data\" format=\"jsonf\")\n\
             property(outname=\"msg\" name=\"msg\" format=\"jsonf\")\n}",
        ),
        Output::Cee => (
            "action(type=\"mmjsonparse\")",
            "module(load=\"mmjsonparse\")\ntemplate(name=\"line\" type=\"string\" string=\"%$!all-json%\\n\")",
        ),
    };
    format!(
        "global(workDirectory=\"{directory}/{name}.work\" maxMessageSize=\"64k\" {global})\n{template}\n{listen}\n\
         ruleset(name=\"all\") {{ {parse} action(type=\"omfile\" file=\"{directory}/{name}.out\" template=\"line\") }}\n"
    )
}

/// What [`Output::Parsed`] must be of a line of format rfc5424.
pub(crate) fn parsed(line: &str) -> Result<Value> {
    let malformed = || format!("no message of RFC 5424: {line}");
    let mut words = line.splitn(7, ' ');
    let mut word = || words.next().with_context(malformed);
    let pri = word()?.trim_start_matches('<').trim_end_matches(">1");
    let (time, host, app) = (word()?, word()?, word()?);
    let (_process, msgid, rest) = (word()?, word()?, word()?);
    let mut is_escaped = false;
    let end = rest.char_indices().find(|&(_, c)| {
        let is_end = c == ']' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        is_end
    });
    let (sd, msg) = rest.split_at(end.with_context(malformed)?.0 + 1);
    Ok(
        json!({ "pri": pri, "time": time, "host": host, "app": app, "msgid": msgid, "sd": sd, "msg": msg.trim_start_matches(' ') }),
    )
}
