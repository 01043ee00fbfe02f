use super::*;

fn target() -> NatsTarget {
    NatsTarget {
        servers: vec!["nats://127.0.0.1:1".to_owned()],
        subject: "observer.v1.mx1".to_owned(),
        credentials: None,
        tls: Tls::default(),
        timeout: Duration::from_secs(2),
    }
}

#[test]
fn a_subject_ends_with_what_the_message_is() {
    assert_eq!(kind(br#"{"schema":"observer.event.v1","label":"refused"}"#), "refused");
    assert_eq!(kind(br#"{"schema":"observer.minute.v1","label":"refused"}"#), "minute");
    assert_eq!(kind(br#"{"schema":"observer.alert.v1"}"#), "alert");
    assert_eq!(kind(br#"{"schema":"observer.a >.v1"}"#), "message");
    assert_eq!(kind(b"CEF:0|observer"), "message");
}

#[test]
fn a_wrong_target_is_refused_in_words() {
    let wrong = [
        NatsTarget { subject: "observer.>".to_owned(), ..target() },
        NatsTarget { subject: "observer..mx1".to_owned(), ..target() },
        NatsTarget { servers: Vec::new(), ..target() },
        NatsTarget { servers: vec!["http://x".to_owned()], ..target() },
        NatsTarget { tls: Tls { server_name: Some("x".to_owned()), ..Tls::default() }, ..target() },
    ];
    for target in wrong {
        assert!(Nats::new(&target).is_err(), "{target:?}");
    }
}

#[test]
fn a_server_that_is_away_is_temporary_trouble() {
    let message = Message { id: "mx1-1".to_owned(), body: b"{}\n".to_vec() };
    let trouble = Nats::new(&target()).unwrap().send(&[message]).unwrap_err();
    assert!(matches!(trouble, Trouble::Temporary(_)), "{trouble}");
}

#[test]
fn signed_credentials_are_refused_with_the_cure() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "-----BEGIN NATS USER JWT-----\nsecret\n").unwrap();
    let nats = Nats::new(&NatsTarget { credentials: Some(file.path().to_owned()), ..target() }).unwrap();
    let cause = nats.connect().unwrap_err();
    assert!(cause.contains("USER:PASSWORD") && !cause.contains("secret"), "{cause}");
}
