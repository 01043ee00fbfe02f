//! Lines as the servers write them, and hostile ones.

use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::stamp::Clock;
use super::{DeliveryStatus, LINE_MAX, Line, MtaKind, Said, Writer, parse, read_entry};

fn clock() -> Clock {
    Clock { now: "2026-11-26T17:00:00Z".parse().unwrap(), zone: TimeZone::UTC }
}

fn read(kind: MtaKind, line: &str) -> Option<Line> {
    parse(kind, line.as_bytes(), &clock())
}

/// `STATUS said id domain host[ip]:port words`, with `-` for what is absent.
fn brief(line: &Line) -> String {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let relay = line.relay.as_ref().map_or("-".to_owned(), |relay| {
        let ip = relay.ip.map_or("-".to_owned(), |ip| ip.to_string());
        format!("{}[{ip}]{}", or_dash(&relay.host), relay.port.map_or(String::new(), |port| format!(":{port}")))
    });
    let (id, domain) = (or_dash(&line.queue_id), or_dash(&line.recipient_domain));
    format!("{:?} {:?} {id} {domain} {relay} {}", line.status, line.said, line.words)
}

fn check(kind: MtaKind, prefix: &str, cases: &[(&str, Option<&str>)]) {
    for (line, expected) in cases {
        let line = format!("{prefix}{line}");
        assert_eq!(read(kind, &line).as_ref().map(brief).as_deref(), *expected, "{line}");
    }
}

const POSTFIX: &[(&str, Option<&str>)] = &[
    (
        "connect to mx.example.net[203.0.113.5]:25: Connection refused",
        Some("Failed Refused - - mx.example.net[203.0.113.5]:25 Connection refused"),
    ),
    (
        "connect to mx.example.net[2001:db8::5]:25: Network is unreachable",
        Some("Failed NetworkUnreachable - - mx.example.net[2001:db8::5]:25 Network is unreachable"),
    ),
    ("connect to localhost[private/lmtp]: No such file or directory", None),
    (
        "4bXyZ12Qz9zAbC: to=<John.Doe@Example.net>, relay=none, delay=0.14, delays=0.05/0.02/0.06/0.01, dsn=4.4.1, \
                 status=deferred (connect to mx.example.net[203.0.113.5]:25: Connection timed out)",
        Some(
            "Deferred TimedOut 4bXyZ12Qz9zAbC example.net mx.example.net[203.0.113.5]:25 \
                     connect to mx.example.net[203.0.113.5]:25: Connection timed out",
        ),
    ),
    (
        "4BF2A1C0D3: to=<\"a>, relay=x\"@example.net>, orig_to=<root>, relay=mx.example.net[203.0.113.5]:25, \
                 conn_use=2, delay=1, delays=0/0/0.5/0.5, tls=verified, dsn=5.1.1, status=bounced (host \
                 mx.example.net[203.0.113.5] said: 550 5.1.1 <john@example.net>: root unknown (in reply to RCPT TO command))",
        Some(
            "Bounced Answered 4BF2A1C0D3 example.net mx.example.net[203.0.113.5]:25 host \
                     mx.example.net[203.0.113.5] said: 550 5.1.1 <*@example.net>: * unknown (in reply to RCPT TO command)",
        ),
    ),
    (
        "4BF2A1C0D3: to=<a@example.net>, relay=mx.example.net[203.0.113.5]:25, delay=300, delays=0/0/300/0, \
                 dsn=4.4.2, status=deferred (lost connection with mx.example.net[203.0.113.5] while receiving the initial \
                 server greeting)",
        Some(
            "Deferred LostBeforeGreeting 4BF2A1C0D3 example.net mx.example.net[203.0.113.5]:25 lost connection \
                     with mx.example.net[203.0.113.5] while receiving the initial server greeting",
        ),
    ),
    (
        "4BF2A1C0D3: conversation with mx.example.net[203.0.113.5] timed out while receiving the initial server \
                 greeting",
        Some(
            "Failed NoGreeting 4BF2A1C0D3 - mx.example.net[203.0.113.5] conversation with \
                     mx.example.net[203.0.113.5] timed out while receiving the initial server greeting",
        ),
    ),
    (
        "4BF2A1C0D3: host mx.example.net[203.0.113.5] said: 450 4.2.1 john: over quota (in reply to RCPT TO command)",
        Some(
            "Failed Answered 4BF2A1C0D3 - mx.example.net[203.0.113.5] host mx.example.net[203.0.113.5] said: 450 4.2.1 over quota",
        ),
    ),
    (
        "4BF2A1C0D3: to=<a@example.net>, relay=none, delay=0, delays=0/0/0/0, dsn=4.4.3, status=deferred (Host or \
                 domain name not found. Name service error for name=example.net type=MX: Host not found, try again)",
        Some(
            "Deferred Other 4BF2A1C0D3 example.net - Host or domain name not found. Name service error for \
                     name=example.net type=MX: Host not found, try again",
        ),
    ),
    (
        "4BF2A1C0D3: to=<bob@example.net>, relay=mx.example.net[203.0.113.5]:25, delay=1, delays=0/0/0.5/0.5, \
                 dsn=2.0.0, status=sent (250 2.0.0 Ok for bob, cut of",
        Some("Sent Nothing 4BF2A1C0D3 example.net mx.example.net[203.0.113.5]:25 250 2.0.0 Ok for *, cut"),
    ),
    ("4BF2A1C0D3: to=<a@example.net>, relay=local, delay=0, status=sent (delivered)", None),
    (
        "ED06590130AA1C9D6D862: to=<a@example.net>, relay=none, delay=1, delays=0/0/1/0, dsn=4.4.1, status=deferred \
                 (connect to mx.example.net[203.0.113.5]:25: Operation timed out)",
        Some(
            "Deferred TimedOut ED06590130AA1C9D6D862 example.net mx.example.net[203.0.113.5]:25 connect to \
                     mx.example.net[203.0.113.5]:25: Operation timed out",
        ),
    ),
    (
        "4bXyZ12Qz9zAbCbZyX12345678901: to=<a@example.net>, relay=mx[203.0.113.5]:25, delay=1, delays=0/0/1/0, dsn=5.7.1, \
                 status=SOFTBOUNCE (host mx[203.0.113.5] said: 501 5.7.1 no)",
        Some(
            "Deferred Answered 4bXyZ12Qz9zAbCbZyX12345678901 example.net mx[203.0.113.5]:25 host mx[203.0.113.5] said: 501 \
                     5.7.1 no",
        ),
    ),
    (
        "4BF2A1C0D3: to=<a@example.net>, relay=none, delay=1, delays=0/0/1/0, dsn=4.4.1, status=undeliverable (connect to \
                 mx[203.0.113.5]:25: Network unreachable)",
        Some(
            "Deferred NetworkUnreachable 4BF2A1C0D3 example.net mx[203.0.113.5]:25 connect to mx[203.0.113.5]:25: Network \
                     unreachable",
        ),
    ),
    (
        "4BF2A1C0D3: to=<a@example.net>, relay=mx[203.0.113.5]:25, delay=1, delays=0/0/1/0, dsn=5.1.1, \
                 status=undeliverable-but-not-cached (host mx[203.0.113.5] said: 550 5.1.1 no)",
        Some("Bounced Answered 4BF2A1C0D3 example.net mx[203.0.113.5]:25 host mx[203.0.113.5] said: 550 5.1.1 no"),
    ),
    (
        "4BF2A1C0D3: to=<a@example.net>, relay=mx[203.0.113.5]:25, delay=1, delays=0/0/1/0, dsn=2.1.5, status=deliverable \
                 (250 2.1.5 Ok)",
        Some("Sent Nothing 4BF2A1C0D3 example.net mx[203.0.113.5]:25 250 2.1.5 Ok"),
    ),
    (
        "4BF2A1C0D3: to=<a@example.net>, relay=mx[203.0.113.5]:25, delay=1, delays=0/0/1/0, dsn=4.7.5, status=deferred \
                 (Cannot start TLS: handshake failure)",
        Some("Deferred TlsFailed 4BF2A1C0D3 example.net mx[203.0.113.5]:25 Cannot start TLS: handshake failure"),
    ),
    (
        "4BF2A1C0D3: to=<a@example.net>, relay=mx[203.0.113.5]:25, delay=1, delays=0/0/1/0, dsn=4.7.5, status=deferred \
                 (Server certificate not trusted)",
        Some("Deferred TlsFailed 4BF2A1C0D3 example.net mx[203.0.113.5]:25 Server certificate not trusted"),
    ),
    (
        "4BF2A1C0D3: TLS is required, but was not offered by host mx[203.0.113.5]",
        Some(
            "Failed TlsFailed 4BF2A1C0D3 - mx[203.0.113.5] TLS is required, but was not offered by host mx[203.0.113.5]",
        ),
    ),
    (
        "4BF2A1C0D3: TLS is required, but host mx[203.0.113.5] refused to start TLS: 454 4.7.0 not now",
        Some(
            "Failed TlsFailed 4BF2A1C0D3 - mx[203.0.113.5] TLS is required, but host mx[203.0.113.5] refused to start \
                     TLS: 454 4.7.0 not now",
        ),
    ),
    (
        "SSL_connect error to mx.example.net[203.0.113.5]:25: lost connection",
        Some("Failed TlsFailed - - mx.example.net[203.0.113.5]:25 SSL_connect error: lost connection"),
    ),
    (
        "4BF2A1C0D3: to=<a@example.net>, relay=mx[203.0.113.5]:25, delay=1, delays=0/0/1/0, dsn=5.3.4, status=bounced \
                 (message size 5 exceeds size limit 4 of server mx[203.0.113.5])",
        Some(
            "Bounced Other 4BF2A1C0D3 example.net mx[203.0.113.5]:25 message size 5 exceeds size limit 4 of server \
                     mx[203.0.113.5]",
        ),
    ),
    (
        "4BF2A1C0D3: to=<a@example.net>, relay=mx[203.0.113.5]:25, delay=1, delays=0/0/1/0, dsn=4.7.8, status=deferred \
                 (SASL authentication failed; server mx[203.0.113.5] said: 535 5.7.8 no)",
        Some(
            "Deferred Answered 4BF2A1C0D3 example.net mx[203.0.113.5]:25 SASL authentication failed; server \
                     mx[203.0.113.5] said: 535 5.7.8 no",
        ),
    ),
    (
        "4BF2A1C0D3: to=<a@example.net>, relay=none, delay=1, delays=0/0/1/0, dsn=4.4.1, status=deferred (connect to \
                 mx[203.0.113.5]:25: Address in use)",
        Some(
            "Deferred NotPermitted 4BF2A1C0D3 example.net mx[203.0.113.5]:25 connect to mx[203.0.113.5]:25: Address in use",
        ),
    ),
    ("warning: host mx[203.0.113.5] said: 450 what", None),
    ("4BF2A1C0D3: Cannot start TLS: handshake failure", None),
    ("4BF2A1C0D3: removed", None),
    ("4BF2A1C0D3: to=<a@example.net", None),
    ("warning: no MX host for example.net has a valid address record", None),
];

#[test]
fn postfix() {
    check(MtaKind::Postfix, "Nov 26 16:07:01 mx1 postfix/smtp[1203]: ", POSTFIX);
}

#[test]
fn postfix_says_when_nothing_was_tried() {
    for (program, expected) in
        [("postfix/qmgr", true), ("postfix/error", true), ("postfix-out/relay/smtp", true), ("postfix/smtpd", false)]
    {
        let line = format!(
            "2026-11-26T16:07:01.123456+00:00 mx1 {program}[7]: 4BF2A1C0D3: to=<a@example.net>, relay=none, delay=9, \
             delays=9/0/0/0, dsn=4.4.1, status=deferred (delivery temporarily suspended: connect to \
             mx.example.net[203.0.113.5]:25: Connection refused)"
        );
        let read = read(MtaKind::Postfix, &line);
        assert_eq!(read.is_some(), expected, "{program}");
        if let Some(read) = read {
            assert_eq!((read.said, read.precision.as_micros(), read.pid), (Said::Suspended, 1, Some(7)));
        }
    }
}

#[test]
fn postfix_tells_how_long_it_took() {
    let line = "Nov 26 16:07:01 mx1 postfix/smtp[1203]: 4BF2A1C0D3: to=<a@example.net>, relay=mx[192.0.2.1]:25, delay=32.6, \
                delays=0.1/0.2/30/2.25, dsn=2.0.0, status=sent (250 ok)";
    let read = read(MtaKind::Postfix, line).unwrap();
    assert_eq!(read.took.unwrap().as_millis(), 32_250);
    assert_eq!((read.pid, read.is_reused, read.host.as_deref()), (Some(1203), false, Some("mx1")));
}

const EXIM: &[(&str, Option<&str>)] = &[
    (
        "1rAbCd-000000001bQ-2xYz H=mx.example.net [203.0.113.5] Connection refused",
        Some("Failed Refused 1rAbCd-000000001bQ-2xYz - mx.example.net[203.0.113.5] Connection refused"),
    ),
    (
        "1rAbCd-0001bQ-2x H=mx.example.net [203.0.113.5]:25: SMTP timeout after initial connection: Connection timed out",
        Some(
            "Failed NoGreeting 1rAbCd-0001bQ-2x - mx.example.net[203.0.113.5]:25 SMTP timeout after initial \
                     connection: Connection timed out",
        ),
    ),
    (
        "[4711] 1rAbCd-0001bQ-2x H=mx.example.net [2001:db8::5]: Remote host closed connection in response to \
                 initial connection",
        Some(
            "Failed LostBeforeGreeting 1rAbCd-0001bQ-2x - mx.example.net[2001:db8::5] Remote host closed connection \
                     in response to initial connection",
        ),
    ),
    (
        "1rAbCd-0001bQ-2x == John.Doe@Example.net R=dnslookup T=remote_smtp defer (111): Connection refused \
                 H=mx.example.net [203.0.113.5]",
        Some(
            "Deferred Refused 1rAbCd-0001bQ-2x example.net mx.example.net[203.0.113.5] defer (111): Connection \
                     refused H=mx.example.net [203.0.113.5]",
        ),
    ),
    (
        "1rAbCd-0001bQ-2x == john@example.net R=dnslookup T=remote_smtp defer (-54): retry time not reached for any \
                 host for 'example.net'",
        Some(
            "Deferred Suspended 1rAbCd-0001bQ-2x example.net - defer (-54): retry time not reached for any host for \
                     'example.net'",
        ),
    ),
    (
        "1rAbCd-0001bQ-2x == john@example.net <j@example.org> R=dnslookup T=remote_smtp defer (-44) \
                 H=mx.example.net [203.0.113.5]: SMTP error from remote mail server after RCPT TO:<john@example.net>: 450 \
                 john (or j) is over quota",
        Some(
            "Deferred Answered 1rAbCd-0001bQ-2x example.net mx.example.net[203.0.113.5] defer (-44) \
                     H=mx.example.net [203.0.113.5]: SMTP error from remote mail server after RCPT TO:<*@example.net>: 450 \
                     * (or *) is over quota",
        ),
    ),
    (
        "1rAbCd-0001bQ-2x => john@example.net R=dnslookup T=remote_smtp H=mx.example.net [203.0.113.5]:25 \
                 I=[192.0.2.10]:45890 X=TLS1.3 CV=yes C=\"250 OK john\"",
        Some("Sent Nothing 1rAbCd-0001bQ-2x example.net mx.example.net[203.0.113.5]:25 250 OK *"),
    ),
    (
        "1rAbCd-0001bQ-2x ** john@example.net R=dnslookup T=remote_smtp H=mx.example.net [203.0.113.5]: SMTP error \
                 from remote mail server after RCPT TO:<john@example.net>: 550 no john here",
        Some(
            "Bounced Answered 1rAbCd-0001bQ-2x example.net mx.example.net[203.0.113.5] SMTP error from remote mail \
                     server after RCPT TO:<*@example.net>: 550 no * here",
        ),
    ),
    (
        "1rAbCd-0001bQ-2x ** john@example.net R=dnslookup T=remote_smtp H=mx [203.0.113.5] : SMTP error from remote \
                 mail server after initial connection: 554 go away",
        Some(
            "Bounced Answered 1rAbCd-0001bQ-2x example.net mx[203.0.113.5] SMTP error from remote mail server after \
                     initial connection: 554 go away",
        ),
    ),
    (
        "1rAbCd-0001bQ-2x ** \"john doe\"@example.net: retry timeout exceeded",
        Some("Bounced Suspended 1rAbCd-0001bQ-2x example.net - retry timeout exceeded"),
    ),
    (
        "1rAbCd-0001bQ-2x H=mx.example.net [203.0.113.5] TLS error on connection (SSL_connect): error:0A000126:SSL \
                 routines::unexpected eof while reading",
        Some(
            "Failed TlsFailed 1rAbCd-0001bQ-2x - mx.example.net[203.0.113.5] TLS error on connection (SSL_connect): \
                     error:0A000126:SSL routines::unexpected eof while reading",
        ),
    ),
    (
        "1rAbCd-0001bQ-2x TLS error on connection to mx.example.net [203.0.113.5] (gnutls_handshake): timed out",
        Some(
            "Failed TlsFailed 1rAbCd-0001bQ-2x - mx.example.net[203.0.113.5] TLS error on connection to mx.example.net \
                     [203.0.113.5] (gnutls_handshake): timed out",
        ),
    ),
    (
        "1rAbCd-0001bQ-2x TLS session: (SSL_connect): error: delivering unencrypted to H=mx.example.net [203.0.113.5] (not \
                 in hosts_require_tls)",
        Some(
            "Failed TlsFailed 1rAbCd-0001bQ-2x - mx.example.net[203.0.113.5] TLS session: (SSL_connect): error: delivering \
                     unencrypted to H=mx.example.net [203.0.113.5] (not in hosts_require_tls)",
        ),
    ),
    (
        "1rAbCd-0001bQ-2x H=mx [203.0.113.5]:25: a TLS session is required, but the server did not offer TLS support",
        Some(
            "Failed TlsFailed 1rAbCd-0001bQ-2x - mx[203.0.113.5]:25 a TLS session is required, but the server did not offer \
                     TLS support",
        ),
    ),
    (
        "1rAbCd-0001bQ-2x == a@example.net R=dnslookup T=remote_smtp defer (-37) H=mx [203.0.113.5]:25 DT=1s: TLS session: \
                 (SSL_connect): error:0A000126",
        Some(
            "Deferred TlsFailed 1rAbCd-0001bQ-2x example.net mx[203.0.113.5]:25 defer (-37) H=mx [203.0.113.5]:25 DT=1s: TLS \
                     session: (SSL_connect): error:0A000126",
        ),
    ),
    (
        "1rAbCd-0001bQ-2x == a@example.net R=dnslookup T=remote_smtp defer (98): Address already in use H=mx [203.0.113.5]",
        Some(
            "Deferred NotPermitted 1rAbCd-0001bQ-2x example.net mx[203.0.113.5] defer (98): Address already in use H=mx \
                     [203.0.113.5]",
        ),
    ),
    (
        "1rAbCd-0001bQ-2x H=mx [203.0.113.5] SMTP error from remote mail server after RCPT TO:<a@example.net>: 450 4.2.0 later",
        Some(
            "Failed Answered 1rAbCd-0001bQ-2x - mx[203.0.113.5] SMTP error from remote mail server after RCPT TO 450 4.2.0",
        ),
    ),
    (
        "1rAbCd-0001bQ-2x H=mx DS [203.0.113.5]:25: mx [203.0.113.5]: No route to host",
        Some("Failed NoRoute 1rAbCd-0001bQ-2x - mx[203.0.113.5]:25 mx [203.0.113.5]: No route to host"),
    ),
    (
        "1rAbCd-0001bQ-2x ** john@example.net R=dnslookup T=remote_smtp: all hosts for 'example.net' have been failing for a \
                 long time and were last tried after this message arrived",
        Some(
            "Bounced Suspended 1rAbCd-0001bQ-2x example.net - all hosts for 'example.net' have been failing for a long \
                     time and were last tried after this message arrived",
        ),
    ),
    ("1rAbCd-0001bQ-2x H=client.example [192.0.2.99]:1234: rejected: x=<a>: Connection refused by policy", None),
    ("1rAbCd-0001bQ-2x => john <john@mx1> R=local_user T=mail_spool", None),
    ("1rAbCd-0001bQ-2x => john@mx1 R=local_user T=mail_spool", None),
    ("1rAbCd-0001bQ-2x <= john@example.net H=client.example [192.0.2.99] P=esmtps S=500", None),
    ("1rAbCd-0001bQ-2x H=client.example [192.0.2.99] F=<a@b> rejected after DATA: Connection refused by policy", None),
    ("1rAbCd-0001bQ-2x H=client.example [192.0.2.99]: spam", None),
    ("1rAbCd-0001bQ-2x Completed", None),
    ("Start queue run: pid=7", None),
    ("no-message-id here", None),
];

#[test]
fn exim() {
    check(MtaKind::Exim, "2026-11-26 16:07:01 ", EXIM);
    let syslog =
        "Nov 26 16:07:02 mx1 exim[7]: 2026-11-26 16:07:01.250 1rAbCd-0001bQ-2x H=mx [203.0.113.5] No route to host";
    let read = read(MtaKind::Exim, syslog).unwrap();
    assert_eq!(
        (read.time.to_string().as_str(), read.pid, read.said),
        ("2026-11-26T16:07:01.25Z", Some(7), Said::NoRoute)
    );
}

#[test]
fn exim_logs_a_kept_connection_with_or_without_its_port() {
    for (host, is_reused) in [
        ("H=mx [203.0.113.5]*", true),
        ("H=mx [203.0.113.5]:25* TFO*", true),
        ("H=mx DS [2001:db8::5]:25* I=[2001:db8::10]:40000", true),
        ("H=mx [203.0.113.5]:25 TFO*", false),
        ("H=mx [203.0.113.5] X=TLS1.3:TLS_AES_256_GCM_SHA384:256*", false),
    ] {
        let line =
            format!("2026-11-26 16:07:01.123 +0000 [7] 1rAbCd-000000001bQ-2xYz => a@example.net R=r T=t {host} QT=1s");
        let read = read(MtaKind::Exim, &line).unwrap();
        assert_eq!((read.is_reused, read.pid, read.precision.as_millis()), (is_reused, Some(7), 1), "{line}");
        assert_eq!(read.source.is_some(), host.contains("I="), "{line}");
    }
}

#[test]
fn exim_behind_any_daemon() {
    const TEXT: &str = "1rAbCd-0001bQ-2x H=mx [203.0.113.5] No route to host";
    for prefix in [
        "2026-11-26 16:07:01 mx1.example exim[7]: ",
        "2026-11-26 16:07:01 info exim[7]: [7] ",
        "Nov 26 16:07:01 mx1 exim[7]: 2026-11-26 16:07:01 [7] ",
        "2026-11-26T16:07:01+00:00 mx1 exim4[7]: 2026-11-26 16:07:01 +0000 ",
        "Nov 26 16:07:01 mx1 exim[7]: [1/2] [7] ",
        "Nov 26 16:07:01 mx1 exim[9]: [1\\12] 2026-11-26 16:07:01 [7] ",
        "<22>1 2026-11-26T16:07:01Z mx1 exim 7 - - ",
    ] {
        let read = read(MtaKind::Exim, &format!("{prefix}{TEXT}")).unwrap_or_else(|| panic!("{prefix}"));
        let time = read.time.to_string();
        assert_eq!((read.said, read.pid, time.as_str()), (Said::NoRoute, Some(7), "2026-11-26T16:07:01Z"), "{prefix}");
    }
}

#[test]
fn a_line_comes_through_every_wrapper() {
    const TEXT: &str =
        "Nov 26 16:07:01 3f91e5fdd654 postfix/smtp[7]: connect to mx[203.0.113.5]:25: Connection refused";
    for line in [
        TEXT.to_owned(),
        format!("<22>{TEXT}"),
        format!("mail-1  | {TEXT}"),
        format!("2026-11-26T16:07:01.5Z stdout F {TEXT}"),
        format!("{{\"log\":\"{TEXT}\\n\",\"stream\":\"stdout\",\"time\":\"2026-11-26T16:07:01.5Z\"}}"),
        TEXT.replace("smtp[7]: connect", "smtp[7]: message repeated 2 times: [ connect") + "]",
        TEXT.replace("3f91e5fdd654", "backup mail.info"),
        format!("{{\"__REALTIME_TIMESTAMP\":\"1795709221500000\",\"MESSAGE\":\"{TEXT}\",\"CONTAINER_ID\":\"3f91\"}}"),
        "{\"__REALTIME_TIMESTAMP\":\"1795709221500000\",\"SYSLOG_IDENTIFIER\":\"postfix/smtp\",\"_PID\":\"7\",\
         \"MESSAGE\":\"connect to mx[203.0.113.5]:25: Connection refused\"}"
            .to_owned(),
    ] {
        let read = read(MtaKind::Postfix, &line).unwrap_or_else(|| panic!("{line}"));
        assert_eq!((read.said, read.pid), (Said::Refused, Some(7)), "{line}");
        assert_eq!(read.time.as_second(), 1_795_709_221, "{line}");
    }
}

#[test]
fn of_a_container_the_message_alone_counts() {
    let entry = |message: &str, rest: &str| {
        let line =
            format!("{{\"__REALTIME_TIMESTAMP\":\"1795709221500000\",\"MESSAGE\":\"{message}\",\"_PID\":\"1\"{rest}}}");
        read_entry(MtaKind::OpenSmtpd, line.as_bytes(), &clock())
    };
    let error = "5bd4e1f2a3b4c5d6 mta error reason=IO Error: Connection refused";
    let container = ",\"CONTAINER_ID\":\"3f91\",\"SYSLOG_IDENTIFIER\":\"3f91e5fdd654\"";
    let reading = entry(error, container);
    assert_eq!((reading.writer, reading.lines.len()), (Writer::Server, 1));
    assert_eq!((reading.lines[0].pid, reading.lines[0].said), (None, Said::Refused));
    assert_eq!(entry("listening on port 80", container).writer, Writer::Other);
    assert_eq!(entry(error, ",\"SYSLOG_IDENTIFIER\":\"dovecot\"").writer, Writer::Other);
}

#[test]
fn a_line_tells_who_wrote_it() {
    for (kind, line, expected) in [
        (MtaKind::Postfix, "Nov 26 16:07:01 mx1 postfix/smtpd[7]: connect from client[192.0.2.99]", Writer::Server),
        (MtaKind::Postfix, "Nov 26 16:07:01 mx1 out/cleanup[7]: 4BF2A1C0D3: message-id=<>", Writer::Server),
        (MtaKind::Postfix, "Nov 26 16:07:01 mx1 dovecot: imap-login: x", Writer::Other),
        (MtaKind::Postfix, "Nov 26 16:07:01 mx1 exim[7]: 1rAbCd-0001bQ-2x Completed", Writer::Unknown),
        (MtaKind::Postfix, "2026-11-26 16:07:01 1rAbCd-0001bQ-2x Completed", Writer::Unknown),
        (MtaKind::Postfix, "16:07:01.000 postfix/smtp[7]: x", Writer::Unknown),
        (MtaKind::Exim, "2026-11-26 16:07:01 Start queue run: pid=7", Writer::Server),
        (MtaKind::Exim, "Nov 26 16:07:01 mx1 exim[7]: Start queue run: pid=7", Writer::Server),
        (MtaKind::Exim, "Nov 26 16:07:01 mx1 postfix/smtpd[7]: connect from client[192.0.2.99]", Writer::Unknown),
        (MtaKind::OpenSmtpd, "Nov 26 16:07:01 mx1 smtpd[7]: info: OpenSMTPD 7.4.0p1 starting", Writer::Server),
        (MtaKind::KumoMta, "Nov 26 16:07:01 mx1 postfix/smtpd[7]: x", Writer::Unknown),
        (MtaKind::KumoMta, "(\u{fffd}/\u{fffd}", Writer::Unknown),
    ] {
        assert_eq!(super::read(kind, line.as_bytes(), &clock()).writer, expected, "{line}");
    }
}

#[test]
fn opensmtpd() {
    check(
        MtaKind::OpenSmtpd,
        "Nov 26 16:07:01 mx1 smtpd[88]: 5bd4e1f2a3b4c5d6 mta ",
        &[
            (
                "connecting address=smtp+tls://203.0.113.5:25 host=mx.example.net",
                Some("Trying Nothing - - mx.example.net[203.0.113.5]:25 "),
            ),
            ("connecting address=smtp://[2001:db8::5]:25 host=(null)", Some("Trying Nothing - - -[2001:db8::5]:25 ")),
            ("error reason=Connection timeout", Some("Failed TimedOut - - - Connection timeout")),
            ("error reason=IO Error: Connection refused", Some("Failed Refused - - - IO Error: Connection refused")),
            (
                "delivery evpid=0123456789abcdef from=<me@example.org> to=<John@Example.net> rcpt=<-> source=\"192.0.2.10\" \
                 relay=\"203.0.113.5 (mx.example.net)\" delay=2s result=\"TempFail\" stat=\"450 4.2.1 John: try later\"",
                Some(
                    "Deferred Answered 0123456789abcdef example.net mx.example.net[203.0.113.5] 450 4.2.1 *: try later",
                ),
            ),
            ("event=connecting address=smtp://203.0.113.5:25 host=mx", Some("Trying Nothing - - mx[203.0.113.5]:25 ")),
            ("connected", Some("Trying Nothing - - - ")),
            ("closing reason=tls-connect-failed", Some("Failed TlsFailed - - - tls-connect-failed")),
            ("closing reason=tls-failure", Some("Failed TlsFailed - - - tls-failure")),
            (
                "error reason=TLS required but not supported by remote host",
                Some("Failed TlsFailed - - - TLS required but not supported by remote host"),
            ),
            (
                "error reason=IO Error: handshake failed: error:0A000126",
                Some("Failed TlsFailed - - - IO Error: handshake failed: error:0A000126"),
            ),
            (
                "error reason=Connection closed unexpectedly",
                Some("Failed LostInSession - - - Connection closed unexpectedly"),
            ),
            ("error reason=BANNER rejected: 554 no", Some("Failed Answered - - - BANNER rejected: 554 no")),
            ("host-rejects-all-mails", Some("Failed Answered - - - host-rejects-all-mails")),
            ("disconnected reason=quit messages=1", None),
            ("delivery evpid=x from=<> to=<", None),
        ],
    );
    for (words, said) in [
        ("after 1 message sent: Connection closed unexpectedly", Said::LostInSession),
        ("after 2 messages sent: IO Error: Connection reset by peer", Said::LostBeforeGreeting),
        ("opportunistic TLS failed, downgrading to plain", Said::TlsFailed),
    ] {
        let colon = if words.starts_with("after") { " " } else { ": " };
        let line = format!("Nov 26 16:07:01 mx1 smtpd[88]: smtp-out: Error on session 5bd4e1f2a3b4c5d6{colon}{words}");
        let read = read(MtaKind::OpenSmtpd, &line).unwrap();
        assert_eq!((read.session.as_deref(), read.said), (Some("5bd4e1f2a3b4c5d6"), said), "{words}");
    }
    let without_session = |words: &str| {
        let line = format!(
            "Nov 26 16:07:01 mx1 smtpd[88]: 0000000000000000 mta delivery evpid=0123456789abcdef from=<> to=<a@example.net> \
             rcpt=<-> source=\"-\" relay=\"example.net\" delay=2s result=\"TempFail\" stat=\"{words}\""
        );
        let read = read(MtaKind::OpenSmtpd, &line).unwrap();
        assert_eq!((read.session, read.relay), (None, None));
        read.said
    };
    assert_eq!(without_session("No valid route to remote MX"), Said::Suspended);
    assert_eq!(without_session("Network error on destination MXs"), Said::Other);
}

#[test]
fn kumomta() {
    let record = |kind: &str, rest: &str| {
        format!(
            "{{\"type\":\"{kind}\",\"id\":\"1d98076abbbc11ed940250ebf67f93bd\",\"sender\":\"me@example.org\",\
             \"recipient\":\"john@Example.net\",\"timestamp\":1764173221,\"event_time\":\"2026-11-26T16:07:01.440526026Z\",\
             \"delivery_protocol\":\"ESMTP\",\"meta\":{{}}{rest}}}"
        )
    };
    let answer = ",\"peer_address\":{\"name\":\"mx.example.net.\",\"addr\":\"203.0.113.5\"},\"source_address\":{\"address\":\
                  \"192.0.2.10:53210\"},\"response\":{\"code\":450,\"enhanced_code\":null,\"content\":\"try later, \\\"john\\\"\"}";
    let line = read(MtaKind::KumoMta, &record("TransientFailure", answer)).unwrap();
    assert_eq!(
        brief(&line),
        "Deferred Answered 1d98076abbbc11ed940250ebf67f93bd example.net mx.example.net[203.0.113.5] 450 try later, \"*\""
    );
    assert_eq!(line.source, Some("192.0.2.10:53210".parse().unwrap()));
    let with_status = answer.replace("null", "{\"class\":4,\"subject\":2,\"detail\":1}");
    let line = read(MtaKind::KumoMta, &record("TransientFailure", &with_status)).unwrap();
    assert_eq!(line.words, "450 4.2.1 try later, \"*\"");
    let nobody = ",\"response\":{\"code\":400,\"content\":\"KumoMTA internal: scheduled queue is suspended: x\"}";
    let line = read(MtaKind::KumoMta, &record("TransientFailure", nobody)).unwrap();
    assert_eq!((line.said, &*line.words), (Said::Suspended, "KumoMTA internal: scheduled queue is suspended: x"));
    assert_eq!(read(MtaKind::KumoMta, &record("Reception", answer)), None);
    assert_eq!(read(MtaKind::KumoMta, "{\"type\":"), None);
}

/// From a line of each server's log to what its answer means: nothing of it is lost on the way.
#[test]
fn answers_in_every_log_keep_their_meaning() {
    let kumomta = |code: u16, status: &str, content: &str| {
        format!(
            "{{\"type\":\"TransientFailure\",\"id\":\"1d98076abbbc11ed940250ebf67f93bd\",\"recipient\":\"a@example.net\",\
             \"timestamp\":1764173221,\"delivery_protocol\":\"ESMTP\",\"response\":{{\"code\":{code},\
             \"enhanced_code\":{status},\"content\":\"{content}\"}}}}"
        )
    };
    let long = "x".repeat(500);
    for (kind, line, name) in [
        (
            MtaKind::Postfix,
            format!(
                "Nov 26 16:07:01 mx1 postfix/smtp[9]: 4BF2A1C0D3: to=<a@example.net>, relay=mx.example.net[203.0.113.5]:25, \
                 delay=3, delays=0/0/3/0, dsn=5.7.1, status=bounced (host mx.example.net[203.0.113.5] said: 550-5.7.1 {long} \
                 550 5.7.1 see zen.spamhaus.org (in reply to RCPT TO command))"
            ),
            "spamhaus",
        ),
        (
            MtaKind::Postfix,
            "Nov 26 16:07:01 mx1 postfix/smtp[9]: 4BF2A1C0D3: host mx.example.net[203.0.113.5] said: 450 4.2.0 \
             <a@example.net>: Recipient address rejected: Greylisted (in reply to RCPT TO command)"
                .to_owned(),
            "greylisted",
        ),
        (
            MtaKind::Exim,
            "2026-11-26 16:07:01 1uAAAA-000000001Fv-0e07 == a@example.net R=dnslookup T=remote_smtp defer (-44) \
             H=mx.example.net [203.0.113.5]: SMTP error from remote mail server after RCPT TO:<a@example.net>: \
             451-Please\\n451 come back in 00:05:00 (greylisted)"
                .to_owned(),
            "greylisted",
        ),
        (
            MtaKind::OpenSmtpd,
            "Nov 26 16:07:01 mx1 smtpd[88]: 7818378a988ca607 mta delivery evpid=0123456789abcdef from=<b@example.com> \
             to=<a@example.net> rcpt=<-> source=\"192.0.2.10\" relay=\"203.0.113.5 (mx.example.net)\" delay=2s \
             result=\"TempFail\" stat=\"421 4.7.0 [TSS04] put off\""
                .to_owned(),
            "yahoo-deferred",
        ),
        (
            MtaKind::KumoMta,
            kumomta(451, "{\"class\":4,\"subject\":7,\"detail\":500}", "Server busy."),
            "microsoft-throttled",
        ),
        (MtaKind::KumoMta, kumomta(452, "null", "4.5.3 later"), "x.5.3"),
    ] {
        let line = read(kind, &line).unwrap_or_else(|| panic!("{line}"));
        let meaning = crate::answer::Reply::in_words(&line.words).as_ref().and_then(crate::answer::meaning);
        assert_eq!(meaning.map(|meaning| meaning.name), Some(name), "{}", line.words);
        assert_eq!(line.said, Said::Answered);
    }
}

#[test]
fn kumomta_names_the_hosts_that_failed_in_its_words() {
    let record = |hosts: &str| {
        let line = format!(
            "{{\"type\":\"TransientFailure\",\"id\":\"1d98076abbbc11ed940250ebf67f93bd\",\"recipient\":[\"john@example.net\"],\
             \"peer_address\":null,\"source_address\":null,\"timestamp\":1795709221,\"delivery_protocol\":\"ESMTP\",\
             \"response\":{{\"code\":400,\"content\":\"KumoMTA internal: failed to connect to any candidate hosts: {hosts}\"}}}}"
        );
        super::read(MtaKind::KumoMta, line.as_bytes(), &clock()).lines
    };
    let hosts = |lines: &[Line]| {
        let host = |line: &Line| {
            let relay = line.relay.clone().unwrap();
            let port = relay.port.map_or(String::new(), |port| port.to_string());
            let ago = 1_795_709_221 - line.time.as_second();
            format!(
                "{:?} {:?} {}|{port}|{} {ago}s",
                line.status,
                line.said,
                relay.ip.unwrap(),
                relay.host.unwrap_or_default()
            )
        };
        lines.iter().map(host).collect::<Vec<_>>()
    };
    let connect = |address: &str, words: &str| format!("connect to {address} and read initial banner: {words}");
    let refused = |address: &str| {
        connect(address, &format!("failed to connect to {address} SmtpProxy: Connection refused (os error 111)"))
    };
    assert_eq!(hosts(&record(&refused("203.0.113.5:25"))), ["Deferred Refused 203.0.113.5|25| 0s"]);
    let timed_out = connect("[2001:db8::5]:25", "timeout after 60s while connecting to [2001:db8::5]:25 Direct");
    let all = format!("{timed_out}, {}, {timed_out}, {}", refused("203.0.113.6:2525"), refused("203.0.113.7:25"));
    assert_eq!(
        hosts(&record(&all)),
        [
            "Failed TimedOut 2001:db8::5|25| 64s",
            "Failed Refused 203.0.113.6|2525| 62s",
            "Failed TimedOut 2001:db8::5|25| 2s",
            "Deferred Refused 203.0.113.7|25| 0s",
        ]
    );
    for (words, expected) in [
        (connect("203.0.113.5:25", "reading banner: Timed Out waiting 60s for response to cmd="), "NoGreeting 203.0.113.5|25|"),
        (
            connect("203.0.113.5:25", "reading banner: Error EOF, reading response to cmd="),
            "LostBeforeGreeting 203.0.113.5|25|",
        ),
        (
            connect("203.0.113.5:25", "Command rejected Response { code: 554, content: \\\"no, connect to x\\\" }"),
            "Answered 203.0.113.5|25|",
        ),
        ("203.0.113.5:25: EHLO after banner: Not connected".to_owned(), "LostInSession 203.0.113.5|25|"),
        (
            "TLS handshake with ResolvedAddress { name: \\\"mx.example.net.\\\", addr: 203.0.113.5, is_secure: true }:25 failed: x"
                .to_owned(),
            "TlsFailed 203.0.113.5|25|mx.example.net",
        ),
        (
            "tls policy is Required but STARTTLS is not advertised by ResolvedAddress { name: \\\"mx.\\\", addr: 203.0.113.5 }:25"
                .to_owned(),
            "TlsFailed 203.0.113.5|25|mx",
        ),
        (
            format!("All failures are related to having an unplumbed source address. x {}", connect("203.0.113.5:25", "Cannot assign requested address (os error 99)")),
            "NotPermitted 203.0.113.5|25|",
        ),
    ] {
        assert_eq!(hosts(&record(&words)), [format!("Deferred {expected} 0s")], "{words}");
    }
    let [nobody] = &record("DANE TLSA lookup for mx.example.net. could not be securely resolved")[..] else { panic!() };
    assert_eq!((nobody.said, nobody.relay.clone()), (Said::TlsFailed, None));
}

/// connect() fails so where a blackhole route leads to the destination.
#[test]
fn an_invalid_argument_is_no_permission() {
    let line = "Nov 26 16:07:01 mx1 postfix/smtp[7]: connect to mx.example.net[203.0.113.5]:25: Invalid argument";
    assert_eq!(read(MtaKind::Postfix, line).map(|line| line.said), Some(Said::NoRoute));
}

const KINDS: [MtaKind; 4] = [MtaKind::Postfix, MtaKind::Exim, MtaKind::OpenSmtpd, MtaKind::KumoMta];

#[test]
fn a_line_may_be_long_and_no_text() {
    let mut line = b"Nov 26 16:07:01 mx1 postfix/smtp[1]: 4BF2A1C0D3: to=<a@\xff\xfe".to_vec();
    line.resize(10 << 20, 0xff);
    for kind in KINDS {
        assert_eq!(parse(kind, &line, &clock()), None);
    }
}

proptest! {
    #[test]
    fn any_words_of_kumomta_are_words(
        pieces in prop::collection::vec(
            prop::sample::select(&[
                "connect to ", "203.0.113.5:25", ", ", ": ", "timeout after ", "1e9s", "60s", "9999999999999999999999999", "ms ", "é",
                "ResolvedAddress { name: \\\"", "\\\", addr: ", " }", "}:25", " ",
            ][..]),
            0..40,
        ),
    ) {
        let line = format!(
            "{{\"type\":\"Bounce\",\"id\":\"1\",\"recipient\":\"john@example.net\",\"timestamp\":1795709221,\"response\":{{\"code\":400,\
             \"content\":\"KumoMTA internal: failed to connect to any candidate hosts: {}\"}}}}",
            pieces.concat(),
        );
        prop_assert!(!super::read(MtaKind::KumoMta, line.as_bytes(), &clock()).lines.is_empty());
    }

    #[test]
    fn any_bytes_are_a_line(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in prop::sample::select(&KINDS[..])) {
        parse(kind, &bytes, &clock());
    }

    #[test]
    fn any_piece_of_a_line_is_a_line(
        start in 0_usize..80,
        pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..30),
        kind in prop::sample::select(&KINDS[..]),
    ) {
        let text = pieces.concat();
        let text = format!("{}{text}", PREFIXES[start % PREFIXES.len()]);
        if let Some(line) = parse(kind, text.as_bytes(), &clock()) {
            prop_assert!(!format!("{line:?}").contains("SECRET"), "{line:?}");
        }
    }
}

const PREFIXES: [&str; 4] = [
    "Nov 26 16:07:01 mx1 postfix/smtp[1203]: 4BF2A1C0D3: to=<SECRET@example.net>",
    "2026-11-26 16:07:01 1rAbCd-0001bQ-2x == SECRET@example.net",
    "Nov 26 16:07:01 mx1 smtpd[88]: 5bd4e1f2a3b4c5d6 mta delivery evpid=0123456789abcdef from=<SECRET@a> to=<SECRET@b> ",
    "2026-11-26 16:07:01 1rAbCd-0001bQ-2x H=mx [203.0.113.5]: ",
];

const PIECES: [&str; 32] = [
    ", relay=none",
    ", relay=mx[192.0.2.1]:25",
    ", delay=1",
    ", delays=1/1/1/1",
    ", dsn=4.0.0",
    ", status=deferred",
    " (",
    ")",
    " SECRET@x",
    " SECRET ",
    "connect to ",
    "mx[192.0.2.1]:25",
    ": ",
    "Connection refused",
    " R=r",
    " T=t",
    " defer (111)",
    " H=mx",
    " [192.0.2.1]",
    "<SECRET@y>",
    " C=\"250 SECRET\"",
    " rcpt=<SECRET@z>",
    " source=\"-\"",
    " relay=\"192.0.2.1\"",
    " result=\"TempFail\"",
    " stat=\"SECRET\"",
    "\"",
    ">",
    "<",
    "é",
    "said: ",
    "SMTP error from remote mail server after RCPT TO",
];

#[test]
fn of_a_line_that_is_too_long_only_the_beginning_counts() {
    let begin = "Nov 26 16:07:01 mx1 postfix/smtp[1203]: connect to mx.example.net[203.0.113.5]:25: Connection refused";
    let line = format!("{begin}{}", " x".repeat(LINE_MAX));
    let read = read(MtaKind::Postfix, &line).unwrap();
    assert_eq!((read.status, read.words.len() <= super::WORDS_MAX), (DeliveryStatus::Failed, true));
}

/// What relays, container engines and collectors make of a line, and old or rare forms of the line itself.
#[test]
fn lines_of_every_age_and_way_are_understood() {
    const REFUSED: &str = "AAA04: to=<a@example.net>, relay=none, delay=1, delays=1/0/0/0, dsn=4.4.1, status=deferred (connect to \
                           mx.example.net[203.0.113.5]:25: Connection refused)";
    const DEFERRED: &str = "Deferred Refused AAA04 example.net mx.example.net[203.0.113.5]:25 connect to \
                            mx.example.net[203.0.113.5]:25: Connection refused";
    for before in [
        "<30>1 2026-11-26T16:07:01Z box 3f91e5fdd654 1234 3f91e5fdd654 - Nov 26 16:07:01 mail postfix/smtp[1]: ",
        "Nov 26 16:07:01 box mail[812]: Nov 26 16:07:01 mail postfix/smtp[1]: ",
        "Nov 26 16:07:01 box mail[812]: postfix/smtp[1]: ",
        "Nov 26 16:07:01 192.0.2.9 Nov 26 16:07:01 mx1 postfix/smtp[1]: ",
        "2026-11-26T16:07:01+01:00 mx1 mail info postfix/smtp[1]: ",
        "2026-11-26T16:07:01+01:00\tmx1\tpostfix/smtp[1]:\t",
        "mail-0 postfix 2026-11-26T16:07:01.123456789Z Nov 26 16:07:01 mail-0 postfix/smtp[1]: ",
        "Nov 26 16:07:01 CET mx1 postfix/smtp[1]: ",
        "2026 Nov 26 16:07:01 mx1 postfix/smtp[1]: ",
        "Nov 26 16:07:01 mx1 postfix: ",
    ] {
        assert_eq!(
            read(MtaKind::Postfix, &format!("{before}{REFUSED}")).as_ref().map(brief).as_deref(),
            Some(DEFERRED),
            "{before}"
        );
    }
    for fields in [
        r#""timestamp":"2026-11-26T16:07:01+01:00","host":"mx1","program":"postfix/smtp","pid":"1","message":"#,
        r#""@timestamp":"2026-11-26T16:07:01Z","host":{"name":"mx1"},"log":{"file":{}},"process":{"name":"postfix/smtp","pid":1},"message":"#,
        r#""__REALTIME_TIMESTAMP":"1795709221000000","SYSLOG_IDENTIFIER":"mail","_PID":"44","MESSAGE":"Nov 26 16:07:01 m postfix/smtp[1]: "#,
    ] {
        let quote = if fields.ends_with(':') { "\"" } else { "" };
        let line = format!("{{{fields}{quote}{REFUSED}\"}}");
        assert_eq!(read(MtaKind::Postfix, &line).as_ref().map(brief).as_deref(), Some(DEFERRED), "{line}");
    }
    let sent = "2026-11-26 16:07:01 1uAAAA-000000001Fv-0e07 => a@example.net R=dnslookup T=remote_smtp H=mx [203.0.113.5] C=\"250 OK\"";
    let connecting = "5bd4e1f2a3b4c5d6 mta connecting address=smtp://203.0.113.5:25 host=mx";
    for (kind, tag, text) in [
        (MtaKind::Exim, "mail", sent),
        (MtaKind::Exim, "3f91e5fdd654", &sent[20..]),
        (MtaKind::OpenSmtpd, "3f91e5fdd654", connecting),
    ] {
        let line = format!("Nov 26 16:07:01 box {tag}[812]: {text}");
        assert_eq!(read(kind, &line).and_then(|line| line.relay?.ip), Some("203.0.113.5".parse().unwrap()), "{line}");
        let timed = format!("2026-11-26T16:07:01.123456789Z {text}");
        assert_eq!(read(kind, &timed).is_some(), kind == MtaKind::OpenSmtpd || text == sent, "{timed}");
        let other = format!("Nov 26 16:07:01 box mail[812]: see {text}");
        assert_eq!(super::read(kind, other.as_bytes(), &clock()).writer, Writer::Other, "{other}");
    }
    let iso = format!("2026-11-26 16:07:02 box mail[812]: {sent}");
    assert_eq!(read(MtaKind::Exim, &iso).map(|line| line.status), Some(DeliveryStatus::Sent), "{iso}");
    let record = "{\"type\":\"Delivery\",\"id\":\"1d98\",\"recipient\":\"a@example.net\",\"timestamp\":1795709221,\"response\":\
                  {\"code\":250,\"content\":\"OK\"}}";
    for before in
        ["", "mail-0 kumod ", "Nov 26 16:07:01 box mail[812]: ", "<30>1 2026-11-26T16:07:01Z box mail 812 - - "]
    {
        let line = format!("{before}{record}");
        assert_eq!(read(MtaKind::KumoMta, &line).map(|line| line.status), Some(DeliveryStatus::Sent), "{line}");
    }
    let notes = ["Nov 26 16:07:01 mx1 last message repeated 2 times", "-- Boot 0123456789abcdef --"];
    for (line, kind) in notes.iter().flat_map(|line| KINDS.map(|kind| (line, kind))) {
        assert_eq!(super::read(kind, line.as_bytes(), &clock()).writer, Writer::Other, "{line} {kind:?}");
    }
}

#[test]
fn postfix_by_lmtp_and_of_old_versions() {
    let to = |words: &str| format!("AAA04: to=<a@example.net>, relay=none, delay=1, status=deferred ({words}");
    for (tag, text, expected) in [
        ("lmtp", to("connect to imap[203.0.113.7]:24: Connection refused)"), Some("Deferred Refused 203.0.113.7:24")),
        (
            "lmtp",
            "connect to imap[203.0.113.7]:24: Connection timed out".to_owned(),
            Some("Failed TimedOut 203.0.113.7:24"),
        ),
        (
            "lmtp",
            "AAA04: to=<a@example.net>, relay=imap[203.0.113.7]:24, delay=1, dsn=2.0.0, status=sent (250 Saved)"
                .to_owned(),
            Some("Sent Nothing 203.0.113.7:24"),
        ),
        ("lmtp", to("connect to mx[private/dovecot-lmtp]: No such file or directory)"), None),
        (
            "lmtp",
            "AAA04: to=<a@example.net>, relay=mx[private/lmtp], delay=1, status=sent (250 Saved)".to_owned(),
            None,
        ),
        (
            "smtp",
            to("connect to mx[203.0.113.7]: Connection refused (port 25))"),
            Some("Deferred Refused 203.0.113.7:25"),
        ),
        (
            "smtp",
            "connect to mx[203.0.113.7]: No route to host (port 25)".to_owned(),
            Some("Failed NoRoute 203.0.113.7:25"),
        ),
        (
            "smtp",
            "connect to mx[203.0.113.7] port 25: Connection refused".to_owned(),
            Some("Failed Refused 203.0.113.7:25"),
        ),
        ("smtp", to("connect to mx[203.0.113.7]:25: Connection refused"), Some("Deferred Refused 203.0.113.7:25")),
        ("smtp", to("connect to mx[203.0.113.7]:25: Operation timed o"), Some("Deferred Other 203.0.113.7:25")),
        (
            "smtp",
            "connect to mx[203.0.113.7]: server dropped connection without sending the initial SMTP greeting (port 25)"
                .to_owned(),
            Some("Failed LostBeforeGreeting 203.0.113.7:25"),
        ),
        (
            "smtp",
            "connect to mx[203.0.113.7]: read timeout (port 25)".to_owned(),
            Some("Failed NoGreeting 203.0.113.7:25"),
        ),
        ("retry", to("mail transport unavailable)"), Some("Deferred Suspended -")),
        ("error", to("User unknown in virtual alias table)"), Some("Deferred Other -")),
    ] {
        let line = format!("Nov 26 16:07:01 mx1 postfix/{tag}[9]: {text}");
        let found = read(MtaKind::Postfix, &line).map(|line| {
            let named =
                line.relay.and_then(|relay| Some(std::net::SocketAddr::new(relay.ip?, relay.port?).to_string()));
            format!("{:?} {:?} {}", line.status, line.said, named.unwrap_or_else(|| "-".to_owned()))
        });
        assert_eq!(found.as_deref(), expected, "{line}");
    }
}

#[test]
fn exim_gives_up_for_what_the_last_try_ended_with() {
    for (words, said) in [
        (" R=r T=t H=mx [203.0.113.5]: Connection timed out: retry timeout exceeded", Some(Said::TimedOut)),
        (" R=r T=t H=mx [203.0.113.5]: Connection refused: retry timeout exceeded", Some(Said::Refused)),
        (
            " R=r T=t H=mx [203.0.113.5]: SMTP error from remote mail server after RCPT TO:<a@example.net>: 450 no: retry \
             timeout exceeded",
            Some(Said::Answered),
        ),
        (": retry timeout exceeded", Some(Said::Suspended)),
        (" R=r T=t: retry timeout exceeded", Some(Said::Suspended)),
        (" R=r T=t: retry time not reached for any host after a long failure period", Some(Said::Suspended)),
        (
            " R=r T=t: all hosts for 'example.net' have been failing for a long time (and retry time not reached): retry \
             timeout exceeded",
            Some(Said::Suspended),
        ),
        (" R=r T=lmtp: LMTP error after RCPT TO:<a@example.net>: 550 no", None),
    ] {
        let line = format!("2026-11-26 16:07:01 1uAAAA-000000001Fv-0e07 ** a@example.net{words}");
        assert_eq!(read(MtaKind::Exim, &line).map(|line| line.said), said, "{line}");
    }
}

#[test]
fn kumomta_gives_up_without_a_connection() {
    let line = "{\"type\":\"Expiration\",\"id\":\"1d98\",\"recipient\":\"a@example.net\",\"timestamp\":1795709221,\"peer_address\":null,\
                \"response\":{\"code\":551,\"enhanced_code\":{\"class\":5,\"subject\":4,\"detail\":7},\"content\":\"Next delivery time \
                would be at x which exceeds the expiry time\"}}";
    let line = read(MtaKind::KumoMta, line).unwrap();
    assert_eq!((line.status, line.said, line.relay.clone()), (DeliveryStatus::Bounced, Said::Suspended, None));
    assert_eq!(crate::answer::Reply::in_words(&line.words), None, "{}", line.words);
    let proxy = "{\"type\":\"TransientFailure\",\"id\":\"1d98\",\"recipient\":\"a@example.net\",\"timestamp\":1795709221,\"response\":\
                 {\"code\":400,\"content\":\"KumoMTA internal: failed to connect to any candidate hosts: connect to 203.0.113.5:25 \
                 and read initial banner: failed to connect to 192.0.2.1:1080 HA { server: 192.0.2.1:1080, source: 192.0.2.9 }: \
                 Network is unreachable (os error 101)\"}}";
    assert_eq!(read(MtaKind::KumoMta, proxy).unwrap().said, Said::Other);
}

/// Every line that another test has, cut at each byte.
#[test]
fn a_line_can_be_cut_anywhere() {
    let lines = [include_str!("tests.rs"), include_str!("header.rs"), include_str!("wrapper.rs")];
    let begins = ["Nov 26", "2026", "<", "{", "mail"];
    let quoted =
        lines.iter().flat_map(|text| text.split('"')).filter(|text| begins.iter().any(|begin| text.starts_with(begin)));
    for (line, kind) in quoted.flat_map(|line| KINDS.map(|kind| (line, kind))) {
        for end in 0..line.len().min(400) {
            super::read(kind, &line.as_bytes()[..end], &clock());
            super::read(kind, &line.as_bytes()[end..], &clock());
        }
    }
}

#[test]
fn exim_before_it_put_the_host_first() {
    let cases = [
        (
            "1RAbCd-0001bQ-2x mx.example.net [203.0.113.5] Connection timed out",
            Some(
                "Failed TimedOut 1RAbCd-0001bQ-2x - mx.example.net[203.0.113.5] mx.example.net [203.0.113.5] Connection timed out",
            ),
        ),
        (
            "1RAbCd-0001bQ-2x Remote host mx.example.net [203.0.113.5] closed connection in response to initial connection",
            Some(
                "Failed LostBeforeGreeting 1RAbCd-0001bQ-2x - mx.example.net[203.0.113.5] Remote host mx.example.net \
                 [203.0.113.5] closed connection in response to initial connection",
            ),
        ),
        (
            "1RAbCd-0001bQ-2x SMTP timeout while connected to mx.example.net [203.0.113.5] after initial connection",
            Some(
                "Failed NoGreeting 1RAbCd-0001bQ-2x - mx.example.net[203.0.113.5] SMTP timeout while connected to \
                 mx.example.net [203.0.113.5] after initial connection",
            ),
        ),
        (
            "1RAbCd-0001bQ-2x == a@example.net R=dnslookup T=remote_smtp defer (-44): SMTP error from remote mail server \
             after RCPT TO:<a@example.net>: host mx.example.net [203.0.113.5]: 451 4.7.1 greylisted",
            Some(
                "Deferred Answered 1RAbCd-0001bQ-2x example.net mx.example.net[203.0.113.5] defer (-44): SMTP error from \
                 remote mail server after RCPT TO:<*@example.net>: host mx.example.net [203.0.113.5]: 451 4.7.1 greylisted",
            ),
        ),
        (
            "1RAbCd-0001bQ-2x ** a@example.net R=dnslookup T=remote_smtp: SMTP error from remote mail server after initial \
             connection: host mx.example.net [203.0.113.5]: 554 5.7.1 listed",
            Some(
                "Bounced Answered 1RAbCd-0001bQ-2x example.net mx.example.net[203.0.113.5] SMTP error from remote mail \
                 server after initial connection: host mx.example.net [203.0.113.5]: 554 5.7.1 listed",
            ),
        ),
        ("1RAbCd-0001bQ-2x no host name found for IP address [203.0.113.5] Connection refused", None),
        ("1RAbCd-0001bQ-2x rejected from mx.example.net [203.0.113.5] Connection refused", None),
    ];
    check(MtaKind::Exim, "2026-11-26 16:07:01 ", &cases);
}
