use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::reply::Enhanced;
use super::*;

/// The meaning of the words of a log.
fn of(words: &str) -> Option<Meaning<'static>> {
    meaning(&Reply::in_words(words)?)
}

#[test]
fn the_table_is_in_order() {
    let table = Table::read(include_str!("answers.toml")).unwrap();
    let names: BTreeSet<_> = table.entries().iter().map(|entry| &entry.name).collect();
    assert_eq!(names.len(), table.entries().len(), "two entries of one name");
    let mut wrong = Vec::new();
    for entry in table.entries() {
        assert!(!entry.examples.is_empty(), "{}: no example", entry.name);
        assert!(table.has_next(entry.kind), "{}: no next step", entry.name);
        let mut hidden = BTreeSet::new();
        for example in &entry.examples {
            let reply = Reply::in_words(example).unwrap_or_else(|| panic!("{}: no answer in {example:?}", entry.name));
            let fitting = table.all_that_fit(&reply);
            match fitting.first() {
                Some(first) if first.name == entry.name => {}
                first => {
                    wrong.push(format!("{}: {:?} comes first for {example:?}", entry.name, first.map(|of| &of.name)))
                }
            }
            hidden.extend(fitting.iter().skip(1).filter(|other| other.kind != entry.kind).map(|other| &other.name));
        }
        let said: BTreeSet<_> = entry.before.iter().collect();
        if hidden != said {
            wrong.push(format!("{}: before = {hidden:?} in truth, and not {said:?}", entry.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_table_with_a_fault_is_refused_with_the_entry() {
    const GOOD: &str = r#"
        status = []
        code = []
        [kind.rate]
        next = "wait"
        [[answer]]
        name = "one"
        kind = "rate"
        words = ["slow .. down"]
        meaning = "too fast"
        examples = []
    "#;
    assert!(Table::read(GOOD).is_ok());
    for (from, to, expected) in [
        ("slow .. down", "Slow down", "one: invalid words \"Slow down\""),
        ("slow .. down", "a", "one: invalid words"),
        ("words = [\"slow .. down\"]", "", "one: missing words"),
        ("kind = \"rate\"", "kind = \"speed\"", "unknown variant `speed`"),
        ("words =", "code = [\"42\"]\nwords =", "one: invalid code \"42\""),
        ("words =", "enhanced = [\"4.7\"]\nwords =", "one: invalid status \"4.7\""),
        ("words =", "wrods = []\nwords =", "unknown field `wrods`"),
    ] {
        let error = Table::read(&GOOD.replace(from, to)).err().unwrap_or_default();
        assert!(error.contains(expected), "{from} -> {to}: {error}");
    }
}

/// Answers in other words than those of the table's examples, as mail servers log them,
/// and what they are about.
const OTHERS: &[(&str, AnswerKind)] = &[
    // Gmail
    (
        "host gmail-smtp-in.example[203.0.113.5] said: 421-4.7.28 Gmail has detected an unusual rate of mail originating from your SPF domain 421-4.7.28 [example.com 35]. 421 4.7.28 Learn more - gsmtp (in reply to end of DATA command)",
        AnswerKind::Rate,
    ),
    (
        "host gmail-smtp-in.example[203.0.113.5] said: 421-4.7.0 unsolicited mail originating from your IP address. An unusual rate of unsolicited mail was seen. 421 4.7.0 - gsmtp (in reply to end of DATA command)",
        AnswerKind::Rate,
    ),
    (
        "SMTP error from remote mail server after end of data: 550-5.7.26 This mail has been blocked because the sender is unauthenticated.\\n550-5.7.26 Gmail requires all senders to authenticate with either SPF or DKIM.\\n550 5.7.26 DKIM = did not pass - gsmtp",
        AnswerKind::Authentication,
    ),
    (
        "550 5.7.1 Gmail has detected that this message is likely suspicious due to the very low reputation of the sending domain. - gsmtp",
        AnswerKind::Reputation,
    ),
    ("451 4.4.2 Timeout - closing connection. - gsmtp", AnswerKind::Temporary),
    ("421 4.4.5 Server busy, try again later. - gsmtp", AnswerKind::Temporary),
    (
        "452 4.5.3 Domain policy size per transaction exceeded, please try this recipient in a separate transaction.",
        AnswerKind::Recipients,
    ),
    // Microsoft
    (
        "host example-net.mail.protection.example[203.0.113.5] said: 550 5.7.611 Access denied, banned sending IP [192.0.2.10] (in reply to RCPT TO command)",
        AnswerKind::Reputation,
    ),
    (
        "host outlook-com.example[203.0.113.5] said: 451 4.7.652 The mail server [192.0.2.10] has exceeded the maximum number of connections. (S3115) (in reply to MAIL FROM command)",
        AnswerKind::Rate,
    ),
    (
        "host outlook-com.example[203.0.113.5] said: 550 5.7.1 Unfortunately, messages from [192.0.2.10] weren't sent. Please contact your Internet service provider since part of their network is on our block list (S3140). (in reply to MAIL FROM command)",
        AnswerKind::Reputation,
    ),
    (
        "451 4.7.500 Server busy. Please try again later from [192.0.2.10]. (S77719) [DB5.prod.protection.outlook.example]",
        AnswerKind::Rate,
    ),
    (
        "550 5.7.1 Service unavailable, Client host [192.0.2.10] blocked using Spamhaus. (AS16012611)",
        AnswerKind::Reputation,
    ),
    ("550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup", AnswerKind::Mailbox),
    // Yahoo
    (
        "host mta7.example[203.0.113.5] said: 421 4.7.0 [TSS05] Messages from 192.0.2.10 temporarily deferred due to unexpected volume or user complaints (in reply to MAIL FROM command)",
        AnswerKind::Rate,
    ),
    ("421 4.7.1 [TSS11] All messages from 192.0.2.10 will be permanently deferred", AnswerKind::Reputation),
    (
        "554 delivery error: dd This user doesn't have a yahoo.example account (a@yahoo.example) [0] - mta1.example",
        AnswerKind::Mailbox,
    ),
    ("554 Message not allowed - [PH01] Email not accepted for policy reasons.", AnswerKind::Policy),
    // iCloud, T-Online, GMX
    ("550 5.7.1 [HM08] Message rejected due to local policy.", AnswerKind::Reputation),
    (
        "host mx00.t-online.example[203.0.113.5] refused to talk to me: 554 IP=192.0.2.77 - None/bad reputation. Ask your postmaster for help. (NOWL)",
        AnswerKind::Reputation,
    ),
    (
        "host mx01.gmx.example[203.0.113.5] refused to talk to me: 554-gmx.net (mxgmx009) Nemesis ESMTP Service not available 554-No SMTP service 554-Bad DNS PTR resource record. 554 For explanation visit https://postmaster.gmx.example/case?c=rdns&i=ip&v=192.0.2.10",
        AnswerKind::PtrHelo,
    ),
    (
        "554-web.de (mxweb105) Nemesis ESMTP Service not availableNo SMTP serviceIP address is black listed.For explanation visit the page",
        AnswerKind::Reputation,
    ),
    (
        "421-gmx.net (mxgmx115) Nemesis ESMTP Service not available 421-Service closing transmission channel 421-Too many messages in too short period. 421 Try again, reducing the sending rate",
        AnswerKind::Rate,
    ),
    // Others
    ("550 5.2.0 Mail rejete. Mail rejected. OFR_506 [506]", AnswerKind::Content),
    ("421 mwinf5c21 ME Trop de connexions, veuillez verifier votre configuration. OFR004_104", AnswerKind::Rate),
    ("421 Too many spams from your IP (192.0.2.99)", AnswerKind::Reputation),
    ("554 resimta-h1p.example comcast 192.0.2.10 Comcast block for spam. BL000010", AnswerKind::Reputation),
    ("421 4.1.0 192.0.2.10 Throttled - RL000003", AnswerKind::Rate),
    ("421 cmsmtp 192.0.2.10 blocked AUP#In-1310", AnswerKind::Rate),
    ("553 5.3.0 alph123 DNSBL:ATTRBL 521< 192.0.2.10 >_is_blocked", AnswerKind::Reputation),
    ("550 Ip frequency limited", AnswerKind::Rate),
    ("554 DT:SPM 163 smtp9, spam", AnswerKind::Content),
    ("550 5.7.0 Blocked - see https://ipcheck.proofpoint.com/?ip=192.0.2.10", AnswerKind::Reputation),
    ("550 5.7.1 Mail from 192.0.2.10 blocked using Trend Micro RBL+", AnswerKind::Reputation),
    (
        "554 mx.example.net Your access to this mail system has been rejected due to the sending MTA's poor reputation.",
        AnswerKind::Reputation,
    ),
    (
        "451 Internal resources are temporarily unavailable - https://community.example/docs#451",
        AnswerKind::Greylisting,
    ),
    // Lists
    (
        "554 5.7.1 Service unavailable; Client host [192.0.2.10] blocked using sbl.spamhaus.org; https://check.spamhaus.example/sbl/query/SBL1",
        AnswerKind::Reputation,
    ),
    ("550 Rejected because 192.0.2.10 is in a black list at bl.spamcop.net", AnswerKind::Reputation),
    ("550 5.7.1 Sender refused by the DNSBL list.example", AnswerKind::Reputation),
    ("554 5.7.1 Service unavailable; client [192.0.2.10] blocked using noptr.spamrats.com", AnswerKind::Reputation),
    ("550-\"JunkMail rejected - mail.example.com [192.0.2.10] is in an RBL: blacklisted\"", AnswerKind::Reputation),
    ("501 5.7.1 blocked: on our internal blocklist", AnswerKind::Reputation),
    // Greylisting
    (
        "host mx.example.net[203.0.113.5] said: 450 4.2.0 <a@example.net>: Recipient address rejected: Greylisted, see http://postgrey.example/help/example.net.html (in reply to RCPT TO command)",
        AnswerKind::Greylisting,
    ),
    ("451 4.7.1 Greylisting in action, please come back in 00:14:02", AnswerKind::Greylisting),
    ("450 4.7.1 <a@example.net>: Recipient address rejected: Greylisted for 300 seconds", AnswerKind::Greylisting),
    (
        "SMTP error from remote mail server after RCPT TO:<a@example.net>: 451-192.0.2.10 is not yet authorized to deliver mail from\\n451 <b@example.com> to <a@example.net>. Please try later.",
        AnswerKind::Greylisting,
    ),
    ("451 4.7.1 Try again later", AnswerKind::Greylisting),
    ("450 4.7.1 Please try again in 5 minutes", AnswerKind::Greylisting),
    ("422 4.2.2 You have been greylisted", AnswerKind::Greylisting),
    ("451 Temporarily greylisted as anti-spam measure. Please try again.", AnswerKind::Greylisting),
    // Authentication
    ("550-SPF-check failed: 550 example.com doesn't allow sending mails from 192.0.2.10", AnswerKind::Authentication),
    ("550 5.7.1 rejected by DMARC policy for example.com", AnswerKind::Authentication),
    ("550 5.7.20 no passing signature", AnswerKind::Authentication),
    ("553 5.1.8 <b@example.com>... Domain of sender address b@example.com does not exist", AnswerKind::Authentication),
    // Reverse name, HELO
    ("450 4.7.1 Client host rejected: cannot find your reverse hostname, [192.0.2.10]", AnswerKind::PtrHelo),
    ("550 5.7.1 Client host [192.0.2.10] has no PTR record (G1F)", AnswerKind::PtrHelo),
    ("550 5.7.25 it has to lead back", AnswerKind::PtrHelo),
    ("504 5.5.2 <web01>: Helo command rejected: need fully-qualified hostname", AnswerKind::PtrHelo),
    // The recipient
    (
        "host mx.example.net[203.0.113.5] said: 550 5.1.1 <a@example.net> User unknown; rejecting (in reply to RCPT TO command)",
        AnswerKind::Mailbox,
    ),
    ("550 No such user (a@example.net)", AnswerKind::Mailbox),
    ("550 5.1.1 gone", AnswerKind::Mailbox),
    ("550 5.2.1 The email account that you tried to reach is disabled. - gsmtp", AnswerKind::Mailbox),
    ("552 5.2.2 <a@example.net>: user is overquota", AnswerKind::Mailbox),
    ("450 4.2.1 The user you are trying to contact is receiving mail too quickly. - gsmtp", AnswerKind::Mailbox),
    ("550 5.1.1 <a@spamhaus.example>: Recipient address rejected: User unknown", AnswerKind::Mailbox),
    ("550 5.1.1 a@blocked.spamhaus.example: no such user here", AnswerKind::Mailbox),
    ("452 4.5.3 Too many recipients received this hour", AnswerKind::Recipients),
    ("452 4.5.3 Error: too many recipients", AnswerKind::Recipients),
    ("450 4.5.3 Too many recipients", AnswerKind::Recipients),
    ("552 5.3.4 Message size exceeds fixed limit", AnswerKind::Size),
    // Rate
    ("421 4.7.0 mx1.example.net Error: too many connections from 192.0.2.10", AnswerKind::Rate),
    ("421 Too many concurrent SMTP connections; please try again later.", AnswerKind::Rate),
    ("450 4.7.1 Error: connection rate limit exceeded", AnswerKind::Rate),
    ("421 4.7.1 Rate limited. Please slow down", AnswerKind::Rate),
    // Content, configuration, not now
    ("550 High probability of spam", AnswerKind::Content),
    ("554 5.7.1 Spam message rejected", AnswerKind::Content),
    ("554 5.6.0 Message contains malformed headers", AnswerKind::Content),
    ("550 5.7.1 Relaying denied. Proper authentication required.", AnswerKind::Configuration),
    ("530 5.7.0 Must issue a STARTTLS command first", AnswerKind::Configuration),
    ("421 4.3.2 All server ports are busy", AnswerKind::Temporary),
    ("452 4.3.1 Insufficient system resources", AnswerKind::Temporary),
    ("451 4.3.0 Error: queue file write error", AnswerKind::Temporary),
    ("421 mx.example.net Service not available", AnswerKind::Temporary),
    // By the codes alone
    ("host mx.example.net[203.0.113.5] refused to talk to me: 554 mx.example.net no", AnswerKind::Reputation),
    ("550 5.7.1 no", AnswerKind::Policy),
    ("550 no", AnswerKind::Unclear),
    ("450 4.7.25 no", AnswerKind::PtrHelo),
    ("451 4.4.5 no", AnswerKind::Temporary),
    ("550 5.4.6 no", AnswerKind::Configuration),
];

/// As [`OTHERS`], after the lists of answers that the receivers publish.
const PUBLISHED: &[(&str, AnswerKind)] = &[
    ("451 4.3.5 <mx>: Helo command rejected: Server configuration error", AnswerKind::Temporary),
    ("550-Requested action not taken: mailbox unavailable 550 Sender address is not allowed.", AnswerKind::Policy),
    (
        "550 5.2.0 This message has been rejected due to content judged to be spam by the internet community IB212",
        AnswerKind::Content,
    ),
    ("554 Email rejected due to security policies - MCSpamSignature.x.x - see the page", AnswerKind::Content),
    (
        "421-4.7.27 Your email has been rate limited because SPF authentication didn't pass for this message. 421 4.7.27 Gmail requires all bulk email senders to authenticate their email with SPF. - gsmtp",
        AnswerKind::Authentication,
    ),
    (
        "421-4.7.30 Your email has been rate limited because DKIM authentication didn't pass 421 4.7.30 for this message. - gsmtp",
        AnswerKind::Authentication,
    ),
    (
        "421-4.7.32 Your email has been rate limited because the From: header (RFC5322) in this message isn't aligned with either the authenticated SPF or DKIM organizational domain. - gsmtp",
        AnswerKind::Authentication,
    ),
    (
        "421-4.7.40 Your email has been rate limited because the sending domain doesn't have a DMARC record, or the record doesn't specify a DMARC policy. - gsmtp",
        AnswerKind::Authentication,
    ),
    (
        "421-4.7.26 Your email has been rate limited because it is unauthenticated. Gmail requires all senders to authenticate with either SPF or DKIM. - gsmtp",
        AnswerKind::Authentication,
    ),
    (
        "550-5.7.30 Your email has been blocked because DKIM authentication didn't pass for this message. - gsmtp",
        AnswerKind::Authentication,
    ),
    (
        "550-5.7.27 Your email has been blocked because SPF authentication didn't pass for this message. - gsmtp",
        AnswerKind::Authentication,
    ),
    (
        "550-5.7.40 Your email has been blocked because the sending domain doesn't have a DMARC record. - gsmtp",
        AnswerKind::Authentication,
    ),
    (
        "550-5.7.24 The SPF record of the sending domain has one or more suspicious entries. - gsmtp",
        AnswerKind::Authentication,
    ),
    (
        "421-4.7.29 Your email has been rate limited because this message wasn't sent over a TLS connection. 421 4.7.29 Gmail requires all bulk email senders to use TLS/SSL for SMTP connections. - gsmtp",
        AnswerKind::Configuration,
    ),
    (
        "550-5.7.29 Your email has been blocked because this message wasn't sent over a TLS connection. - gsmtp",
        AnswerKind::Configuration,
    ),
    (
        "421-4.7.29 Your email has been rate limited because this connection is not using TLS. gsmtp",
        AnswerKind::Configuration,
    ),
    (
        "421-4.7.23 Your email has been rate limited because the sending IP address doesn't have a PTR record, or the PTR record's forward DNS entry doesn't match the sending IP address. - gsmtp",
        AnswerKind::PtrHelo,
    ),
    (
        "421-4.7.23 [192.0.2.10] Your email has been rate limited because this IP address has no PTR record. - gsmtp",
        AnswerKind::PtrHelo,
    ),
    (
        "552-5.7.0 This message was blocked because its content presents a potential 552-5.7.0 security issue. - gsmtp",
        AnswerKind::Content,
    ),
    ("552-5.7.0 Our system detected an illegal attachment on your message. - gsmtp", AnswerKind::Content),
    ("550 5.7.1 Messages missing a valid Message-ID header are not accepted. - gsmtp", AnswerKind::Content),
    (
        "550-5.7.1 This message is not RFC 5322 compliant, the issue is: multiple From headers. - gsmtp",
        AnswerKind::Content,
    ),
    (
        "550-5.7.1 [192.0.2.10] The IP you're using to send mail is not authorized to 550-5.7.1 send email directly to our servers. Please use the SMTP relay at your 550 5.7.1 service provider instead. - gsmtp",
        AnswerKind::Reputation,
    ),
    ("550 5.4.5 Daily sending quota exceeded. - gsmtp", AnswerKind::Rate),
    ("550-5.4.5 Daily SMTP relay limit exceeded for customer. - gsmtp", AnswerKind::Rate),
    ("450-4.2.1 Peak SMTP relay limit exceeded for customer. - gsmtp", AnswerKind::Rate),
    (
        "550 5.7.1 The user or domain that you are sending to (or from) has a policy that prohibited the mail that you sent. - gsmtp",
        AnswerKind::Policy,
    ),
    (
        "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient a@example.net not found by SMTP address lookup",
        AnswerKind::Mailbox,
    ),
    ("550 5.1.10 Recipient not found", AnswerKind::Mailbox),
    ("550 5.1.351 Remote server returned unknown recipient or mailbox unavailable", AnswerKind::Mailbox),
    (
        "550 5.2.122 The recipient has exceeded their limit for the number of messages they can receive per hour",
        AnswerKind::Mailbox,
    ),
    (
        "550 5.2.121 The recipient has exceeded their limit for the number of messages they can receive per hour from a specific sender",
        AnswerKind::Mailbox,
    ),
    ("550 5.2.2 Submission quota exceeded", AnswerKind::Rate),
    ("550 5.7.124 Sender not in allowed-senders list", AnswerKind::Mailbox),
    ("550 5.7.133 Sender not authenticated for group", AnswerKind::Mailbox),
    (
        "550 5.7.750 Service unavailable. Client blocked from sending from unregistered domains",
        AnswerKind::Configuration,
    ),
    ("554 5.4.14 Hop count exceeded - possible mail loop ATTR34", AnswerKind::Configuration),
    ("550 5.7.64 TenantAttribution; Relay Access Denied", AnswerKind::Configuration),
    (
        "550 5.7.515 Access denied, sending domain example.com doesn't meet the required authentication level",
        AnswerKind::Authentication,
    ),
    (
        "451 4.7.26 Unauthenticated email from example.com is not accepted due to domain's DMARC policy",
        AnswerKind::Authentication,
    ),
    ("550 5.7.367 Remote server returned not permitted to relay", AnswerKind::Configuration),
    ("550 5.7.708 Service unavailable. Access denied, traffic not accepted from this IP", AnswerKind::Reputation),
    (
        "421 4.7.66 TLS 1.0 and 1.1 are not supported. Please upgrade/update your client to support TLS 1.2",
        AnswerKind::Configuration,
    ),
    ("452 4.5.3 Too many recipients (AS780090) per hour", AnswerKind::Rate),
    (
        "421 4.7.0 [TSS04] Messages from 192.0.2.10 temporarily deferred due to unexpected volume or user complaints",
        AnswerKind::Rate,
    ),
    ("421 4.7.0 [TS02] Messages from 192.0.2.10 temporarily deferred", AnswerKind::Rate),
    (
        "421 4.16.55 [TS01] Messages from x.x.x.x temporarily deferred due to excessive user complaints",
        AnswerKind::Rate,
    ),
    (
        "553 5.7.2 [TSS09] All messages from 192.0.2.10 will be permanently deferred; Retrying will NOT succeed.",
        AnswerKind::Reputation,
    ),
    ("553 5.7.1 [BL23] Connections not accepted from IP addresses on Spamhaus XBL", AnswerKind::Reputation),
    (
        "554 5.7.1 [BL21] Connections will not be accepted from 192.0.2.10, because the ip is in Spamhaus's list",
        AnswerKind::Reputation,
    ),
    (
        "554 30 Sorry, your message to a@yahoo.example cannot be delivered. This mailbox is disabled (554.30).",
        AnswerKind::Mailbox,
    ),
    ("552 1 Requested mail action aborted, mailbox not found", AnswerKind::Mailbox),
    ("554 5.7.5 Message not accepted: permanent error evaluating DMARC policy", AnswerKind::Authentication),
    ("554 5.7.9 Message not accepted for policy reasons", AnswerKind::Policy),
    (
        "554 5.7.1 (DNSBL) (RLY:B1) The URL contained in this email to AOL members has generated a high volume of complaints",
        AnswerKind::Reputation,
    ),
    (
        "554 RTR:BB The IP address has been blocked due to a spike in unfavorable e-mail statistics",
        AnswerKind::Reputation,
    ),
    ("550 5.7.1 Your email was rejected due to having a domain present in the DBL of Spamhaus", AnswerKind::Reputation),
    ("554 5.7.1 [HM08] Message rejected due to local policy.", AnswerKind::Reputation),
    ("550 5.1.1 unknown or illegal alias: a@icloud.example", AnswerKind::Mailbox),
    ("552 5.2.2 user is over quota", AnswerKind::Mailbox),
    ("550 5.7.0 Mail rejected due to local policy. Contact postmaster", AnswerKind::Policy),
    ("550 permanent failure for one or more recipients (a@example.net:550 5.1.1 User unknown)", AnswerKind::Mailbox),
    ("550 permanent failure for one or more recipients (a@example.net:blocked)", AnswerKind::Policy),
    (
        "554 Service unavailable; Client host [mail.example.com] blocked using Barracuda Reputation; http://www.barracudanetworks.com/reputation/?r=1&ip=192.0.2.10",
        AnswerKind::Reputation,
    ),
    ("550 mail not accepted from blacklisted IP address [192.0.2.10]", AnswerKind::Reputation),
    (
        "550 Domain may not exist or DNS check failed [abc IP: 192.0.2.10]. https://service.mail.qq.com/detail/124/61",
        AnswerKind::Authentication,
    ),
    (
        "550 The recipient may contain a non-existent account, please check the recipient address. https://service.mail.qq.com",
        AnswerKind::Mailbox,
    ),
    ("550 Mailbox unavailable or access denied [abc IP: 192.0.2.10]", AnswerKind::Mailbox),
    ("550 Mail content denied [abc]", AnswerKind::Content),
    ("550 SPF check failed [abc]", AnswerKind::Authentication),
    ("550 DMARC check failed", AnswerKind::Authentication),
    ("550 Domain frequency limited", AnswerKind::Rate),
    ("550 Reverse DNS failed", AnswerKind::PtrHelo),
    ("550 Suspected spam ip", AnswerKind::Reputation),
    ("550 Mail is rejected by recipients [abc]", AnswerKind::Mailbox),
    ("421 Too many connexions from your IP (192.0.2.10), see http://postmaster.free.fr/", AnswerKind::Rate),
    (
        "421 smtp-33.iol.local smtp-33.iol.local You've reached your daily relay quota - [192.0.2.10] [smtp; LIB_600]",
        AnswerKind::Rate,
    ),
    ("421 smtp-33.iol.local Too many connections. LIB_601", AnswerKind::Rate),
    (
        "550 smtp-16.iol.local IP blacklisted by CSI. For remediation please use http://csi.cloudmark.com/reset-request/?ip=192.0.2.10 [smtp-16.iol.local; LIB_102]",
        AnswerKind::Reputation,
    ),
    ("550 High probability of spam", AnswerKind::Content),
    ("554 5.7.1 Message classified as probable spam", AnswerKind::Content),
    ("450 4.7.1 Client host rejected: delayed, try again in 5 minutes", AnswerKind::Greylisting),
    ("554 5.7.1 Client host rejected: Access denied", AnswerKind::Reputation),
    ("451 Please try again later (TEMPORARY delay: new sender)", AnswerKind::Greylisting),
    ("450 4.7.1 Greylisted. Please try again in 300 seconds", AnswerKind::Greylisting),
    ("451 4.3.0 Message temporarily deferred, greylisting in effect", AnswerKind::Greylisting),
    (
        "554 IP=192.0.2.10 - Dialup/transient IP not allowed. Use a mailgateway or contact tobr@rx.t-online.de",
        AnswerKind::Reputation,
    ),
    ("421 IP=192.0.2.10 - Too many connections (t-online)", AnswerKind::Rate),
    ("421 too many spam messages from your IP", AnswerKind::Reputation),
    ("550 5.7.1 Email rejected per DMARC policy for example.com", AnswerKind::Authentication),
    ("550 5.7.1 Our system has detected that IP 192.0.2.10 is on our internal deny list", AnswerKind::Reputation),
    ("550-5.7.1 http://www.ovh.com spam detected from your IP 192.0.2.10", AnswerKind::Reputation),
    ("451 4.7.1 OVH: too many mails from your IP, slow down", AnswerKind::Rate),
    ("550 spam message from your ip", AnswerKind::Reputation),
    ("550 5.7.1 Email rejected: SPF fail", AnswerKind::Authentication),
    ("550 5.7.1 Spamhaus: client [192.0.2.10] blocked", AnswerKind::Reputation),
    ("451 4.7.1 Sorry, your message rate limit exceeded. yandex", AnswerKind::Rate),
    ("554 5.7.1 [2] Message rejected under suspicion of SPAM; https://ya.cc/1IrBc 1690-abc", AnswerKind::Content),
    ("550 5.7.1 No such user!", AnswerKind::Mailbox),
    (
        "550 Message was not accepted -- invalid mailbox. Local mailbox a@mail.example is unavailable: user not found",
        AnswerKind::Mailbox,
    ),
    (
        "550 Message was not accepted -- invalid mailbox. Local mailbox a@mail.example is unavailable: account is disabled",
        AnswerKind::Mailbox,
    ),
    (
        "550 Access from ip address 192.0.2.10 blocked. Visit http://help.mail.ru/notspam-support/",
        AnswerKind::Reputation,
    ),
    ("550 Cannot accept because of DMARC policy of example.com", AnswerKind::Authentication),
    ("421 Try again later, rate limited (mail.ru)", AnswerKind::Rate),
    ("554 5.7.1 Rejected: 192.0.2.10 listed at zen.spamhaus.org", AnswerKind::Reputation),
    ("550 5.7.1 Unable to relay", AnswerKind::Configuration),
    ("554 5.7.0 Blocked - see https://ipcheck.proofpoint.com/?ip=192.0.2.10", AnswerKind::Reputation),
    ("550 5.7.1 Message rejected due to IP reputation. Cloudmark CSI", AnswerKind::Reputation),
    ("554 5.7.1 Message content rejected, UBE, id=12345", AnswerKind::Content),
    ("550 5.7.1 Message detected as spam by Mimecast", AnswerKind::Content),
    ("550 5.1.8 Access denied, bad outbound sender", AnswerKind::Reputation),
    (
        "421 4.7.1 : (DYN:T1) The IP address you are sending from has been temporarily rate limited due to poor IP reputation",
        AnswerKind::Rate,
    ),
    ("421 4.7.0 [GL01] Message from (192.0.2.10) temporarily deferred", AnswerKind::Greylisting),
    ("450 4.7.1 <mx[192.0.2.10]>: Client host rejected: delayed, try again", AnswerKind::Greylisting),
    ("550 Rejected by header based Anti-Spoofing policy: example.com", AnswerKind::Authentication),
    ("550 5.7.1 spam detecté, pas content", AnswerKind::Content),
    ("554 5.7.1 Gtube pattern", AnswerKind::Content),
    ("550 Message for <a@example.net> would exceed mailbox quota exceeded", AnswerKind::Mailbox),
];

#[test]
fn answers_in_other_words_are_understood() {
    let wrong: Vec<String> = OTHERS
        .iter()
        .chain(PUBLISHED)
        .filter_map(|(words, expected)| {
            let found = of(words).map(|found| (found.kind, found.name));
            (found.map(|(kind, _)| kind) != Some(*expected))
                .then(|| format!("{expected:?}, and not {found:?}: {words}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Code, enhanced code, stage and text of an answer in the words of a log.
fn parts(words: &str) -> (u16, Option<String>, Option<Stage>, String) {
    let reply = Reply::in_words(words).unwrap_or_else(|| panic!("no answer: {words}"));
    (reply.code, reply.enhanced.map(|status| status.to_string()), reply.stage, reply.text)
}

#[test]
fn the_lines_of_an_answer_are_joined_as_each_server_logs_them() {
    let joined = "not here, see the page, or ask us";
    for (words, stage) in [
        // Postfix puts a blank between lines.
        (
            "host mx.example.net[203.0.113.5] said: 550-5.7.1 not here, 550-5.7.1 see the page, 550 5.7.1 or ask us (in reply to MAIL FROM command)",
            Some(Stage::Mail),
        ),
        (
            "delivery temporarily suspended: host mx.example.net[203.0.113.5] refused to talk to me: 550-5.7.1 not here, 550-5.7.1 see the page, 550 5.7.1 or ask us",
            Some(Stage::Greeting),
        ),
        // Exim writes the line's end as two characters.
        (
            "SMTP error from remote mail server after end of data: 550-5.7.1 not here,\\n550-5.7.1 see the page,\\n550 5.7.1 or ask us",
            Some(Stage::Data),
        ),
        (
            "defer (-45) H=mx.example.net [203.0.113.5]: SMTP error from remote mail server after pipelined MAIL FROM:<*@example.com> SIZE=2022: 550-5.7.1 not here,\\n550-5.7.1 see the page,\\n550 5.7.1 or ask us",
            Some(Stage::Mail),
        ),
        (
            "LMTP error after RCPT TO:<*@example.net>: 550-5.7.1 not here,\\n550 5.7.1 see the page, or ask us",
            Some(Stage::Rcpt),
        ),
        // OpenSMTPD takes the codes off all lines but the first.
        ("550-5.7.1 not here, see the page, or ask us", None),
        ("BANNER rejected: 550-5.7.1 not here, see the page, or ask us", Some(Stage::Greeting)),
        // KumoMTA keeps them apart, and leaves a line's end or a blank.
        ("550 5.7.1 not here,\r\nsee the page,\r\nor ask us", None),
        ("550 5.7.1 not here, see the page, or ask us", None),
    ] {
        assert_eq!(parts(words), (550, Some("5.7.1".to_owned()), stage, joined.to_owned()), "{words}");
    }
}

#[test]
fn codes_are_found_where_servers_put_them() {
    for (words, code, status, text) in [
        ("554-gmx.net (mx9) 554-no 554 end", 554, None, "gmx.net (mx9) no end"),
        ("550 no such user (#5.1.1)", 550, Some("5.1.1"), "no such user (#5.1.1)"),
        ("550 cuda_nsu 5.1.1 unknown", 550, Some("5.1.1"), "cuda_nsu 5.1.1 unknown"),
        ("421 4.7.0 try 4.16.55.1 or 5.6.7", 421, Some("4.7.0"), "try 4.16.55.1 or 5.6.7"),
        ("550 192.0.2.10 on 28.11.26", 550, None, "192.0.2.10 on 28.11.26"),
        ("550 4.7.1 of another class", 550, Some("4.7.1"), "of another class"),
        ("451", 451, None, ""),
        ("550-", 550, None, ""),
    ] {
        let found = parts(words);
        assert_eq!((found.0, found.1.as_deref(), found.3.as_str()), (code, status, text), "{words}");
    }
    for words in [
        "",
        "Connection refused",
        "5500 x",
        "55 x",
        "connect to mx[203.0.113.5]:25: Connection timed out",
        "650 x",
        "55é",
    ] {
        assert_eq!(Reply::in_words(words), None, "{words}");
    }
    assert_eq!(Reply::of_greeting("554 no").and_then(|reply| reply.stage), Some(Stage::Greeting));
    assert_eq!(meaning(&Reply::of_greeting("220 mx.example.net ESMTP").unwrap()), None);
}

#[test]
fn what_stands_behind_a_long_beginning_counts() {
    let words = format!("550 5.7.1 {} is listed at zen.spamhaus.org", "word ".repeat(400));
    assert_eq!(of(&words).map(|found| found.name), Some("spamhaus"));
}

#[test]
fn lines_without_a_blank_between_them_have_words() {
    assert_eq!(
        of("554-no serviceIP address is block listed.For help ask").map(|found| found.name),
        Some("gmx-block-listed")
    );
    assert_eq!(of("554 skip address is block listed").map(|found| found.known_by), Some(KnownBy::Words));
    assert_ne!(of("550 absorbs").map(|found| found.kind), Some(AnswerKind::Reputation));
}

#[test]
fn an_answer_says_how_long_to_wait_only_where_it_is_to_be_tried_again() {
    let wait = |words| of(words).and_then(|found| found.wait);
    assert_eq!(wait("451 4.7.1 Greylisted, try again in 5 minutes"), Some(Duration::from_secs(300)));
    assert_eq!(wait("550 5.7.1 your IP is blocked for 5 minutes"), None);
}

#[test]
fn microsofts_server_busy_is_no_greylisting() {
    let found = of("451 4.7.500 Server busy. Please try again later from [192.0.2.10].").unwrap();
    assert_eq!((found.kind, found.provider), (AnswerKind::Rate, Some("Microsoft 365")));
}

#[test]
fn the_registry_knows_every_code_that_iana_lists() {
    // https://www.iana.org/assignments/smtp-enhanced-status-codes, without the class.
    const DETAILS: [(u16, &[u16]); 7] = [
        (1, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        (2, &[0, 1, 2, 3, 4]),
        (3, &[0, 1, 2, 3, 4, 5, 6]),
        (4, &[0, 1, 2, 3, 4, 5, 6, 7]),
        (5, &[0, 1, 2, 3, 4, 5, 6]),
        (6, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        (
            7,
            &[
                0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27,
                28, 29, 30,
            ],
        ),
    ];
    for class in [4, 5] {
        for (subject, details) in DETAILS {
            for &detail in details {
                let enhanced = Some(Enhanced { class, subject, detail });
                let reply = Reply { code: 100 * u16::from(class) + 50, enhanced, stage: None, text: "x".to_owned() };
                let found = meaning(&reply).unwrap();
                let is_gmails = (subject, detail) == (7, 28);
                assert!(found.known_by == KnownBy::Status || is_gmails, "{class}.{subject}.{detail}: {found:?}");
            }
        }
    }
}

#[test]
fn a_mailbox_is_never_a_block() {
    for words in [
        "550 5.1.1 <*@example.net>: Recipient address rejected: User unknown in relay recipient table",
        "550 5.2.1 mailbox has been blocked",
        "552 5.2.2 mailbox full",
        "550 account is blocked",
        "452 4.5.3 too many recipients",
    ] {
        let kind = of(words).unwrap().kind;
        assert!(matches!(kind, AnswerKind::Mailbox | AnswerKind::Recipients), "{words}: {kind:?}");
    }
}

proptest! {
    #[test]
    fn any_text_is_an_answer_or_none(text in any::<String>(), code in 400_u16..600) {
        Reply::in_words(&text);
        let reply = Reply::in_words(&format!("{code} {text}")).unwrap();
        prop_assert!(meaning(&reply).is_some());
        let words = format!("SMTP error from remote mail server after RCPT TO:{text}: {code}-{text}\\n{code} {text}");
        Reply::in_words(&words).as_ref().and_then(meaning);
    }
}

#[test]
fn a_hostile_text_takes_no_time() {
    let texts =
        ["your ip ".repeat(500), "blocked ".repeat(500), "<".repeat(4_000), "5.7.1 ".repeat(700), "1 ".repeat(2_000)];
    for text in texts {
        let reply = Reply::in_words(&format!("550-{text}")).unwrap();
        assert!(reply.text.len() <= 4_096);
        meaning(&reply);
    }
}
