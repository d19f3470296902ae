//! Whole POP3 sessions: no panic, bounded work, and the same replies however the bytes were cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pop3_proto::{Answer, Entry, Opened, Question, Refusal, Session, Settings, Step};

fn drive(session: &mut Session, said: &mut Vec<u8>) -> bool {
    for _ in 0..100_000 {
        match session.step() {
            Step::Send(bytes) => said.extend(bytes),
            Step::Ask(question) => session.answer(answer(question)),
            Step::StartTls => session.tls_started(),
            Step::NeedInput => return true,
            Step::Close => return false,
        }
    }
    panic!("the machine does not come to rest");
}

fn answer(question: Question) -> Answer {
    let entry = |n: u64| Entry { size: n, unique_id: format!("id{n}").into() };
    match question {
        Question::Mechanisms => Answer::Mechanisms(vec!["PLAIN".into(), "LOGIN".into()]),
        Question::Login { user, .. } if user.starts_with('x') => Answer::Refused(Refusal::Credentials("no".into())),
        Question::Login { .. } | Question::Respond(_) => Answer::Maildrop(vec![entry(30), entry(5)]),
        Question::Authenticate { initial: Some(_), .. } => Answer::Maildrop(vec![entry(30)]),
        Question::Authenticate { .. } => Answer::Challenge(Vec::new()),
        Question::Open { message, .. } => Answer::Opened(Opened { bytes: b"Subject: x\n\n.dot\n..\nend".to_vec(), last: message == 1 }),
        Question::More => Answer::Piece { bytes: b"\n.\nmore".to_vec(), last: true },
        Question::Cancel | Question::Update { .. } => Answer::Done,
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&[options, seed], input)) = data.split_first_chunk::<2>().map(|(a, b)| (a, b)) else { return };
    let run = |parts: &mut dyn Iterator<Item = &[u8]>| {
        let settings = Settings {
            greeting: "ready".into(),
            tls: options & 1 == 0,
            stls: options & 2 != 0,
            plaintext_login: true,
            implementation: "fuzz".into(),
            error_limit: 10,
            expire_days: None,
            login_delay_seconds: 0,
            last: true,
        };
        let mut session = Session::new(settings);
        let mut said = Vec::new();
        let mut open = drive(&mut session, &mut said);
        for part in parts {
            if !open {
                break;
            }
            session.receive(part);
            open = drive(&mut session, &mut said);
        }
        said
    };
    let whole = run(&mut std::iter::once(input));
    // Behind STLS it matters by design what came in the same segment.
    if !input.to_ascii_uppercase().windows(4).any(|w| w == b"STLS") {
        let pieces = run(&mut fuzz::pieces(input, seed));
        assert_eq!(String::from_utf8_lossy(&whole), String::from_utf8_lossy(&pieces));
    }
});
