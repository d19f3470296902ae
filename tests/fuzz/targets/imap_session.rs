//! Whole IMAP sessions: no panic, bounded work, and the same commands however the bytes were cut.
#![no_main]

use imap_proto::{Command, Limits, Session, Step};
use libfuzzer_sys::fuzz_target;

fn drive(session: &mut Session, seen: &mut String) -> bool {
    for _ in 0..100_000 {
        match session.step() {
            Step::NeedInput => return true,
            Step::Close => return false,
            Step::Send(bytes) => seen.push_str(&format!("send {}\n", String::from_utf8_lossy(&bytes))),
            Step::Append { tag, .. } | Step::AppendMore { tag, .. } => {
                let go = if tag.len().is_multiple_of(2) {
                    session.accept_append()
                } else {
                    session.refuse_append();
                    Vec::new()
                };
                seen.push_str(&format!("append {tag} {}\n", String::from_utf8_lossy(&go)));
            }
            // Pieces of a message may come cut differently; their sum may not.
            Step::AppendData(bytes) => seen.push_str(&String::from_utf8_lossy(&bytes)),
            Step::Command { tag, command } => {
                seen.push_str(&format!("{tag} {command:?}\n"));
                match command {
                    Command::Login { .. } => session.authenticated(),
                    Command::Unauthenticate => session.unauthenticated(),
                    Command::Select { .. } => session.selected(true),
                    Command::Close | Command::Unselect => session.selected(false),
                    Command::Idle => drop(session.idle()),
                    Command::StartTls => session.tls_started(),
                    Command::Authenticate { .. } => drop(session.challenge("")),
                    _ => {}
                }
            }
            Step::Sasl(_) => session.authentication_over(),
            other => seen.push_str(&format!("{other:?}\n")),
        }
    }
    panic!("the machine does not come to rest");
}

fuzz_target!(|data: &[u8]| {
    let Some((&[options, seed], input)) = data.split_first_chunk::<2>().map(|(a, b)| (a, b)) else { return };
    let run = |parts: &mut dyn Iterator<Item = &[u8]>| {
        let mut session = Session::new(Limits::AFTER_LOGIN);
        if options & 1 != 0 {
            session.authenticated();
        }
        if options & 2 != 0 && options & 1 != 0 {
            session.selected(true);
        }
        let mut seen = String::new();
        for part in parts {
            session.receive(part);
            if !drive(&mut session, &mut seen) {
                break;
            }
        }
        seen
    };
    let starttls = input.to_ascii_uppercase().windows(8).any(|w| w == b"STARTTLS");
    let binary = !input.is_ascii();
    let whole = run(&mut std::iter::once(input));
    let pieces = run(&mut fuzz::pieces(input, seed));
    if !starttls && !binary {
        assert_eq!(whole, pieces);
    }
});
