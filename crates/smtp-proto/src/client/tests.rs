use super::*;
use crate::grammar::By;
use crate::server;
use crate::{XFacteur, server::MailFrom};
use mail_types::{Address, BodyType, ByMode, DsnNotify, DsnReturn, QueueId, Recipient};
use std::sync::Arc;

fn address(text: &str) -> Address {
    Address::parse(text).expect("test address")
}

fn message(recipients: &[&str], body: &str) -> Message {
    Message {
        mail: MailFrom { sender: Some(address("a@x.test")), ..MailFrom::default() },
        recipients: recipients.iter().map(|r| Recipient::new(address(r))).collect(),
        forward: Vec::new(),
        body: Body::Memory(Arc::new(body.as_bytes().to_vec())),
    }
}

/// Runs `session` until it wants the server to speak, is ready, or ends. Returns what it sent and the step.
fn run(session: &mut Session) -> (String, Step) {
    let mut sent = String::new();
    loop {
        match session.step() {
            Step::Send(bytes) => sent.push_str(&String::from_utf8(bytes).expect("text")),
            step => return (sent, step),
        }
    }
}

/// What the client answers to `said`; it must want more input afterwards.
fn tell(session: &mut Session, said: &str) -> String {
    session.receive(said.as_bytes());
    run(session).0
}

fn ready(settings: Settings, keywords: &str) -> Session {
    let mut session = Session::new(settings);
    assert_eq!(tell(&mut session, "220 hi\r\n").get(2..), Some("LO me.test\r\n"));
    session.receive(format!("250-there\r\n{keywords}250 HELP\r\n").as_bytes());
    assert!(matches!(run(&mut session).1, Step::Ready));
    session
}

fn finished(session: &mut Session) -> Vec<(Option<Stage>, String)> {
    match run(session).1 {
        Step::Finished(report) => report
            .recipients
            .into_iter()
            .map(|said| said.map_or((None, String::new()), |said| (Some(said.stage), said.reply.to_string())))
            .collect(),
        step => panic!("expected a report, got {step:?}"),
    }
}

fn smtp() -> Settings {
    Settings { tls: TlsUse::Never, ..Settings::smtp("me.test") }
}

#[test]
fn without_pipelining_each_command_waits_for_its_reply() {
    let mut session = ready(smtp(), "");
    session.deliver(message(&["b@y.test", "c@y.test"], "x\r\n.y\r\n"));
    assert_eq!(run(&mut session).0, "MAIL FROM:<a@x.test>\r\n");
    assert_eq!(tell(&mut session, "250 Ok\r\n"), "RCPT TO:<b@y.test>\r\n");
    assert_eq!(tell(&mut session, "550 5.1.1 no\r\n"), "RCPT TO:<c@y.test>\r\n");
    assert_eq!(tell(&mut session, "250 Ok\r\n"), "DATA\r\n");
    assert_eq!(tell(&mut session, "354 go\r\n"), "x\r\n..y\r\n.\r\n");
    session.receive(b"250 2.0.0 queued\r\n");
    assert_eq!(
        finished(&mut session),
        [(Some(Stage::Recipient), "550 5.1.1 no".into()), (Some(Stage::Message), "250 2.0.0 queued".into())]
    );
    assert!(matches!(run(&mut session).1, Step::Ready));
    session.quit();
    assert_eq!(run(&mut session).0, "QUIT\r\n");
    session.receive(b"221 bye\r\n");
    assert!(matches!(run(&mut session).1, Step::Close));
}

#[test]
fn rfc9422_limits_are_read_and_nonsense_is_none() {
    for (line, want) in [
        ("LIMITS RCPTMAX=10 MAILMAX=3 RCPTDOMAINMAX=1", (Some(3), Some(10), Some(1))),
        ("limits rcptmax=10 FUTURE=x,y", (None, Some(10), None)),
        ("LIMITS RCPTMAX=0 MAILMAX=-1 RCPTDOMAINMAX=1234567", (None, None, None)),
        ("LIMITS RCPTMAX MAILMAX= =3", (None, None, None)),
        ("LIMITS", (None, None, None)),
    ] {
        let got = ready(smtp(), &format!("250-{line}\r\n")).capabilities().limits;
        assert_eq!((got.transactions, got.recipients, got.recipient_domains), want, "{line}");
    }
}

#[test]
fn wishes_are_told_to_servers_that_know_them() {
    for (keywords, want) in [
        ("", ""),
        ("250-DELIVERBY\r\n", " BY=98;RT"),
        ("250-DELIVERBY 30,x\r\n250-MT-PRIORITY\r\n", " BY=98;RT MT-PRIORITY=-3"),
        ("250-MT-PRIORITY MIXER\r\n250-REQUIRETLS\r\n", " MT-PRIORITY=-3 REQUIRETLS"),
    ] {
        let mut session = ready(smtp(), keywords);
        let mut mail = message(&["b@y.test"], "x\r\n");
        mail.mail.by = Some(By { seconds: 98, mode: ByMode::Return, trace: true });
        (mail.mail.priority, mail.mail.require_tls) = (Some(-3), true);
        session.deliver(mail);
        assert_eq!(run(&mut session).0, format!("MAIL FROM:<a@x.test>{want}\r\n"));
    }
    assert_eq!(ready(smtp(), "250-DELIVERBY 240\r\n").capabilities().deliver_by, Some(240));
}

#[test]
fn xforward_comes_before_mail_where_it_is_announced_and_its_refusal_is_no_obstacle() {
    for (keywords, want) in [
        ("", "MAIL FROM:<a@x.test>\r\n"),
        ("250-XFORWARD NAME ADDR\r\n", "XFORWARD NAME=[UNAVAILABLE] ADDR=192.0.2.7\r\n"),
        ("250-XFORWARD ADDR\r\n250-PIPELINING\r\n", "XFORWARD ADDR=192.0.2.7\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nDATA\r\n"),
    ] {
        let mut session = ready(smtp(), keywords);
        let forward = vec![("NAME", None), ("ADDR", Some("192.0.2.7".to_owned()))];
        session.deliver(Message { forward, ..message(&["b@y.test"], "x\r\n") });
        assert_eq!(run(&mut session).0, want);
        if !keywords.is_empty() {
            assert_eq!(session.awaited().phase, Phase::XForward);
            let next = tell(&mut session, "550 5.7.0 not you\r\n");
            assert_eq!(next.is_empty(), keywords.contains("PIPELINING"), "{next}");
        }
    }
}

#[test]
fn bdat_goes_to_those_who_take_it_once_somebody_is_accepted() {
    let chosen = Settings { bdat: true, ..smtp() };
    let mut session = ready(chosen.clone(), "250-PIPELINING\r\n");
    session.deliver(message(&["b@y.test"], "x\r\n"));
    assert!(run(&mut session).0.ends_with("DATA\r\n"), "CHUNKING is not announced");
    for answer in ["250 Ok\r\n", "550 5.1.1 no\r\n"] {
        let mut session = ready(chosen.clone(), "250-PIPELINING\r\n250-CHUNKING\r\n");
        session.deliver(message(&["b@y.test"], ".x\r\n"));
        assert_eq!(run(&mut session).0, "MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\n");
        assert_eq!(tell(&mut session, "250 Ok\r\n"), "");
        session.receive(answer.as_bytes());
        if answer.starts_with("550") {
            assert_eq!(finished(&mut session), [(Some(Stage::Recipient), "550 5.1.1 no".into())]);
            continue;
        }
        assert_eq!(run(&mut session).0, "BDAT 4 LAST\r\n.x\r\n");
        session.receive(b"250 2.0.0 queued\r\n");
        assert_eq!(finished(&mut session), [(Some(Stage::Message), "250 2.0.0 queued".into())]);
    }
}

#[test]
fn a_transcript_has_neither_messages_nor_passwords() {
    let credentials = Some(Credentials { login: "me".into(), password: mail_types::Secret::new("opensesame") });
    let mut session = ready_to_log_in(Settings { transcript: true, auth_without_tls: true, credentials, ..smtp() });
    session.receive(b"235 2.7.0 ok\r\n");
    run(&mut session);
    session.deliver(message(&["b@y.test"], "Subject: secret\r\n\r\nx\r\n"));
    run(&mut session);
    for reply in ["250 Ok\r\n", "250 Ok\r\n", "354 go\r\n", "502 5.5.1 What?\r\n"] {
        session.receive(reply.as_bytes());
        run(&mut session);
    }
    let text = session.transcript();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    assert_eq!(
        lines[..6],
        [
            "In:  220 hi",
            "Out: EHLO me.test",
            "In:  250 there PIPELINING AUTH PLAIN",
            "Out: AUTH PLAIN (login)",
            "In:  235 2.7.0 ok",
            "Out: MAIL FROM:<a@x.test>"
        ]
    );
    assert!(text.contains("Out: (the message)") && text.ends_with("In:  502 5.5.1 What?\r\n"), "{text}");
    assert!(!text.contains("secret") && !text.contains("bWU"), "{text}");
    // The next message has its own.
    session.deliver(message(&["c@y.test"], "x\r\n"));
    assert!(!session.transcript().contains("b@y.test"));
    assert_eq!(Session::new(smtp()).transcript(), "");
}

fn ready_to_log_in(settings: Settings) -> Session {
    let mut session = Session::new(settings);
    tell(&mut session, "220 hi\r\n");
    tell(&mut session, "250-there\r\n250-PIPELINING\r\n250 AUTH PLAIN\r\n");
    session
}

#[test]
fn nothing_is_sent_when_nobody_is_accepted() {
    let mut session = ready(smtp(), "");
    session.deliver(message(&["b@y.test"], "x\r\n"));
    run(&mut session);
    tell(&mut session, "250 Ok\r\n");
    session.receive(b"450 4.2.1 later\r\n");
    assert_eq!(finished(&mut session), [(Some(Stage::Recipient), "450 4.2.1 later".into())]);
    // The transaction is still open on the other side.
    assert!(matches!(run(&mut session).1, Step::Ready));
    session.deliver(message(&["b@y.test"], "x\r\n"));
    assert_eq!(run(&mut session).0, "RSET\r\n");
    assert_eq!(tell(&mut session, "250 Ok\r\n"), "MAIL FROM:<a@x.test>\r\n");
}

#[test]
fn with_pipelining_the_envelope_is_one_group_and_the_message_waits() {
    let mut session = ready(smtp(), "250-PIPELINING\r\n250-SIZE 100\r\n");
    session.deliver(message(&["b@y.test", "c@y.test"], "x\r\n"));
    assert_eq!(run(&mut session).0, "MAIL FROM:<a@x.test> SIZE=3\r\nRCPT TO:<b@y.test>\r\nRCPT TO:<c@y.test>\r\nDATA\r\n");
    assert_eq!(tell(&mut session, "250 Ok\r\n250 Ok\r\n450 4.2.1 full\r\n354 go\r\n"), "x\r\n.\r\n");
    session.receive(b"250 queued\r\n");
    assert_eq!(finished(&mut session), [(Some(Stage::Message), "250 queued".into()), (Some(Stage::Recipient), "450 4.2.1 full".into())]);
}

#[test]
fn rfc2920_data_taken_for_nobody_gets_an_empty_message() {
    let mut session = ready(smtp(), "250-PIPELINING\r\n");
    session.deliver(message(&["b@y.test"], "secret\r\n"));
    run(&mut session);
    assert_eq!(tell(&mut session, "250 Ok\r\n550 no\r\n354 go\r\n"), ".\r\n");
    session.receive(b"554 no valid recipients\r\n");
    assert_eq!(finished(&mut session), [(Some(Stage::Recipient), "550 no".into())]);
    assert!(matches!(run(&mut session).1, Step::Ready));
}

#[test]
fn a_refused_sender_decides_for_everybody() {
    let mut session = ready(smtp(), "250-PIPELINING\r\n");
    session.deliver(message(&["b@y.test", "c@y.test"], "x\r\n"));
    run(&mut session);
    session.receive(b"550 5.7.1 not you\r\n503 x\r\n503 x\r\n503 x\r\n");
    assert_eq!(finished(&mut session), [(Some(Stage::Mail), "550 5.7.1 not you".into()), (Some(Stage::Mail), "550 5.7.1 not you".into())]);
}

#[test]
fn binary_mail_waits_for_somebody_to_take_it() {
    let mut session = ready(smtp(), "250-PIPELINING\r\n250-BINARYMIME\r\n250-CHUNKING\r\n");
    let binary = || {
        let mut mail = message(&["b@y.test", "c@y.test"], "x\0\n");
        mail.mail.body = BodyType::BinaryMime;
        mail
    };
    session.deliver(binary());
    let sent = run(&mut session).0;
    assert!(sent.ends_with("RCPT TO:<c@y.test>\r\n"), "{sent}");
    session.receive(b"250 Ok\r\n550 5.1.1 no\r\n");
    assert_eq!(run(&mut session).0, "");
    session.receive(b"250 Ok\r\n");
    assert_eq!(run(&mut session).0, "BDAT 3 LAST\r\nx\0\n");
    session.receive(b"250 2.0.0 taken\r\n");
    assert_eq!(finished(&mut session), [(Some(Stage::Recipient), "550 5.1.1 no".into()), (Some(Stage::Message), "250 2.0.0 taken".into())]);
    run(&mut session);
    // Nobody takes it: nothing of it is sent.
    session.deliver(binary());
    run(&mut session);
    session.receive(b"250 Ok\r\n550 5.1.1 no\r\n550 5.1.1 no\r\n");
    assert_eq!(finished(&mut session), [(Some(Stage::Recipient), "550 5.1.1 no".into()), (Some(Stage::Recipient), "550 5.1.1 no".into())]);
}

#[test]
fn lmtp_with_chunking_goes_in_one_write_and_has_a_reply_per_recipient() {
    let mut session = ready(Settings::lmtp("me.test"), "250-PIPELINING\r\n250-CHUNKING\r\n250-XFACTEUR\r\n");
    let id = QueueId::parse("0123456789ABCDEFG").expect("id");
    let mut mail = message(&["b@y.test", "c@y.test", "d@y.test"], ".x\r\n");
    mail.mail.xfacteur = Some(XFacteur { id, time_seconds: 17, repeat: false });
    session.deliver(mail);
    match session.step() {
        Step::Send(bytes) => assert_eq!(
            String::from_utf8_lossy(&bytes),
            "MAIL FROM:<a@x.test> XID=0123456789ABCDEFG XTIME=17\r\nRCPT TO:<b@y.test>\r\nRCPT TO:<c@y.test>\r\nRCPT TO:<d@y.test>\r\nBDAT 4 LAST\r\n.x\r\n"
        ),
        step => panic!("{step:?}"),
    }
    session.receive(b"250 Ok\r\n250 Ok\r\n550 5.1.1 no\r\n250 Ok\r\n250 2.0.0 filed\r\n452 4.2.2 full\r\n");
    assert_eq!(
        finished(&mut session),
        [
            (Some(Stage::Message), "250 2.0.0 filed".into()),
            (Some(Stage::Recipient), "550 5.1.1 no".into()),
            (Some(Stage::Message), "452 4.2.2 full".into())
        ]
    );
    assert!(matches!(run(&mut session).1, Step::Ready));
    // Nobody accepted: the chunk has one reply, and RSET begins the next group.
    session.deliver(message(&["b@y.test"], "x\r\n"));
    run(&mut session);
    session.receive(b"250 Ok\r\n550 5.1.1 no\r\n503 no valid recipients\r\n");
    assert_eq!(finished(&mut session), [(Some(Stage::Recipient), "550 5.1.1 no".into())]);
    session.deliver(message(&["b@y.test"], "x\r\n"));
    assert!(run(&mut session).0.starts_with("RSET\r\nMAIL FROM:<a@x.test>\r\n"));
}

/// Were the connection lost, nobody could tell whether Dovecot has the message.
#[test]
fn the_message_goes_ahead_only_to_those_who_recognise_it() {
    let mut session = ready(Settings::lmtp("me.test"), "250-PIPELINING\r\n250-CHUNKING\r\n");
    session.deliver(message(&["b@y.test"], "x\r\n"));
    assert_eq!(run(&mut session).0, "MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nDATA\r\n");
}

#[test]
fn dsn_parameters_go_to_servers_that_know_them() {
    let mut mail = message(&["b@y.test"], "x\r\n");
    mail.mail.ret = Some(DsnReturn::Headers);
    mail.mail.envid = Some("a+b".into());
    mail.mail.body = BodyType::EightBitMime;
    mail.recipients[0].notify = DsnNotify { given: true, success: true, delay: true, failure: false };
    mail.recipients[0].orcpt = Some("rfc822;o=p@y.test".into());
    let mut session = ready(smtp(), "250-PIPELINING\r\n250-DSN\r\n250-8BITMIME\r\n");
    session.deliver(mail.clone());
    assert_eq!(
        run(&mut session).0,
        "MAIL FROM:<a@x.test> BODY=8BITMIME RET=HDRS ENVID=a+2Bb\r\nRCPT TO:<b@y.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;o+3Dp@y.test\r\nDATA\r\n"
    );
    let mut session = ready(smtp(), "250-PIPELINING\r\n");
    session.deliver(mail);
    assert_eq!(run(&mut session).0, "MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nDATA\r\n");
}

#[test]
fn what_the_server_cannot_take_is_refused_here() {
    let mut session = ready(smtp(), "250-SIZE 3\r\n");
    session.deliver(message(&["b@y.test"], "long\r\n"));
    assert_eq!(finished(&mut session)[0].1, "552 5.3.4 The message is larger than the server takes");
    assert!(matches!(run(&mut session).1, Step::Ready));
    let mut utf8 = message(&["é@y.test"], "x\r\n");
    utf8.mail.smtputf8 = true;
    session.deliver(utf8);
    assert!(finished(&mut session)[0].1.starts_with("553 5.6.7"));
    // Nothing in it needs what the client of the client had asked for.
    let mut plain = message(&["b@y.test"], "S: x\r\n\r\né");
    plain.mail.smtputf8 = true;
    let mut session = ready(smtp(), "");
    session.deliver(plain);
    assert_eq!(run(&mut session).0, "MAIL FROM:<a@x.test>\r\n");
}

#[test]
fn a_lost_connection_leaves_the_undecided_undecided() {
    let mut session = ready(smtp(), "250-PIPELINING\r\n");
    session.deliver(message(&["b@y.test", "c@y.test"], "x\r\n"));
    run(&mut session);
    session.receive(b"250 Ok\r\n550 no\r\n250 Ok\r\n354 go\r\n");
    run(&mut session);
    session.closed();
    assert_eq!(finished(&mut session), [(Some(Stage::Recipient), "550 no".into()), (None, String::new())]);
    assert!(matches!(session.step(), Step::Failed(Error::Closed("at the end of the message"))));
    assert!(matches!(session.step(), Step::Close));
}

#[test]
fn service_closing_defers_who_is_undecided() {
    let mut session = ready(smtp(), "250-PIPELINING\r\n");
    session.deliver(message(&["b@y.test"], "x\r\n"));
    run(&mut session);
    session.receive(b"421 4.3.2 bye\r\n");
    assert_eq!(finished(&mut session), [(Some(Stage::Mail), "421 4.3.2 bye".into())]);
    assert!(matches!(session.step(), Step::Failed(Error::Closing(_))));
}

#[test]
fn ehlo_falls_back_to_helo() {
    let mut session = Session::new(smtp());
    tell(&mut session, "220-hi\r\n220 there\r\n");
    assert_eq!(tell(&mut session, "502 what\r\n"), "HELO me.test\r\n");
    session.receive(b"250 ok\r\n");
    assert!(matches!(run(&mut session).1, Step::Ready));
}

#[test]
fn starttls_forgets_what_was_announced_before() {
    let mut session = Session::new(Settings::smtp("me.test"));
    tell(&mut session, "220 hi\r\n");
    assert_eq!(tell(&mut session, "250-x\r\n250-SIZE 5\r\n250 STARTTLS\r\n"), "STARTTLS\r\n");
    session.receive(b"220 go\r\n");
    assert!(matches!(run(&mut session).1, Step::StartTls));
    session.tls_started();
    assert_eq!(run(&mut session).0, "EHLO me.test\r\n");
    session.receive(b"250 x\r\n");
    assert!(matches!(run(&mut session).1, Step::Ready));
    assert_eq!(session.capabilities(), &Capabilities::default());
}

#[test]
fn replies_injected_before_tls_end_the_session() {
    let mut session = Session::new(Settings::smtp("me.test"));
    tell(&mut session, "220 hi\r\n");
    tell(&mut session, "250-x\r\n250 STARTTLS\r\n");
    session.receive(b"220 go\r\n250-x\r\n250 AUTH PLAIN\r\n");
    assert!(matches!(run(&mut session).1, Step::Failed(Error::PeerMisbehaved(_))));
}

#[test]
fn tls_that_is_required_is_never_done_without() {
    let settings = Settings { tls: TlsUse::Require, ..Settings::smtp("me.test") };
    for (offer, want) in
        [("250 x\r\n", Error::TlsNotOffered), ("250-x\r\n250 STARTTLS\r\n", Error::TlsRefused(Reply::new(454, None, "no")))]
    {
        let mut session = Session::new(settings.clone());
        tell(&mut session, "220 hi\r\n");
        session.receive(offer.as_bytes());
        let (_, mut step) = run(&mut session);
        if matches!(step, Step::NeedInput) {
            session.receive(b"454 no\r\n");
            step = run(&mut session).1;
        }
        assert!(matches!(step, Step::Failed(ref error) if *error == want), "{step:?}");
    }
}

#[test]
fn credentials_are_used_under_tls_only() {
    let credentials = Some(Credentials { login: "ann".into(), password: Secret::new("pw") });
    let clear = Settings { tls: TlsUse::May, credentials: credentials.clone(), ..Settings::smtp("me.test") };
    let mut session = Session::new(clear);
    tell(&mut session, "220 hi\r\n");
    session.receive(b"250-x\r\n250 AUTH PLAIN\r\n");
    assert!(matches!(run(&mut session).1, Step::Failed(Error::TlsNotOffered)));

    let wrapped = Settings { tls: TlsUse::Wrapped, credentials, ..Settings::smtp("me.test") };
    let mut session = Session::new(wrapped.clone());
    tell(&mut session, "220 hi\r\n");
    assert_eq!(tell(&mut session, "250-x\r\n250 AUTH LOGIN PLAIN\r\n"), "AUTH PLAIN AGFubgBwdw==\r\n");
    session.receive(b"235 yes\r\n");
    assert!(matches!(run(&mut session).1, Step::Ready));

    let mut session = Session::new(wrapped);
    tell(&mut session, "220 hi\r\n");
    assert_eq!(tell(&mut session, "250-x\r\n250 AUTH LOGIN\r\n"), "AUTH LOGIN\r\n");
    assert_eq!(tell(&mut session, "334 VXNlcm5hbWU6\r\n"), "YW5u\r\n");
    assert_eq!(tell(&mut session, "334 UGFzc3dvcmQ6\r\n"), "cHc=\r\n");
    session.receive(b"535 5.7.8 no\r\n");
    assert!(matches!(run(&mut session).1, Step::Failed(Error::AuthRefused(_))));
}

#[test]
fn an_idle_server_that_speaks_is_left() {
    let mut session = ready(smtp(), "");
    session.receive(b"250 surprise\r\n");
    assert!(matches!(run(&mut session).1, Step::Failed(Error::PeerMisbehaved(_))));
}

#[test]
fn a_stream_is_sent_piece_by_piece() {
    let body = Body::Stream { size: 6 };
    // DATA
    let mut session = ready(smtp(), "250-PIPELINING\r\n");
    session.deliver(Message { body: body.clone(), ..message(&["b@y.test"], "") });
    run(&mut session);
    session.receive(b"250 Ok\r\n250 Ok\r\n354 go\r\n");
    assert!(matches!(run(&mut session).1, Step::NeedBody));
    session.body(b".a\r");
    assert_eq!(run(&mut session).0, "..a");
    session.body(b"\nb\n");
    assert_eq!(run(&mut session).0, "\r\nb\r\n");
    session.end_of_body();
    assert_eq!(run(&mut session).0, ".\r\n");
    session.receive(b"250 Ok\r\n");
    assert_eq!(finished(&mut session)[0].0, Some(Stage::Message));
    // BDAT, and a stream that is shorter than it said.
    for (piece, good) in [("abcd\r\n", true), ("abc\r\n", false), ("abcde\r\n", false)] {
        let mut session = ready(Settings { chunking: true, ..smtp() }, "250-PIPELINING\r\n250-CHUNKING\r\n250-XFACTEUR\r\n");
        session.deliver(Message { body: body.clone(), ..message(&["b@y.test"], "") });
        assert!(run(&mut session).0.ends_with("BDAT 6 LAST\r\n"));
        session.body(piece.as_bytes());
        run(&mut session);
        session.end_of_body();
        session.receive(b"250 Ok\r\n250 Ok\r\n250 Ok\r\n");
        let decided = finished(&mut session)[0].0.is_some();
        assert_eq!(decided, good, "{piece:?}");
    }
}

/// Both machines against each other, in every mode, with bodies that have all the line ends there are.
#[test]
fn client_and_server_understand_each_other() {
    for lmtp in [false, true] {
        for chunking in [false, true] {
            for size in [0, 10, 200_000] {
                let line = "..a .\r\n.\r\nbare\nlf\rcr\r\r\n.\n";
                let body = line.repeat(size / line.len() + 1);
                let settings = if lmtp { server::Settings::lmtp("there") } else { server::Settings::new("there") };
                let mut server = server::Session::new(Arc::new(server::Settings { xfacteur: true, ..settings }), false);
                let mut client = Session::new(Settings { lmtp, chunking, ..smtp() });
                let mut got = Vec::new();
                for round in 0..3 {
                    client_until_ready(&mut client, &mut server, &mut got);
                    client.deliver(message(&["b@y.test", "no@y.test", "c@y.test"], &body));
                    let report = converse(&mut client, &mut server, &mut got).expect("a report");
                    let stages: Vec<_> = report.recipients.iter().map(|s| s.as_ref().map(|s| s.stage)).collect();
                    assert_eq!(
                        stages,
                        [Some(Stage::Message), Some(Stage::Recipient), Some(Stage::Message)],
                        "{lmtp} {chunking} {size} {round}"
                    );
                    let mut want = Vec::new();
                    let mut decoder = crate::dot_stuffing::Decoder::chunks();
                    decoder.decode(body.as_bytes(), &mut want);
                    decoder.finish(&mut want);
                    assert!(got == want, "{lmtp} {chunking} {size}: the message was changed");
                    got.clear();
                }
            }
        }
    }
}

fn client_until_ready(client: &mut Session, server: &mut server::Session, got: &mut Vec<u8>) {
    assert!(converse(client, server, got).is_none());
}

fn converse(client: &mut Session, server: &mut server::Session, got: &mut Vec<u8>) -> Option<Report> {
    loop {
        loop {
            match server.step() {
                server::Step::Send(bytes) => client.receive(&bytes),
                server::Step::NeedInput | server::Step::Close => break,
                server::Step::Body(bytes) => got.extend(bytes),
                server::Step::Ask(server::Question::Recipient(r)) if r.address.local() == "no" => {
                    server.answer(server::Answer::Reply(Reply::with(550, (5, 1, 1), "no")));
                }
                server::Step::Ask(_) => server.answer(server::Answer::Accept),
                step => panic!("{step:?}"),
            }
        }
        loop {
            match client.step() {
                Step::Send(bytes) => server.receive(&bytes),
                Step::NeedInput => break,
                Step::Finished(report) => return Some(report),
                Step::Ready => return None,
                step => panic!("{step:?}"),
            }
        }
    }
}
