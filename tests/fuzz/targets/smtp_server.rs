//! Whole SMTP sessions: no panic, bounded work, and the same replies and the same messages however the bytes were cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mail_types::Reply;
use smtp_proto::server::{Answer, BareNewline, Question, Session, Settings, Step, TlsOffer};
use std::sync::Arc;

/// Drives the session with what has been received so far. `false`: it is over.
fn drive(session: &mut Session, said: &mut Vec<u8>, bodies: &mut Vec<u8>) -> bool {
    for _ in 0..100_000 {
        match session.step() {
            Step::Send(bytes) => said.extend(bytes),
            Step::Body(bytes) => bodies.extend(bytes),
            Step::Abandon => bodies.extend(b"<abandoned>"),
            Step::Ask(question) => session.answer(answer(question)),
            Step::StartTls => session.tls_started(),
            Step::CancelAuth | Step::Sleep(_) => {}
            Step::NeedInput => return true,
            Step::Close => return false,
        }
    }
    panic!("the machine does not come to rest");
}

fn answer(question: Question) -> Answer {
    match question {
        Question::Hello { .. } => Answer::Mechanisms("PLAIN LOGIN".into()),
        Question::Auth { initial: Some(_), .. } | Question::AuthResponse(_) => Answer::Authenticated("user".into()),
        Question::Auth { .. } => Answer::Challenge(String::new()),
        Question::Recipient(r) if r.address.local().starts_with('x') => Answer::Reply(Reply::with(550, (5, 1, 1), "unknown")),
        Question::Message(t) => {
            let replies = t.recipients.iter().map(|_| Reply::with(250, (2, 0, 0), "ok")).collect();
            Answer::Replies(replies)
        }
        _ => Answer::Accept,
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&[options, seed], input)) = data.split_first_chunk::<2>().map(|(a, b)| (a, b)) else { return };
    let mut settings = if options & 1 == 0 { Settings::new("mx.test") } else { Settings::lmtp("mx.test") };
    settings.xfacteur = options & 2 != 0;
    settings.bare_newline = if options & 4 == 0 { BareNewline::Normalise } else { BareNewline::Reject };
    settings.tls = if options & 8 == 0 { TlsOffer::Off } else { TlsOffer::May };
    settings.tls_auth_only = options & 16 != 0;
    settings.size_limit = if options & 32 == 0 { 0 } else { 200 };
    settings.forbid_unauth_pipelining = false;
    // All that hosts of ours may ask for; a login and a local client may wish for more.
    if options & 64 != 0 {
        (settings.xclient, settings.xforward, settings.etrn, settings.private) = (true, true, true, true);
        (settings.deliver_by, settings.future_release, settings.tls_auth_only) = (Some(60), 3600, false);
    }
    if options & 128 != 0 {
        (settings.recipient_limit, settings.recipient_domain_limit, settings.transaction_limit) = (2, 1, 3);
    }
    let settings = Arc::new(settings);
    // How the bytes were cut decides what "behind STARTTLS in the same segment" means: there, cuts differ by design.
    let starttls = input.to_ascii_uppercase().windows(8).any(|w| w == b"STARTTLS");
    let cut = options & 8 == 0 && !starttls;
    let run = |parts: &mut dyn Iterator<Item = &[u8]>| {
        let mut session = Session::new(settings.clone(), false);
        let (mut said, mut bodies) = (Vec::new(), Vec::new());
        let mut open = drive(&mut session, &mut said, &mut bodies);
        for part in parts {
            if !open {
                break;
            }
            session.receive(part);
            open = drive(&mut session, &mut said, &mut bodies);
        }
        (said, bodies)
    };
    let whole = run(&mut std::iter::once(input));
    if cut {
        let pieces = run(&mut fuzz::pieces(input, seed));
        assert_eq!(String::from_utf8_lossy(&whole.0), String::from_utf8_lossy(&pieces.0));
        assert_eq!(whole.1, pieces.1);
    }
    for line in whole.0.split(|b| *b == b'\n') {
        assert!(line.is_empty() || line[0].is_ascii_digit(), "a reply line without a code");
    }
});
