use super::*;

fn session(change: impl FnOnce(&mut Settings)) -> Session {
    let mut settings = Settings { tls: TlsOffer::May, ..Settings::new("here.test") };
    change(&mut settings);
    Session::new(Arc::new(settings), false)
}

/// Everything that happens until input is needed, as text; all questions are answered with yes, AUTH with a challenge.
fn run(session: &mut Session) -> Vec<String> {
    let mut events = Vec::new();
    loop {
        match session.step() {
            Step::Send(bytes) => events.push(String::from_utf8(bytes).expect("text")),
            Step::Ask(Question::Hello { .. }) => session.answer(Answer::Mechanisms("PLAIN".into())),
            Step::Ask(Question::Auth { .. } | Question::AuthResponse(_)) => session.answer(Answer::Challenge("YQ==".into())),
            Step::Ask(_) => session.answer(Answer::Accept),
            Step::Body(bytes) => events.push(format!("body {}", bytes.len())),
            Step::NeedInput => return events,
            step @ (Step::Close | Step::StartTls) => {
                events.push(format!("{step:?}"));
                return events;
            }
            step => events.push(format!("{step:?}")),
        }
    }
}

fn tell(session: &mut Session, text: &str) -> Vec<String> {
    session.receive(text.as_bytes());
    run(session)
}

fn greeted(change: impl FnOnce(&mut Settings)) -> Session {
    let mut session = session(change);
    run(&mut session);
    let lmtp = session.settings.lmtp;
    tell(&mut session, if lmtp { "LHLO c\r\n" } else { "EHLO c\r\n" });
    session
}

const ENVELOPE: &str = "MAIL FROM:<a@x.test>\r\nRCPT TO:<b@here.test>\r\n";

#[test]
fn a_pipelined_group_is_answered_by_one_send() {
    let mut session = greeted(|_| {});
    let said = tell(&mut session, &format!("{ENVELOPE}RCPT TO:<c@here.test>\r\nDATA\r\n"));
    assert_eq!(said, ["250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n250 2.1.5 Ok\r\n354 End data with <CR><LF>.<CR><LF>\r\n"]);
    assert_eq!(tell(&mut session, "x\r\n.\r\nQUIT\r\n"), ["body 3", "250 2.0.0 Ok\r\n221 2.0.0 Bye\r\n", "Close"]);
}

/// S4: whatever comes in the segment of STARTTLS is never answered, and the session ends.
#[test]
fn plaintext_behind_starttls_ends_the_session() {
    for injected in ["MAIL FROM:<x@x.test>\r\n", "NOOP\r\n", "RSET\r\n", "QUIT\r\n", "\x16\x03\x01", "N"] {
        for forbid in [true, false] {
            let mut session = greeted(|s| s.forbid_unauth_pipelining = forbid);
            let said = tell(&mut session, &format!("STARTTLS\r\n{injected}"));
            assert_eq!(said, ["554 5.5.0 Error: SMTP protocol synchronization\r\n", "Close"], "{injected:?}");
        }
    }
}

/// S4: bytes that come after the 220 and before the handshake are for TLS; if a driver hands them in, they are gone.
#[test]
fn late_plaintext_does_not_survive_the_handshake() {
    let mut session = greeted(|_| {});
    assert_eq!(tell(&mut session, "STARTTLS\r\n").last().map(String::as_str), Some("StartTls"));
    session.receive(b"MAIL FROM:<x@x.test>\r\n");
    session.tls_started();
    assert!(run(&mut session).is_empty());
    assert!(session.is_tls() && session.hello().is_none());
}

/// S10.
#[test]
fn commands_that_run_ahead_end_the_session() {
    let fault = ["554 5.5.0 Error: SMTP protocol synchronization\r\n".to_string(), "Close".into()];
    let mut early = session(|_| {});
    assert_eq!(early.step(), Step::Ask(Question::Connect));
    early.receive(b"EHLO c\r\n");
    early.answer(Answer::Accept);
    assert_eq!(run(&mut early), fault);

    for text in ["EHLO c\r\nMAIL FROM:<a@x.test>\r\n", "HELO c\r\nNOOP\r\n", "NOOP\r\nNOOP\r\n"] {
        let mut session = session(|_| {});
        run(&mut session);
        assert_eq!(tell(&mut session, text), fault, "{text:?}");
    }
    let mut session = greeted(|_| {});
    let said = tell(&mut session, &format!("{ENVELOPE}DATA\r\nSubject: x\r\n"));
    assert!(said[0].ends_with(&fault[0]) && said[1] == "Close", "{said:?}");
}

#[test]
fn who_said_helo_may_not_pipeline_but_may_quit_behind_the_message() {
    let mut session = session(|_| {});
    run(&mut session);
    for line in ["HELO c\r\n", "MAIL FROM:<a@x.test>\r\n", "RCPT TO:<b@here.test>\r\n", "DATA\r\n"] {
        tell(&mut session, line);
    }
    assert_eq!(tell(&mut session, "x\r\n.\r\nQUIT\r\n").last().map(String::as_str), Some("Close"));
}

/// S14.
#[test]
fn an_endless_line_costs_no_memory_and_one_error() {
    let mut session = greeted(|_| {});
    let mut said = Vec::new();
    for _ in 0..1024 {
        said.extend(tell(&mut session, &"x".repeat(1024)));
        assert!(session.input.pending().len() <= 5 * 1024);
    }
    said.extend(tell(&mut session, "\r\nNOOP\r\n"));
    assert_eq!(said, ["500 5.5.2 Error: line too long\r\n", "250 2.0.0 Ok\r\n"]);
}

/// S7: an AUTH line may have 12,288 octets, and no more.
#[test]
fn auth_lines_are_bounded() {
    for (length, want) in [(12_000, "334 YQ==\r\n"), (12_400, "500 5.5.2 Error: line too long\r\n")] {
        let mut session = greeted(|s| s.tls_auth_only = false);
        assert_eq!(tell(&mut session, &format!("AUTH PLAIN {}\r\n", "A".repeat(length))), [want]);
    }
    let mut session = greeted(|s| s.tls_auth_only = false);
    tell(&mut session, "AUTH PLAIN\r\n");
    assert_eq!(tell(&mut session, &"A".repeat(13_000)), ["CancelAuth", "500 5.5.6 Authentication exchange line is too long\r\n"]);
}

/// S5: who has logged in stays so over EHLO and RSET (RFC 4954 §4, RFC 5321 §4.1.1.5); TLS, or another client by XCLIENT, begins anew.
#[test]
fn a_login_outlives_rset_and_ehlo_but_neither_starttls_nor_xclient() {
    let logged_in = || {
        let mut session = greeted(|s| (s.tls_auth_only, s.xclient) = (false, true));
        session.login = Some("ann".into());
        for command in ["RSET", "HELO other", "EHLO other", "NOOP"] {
            tell(&mut session, &format!("{command}\r\n"));
            assert_eq!(session.login(), Some("ann"), "{command}");
        }
        session
    };
    let mut session = logged_in();
    assert_eq!(tell(&mut session, "STARTTLS\r\n").last().map(String::as_str), Some("StartTls"));
    session.tls_started();
    assert_eq!((session.login(), session.hello()), (None, None));
    assert!(tell(&mut session, "MAIL FROM:<a@x.test>\r\n").concat().starts_with("503"));
    let mut session = logged_in();
    tell(&mut session, "XCLIENT ADDR=192.0.2.7\r\n");
    assert_eq!(session.login(), None);
    let mut session = logged_in();
    tell(&mut session, "MAIL FROM:<a@x.test>\r\nRSET\r\nRCPT TO:<b@here.test>\r\n");
    assert!(session.transaction().is_none());
}

/// S6: aborted exchanges leave nothing behind.
#[test]
fn an_aborted_exchange_is_forgotten() {
    let mut session = greeted(|s| {
        s.tls_auth_only = false;
        s.hard_error_limit = u32::MAX;
        s.soft_error_limit = u32::MAX;
    });
    for _ in 0..1000 {
        tell(&mut session, "AUTH PLAIN\r\n");
        assert_eq!(tell(&mut session, "*\r\n"), ["CancelAuth", "501 5.7.0 Authentication aborted\r\n"]);
    }
    tell(&mut session, ENVELOPE);
    assert_eq!(tell(&mut session, "AUTH PLAIN\r\n"), ["503 5.5.1 Error: MAIL transaction in progress\r\n"]);
}

/// S16.
#[test]
fn too_many_recipients_are_refused_and_then_cut_off() {
    let mut session = greeted(|s| {
        s.recipient_limit = 100;
        s.recipient_overshoot_limit = 50;
    });
    let mut said = tell(&mut session, "MAIL FROM:<a@x.test>\r\n").concat();
    for _ in 0..1000 {
        said += &tell(&mut session, "RCPT TO:<b@here.test>\r\n").concat();
    }
    assert_eq!(said.matches("250 2.1.5").count(), 100);
    assert_eq!(said.matches("452 4.5.3").count(), 50 + 20);
    assert!(said.contains("421 4.7.0") && said.ends_with("Close".repeat(1000 - 170 + 1).as_str()), "{}", &said[said.len() - 300..]);
}

#[test]
fn rfc9422_limits_are_announced_and_hold() {
    let mut session = session(|s| (s.recipient_limit, s.recipient_domain_limit, s.transaction_limit) = (3, 2, 2));
    run(&mut session);
    let said = tell(&mut session, "EHLO c\r\n").concat();
    assert!(said.contains("250-LIMITS RCPTMAX=3 MAILMAX=2 RCPTDOMAINMAX=2\r\n"), "{said}");
    let to = |names: &[&str]| names.iter().map(|n| format!("RCPT TO:<{n}>\r\n")).collect::<String>();
    let said = tell(&mut session, &format!("MAIL FROM:<>\r\n{}", to(&["a@x.test", "a@Y.test", "a@z.test", "b@X.test", "c@x.test"])));
    assert_eq!(
        said,
        ["250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n250 2.1.5 Ok\r\n452 4.5.3 Error: too many domains among the recipients\r\n250 2.1.5 Ok\r\n\
          452 4.5.3 Error: too many recipients\r\n"]
    );
    tell(&mut session, "RSET\r\nMAIL FROM:<>\r\nRSET\r\n");
    assert_eq!(tell(&mut session, "MAIL FROM:<>\r\n"), ["421 4.7.0 here.test Error: too many messages in one session\r\n", "Close"]);
}

/// RFC 4865 §4.2, §5.2.2; RFC 2852 §3.
#[test]
fn messages_wait_within_the_limit_and_for_those_who_logged_in() {
    let mut session = session(|s| (s.future_release, s.deliver_by, s.tls_auth_only) = (3600, Some(60), false));
    session.tell_time(1_795_359_600);
    run(&mut session);
    let said = tell(&mut session, "EHLO c\r\n").concat();
    assert!(said.contains("250-DELIVERBY 60\r\n250-FUTURERELEASE 3600 2026-11-22T16:00:00Z\r\n250-MT-PRIORITY MIXER\r\n"), "{said}");
    assert!(!said.contains("REQUIRETLS"));
    let mail = |session: &mut Session, parameters: &str| tell(session, &format!("MAIL FROM:<a@x.test> {parameters}\r\nRSET\r\n")).concat();
    assert!(mail(&mut session, "HOLDFOR=60").starts_with("530 5.7.0"));
    session.login = Some("ann".into());
    for (parameters, want) in [
        ("HOLDFOR=3600", "250 2.1.0"),
        ("HOLDFOR=3601", "501 5.5.4"),
        ("HOLDUNTIL=2026-11-22T16:00:00Z", "250 2.1.0"),
        ("HOLDUNTIL=2026-11-22T16:00:01Z", "501 5.5.4"),
        ("HOLDUNTIL=2026-11-22T15:00:00Z", "501 5.5.4"),
        ("HOLDUNTIL=2020-01-01T00:00:00Z", "501 5.5.4"),
        ("HOLDFOR=100 BY=99;R", "501 5.5.4"),
        ("HOLDFOR=100 BY=100;N", "250 2.1.0"),
        ("BY=59;R", "555 5.5.4"),
        ("BY=60;R", "250 2.1.0"),
        ("BY=-5;NT", "250 2.1.0"),
        ("REQUIRETLS", "530 5.7.10"),
    ] {
        let said = mail(&mut session, parameters);
        assert!(said.starts_with(want), "{parameters}: {said}");
    }
}

/// RFC 8689 §4.1 wants TLS; a Unix socket nobody else hears either.
#[test]
fn requiretls_is_taken_under_tls_and_from_this_machine() {
    for (private, want) in [(true, "250 2.1.0"), (false, "530 5.7.10")] {
        let mut session = greeted(|s| s.private = private);
        assert_eq!(tell(&mut session, "EHLO c\r\n").concat().contains("REQUIRETLS"), private);
        let said = tell(&mut session, "MAIL FROM:<a@x.test> REQUIRETLS\r\n").concat();
        assert!(said.starts_with(want), "{said}");
    }
}

#[test]
fn what_is_not_announced_is_not_taken() {
    let parameters = [
        ("DELIVERBY", "BY=60;R"),
        ("FUTURERELEASE", "HOLDFOR=60"),
        ("MT-PRIORITY", "MT-PRIORITY=1"),
        ("REQUIRETLS", "REQUIRETLS"),
        ("BINARYMIME", "BODY=BINARYMIME"),
    ];
    for (keyword, parameter) in parameters {
        let mut session = greeted(|s| (s.future_release, s.discard_ehlo_keywords) = (3600, vec![keyword.into()]));
        (session.login, session.tls) = (Some("ann".into()), true);
        let said = tell(&mut session, "EHLO c\r\n").concat();
        assert!(!said.contains(keyword), "{said}");
        assert!(tell(&mut session, &format!("MAIL FROM:<> {parameter}\r\n")).concat().starts_with("555 5.5.4"), "{parameter}");
        let mut lmtp = greeted(|s| *s = Settings { tls: TlsOffer::Off, ..Settings::lmtp("here.test") });
        assert!(tell(&mut lmtp, &format!("MAIL FROM:<> {parameter}\r\n")).concat().starts_with("555 5.5.4"), "{parameter}");
    }
}

/// S17.
#[test]
fn errors_slow_the_session_down_and_end_it() {
    let mut session = greeted(|s| {
        s.soft_error_limit = 2;
        s.hard_error_limit = 4;
    });
    assert_eq!(tell(&mut session, "FOO\r\n").len(), 1);
    assert_eq!(tell(&mut session, "FOO\r\n").len(), 1);
    assert_eq!(tell(&mut session, "FOO\r\n")[0], "Sleep(1s)");
    assert_eq!(tell(&mut session, "NOOP\r\n")[0], "Sleep(1s)");
    let last = tell(&mut session, "FOO\r\n");
    assert!(last[1].ends_with("421 4.7.0 here.test Error: too many errors\r\n") && last[2] == "Close", "{last:?}");
}

/// S17, S20: commands that do nothing, and empty chunks.
#[test]
fn idle_commands_become_errors() {
    for text in ["NOOP\r\n", "RSET\r\n", "VRFY a\r\n", "EHLO c\r\n", "BDAT 0\r\n"] {
        let mut session = greeted(|s| s.junk_command_limit = 100);
        let mut said = tell(&mut session, ENVELOPE);
        for _ in 0..200 {
            said.extend(tell(&mut session, text));
        }
        assert!(said.iter().any(|s| s.contains("421 4.7.0")), "{text:?}");
    }
}

/// S20.
#[test]
fn sizes_of_chunks_are_believed_and_bounded() {
    let mut session = greeted(|_| {});
    let said = tell(&mut session, &format!("{ENVELOPE}BDAT 9223372036854775808\r\nMAIL FROM:<evil@x.test>\r\n"));
    assert!(said[0].ends_with("552 5.3.4 Error: message file too big\r\n"));
    for _ in 0..100 {
        assert!(tell(&mut session, &"x\r\n".repeat(1000)).is_empty());
    }
    for text in ["BDAT -1\r\n", "BDAT 99999999999999999999\r\n", "BDAT\r\n", "BDAT 5 LASTX\r\n"] {
        let mut session = greeted(|_| {});
        let said = tell(&mut session, &format!("{ENVELOPE}{text}MAIL FROM:<evil@x.test>\r\n"));
        assert!(said[0].ends_with("501 5.5.4 Syntax: BDAT size [LAST]\r\n") && said[1] == "Close", "{said:?}");
    }
}

#[test]
fn a_long_message_comes_in_pieces_and_is_abandoned_by_name() {
    let body = "x".repeat(98) + "\r\n";
    for ending in ["disconnect", "chunk too much"] {
        let mut session = greeted(|s| s.size_limit = 300_000);
        tell(&mut session, ENVELOPE);
        let mut events = tell(&mut session, &format!("BDAT 200000\r\n{}", body.repeat(2000)));
        assert_eq!(events, ["body 200000", "250 2.0.0 200000 octets received\r\n"]);
        if ending == "disconnect" {
            session.disconnect(Reply::with(421, (4, 4, 2), "Timeout"));
            events = run(&mut session);
            assert_eq!(events, ["Abandon", "421 4.4.2 Timeout\r\n", "Close"]);
        } else {
            events = tell(&mut session, &format!("BDAT 200000 LAST\r\n{}", body.repeat(2000)));
            assert_eq!(events, ["Abandon", "552 5.3.4 Error: message file too big\r\n"]);
            assert!(session.is_idle());
        }
    }
}

#[test]
fn a_small_message_comes_as_one_piece_however_it_was_cut() {
    let mut session = greeted(|_| {});
    tell(&mut session, &format!("{ENVELOPE}DATA\r\n"));
    for _ in 0..100 {
        assert!(tell(&mut session, "0123456789\r\n").is_empty());
    }
    assert_eq!(tell(&mut session, ".\r\n"), ["body 1200", "250 2.0.0 Ok\r\n"]);
}

/// S3, the strict way.
#[test]
fn bare_line_ends_can_be_refused() {
    for (bad, chunk) in [("a\nb\r\n", false), ("a\rb\r\n", false), ("a\nb\r\n", true)] {
        let mut session = greeted(|s| s.bare_newline = BareNewline::Reject);
        tell(&mut session, ENVELOPE);
        let said = if chunk {
            tell(&mut session, &format!("BDAT {} LAST\r\n{bad}", bad.len()))
        } else {
            tell(&mut session, "DATA\r\n");
            tell(&mut session, &format!("{bad}.\r\n"))
        };
        assert_eq!(said, ["550 5.5.2 Error: a bare CR or LF in the message\r\n"], "{bad:?}");
    }
    let mut session = greeted(|s| s.bare_newline = BareNewline::Reject);
    assert_eq!(tell(&mut session, "NOOP\n"), ["521 5.5.2 here.test Error: bare <LF> received\r\n", "Close"]);
}

#[test]
fn tls_that_is_required_comes_before_all_else() {
    let mut session = greeted(|s| s.tls = TlsOffer::Required);
    for text in ["MAIL FROM:<a@x.test>\r\n", "AUTH PLAIN\r\n", "RSET\r\n", "BDAT 4 LAST\r\nFOO\n"] {
        assert_eq!(tell(&mut session, text), ["530 5.7.0 Must issue a STARTTLS command first\r\n"], "{text:?}");
    }
    assert_eq!(tell(&mut session, "NOOP\r\n"), ["250 2.0.0 Ok\r\n"]);
}

#[test]
fn a_refused_connection_hears_why_and_nothing_else() {
    for (code, status, want) in [
        (554, (5, 7, 1), "554 5.7.1 Client host rejected\r\n"),
        (521, (5, 7, 1), "521 5.7.1 Client host rejected\r\n"),
        (421, (4, 7, 1), "421 4.7.1 Client host rejected\r\n"),
        // Replies to commands; a greeting has no such.
        (450, (4, 7, 25), "421 4.7.25 Client host rejected\r\n"),
        (451, (4, 3, 0), "421 4.3.0 Client host rejected\r\n"),
        (530, (5, 7, 0), "554 5.7.0 Client host rejected\r\n"),
        (550, (5, 7, 1), "554 5.7.1 Client host rejected\r\n"),
    ] {
        let mut session = session(|_| {});
        assert_eq!(session.step(), Step::Ask(Question::Connect));
        session.answer(Answer::Reply(Reply::with(code, status, "Client host rejected")));
        assert_eq!(run(&mut session), [want, "Close"]);
    }
}

#[test]
fn an_answer_to_another_question_is_a_temporary_failure() {
    let mut session = greeted(|_| {});
    session.receive(b"MAIL FROM:<a@x.test>\r\n");
    assert!(matches!(session.step(), Step::Ask(Question::Mail(_))));
    session.answer(Answer::Challenge("YQ==".into()));
    assert_eq!(run(&mut session), ["451 4.3.0 Internal error\r\n"]);
    assert!(session.is_idle());
}

#[test]
fn lmtp_answers_a_refused_last_chunk_per_recipient() {
    let mut session = greeted(|s| {
        s.lmtp = true;
        s.size_limit = 10;
    });
    session.receive(b"MAIL FROM:<>\r\nRCPT TO:<a@x.test>\r\nRCPT TO:<b@x.test>\r\nBDAT 3 LAST\r\nx\r\nMAIL FROM:<>\r\n");
    let mut said = Vec::new();
    loop {
        match session.step() {
            Step::Ask(Question::Data) => session.answer(Answer::Reply(Reply::with(451, (4, 3, 0), "later"))),
            Step::Ask(_) => session.answer(Answer::Accept),
            Step::Send(bytes) => said.extend(bytes),
            Step::NeedInput => break,
            step => panic!("{step:?}"),
        }
    }
    let said = String::from_utf8(said).expect("text");
    assert_eq!(said.matches("451 4.3.0 later").count(), 2);
    assert!(said.ends_with("250 2.1.0 Ok\r\n"), "{said}");
}

/// Under load smtpd lowers both limits to 1 (Postfix's stress mode): the commands of an ordinary session still pass.
#[test]
fn an_ordinary_tls_session_passes_the_limits_under_load() {
    let mut session = session(|s| (s.junk_command_limit, s.hard_error_limit) = (1, 1));
    run(&mut session);
    assert!(tell(&mut session, "EHLO c\r\n")[0].starts_with("250"));
    assert!(tell(&mut session, "STARTTLS\r\n").concat().contains("StartTls"));
    session.tls_started();
    for command in ["EHLO c\r\n", "MAIL FROM:<a@x.test>\r\n", "RCPT TO:<b@x.test>\r\n"] {
        let said = tell(&mut session, command).concat();
        assert!(said.starts_with("250"), "{command:?}: {said:?}");
    }
    let said: String = (0..5).map(|_| tell(&mut session, "NOOP\r\n").concat()).collect();
    assert!(said.contains("421"), "a flood is still cut off: {said:?}");
}

/// RFC 3207 §4: a server that cannot start TLS now says 454 and stays.
#[test]
fn starttls_without_a_certificate_is_refused_for_now() {
    let mut session = greeted(|s| (s.tls, s.tls_available) = (TlsOffer::Required, false));
    assert!(tell(&mut session, "STARTTLS\r\n")[0].starts_with("454 4.7.0"));
    assert!(tell(&mut session, "NOOP\r\n")[0].starts_with("250"));
}
